//! Mutual TLS 1.3 from PEM files: loading, checking, reloading, and saying in plain words why a peer was refused.
//!
//! The stock verifiers of rustls check chain, dates, usage and the name that was dialled. What they cannot know is done
//! here: a certificate speaks for exactly one identity, and its role matches the protocol that was negotiated.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quoit_proto_types::{Identity, IdentityError, Role};
use rustls::{
    RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

/// Where the three PEM files of an identity are.
///
/// ```
/// use quoit_client::CertificateFiles;
///
/// let files = CertificateFiles {
///     ca: "/etc/ssl/quoit-ca.crt".into(),
///     certificate: "/etc/ssl/app.crt".into(),
///     key: "/etc/ssl/private/app.key".into(),
/// };
/// // Where a folder is enough, its name is: a path becomes the three files in it.
/// assert_eq!(CertificateFiles::from("certs/client"), CertificateFiles::in_folder("certs/client"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificates that are trusted, one or more.
    pub ca: PathBuf,
    /// The own certificate, with intermediates if there are any.
    pub certificate: PathBuf,
    /// Its private key, readable by its owner alone.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// `ca.crt`, `tls.crt` and `tls.key` in `folder`: the names that `make-certs`, Kubernetes and cert-manager use.
    ///
    /// ```
    /// let files = quoit_client::CertificateFiles::in_folder("certs/client");
    /// assert_eq!(files.key, std::path::Path::new("certs/client/tls.key"));
    /// ```
    pub fn in_folder(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Self { ca: folder.join("ca.crt"), certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
    }

    /// Reads and checks the files, as [`Client::connect`](crate::Client::connect) does.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file and what to do.
    ///
    /// ```
    /// use quoit_client::{CertificateFiles, CredentialsError};
    ///
    /// match CertificateFiles::in_folder("no/such/folder").load() {
    ///     Ok(credentials) => println!("this is {}", credentials.identity()),
    ///     Err(error) => println!("{error}: {}", error.advice()),
    /// }
    /// # let error = CertificateFiles::in_folder("no/such/folder").load().unwrap_err();
    /// # assert!(matches!(error, CredentialsError::Unreadable { .. }));
    /// ```
    pub fn load(&self) -> Result<Credentials, CredentialsError> {
        Credentials::from_pem(&self.read()?, self)
    }

    /// The files' bytes, which change when the certificates do.
    ///
    /// # Errors
    /// A file that cannot be read, or a key that others may read.
    ///
    /// ```
    /// use quoit_client::{CertificateFiles, CredentialsError};
    ///
    /// let error = CertificateFiles::in_folder("no/such/folder").read().unwrap_err();
    /// assert!(matches!(error, CredentialsError::Unreadable { .. }));
    /// ```
    pub fn read(&self) -> Result<PemBytes, CredentialsError> {
        check_private(&self.key)?;
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| CredentialsError::Unreadable { path: path.clone(), source })
        };
        Ok(PemBytes { ca: read(&self.ca)?, certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

/// The content of the three files.
///
/// ```
/// use {quoit_client::CertificateFiles, std::fs};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("quoit-pem-bytes-{}", std::process::id()));
/// # fs::create_dir_all(&folder)?;
/// let files = CertificateFiles::in_folder(&folder);
/// # for path in [&files.ca, &files.certificate, &files.key] {
/// #     fs::write(path, "")?;
/// # }
/// # #[cfg(unix)]
/// # fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
/// let before = files.read()?;
/// assert_eq!(before, files.read()?);
/// fs::write(&files.certificate, "a renewed certificate")?;
/// assert_ne!(before, files.read()?);
/// // Whatever logs it, the private key stays out of the log.
/// assert_eq!(format!("{before:?}"), "PemBytes { .. }");
/// # fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PemBytes {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for PemBytes {
    /// Shows nothing: one of them is a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemBytes").finish_non_exhaustive()
    }
}

#[cfg(unix)]
fn check_private(key: &Path) -> Result<(), CredentialsError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(key).map_err(|source| CredentialsError::Unreadable { path: key.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(CredentialsError::KeyReadableByOthers { path: key.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_private(_key: &Path) -> Result<(), CredentialsError> {
    Ok(())
}

/// Why an identity cannot be used.
///
/// ```
/// use quoit_client::CredentialsError;
///
/// let error = CredentialsError::KeyReadableByOthers { path: "certs/client/tls.key".into(), mode: 0o644 };
/// assert_eq!(error.to_string(), "the private key certs/client/tls.key can be read by others (mode 644)");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file is missing or not readable by this user.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The private key can be read by others.
    #[error("the private key {} can be read by others (mode {mode:03o})", path.display())]
    KeyReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds no PEM of the expected kind.
    #[error("{} holds no {expected} in PEM form", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// The key does not belong to the certificate, or is of an unknown kind.
    #[error("{} and {} do not belong together", certificate.display(), key.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The certificate speaks for nobody.
    #[error("{} is not a Quoit certificate", path.display())]
    Identity {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// The certificate is for something else.
    #[error("{} is the certificate of {found}, not of a {expected}", path.display())]
    Role {
        /// The certificate.
        path: PathBuf,
        /// Who it speaks for.
        found: Box<Identity>,
        /// The role that is needed.
        expected: Role,
    },
    /// The trusted certificates cannot be used.
    #[error("{} cannot be used as the trusted authority: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        reason: String,
    },
}

impl CredentialsError {
    /// What to do about it, as a command or a sentence.
    ///
    /// ```
    /// use quoit_client::CredentialsError;
    ///
    /// let error = CredentialsError::KeyReadableByOthers { path: "certs/client/tls.key".into(), mode: 0o644 };
    /// assert_eq!(error.advice(), "chmod 600 certs/client/tls.key");
    /// ```
    pub fn advice(&self) -> String {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make-certs, or name the folder with --certs".into()
            }
            Self::Unreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::KeyReadableByOthers { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Role { expected, .. } => {
                format!("--certs FOLDER with the certificate of a {expected}; make-certs list shows them")
            }
            Self::NotPem { .. } | Self::KeyMismatch { .. } | Self::Identity { .. } | Self::Authority { .. } => {
                "make-certs check".into()
            }
        }
    }
}

/// A loaded identity: certificate, key, and whom it trusts.
///
/// ```no_run
/// use quoit_client::{CertificateFiles, Role};
///
/// let credentials = CertificateFiles::in_folder("certs/client").load()?;
/// println!("{} with {} certificates", credentials.identity(), credentials.chain().len());
/// let tls = credentials.dialler(Role::Client);
/// # Ok::<(), quoit_client::CredentialsError>(())
/// ```
#[derive(Debug)]
pub struct Credentials {
    identity: Identity,
    certified: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    /// Depends on the private key alone, so that it survives a restart.
    reset_key: [u8; 32],
}

impl Credentials {
    /// Checks `pem`; `files` name the culprit in errors.
    ///
    /// # Errors
    /// [`CredentialsError`], all but `Unreadable`.
    pub fn from_pem(pem: &PemBytes, files: &CertificateFiles) -> Result<Self, CredentialsError> {
        let not_pem = |path: &PathBuf, expected| CredentialsError::NotPem { path: path.clone(), expected };
        let chain = certificates(&pem.certificate).ok_or_else(|| not_pem(&files.certificate, "certificate"))?;
        let authorities = certificates(&pem.ca).ok_or_else(|| not_pem(&files.ca, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| not_pem(&files.key, "private key"))?;
        let reset_key = derived(key.secret_der(), b"quoit stateless reset");
        let identity = identity_of(&chain[0])
            .map_err(|source| CredentialsError::Identity { path: files.certificate.clone(), source })?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| {
            CredentialsError::KeyMismatch { certificate: files.certificate.clone(), key: files.key.clone(), source }
        })?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority)
                .map_err(|error| CredentialsError::Authority { path: files.ca.clone(), reason: error.to_string() })?;
        }
        Ok(Self { identity, certified: Arc::new(certified), roots: Arc::new(roots), reset_key })
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The own certificate and its intermediates.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The authorities it trusts.
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// 32 secret bytes that stay the same while the private key does: the stateless-reset key of the endpoint on the socket of this
    /// number, by which a restarted process ends its peers' dead connections in one round trip. Each has its own: with one for
    /// all, an endpoint that gets a stranger's packet for a connection of another one would tell the stranger how to end it
    /// (RFC 9000, 21.11).
    pub fn reset_key(&self, socket: usize) -> [u8; 32] {
        derived(&self.reset_key, &socket.to_le_bytes())
    }

    /// The TLS side of a dialler that speaks the protocol of `role`.
    ///
    /// # Panics
    /// Never: the provider has TLS 1.3 and its AES-128 suite.
    pub fn dialler(&self, role: Role) -> Arc<QuicClientConfig> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.certified))));
        config.alpn_protocols = vec![role.alpn().to_vec()];
        // A resumed session would outlive a revoked certificate.
        config.resumption = Resumption::disabled();
        Arc::new(initial_suite(QuicClientConfig::try_from(config)))
    }

    /// The TLS side of a listener that speaks every role's protocol and asks every dialler for a certificate.
    ///
    /// # Errors
    /// [`CredentialsError::Authority`] if no verifier can be built on the trusted certificates.
    ///
    /// # Panics
    /// Never: the provider has TLS 1.3 and its AES-128 suite.
    pub fn listener(&self, files: &CertificateFiles) -> Result<QuicServerConfig, CredentialsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
            .build()
            .map_err(|error| CredentialsError::Authority { path: files.ca.clone(), reason: error.to_string() })?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.certified))));
        config.alpn_protocols = Role::ALL.iter().map(|role| role.alpn().to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(initial_suite(QuicServerConfig::try_from(config)))
    }
}

