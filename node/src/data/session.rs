//! The operations of one client's session that cannot be answered at once: those that need other nodes.
//!
//! One [`Coordinator`] behind a lock. Whoever brings something in, a request, a reply, or the hour, carries out what comes of it
//! before the lock is free again: it asks peers by appending to their lanes' buffers, asks this node's own store, and answers
//! by appending to the buffer of the client's lane, which is woken once. Nothing of this waits. There is no task and no timer
//! for a request, only one task for a session, and that only once it has had an operation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use quoit_client::ErrorCode;
use quoit_core::{
    replication::{ClientOperation, ClientReply, Coordinator, OperationId, Output, ReplicaReply, ReplicaRequest},
    routing::Routing,
    time::Timestamp,
};
use quoit_proto_types::{
    Epoch, Fence, Ordinal, RequestId, Stamp,
    frame::FrameType,
    limits,
    message::client::{Refusal, Unfinished},
};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::sleep_until,
};
use tokio_util::task::TaskTracker;

use super::{
    DataPlane, answer,
    lane::{Replied, ReplyTo},
};
use crate::{
    clock::Reading,
    transport::{deferred::Deferred, session::LargeReplies},
};

/// A client's session, as far as other nodes take part.
#[derive(Debug)]
pub(crate) struct ClientSession {
    plane: Arc<DataPlane>,
    /// Distinguishes the sessions of this process.
    number: u64,
    large: LargeReplies,
    /// Owns large replies under way.
    replies: TaskTracker,
    state: Mutex<State>,
    /// Wakes the task that keeps time.
    sooner: Notify,
}

/// What a coordinator knows an operation by: where its answer goes, and under which name.
#[derive(Clone, Copy, Debug)]
struct Token {
    exit: ExitId,
    request: RequestId,
}

/// Names a way back to the client. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExitId(u64);

#[derive(Debug)]
enum Exit {
    Lane {
        lane: Arc<Deferred>,
        /// Whether it has been given something to send.
        is_filled: bool,
    },
    /// For one answer.
    Once(oneshot::Sender<ClientReply>),
}

#[derive(Debug, Default)]
struct State {
    coordinator: Coordinator<Token>,
    /// The last one that the coordinator has heard of.
    routing: Option<Arc<Routing>>,
    exits: BTreeMap<ExitId, Exit>,
    next_exit: u64,
    keeper: Keeper,
    is_closed: bool,
}

/// The task that keeps time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeper {
    /// There is none yet.
    #[default]
    None,
    /// It sleeps until something happens.
    Idle,
    /// It sleeps until then.
    Until(Timestamp),
}

impl ClientSession {
    /// A session without operations. `large` sends what is too large for a lane, and `replies` owns that.
    pub(crate) fn new(plane: Arc<DataPlane>, number: u64, large: LargeReplies, replies: TaskTracker) -> Arc<Self> {
        let (state, sooner) = (Mutex::default(), Notify::new());
        Arc::new(Self { plane, number, large, replies, state, sooner })
    }

    /// Makes a lane known, to which operations can be answered.
    pub(crate) fn open_lane(&self, lane: &Arc<Deferred>) -> ExitId {
        self.lock().open(Exit::Lane { lane: Arc::clone(lane), is_filled: false })
    }

    /// Forgets a lane: answers for it are dropped.
    pub(crate) fn close_lane(&self, exit: ExitId) {
        self.lock().exits.remove(&exit);
    }

