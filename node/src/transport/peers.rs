//! Connections to the other founders: one for each seed address, dialled for as long as the node runs.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::BytesMut;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use quoit_client::{
    Address, DialError, ErrorCode, Label, Role,
    dial::{self, Dialled, Target, session_header},
    frames::read_frame,
};
use quoit_proto_types::{
    frame::FrameType,
    limits,
    message::{
        peer::PeerMessage,
        session::{Hello, NodeHello},
    },
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::{credentials::NodeCredentials, session::WRITE_TIMEOUT};

/// One attempt to reach a seed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between attempts: short at first, when all nodes are just starting.
const REDIAL_MIN: Duration = Duration::from_millis(100);
const REDIAL_MAX: Duration = Duration::from_secs(2);
/// Messages that may wait for a peer. More are dropped; the protocol above repeats what matters.
const OUTBOX_MESSAGES: usize = 64;

/// Dials seeds as this node.
#[derive(Debug)]
pub(crate) struct PeerDialler {
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Arc<NodeCredentials>,
    pub(crate) cluster: Label,
    pub(crate) me: Label,
    pub(crate) hello: NodeHello,
    /// Seeds the jitter of the pauses.
    pub(crate) seed: u64,
}

/// Who is behind a seed, and what the other founders say.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// This node itself is behind the seed.
    Myself { seed: Address },
    /// Another process with this node's certificate is.
    Duplicate { seed: Address },
    /// This peer is.
    Learned { seed: Address, peer: Label },
    /// Nobody could be reached there.
    Unreachable { seed: Address, error: DialError },
    /// The connection for messages with this peer is up. It replaces an earlier one.
    Connected { peer: Label, connection: ConnectionId, outbox: mpsc::Sender<PeerMessage> },
    /// A peer sent a message.
    Message { from: Label, connection: ConnectionId, message: Box<PeerMessage> },
    /// A connection for messages is gone.
    Disconnected { peer: Label, connection: ConnectionId },
}

/// Tells a connection from the one that replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId(usize);

/// Keeps a connection to everybody that `seed` resolves to, as that changes: for a DNS name that stands for several nodes.
pub(crate) async fn keep_all_connected(dialler: Arc<PeerDialler>, seed: Address, events: mpsc::Sender<PeerEvent>) {
    let mut connections: BTreeMap<SocketAddr, AbortOnDropHandle<()>> = BTreeMap::new();
    loop {
        match dial::resolve(&seed, DIAL_TIMEOUT).await {
            Ok(addresses) => {
                connections.retain(|address, _| addresses.contains(address));
                for address in addresses {
                    connections.entry(address).or_insert_with(|| {
                        let connection = keep_connected(Arc::clone(&dialler), address.into(), events.clone());
                        AbortOnDropHandle::new(tokio::spawn(connection))
                    });
                }
            }
            Err(error) => {
                if events.send(PeerEvent::Unreachable { seed: seed.clone(), error }).await.is_err() {
                    return;
                }
            }
        }
        sleep(REDIAL_MAX).await;
    }
}

/// Keeps a connection to whoever is behind `seed`, until the receiver of `events` is gone or it is this node itself.
pub(crate) async fn keep_connected(dialler: Arc<PeerDialler>, seed: Address, events: mpsc::Sender<PeerEvent>) {
    while let Some(dialled) = dial_until_connected(&dialler, &seed, &events).await {
        let peer = dialled.peer.name.clone();
        if peer == dialler.me {
            let same_process = dialled.ack.node.as_ref().map(|node| node.nonce) == Some(dialler.hello.nonce);
            dial::close(&dialled.connection, ErrorCode::DialledSelf, "dialled itself");
            if same_process {
                // A receiver that is gone needs to hear no more.
                let _ = events.send(PeerEvent::Myself { seed }).await;
                return;
            }
            if events.send(PeerEvent::Duplicate { seed: seed.clone() }).await.is_err() {
                return;
            }
            sleep(REDIAL_MAX).await;
            continue;
        }
        let learned = PeerEvent::Learned { seed: seed.clone(), peer: peer.clone() };
        if events.send(learned).await.is_err() {
            return;
        }
        if carries_messages(&dialler.me, &peer) {
            converse(peer, &dialled.connection, dialled.control, &events).await;
        } else {
            dialled.connection.closed().await;
        }
    }
}

