//! The cache protocol: get, set, delete, touch, time to live, and the view to route by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quoit_client::{ErrorCode, Role};
use quoit_core::{
    replication::{ClientOperation, ClientReply},
    routing::Routing,
    store::Record,
    time::Timestamp,
};
use quoit_proto_types::{
    EntryKind, Hlc, Stamp, WriteLevel,
    frame::{FrameHeader, FrameType, TRACE_BYTES},
    limits,
    message::client::{Expiry, Refusal, Unfinished, WriteHeader},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    admin::Admin,
    news::{self, Pauses},
    requests::{Alone, Place, bad_key, check_again, check_keyspace, expires_at},
};
use crate::{
    clock::{Clock, Reading},
    data::{
        DataPlane, answer,
        session::{ClientSession, ExitId},
    },
    node::NodeState,
    transport::{
        deferred::Deferred,
        session::{LargeReplies, Session},
        streams::{ByteBudget, LargeRequest, Opened, RequestStream, StreamError},
    },
};

/// The share of all bytes on their way in that one connection may have, but always one value of the longest.
const RECEIVING_SHARE_PER_CONNECTION: usize = 8;
/// What a busy node asks its clients to wait, in milliseconds.
const BUSY_RETRY_MS: u64 = 10;
/// How long a request may take that does not say.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(1);

/// Answers clients.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) plane: Arc<DataPlane>,
    pub(crate) state: watch::Receiver<NodeState>,
    pub(crate) clock: Clock,
    /// Owns the replies that are on streams of their own.
    pub(crate) replies: TaskTracker,
    pub(crate) admin: Arc<Admin>,
    /// Sessions so far, begun at a random number: spreads the moments at which clients are told of views.
    pub(crate) sessions: AtomicU64,
    /// Cancelled when the node is about to stop: clients are told to hang up, and served until they have.
    pub(crate) farewell: CancellationToken,
}

/// What the requests share that are handled without a wait between them.
pub(super) struct Batch {
    pub(super) at: Reading,
    /// Absent until the cluster has formed.
    routing: Option<Arc<Routing>>,
}

/// Whose requests they are.
struct Client {
    session: Session,
    /// Its operations that need other nodes.
    data: Arc<ClientSession>,
    budget: ByteBudget,
}

/// Where a request came from, and where its answer goes.
#[derive(Clone, Copy)]
pub(super) struct From<'c> {
    client: &'c Client,
    exit: ExitId,
}

/// Closes a session's lane, and its operations with the client, wherever their task ends.
struct OpenLane<'c>(&'c ClientSession, ExitId);

impl Drop for OpenLane<'_> {
    fn drop(&mut self) {
        self.0.close_lane(self.1);
    }
}

struct OpenSession(Arc<ClientSession>);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A large value that has come in.
struct Received {
    level: WriteLevel,
    after: Hlc,
    expiry: Expiry,
    again: Option<Stamp>,
    record: Record,
}

impl Gateway {
    /// Serves a client until its session ends.
    pub(crate) async fn serve(self: Arc<Self>, mut session: Session) {
        let mut streams = JoinSet::new();
        let control = session.take_control();
        let longest = self.plane.value_bytes_max + limits::REQUEST_HEADER_BYTES_MAX + TRACE_BYTES;
        let share = self.plane.values_under_way.receiving_bytes() / RECEIVING_SHARE_PER_CONNECTION;
        let budget = ByteBudget::new(share.max(longest));
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let (large, replies) = (session.large_replies().clone(), self.replies.clone());
        let data = ClientSession::new(Arc::clone(&self.plane), number, large, replies);
        let _open = OpenSession(Arc::clone(&data));
        let client = Arc::new(Client { session, data, budget });
        if let Some(control) = control {
            let (gateway, client) = (Arc::clone(&self), Arc::clone(&client));
            let pauses = Pauses::of_session(number);
            streams.spawn(async move {
                let (views, clients) = (&gateway.plane.views, || gateway.admin.status.clients());
                let ended = news::serve(&client.session, control, views, (clients, pauses), &gateway.farewell).await;
                gateway.end_if_at_fault(&client.session, &ended);
            });
        }
        loop {
            tokio::select! {
                biased;
                Some(_) = streams.join_next() => {}
                stream = client.session.next_stream() => {
                    let Some(stream) = stream else {
                        return;
                    };
                    let (gateway, client) = (Arc::clone(&self), Arc::clone(&client));
                    streams.spawn(async move { gateway.serve_stream(&client, stream).await });
                }
            }
        }
    }