    /// The client is gone. What its operations still owe to other nodes is seen to.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.exits.clear();
        drop(state);
        self.sooner.notify_one();
    }

    /// Begins an operation that came at that time, whose answer goes to the lane `exit` under the name `request`, by `deadline` at
    /// the latest.
    pub(crate) fn begin(
        self: &Arc<Self>,
        at: Reading,
        (exit, request): (ExitId, RequestId),
        deadline: Timestamp,
        operation: ClientOperation,
    ) {
        let mut state = self.lock();
        if let Some(Exit::Lane { lane, .. }) = state.exits.get(&exit) {
            lane.owe();
        }
        self.start(&mut state, at, Token { exit, request }, deadline, operation);
    }

    /// Begins an operation, and returns what gives its answer.
    pub(crate) fn begin_alone(
        self: &Arc<Self>,
        deadline: Timestamp,
        operation: ClientOperation,
    ) -> oneshot::Receiver<ClientReply> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let token = Token { exit: state.open(Exit::Once(sender)), request: RequestId::new(0) };
        self.start(&mut state, self.plane.clock.read(), token, deadline, operation);
        receiver
    }

    /// Takes what peers have replied.
    pub(super) fn replied(self: &Arc<Self>, replies: Vec<Replied>) {
        let at = self.plane.clock.read();
        let mut state = self.lock();
        let Some(routing) = self.refresh(&mut state, at.now) else { return };
        for (operation, from, reply) in replies {
            state.coordinator.handle_reply(at.now, &routing, operation, from, reply);
        }
        self.execute(&mut state, at, &routing);
    }

    fn start(
        self: &Arc<Self>,
        state: &mut State,
        at: Reading,
        token: Token,
        deadline: Timestamp,
        operation: ClientOperation,
    ) {
        self.plane.under_way.begin();
        match self.refresh(state, at.now) {
            Some(routing) => {
                state.coordinator.begin(at.now, &routing, token, deadline, operation);
                self.execute(state, at, &routing);
            }
            None => {
                let refusal = Refusal::new(ErrorCode::NotReady, 0);
                self.answer(state, None, token, ClientReply::Refused(refusal));
            }
        }
    }

    /// The view in force, of which the coordinator has heard then; the last one that was, if none is.
    fn refresh(&self, state: &mut State, now: Timestamp) -> Option<Arc<Routing>> {
        let latest = self.plane.routing.load();
        if let Some(latest) = &*latest
            && state.routing.as_ref().is_none_or(|known| !Arc::ptr_eq(known, latest))
        {
            state.routing = Some(Arc::clone(latest));
            state.coordinator.handle_install(now, latest);
        }
        state.routing.clone()
    }

    /// Does what the coordinator wants done, until it wants nothing more.
    fn execute(self: &Arc<Self>, state: &mut State, at: Reading, routing: &Arc<Routing>) {
        while let Some(output) = state.coordinator.poll_output() {
            match output {
                Output::Ask { operation, to, fence, request } => {
                    if let Some(reply) = self.ask(at, routing, operation, to, fence, request) {
                        state.coordinator.handle_reply(at.now, routing, operation, to, reply);
                    }
                }
                Output::Tell { to, fence, request } => self.tell(at, routing, to, fence, request),
                Output::Answer { token, reply } => self.answer(state, Some(routing), token, reply),
            }
        }
        for exit in state.exits.values_mut() {
            if let Exit::Lane { lane, is_filled } = exit
                && std::mem::take(is_filled)
            {
                lane.wake();
            }
        }
        self.plan(state);
    }

    /// Asks a node, and returns its reply if there is one already: of this node itself, or because there will be none.
    fn ask(
        self: &Arc<Self>,
        at: Reading,
        routing: &Routing,
        operation: OperationId,
        to: Ordinal,
        fence: Fence,
        request: ReplicaRequest,
    ) -> Option<ReplicaReply> {
        if routing.me() == Some(to) {
            return Some(self.plane.serve_own(at, routing, fence, request));
        }
        if let Err(refusal) = routing.admit(fence) {
            return Some(ReplicaReply::Refused(refusal));
        }
        let reply_to = ReplyTo::Session { session: Arc::clone(self), operation, from: to };
        let asked = self.plane.links.ask(routing, self.number, to, request, reply_to);
        asked.err().map(|_| {
            self.plane.counters.unsent.add();
            ReplicaReply::Unreachable
        })
    }

    fn tell(&self, at: Reading, routing: &Routing, to: Ordinal, fence: Fence, request: ReplicaRequest) {
        if routing.me() == Some(to) {
            drop(self.plane.serve_own(at, routing, fence, request));
        } else if routing.fence() == fence
            && self.plane.links.ask(routing, self.number, to, request, ReplyTo::Nobody).is_err()
        {
            // Nobody waits for what becomes of it, and repair finds what it misses.
            self.plane.counters.unsent.add();
        }
    }

    fn answer(&self, state: &mut State, routing: Option<&Routing>, token: Token, reply: ClientReply) {
        let Token { exit, request } = token;
        self.plane.under_way.end();
        let (lane, is_filled) = match state.exits.get_mut(&exit) {
            Some(Exit::Lane { lane, is_filled }) => (lane, is_filled),
            Some(Exit::Once(_)) => {
                if let Some(Exit::Once(once)) = state.exits.remove(&exit) {
                    // The client may have gone, here and below.
                    let _ = once.send(reply);
                }
                return;
            }
            None => return,
        };
        *is_filled = true;
        match reply {
            ClientReply::Value { stamp, value, stale } => {
                self.answer_value(lane, request, routing, (&stamp, stale), value);
            }
            ClientReply::TimeToLive { stamp, stale: _ } => {
                let wall = self.plane.clock.wall();
                lane.push(|out| answer::remaining(out, request, routing, &stamp, wall));
            }
            ClientReply::Miss => lane.push(|out| answer::miss(out, request, routing)),
            ClientReply::Done(written) => lane.push(|out| answer::done(out, request, routing, written)),
            ClientReply::Unfinished { stamp, held } => {
                lane.push(|out| answer::unfinished(out, request, routing, Unfinished { stamp, held }));
            }
            ClientReply::Refused(refusal) => lane.push(|out| answer::refuse(out, request, routing, &refusal)),
        }
        lane.settle();
    }

    fn answer_value(
        &self,
        lane: &Deferred,
        request: RequestId,
        routing: Option<&Routing>,
        (stamp, stale): (&Stamp, bool),
        value: Bytes,
    ) {
        let has_room = if value.len() <= limits::LANE_VALUE_BYTES_MAX {
            let write = |out: &mut _| answer::value(out, request, routing, (stamp, stale), &value);
            lane.push_value(value.len(), write).is_ok()
        } else {
            let (header, front) =
                (answer::header(FrameType::Value, request, routing), answer::value_front(stamp, stale));
            match self.large.reply(header, &front, value, &self.plane.values_under_way) {
                Ok(sending) => {
                    self.replies.spawn(sending);
                    true
                }
                Err(_) => false,
            }
        };
        if !has_room {
            let busy = self.plane.busy();
            lane.push(|out| answer::refuse(out, request, routing, &busy));
        }
    }

    /// Sees to it that the session is called when the coordinator wants to be.
    fn plan(self: &Arc<Self>, state: &mut State) {
        let Some(next) = state.coordinator.poll_timeout() else { return };
        let is_late = match state.keeper {
            Keeper::Until(until) => next < until,
            Keeper::None | Keeper::Idle => true,
        };
        if !is_late {
            // Woken too early it looks again, which is cheaper than to wake it for each change.
            return;
        }
        if state.keeper == Keeper::None {
            self.plane.tasks.spawn(Arc::clone(self).keep_time(self.plane.views.latest()));
        } else {
            self.sooner.notify_one();
        }
        state.keeper = Keeper::Until(next);
    }

    /// Calls the coordinator when it is time, and when another view is in force. Ends once the client is gone and nothing is
    /// left to do.
    async fn keep_time(self: Arc<Self>, mut views: watch::Receiver<Epoch>) {
        loop {
            let keeper = {
                let state = self.lock();
                if state.is_closed && state.coordinator.is_empty() {
                    return;
                }
                state.keeper
            };
            let until = match keeper {
                Keeper::Until(until) => Some(until),
                Keeper::None | Keeper::Idle => None,
            };
            tokio::select! {
                biased;
                () = self.sooner.notified() => continue,
                changed = views.changed() => if changed.is_err() {
                    return;
                },
                () = sleep_until(self.plane.clock.instant(until.unwrap_or_default())), if until.is_some() => {}
            }
            self.look();
        }
    }

    /// Brings the coordinator up to the present.
    fn look(self: &Arc<Self>) {
        let at = self.plane.clock.read();
        let mut state = self.lock();
        if let Some(routing) = self.refresh(&mut state, at.now) {
            if state.coordinator.poll_timeout().is_some_and(|next| next <= at.now) {
                state.coordinator.handle_timeout(at.now, &routing);
            }
            self.execute(&mut state, at, &routing);
        }
        // It has just looked, and so it need not be woken for this.
        state.keeper = state.coordinator.poll_timeout().map_or(Keeper::Idle, Keeper::Until);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The coordinator asserts what it holds of itself: after a panic the session goes on with what there is, and its
        // operations end at their deadlines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, exit: Exit) -> ExitId {
        let id = ExitId(self.next_exit);
        self.next_exit += 1;
        self.exits.insert(id, exit);
        id
    }
}
