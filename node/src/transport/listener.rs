//! Lets in who may come: handshake, identity, role, cluster, protocol version, in that order, each refusal with its reason.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use quinn::{Connection, ConnectionError, Incoming, crypto::rustls::HandshakeData};
use quoit_client::{
    ErrorCode, Identity, Label, Role,
    dial::{self, session_header},
    frames::read_frame,
    tls::peer_identity,
};
use quoit_proto_types::{
    frame::FrameType,
    limits,
    message::session::{Hello, HelloAck, HelloError},
};
use tokio::time::timeout;

use super::{
    counters::Counters, credentials::NodeCredentials, endpoint::Endpoints, refusals::RefusalLog, session::Session,
};

/// From the first packet to an open session.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Handshakes under way at once, in all and from one address. A handshake costs a millisecond of CPU.
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKES_PER_ADDRESS_MAX: usize = 16;
/// Above this many, in all or from one address, a dialler must first prove its address by answering a retry packet. An
/// address that is not proven may be forged, so no limit on an address refuses it: its owner would be locked out.
const HANDSHAKES_UNPROVEN_MAX: usize = 64;
const HANDSHAKES_UNPROVEN_PER_ADDRESS_MAX: usize = 4;

/// Accepts sessions on the node's endpoints.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) endpoints: Endpoints,
    pub(crate) credentials: Arc<NodeCredentials>,
    pub(crate) cluster: Label,
    pub(crate) log: RefusalLog,
    pub(crate) counters: Arc<Counters>,
    handshakes: Mutex<Handshakes>,
}

#[derive(Debug, Default)]
struct Handshakes {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Counts one handshake for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Handshake {
    listener: Arc<Listener>,
    incoming: Option<Incoming>,
    remote: SocketAddr,
}

/// Why a dialler was not let in.
#[derive(Debug)]
struct Refused {
    cause: &'static str,
    reason: String,
    /// What the connection is closed with; `None` if TLS has closed it.
    code: Option<ErrorCode>,
}

impl Listener {
    pub(crate) fn new(
        endpoints: Endpoints,
        credentials: Arc<NodeCredentials>,
        cluster: Label,
        log: RefusalLog,
        counters: Arc<Counters>,
    ) -> Self {
        Self { endpoints, credentials, cluster, log, counters, handshakes: Mutex::default() }
    }

    /// The next dialler who comes to this one of the endpoints, not yet let in; `None` once they are closed. Cancel-safe.
    pub(crate) async fn next(self: &Arc<Self>, endpoint: usize) -> Option<Handshake> {
        loop {
            let incoming = self.endpoints.accept(endpoint).await?;
            let remote = incoming.remote_address();
            match self.admit(&incoming) {
                Admission::Begin => {
                    let listener = Arc::clone(self);
                    return Some(Handshake { listener, incoming: Some(incoming), remote });
                }
                Admission::ProveAddress => {
                    // Fails only for an address that is proven, which `admit` has excluded.
                    let _ = incoming.retry();
                }
                Admission::Refuse => {
                    self.counters.handshakes_refused.add();
                    self.log.refused(remote, "too many handshakes", "refused: too many handshakes at once");
                    incoming.refuse();
                }
            }
        }
    }

    fn admit(&self, incoming: &Incoming) -> Admission {
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let proof = if incoming.remote_address_validated() { Proof::Given } else { Proof::Missing };
        handshakes.admit(incoming.remote_address().ip(), proof)
    }
}

impl Handshakes {
    /// Counts a handshake if it may begin.
    fn admit(&mut self, address: IpAddr, proof: Proof) -> Admission {
        let from_there = self.by_address.get(&address).copied().unwrap_or_default();
        let (all_max, from_there_max, beyond) = match proof {
            Proof::Given => (HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, Admission::Refuse),
            Proof::Missing => (HANDSHAKES_UNPROVEN_MAX, HANDSHAKES_UNPROVEN_PER_ADDRESS_MAX, Admission::ProveAddress),
        };
        if self.all >= HANDSHAKES_MAX {
            return Admission::Refuse;
        }
        if self.all >= all_max || from_there >= from_there_max {
            return beyond;
        }
        self.all += 1;
        *self.by_address.entry(address).or_default() += 1;
        Admission::Begin
    }
}

/// Whether a dialler has shown that it receives what is sent to its address.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Given,
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Begin,
    ProveAddress,
    Refuse,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut handshakes = self.listener.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        handshakes.all -= 1;
        let address = self.remote.ip();
        if let Some(count) = handshakes.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                handshakes.by_address.remove(&address);
            }
        }
    }
}

impl Handshake {
    /// Completes the handshake and answers `Hello` with what `acknowledge` says; `None` if the dialler was refused, which
    /// has been logged then. All within [`HANDSHAKE_TIMEOUT`].
    pub(crate) async fn complete(mut self, acknowledge: impl FnOnce(&Hello) -> HelloAck) -> Option<Session> {
        let incoming = self.incoming.take()?;
        let shake = async {
            let config = self.listener.credentials.listener_towards(self.remote);
            let accepted = async { incoming.accept_with(config)?.await };
            let connection = match accepted.await {
                Ok(connection) => connection,
                Err(error) => return Err((None, refused_by_tls(&error))),
            };
            match self.open(&connection, acknowledge).await {
                Ok(session) => Ok(session),
                Err(refused) => Err((Some(connection), refused)),
            }
        };
        let late = || {
            let reason = format!("refused: no session within {} s", HANDSHAKE_TIMEOUT.as_secs());
            Refused { cause: "handshake timeout", reason, code: Some(ErrorCode::HandshakeTimeout) }
        };
        let outcome = timeout(HANDSHAKE_TIMEOUT, shake).await.unwrap_or_else(|_| Err((None, late())));
        match outcome {
            Ok(session) => Some(session),
            Err((connection, refused)) => {
                self.refuse(connection.as_ref(), &refused);
                None
            }
        }
    }

