//! Streams on which requests come: a lane carries many small ones, any other stream one that is large.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use quoit_client::ErrorCode;
use quoit_proto_types::{
    codec,
    frame::{FrameError, FrameHeader, FrameType, HEADER_BYTES},
    frame_reader::FrameReader,
    limits,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::{Sleep, sleep, timeout},
};

use super::{counters::Counters, deferred::Deferred, halves::Halves, session::WRITE_TIMEOUT};

/// Lanes of one connection: each may hold [`FLUSH_BYTES`] of replies. A client of this project opens two.
pub(super) const LANES_MAX: usize = 8;
/// Chunks taken from QUIC at once.
const CHUNKS_AT_ONCE: usize = 32;
/// Replies are handed to QUIC when this many bytes have gathered, or all requests at hand are answered. One more reply is
/// the most that a lane holds beyond it.
const FLUSH_BYTES: usize = 256 * 1024;
/// From a frame's first byte to its last, on a lane; for a stream's first header alike.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// After a first window of grace, a large value must bring this many bytes in every window: 16 KiB/s, whatever came before.
const BODY_WINDOW: Duration = Duration::from_secs(5);
const BODY_WINDOW_BYTES_MIN: usize = 5 * 16 * 1024;

/// A stream that a client, or a peer, opened.
#[derive(Debug)]
pub(crate) struct RequestStream {
    send: SendStream,
    recv: RecvStream,
    /// A permit for each lane that the connection may have.
    lanes: Arc<Semaphore>,
    /// As many bytes of replies were written last, and are likely to be again.
    usual_bytes: usize,
}

/// What a stream was opened for.
#[derive(Debug)]
pub(crate) enum Opened<'s> {
    /// Many small requests.
    Lane(Lane<'s>),
    /// One with a large value, or one of a peer's in the background.
    Large(LargeRequest<'s>),
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
    #[error("a frame, or a part of a large value, took longer than {} s", FRAME_TIMEOUT.as_secs())]
    SlowFrame,
    /// More comes where the one request of a large value should end.
    #[error("bytes behind a large value")]
    Trailing,
    /// The connection has all the lanes it may have.
    #[error("more than {LANES_MAX} lanes")]
    TooManyLanes,
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
            Self::Frame(_) | Self::Trailing | Self::TooManyLanes => counters.protocol_errors.add(),
            Self::SlowFrame => counters.slow_frames.add(),
            Self::StalledReader => counters.stalled_readers.add(),
        }
        Some(ErrorCode::Protocol)
    }
}

impl RequestStream {
    pub(super) fn new(send: SendStream, recv: RecvStream, lanes: Arc<Semaphore>) -> Self {
        Self { send, recv, lanes, usual_bytes: 0 }
    }

    /// Reads the first header, which tells what the stream is for.
    ///
    /// Waits for its first byte without a limit: a client may open a lane long before it has a request for it, and QUIC
    /// opens a stream as soon as a later one is used.
    ///
    /// After an error, close the session before the stream is dropped: a dropped stream ends as if all were well.
    pub(crate) async fn open(&mut self) -> Result<Opened<'_>, StreamError> {
        let mut header = [0; HEADER_BYTES];
        let (first, rest) = header.split_at_mut(1);
        self.recv.read_exact(first).await.map_err(|_| StreamError::Gone)?;
        match timeout(FRAME_TIMEOUT, self.recv.read_exact(rest)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(StreamError::Gone),
            Err(_) => return Err(StreamError::SlowFrame),
        }
        let decoded = FrameHeader::decode(&header)?;
        let body_bytes = decoded.body_bytes as usize;
        let is_write = matches!(decoded.kind, FrameType::Set | FrameType::ReplicaPut);
        let is_large = is_write && body_bytes - decoded.trace.bytes() > limits::LANE_BODY_BYTES_MAX;
        if is_large || decoded.kind == FrameType::Transfer {
            return Ok(Opened::Large(LargeRequest {
                stream: self,
                header: decoded,
                missing: body_bytes,
                window: Box::pin(sleep(BODY_WINDOW)),
                window_bytes: BODY_WINDOW_BYTES_MIN,
            }));
        }
        let permit = Arc::clone(&self.lanes).try_acquire_owned().map_err(|_| StreamError::TooManyLanes)?;
        Ok(Opened::Lane(Lane { stream: self, first: header, _permit: permit }))
    }
}