    async fn serve_stream(&self, client: &Client, mut stream: RequestStream) {
        if let Err(error) = self.answer(client, &mut stream).await {
            // While the stream lives: dropped, it ends as if all were well, and the client would not learn the reason.
            self.end_if_at_fault(&client.session, &error);
        }
    }

    fn end_if_at_fault(&self, session: &Session, error: &StreamError) {
        if let Some(code) = error.fault(&self.plane.counters) {
            debug!(peer = %session.identity, remote = %session.remote(), %error, "session ended");
            session.close(code, &error.to_string());
        }
    }

    async fn answer(&self, client: &Client, stream: &mut RequestStream) -> Result<(), StreamError> {
        match stream.open().await? {
            Opened::Lane(lane) => {
                let deferred = Arc::<Deferred>::default();
                let exit = client.data.open_lane(&deferred);
                let _open = OpenLane(&client.data, exit);
                let from = From { client, exit };
                lane.serve(
                    &deferred,
                    || self.begin(),
                    |frames, rest| self.plane.foresee(frames.ahead(rest)),
                    |batch, header, body, replies| self.handle(batch, header, body, replies, from),
                )
                .await
            }
            Opened::Large(request) => self.handle_large(request, client).await,
        }
    }

    fn begin(&self) -> Batch {
        self.plane.batches.fetch_add(1, Ordering::Relaxed);
        Batch { at: self.clock.read(), routing: self.plane.routing.load_full() }
    }

    /// Answers one small request into `replies`, or on a stream of its own if the value is large, or later if other nodes
    /// must be asked.
    fn handle(&self, batch: &Batch, header: FrameHeader, body: &[u8], replies: &mut BytesMut, from: From<'_>) {
        if header.kind == FrameType::Admin {
            return self.handle_admin(batch, header, body, replies, &from.client.session);
        }
        let Some(routing) = batch.routing.as_deref() else {
            return answer::refuse(replies, header.request, None, &self.not_ready());
        };
        if routing.me().is_none() && header.kind != FrameType::ViewGet {
            // It has left, or is not admitted yet: another node coordinates what it would have to ask others for.
            return answer::refuse(replies, header.request, Some(routing), &self.not_ready());
        }
        let outcome = match header.kind {
            FrameType::Get => self.get(batch.at, routing, header, body, replies, from),
            FrameType::Set => self.set(batch.at, routing, header, body, replies, from),
            FrameType::Delete => self.delete(batch.at, routing, header, body, replies, from),
            FrameType::Touch => self.touch(batch.at, routing, header, body, replies, from),
            FrameType::TimeToLive => self.ttl(batch.at, routing, header, body, replies, from),
            FrameType::ViewGet => self.view(header, replies, from),
            FrameType::Hello
            | FrameType::HelloAck
            | FrameType::View
            | FrameType::ViewWatch
            | FrameType::ViewDelta
            | FrameType::Value
            | FrameType::Done
            | FrameType::Miss
            | FrameType::Remaining
            | FrameType::Unfinished
            | FrameType::Refusal
            | FrameType::ReplicaPut
            | FrameType::ReplicaGet
            | FrameType::Stored
            | FrameType::Entry
            | FrameType::Absent
            | FrameType::Transfer
            | FrameType::TransferReply
            | FrameType::Peer
            | FrameType::Admin
            | FrameType::AdminReply => Err(Refusal::new(ErrorCode::Protocol, 0)),
        };
        if let Err(refusal) = outcome {
            answer::refuse(replies, header.request, Some(routing), &refusal);
        }
    }

