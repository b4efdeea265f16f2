//! What this node does as a replica: for peers, on the streams that they open, and for its own sessions.
//!
//! What may be done, and what is told, is for [`Replica`] to say; here requests are read and answers written.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use bytes::BytesMut;
use quoit_client::{ErrorCode, Label};
use quoit_core::{
    cluster::Life,
    planted::data::DataPlanted,
    replication::{self, Found, Replica, ReplicaReply, ReplicaRequest},
    routing::Routing,
    store::{ApplyError, Record},
};
use quoit_proto_types::{
    Boot, Epoch, Fence, Instance, Ordinal, RequestId, Stamp,
    codec::{self, DecodeError},
    frame::{FrameHeader, FrameType},
    frame_reader::FrameReader,
    limits,
    message::{
        client::{KeyHeader, Refusal},
        replica::{EntryHeader, PutHeader, Stored},
    },
};
use tokio::task::JoinSet;
use tracing::debug;

use super::{DataPlane, links::Link, transfer};
use crate::{
    clock::Reading,
    transport::{
        deferred::Deferred,
        peer_streams::LargeReply,
        session::LargeReplies,
        streams::{LargeRequest, Opened, RequestStream, StreamError},
    },
};

/// What a node is asked to wait that found this one busy, in milliseconds.
const BUSY_RETRY_MS: u64 = 10;
/// Streams of one peer that are served, or read, at once: as many as it may open.
const STREAMS_AT_ONCE: usize = 1024;

/// What the requests share that are handled without a wait between them.
pub(super) struct Batch {
    at: Reading,
    routing: Option<Arc<Routing>>,
    /// Who asks.
    place: Place,
}

/// Who asks on one connection.
struct Peer {
    name: Label,
    /// The process behind the name, which another one may have had before it.
    instance: Instance,
    boot: Boot,
    /// Its place, as of this epoch: a look through all members for each batch would be long in a large cluster.
    known: Mutex<(Epoch, Place)>,
}

/// What a peer is to the cluster.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Its ordinal, if it is a member in this life.
    member: Option<Ordinal>,
    /// Whether it is, or was one on this connection: a node that leaves ends what it has begun.
    was_member: bool,
}

impl Peer {
    fn place(&self, routing: &Routing) -> Place {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != routing.epoch() {
            let of_instance = routing.view().member_of_instance(self.instance);
            let member = of_instance.filter(|member| member.boot == self.boot).map(|member| member.ordinal);
            *known = (routing.epoch(), Place { member, was_member: known.1.was_member || of_instance.is_some() });
        }
        known.1
    }
}