/// A long-lived stream of small requests, answered in the order that suits.
#[derive(Debug)]
pub(crate) struct Lane<'s> {
    stream: &'s mut RequestStream,
    first: [u8; HEADER_BYTES],
    /// Counts the lane.
    _permit: OwnedSemaphorePermit,
}

impl Lane<'_> {
    /// Calls `handle` for every request, with the buffer for its reply, until the client closes the lane.
    ///
    /// Requests that have arrived are answered before anything is sent, or half of them where they are many, and then all
    /// replies go out in one piece, unless they are long, and those with them that were `deferred` and have been given
    /// meanwhile. While a client does not read its replies, its lane takes no more requests: that is the bound on its memory.
    /// `begin` is called after every wait, for what all requests handled until the next one share; `foresee` with what is at hand,
    /// before any of it is handled: it says of how many requests it took a look.
    pub(crate) async fn serve<B>(
        self,
        deferred: &Deferred,
        begin: impl Fn() -> B,
        foresee: impl Fn(&FrameReader, &[u8]) -> usize,
        handle: impl Fn(&B, FrameHeader, &[u8], &mut BytesMut),
    ) -> Result<(), StreamError> {
        let mut frames = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
        let mut replies = BytesMut::new();
        let mut chunks: [Bytes; CHUNKS_AT_ONCE] = Default::default();
        chunks[0] = Bytes::copy_from_slice(&self.first);
        let mut count = 1;
        // Runs from the first read that leaves a frame incomplete until that frame is complete.
        let mut too_late = pin!(None::<Sleep>);
        loop {
            let mut batch = begin();
            codec::reserve(&mut replies, self.stream.usual_bytes);
            let mut left: usize = chunks[..count].iter().map(Bytes::len).sum();
            let mut halves = Halves::of(left);
            for chunk in &mut chunks[..count] {
                let chunk = std::mem::take(chunk);
                left -= chunk.len();
                let (mut rest, mut foreseen) = (&chunk[..], 0usize);
                loop {
                    if foreseen == 0 && !rest.is_empty() {
                        foreseen = foresee(&frames, rest);
                    }
                    let Some((header, body)) = frames.next_frame(&mut rest)? else { break };
                    foreseen = foreseen.saturating_sub(1);
                    too_late.set(None);
                    let more = header.more;
                    handle(&batch, header, body, &mut replies);
                    let is_half_done = halves.is_cut_after(more, left + rest.len()) && !replies.is_empty();
                    if is_half_done || replies.len() > FLUSH_BYTES {
                        self.stream.write(&mut replies).await?;
                        if is_half_done {
                            // What sends it has its turn.
                            yield_now().await;
                        }
                        batch = begin();
                        codec::reserve(&mut replies, self.stream.usual_bytes);
                    }
                }
            }
            drop(batch);
            deferred.take(&mut replies);
            self.stream.write(&mut replies).await?;
            if !frames.is_between_frames() && too_late.is_none() {
                too_late.set(Some(sleep(FRAME_TIMEOUT)));
            }
            let read = loop {
                tokio::select! {
                    biased;
                    read = self.stream.recv.read_chunks(&mut chunks) => break read?,
                    () = deferred.filled() => {}
                    () = until(too_late.as_mut().as_pin_mut()) => return Err(StreamError::SlowFrame),
                }
                deferred.take(&mut replies);
                self.stream.write(&mut replies).await?;
            };
            let Some(read) = read else {
                return self.finish(deferred, replies).await;
            };
            count = read;
        }
    }

    /// Gives the replies that are owed on a lane on which nothing more is asked.
    async fn finish(self, deferred: &Deferred, mut replies: BytesMut) -> Result<(), StreamError> {
        while !deferred.is_settled() {
            deferred.filled().await;
            deferred.take(&mut replies);
            self.stream.write(&mut replies).await?;
        }
        deferred.take(&mut replies);
        self.stream.write(&mut replies).await
    }
}

/// Returns when `sleep` is over, and never if there is none.
async fn until(sleep: Option<Pin<&mut Sleep>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

impl RequestStream {
    async fn write(&mut self, replies: &mut BytesMut) -> Result<(), StreamError> {
        if replies.is_empty() {
            return Ok(());
        }
        self.usual_bytes = replies.len();
        let written = timeout(WRITE_TIMEOUT, self.send.write_chunk(replies.split().freeze())).await;
        Ok(written.map_err(|_| StreamError::StalledReader)??)
    }
}

/// A request on a stream of its own, whose body has not been read.
#[derive(Debug)]
pub(crate) struct LargeRequest<'s> {
    stream: &'s mut RequestStream,
    pub(crate) header: FrameHeader,
    /// Bytes of the body that have not been handed out.
    missing: usize,
    /// The rate is measured until this ends, and then anew.
    window: Pin<Box<Sleep>>,
    /// What has come within it. The first counts as full: that is the grace.
    window_bytes: usize,
}

