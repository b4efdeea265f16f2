//! What this node does as a replica: for peers, on the streams that they open, and for its own sessions.
//!
//! It acts only by its own fence (PROTOCOL, T1), on slots that it owns or is to own, and on hints. The store checks the fence
//! once more under the lock of the shard: a view may come into force in between.

use std::{
    cmp::Ordering,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use quoit_client::{ErrorCode, Label};
use quoit_core::{
    replication::{ReplicaReply, ReplicaRequest},
    routing::{Routing, Standing},
    store::{Applied, ApplyError, Entry, FenceMoved, Origin, Record},
    time::{Timestamp, Wall},
    upkeep::Kept,
};
use quoit_proto_types::{
    Epoch, Fence, HashPoint, KeyspaceId, Ordinal, RequestId, Stamp,
    codec::{self, DecodeError},
    frame::{FrameHeader, FrameType},
    limits,
    message::{
        client::{KeyHeader, Refusal},
        replica::{EntryHeader, PutHeader, Stored},
    },
};
use tokio::task::JoinSet;
use tracing::debug;

use super::{DataPlane, links::Link, transfer};
use crate::transport::{
    deferred::Deferred,
    peer_streams::LargeReply,
    session::LargeReplies,
    streams::{LargeRequest, Opened, RequestStream, StreamError},
};

/// What a peer is asked to wait that found this node busy, in milliseconds.
const BUSY_RETRY_MS: u64 = 10;
/// Streams of one peer that are served, or read, at once: as many as it may open.
const STREAMS_AT_ONCE: usize = 1024;

/// What the requests share that are handled without a wait between them.
pub(super) struct Batch {
    now: Timestamp,
    wall: Wall,
    routing: Option<Arc<Routing>>,
    /// The peer, if it is a member or was one.
    from: Option<Ordinal>,
}

/// What is known here of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// By an owner.
    Stored(&'a Entry),
    /// By one that keeps it for an owner.
    Hint(Stamp, &'a Record),
}

impl Found<'_> {
    fn stamp(self) -> Stamp {
        match self {
            Self::Stored(entry) => entry.stamp(),
            Self::Hint(stamp, _) => stamp,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            Self::Stored(entry) => entry.value(),
            Self::Hint(_, record) => record.value(),
        }
    }

    fn to_bytes(self) -> Bytes {
        match self {
            Self::Stored(entry) => entry.to_bytes(),
            Self::Hint(_, record) => Bytes::copy_from_slice(record.value()),
        }
    }
}

/// Who asks on one connection.
struct Peer {
    name: Label,
    /// Its ordinal, as of this epoch: a look through all members for each batch would be long in a large cluster.
    known: Mutex<(Epoch, Option<Ordinal>)>,
}

impl Peer {
    /// Its ordinal, if it is a member, or has been one on this connection: a node that leaves ends what it has begun.
    fn ordinal(&self, routing: &Routing) -> Option<Ordinal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != routing.epoch() {
            let member = routing.view().member_named(&self.name).map(|member| member.ordinal);
            *known = (routing.epoch(), member.or(known.1));
        }
        known.1
    }
}

