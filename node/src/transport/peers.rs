//! Conversations with other nodes: messages on the control stream, heartbeats as datagrams, both in either direction.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::BytesMut;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use quoit_client::{
    Address, DialError, ErrorCode, Label,
    dial::{self, session_header},
    frames::read_frame,
};
use quoit_core::cluster::{Admission, Life, Reached};
use quoit_proto_types::{
    frame::FrameType,
    limits,
    message::{heartbeat::Heartbeat, membership::Applicant, peer::PeerMessage, session::NodeHello},
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};

use super::{peer_streams::PeerStreams, session::WRITE_TIMEOUT};

/// Messages that may wait for a peer. More are dropped; the protocol above repeats what matters.
const OUTBOX_MESSAGES: usize = 64;

/// What other nodes do and say, in the order in which it happens on each connection.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// What a seed leads to.
    Seed {
        /// The seed.
        seed: Address,
        /// The nodes behind its addresses, as far as they answered, this one included.
        names: Vec<Label>,
        /// Why there is none, if there is none.
        failures: Vec<DialError>,
    },
    /// Another process with this node's certificate answers there.
    Double {
        /// The seed.
        seed: Address,
    },
    /// Another process with this node's certificate dialled this one, and was refused.
    Namesake {
        /// Which process.
        life: Life,
        /// Where it says it is.
        address: Address,
    },
    /// A connection is up.
    Connected {
        /// With whom.
        peer: Label,
        /// With which of its processes.
        life: Life,
        /// The connection.
        link: PeerLink,
    },
    /// A peer sent a message.
    Message {
        /// Who.
        from: Label,
        /// On which connection.
        connection: ConnectionId,
        /// What.
        message: Box<PeerMessage>,
    },
    /// A connection is gone.
    Disconnected {
        /// With whom.
        peer: Label,
        /// Which.
        connection: ConnectionId,
        /// The peer ended it for this reason, if not [`Admission::Admitted`].
        verdict: Admission,
    },
    /// What came of an attempt to reach an applicant.
    Reached {
        /// Who.
        applicant: Box<Applicant>,
        /// What came of it.
        reached: Reached,
    },
}

/// A heartbeat that came in.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) from: Label,
    pub(crate) connection: ConnectionId,
    pub(crate) heartbeat: Heartbeat,
}

/// Names one connection for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId(u64);

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The peer.
    In,
    /// This node.
    Out,
}

/// A connection with a peer. The connection ends when the last clone is gone.
#[derive(Clone, Debug)]
pub(crate) struct PeerLink {
    pub(crate) id: ConnectionId,
    pub(crate) direction: Direction,
    /// That of the connection: what has to do with it runs best there.
    pub(crate) runtime: Handle,
    quic: Connection,
    outbox: mpsc::Sender<PeerMessage>,
}

impl PeerLink {
    /// Sends a message, and says whether there was room for it.
    pub(crate) fn send(&self, message: PeerMessage) -> bool {
        !matches!(self.outbox.try_send(message), Err(TrySendError::Full(_)))
    }

    /// Sends a heartbeat. If the peer is slow it takes the place of earlier ones.
    pub(crate) fn beat(&self, heartbeat: &Heartbeat) {
        let mut datagram = BytesMut::new();
        heartbeat.encode(&mut datagram);
        // A connection that is gone is reported elsewhere.
        let _ = self.quic.send_datagram(datagram.freeze());
    }

    /// The connection's streams for data, in both directions. They end with the connection and do not keep it.
    pub(crate) fn streams(&self) -> PeerStreams {
        PeerStreams::new(self.quic.clone())
    }

    /// Ends the connection with a reason for the other side.
    pub(crate) fn close(&self, code: ErrorCode, text: &str) {
        dial::close(&self.quic, code, text);
    }
}

/// Where everything goes that peers do and say.
#[derive(Clone, Debug)]
pub(crate) struct PeerSink {
    pub(crate) events: mpsc::Sender<PeerEvent>,
    /// Apart from the events, so that a heartbeat does not wait behind large messages.
    pub(crate) beats: mpsc::Sender<Beat>,
    next: Arc<AtomicU64>,
}

