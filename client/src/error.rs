//! What can go wrong, and what a caller may conclude from it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use quinn::ConnectionError;
use quoit_proto_types::{ErrorCode, IdentityError, RetryClass, message::client::Refusal, view::Address};

use crate::tls::CredentialsError;

/// Why a node could not be connected to. No request has been sent when it occurs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host name has no address.
    #[error("cannot resolve {address}: {reason}")]
    Resolve {
        /// What was looked up.
        address: Address,
        /// What the resolver says.
        reason: String,
    },
    /// Nobody answered.
    #[error("no answer from {address} within {}", humane(*.waited))]
    Timeout {
        /// Who was dialled.
        address: SocketAddr,
        /// For how long.
        waited: Duration,
    },
    /// This side refused the node's certificate.
    #[error("the node at {address} was refused: {reason}")]
    NodeRefused {
        /// Who was dialled.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The node refused this side's certificate.
    #[error("{address} refused this certificate: {reason}")]
    CertificateRefused {
        /// Who was dialled.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The node closed the session with a reason of its own.
    #[error("{address} closed the session: {code}{}", detail(.text))]
    SessionRefused {
        /// Who was dialled.
        address: SocketAddr,
        /// The reason.
        code: ErrorCode,
        /// The reason in the node's words.
        text: String,
    },
    /// The node's certificate speaks for nobody.
    #[error("the certificate of {address} is of no use")]
    Identity {
        /// Who was dialled.
        address: SocketAddr,
        /// Why.
        source: IdentityError,
    },
    /// The connection failed otherwise.
    #[error("the connection to {address} failed: {reason}")]
    Failed {
        /// Who was dialled.
        address: SocketAddr,
        /// What the transport says.
        reason: String,
    },
    /// The own certificate files cannot be used (any more).
    #[error(transparent)]
    Credentials(Arc<CredentialsError>),
}

impl DialError {
    /// Reads what the transport says of a failed connection to `address`.
    pub fn from_connection(address: SocketAddr, error: &ConnectionError, waited: Duration) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Timeout { address, waited },
            ConnectionError::TransportError(error) => match tls_alert(u64::from(error.code)) {
                Some(_) => Self::NodeRefused { address, reason: error.reason.clone() },
                None => Self::Failed { address, reason: error.to_string() },
            },
            ConnectionError::ConnectionClosed(close) => match tls_alert(u64::from(close.error_code)) {
                Some(alert) => Self::CertificateRefused { address, reason: alert_text(alert).to_owned() },
                None => Self::Failed { address, reason: close.to_string() },
            },
            ConnectionError::ApplicationClosed(close) => {
                let number = u16::try_from(close.error_code.into_inner()).ok();
                let text = printable(&close.reason);
                match number.and_then(ErrorCode::from_number) {
                    Some(code) => Self::SessionRefused { address, code, text },
                    None => Self::Failed { address, reason: text },
                }
            }
            ConnectionError::VersionMismatch
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Self::Failed { address, reason: error.to_string() },
        }
    }

    /// Whether certificates or rights are the cause: trying again is of no use until they change.
    pub fn is_about_identity(&self) -> bool {
        match self {
            Self::NodeRefused { .. }
            | Self::CertificateRefused { .. }
            | Self::Identity { .. }
            | Self::Credentials(_) => true,
            Self::SessionRefused { code, .. } => {
                matches!(code, ErrorCode::WrongRole | ErrorCode::WrongCluster | ErrorCode::BadIdentity)
            }
            Self::Resolve { .. } | Self::Timeout { .. } | Self::Failed { .. } => false,
        }
    }

    /// What to do about it, as a command or a sentence.
    pub fn advice(&self) -> String {
        match self {
            Self::Resolve { address, .. } => format!("getent hosts {address}, without the port"),
            Self::Timeout { address, .. } => {
                format!("is a node listening on {address}/udp, and does a firewall let UDP pass?")
            }
            Self::NodeRefused { reason, .. } => node_advice(reason).to_owned(),
            Self::CertificateRefused { .. } => {
                "make-certs check: both sides need certificates of one authority, within their dates".into()
            }
            Self::SessionRefused { code, .. } => session_advice(*code).to_owned(),
            Self::Identity { .. } => "make-certs check, on the node's side".into(),
            Self::Failed { .. } => "look at the node's log".into(),
            Self::Credentials(error) => error.advice(),
        }
    }
}

impl From<CredentialsError> for DialError {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(Arc::new(error))
    }
}

fn node_advice(reason: &str) -> &'static str {
    if reason.contains("NotValidForName") || reason.contains("not valid for name") {
        "another node, or a node of another cluster, answers there: check the address and --cluster"
    } else if reason.contains("xpired") {
        "make-certs renew, on the node's side; then check this machine's clock with date"
    } else if reason.contains("NotValidYet") || reason.contains("not valid yet") {
        "this machine's clock is behind the certificate's first day: date"
    } else if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        "the node's certificate is of another authority: use the ca.crt that signed it"
    } else {
        "make-certs check, on the node's side"
    }
}

fn session_advice(code: ErrorCode) -> &'static str {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only some reasons have a remedy of their own")]
    match code {
        ErrorCode::WrongRole => "use a certificate of the right role: make-certs list shows them",
        ErrorCode::WrongCluster => "use a certificate of this cluster: make-certs list shows them",
        ErrorCode::BadIdentity => "make-certs check, then make-certs renew",
        ErrorCode::VersionUnsupported => "upgrade the older of the two",
        ErrorCode::TooManyConnections => "close idle clients, or raise the node's limit",
        _ => "look at the node's log",
    }
}

