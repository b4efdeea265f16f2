//! An open session: both sides know and have accepted each other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use quoit_client::{ErrorCode, Identity, Role, dial};
use quoit_proto_types::{frame::FrameHeader, message::session::Hello};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::{
    peers::{self, PeerEvent},
    streams::RequestStream,
};

/// Large replies one connection may have under way; one more is answered `Busy`.
const LARGE_REPLIES_MAX: usize = 16;
/// A reader that takes longer than this for one reply is not reading.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A dialler that was let in.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
    pub(crate) role: Role,
    pub(crate) hello: Hello,
    connection: Connection,
    control: (SendStream, RecvStream),
    large_replies: Arc<Semaphore>,
}

impl Session {
    pub(super) fn new(
        identity: Identity,
        role: Role,
        hello: Hello,
        connection: Connection,
        control: (SendStream, RecvStream),
    ) -> Self {
        let large_replies = Arc::new(Semaphore::new(LARGE_REPLIES_MAX));
        Self { identity, role, hello, connection, control, large_replies }
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
        Some(RequestStream::new(send, recv))
    }

    /// Exchanges messages with the node at the other end, over the control stream, until the session is over.
    pub(crate) async fn converse(self, events: &mpsc::Sender<PeerEvent>) {
        peers::converse(self.identity.name, &self.connection, self.control, events).await;
    }

    /// Returns when the session is over.
    pub(crate) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// What is needed to send large replies, apart from the session.
    pub(crate) fn large_replies(&self) -> LargeReplies {
        let (connection, slots) = (self.connection.clone(), Arc::clone(&self.large_replies));
        LargeReplies { connection, slots }
    }
}

/// Sends replies that are too large for a lane, each on a stream of its own.
#[derive(Clone, Debug)]
pub(crate) struct LargeReplies {
    connection: Connection,
    slots: Arc<Semaphore>,
}

/// All slots are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoSlot;

impl LargeReplies {
    /// A reply to be sent by awaiting the future, which ends within [`WRITE_TIMEOUT`].
    pub(crate) fn reply(
        &self,
        header: FrameHeader,
        value: Bytes,
    ) -> Result<impl Future<Output = ()> + Send + use<>, NoSlot> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| NoSlot)?;
        let connection = self.connection.clone();
        Ok(async move {
            let sent = timeout(WRITE_TIMEOUT, send(&connection, header, value)).await;
            if sent.is_err() {
                dial::close(&connection, ErrorCode::Protocol, "a reply was not read in time");
            }
            drop(slot);
        })
    }
}

async fn send(connection: &Connection, header: FrameHeader, value: Bytes) -> Result<(), quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    let mut head = BytesMut::new();
    header.encode_with(&mut head, value.len(), |_| {});
    stream.write_all_chunks(&mut [head.freeze(), value]).await?;
    // The only failure is that the reader wanted no more.
    let _ = stream.finish();
    Ok(())
}