impl DataPlane {
    /// Serves what a peer opens on one connection until it is over.
    pub(super) async fn serve_peer(self: Arc<Self>, name: Label, link: Arc<Link>) {
        let peer = Arc::new(Peer { name, known: Mutex::default() });
        if let Some(routing) = self.routing.load_full() {
            // Noted for the time when it will be none.
            peer.ordinal(&routing);
        }
        let streams = link.streams().clone();
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = serving.join_next() => {}
                reply = streams.next_large_reply(), if serving.len() < STREAMS_AT_ONCE => match reply {
                    Some(reply) => drop(serving.spawn(take_large(Arc::clone(&link), reply))),
                    None => break,
                },
                stream = streams.next_stream(), if serving.len() < STREAMS_AT_ONCE => match stream {
                    Some(stream) => {
                        let (plane, peer, link) = (Arc::clone(&self), Arc::clone(&peer), Arc::clone(&link));
                        serving.spawn(async move { plane.serve_stream(&peer, &link, stream).await });
                    }
                    None => break,
                },
            }
        }
        link.fail();
    }

    async fn serve_stream(&self, peer: &Peer, link: &Link, mut stream: RequestStream) {
        if let Err(error) = self.answer_stream(peer, link.streams().large_replies(), &mut stream).await
            && let Some(code) = error.fault(&self.counters)
        {
            // While the stream lives: dropped, it ends as if all were well.
            debug!(peer = %peer.name, %error, "connection ended");
            link.streams().close(code, &error.to_string());
        }
    }

    async fn answer_stream(
        &self,
        peer: &Peer,
        large: &LargeReplies,
        stream: &mut RequestStream,
    ) -> Result<(), StreamError> {
        match stream.open().await? {
            Opened::Lane(lane) => {
                let begin = || self.begin(peer);
                let handle = |batch: &Batch, header: FrameHeader, body: &[u8], replies: &mut BytesMut| {
                    self.handle(batch, header, body, replies, large);
                };
                lane.serve(&Deferred::default(), begin, handle).await
            }
            Opened::Large(request) if request.header.kind == FrameType::Transfer => {
                self.handle_transfer(peer, request).await
            }
            Opened::Large(request) => self.handle_large(peer, request).await,
        }
    }

    fn begin(&self, peer: &Peer) -> Batch {
        let routing = self.routing.load_full();
        let from = routing.as_ref().and_then(|routing| peer.ordinal(routing));
        Batch { now: self.clock.now(), wall: self.clock.wall(), routing, from }
    }

    /// Answers one small request into `replies`, or on a stream of its own if the value is large.
    fn handle(&self, batch: &Batch, header: FrameHeader, body: &[u8], replies: &mut BytesMut, large: &LargeReplies) {
        let routing = match admit(batch, header) {
            Ok(routing) => routing,
            Err(refusal) => return refuse(replies, header.request, batch.routing.as_deref(), &refusal),
        };
        let outcome = if header.kind == FrameType::ReplicaPut {
            PutHeader::decode(body).map_err(malformed).and_then(|(put, value)| {
                let record = Record::new(put.key, value);
                let stored = self.put(batch.now, batch.wall, routing, put.stamp, put.hint_for, record)?;
                encode(replies, header.request, routing, stored);
                Ok(())
            })
        } else if header.kind == FrameType::ReplicaGet {
            KeyHeader::decode(body)
                .map_err(malformed)
                .and_then(|get| self.tell(batch.wall, routing, get.key, header.request, replies, large))
        } else {
            Err(Refusal::new(ErrorCode::Protocol, 0))
        };
        if let Err(refusal) = outcome {
            refuse(replies, header.request, Some(routing), &refusal);
        }
    }

    /// Tells a peer what is known of `key`.
    fn tell(
        &self,
        wall: Wall,
        routing: &Routing,
        key: &[u8],
        request: RequestId,
        replies: &mut BytesMut,
        large: &LargeReplies,
    ) -> Result<(), Refusal> {
        let answer = |found: Option<Found<'_>>| {
            let Some(found) = found else {
                reply_header(FrameType::Absent, request, Some(routing)).encode(replies);
                return None;
            };
            let header = EntryHeader { stamp: found.stamp() };
            if found.value().len() > limits::LANE_VALUE_BYTES_MAX {
                return Some((header, found.to_bytes()));
            }
            // Copied under the lock, straight into the buffer that goes to the network.
            reply_header(FrameType::Entry, request, Some(routing)).encode_with(replies, 0, |out| {
                codec::encode(&header, out);
                out.extend_from_slice(found.value());
            });
            None
        };
        let Some((header, value)) = self.look(wall, routing, key, answer)? else { return Ok(()) };
        let reply = reply_header(FrameType::Entry, request, Some(routing));
        let mut front = BytesMut::new();
        codec::encode(&header, &mut front);
        let sending = large.reply(reply, &front, value, &self.values_under_way).map_err(|_| self.busy())?;
        self.tasks.spawn(sending);
        Ok(())
    }

    /// Receives a large value straight into the memory it is stored in.
    async fn handle_large(&self, peer: &Peer, mut request: LargeRequest<'_>) -> Result<(), StreamError> {
        let mut replies = BytesMut::new();
        let header = request.header;
        let received = self.receive(peer, &mut request).await?;
        // As late as possible: the view may have changed while the value came in.
        let batch = self.begin(peer);
        let outcome = received.and_then(|(stamp, hint_for, record)| {
            let routing = admit(&batch, header)?;
            let stored = self.put(batch.now, batch.wall, routing, stamp, hint_for, record)?;
            encode(&mut replies, header.request, routing, stored);
            Ok(())
        });
        if let Err(refusal) = outcome {
            refuse(&mut replies, header.request, batch.routing.as_deref(), &refusal);
        }
        request.reply(replies).await
    }

    async fn receive(
        &self,
        peer: &Peer,
        request: &mut LargeRequest<'_>,
    ) -> Result<Result<(Stamp, Option<Ordinal>, Record), Refusal>, StreamError> {
        let bytes = request.header.body_bytes as usize;
        let Some(_taken) = self.values_under_way.take_receiving(bytes) else {
            return Ok(Err(self.busy()));
        };
        if let Err(refusal) = admit(&self.begin(peer), request.header) {
            return Ok(Err(refusal));
        }
        let head = request.head().await?;
        let (put, value) = match PutHeader::decode(&head) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(malformed(error))),
        };
        let front = head.len() - value.len() + request.header.trace.bytes();
        let mut record = Record::builder(put.key, bytes - front);
        record.extend(value);
        while let Some(chunk) = request.chunk().await? {
            record.extend(&chunk);
        }
        let record = record.finish().map_err(|_| StreamError::Gone)?;
        Ok(Ok((put.stamp, put.hint_for, record)))
    }

    /// Answers what a peer asks in the background. Who is no member, or cannot be answered, hears nothing: it asks again.
    async fn handle_transfer(&self, peer: &Peer, mut request: LargeRequest<'_>) -> Result<(), StreamError> {
        let header = request.header;
        let Some(_taken) = self.values_under_way.take_receiving(header.body_bytes as usize) else {
            self.counters.busy.add();
            return Err(StreamError::Gone);
        };
        let body = request.body().await?;
        let from = self.begin(peer).from.ok_or(StreamError::Gone)?;
        let frame = transfer::answer(&self.upkeep, from, header, &body).await.ok_or(StreamError::Gone)?;
        request.reply(frame).await
    }

    /// Carries out what this process asks of itself.
    pub(super) fn serve_own(
        &self,
        now: Timestamp,
        routing: &Routing,
        fence: Fence,
        request: ReplicaRequest,
    ) -> ReplicaReply {
        if let Err(refusal) = routing.admit(fence) {
            return ReplicaReply::Refused(refusal);
        }
        let wall = self.clock.wall();
        match request {
            ReplicaRequest::Put { stamp, hint_for, record } => {
                match self.put(now, wall, routing, stamp, hint_for, record) {
                    Ok(Stored { was_live }) => ReplicaReply::Stored { was_live },
                    Err(refusal) => ReplicaReply::Refused(refusal),
                }
            }
            ReplicaRequest::Get { key } => {
                let answer = |found: Option<Found<'_>>| match found {
                    Some(found) => ReplicaReply::Entry { stamp: found.stamp(), value: found.to_bytes() },
                    None => ReplicaReply::Absent,
                };
                self.look(wall, routing, &key, answer).unwrap_or_else(ReplicaReply::Refused)
            }
        }
    }

    /// Merges an entry, or keeps it for an owner out of reach.
    fn put(
        &self,
        now: Timestamp,
        wall: Wall,
        routing: &Routing,
        stamp: Stamp,
        hint_for: Option<Ordinal>,
        record: Record,
    ) -> Result<Stored, Refusal> {
        self.stamps.observe(wall, stamp.version.hlc.max(stamp.touched))?;
        let slot = routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, record.key()));
        if routing.standing(slot) == Standing::Stranger {
            let target = hint_for.ok_or_else(|| Refusal::new(ErrorCode::NotOwner, 0))?;
            return match self.hints.keep(now, target, slot, stamp, record) {
                Kept::Kept => Ok(Stored { was_live: false }),
                Kept::Full => Err(self.busy()),
            };
        }
        let fence = routing.fence();
        match self.store.apply(wall, fence, Origin::Write, stamp, record) {
            Ok(Applied::Stored { was_live } | Applied::Known { was_live }) => Ok(Stored { was_live }),
            // What the store drops was deleted: a write is to be told so.
            Ok(Applied::Dropped) => Err(Refusal::new(ErrorCode::TooOld, 0)),
            Err(error) => Err(self.refusal(fence, error)),
        }
    }

    /// Calls `read` with what is known of `key`: in the store, or in the hints if this process is no owner.
    fn look<R>(
        &self,
        wall: Wall,
        routing: &Routing,
        key: &[u8],
        read: impl FnOnce(Option<Found<'_>>) -> R,
    ) -> Result<R, Refusal> {
        let slot = routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
        if routing.standing(slot) == Standing::Stranger {
            let hint = self.hints.find(key);
            return Ok(read(hint.as_ref().map(|(stamp, record)| Found::Hint(*stamp, record))));
        }
        let fence = routing.fence();
        let answer = |entry: Option<&Entry>| read(entry.map(Found::Stored));
        self.store.get_with(wall, fence, key, answer).map_err(|moved| fence_moved(fence, moved))
    }

    /// Why the store did not take an entry.
    pub(crate) fn refusal(&self, fence: Fence, error: ApplyError) -> Refusal {
        match error {
            ApplyError::FenceMoved(moved) => fence_moved(fence, moved),
            ApplyError::TooLarge(_) => {
                self.counters.values_too_large.add();
                Refusal::new(ErrorCode::ValueTooLarge, self.value_bytes_max as u64)
            }
            ApplyError::TooOld { until } => Refusal::new(ErrorCode::TooOld, until.millis()),
            // Only repair is.
            ApplyError::HeldBack { .. } | ApplyError::NoRoom => self.busy(),
        }
    }

    pub(super) fn busy(&self) -> Refusal {
        self.counters.busy.add();
        Refusal::new(ErrorCode::Busy, BUSY_RETRY_MS)
    }
}