impl LargeRequest<'_> {
    /// The shortest the value can be: known before anything of it is read.
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

    /// The next piece of the body; `None` at its end, which is the end of the stream too.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, StreamError> {
        loop {
            let reading = self.stream.recv.read_chunk(self.missing.max(1), true);
            let read = tokio::select! {
                biased;
                read = reading => read?,
                () = &mut self.window => {
                    if self.window_bytes < BODY_WINDOW_BYTES_MIN {
                        return Err(StreamError::SlowFrame);
                    }
                    self.window.set(sleep(BODY_WINDOW));
                    self.window_bytes = 0;
                    continue;
                }
            };
            return match read {
                Some(_) if self.missing == 0 => Err(StreamError::Trailing),
                Some(chunk) => {
                    self.missing -= chunk.bytes.len();
                    self.window_bytes += chunk.bytes.len();
                    Ok(Some(chunk.bytes))
                }
                None if self.missing == 0 => Ok(None),
                None => Err(StreamError::Gone),
            };
        }
    }

    /// The whole body, of a request that may be short. Its length is bounded by its type.
    pub(crate) async fn body(&mut self) -> Result<Bytes, StreamError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        let trace_bytes = self.header.trace.bytes();
        Ok(body.freeze().slice(trace_bytes..))
    }

    /// Answers, and tells the client to send no more of a body that was not read to its end.
    pub(crate) async fn reply(self, replies: BytesMut) -> Result<(), StreamError> {
        self.reply_with(replies, Bytes::new()).await
    }

    /// The same, of a body the `rest` of which stays where it is.
    pub(crate) async fn reply_with(self, replies: BytesMut, rest: Bytes) -> Result<(), StreamError> {
        if self.missing > 0 {
            // Fails if everything has arrived already, which is as well.
            let _ = self.stream.recv.stop(u32::from(ErrorCode::ValueTooLarge.number()).into());
        }
        let mut parts = [replies.freeze(), rest];
        timeout(WRITE_TIMEOUT, self.stream.send.write_all_chunks(&mut parts))
            .await
            .map_err(|_| StreamError::StalledReader)??;
        // Fails only if the client is gone.
        let _ = self.stream.send.finish();
        let delivered = timeout(WRITE_TIMEOUT, self.stream.send.stopped()).await;
        delivered.map(|_| ()).map_err(|_| StreamError::StalledReader)
    }
}

/// Budgets of bytes for large values on their way, one for each direction.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    receiving: Arc<Semaphore>,
    sending: Arc<Semaphore>,
    receiving_bytes: usize,
}

/// Bytes taken from a [`ByteBudget`] until dropped.
pub(crate) type BytesTaken = OwnedSemaphorePermit;

impl ByteBudget {
    /// Semaphores count permits: a permit is this many bytes.
    const UNIT_BYTES: usize = 1024;

    /// `bytes` for each direction. The largest reply, a view, fits whatever `bytes` is.
    pub(crate) fn new(bytes: usize) -> Self {
        let budget = |bytes: usize| Arc::new(Semaphore::new(bytes.div_ceil(Self::UNIT_BYTES)));
        let sending = budget(bytes.max(limits::VIEW_BYTES_MAX));
        Self { receiving: budget(bytes), sending, receiving_bytes: bytes }
    }

    /// All that may be on the way in.
    pub(crate) fn receiving_bytes(&self) -> usize {
        self.receiving_bytes
    }

    /// Takes `bytes` for a value that comes in, if there are as many left.
    pub(crate) fn take_receiving(&self, bytes: usize) -> Option<BytesTaken> {
        Self::take(&self.receiving, bytes)
    }

    /// Takes `bytes` for a value that goes out, if there are as many left.
    pub(crate) fn take_sending(&self, bytes: usize) -> Option<BytesTaken> {
        Self::take(&self.sending, bytes)
    }

    fn take(budget: &Arc<Semaphore>, bytes: usize) -> Option<BytesTaken> {
        let units = u32::try_from(bytes.div_ceil(Self::UNIT_BYTES)).ok()?;
        Arc::clone(budget).try_acquire_many_owned(units).ok()
    }
}
