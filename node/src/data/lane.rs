//! A lane to a peer: what is asked of it gathers in one buffer, and its replies find those who asked.
//!
//! The shape of the client's lanes, and for the same reason: a wake-up, a packet and a system call are shared by all requests
//! that happen to be under way. Whoever asks does not wait, though: the reply is handed to the session that it is for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quoit_core::{
    replication::{OperationId, ReplicaReply, ReplicaRequest},
    store::Record,
};
use quoit_proto_types::{
    KeyspaceId, Ordinal, RequestId, codec,
    frame::{FrameHeader, FrameType},
    limits,
    message::{
        client::{KeyHeader, Refusal},
        replica::{EntryHeader, PutHeader, Stored},
    },
};
use slab::Slab;
use tokio::sync::{Notify, oneshot};

use super::session::ClientSession;
use crate::transport::{
    peer_streams::{Arrived, Gone, LaneWriter},
    streams::StreamError,
};

/// Unsent bytes a lane gathers before it refuses more. They pile up only if the peer does not read, or hangs.
const UNSENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Requests that wait for their replies. A peer that hangs for as long as a connection lives may collect so many.
const PENDING_MAX: usize = 64 * 1024;

/// Who is to hear of a reply.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// An operation of a client's session.
    Session {
        /// The session.
        session: Arc<ClientSession>,
        /// The operation.
        operation: OperationId,
        /// Who was asked.
        from: Ordinal,
    },
    /// Whoever waits for it.
    Caller(oneshot::Sender<ReplicaReply>),
    /// Nobody.
    Nobody,
}

/// A request was not sent: there is no connection, or too much is under way on it. Nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotSent;

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Stands in the top byte of every request id of this lane.
    index: u8,
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug)]
struct Queue {
    unsent: BytesMut,
    pending: Slab<Pending>,
    /// Distinguishes the users of one slab entry, so that a late reply finds nobody.
    generation: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its stream is to be opened with the first request.
    Unused,
    Open,
    Lost,
}

#[derive(Debug)]
struct Pending {
    generation: u32,
    reply_to: ReplyTo,
}

/// Whether the lane's stream is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It is to be opened: this is the first request.
    First,
    /// It is, or is about to be.
    More,
}

impl Lane {
    pub(super) fn new(index: u8) -> Self {
        let queue = Queue { unsent: BytesMut::new(), pending: Slab::new(), generation: 0, state: State::Unused };
        Self { index, queue: Mutex::new(queue), filled: Notify::new() }
    }

    /// Queues a small request whose `header` lacks only its id.
    pub(super) fn push(
        &self,
        header: FrameHeader,
        request: &ReplicaRequest,
        reply_to: ReplyTo,
    ) -> Result<Queued, NotSent> {
        let mut queue = self.lock();
        if queue.state == State::Lost || queue.pending.len() >= PENDING_MAX || queue.unsent.len() >= UNSENT_BYTES_MAX {
            return Err(NotSent);
        }
        let request_id = self.register(&mut queue, reply_to);
        let was_empty = queue.unsent.is_empty();
        encode(request, FrameHeader { request: request_id, ..header }, &mut queue.unsent);
        let is_first = queue.state == State::Unused;
        queue.state = State::Open;
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(if is_first { Queued::First } else { Queued::More })
    }

    fn register(&self, queue: &mut Queue, reply_to: ReplyTo) -> RequestId {
        queue.generation = queue.generation.wrapping_add(1) & 0x00ff_ffff;
        let generation = queue.generation;
        let index = queue.pending.insert(Pending { generation, reply_to });
        request_id(self.index, generation, index)
    }

    /// Who is to hear of the reply to `request`, if anybody is.
    pub(super) fn take(&self, request: RequestId) -> Option<ReplyTo> {
        self.lock().take(request)
    }

    /// Gives the lane up: every later request is refused. Returns those who wait for a reply that will not come.
    #[must_use]
    pub(super) fn fail(&self) -> Vec<ReplyTo> {
        let mut queue = self.lock();
        queue.state = State::Lost;
        queue.unsent.clear();
        let pending = std::mem::take(&mut queue.pending);
        drop(queue);
        pending.into_iter().map(|(_, pending)| pending.reply_to).collect()
    }

    /// Hands queued frames over until the stream fails.
    pub(super) async fn write(&self, mut stream: LaneWriter) -> Gone {
        loop {
            self.filled.notified().await;
            let unsent = self.lock().unsent.split().freeze();
            if !unsent.is_empty()
                && let Err(gone) = stream.write(unsent).await
            {
                return gone;
            }
        }
    }

