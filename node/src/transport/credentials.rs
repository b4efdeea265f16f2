//! The node's certificates, read again when their files change. Established connections keep what they have.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use quinn::crypto::rustls::QuicClientConfig;
use quoit_client::{
    CertificateFiles, CredentialsError, Identity, Role,
    endpoint::transport,
    packets::{PacketBytes, is_on_this_machine},
    tls::{self, PemBytes},
};
use rustls::{
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{ServerName, UnixTime},
};
use tracing::{error, info};
use x509_parser::parse_x509_certificate;

use crate::{clock, node::StartError};

/// How often the files are looked at. Comparing their bytes, not their times, sees every way of replacing a file, the
/// symbolic links of Kubernetes included.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Handshakes that may wait at all endpoints of a node, and the bytes they may hold, one and all together.
const HANDSHAKES_WAITING_MAX: usize = 1024;
const HANDSHAKE_BYTES_MAX: u64 = 64 * 1024;
const HANDSHAKES_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// An address within the machine, and one beyond it.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Bytes of heartbeats that may wait to be read, for each connection. The oldest go first.
const DATAGRAMS_RECEIVED_BYTES: usize = 64 * 1024;

/// What the node shows and whom it trusts.
#[derive(Debug)]
pub(crate) struct NodeCredentials {
    files: CertificateFiles,
    seen: Mutex<Seen>,
    current: ArcSwap<tls::Credentials>,
    packets: PacketBytes,
    listening: ArcSwap<Listening>,
}

/// How connections are accepted.
#[derive(Debug)]
struct Listening {
    /// From within the machine: they carry larger packets than the others.
    from_here: Arc<quinn::ServerConfig>,
    from_elsewhere: Arc<quinn::ServerConfig>,
}

/// What the files held when they were last read.
#[derive(Debug)]
struct Seen {
    /// The bytes that are in force, to notice a change.
    loaded: PemBytes,
    /// What was last complained of, so that it is not said again: bytes of no use, or why there were none.
    refused: Option<Result<PemBytes, String>>,
}

impl NodeCredentials {
    /// Loads the files and checks that they are a node's, and that its peers will accept them today.
    pub(crate) fn load(files: CertificateFiles, packets: PacketBytes) -> Result<Self, StartError> {
        let loaded = files.read()?;
        let current = checked(&loaded, &files)?;
        let listening = ArcSwap::from_pointee(Listening::new(&current, &files, packets)?);
        let seen = Mutex::new(Seen { loaded, refused: None });
        Ok(Self { files, seen, current: ArcSwap::from_pointee(current), packets, listening })
    }

    pub(crate) fn identity(&self) -> Identity {
        self.current.load().identity().clone()
    }

    /// Until when the certificate is valid, in seconds since 1970.
    pub(crate) fn not_after_s(&self) -> i64 {
        let current = self.current.load();
        let certificate = current.chain().first().map(|certificate| parse_x509_certificate(certificate));
        match certificate {
            Some(Ok((_, certificate))) => certificate.validity().not_after.timestamp(),
            Some(Err(_)) | None => i64::MAX,
        }
    }

    /// The stateless-reset key of the socket of this number.
    pub(crate) fn reset_key(&self, socket: usize) -> [u8; 32] {
        self.current.load().reset_key(socket)
    }

    /// For dialling other nodes.
    pub(crate) fn dialler(&self) -> Arc<QuicClientConfig> {
        self.current.load().dialler(Role::Node)
    }

    /// For one of so many endpoints, who take from it what holds until a handshake begins, and that is never replaced.
    pub(crate) fn listener(&self, endpoints: usize) -> quinn::ServerConfig {
        let mut config = quinn::ServerConfig::clone(&self.listening.load().from_elsewhere);
        config
            .max_incoming(HANDSHAKES_WAITING_MAX.div_ceil(endpoints))
            .incoming_buffer_size(HANDSHAKE_BYTES_MAX)
            .incoming_buffer_size_total(HANDSHAKES_BYTES_MAX.div_ceil(endpoints as u64));
        config
    }