/// Whether the connection that `dialler` made is the one for messages with `listener`.
///
/// Founders dial each other both ways, to learn who is behind each seed. Messages go over one of the two connections, so
/// that they are in order and a connection that is lost is lost for both.
pub(crate) fn carries_messages(dialler: &Label, listener: &Label) -> bool {
    dialler < listener
}

/// Exchanges messages with `peer` until the connection ends.
pub(crate) async fn converse(
    peer: Label,
    quic: &Connection,
    (send, recv): (SendStream, RecvStream),
    events: &mpsc::Sender<PeerEvent>,
) {
    let connection = ConnectionId(quic.stable_id());
    let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
    if events.send(PeerEvent::Connected { peer: peer.clone(), connection, outbox }).await.is_err() {
        return;
    }
    tokio::select! {
        _ = quic.closed() => {}
        () = deliver(send, messages) => dial::close(quic, ErrorCode::Protocol, "messages are not read"),
        () = receive(&peer, connection, recv, events) => dial::close(quic, ErrorCode::Protocol, "not a peer message"),
    }
    // A receiver that is gone needs to hear no more.
    let _ = events.send(PeerEvent::Disconnected { peer, connection }).await;
}

/// Passes messages on until one is none.
async fn receive(from: &Label, connection: ConnectionId, mut recv: RecvStream, events: &mpsc::Sender<PeerEvent>) {
    while let Ok((header, body)) = read_frame(&mut recv, limits::PEER_MESSAGE_BYTES_MAX).await {
        let message = match PeerMessage::decode(&body) {
            Ok(message) if header.kind == FrameType::Peer => Box::new(message),
            Ok(_) | Err(_) => return,
        };
        if events.send(PeerEvent::Message { from: from.clone(), connection, message }).await.is_err() {
            return;
        }
    }
}

/// `None` when nobody wants the connection any more.
async fn dial_until_connected(
    dialler: &PeerDialler,
    seed: &Address,
    events: &mpsc::Sender<PeerEvent>,
) -> Option<Dialled> {
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(REDIAL_MIN)
        .with_max_delay(REDIAL_MAX)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(dialler.seed)
        .build();
    loop {
        let error = match dial_once(dialler, seed).await {
            Ok(dialled) => return Some(dialled),
            Err(error) => error,
        };
        debug!(%seed, %error, "seed not reached");
        events.send(PeerEvent::Unreachable { seed: seed.clone(), error }).await.ok()?;
        sleep(pauses.next().unwrap_or(REDIAL_MAX)).await;
    }
}

async fn dial_once(dialler: &PeerDialler, seed: &Address) -> Result<Dialled, DialError> {
    let hello = Hello { node: Some(dialler.hello.clone()) };
    let mut failure = None;
    for address in dial::resolve(seed, DIAL_TIMEOUT).await? {
        let server_name = Role::Node.dns_name(&dialler.cluster);
        let target = Target { address, server_name, role: Role::Node };
        let tls = dialler.credentials.dialler();
        match dial::dial(&dialler.endpoint, tls, &target, &hello, DIAL_TIMEOUT).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => failure = Some(error),
        }
    }
    let reason = "it has no address".into();
    Err(failure.unwrap_or_else(|| DialError::Resolve { address: seed.clone(), reason }))
}

/// Sends messages until their source ends or they are not read.
async fn deliver(mut control: SendStream, mut messages: mpsc::Receiver<PeerMessage>) {
    while let Some(message) = messages.recv().await {
        let mut frame = BytesMut::new();
        session_header(FrameType::Peer).encode_with(&mut frame, 0, |out| message.encode(out));
        if !matches!(timeout(WRITE_TIMEOUT, control.write_chunk(frame.freeze())).await, Ok(Ok(()))) {
            return;
        }
    }
}
