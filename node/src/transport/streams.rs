//! Streams on which requests come: a lane carries many small ones, any other stream one with a large value.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use quoit_client::ErrorCode;
use quoit_proto_types::{
    frame::{FrameError, FrameHeader, FrameType, HEADER_BYTES},
    frame_reader::FrameReader,
    limits,
};
use tokio::time::{Sleep, sleep, timeout};

use super::{counters::Counters, session::WRITE_TIMEOUT};

/// Chunks taken from QUIC at once; a chunk is at most a packet.
const CHUNKS_AT_ONCE: usize = 32;
/// Replies are handed to QUIC when this many bytes have gathered, or all requests at hand are answered.
const FLUSH_BYTES: usize = 256 * 1024;
/// From a frame's first byte to its last, on a lane.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond [`FRAME_TIMEOUT`], a large value must come at this rate on average: slower senders are cut off.
const BODY_BYTES_PER_SECOND_MIN: u32 = 16 * 1024;

/// A stream that a client opened.
#[derive(Debug)]
pub(crate) struct RequestStream {
    send: SendStream,
    recv: RecvStream,
}

/// What a client opened a stream for.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Many small requests.
    Lane(Lane),
    /// One with a large value.
    Large(LargeRequest),
}

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The other side is gone, or has reset the stream.
    #[error("the stream is gone")]
    Gone,
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame did not complete in time.
    #[error("a frame took longer than {} s", FRAME_TIMEOUT.as_secs())]
    SlowFrame,
    /// Replies were not read in time.
    #[error("replies were not read for {} s", WRITE_TIMEOUT.as_secs())]
    StalledReader,
}

impl From<ReadError> for StreamError {
    fn from(_: ReadError) -> Self {
        Self::Gone
    }
}

impl From<WriteError> for StreamError {
    fn from(_: WriteError) -> Self {
        Self::Gone
    }
}

impl StreamError {
    /// What to close the connection with, if it is the other side's fault; counts it.
    pub(crate) fn fault(&self, counters: &Counters) -> Option<ErrorCode> {
        match self {
            Self::Gone => return None,
            Self::Frame(_) => counters.protocol_errors.add(),
            Self::SlowFrame => counters.slow_frames.add(),
            Self::StalledReader => counters.stalled_readers.add(),
        }
        Some(ErrorCode::Protocol)
    }
}

impl RequestStream {
    pub(super) fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv }
    }

    /// Reads the first header, which tells what the stream is for.
    pub(crate) async fn open(mut self) -> Result<Opened, StreamError> {
        let mut header = [0; HEADER_BYTES];
        match timeout(FRAME_TIMEOUT, self.recv.read_exact(&mut header)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(StreamError::Gone),
            Err(_) => return Err(StreamError::SlowFrame),
        }
        let decoded = FrameHeader::decode(&header)?;
        let body_bytes = decoded.body_bytes as usize;
        if decoded.kind == FrameType::Set && body_bytes > limits::LANE_BODY_BYTES_MAX {
            return Ok(Opened::Large(LargeRequest {
                stream: self,
                header: decoded,
                missing: body_bytes,
                until: Box::pin(sleep(body_time(decoded.body_bytes))),
            }));
        }
        let frames = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
        Ok(Opened::Lane(Lane { stream: self, first: header, frames }))
    }
}

fn body_time(bytes: u32) -> Duration {
    FRAME_TIMEOUT + Duration::from_secs(u64::from(bytes / BODY_BYTES_PER_SECOND_MIN))
}

/// A long-lived stream of small requests, answered in the order that suits.
#[derive(Debug)]
pub(crate) struct Lane {
    stream: RequestStream,
    first: [u8; HEADER_BYTES],
    frames: FrameReader,
}

