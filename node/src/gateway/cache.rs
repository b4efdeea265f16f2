//! The cache protocol: get, set, delete, touch, time to live, and the view to route by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use quoit_client::{ErrorCode, Role};
use quoit_core::{
    routing::Routing,
    store::{self, Entry, Record},
    time::Timestamp,
};
use quoit_proto_types::{
    Epoch, Fence, HashPoint, KeyspaceId, RequestId,
    codec::{self, DecodeError},
    frame::{FrameHeader, FrameType, TRACE_BYTES},
    limits,
    message::client::{Expiry, KeyHeader, Refusal, WriteHeader},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{
    admin::Admin,
    news::{self, Pauses},
};
use crate::{
    clock::Clock,
    node::NodeState,
    store::Store,
    transport::{
        counters::Counters,
        session::{LargeReplies, Session},
        streams::{ByteBudget, LargeRequest, Opened, RequestStream, StreamError},
    },
    views::Views,
};

/// The share of all bytes on their way in that one connection may have, but always one value of the longest.
const RECEIVING_SHARE_PER_CONNECTION: usize = 8;
/// What a busy node asks its clients to wait, in milliseconds.
const BUSY_RETRY_MS: u64 = 10;

/// Answers clients.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) store: Arc<Store>,
    /// Absent until the cluster has formed, and while the store forgets what others may have changed.
    pub(crate) routing: Arc<ArcSwapOption<Routing>>,
    pub(crate) state: watch::Receiver<NodeState>,
    pub(crate) clock: Clock,
    pub(crate) value_bytes_max: usize,
    pub(crate) counters: Arc<Counters>,
    /// Bytes of large values that all connections together may have on their way, in and out.
    pub(crate) values_under_way: ByteBudget,
    /// Owns the replies that are on streams of their own.
    pub(crate) replies: TaskTracker,
    pub(crate) views: Arc<Views>,
    pub(crate) admin: Arc<Admin>,
    /// Sessions so far, begun at a random number: spreads the moments at which clients are told of views.
    pub(crate) sessions: AtomicU64,
}

/// What the requests share that are handled without a wait between them.
struct Batch {
    now: Timestamp,
    /// Absent until the cluster has formed, and while the store forgets what others may have changed.
    routing: Option<Arc<Routing>>,
}

/// What became of a request whose reply is not yet encoded.
enum Outcome {
    Done,
    Miss,
    Remaining(store::Expiry),
    Large(Bytes),
    /// The reply is encoded.
    Encoded,
}

impl Gateway {
    /// Serves a client until its session ends.
    pub(crate) async fn serve(self: Arc<Self>, mut session: Session) {
        let mut streams = JoinSet::new();
        let control = session.take_control();
        let session = Arc::new(session);
        let longest = self.value_bytes_max + limits::REQUEST_HEADER_BYTES_MAX + TRACE_BYTES;
        let share = self.values_under_way.receiving_bytes() / RECEIVING_SHARE_PER_CONNECTION;
        let budget = ByteBudget::new(share.max(longest));
        if let Some(control) = control {
            let (gateway, session) = (Arc::clone(&self), Arc::clone(&session));
            let pauses = Pauses::of_session(self.sessions.fetch_add(1, Ordering::Relaxed));
            streams.spawn(async move {
                let ended = news::serve(&session, control, &gateway.views, pauses).await;
                gateway.end_if_at_fault(&session, &ended);
            });
        }
        loop {
            tokio::select! {
                biased;
                Some(_) = streams.join_next() => {}
                stream = session.next_stream() => {
                    let Some(stream) = stream else {
                        return;
                    };
                    let (gateway, session, budget) = (Arc::clone(&self), Arc::clone(&session), budget.clone());
                    streams.spawn(async move { gateway.serve_stream(&session, stream, &budget).await });
                }
            }
        }
    }

    async fn serve_stream(&self, session: &Session, mut stream: RequestStream, budget: &ByteBudget) {
        if let Err(error) = self.answer(session, &mut stream, budget).await {
            // While the stream lives: dropped, it ends as if all were well, and the client would not learn the reason.
            self.end_if_at_fault(session, &error);
        }
    }

    fn end_if_at_fault(&self, session: &Session, error: &StreamError) {
        if let Some(code) = error.fault(&self.counters) {
            debug!(peer = %session.identity, remote = %session.remote(), %error, "session ended");
            session.close(code, &error.to_string());
        }
    }

