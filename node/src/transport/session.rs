//! An open session: both sides know and have accepted each other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use quoit_client::{ErrorCode, Identity, Role, dial, frames::read_frame};
use quoit_proto_types::{frame::FrameHeader, limits, message::session::Hello};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    peers::{Direction, PeerSink},
    streams::{ByteBudget, LANES_MAX, RequestStream, StreamError},
};

/// Large replies one connection is sent at once; the next ones wait for their turn.
const LARGE_REPLIES_AT_ONCE: usize = 16;
/// Large replies one connection may have waiting or under way, as many as a client has streams for; one more is `Busy`.
const LARGE_REPLIES_MAX: usize = 256;
/// Bytes of these replies, which they keep in memory even if the store drops the values: beyond it, `Busy`. It is four
/// times the largest value.
const LARGE_REPLIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A reader that takes longer than this for one reply, with the wait for its turn, is not reading.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A dialler that was let in.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
    pub(crate) role: Role,
    pub(crate) hello: Hello,
    connection: Connection,
    /// Until it is [taken](Self::take_control).
    control: Option<(SendStream, RecvStream)>,
    large_replies: LargeReplies,
    lanes: Arc<Semaphore>,
}

/// The control stream of a client's session, from it and to it. The session lasts as long as both are open.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) asks: ControlReader,
    pub(crate) tells: ControlWriter,
}

/// What a client asks on the control stream.
#[derive(Debug)]
pub(crate) struct ControlReader(RecvStream);

/// What a client is told on the control stream.
#[derive(Debug)]
pub(crate) struct ControlWriter(SendStream);

impl ControlReader {
    /// The next frame, which has no body. Not cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<FrameHeader, StreamError> {
        // Whether the stream or the frame broke is all the same: there is nothing else that could come here.
        let (header, _) = read_frame(&mut self.0, limits::HELLO_BYTES_MAX).await.map_err(|_| StreamError::Gone)?;
        Ok(header)
    }
}

impl ControlWriter {
    /// Sends a frame whose body is `body`.
    pub(crate) async fn send(&mut self, header: FrameHeader, body: Bytes) -> Result<(), StreamError> {
        let mut head = BytesMut::new();
        header.encode_with(&mut head, body.len(), |_| {});
        let mut chunks = [head.freeze(), body];
        let written = timeout(WRITE_TIMEOUT, self.0.write_all_chunks(&mut chunks)).await;
        Ok(written.map_err(|_| StreamError::StalledReader)??)
    }
}

impl Session {
    pub(super) fn new(
        identity: Identity,
        role: Role,
        hello: Hello,
        connection: Connection,
        control: (SendStream, RecvStream),
    ) -> Self {
        let large_replies = LargeReplies::new(connection.clone());
        let lanes = Arc::new(Semaphore::new(LANES_MAX));
        Self { identity, role, hello, connection, control: Some(control), large_replies, lanes }
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Ends the session with a reason for the other side.
    pub(crate) fn close(&self, code: ErrorCode, text: &str) {
        dial::close(&self.connection, code, text);
    }

    /// The next stream on which requests come; `None` when the session is over. Cancel-safe.
    pub(crate) async fn next_stream(&self) -> Option<RequestStream> {
        let (send, recv) = self.connection.accept_bi().await.ok()?;
        Some(RequestStream::new(send, recv, Arc::clone(&self.lanes)))
    }

    /// Exchanges messages and heartbeats with the node at the other end until the session is over.
    pub(crate) async fn converse(mut self, sink: &PeerSink) {
        if let (Some(control), Some(node)) = (self.control.take(), &self.hello.node) {
            sink.converse(self.identity.name, node, Direction::In, self.connection, control).await;
        }
    }

    /// The control stream, once.
    pub(crate) fn take_control(&mut self) -> Option<Control> {
        let (tells, asks) = self.control.take()?;
        Some(Control { asks: ControlReader(asks), tells: ControlWriter(tells) })
    }

    /// Returns when the session is over.
    pub(crate) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// What sends large replies.
    pub(crate) fn large_replies(&self) -> &LargeReplies {
        &self.large_replies
    }
}

/// Sends replies that are too large for a lane, each on a stream of its own. Clones share the limits.
#[derive(Clone, Debug)]
pub(crate) struct LargeReplies {
    connection: Connection,
    slots: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    budget: ByteBudget,
}

/// All slots or bytes are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSlot;

impl LargeReplies {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            slots: Arc::new(Semaphore::new(LARGE_REPLIES_MAX)),
            turns: Arc::new(Semaphore::new(LARGE_REPLIES_AT_ONCE)),
            budget: ByteBudget::new(LARGE_REPLIES_BYTES_MAX),
        }
    }

    /// A reply that `answer` makes first, to be sent by awaiting the future. For answers that take a while and are few.
    pub(crate) fn reply_later<A>(&self, answer: A) -> Result<impl Future<Output = ()> + Send + use<A>, NoSlot>
    where
        A: Future<Output = (FrameHeader, Bytes)> + Send + 'static,
    {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| NoSlot)?;
        let connection = self.connection.clone();
        Ok(async move {
            let (header, value) = answer.await;
            let sent = timeout(WRITE_TIMEOUT, send(&connection, head_of(header, &[], &value), value)).await;
            if sent.is_err() {
                dial::close(&connection, ErrorCode::Protocol, "a reply was not read in time");
            }
            drop(slot);
        })
    }

    /// A reply to be sent by awaiting the future, which ends within [`WRITE_TIMEOUT`]: `front`, then `value`.
    /// Replies wait for their turn in order. The bytes count against this connection and against `node`, the budget of all,
    /// until the reply is sent.
    pub(crate) fn reply(
        &self,
        header: FrameHeader,
        front: &[u8],
        value: Bytes,
        node: &ByteBudget,
    ) -> Result<impl Future<Output = ()> + Send + use<>, NoSlot> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| NoSlot)?;
        let bytes = (self.budget.take_sending(value.len()), node.take_sending(value.len()));
        let (Some(own), Some(shared)) = bytes else {
            return Err(NoSlot);
        };
        let (connection, turns) = (self.connection.clone(), Arc::clone(&self.turns));
        let head = head_of(header, front, &value);
        Ok(async move {
            let sending = async {
                // The semaphore is never closed; without a turn there would be one reply more at once, no harm.
                let _turn = turns.acquire().await;
                send(&connection, head, value).await
            };
            let sent = timeout(WRITE_TIMEOUT, sending).await;
            if sent.is_err() {
                dial::close(&connection, ErrorCode::Protocol, "a reply was not read in time");
            }
            drop((slot, own, shared));
        })
    }
}

/// The frame in front of `value`.
fn head_of(header: FrameHeader, front: &[u8], value: &Bytes) -> Bytes {
    let mut head = BytesMut::new();
    header.encode_with(&mut head, value.len(), |out| out.extend_from_slice(front));
    head.freeze()
}

async fn send(connection: &Connection, head: Bytes, value: Bytes) -> Result<(), quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    stream.write_all_chunks(&mut [head, value]).await?;
    // The only failure is that the reader wanted no more.
    let _ = stream.finish();
    Ok(())
}