    fn view(&self, header: FrameHeader, replies: &mut BytesMut, from: From<'_>) -> Result<(), Refusal> {
        let update = self.plane.views.update_from(header.epoch).ok_or_else(|| self.not_ready())?;
        let (reply, view) = news::frame(update, header.request);
        self.reply_large(reply, &[], view, replies, from.large())
    }

    /// Has other nodes asked. The answer comes by the deadline that the request brought.
    pub(super) fn ask_others(&self, at: Reading, header: FrameHeader, from: From<'_>, operation: ClientOperation) {
        from.client.data.begin(at, (from.exit, header.request), deadline(at.now, header), operation);
    }

    /// Receives a large value straight into the memory it is stored in. Nothing of it is read, and nothing allocated,
    /// before it is certain that it is wanted.
    async fn handle_large(&self, mut request: LargeRequest<'_>, client: &Client) -> Result<(), StreamError> {
        let mut replies = BytesMut::new();
        let header = request.header;
        let deadline = deadline(self.clock.now(), header);
        let outcome = match self.receive(&mut request, &client.budget).await? {
            Ok(received) => self.set_large(received, header, deadline, client).await,
            Err(refusal) => ClientReply::Refused(refusal),
        };
        let routing = self.plane.routing.load_full();
        let (out, id, routing) = (&mut replies, header.request, routing.as_deref());
        match outcome {
            ClientReply::Done(written) => answer::done(out, id, routing, written),
            ClientReply::Unfinished { stamp, held } => {
                answer::unfinished(out, id, routing, Unfinished { stamp, held });
            }
            ClientReply::Refused(refusal) => answer::refuse(out, id, routing, &refusal),
            // A write is not answered so.
            ClientReply::Value { .. } | ClientReply::TimeToLive { .. } | ClientReply::Miss => {
                answer::refuse(out, id, routing, &Refusal::new(ErrorCode::Internal, 0));
            }
        }
        request.reply(replies).await
    }

    /// Stores a large value, with other nodes or without them.
    async fn set_large(
        &self,
        received: Received,
        header: FrameHeader,
        deadline: Timestamp,
        client: &Client,
    ) -> ClientReply {
        let Received { level, after, expiry, again, record } = received;
        let stamp = |version| Stamp::value(version, expires_at(version, expiry));
        let begin = || {
            if header.deadline_ms > 0 && self.clock.now() >= deadline {
                // Its caller has given up, and may have written something newer since.
                return Err(Refusal::new(ErrorCode::DeadlinePassed, 0));
            }
            // As late as possible: the view may have changed while the value came in.
            let Batch { at: Reading { wall, .. }, routing } = self.begin();
            let routing = routing.ok_or_else(|| self.not_ready())?;
            match again {
                Some(stamp) => Ok(Alone::Shared(stamp)),
                None if Place::of(&routing, record.key()) == Place::Sole => {
                    self.write_alone(wall, &routing, after, stamp, || record.clone())
                }
                None => Ok(Alone::Shared(stamp(self.version(wall, &routing, after)?))),
            }
        };
        match begin() {
            Ok(Alone::Written(written)) => ClientReply::Done(written),
            Ok(Alone::Shared(stamp)) => {
                let operation = ClientOperation::Set { level, stamp, record };
                let deadline = deadline.max(self.clock.now().saturating_add(Duration::from_millis(1)));
                let answer = client.data.begin_alone(deadline, operation);
                // Dropped only with the session.
                answer.await.unwrap_or_else(|_| ClientReply::Refused(Refusal::new(ErrorCode::ShuttingDown, 0)))
            }
            Err(refusal) => ClientReply::Refused(refusal),
        }
    }