    async fn answer(
        &self,
        session: &Session,
        stream: &mut RequestStream,
        budget: &ByteBudget,
    ) -> Result<(), StreamError> {
        match stream.open().await? {
            Opened::Lane(lane) => {
                lane.serve(
                    || self.begin(),
                    |batch, header, body, replies| self.handle(batch, header, body, replies, session),
                )
                .await
            }
            Opened::Large(request) => self.handle_large(request, budget).await,
        }
    }

    fn begin(&self) -> Batch {
        Batch { now: self.clock.now(), routing: self.routing.load_full() }
    }

    /// Answers one small request into `replies`, or on a stream of its own if the value is large.
    fn handle(&self, batch: &Batch, header: FrameHeader, body: &[u8], replies: &mut BytesMut, session: &Session) {
        if header.kind == FrameType::Admin {
            return self.handle_admin(batch, header, body, replies, session);
        }
        let Some(routing) = batch.routing.as_deref() else {
            return refuse(replies, header.request, None, &self.not_ready());
        };
        let large = session.large_replies();
        let outcome = match header.kind {
            FrameType::ViewGet => {
                let Some(update) = self.views.update_from(header.epoch) else {
                    return refuse(replies, header.request, Some(routing), &self.not_ready());
                };
                let (reply, view) = news::frame(update, header.request);
                return self.reply_large(reply, view, replies, large);
            }
            FrameType::Get => self.get(batch.now, routing, header, body, replies),
            FrameType::Set => self.set(batch.now, routing, header, body),
            FrameType::Delete => self.delete(batch.now, routing, header, body),
            FrameType::Touch => self.touch(batch.now, routing, header, body),
            FrameType::TimeToLive => self.ttl(batch.now, routing, header, body),
            FrameType::Hello
            | FrameType::HelloAck
            | FrameType::View
            | FrameType::ViewWatch
            | FrameType::ViewDelta
            | FrameType::Value
            | FrameType::Done
            | FrameType::Miss
            | FrameType::Remaining
            | FrameType::Refusal
            | FrameType::Peer
            | FrameType::Admin
            | FrameType::AdminReply => Err(Refusal::new(ErrorCode::Protocol, 0)),
        };
        match outcome {
            Ok(Outcome::Large(value)) => {
                self.reply_large(reply_header(FrameType::Value, header.request, Some(routing)), value, replies, large);
            }
            Ok(outcome) => encode(replies, header.request, routing, &outcome),
            Err(refusal) => refuse(replies, header.request, Some(routing), &refusal),
        }
    }

    fn get(
        &self,
        now: Timestamp,
        routing: &Routing,
        header: FrameHeader,
        body: &[u8],
        replies: &mut BytesMut,
    ) -> Result<Outcome, Refusal> {
        let KeyHeader { keyspace, key } = KeyHeader::decode(body).map_err(bad_key)?;
        admit(routing, header, keyspace, key)?;
        let answer = |entry: &Entry| {
            if entry.value().len() > limits::LANE_VALUE_BYTES_MAX {
                return Outcome::Large(entry.to_bytes());
            }
            // Copied under the lock, straight into the buffer that goes to the network.
            reply_header(FrameType::Value, header.request, Some(routing))
                .encode_with(replies, 0, |out| out.extend_from_slice(entry.value()));
            Outcome::Encoded
        };
        Ok(self.store.get_with(now, key, answer).unwrap_or(Outcome::Miss))
    }

    fn set(&self, now: Timestamp, routing: &Routing, header: FrameHeader, body: &[u8]) -> Result<Outcome, Refusal> {
        let (WriteHeader { keyspace, expiry, key }, value) = WriteHeader::decode(body).map_err(bad_key)?;
        admit(routing, header, keyspace, key)?;
        self.check_value(value.len())?;
        self.store.set(now, key, value, lifetime(expiry)).map(|_| Outcome::Done).map_err(|_| self.too_large())
    }

    fn delete(&self, now: Timestamp, routing: &Routing, header: FrameHeader, body: &[u8]) -> Result<Outcome, Refusal> {
        let KeyHeader { keyspace, key } = KeyHeader::decode(body).map_err(bad_key)?;
        admit(routing, header, keyspace, key)?;
        Ok(done_if(self.store.delete(now, key)))
    }

