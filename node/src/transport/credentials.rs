//! The node's certificates, read again when their files change. Established connections keep what they have.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use quoit_client::{
    CertificateFiles, CredentialsError, Identity, Role,
    endpoint::transport,
    tls::{self, PemBytes},
};
use tracing::{error, info};
use x509_parser::parse_x509_certificate;

use crate::{clock, node::StartError};

/// How often the files are looked at. Comparing their bytes, not their times, sees every way of replacing a file, the
/// symbolic links of Kubernetes included.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Handshakes that may wait, and the bytes they may hold, one and all together.
const HANDSHAKES_WAITING_MAX: usize = 1024;
const HANDSHAKE_BYTES_MAX: u64 = 64 * 1024;
const HANDSHAKES_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the node shows and whom it trusts.
#[derive(Debug)]
pub(crate) struct NodeCredentials {
    files: CertificateFiles,
    /// The bytes that are in force, to notice a change.
    loaded: Mutex<PemBytes>,
    current: ArcSwap<tls::Credentials>,
}

impl NodeCredentials {
    /// Loads the files and checks that they are a node's, and valid today.
    pub(crate) fn load(files: CertificateFiles) -> Result<Self, StartError> {
        let loaded = files.read()?;
        let credentials = checked(&loaded, &files)?;
        check_dates(&credentials)?;
        Ok(Self { files, loaded: Mutex::new(loaded), current: ArcSwap::from_pointee(credentials) })
    }

    pub(crate) fn identity(&self) -> Identity {
        self.current.load().identity().clone()
    }

    pub(crate) fn reset_key(&self) -> [u8; 32] {
        *self.current.load().reset_key()
    }

    /// For dialling other nodes.
    pub(crate) fn dialler(&self) -> Arc<QuicClientConfig> {
        self.current.load().dialler(Role::Node)
    }

    /// For listening.
    pub(crate) fn listener(&self) -> Result<quinn::ServerConfig, CredentialsError> {
        let tls = self.current.load().listener(&self.files)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        config
            .transport_config(transport(Role::Client))
            .migration(false)
            .max_incoming(HANDSHAKES_WAITING_MAX)
            .incoming_buffer_size(HANDSHAKE_BYTES_MAX)
            .incoming_buffer_size_total(HANDSHAKES_BYTES_MAX);
        Ok(config)
    }

    /// Reads the files; if they changed and are good, `endpoint` uses them from the next handshake on. If they are not
    /// good, what was loaded stays in force and the log says what to mend.
    pub(crate) fn reload(&self, endpoint: &Endpoint) {
        let outcome = self.files.read().and_then(|pem| {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            if pem == *loaded {
                return Ok(false);
            }
            // Noted even if it is of no use, so that a bad file is complained of once.
            loaded.clone_from(&pem);
            let credentials = checked(&pem, &self.files)?;
            let current = self.current.load();
            if credentials.identity() != current.identity() {
                let (path, found) = (self.files.certificate.clone(), credentials.identity().clone());
                let expected = Role::Node;
                return Err(CredentialsError::Role { path, found: Box::new(found), expected });
            }
            self.current.store(Arc::new(credentials));
            endpoint.set_server_config(Some(self.listener()?));
            Ok(true)
        });
        match outcome {
            Ok(true) => info!(event = "cert_reloaded", "certificates reloaded"),
            Ok(false) => {}
            Err(problem) => error!(
                event = "cert_reload_failed",
                advice = problem.advice(),
                "the new certificates are not used: {problem}"
            ),
        }
    }
}

fn checked(pem: &PemBytes, files: &CertificateFiles) -> Result<tls::Credentials, CredentialsError> {
    let credentials = tls::Credentials::from_pem(pem, files)?;
    let identity = credentials.identity();
    if identity.role == Role::Node {
        return Ok(credentials);
    }
    let (path, found) = (files.certificate.clone(), Box::new(identity.clone()));
    Err(CredentialsError::Role { path, found, expected: Role::Node })
}

/// A clock outside of the certificate's dates would make every peer refuse it; better to say so at once.
fn check_dates(credentials: &tls::Credentials) -> Result<(), StartError> {
    let Some(Ok((_, certificate))) = credentials.chain().first().map(|certificate| parse_x509_certificate(certificate))
    else {
        return Ok(());
    };
    let since_epoch = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
        return Ok(());
    }
    Err(StartError::CertificateDates {
        not_before: validity.not_before.to_string(),
        not_after: validity.not_after.to_string(),
        now: humantime::format_rfc3339_seconds(clock::wall()).to_string(),
    })
}