    fn refuse(&self, connection: Option<&Connection>, refused: &Refused) {
        if let (Some(connection), Some(code)) = (connection, refused.code) {
            dial::close(connection, code, &refused.reason);
        }
        self.listener.counters.handshakes_refused.add();
        self.listener.log.refused(self.remote, refused.cause, &refused.reason);
    }

    async fn open(
        &self,
        connection: &Connection,
        acknowledge: impl FnOnce(&Hello) -> HelloAck,
    ) -> Result<Session, Refused> {
        let identity =
            peer_identity(connection).map_err(|error| refuse(ErrorCode::BadIdentity, "bad identity", error))?;
        let role = negotiated_role(connection)
            .ok_or_else(|| refuse(ErrorCode::Protocol, "no protocol", "no known ALPN protocol"))?;
        check_rights(&identity, role, &self.listener.cluster)?;
        let failed = |error: &dyn std::fmt::Display| {
            refuse(ErrorCode::Protocol, "handshake failed", format!("the handshake failed: {error}"))
        };
        let mut control = connection.accept_bi().await.map_err(|error| failed(&error))?;
        let (header, body) =
            read_frame(&mut control.1, limits::HELLO_BYTES_MAX).await.map_err(|error| failed(&error))?;
        if header.kind != FrameType::Hello {
            return Err(failed(&format!("it began with {:?}", header.kind)));
        }
        let (hello, session) = Hello::decode(&body).map_err(|error| match error {
            HelloError::Version(mismatch) => refuse(ErrorCode::VersionUnsupported, "version", mismatch),
            HelloError::Decode(error) => failed(&error),
        })?;
        if (role == Role::Node) != hello.node.is_some() {
            return Err(failed(&"only nodes introduce themselves as nodes, and they must"));
        }
        let ack = HelloAck { session, ..acknowledge(&hello) };
        let mut out = BytesMut::new();
        session_header(FrameType::HelloAck).encode_with(&mut out, 0, |out| quoit_proto_types::codec::encode(&ack, out));
        control.0.write_all(&out).await.map_err(|error| failed(&error))?;
        Ok(Session::new(identity, role, hello, connection.clone(), control))
    }
}

/// Whether the holder of `identity` may speak the protocol of `role` with a node of `cluster`.
fn check_rights(identity: &Identity, role: Role, cluster: &Label) -> Result<(), Refused> {
    if identity.cluster != *cluster {
        let reason = format!("{identity} dialled a node of cluster {cluster}");
        return Err(refuse(ErrorCode::WrongCluster, "wrong cluster", reason));
    }
    if identity.role != role {
        let reason = format!("{identity} spoke the protocol of a {role}");
        return Err(refuse(ErrorCode::WrongRole, "wrong role", reason));
    }
    Ok(())
}

fn negotiated_role(connection: &Connection) -> Option<Role> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    Role::from_alpn(&data.protocol?)
}

fn refuse(code: ErrorCode, cause: &'static str, reason: impl std::fmt::Display) -> Refused {
    Refused { cause, reason: format!("refused: {reason}"), code: Some(code) }
}

/// Names the reason for which TLS ended a handshake.
fn refused_by_tls(error: &ConnectionError) -> Refused {
    let text = error.to_string();
    // Two authorities of one name look alike until the signature is checked.
    let known = [
        ("UnknownIssuer", "unknown authority"),
        ("BadSignature", "unknown authority"),
        ("expired", "expired"),
        ("not valid yet", "not yet valid"),
        ("no certificates", "no certificate"),
        ("extended key usage", "wrong usage"),
        ("no application protocol", "no protocol"),
        ("aborted by peer", "refused by the dialler"),
    ];
    let cause = known.iter().find(|(mark, _)| text.contains(mark)).map_or("handshake failed", |k| k.1);
    let reason = if let ConnectionError::ConnectionClosed(close) = error {
        format!("the dialler broke the handshake off: {close}")
    } else {
        format!("refused: {cause}: {text}")
    };
    Refused { cause, reason, code: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_packets_lock_nobody_out() {
        let mut handshakes = Handshakes::default();
        let victim = IpAddr::from([10, 0, 0, 1]);
        for forged in 0..100 {
            let expected = if forged < 4 { Admission::Begin } else { Admission::ProveAddress };
            assert_eq!(handshakes.admit(victim, Proof::Missing), expected);
        }
        assert_eq!(handshakes.admit(victim, Proof::Given), Admission::Begin);
        // Nor do packets in the name of many.
        for other in 0..=255 {
            assert_ne!(handshakes.admit(IpAddr::from([10, 0, 1, other]), Proof::Missing), Admission::Refuse);
        }
        assert_eq!(handshakes.admit(victim, Proof::Given), Admission::Begin);
    }

    #[test]
    fn a_proven_address_has_its_limit() {
        let mut handshakes = Handshakes::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let begun = (0..100).filter(|_| handshakes.admit(address, Proof::Given) == Admission::Begin).count();
        assert_eq!(begun, HANDSHAKES_PER_ADDRESS_MAX);
        assert_eq!(handshakes.admit(address, Proof::Given), Admission::Refuse);
    }
}
