//! What can go wrong, and what a caller may conclude from it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use quinn::ConnectionError;
use quoit_proto_types::{ErrorCode, IdentityError, Label, RetryClass, message::client::Refusal, view::Address};

use crate::tls::CredentialsError;

/// Why a node could not be connected to. No request has been sent when it occurs.
///
/// ```
/// use {quoit_client::DialError, std::time::Duration};
///
/// let error = DialError::Timeout { address: ([10, 0, 0, 7], 7750).into(), waited: Duration::from_secs(3) };
/// assert_eq!(error.to_string(), "no answer from 10.0.0.7:7750 within 3.0 s");
/// ```
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
    /// This machine has no socket from which the node can be reached.
    #[error("cannot open a UDP socket towards {address}: {reason}")]
    Socket {
        /// Who was to be dialled.
        address: SocketAddr,
        /// What the system says.
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
    /// Reads what the transport says of a failed connection to `address`. Control characters become spaces in what the
    /// node says, and long texts are cut, so that no node can write to a terminal or fill a log.
    ///
    /// ```
    /// use {quinn::ConnectionError, quoit_client::DialError, std::time::Duration};
    ///
    /// let address = ([127, 0, 0, 1], 7750).into();
    /// let error = DialError::from_connection(address, &ConnectionError::TimedOut, Duration::from_millis(800));
    /// assert_eq!(error.to_string(), "no answer from 127.0.0.1:7750 within 800 ms");
    /// ```
    pub fn from_connection(address: SocketAddr, error: &ConnectionError, waited: Duration) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Timeout { address, waited },
            ConnectionError::TransportError(error) => match tls_alert(u64::from(error.code)) {
                Some(_) => Self::NodeRefused { address, reason: printable(error.reason.as_bytes()) },
                None => Self::Failed { address, reason: printable(error.to_string().as_bytes()) },
            },
            ConnectionError::ConnectionClosed(close) => match tls_alert(u64::from(close.error_code)) {
                Some(alert) => Self::CertificateRefused { address, reason: alert_text(alert).to_owned() },
                None => Self::Failed { address, reason: printable(close.to_string().as_bytes()) },
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
    ///
    /// ```
    /// use quoit_client::{DialError, ErrorCode};
    ///
    /// let address = ([127, 0, 0, 1], 7750).into();
    /// let refused = |code| DialError::SessionRefused { address, code, text: String::new() };
    /// assert!(refused(ErrorCode::WrongRole).is_about_identity());
    /// assert!(!refused(ErrorCode::TooManyConnections).is_about_identity());
    /// ```
    pub fn is_about_identity(&self) -> bool {
        match self {
            Self::NodeRefused { .. }
            | Self::CertificateRefused { .. }
            | Self::Identity { .. }
            | Self::Credentials(_) => true,
            Self::SessionRefused { code, .. } => {
                matches!(code, ErrorCode::WrongRole | ErrorCode::WrongCluster | ErrorCode::BadIdentity)
            }
            Self::Resolve { .. } | Self::Socket { .. } | Self::Timeout { .. } | Self::Failed { .. } => false,
        }
    }

    /// What to do about it, as a command or a sentence.
    ///
    /// ```
    /// use quoit_client::DialError;
    ///
    /// let (address, reason) = (([127, 0, 0, 1], 7750).into(), "certificate expired".into());
    /// let advice = DialError::NodeRefused { address, reason }.advice();
    /// assert_eq!(advice, "make-certs renew, on the node's side; then check this machine's clock with date");
    /// ```
    pub fn advice(&self) -> String {
        match self {
            Self::Resolve { address, .. } => format!("getent hosts {address}, without the port"),
            Self::Socket { address, .. } => format!("ulimit -n, and ip route get {}", address.ip()),
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
///
/// ```
/// use quoit_client::{Client, ClientConfig, ConnectError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), quoit_client::AddressError> {
/// let config = ClientConfig::new("no/such/folder", ["localhost:7750"])?;
/// match Client::connect(config).await.unwrap_err() {
///     ConnectError::Credentials(error) => println!("{error}: {}", error.advice()),
///     ConnectError::Unreachable { attempts } => {
///         for (seed, error) in attempts {
///             println!("{seed}: {error}: {}", error.advice());
///         }
///     }
///     error => println!("{error}"),
/// }
/// # let config = ClientConfig::new("no/such/folder", ["localhost:7750"])?;
/// # assert!(matches!(Client::connect(config).await, Err(ConnectError::Credentials(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The own certificates cannot be used.
    #[error(transparent)]
    Credentials(Arc<CredentialsError>),
    /// No seeds were given.
    #[error("no seed addresses were given")]
    NoSeeds,
    /// The socket of [`ClientConfig::transport`](crate::ClientConfig::transport) cannot be used.
    #[error("cannot use the socket that was given")]
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
///
/// What few errors say much of is boxed: every result has room for an error, and is as large as that.
///
/// ```
/// use quoit_client::{ErrorCode, Refusal, RequestError};
///
/// use quoit_client::Effect;
///
/// let refusal = Box::new(Refusal::new(ErrorCode::Busy, 20));
/// let error = RequestError::Refused { node: "n1".into(), refusal, effect: Effect::None };
/// assert_eq!(error.to_string(), "n1 refused: the node is busy");
/// ```
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
        source: Box<DialError>,
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
    /// The node refused, and said why. A write that too few nodes hold ([`ErrorCode::Unavailable`]), or that one of them
    /// turned down for its version ([`ErrorCode::ClockSkew`], [`ErrorCode::TooOld`]) or for want of memory
    /// ([`ErrorCode::ValueTooLarge`]), may be held by others all the same: then it is not acknowledged, and may yet be read.
    #[error("{node} refused: {}{}", .refusal.code, detail(&.refusal.text))]
    Refused {
        /// The node.
        node: String,
        /// What it said.
        refusal: Box<Refusal>,
        /// Whether something may have been written.
        effect: Effect,
    },
    /// The view names no owner for the key.
    #[error("no node owns the key in the view of epoch {epoch}")]
    NoOwner {
        /// The view's number.
        epoch: u64,
    },
    /// The view has no member of this name. Nothing was sent.
    #[error("no member is called {name} in the view of epoch {epoch}")]
    NoSuchMember {
        /// The name.
        name: Label,
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
///
/// ```
/// use quoit_client::{Effect, RequestError};
///
/// fn may_have_been_written(error: &RequestError) -> bool {
///     matches!(error, RequestError::ConnectionLost { effect: Effect::Unknown, .. })
/// }
///
/// let lost = |effect| RequestError::ConnectionLost { node: "n1".into(), reason: "reset by peer".into(), effect };
/// assert!(may_have_been_written(&lost(Effect::Unknown)));
/// assert!(!may_have_been_written(&lost(Effect::None)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changed nothing.
    None,
    /// It may have been carried out.
    Unknown,
}

impl RequestError {
    /// Whether the same request may succeed when repeated. Repeating is safe only if it is idempotent or
    /// [`has_no_side_effects`](Self::has_no_side_effects).
    ///
    /// ```
    /// use quoit_client::RequestError;
    ///
    /// assert!(RequestError::Busy { node: "n1".into() }.is_retryable());
    /// assert!(!RequestError::KeyInvalid { bytes: 0 }.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::ConnectionLost { .. }
            | Self::NoOwner { .. } => true,
            Self::Refused { refusal, .. } => refusal.code.retry_class() != RetryClass::Never,
            Self::KeyInvalid { .. }
            | Self::ValueTooLarge { .. }
            | Self::NoSuchMember { .. }
            | Self::Protocol { .. }
            | Self::Closed => false,
        }
    }

    /// What sort of error it is, in a word or two, for those who count them.
    ///
    /// ```
    /// assert_eq!(quoit_client::RequestError::Closed.kind(), "closed");
    /// ```
    pub fn kind(&self) -> &'static str {
        match self {
            Self::KeyInvalid { .. } => "invalid key",
            Self::ValueTooLarge { .. } => "value too large",
            Self::Busy { .. } => "busy",
            Self::Unavailable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::ConnectionLost { .. } => "connection lost",
            Self::Refused { .. } => "refused",
            Self::NoOwner { .. } => "no owner",
            Self::NoSuchMember { .. } => "no such member",
            Self::Protocol { .. } => "out of protocol",
            Self::Closed => "closed",
        }
    }

    /// The error with what caused it, on one line.
    ///
    /// ```
    /// let error = quoit_client::RequestError::Closed;
    /// assert_eq!(error.with_causes(), error.to_string());
    /// ```
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// Whether it is certain that the request changed nothing.
    ///
    /// ```
    /// use {quoit_client::{Effect, RequestError}, std::time::Duration};
    ///
    /// let (node, waited) = ("n1".into(), Duration::from_secs(1));
    /// let timeout = RequestError::Timeout { node, waited, effect: Effect::Unknown };
    /// assert!(timeout.is_retryable() && !timeout.has_no_side_effects());
    /// ```
    pub fn has_no_side_effects(&self) -> bool {
        match self {
            Self::Timeout { effect, .. } | Self::ConnectionLost { effect, .. } | Self::Refused { effect, .. } => {
                *effect == Effect::None
            }
            Self::Protocol { .. } => false,
            Self::KeyInvalid { .. }
            | Self::ValueTooLarge { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::NoOwner { .. }
            | Self::NoSuchMember { .. }
            | Self::Closed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use quinn::{ConnectionClose, TransportErrorCode};

    use super::*;

    const HOSTILE: &str = "\u{1b}[2Jsorry\r\n";
    const HARMLESS: &str = " [2Jsorry  ";

    fn reason(error: &ConnectionError) -> String {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others carry no text of the peer's")]
        match DialError::from_connection(([127, 0, 0, 1], 7750).into(), error, Duration::ZERO) {
            DialError::NodeRefused { reason, .. } | DialError::Failed { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    fn closed(reason: String) -> ConnectionError {
        let error_code = TransportErrorCode::PROTOCOL_VIOLATION;
        ConnectionError::ConnectionClosed(ConnectionClose { error_code, frame_type: None, reason: reason.into() })
    }

    fn failed(code: TransportErrorCode) -> ConnectionError {
        let mut error = ConnectionError::TransportError(code.into());
        if let ConnectionError::TransportError(inner) = &mut error {
            inner.reason = HOSTILE.into();
        }
        error
    }

    #[test]
    fn a_peers_text_reaches_no_terminal_unchanged() {
        let check = |error: &ConnectionError| {
            let reason = reason(error);
            assert!(reason.ends_with(HARMLESS), "{reason:?}");
        };
        check(&closed(HOSTILE.into()));
        check(&failed(TransportErrorCode::PROTOCOL_VIOLATION));
        check(&failed(TransportErrorCode::crypto(42)));
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(reason(&closed("x".repeat(5000))).chars().count(), 1000);
    }
}