    fn touch(&self, now: Timestamp, routing: &Routing, header: FrameHeader, body: &[u8]) -> Result<Outcome, Refusal> {
        let (WriteHeader { keyspace, expiry, key }, _) = WriteHeader::decode(body).map_err(bad_key)?;
        admit(routing, header, keyspace, key)?;
        Ok(done_if(self.store.touch(now, key, lifetime(expiry))))
    }

    fn ttl(&self, now: Timestamp, routing: &Routing, header: FrameHeader, body: &[u8]) -> Result<Outcome, Refusal> {
        let KeyHeader { keyspace, key } = KeyHeader::decode(body).map_err(bad_key)?;
        admit(routing, header, keyspace, key)?;
        Ok(self.store.ttl(now, key).map_or(Outcome::Miss, Outcome::Remaining))
    }

    /// Receives a large value straight into the memory it is stored in. Nothing of it is read, and nothing allocated,
    /// before it is certain that it is wanted.
    async fn handle_large(&self, mut request: LargeRequest<'_>, budget: &ByteBudget) -> Result<(), StreamError> {
        let mut replies = BytesMut::new();
        let header = request.header;
        let began = self.clock.now();
        let outcome = self.receive(&mut request, budget).await?;
        let now = self.clock.now();
        let patience = Duration::from_millis(header.deadline_ms.into());
        let is_late = header.deadline_ms > 0 && now >= began.saturating_add(patience);
        // As late as possible: the view may have changed while the value came in.
        let routing = self.routing.load_full();
        match (outcome, routing.as_deref()) {
            (Ok((record, expiry)), Some(routing)) => {
                let point = HashPoint::of_key(KeyspaceId::DEFAULT, record.key());
                let stored = routing.admit(header.fence, point).and_then(|()| {
                    if is_late {
                        // Its caller has given up, and may have written something newer since.
                        return Err(Refusal::new(ErrorCode::DeadlinePassed, 0));
                    }
                    self.store.set_record(now, record, lifetime(expiry)).map_err(|_| self.too_large())
                });
                match stored {
                    Ok(_) => encode(&mut replies, header.request, routing, &Outcome::Done),
                    Err(refusal) => refuse(&mut replies, header.request, Some(routing), &refusal),
                }
            }
            (Ok(_), None) => refuse(&mut replies, header.request, None, &self.not_ready()),
            (Err(refusal), routing) => refuse(&mut replies, header.request, routing, &refusal),
        }
        request.reply(replies).await
    }

