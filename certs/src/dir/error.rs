use std::io;
use std::path::{Path, PathBuf};

use crate::authority::{AuthorityError, IssueError};
use crate::certificate::CertificateError;
use crate::hint::{make_certs, quoted_path};
use crate::name::{Identity, IdentityError};

/// Why a folder of certificates cannot be read or changed. No folder is left half changed.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There are no certificates at all.
    #[error("there are no certificates in {}", .0.display())]
    Empty(PathBuf),
    /// There is no folder of this name.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// The authority, or the part of it that signs, is not there.
    #[error("there is no authority to sign with: {} is missing", missing.display())]
    NoAuthority {
        /// The file that is missing.
        missing: PathBuf,
    },
    /// The authority is there and cannot be used.
    #[error("cannot use the authority in {}", path.display())]
    Authority {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: AuthorityError,
    },
    /// The name belongs to the authority's folder.
    #[error("ca is the folder of the authority, not the name of an identity")]
    Reserved,
    /// The folder of the name holds another identity.
    #[error("{} holds {holds}, so {wanted} has no place", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
        /// Identity in the folder.
        holds: Box<Identity>,
        /// Identity asked for.
        wanted: Box<Identity>,
    },
    /// The folder is there and not a whole identity.
    #[error("{} is not a whole identity: it has no {missing}", path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The first file missing.
        missing: &'static str,
    },
    /// The folder to replace holds a file that would be lost.
    #[error("replacing the folder would lose {}", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// A certificate file cannot be understood.
    #[error("cannot read the certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CertificateError,
    },
    /// The names of a certificate are not one identity.
    #[error("{} is not a certificate of one identity", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with its names.
        #[source]
        source: IdentityError,
    },
    /// The certificate to renew has names, such as URIs, that would be lost.
    #[error("cannot renew {}: it has names other than DNS names and addresses", path.display())]
    OtherNames {
        /// The file.
        path: PathBuf,
    },
    /// The authority did not sign.
    #[error("cannot issue {what}")]
    Issue {
        /// What was to be issued.
        what: String,
        /// Why not.
        #[source]
        source: IssueError,
    },
}

impl DirError {
    /// Returns a command or a sentence that says how to go on, where there is one.
    pub fn remedy(&self, root: &Path) -> Option<String> {
        match self {
            Self::Empty(_) => Some(make_certs(root, &[])),
            Self::NoFolder(_) => Some(make_certs(root, &["list"])),
            Self::NoAuthority { missing } if missing.ends_with(crate::AUTHORITY_KEY_FILE) => {
                Some("run make-certs where the authority's key is kept".to_owned())
            }
            Self::NoAuthority { .. } => Some(make_certs(root, &["init"])),
            Self::Authority { source: AuthorityError::OtherCluster { has, wanted }, .. } => {
                Some(format!("leave --cluster {wanted} away for cluster {has}, or choose another folder with --out"))
            }
            Self::Authority { .. } => Some(make_certs(root, &["init", "--force"])),
            Self::Reserved => Some("choose another name".to_owned()),
            Self::Taken { path, .. } => Some(format!("choose another name, or move {} away", quoted_path(path))),
            Self::Incomplete { path, .. } | Self::Certificate { path, .. } | Self::Identity { path, .. } => {
                Some(format!("move {} away, or issue it again with --force", quoted_path(path)))
            }
            Self::Stranger { path } => Some(format!("move {} away", quoted_path(path))),
            Self::OtherNames { .. } => Some("get a new certificate where this one came from".to_owned()),
            Self::Issue { source: IssueError::AuthorityExpired(_), .. } => {
                let (init, renew) = (make_certs(root, &["init", "--force"]), make_certs(root, &["renew"]));
                Some(format!("{init} && {renew}"))
            }
            Self::Issue { source: IssueError::OutlivesAuthority { days, .. }, .. } if *days > 0 => {
                Some(format!("the same with --days {days}"))
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as the owner of the files, or choose another folder with --out".to_owned())
            }
            Self::Issue { .. } | Self::Io { .. } => None,
        }
    }

    /// Returns what turns the operating system's refusal into an error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
