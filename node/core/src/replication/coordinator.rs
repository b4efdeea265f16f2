//! The operations of one client session, by number and by the time at which each is to be looked at.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use quoit_proto_types::{ErrorCode, HashPoint, KeyspaceId, Ordinal, message::client::Refusal};

use super::{
    attempt::{Attempt, Context, Peer},
    latency::Latency,
    levels::Copies,
    message::{ClientOperation, ClientReply, OperationId, Output, ReplicaReply},
    operation::{Kept, Operation},
};
use crate::{planted::data::DataPlanted, routing::Routing, time::Timestamp};

/// Most operations at a time: those that the lanes of one client may have in flight, and as many again that are answered
/// and wait for their last owner. A full table takes some megabytes.
pub const OPERATIONS_MAX: usize = 8192;

/// How long a client is told to wait when the table is full: about what most operations take.
pub const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// A write that has used up this part of its time, and is not far enough, is given back to the client, so that there is time
/// for another node to carry it on: this one may be cut off from the others. A quarter of a usual second is five times
/// [`WRITE_HEDGE`](super::WRITE_HEDGE).
pub const PATIENCE_PART: u32 = 4;

/// Carries out the operations of one client session. `T` is what the caller knows an operation by.
///
/// Calls need not be in the order of their times, where what came together came at one: one that is some milliseconds older than
/// the last has who is asked count as asked since then. After each call the outputs are to be taken, and `handle_timeout` to be
/// called at `poll_timeout`. Every `Ask` is to be followed by one `handle_reply`. Every operation is answered exactly once, at its
/// deadline at the latest. Operations go on after that while owners miss what was written: a caller whose client has gone drops
/// the coordinator when it [is empty](Self::is_empty).
#[derive(Debug)]
pub struct Coordinator<T> {
    places: Vec<Place<T>>,
    vacant: Vec<u32>,
    /// How many are answered and not over.
    lingering: usize,
    /// When each is to be called, the first first.
    timers: BTreeSet<(Timestamp, u32)>,
    outputs: VecDeque<Output<T>>,
    latency: Latency,
    planted: DataPlanted,
}

#[derive(Debug)]
struct Place<T> {
    /// Of the last attempt here.
    last: OperationId,
    operation: Option<Operation<T>>,
    /// Memory of the last operation, for the next.
    peers: Vec<Peer>,
}

impl<T: Copy> Default for Coordinator<T> {
    fn default() -> Self {
        Self::new(DataPlanted::NOTHING)
    }
}

impl<T: Copy> Coordinator<T> {
    /// One without operations. `planted` is for tests.
    pub fn new(planted: DataPlanted) -> Self {
        Self {
            places: Vec::new(),
            vacant: Vec::new(),
            lingering: 0,
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            latency: Latency::new(),
            planted,
        }
    }