/// The TLS alert in a transport error code, if it is one (RFC 9001, section 4.8).
fn tls_alert(code: u64) -> Option<u8> {
    (0x100..0x200).contains(&code).then(|| code.to_le_bytes()[0])
}

/// What an alert means to the one who receives it (RFC 8446, section 6).
fn alert_text(alert: u8) -> &'static str {
    match alert {
        42 | 43 => "it is malformed or not meant for this use",
        44 => "it is revoked",
        45 => "it has expired, or is not valid yet by the other side's clock",
        46 => "it was not accepted",
        48 | 51 => "it is of an authority that the other side does not trust",
        49 | 80 => "access denied",
        116 => "a certificate is required: there is no anonymous access",
        120 => "no protocol in common: is it a Quoit node of this version?",
        _ => "the TLS handshake failed",
    }
}

fn detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(1000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn humane(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// Why [`Client::connect`](crate::Client::connect) failed. Nothing is left behind.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The own certificates cannot be used.
    #[error(transparent)]
    Credentials(Arc<CredentialsError>),
    /// No seeds were given.
    #[error("no seed addresses were given")]
    NoSeeds,
    /// A socket cannot be opened.
    #[error("cannot open a UDP socket")]
    Socket(#[source] Arc<std::io::Error>),
    /// No seed led to a cluster in time; the last answer of each.
    #[error("cannot connect through any of {}", join(attempts))]
    Unreachable {
        /// Each seed and why it did not do.
        attempts: Vec<(Address, DialError)>,
    },
    /// A seed answered, but its cluster has not formed.
    #[error("{seed} answered, but its cluster has not formed: {text}")]
    NotFormed {
        /// Who answered.
        seed: Address,
        /// What it waits for.
        text: String,
    },
}

fn join(attempts: &[(Address, DialError)]) -> String {
    attempts.iter().map(|(seed, _)| seed.to_string()).collect::<Vec<_>>().join(", ")
}

impl From<CredentialsError> for ConnectError {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(Arc::new(error))
    }
}

/// Why a request failed. A miss is never an error and an error never a miss.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The key is empty or longer than 1 KiB. Nothing was sent.
    #[error("a key of {bytes} bytes: keys have 1 to {max} bytes", max = quoit_proto_types::limits::KEY_BYTES_MAX)]
    KeyInvalid {
        /// The key's length.
        bytes: usize,
    },
    /// The value is longer than the cluster takes. Nothing was written.
    #[error("a value of {bytes} bytes exceeds the limit of {limit}")]
    ValueTooLarge {
        /// The value's length.
        bytes: usize,
        /// The longest the cluster takes.
        limit: u64,
    },
    /// Too many requests are in flight to this node. Nothing was sent.
    #[error("too many requests are in flight to {node}")]
    Busy {
        /// The node.
        node: String,
    },
    /// The node cannot be connected to. Nothing was sent.
    #[error("{node} cannot be reached")]
    Unavailable {
        /// The node.
        node: String,
        /// Why.
        source: DialError,
    },
    /// No answer in time.
    #[error("no answer from {node} within {}", humane(*.waited))]
    Timeout {
        /// The node.
        node: String,
        /// How long was waited.
        waited: Duration,
        /// Whether the node may have acted on the request.
        effect: Effect,
    },
    /// The connection was lost before the answer.
    #[error("the connection to {node} was lost: {reason}")]
    ConnectionLost {
        /// The node.
        node: String,
        /// What the transport says.
        reason: String,
        /// Whether the node may have acted on the request.
        effect: Effect,
    },
    /// The node refused, and said why. It has not acted on the request.
    #[error("{node} refused: {}{}", .refusal.code, detail(&.refusal.text))]
    Refused {
        /// The node.
        node: String,
        /// What it said.
        refusal: Refusal,
    },
    /// The view names no owner for the key.
    #[error("no node owns the key in the view of epoch {epoch}")]
    NoOwner {
        /// The view's number.
        epoch: u64,
    },
    /// The node's answer breaks the protocol.
    #[error("{node} answered out of protocol: {reason}")]
    Protocol {
        /// The node.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Whether a failed request may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did not reach the node.
    None,
    /// It may have been carried out.
    Unknown,
}

impl RequestError {
    /// Whether the same request may succeed when repeated. Repeating is safe only if it is idempotent or
    /// [`has_no_side_effects`](Self::has_no_side_effects).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::ConnectionLost { .. }
            | Self::NoOwner { .. } => true,
            Self::Refused { refusal, .. } => refusal.code.retry_class() != RetryClass::Never,
            Self::KeyInvalid { .. } | Self::ValueTooLarge { .. } | Self::Protocol { .. } | Self::Closed => false,
        }
    }

    /// Whether it is certain that the request changed nothing.
    pub fn has_no_side_effects(&self) -> bool {
        match self {
            Self::Timeout { effect, .. } | Self::ConnectionLost { effect, .. } => *effect == Effect::None,
            Self::Protocol { .. } => false,
            Self::KeyInvalid { .. }
            | Self::ValueTooLarge { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Refused { .. }
            | Self::NoOwner { .. }
            | Self::Closed => true,
        }
    }
}
