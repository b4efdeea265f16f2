use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::authority::KeyError;
use crate::certificate::{Certificate, CertificateError};
use crate::date::day;
use crate::hint::{make_certs, quoted_path};
use crate::name::{IdentityError, Role};
use crate::{AUTHORITY_FOLDER, AUTHORITY_KEY_FILE, CERTIFICATE_FILE, TRUST_FILE};

/// How grave a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, and somebody should act before it stops working.
    Warning,
    /// It does not work, or is not safe.
    Failure,
}

/// A problem of a folder, with what to do about it.
#[derive(Debug)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// A command, or a sentence where no command would do.
    pub remedy: String,
}

/// What can be wrong with a folder of certificates.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A file is missing or cannot be read.
    #[error("{file} cannot be read")]
    File {
        /// Name of the file.
        file: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file holds no certificates, or damaged ones.
    #[error("{file} cannot be understood")]
    Certificate {
        /// Name of the file.
        file: &'static str,
        /// What is wrong with it.
        #[source]
        source: CertificateError,
    },
    /// A file holds no private key, or a damaged one.
    #[error("{file} cannot be understood")]
    Key {
        /// Name of the file.
        file: &'static str,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// The private key belongs to another certificate.
    #[error("{file} does not belong to the certificate beside it")]
    KeyMismatch {
        /// Name of the key's file.
        file: &'static str,
    },
    /// Others than the owner can read or write the private key.
    #[error("{file} is open to others than its owner (mode {mode:03o})")]
    KeyExposed {
        /// Name of the key's file.
        file: &'static str,
        /// Its permission bits.
        mode: u32,
    },
    /// Others than the owner can change what is in the folder.
    #[error("others than its owner can write the folder (mode {mode:03o})")]
    FolderWritable {
        /// Its permission bits.
        mode: u32,
    },
    /// The names of the certificate are not one identity.
    #[error("{CERTIFICATE_FILE} is not a certificate of one identity")]
    Identity(#[source] IdentityError),
    /// The certificate is valid only from this moment on.
    #[error("{CERTIFICATE_FILE} is not valid before {}", day(*.0))]
    NotYetValid(SystemTime),
    /// The certificate was valid until this moment.
    #[error("{CERTIFICATE_FILE} expired on {}", day(*.0))]
    Expired(SystemTime),
    /// The certificate is valid for this many days more.
    #[error("{CERTIFICATE_FILE} expires in {0} days")]
    ExpiresSoon(i64),
    /// Every authority in the folder was valid until this moment.
    #[error("the authority in {TRUST_FILE} expired on {}", day(*.0))]
    AuthorityExpired(SystemTime),
    /// The certificate in the authority's folder may not sign others.
    #[error("{TRUST_FILE} is not the certificate of an authority")]
    NotAnAuthority,
    /// The certificate is not signed by an authority in the folder's own `ca.crt`.
    #[error("{CERTIFICATE_FILE} is not signed by an authority in {TRUST_FILE}")]
    Untrusted,
    /// The certificate lacks an extended key usage that the role needs.
    #[error("{CERTIFICATE_FILE} lacks the extended key usage {0}")]
    Usage(&'static str),
    /// The folder does not trust the authority in the folder `ca` beside it.
    #[error("{TRUST_FILE} is not the authority in {AUTHORITY_FOLDER}")]
    OtherAuthority,
    /// TLS would refuse the certificate for another reason.
    #[error("{CERTIFICATE_FILE} would be refused")]
    Chain(#[source] webpki::Error),
}

/// Where a problem was found, for the commands that mend it.
pub(super) struct Surroundings<'a> {
    root: PathBuf,
    folder: &'a Path,
    name: String,
    certificate: Option<&'a Certificate>,
    /// Whether the authority beside the folder can sign, so that make-certs can mend it.
    authority_signs: bool,
}

impl Problem {
    /// Returns how grave it is.
    pub fn severity(&self) -> Severity {
        if matches!(self, Self::ExpiresSoon(_)) { Severity::Warning } else { Severity::Failure }
    }

    pub(super) fn remedy(&self, at: &Surroundings<'_>) -> String {
        match self {
            Self::File { source, file } if source.kind() != io::ErrorKind::NotFound => {
                format!("run this as the owner of {}", at.file(file))
            }
            Self::File { file, .. } | Self::Certificate { file, .. } if *file == TRUST_FILE => at.trust(),
            Self::File { file, .. } | Self::Key { file, .. } | Self::KeyMismatch { file }
                if *file == AUTHORITY_KEY_FILE =>
            {
                format!("put the key that belongs to {} back", at.file(TRUST_FILE))
            }
            Self::File { .. } | Self::Certificate { .. } | Self::Key { .. } => at.issue("a new certificate and key"),
            Self::KeyMismatch { .. } => at.renew("a certificate for this key"),
            Self::KeyExposed { file, .. } => format!("chmod 600 {}", at.file(file)),
            Self::FolderWritable { .. } => format!("chmod go-w {}", quoted_path(at.folder)),
            Self::Identity(_) => at.issue(
                "a certificate with the DNS names NAME.ROLE.CLUSTER.quoit.internal and ROLE.CLUSTER.quoit.internal",
            ),
            Self::NotYetValid(_) => "compare this machine's clock, or wait".to_owned(),
            Self::Expired(_) | Self::ExpiresSoon(_) => at.renew("a certificate with new dates"),
            Self::AuthorityExpired(_) | Self::NotAnAuthority => at.replace_authority(),
            Self::Untrusted | Self::OtherAuthority | Self::Chain(_) => {
                at.renew("a certificate, with any intermediates behind it in the file,")
            }
            Self::Usage(usage) => at.renew(&format!("a certificate with the extended key usage {usage}")),
        }
    }
}

impl<'a> Surroundings<'a> {
    pub(super) fn of(folder: &'a Path, certificate: Option<&'a Certificate>) -> Self {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let root = parent.unwrap_or(Path::new(".")).to_owned();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let authority_signs = root.join(AUTHORITY_FOLDER).join(AUTHORITY_KEY_FILE).exists();
        Self { root, folder, name, certificate, authority_signs }
    }

    fn file(&self, name: &str) -> String {
        quoted_path(&self.folder.join(name))
    }

    fn trust(&self) -> String {
        let beside = self.root.join(AUTHORITY_FOLDER).join(TRUST_FILE);
        if beside.exists() && self.name != AUTHORITY_FOLDER {
            format!("cp {} {}", quoted_path(&beside), self.file(TRUST_FILE))
        } else {
            format!("put the certificate of the authority into {}", self.file(TRUST_FILE))
        }
    }

    fn renew(&self, what: &str) -> String {
        self.command(&["renew", &self.name], what)
    }

    fn issue(&self, what: &str) -> String {
        let identity = self.certificate.and_then(|certificate| certificate.identity().ok());
        let named_after = Role::ALL.into_iter().find(|role| role.as_str() == self.name);
        let role = identity.map_or(named_after.unwrap_or(Role::Node), |identity| identity.role());
        let hosts = self.certificate.filter(|_| role == Role::Node).map(Certificate::hosts).unwrap_or_default();
        let mut words = vec![role.as_str(), &self.name];
        words.extend(hosts.iter().map(String::as_str));
        words.push("--force");
        self.command(&words, what)
    }

    fn replace_authority(&self) -> String {
        let (init, renew) = (make_certs(&self.root, &["init", "--force"]), make_certs(&self.root, &["renew"]));
        format!("{init} && {renew}")
    }

    /// Returns a command if make-certs can help, else what to ask the authority for.
    fn command(&self, words: &[&str], what: &str) -> String {
        if self.authority_signs { make_certs(&self.root, words) } else { format!("get {what} from your authority") }
    }
}
