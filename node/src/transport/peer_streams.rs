//! What nodes ask of each other's data, on the connection that they talk on: lanes and single requests from either side, as
//! clients open them, and replies that are too large for a lane.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use quoit_client::{ErrorCode, dial, frames::read_frame};
use quoit_proto_types::{
    frame::{FrameHeader, FrameType},
    frame_reader::FrameReader,
    limits,
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    session::{LargeReplies, WRITE_TIMEOUT},
    streams::{LANES_MAX, RequestStream, StreamError},
};

/// Chunks taken from QUIC at once; a chunk is at most a packet.
const CHUNKS_AT_ONCE: usize = 32;
/// Below everything else: what is asked in the background yields to requests.
const BACKGROUND_PRIORITY: i32 = -10;

/// The streams for data of one connection with a peer. Clones share the connection and its limits.
#[derive(Clone, Debug)]
pub(crate) struct PeerStreams {
    quic: Connection,
    lanes: Arc<Semaphore>,
    large_replies: LargeReplies,
}

/// How urgent a request on a stream of its own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody waits for it.
    Request,
    /// It yields to everything else.
    Background,
}

/// The connection is gone, or what came on it is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl PeerStreams {
    pub(super) fn new(quic: Connection) -> Self {
        let large_replies = LargeReplies::new(quic.clone());
        Self { quic, lanes: Arc::new(Semaphore::new(LANES_MAX)), large_replies }
    }

    /// The next stream that the peer opens for requests; `None` when the connection is over. Cancel-safe.
    pub(crate) async fn next_stream(&self) -> Option<RequestStream> {
        let (send, recv) = self.quic.accept_bi().await.ok()?;
        Some(RequestStream::new(send, recv, Arc::clone(&self.lanes)))
    }

    /// The next reply that is too large for a lane; `None` when the connection is over. Cancel-safe.
    pub(crate) async fn next_large_reply(&self) -> Option<LargeReply> {
        self.quic.accept_uni().await.ok().map(LargeReply)
    }

    /// Opens a lane.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn open_lane(&self) -> Result<(LaneWriter, LaneReader), Gone> {
        let (send, recv) = self.quic.open_bi().await.map_err(|_| Gone)?;
        let frames = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
        Ok((LaneWriter(send), LaneReader { recv, frames, chunks: Default::default() }))
    }

    /// Asks one request on a stream of its own, `head` and then `value`, and returns the reply. Cancel-safe: a request that is
    /// not sent yet is taken back, and its reply is not read.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn exchange(
        &self,
        urgency: Urgency,
        head: Bytes,
        value: Bytes,
    ) -> Result<(FrameHeader, Bytes), Gone> {
        let (send, mut recv) = self.quic.open_bi().await.map_err(|_| Gone)?;
        let mut send = ResetOnDrop(send);
        if urgency == Urgency::Background {
            // Fails only for a stream that is gone, which the write tells as well.
            let _ = send.0.set_priority(BACKGROUND_PRIORITY);
        }
        // A peer that does not want the value stops the stream and still says why on the way back.
        if send.0.write_all_chunks(&mut [head, value]).await.is_ok() {
            let _ = send.0.finish();
        }
        let reply = read_frame(&mut recv, FrameType::TransferReply.body_bytes_max()).await;
        let (header, body) = reply.map_err(|_| Gone)?;
        Ok((header, body.into()))
    }

    /// What sends replies that are too large for a lane.
    pub(crate) fn large_replies(&self) -> &LargeReplies {
        &self.large_replies
    }

    /// Ends the connection with a reason for the other side.
    pub(crate) fn close(&self, code: ErrorCode, text: &str) {
        dial::close(&self.quic, code, text);
    }
}

/// quinn finishes a dropped stream as if its data were complete. A request that is given up must be reset instead.
#[derive(Debug)]
struct ResetOnDrop(SendStream);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        // Without effect once everything has been acknowledged, as it has when a reply is here.
        let _ = self.0.reset(0_u32.into());
    }
}

/// A reply on a stream of its own that has not been read.
#[derive(Debug)]
pub(crate) struct LargeReply(RecvStream);

impl LargeReply {
    /// Reads it.
    ///
    /// # Errors
    /// [`Gone`], also if it takes longer than a reader may.
    pub(crate) async fn read(mut self) -> Result<(FrameHeader, Bytes), Gone> {
        let reply = timeout(WRITE_TIMEOUT, read_frame(&mut self.0, FrameType::Entry.body_bytes_max())).await;
        let (header, body) = reply.map_err(|_| Gone)?.map_err(|_| Gone)?;
        Ok((header, body.into()))
    }
}

/// The end of a lane into which requests go.
#[derive(Debug)]
pub(crate) struct LaneWriter(SendStream);

impl LaneWriter {
    /// Hands whole frames over, in one piece.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn write(&mut self, frames: Bytes) -> Result<(), Gone> {
        self.0.write_chunk(frames).await.map_err(|_| Gone)
    }
}

/// The end of a lane out of which replies come.
#[derive(Debug)]
pub(crate) struct LaneReader {
    recv: RecvStream,
    frames: FrameReader,
    chunks: [Bytes; CHUNKS_AT_ONCE],
}

/// What has arrived on a lane.
#[derive(Debug)]
pub(crate) struct Arrived<'l> {
    frames: &'l mut FrameReader,
    chunks: &'l mut [Bytes],
}

impl LaneReader {
    /// Waits for more; `None` at the lane's end. Cancel-safe.
    pub(crate) async fn more(&mut self) -> Option<Arrived<'_>> {
        let count = self.recv.read_chunks(&mut self.chunks).await.ok()??;
        Some(Arrived { frames: &mut self.frames, chunks: &mut self.chunks[..count] })
    }
}

impl Arrived<'_> {
    /// Calls `each` with every frame that is complete, in order.
    ///
    /// # Errors
    /// [`StreamError::Frame`] for what is no frame. The lane is of no use afterwards.
    pub(crate) fn frames(self, mut each: impl FnMut(FrameHeader, &[u8])) -> Result<(), StreamError> {
        for chunk in self.chunks {
            self.frames.feed(&std::mem::take(chunk), |header, body| {
                each(header, body);
                Ok::<_, StreamError>(())
            })?;
        }
        Ok(())
    }
}
