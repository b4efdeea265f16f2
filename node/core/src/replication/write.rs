//! Writes: to every owner at once, and to substitutes for those out of reach.

use std::time::Duration;

use quoit_proto_types::{Ordinal, Stamp, WriteLevel, message::client::Written};

use super::{
    attempt::{Attempt, Context, Peer, State},
    message::{ClientReply, Output, ReplicaReply, ReplicaRequest},
    operation::Progress,
};
use crate::{
    planted::data::{DataBug, DataPlanted},
    store::Record,
    time::Timestamp,
};

/// How long an owner may be silent before a substitute is asked as well, while the level is not reached: some hundred times
/// what it takes within a site, so that owners that are well are not doubled, and a twentieth of a usual deadline.
pub const WRITE_HEDGE: Duration = Duration::from_millis(50);

/// An entry to be held by as many nodes as the level asks for.
#[derive(Debug)]
pub(super) struct Write {
    level: WriteLevel,
    stamp: Stamp,
    record: Record,
    existed: bool,
    if_stuck: IfStuck,
}

/// What is said of a write that does not get far enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfStuck {
    /// That any node may carry it on.
    CarriedOn,
    /// That it came to nothing: the client cannot tell another node what to carry on.
    Refused,
}

impl Write {
    pub(super) fn new(level: WriteLevel, stamp: Stamp, record: Record) -> Self {
        Self { level, stamp, record, existed: false, if_stuck: IfStuck::CarriedOn }
    }

    /// Of another expiry for an entry that was found.
    pub(super) fn touch(level: WriteLevel, stamp: Stamp, record: Record) -> Self {
        Self { level, stamp, record, existed: true, if_stuck: IfStuck::Refused }
    }

    pub(super) fn start<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        attempt.involve_owners(cx.routing);
        self.conclude(attempt, cx)
    }

    /// The attempt is about to be made anew.
    pub(super) fn restamp(&mut self, planted: DataPlanted) {
        if planted.is(DataBug::RetryRestamps) {
            self.stamp.version.hlc = self.stamp.version.hlc.next();
        }
    }

    pub(super) fn handle_reply<T: Copy>(
        &mut self,
        attempt: &mut Attempt<T>,
        index: usize,
        reply: ReplicaReply,
        cx: &Context<'_, T>,
    ) {
        match reply {
            ReplicaReply::Stored { was_live } => {
                attempt.peers[index].state = State::Answered;
                self.existed |= was_live && attempt.peers[index].is_owner();
            }
            ReplicaReply::Refused(refusal) => attempt.failed(index, Some(refusal), cx.now),
            // The first two answer no put: whoever sends them has not stored anything.
            ReplicaReply::Entry { .. } | ReplicaReply::Absent | ReplicaReply::Unreachable => {
                attempt.failed(index, None, cx.now);
            }
        }
    }

    pub(super) fn handle_timeout<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &Context<'_, T>) {
        if let Some(silence) = Self::silence(attempt) {
            attempt.note_silence(silence, cx.now);
        }
        attempt.note_pauses(cx.now);
    }

    /// How long a node may be silent: for ever, once the client has its answer.
    fn silence<T>(attempt: &Attempt<T>) -> Option<Duration> {
        (!attempt.answered).then_some(WRITE_HEDGE)
    }

    /// Answers if there is an answer, and asks whom it should.
    pub(super) fn conclude<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        let is_reached = |attempt: &Attempt<T>| attempt.reaches(self.level, cx.planted, Peer::is_answered);
        if !attempt.answered && (is_reached(attempt) || cx.planted.is(DataBug::AckBeforeStored)) {
            let written = Written { version: self.stamp.version, existed: self.existed };
            attempt.answer(ClientReply::Done(written), cx);
        }
        if attempt.is_outdated(cx.routing) {
            return Progress::Anew;
        }
        attempt.involve_substitutes(cx.routing);
        self.leave_more_hints(attempt, Peer::may_answer, cx);
        if !attempt.answered && !attempt.may_reach(self.level, cx.planted) {
            self.give_up(attempt, cx);
            return Progress::Over;
        }
        if self.may_be_carried_on(attempt) && attempt.patience <= cx.now {
            self.give_up(attempt, cx);
        }
        for index in 0..attempt.peers.len() {
            if attempt.peers[index].state == State::Idle {
                let request = self.put(attempt.peers[index].stands_for);
                attempt.ask(index, request, cx);
            }
        }
        let is_open =
            |peer: &Peer| matches!(peer.state, State::Asked | State::Behind { .. } | State::Moved) && !peer.replaced;
        if attempt.answered && !attempt.peers.iter().any(is_open) { Progress::Over } else { Progress::Going }
    }

    /// The deadline has passed, or the place is needed for another operation: whoever has not answered by now will not be
    /// waited for. The client is told if it has not been, and otherwise a hint is left for them.
    pub(super) fn expire<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) {
        if !attempt.answered {
            self.give_up(attempt, cx);
            return;
        }
        if attempt.is_outdated(cx.routing) {
            return;
        }
        for peer in &mut attempt.peers {
            peer.overdue = true;
        }
        attempt.involve_substitutes(cx.routing);
        for peer in attempt.peers.iter().filter(|peer| peer.state == State::Idle) {
            let (to, fence, request) = (peer.ordinal, attempt.fence, self.put(peer.stands_for));
            cx.outputs.push_back(Output::Tell { to, fence, request });
        }
        // Of those that are silent still nobody will hear any more.
        self.leave_more_hints(attempt, Peer::is_answered, cx);
    }

    /// Where there are fewer substitutes than owners out of reach, and no owner `has` it, one substitute keeps it for the other
    /// owners as well. That counts for no level. Else the second owner would get it with the next repair only, and nobody
    /// would know until then that a single one has it.
    fn leave_more_hints<T: Copy>(
        &self,
        attempt: &mut Attempt<T>,
        has: impl Fn(&Peer) -> bool,
        cx: &mut Context<'_, T>,
    ) {
        if !attempt.exhausted || attempt.peers.iter().any(|peer| peer.is_owner() && has(peer)) {
            return;
        }
        let keeper = attempt.peers.iter().find(|peer| peer.is_answered()).map(|peer| peer.ordinal);
        let Some(keeper) = keeper else { return };
        for index in 0..attempt.peers.len() {
            if let Some(owner) = attempt.take_lacking(index) {
                let (fence, request) = (attempt.fence, self.put(Some(owner)));
                cx.outputs.push_back(Output::Tell { to: keeper, fence, request });
            }
        }
    }

    /// Answers that it is not far enough.
    fn give_up<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) {
        match self.if_stuck {
            IfStuck::CarriedOn if attempt.refusal.is_none() => {
                attempt.answer(ClientReply::Unfinished { stamp: self.stamp, held: attempt.answers() }, cx);
            }
            IfStuck::CarriedOn | IfStuck::Refused => attempt.refuse(cx),
        }
    }

    /// When it is to be called although nobody says anything.
    pub(super) fn wakes<T: Copy>(&self, attempt: &Attempt<T>) -> Timestamp {
        let wakes = attempt.wakes(Self::silence(attempt));
        if self.may_be_carried_on(attempt) { wakes.min(attempt.patience) } else { wakes }
    }

    fn may_be_carried_on<T>(&self, attempt: &Attempt<T>) -> bool {
        !attempt.answered && attempt.refusal.is_none() && self.if_stuck == IfStuck::CarriedOn
    }

    fn put(&self, hint_for: Option<Ordinal>) -> ReplicaRequest {
        ReplicaRequest::Put { stamp: self.stamp, hint_for, record: self.record.clone() }
    }
}