async fn take_large(link: Arc<Link>, reply: LargeReply) {
    if let Ok((header, body)) = reply.read().await {
        link.answered(header, &body);
    }
}

/// Admits a request of a member, or of one that leaves, which goes by this node's fence.
fn admit(batch: &Batch, header: FrameHeader) -> Result<&Routing, Refusal> {
    let not_ready = || Refusal::new(ErrorCode::NotReady, 0);
    let routing = batch.routing.as_deref().ok_or_else(not_ready)?;
    routing.admit(header.fence)?;
    batch.from.ok_or_else(|| Refusal::new(ErrorCode::WrongRole, 0))?;
    Ok(routing)
}

/// The shard goes by another fence than `fence`: it has been sealed for a view that is about to be in force, or not yet for
/// the one that is.
fn fence_moved(fence: Fence, FenceMoved { at }: FenceMoved) -> Refusal {
    let code = if at.cmp(&fence) == Ordering::Less { ErrorCode::NodeBehind } else { ErrorCode::StaleView };
    Refusal::new(code, 0)
}

fn malformed(error: DecodeError) -> Refusal {
    Refusal { code: ErrorCode::Protocol, argument: 0, text: error.to_string() }
}

fn reply_header(kind: FrameType, request: RequestId, routing: Option<&Routing>) -> FrameHeader {
    let (fence, epoch) = routing.map_or((Fence::default(), Epoch::GENESIS), |r| (r.fence(), r.epoch()));
    FrameHeader::new(kind, request, fence, epoch)
}

/// The reply to a put.
fn encode(replies: &mut BytesMut, request: RequestId, routing: &Routing, stored: Stored) {
    reply_header(FrameType::Stored, request, Some(routing)).encode_with(replies, 0, |out| codec::encode(&stored, out));
}

fn refuse(replies: &mut BytesMut, request: RequestId, routing: Option<&Routing>, refusal: &Refusal) {
    reply_header(FrameType::Refusal, request, routing).encode_with(replies, 0, |out| refusal.encode(out));
}
