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
}

impl Write {
    pub(super) fn new(level: WriteLevel, stamp: Stamp, record: Record) -> Self {
        Self { level, stamp, record, existed: false }
    }

    /// Of an entry that was found to exist.
    pub(super) fn again(level: WriteLevel, stamp: Stamp, record: Record) -> Self {
        Self { level, stamp, record, existed: true }
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
    pub(super) fn silence<T>(attempt: &Attempt<T>) -> Option<Duration> {
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
        if !attempt.answered && !attempt.may_reach(self.level, cx.planted) {
            attempt.refuse(cx);
            return Progress::Over;
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
            attempt.refuse(cx);
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
    }

    fn put(&self, hint_for: Option<Ordinal>) -> ReplicaRequest {
        ReplicaRequest::Put { stamp: self.stamp, hint_for, record: self.record.clone() }
    }
}