fn initial_suite<C>(config: Result<C, NoInitialCipherSuite>) -> C {
    config.expect("the provider has the suite of QUIC's first packets")
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// A secret of its own for each `purpose`, of a `secret`.
fn derived(secret: &[u8], purpose: &[u8]) -> [u8; 32] {
    use ::aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut derived = [0; 32];
    derived.copy_from_slice(hmac::sign(&key, purpose).as_ref());
    derived
}

/// The one crypto provider: aws-lc-rs with AES-128 first, which costs least per packet where the CPU has AES.
///
/// Passed explicitly everywhere: two libraries that each install a process-wide default would collide.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let aes_128 = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != aes_128);
    Arc::new(provider)
}

/// Who `certificate` speaks for. It must have been verified already.
///
/// # Errors
/// [`IdentityError`] unless it names exactly one identity.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<Identity, IdentityError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| IdentityError::Missing)?;
    let names: Vec<&str> = parsed.valid_dns_names().collect();
    Identity::from_dns_names(names)
}

/// Who is at the other end of `connection`.
///
/// # Errors
/// [`IdentityError`] unless its certificate names exactly one identity.
pub fn peer_identity(connection: &quinn::Connection) -> Result<Identity, IdentityError> {
    let chain = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(IdentityError::Missing)?;
    identity_of(chain.first().ok_or(IdentityError::Missing)?)
}