    async fn receive(
        &self,
        request: &mut LargeRequest<'_>,
        budget: &ByteBudget,
    ) -> Result<Result<(Record, Expiry), Refusal>, StreamError> {
        if let Err(refusal) = self.check_value(request.value_bytes_at_least()) {
            return Ok(Err(refusal));
        }
        let bytes = request.header.body_bytes as usize;
        let (Some(_own), Some(_shared)) = (budget.take_receiving(bytes), self.values_under_way.take_receiving(bytes))
        else {
            self.counters.busy.add();
            return Ok(Err(Refusal::new(ErrorCode::Busy, BUSY_RETRY_MS)));
        };
        let head = request.head().await?;
        let (write, value) = match WriteHeader::decode(&head) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(bad_key(error))),
        };
        let WriteHeader { keyspace, expiry, key } = write;
        let front = head.len() - value.len() + request.header.trace.bytes();
        let value_bytes = bytes - front;
        let routing = self.routing.load_full();
        let admitted = match routing.as_deref() {
            Some(routing) => admit(routing, request.header, keyspace, key),
            None => Err(self.not_ready()),
        };
        if let Err(refusal) = admitted.and_then(|()| self.check_value(value_bytes)) {
            return Ok(Err(refusal));
        }
        let mut record = Record::builder(key, value_bytes);
        record.extend(value);
        while let Some(chunk) = request.chunk().await? {
            record.extend(&chunk);
        }
        let record = record.finish().map_err(|_| StreamError::Gone)?;
        Ok(Ok((record, expiry)))
    }

    /// Answers an administrator, beside the lane: some answers take a while.
    fn handle_admin(&self, batch: &Batch, header: FrameHeader, body: &[u8], replies: &mut BytesMut, session: &Session) {
        let routing = batch.routing.as_deref();
        if session.role != Role::Admin {
            let text = "only a certificate of the role admin may do this: make-certs list shows them".into();
            let refusal = Refusal { code: ErrorCode::WrongRole, argument: 0, text };
            return refuse(replies, header.request, routing, &refusal);
        }
        let answer = Arc::clone(&self.admin).answer(session.identity.clone(), header, Bytes::copy_from_slice(body));
        match session.large_replies().reply_later(answer) {
            Ok(sending) => drop(self.replies.spawn(sending)),
            Err(_) => {
                self.counters.busy.add();
                refuse(replies, header.request, routing, &Refusal::new(ErrorCode::Busy, BUSY_RETRY_MS));
            }
        }
    }

    fn reply_large(&self, reply: FrameHeader, value: Bytes, replies: &mut BytesMut, large: &LargeReplies) {
        if value.len() <= limits::LANE_VALUE_BYTES_MAX {
            return reply.encode_with(replies, 0, |out| out.extend_from_slice(&value));
        }
        match large.reply(reply, value, &self.values_under_way) {
            Ok(sending) => drop(self.replies.spawn(sending)),
            Err(_) => {
                self.counters.busy.add();
                let busy = Refusal::new(ErrorCode::Busy, BUSY_RETRY_MS);
                let refused = FrameHeader { kind: FrameType::Refusal, ..reply };
                refused.encode_with(replies, 0, |out| busy.encode(out));
            }
        }
    }

    fn check_value(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.value_bytes_max { Ok(()) } else { Err(self.too_large()) }
    }

    fn too_large(&self) -> Refusal {
        self.counters.values_too_large.add();
        Refusal::new(ErrorCode::ValueTooLarge, self.value_bytes_max as u64)
    }

    fn not_ready(&self) -> Refusal {
        let text = match &*self.state.borrow() {
            NodeState::Waiting(text) | NodeState::Failed(text) => text.clone(),
            NodeState::Member(_) => "this node goes over to another view".into(),
            NodeState::Stopped { reason } => reason.to_string(),
        };
        Refusal { code: ErrorCode::NotReady, argument: 0, text }
    }
}

fn admit(routing: &Routing, header: FrameHeader, keyspace: KeyspaceId, key: &[u8]) -> Result<(), Refusal> {
    if keyspace != KeyspaceId::DEFAULT {
        return Err(Refusal::new(ErrorCode::UnknownKeyspace, keyspace.value().into()));
    }
    routing.admit(header.fence, HashPoint::of_key(keyspace, key))
}

fn bad_key(error: DecodeError) -> Refusal {
    Refusal { code: ErrorCode::KeyInvalid, argument: limits::KEY_BYTES_MAX as u64, text: error.to_string() }
}

fn done_if(found: bool) -> Outcome {
    if found { Outcome::Done } else { Outcome::Miss }
}

fn lifetime(expiry: Expiry) -> store::Expiry {
    expiry.duration().map_or(store::Expiry::Never, store::Expiry::After)
}

fn reply_header(kind: FrameType, request: RequestId, routing: Option<&Routing>) -> FrameHeader {
    let (fence, epoch) = routing.map_or((Fence::default(), Epoch::GENESIS), |r| (r.fence(), r.epoch()));
    FrameHeader::new(kind, request, fence, epoch)
}

fn encode(replies: &mut BytesMut, request: RequestId, routing: &Routing, outcome: &Outcome) {
    let header = |kind| reply_header(kind, request, Some(routing));
    match outcome {
        Outcome::Done => header(FrameType::Done).encode(replies),
        Outcome::Miss => header(FrameType::Miss).encode(replies),
        Outcome::Remaining(expiry) => {
            let expiry = match expiry {
                store::Expiry::Never => Expiry::Never,
                store::Expiry::After(left) => Expiry::after(*left),
            };
            header(FrameType::Remaining).encode_with(replies, 0, |out| codec::encode(&expiry, out));
        }
        Outcome::Encoded | Outcome::Large(_) => {}
    }
}

fn refuse(replies: &mut BytesMut, request: RequestId, routing: Option<&Routing>, refusal: &Refusal) {
    reply_header(FrameType::Refusal, request, routing).encode_with(replies, 0, |out| refusal.encode(out));
}