    /// Pairs the replies that have arrived with those who asked, under one lock.
    pub(super) fn collect(
        &self,
        arrived: Arrived<'_>,
        answers: &mut Vec<(ReplyTo, ReplicaReply)>,
    ) -> Result<(), StreamError> {
        let mut queue = self.lock();
        arrived.frames(|header, body| {
            if let Some(reply_to) = queue.take(header.request)
                && !matches!(reply_to, ReplyTo::Nobody)
            {
                // Copied, because a slice would pin the packet it came in.
                answers.push((reply_to, decode(header, body, Bytes::copy_from_slice)));
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing is left half-done by a panic but a cut frame, for which the peer closes the connection.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, request: RequestId) -> Option<ReplyTo> {
        let (generation, index) = parts(request);
        let known = self.pending.get(index).is_some_and(|pending| pending.generation == generation);
        known.then(|| self.pending.remove(index).reply_to)
    }
}

/// Whether `request` is to travel on a stream of its own.
pub(super) fn is_large(request: &ReplicaRequest) -> bool {
    matches!(request, ReplicaRequest::Put { record, .. } if record.value().len() > limits::LANE_VALUE_BYTES_MAX)
}

/// The frame of a request, in two parts: the second is a large value, which is not copied.
pub(super) fn large_frame(request: ReplicaRequest, header: FrameHeader) -> (Bytes, Bytes) {
    let mut head = BytesMut::new();
    let ReplicaRequest::Put { stamp, hint_for, record } = request else {
        encode(&request, header, &mut head);
        return (head.freeze(), Bytes::new());
    };
    let put = PutHeader { keyspace: KeyspaceId::DEFAULT, stamp, hint_for, key: record.key() };
    let header = FrameHeader { kind: FrameType::ReplicaPut, ..header };
    header.encode_with(&mut head, record.value().len(), |out| put.encode(out));
    (head.freeze(), Bytes::from_owner(ValueOf(record)))
}

/// The value of a record, whose memory it keeps.
struct ValueOf(Record);

impl AsRef<[u8]> for ValueOf {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

fn encode(request: &ReplicaRequest, header: FrameHeader, out: &mut BytesMut) {
    let keyspace = KeyspaceId::DEFAULT;
    match request {
        ReplicaRequest::Put { stamp, hint_for, record } => {
            let put = PutHeader { keyspace, stamp: *stamp, hint_for: *hint_for, key: record.key() };
            FrameHeader { kind: FrameType::ReplicaPut, ..header }.encode_with(out, 0, |out| {
                put.encode(out);
                out.extend_from_slice(record.value());
            });
        }
        ReplicaRequest::Get { key } => {
            FrameHeader { kind: FrameType::ReplicaGet, ..header }
                .encode_with(out, 0, |out| KeyHeader { keyspace, key }.encode(out));
        }
    }
}

/// What a frame says. One that is no reply says as much as none.
pub(super) fn decode(header: FrameHeader, body: &[u8], keep: impl FnOnce(&[u8]) -> Bytes) -> ReplicaReply {
    let reply = if header.kind == FrameType::Stored {
        codec::decode_prefix::<Stored>(body, "stored")
            .ok()
            .map(|(Stored { was_live }, _)| ReplicaReply::Stored { was_live })
    } else if header.kind == FrameType::Entry {
        let decoded = codec::decode_prefix::<EntryHeader>(body, "entry").ok();
        decoded.map(|(EntryHeader { stamp }, value)| ReplicaReply::Entry { stamp, value: keep(value) })
    } else if header.kind == FrameType::Absent {
        Some(ReplicaReply::Absent)
    } else if header.kind == FrameType::Refusal {
        Refusal::decode(body).ok().map(ReplicaReply::Refused)
    } else {
        None
    };
    reply.unwrap_or(ReplicaReply::Unreachable)
}

/// What became of what a node was asked for an operation.
pub(super) type Replied = (OperationId, Ordinal, ReplicaReply);

/// Hands replies over, those for one session that follow each other at once.
pub(super) fn deliver(answers: impl IntoIterator<Item = (ReplyTo, ReplicaReply)>) {
    let mut gathered: Option<(Arc<ClientSession>, Vec<Replied>)> = None;
    for (reply_to, reply) in answers {
        match reply_to {
            ReplyTo::Session { session, operation, from } => match &mut gathered {
                Some((same, replies)) if Arc::ptr_eq(same, &session) => replies.push((operation, from, reply)),
                Some(_) | None => {
                    let before = gathered.replace((session, vec![(operation, from, reply)]));
                    if let Some((session, replies)) = before {
                        session.replied(replies);
                    }
                }
            },
            // The caller may have gone: then nobody wants the reply.
            ReplyTo::Caller(caller) => drop(caller.send(reply)),
            ReplyTo::Nobody => {}
        }
    }
    if let Some((session, replies)) = gathered {
        session.replied(replies);
    }
}

fn request_id(lane: u8, generation: u32, index: usize) -> RequestId {
    let index = u64::try_from(index).unwrap_or(u64::MAX) & 0xffff_ffff;
    RequestId::new(u64::from(lane) << 56 | u64::from(generation) << 32 | index)
}

/// The lane that `request` belongs to.
pub(super) fn lane_of(request: RequestId) -> usize {
    usize::from(request.value().to_be_bytes()[0])
}

/// Generation and slab index.
fn parts(request: RequestId) -> (u32, usize) {
    let [_, generation @ .., a, b, c, d] = request.value().to_be_bytes();
    let [g, h, i] = generation;
    (u32::from_be_bytes([0, g, h, i]), u32::from_be_bytes([a, b, c, d]) as usize)
}

#[cfg(test)]
mod tests;
