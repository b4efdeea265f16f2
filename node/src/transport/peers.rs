//! Connections to the other founders: one for each seed address, dialled for as long as the node runs.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::BytesMut;
use quinn::{Connection, Endpoint, SendStream};
use quoit_client::{
    Address, DialError, ErrorCode, Label, Role,
    dial::{self, Dialled, Target, session_header},
};
use quoit_proto_types::{
    frame::FrameType,
    message::{
        peer::PeerMessage,
        session::{Hello, NodeHello},
    },
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
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

/// Who is behind a seed, and whether it is there.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// This node itself is behind the seed.
    Myself { seed: Address },
    /// Another process with this node's certificate is.
    Duplicate { seed: Address },
    /// This peer is, and takes messages.
    Connected { seed: Address, peer: Label, outbox: mpsc::Sender<PeerMessage> },
    /// The connection is lost.
    Disconnected { seed: Address, peer: Label },
    /// Nobody could be reached there.
    Unreachable { seed: Address, error: DialError },
    /// A peer sent a message, on a connection that it dialled.
    Message { from: Label, message: Box<PeerMessage> },
}

/// Keeps a connection to whoever is behind `seed`, until the receiver of `events` is gone or it is this node itself.
pub(crate) async fn keep_connected(dialler: Arc<PeerDialler>, seed: Address, events: mpsc::Sender<PeerEvent>) {
    loop {
        let Some(dialled) = dial_until_connected(&dialler, &seed, &events).await else {
            return;
        };
        let peer = dialled.peer.name.clone();
        let same_process = dialled.ack.node.as_ref().map(|node| node.nonce) == Some(dialler.hello.nonce);
        if peer == dialler.me {
            dial::close(&dialled.connection, ErrorCode::DialledSelf, "dialled itself");
            let event = if same_process {
                PeerEvent::Myself { seed: seed.clone() }
            } else {
                PeerEvent::Duplicate { seed: seed.clone() }
            };
            if events.send(event).await.is_err() || same_process {
                return;
            }
            sleep(REDIAL_MAX).await;
            continue;
        }
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        let connected = PeerEvent::Connected { seed: seed.clone(), peer: peer.clone(), outbox };
        if events.send(connected).await.is_err() {
            return;
        }
        deliver(dialled.connection, dialled.control.0, messages).await;
        if events.send(PeerEvent::Disconnected { seed: seed.clone(), peer }).await.is_err() {
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

/// Sends messages until the connection or their source ends.
async fn deliver(connection: Connection, mut control: SendStream, mut messages: mpsc::Receiver<PeerMessage>) {
    loop {
        let message = tokio::select! {
            biased;
            _ = connection.closed() => return,
            message = messages.recv() => match message {
                Some(message) => message,
                None => return,
            },
        };
        let mut frame = BytesMut::new();
        session_header(FrameType::Peer).encode_with(&mut frame, 0, |out| message.encode(out));
        let written = timeout(WRITE_TIMEOUT, control.write_chunk(frame.freeze())).await;
        if !matches!(written, Ok(Ok(()))) {
            dial::close(&connection, ErrorCode::Protocol, "a message was not read in time");
            return;
        }
    }
}