impl PeerSink {
    pub(crate) fn new(events: mpsc::Sender<PeerEvent>, beats: mpsc::Sender<Beat>) -> Self {
        Self { events, beats, next: Arc::default() }
    }

    /// Exchanges messages and heartbeats with `peer` until the connection ends.
    pub(crate) async fn converse(
        &self,
        peer: Label,
        node: &NodeHello,
        direction: Direction,
        quic: Connection,
        (send, recv): (SendStream, RecvStream),
    ) {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let life = Life { instance: node.instance, boot: node.boot, nonce: node.nonce };
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        let link = PeerLink { id, direction, runtime: Handle::current(), quic: quic.clone(), outbox };
        if self.events.send(PeerEvent::Connected { peer: peer.clone(), life, link }).await.is_err() {
            return;
        }
        tokio::select! {
            _ = quic.closed() => {}
            end = deliver(send, messages) => match end {
                Delivered::Unwanted => quic.close(0_u32.into(), b"not needed"),
                Delivered::Stuck => dial::close(&quic, ErrorCode::Protocol, "messages are not read"),
            },
            () = self.receive(&peer, id, recv) => dial::close(&quic, ErrorCode::Protocol, "not a peer message"),
            () = self.listen(&peer, id, &quic) => {}
        }
        let verdict = verdict(&quic);
        // A receiver that is gone needs to hear no more.
        let _ = self.events.send(PeerEvent::Disconnected { peer, connection: id, verdict }).await;
    }

    /// Passes messages on until one is none.
    async fn receive(&self, from: &Label, connection: ConnectionId, mut recv: RecvStream) {
        while let Ok((header, body)) = read_frame(&mut recv, limits::PEER_MESSAGE_BYTES_MAX).await {
            let message = match PeerMessage::decode(&body) {
                Ok(message) if header.kind == FrameType::Peer => Box::new(message),
                Ok(_) | Err(_) => return,
            };
            if self.events.send(PeerEvent::Message { from: from.clone(), connection, message }).await.is_err() {
                return;
            }
        }
    }

    /// Passes heartbeats on until the connection ends. Those that do not come in time for the receiver are dropped, as the
    /// network might have done.
    async fn listen(&self, from: &Label, connection: ConnectionId, quic: &Connection) {
        while let Ok(datagram) = quic.read_datagram().await {
            if let Ok(heartbeat) = Heartbeat::decode(&datagram) {
                let _ = self.beats.try_send(Beat { from: from.clone(), connection, heartbeat });
            }
        }
    }
}

/// Why no more messages are sent.
enum Delivered {
    /// This side wants the connection no longer.
    Unwanted,
    /// The other side does not read them, or is gone.
    Stuck,
}

async fn deliver(mut control: SendStream, mut messages: mpsc::Receiver<PeerMessage>) -> Delivered {
    while let Some(message) = messages.recv().await {
        let mut frame = BytesMut::new();
        session_header(FrameType::Peer).encode_with(&mut frame, 0, |out| message.encode(out));
        if !matches!(timeout(WRITE_TIMEOUT, control.write_chunk(frame.freeze())).await, Ok(Ok(()))) {
            return Delivered::Stuck;
        }
    }
    Delivered::Unwanted
}

/// Whether the peer has refused this process, and why.
fn verdict(quic: &Connection) -> Admission {
    let Some(ConnectionError::ApplicationClosed(close)) = quic.close_reason() else {
        return Admission::Admitted;
    };
    let code = u16::try_from(close.error_code.into_inner()).ok().and_then(ErrorCode::from_number);
    match code {
        Some(ErrorCode::Superseded) => Admission::Superseded,
        Some(ErrorCode::DuplicateIdentity) => Admission::Duplicate,
        Some(ErrorCode::NameInUse) => Admission::NameInUse,
        Some(_) | None => Admission::Admitted,
    }
}