    async fn receive(
        &self,
        request: &mut LargeRequest<'_>,
        budget: &ByteBudget,
    ) -> Result<Result<Received, Refusal>, StreamError> {
        if request.header.kind != FrameType::Set {
            return Ok(Err(Refusal::new(ErrorCode::Protocol, 0)));
        }
        if let Err(refusal) = self.check_value(request.value_bytes_at_least()) {
            return Ok(Err(refusal));
        }
        if self.plane.routing.load().is_none() {
            return Ok(Err(self.not_ready()));
        }
        let bytes = request.header.body_bytes as usize;
        let shared = &self.plane.values_under_way;
        let (Some(_own), Some(_shared)) = (budget.take_receiving(bytes), shared.take_receiving(bytes)) else {
            return Ok(Err(self.busy()));
        };
        let head = request.head().await?;
        let (write, value) = match WriteHeader::decode(&head) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(bad_key(error))),
        };
        let WriteHeader { keyspace, level, after, expiry, again, key } = write;
        let front = head.len() - value.len() + request.header.trace.bytes();
        let value_bytes = bytes - front;
        let wanted = check_keyspace(keyspace).and_then(|()| check_again(again, EntryKind::Value));
        if let Err(refusal) = wanted.and_then(|()| self.check_value(value_bytes)) {
            return Ok(Err(refusal));
        }
        let mut record = Record::builder(key, value_bytes);
        record.extend(value);
        while let Some(chunk) = request.chunk().await? {
            record.extend(&chunk);
        }
        let record = record.finish().map_err(|_| StreamError::Gone)?;
        Ok(Ok(Received { level, after, expiry, again, record }))
    }

    /// Answers an administrator, beside the lane: some answers take a while.
    fn handle_admin(&self, batch: &Batch, header: FrameHeader, body: &[u8], replies: &mut BytesMut, session: &Session) {
        let routing = batch.routing.as_deref();
        if session.role != Role::Admin {
            let text = "only a certificate of the role admin may do this: make-certs list shows them".into();
            let refusal = Refusal { code: ErrorCode::WrongRole, argument: 0, text };
            return answer::refuse(replies, header.request, routing, &refusal);
        }
        let answer = Arc::clone(&self.admin).answer(session.identity.clone(), header, Bytes::copy_from_slice(body));
        match session.large_replies().reply_later(answer) {
            Ok(sending) => drop(self.replies.spawn(sending)),
            Err(_) => answer::refuse(replies, header.request, routing, &self.busy()),
        }
    }

    /// Sends a reply of `front` and `value`, on a stream of its own if that is large.
    pub(super) fn reply_large(
        &self,
        reply: FrameHeader,
        front: &[u8],
        value: Bytes,
        replies: &mut BytesMut,
        large: &LargeReplies,
    ) -> Result<(), Refusal> {
        if value.len() <= limits::LANE_VALUE_BYTES_MAX {
            reply.encode_with(replies, 0, |out| {
                out.extend_from_slice(front);
                out.extend_from_slice(&value);
            });
            return Ok(());
        }
        let sending = large.reply(reply, front, value, &self.plane.values_under_way).map_err(|_| self.busy())?;
        self.replies.spawn(sending);
        Ok(())
    }

    pub(super) fn check_value(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.plane.value_bytes_max {
            return Ok(());
        }
        self.plane.counters.values_too_large.add();
        Err(Refusal::new(ErrorCode::ValueTooLarge, self.plane.value_bytes_max as u64))
    }

    fn busy(&self) -> Refusal {
        self.plane.counters.busy.add();
        Refusal::new(ErrorCode::Busy, BUSY_RETRY_MS)
    }

    pub(super) fn not_ready(&self) -> Refusal {
        let text = match &*self.state.borrow() {
            NodeState::Waiting(text) | NodeState::Failed(text) => text.clone(),
            NodeState::Member(_) => "this node is no member, or goes over to another view".into(),
            NodeState::Stopped { reason } => reason.to_string(),
        };
        Refusal { code: ErrorCode::NotReady, argument: 0, text }
    }
}

impl<'c> From<'c> {
    /// What sends the client replies that are too large for a lane.
    pub(super) fn large(self) -> &'c LargeReplies {
        self.client.session.large_replies()
    }
}

/// Until when a request that came at `now` is to be answered.
fn deadline(now: Timestamp, header: FrameHeader) -> Timestamp {
    let patience = match header.deadline_ms {
        0 => DEADLINE_DEFAULT,
        ms => Duration::from_millis(ms.into()),
    };
    now.saturating_add(patience)
}