    /// Begins an operation, to be answered by `deadline`. Refuses with `Busy` if there are too many, and with
    /// `DeadlinePassed` if it is too late.
    pub fn begin(
        &mut self,
        now: Timestamp,
        routing: &Arc<Routing>,
        token: T,
        deadline: Timestamp,
        request: ClientOperation,
    ) {
        if deadline <= now {
            return self.refuse(token, Refusal::new(ErrorCode::DeadlinePassed, 0));
        }
        if self.len() >= OPERATIONS_MAX && !self.make_room(now, routing) {
            let pause = u64::try_from(BUSY_PAUSE.as_millis()).unwrap_or(u64::MAX);
            return self.refuse(token, Refusal::new(ErrorCode::Busy, pause));
        }
        let index = self.vacancy();
        let place = &mut self.places[index as usize];
        let slot = routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, request.key()));
        let attempt = Attempt {
            id: place.last.next(),
            token,
            deadline,
            patience: patience(now, deadline),
            slot,
            fence: routing.fence(),
            copies: Copies { now: 0, then: None },
            answered: false,
            refusal: None,
            peers: std::mem::take(&mut place.peers),
            exhausted: false,
        };
        place.last = attempt.id;
        place.operation = Some(Operation::new(attempt, request));
        self.with_operation(now, routing, index, Operation::start);
    }

    /// What became of what `from` was asked. A reply that nobody waits for is dropped.
    pub fn handle_reply(
        &mut self,
        now: Timestamp,
        routing: &Arc<Routing>,
        operation: OperationId,
        from: Ordinal,
        reply: ReplicaReply,
    ) {
        let place = self.places.get(operation.index as usize);
        let current = place.and_then(|place| place.operation.as_ref());
        if current.is_some_and(|current| current.id() == operation) {
            self.with_operation(now, routing, operation.index, |operation, cx| operation.handle_reply(from, reply, cx));
        }
    }

    /// To be called when `now` has reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Timestamp, routing: &Arc<Routing>) {
        while let Some(&(at, index)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.with_operation(now, routing, index, Operation::handle_timeout);
            assert!(self.timers.first() != Some(&(at, index)), "whoever was called is called later, if at all");
        }
    }

    /// The process has installed a view.
    pub fn handle_install(&mut self, now: Timestamp, routing: &Arc<Routing>) {
        for index in self.occupied() {
            self.with_operation(now, routing, index, Operation::handle_install);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// How many operations there are, those included that are answered and not over.
    pub fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    /// Whether there is no operation, and nothing left to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.outputs.is_empty()
    }

    /// Ends the operations that are answered if they are many, and says whether there is room. A hint is left to whoever they
    /// wait for. Ending few would be to search a full table for each new operation.
    fn make_room(&mut self, now: Timestamp, routing: &Arc<Routing>) -> bool {
        if self.lingering < OPERATIONS_MAX / 4 {
            return false;
        }
        for index in self.occupied() {
            let close = |operation: &mut Operation<T>, cx: &mut Context<'_, T>| {
                if !operation.attempt.answered {
                    return Kept::Yes;
                }
                operation.expire(cx);
                Kept::No
            };
            self.with_operation(now, routing, index, close);
        }
        true
    }

    fn occupied(&self) -> impl Iterator<Item = u32> + use<T> {
        let occupied = self.places.iter().filter_map(|place| place.operation.as_ref());
        let occupied: Vec<u32> = occupied.map(|operation| operation.id().index).collect();
        occupied.into_iter()
    }

    fn refuse(&mut self, token: T, refusal: Refusal) {
        self.outputs.push_back(Output::Answer { token, reply: ClientReply::Refused(refusal) });
    }

    fn vacancy(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.places.len()).expect("there are at most OPERATIONS_MAX places");
            let last = OperationId { index, generation: 0 };
            self.places.push(Place { last, operation: None, peers: Vec::new() });
            index
        })
    }

    /// Lets the operation at `index` act, and forgets it if it is over.
    fn with_operation(
        &mut self,
        now: Timestamp,
        routing: &Routing,
        index: u32,
        act: impl FnOnce(&mut Operation<T>, &mut Context<'_, T>) -> Kept,
    ) {
        let place = &mut self.places[index as usize];
        let Some(operation) = &mut place.operation else { return };
        let (was_answered, woke) = (operation.attempt.answered, operation.wakes);
        let (outputs, latency) = (&mut self.outputs, &mut self.latency);
        let mut cx = Context { now, routing, outputs, latency, planted: self.planted };
        let kept = act(operation, &mut cx);
        place.last = operation.id();
        let lingers = kept == Kept::Yes && operation.attempt.answered;
        self.lingering = self.lingering + usize::from(lingers) - usize::from(was_answered);
        if kept == Kept::Yes && operation.wakes == woke {
            return;
        }
        // One that has just begun is in no timer.
        if woke < Timestamp::MAX {
            self.timers.remove(&(woke, index));
        }
        match kept {
            Kept::Yes if operation.wakes < Timestamp::MAX => {
                self.timers.insert((operation.wakes, index));
            }
            Kept::Yes => {}
            Kept::No => {
                place.peers = std::mem::take(&mut operation.attempt.peers);
                place.peers.clear();
                place.operation = None;
                self.vacant.push(index);
            }
        }
    }
}

/// Until when an operation may keep its client waiting that has so much time.
fn patience(now: Timestamp, deadline: Timestamp) -> Timestamp {
    now.saturating_add(deadline.checked_duration_since(now).unwrap_or_default() / PATIENCE_PART)
}