impl Lane {
    /// Calls `handle` for every request, with the buffer for its reply, until the client closes the lane.
    ///
    /// All requests that have arrived are answered before anything is sent, and then all replies go out in one piece. While
    /// a client does not read its replies, its lane takes no more requests: that is the bound on its memory. `begin` is
    /// called after every wait, for what all requests handled until the next one share.
    pub(crate) async fn serve<B>(
        mut self,
        begin: impl Fn() -> B,
        handle: impl Fn(&B, FrameHeader, &[u8], &mut BytesMut),
    ) -> Result<(), StreamError> {
        let mut replies = BytesMut::new();
        let mut chunks: [Bytes; CHUNKS_AT_ONCE] = Default::default();
        let mut batch = begin();
        feed(&mut self.frames, &self.first, &batch, &handle, &mut replies)?;
        loop {
            self.stream.write(&mut replies).await?;
            let reading = self.stream.recv.read_chunks(&mut chunks);
            let count = if self.frames.is_between_frames() {
                reading.await?
            } else {
                timeout(FRAME_TIMEOUT, reading).await.map_err(|_| StreamError::SlowFrame)??
            };
            let Some(count) = count else {
                return Ok(());
            };
            batch = begin();
            for chunk in &mut chunks[..count] {
                feed(&mut self.frames, &std::mem::take(chunk), &batch, &handle, &mut replies)?;
                if replies.len() > FLUSH_BYTES {
                    self.stream.write(&mut replies).await?;
                    batch = begin();
                }
            }
        }
    }
}

/// Handles every request that `chunk` completes.
fn feed<B>(
    frames: &mut FrameReader,
    chunk: &[u8],
    batch: &B,
    handle: impl Fn(&B, FrameHeader, &[u8], &mut BytesMut),
    replies: &mut BytesMut,
) -> Result<(), StreamError> {
    frames.feed(chunk, |header, body| {
        handle(batch, header, body, replies);
        Ok(())
    })
}

impl RequestStream {
    async fn write(&mut self, replies: &mut BytesMut) -> Result<(), StreamError> {
        if replies.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, self.send.write_chunk(replies.split().freeze())).await;
        Ok(written.map_err(|_| StreamError::StalledReader)??)
    }
}

/// A request with a large value, whose body has not been read.
#[derive(Debug)]
pub(crate) struct LargeRequest {
    stream: RequestStream,
    pub(crate) header: FrameHeader,
    /// Bytes of the body that have not been handed out.
    missing: usize,
    /// Ends the wait for the body.
    until: Pin<Box<Sleep>>,
}

impl LargeRequest {
    /// The longest the value can be, before anything of it is read.
    pub(crate) fn value_bytes_at_least(&self) -> usize {
        (self.header.body_bytes as usize).saturating_sub(self.header.trace.bytes() + limits::REQUEST_HEADER_BYTES_MAX)
    }

    /// The beginning of the body, long enough for the request's own header; the value begins in it. Call it once, first.
    pub(crate) async fn head(&mut self) -> Result<Vec<u8>, StreamError> {
        let trace_bytes = self.header.trace.bytes();
        let mut head = Vec::new();
        while head.len() < trace_bytes + limits::REQUEST_HEADER_BYTES_MAX {
            let chunk = self.chunk().await?.ok_or(StreamError::Gone)?;
            head.extend_from_slice(&chunk);
        }
        head.drain(..trace_bytes);
        Ok(head)
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.missing == 0 {
            return Ok(None);
        }
        let reading = self.stream.recv.read_chunk(self.missing, true);
        let chunk = tokio::select! {
            biased;
            chunk = reading => chunk?.ok_or(StreamError::Gone)?,
            () = &mut self.until => return Err(StreamError::SlowFrame),
        };
        self.missing -= chunk.bytes.len();
        Ok(Some(chunk.bytes))
    }

    /// Answers, and tells the client to send no more of a body that was not read to its end.
    pub(crate) async fn reply(mut self, mut replies: BytesMut) -> Result<(), StreamError> {
        if self.missing > 0 {
            // Fails if everything has arrived already, which is as well.
            let _ = self.stream.recv.stop(u32::from(ErrorCode::ValueTooLarge.number()).into());
        }
        self.stream.write(&mut replies).await?;
        // Fails only if the client is gone.
        let _ = self.stream.send.finish();
        let delivered = timeout(WRITE_TIMEOUT, self.stream.send.stopped()).await;
        delivered.map(|_| ()).map_err(|_| StreamError::StalledReader)
    }
}

/// A budget of bytes, for values that are being received.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget(Arc<tokio::sync::Semaphore>);

/// Bytes taken from a [`ByteBudget`] until dropped.
pub(crate) type BytesTaken = tokio::sync::OwnedSemaphorePermit;

impl ByteBudget {
    /// Semaphores count permits: a permit is this many bytes.
    const UNIT_BYTES: usize = 1024;

    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(bytes / Self::UNIT_BYTES)))
    }

    /// Takes `bytes`, if there are as many left.
    pub(crate) fn take(&self, bytes: usize) -> Option<BytesTaken> {
        let units = u32::try_from(bytes.div_ceil(Self::UNIT_BYTES)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
    }
}