    /// For accepting a connection from `remote` now.
    pub(crate) fn listener_towards(&self, remote: SocketAddr) -> Arc<quinn::ServerConfig> {
        let listening = self.listening.load();
        Arc::clone(if is_on_this_machine(remote) { &listening.from_here } else { &listening.from_elsewhere })
    }

    /// Reads the files; if they changed and are good, they are used from the next handshake on. If they are not good, what
    /// was loaded stays in force and the log says what to mend, once.
    pub(crate) fn reload(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, found) = match self.files.read() {
            Ok(pem) if pem == seen.loaded => {
                seen.refused = None;
                return;
            }
            // Bytes that were refused are looked at again: their first day may have come.
            Ok(pem) => (self.replace(&pem), Ok(pem)),
            Err(error) => {
                let text = error.to_string();
                (Err(error.into()), Err(text))
            }
        };
        match (outcome, found) {
            (Ok(()), Ok(pem)) => {
                *seen = Seen { loaded: pem, refused: None };
                info!(event = "cert_reloaded", "certificates reloaded");
            }
            (Err(problem), found) if seen.refused.as_ref() != Some(&found) => {
                seen.refused = Some(found);
                error!(
                    event = "cert_reload_failed",
                    advice = problem.advice(),
                    "the new certificates are not used: {problem}"
                );
            }
            (Ok(()) | Err(_), _) => {}
        }
    }

    fn replace(&self, pem: &PemBytes) -> Result<(), StartError> {
        let credentials = checked(pem, &self.files)?;
        if credentials.identity() != self.current.load().identity() {
            let (path, found) = (self.files.certificate.clone(), credentials.identity().clone());
            let expected = Role::Node;
            return Err(CredentialsError::Role { path, found: Box::new(found), expected }.into());
        }
        // Everything that can fail comes before the first change.
        let listening = Listening::new(&credentials, &self.files, self.packets)?;
        self.listening.store(Arc::new(listening));
        self.current.store(Arc::new(credentials));
        Ok(())
    }
}

impl Listening {
    fn new(
        credentials: &tls::Credentials,
        files: &CertificateFiles,
        packets: PacketBytes,
    ) -> Result<Self, CredentialsError> {
        let from = |remote| listener(credentials, files, packets, remote).map(Arc::new);
        Ok(Self { from_here: from(HERE)?, from_elsewhere: from(ELSEWHERE)? })
    }
}

/// How connections are accepted from addresses such as `remote`.
fn listener(
    credentials: &tls::Credentials,
    files: &CertificateFiles,
    packets: PacketBytes,
    remote: SocketAddr,
) -> Result<quinn::ServerConfig, CredentialsError> {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(credentials.listener(files)?));
    let mut transport = transport(Role::Client, packets, remote);
    // Who dials is not known yet: it may be a node, which sends heartbeats.
    transport.datagram_receive_buffer_size(Some(DATAGRAMS_RECEIVED_BYTES));
    config.transport_config(Arc::new(transport)).migration(false);
    Ok(config)
}

fn checked(pem: &PemBytes, files: &CertificateFiles) -> Result<tls::Credentials, StartError> {
    let credentials = tls::Credentials::from_pem(pem, files)?;
    let identity = credentials.identity();
    if identity.role != Role::Node {
        let (path, found) = (files.certificate.clone(), Box::new(identity.clone()));
        return Err(CredentialsError::Role { path, found, expected: Role::Node }.into());
    }
    check_dates(&credentials)?;
    check_chain(&credentials).map_err(|reason| CredentialsError::Authority { path: files.ca.clone(), reason })?;
    Ok(credentials)
}

/// Whether a peer that trusts the same authorities would accept the certificate.
fn check_chain(credentials: &tls::Credentials) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(credentials.roots()), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let name = Role::Node.dns_name(&credentials.identity().cluster);
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let now = UnixTime::since_unix_epoch(clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let (own, intermediates) = credentials.chain().split_first().ok_or("there is no certificate")?;
    let verified = verifier.verify_server_cert(own, intermediates, &name, &[], now);
    verified.map(|_| ()).map_err(|error| format!("the node's own certificate does not stand up to it: {error}"))
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