impl DataPlane {
    /// Serves what a peer opens on one connection until it is over.
    pub(super) async fn serve_peer(self: Arc<Self>, name: Label, life: Life, link: Arc<Link>) {
        let peer = Arc::new(Peer { name, instance: life.instance, boot: life.boot, known: Mutex::default() });
        if let Some(routing) = self.routing.load_full() {
            // Noted for the time when it will be no member.
            peer.place(&routing);
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
                let foresee = |frames: &FrameReader, rest: &[u8]| self.foresee(frames.ahead(rest));
                lane.serve(&Deferred::default(), begin, foresee, handle).await
            }
            Opened::Large(request) if request.header.kind == FrameType::Transfer => {
                self.handle_transfer(peer, request).await
            }
            Opened::Large(request) => self.handle_large(peer, request).await,
        }
    }

    fn begin(&self, peer: &Peer) -> Batch {
        self.batches.fetch_add(1, Ordering::Relaxed);
        let routing = self.routing.load_full();
        let place = routing.as_deref().map(|routing| peer.place(routing)).unwrap_or_default();
        Batch { at: self.clock.read(), routing, place }
    }

    fn replica<'a>(&'a self, Reading { now, wall }: Reading, routing: &'a Routing) -> Replica<'a> {
        let (store, hints, clock) = (&self.store, &self.hints, &self.stamps);
        Replica { store, routing, hints, clock, now, wall, planted: DataPlanted::NOTHING }
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
                let replica = self.replica(batch.at, routing);
                let was_live = replica.put(header.fence, put.stamp, put.hint_for, record)?;
                encode(replies, header.request, routing, Stored { was_live });
                Ok(())
            })
        } else if header.kind == FrameType::ReplicaGet {
            KeyHeader::decode(body)
                .map_err(malformed)
                .and_then(|get| self.tell(batch, routing, header, get.key, replies, large))
        } else {
            Err(Refusal::new(ErrorCode::Protocol, 0))
        };
        if let Err(refusal) = outcome {
            refuse(replies, header.request, Some(routing), &self.counted(refusal));
        }
    }

    /// Tells a peer what is known of `key`.
    fn tell(
        &self,
        batch: &Batch,
        routing: &Routing,
        FrameHeader { request, fence, .. }: FrameHeader,
        key: &[u8],
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
        let replica = self.replica(batch.at, routing);
        let Some((header, value)) = replica.look(fence, key, answer)? else { return Ok(()) };
        let reply = reply_header(FrameType::Entry, request, Some(routing));
        let mut front = BytesMut::new();
        codec::encode(&header, &mut front);
        let sending = large.reply(reply, &front, value, &self.values_under_way).map_err(|_| busy())?;
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
            let replica = self.replica(batch.at, routing);
            let was_live = replica.put(header.fence, stamp, hint_for, record)?;
            encode(&mut replies, header.request, routing, Stored { was_live });
            Ok(())
        });
        if let Err(refusal) = outcome {
            refuse(&mut replies, header.request, batch.routing.as_deref(), &self.counted(refusal));
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
            return Ok(Err(busy()));
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

    /// Answers what a peer asks in the background. Who cannot be answered hears nothing: it asks again.
    async fn handle_transfer(&self, peer: &Peer, mut request: LargeRequest<'_>) -> Result<(), StreamError> {
        let header = request.header;
        let Some(_taken) = self.values_under_way.take_receiving(header.body_bytes as usize) else {
            self.counters.busy.add();
            return Err(StreamError::Gone);
        };
        let body = request.body().await?;
        // No batch of requests: nobody is kept waiting.
        let place = self.routing.load().as_deref().map(|routing| peer.place(routing)).unwrap_or_default();
        if !place.was_member {
            return Err(StreamError::Gone);
        }
        let answer = transfer::answer(&self.upkeep, place.member, header, &body).await;
        let (frame, entries) = answer.ok_or(StreamError::Gone)?;
        request.reply_with(frame, entries).await
    }

    /// Carries out what this process asks of itself. Whether a hint is too old to be kept is told by the clocks as they are: the
    /// process may have been stopped since they were read for the write.
    pub(super) fn serve_own(
        &self,
        at: Reading,
        routing: &Routing,
        fence: Fence,
        request: ReplicaRequest,
    ) -> ReplicaReply {
        let at = if request.is_hint() { self.clock.read() } else { at };
        match self.replica(at, routing).answer(fence, request) {
            ReplicaReply::Refused(refusal) => ReplicaReply::Refused(self.counted(refusal)),
            reply @ (ReplicaReply::Stored { .. }
            | ReplicaReply::Entry { .. }
            | ReplicaReply::Absent
            | ReplicaReply::Unreachable) => reply,
        }
    }

    /// Why the store did not take a write under the fence of `routing`.
    pub(crate) fn refusal(&self, routing: &Routing, error: ApplyError) -> Refusal {
        self.counted(replication::refusal(routing, routing.fence(), error))
    }

    /// That there is no room at the moment.
    pub(super) fn busy(&self) -> Refusal {
        self.counted(busy())
    }

    /// Counts a limit that was hit.
    fn counted(&self, refusal: Refusal) -> Refusal {
        if refusal.code == ErrorCode::Busy {
            self.counters.busy.add();
        } else if refusal.code == ErrorCode::ValueTooLarge {
            self.counters.values_too_large.add();
        }
        refusal
    }
}

fn busy() -> Refusal {
    Refusal::new(ErrorCode::Busy, BUSY_RETRY_MS)
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
    if !batch.place.was_member {
        return Err(Refusal::new(ErrorCode::WrongRole, 0));
    }
    routing.admit(header.fence)?;
    Ok(routing)
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
