//! Reads: of one owner and more only if need be, or of as many owners as the level asks for.

use std::time::Duration;

use bytes::Bytes;
use quoit_proto_types::{EntryKind, Hlc, ReadLevel, Stamp, Version, WriteLevel};

use super::{
    attempt::{Attempt, Context, Peer, State, lives_as_named},
    message::{ClientReply, Output, ReplicaReply, ReplicaRequest},
    operation::Progress,
    write::Write,
};
use crate::{planted::data::DataBug, routing::Standing, store::Record, time::Wall};

/// So many owners that know nothing of a key make a miss, as far as there are so many: one alone may have restarted.
pub const MISSES_ENOUGH: usize = 2;

/// So many substitutes are asked for hints when no owner answers: those that writes turn to first.
pub const SUBSTITUTES_ASKED: usize = 2;

/// How long an owner may be silent before a read gives up waiting for it, if there is no other one to turn to.
pub const READ_SILENCE: Duration = Duration::from_millis(50);

/// What the entry is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Get,
    TimeToLive,
    Touch { level: WriteLevel, touched: Hlc, expires_at_ms: u64 },
}

/// An entry to be found.
#[derive(Debug)]
pub(super) struct Read {
    purpose: Purpose,
    level: ReadLevel,
    at_least: Option<Version>,
    wall: Wall,
    key: Bytes,
    best: Option<(Stamp, Bytes)>,
}

impl Read {
    pub(super) fn new(purpose: Purpose, level: ReadLevel, at_least: Option<Version>, wall: Wall, key: Bytes) -> Self {
        Self { purpose, level, at_least, wall, key, best: None }
    }

    pub(super) fn start<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        self.best = None;
        match self.level {
            ReadLevel::One => self.involve_candidates(attempt, cx),
            ReadLevel::Quorum | ReadLevel::All => attempt.involve_owners(cx.routing),
        }
        self.conclude(attempt, cx)
    }

    /// The owners in force that live, this process first. Those to be may not hold everything yet.
    fn involve_candidates<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &Context<'_, T>) {
        let (routing, slot) = (cx.routing, attempt.slot);
        let owners = routing.owners(slot);
        let any = cx.planted.is(DataBug::AnyReplicaReadsInJoint);
        let standing = routing.standing(slot);
        let me = routing.me().filter(|_| standing == Standing::Owner || any && standing == Standing::Pending);
        let lives = |ordinal| lives_as_named(routing.view(), &routing.view().fields().ring, ordinal);
        let others = owners.now.iter().copied().filter(|owner| Some(*owner) != me && lives(*owner));
        for ordinal in me.into_iter().chain(others) {
            attempt.involve(routing, ordinal);
        }
    }

    pub(super) fn handle_reply<T: Copy>(
        &mut self,
        attempt: &mut Attempt<T>,
        index: usize,
        reply: ReplicaReply,
        cx: &mut Context<'_, T>,
    ) {
        let peer = attempt.peers[index];
        if Some(peer.ordinal) != cx.routing.me() && !peer.overdue {
            cx.latency.answered(attempt.elapsed(index, cx.now));
        }
        match reply {
            ReplicaReply::Entry { stamp, value } => {
                attempt.peers[index].state = State::Answered;
                attempt.peers[index].has = Some(stamp.rank());
                if self.best.as_ref().is_none_or(|(best, _)| stamp.supersedes(best)) {
                    self.best = Some((stamp, value));
                }
            }
            ReplicaReply::Absent => attempt.peers[index].state = State::Answered,
            ReplicaReply::Refused(refusal) => attempt.failed(index, Some(refusal), cx.now),
            // The first one answers no get.
            ReplicaReply::Stored { .. } | ReplicaReply::Unreachable => attempt.failed(index, None, cx.now),
        }
    }

    pub(super) fn handle_timeout<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) {
        // First, as a read is less patient while there is somebody left to ask.
        attempt.note_pauses(cx.now);
        let Some(silence) = self.silence(attempt, cx.latency.hedge()) else { return };
        for _ in 0..attempt.note_silence(silence, cx.now) {
            cx.latency.overdue();
        }
    }

    /// How long a node may be silent: not long if there is another one to ask.
    pub(super) fn silence<T>(&self, attempt: &Attempt<T>, hedge: Duration) -> Option<Duration> {
        let others = attempt.peers.iter().any(|peer| peer.state == State::Idle);
        (!attempt.answered).then_some(if others { hedge } else { READ_SILENCE })
    }

    /// Answers if there is an answer, and asks whom it should.
    pub(super) fn conclude<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        match self.level {
            ReadLevel::One => self.conclude_one(attempt, cx),
            ReadLevel::Quorum => self.conclude_many(WriteLevel::Quorum, attempt, cx),
            ReadLevel::All => self.conclude_many(WriteLevel::All, attempt, cx),
        }
    }

    fn conclude_one<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        if self.best.is_some() && self.is_good() {
            return self.give(attempt, cx);
        }
        if attempt.is_outdated(cx.routing) {
            return Progress::Anew;
        }
        // What owners have answered so far is not good enough.
        let answers = count(attempt, |peer| peer.is_owner() && peer.is_answered());
        let wanted = match answers {
            0 => 1,
            _ if self.at_least.is_some() => usize::MAX,
            _ => MISSES_ENOUGH,
        };
        let mut expected = answers + count(attempt, |peer| peer.is_owner() && peer.is_asked() && !peer.overdue);
        for index in 0..attempt.peers.len() {
            if expected < wanted && attempt.peers[index].state == State::Idle {
                self.ask(attempt, index, cx);
                expected += 1;
            }
        }
        if answers >= wanted {
            return self.give(attempt, cx);
        }
        match (answers, count(attempt, |peer| peer.is_owner() && peer.is_awaited())) {
            (_, 1..) => Progress::Going,
            (1.., 0) if self.at_least.is_none() => self.give(attempt, cx),
            (_, 0) => self.ask_for_hints(attempt, cx),
        }
    }

    /// No owner has answered, or none with what the client has written: those that keep entries for owners out of reach may
    /// have it, as they do after a partition until they have brought it to the owners.
    fn ask_for_hints<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        if attempt.peers.iter().any(|peer| matches!(peer.state, State::Behind { .. } | State::Moved)) {
            return Progress::Going;
        }
        let is_of_use = |peer: &Peer| !peer.is_owner() && (peer.is_answered() || peer.is_awaited());
        while count(attempt, is_of_use) < SUBSTITUTES_ASKED {
            let Some(index) = attempt.involve_hint_holder(cx.routing) else { break };
            self.ask(attempt, index, cx);
        }
        if count(attempt, Peer::is_awaited) > 0 {
            return Progress::Going;
        }
        if self.best.is_some() || count(attempt, |peer| peer.is_owner() && peer.is_answered()) > 0 {
            return self.give(attempt, cx);
        }
        if attempt.peers.iter().any(|peer| peer.is_owner() && peer.may_answer()) {
            return Progress::Going;
        }
        attempt.refuse(cx);
        Progress::Over
    }

    fn conclude_many<T: Copy>(
        &mut self,
        level: WriteLevel,
        attempt: &mut Attempt<T>,
        cx: &mut Context<'_, T>,
    ) -> Progress {
        let is_reached = !attempt.answered && attempt.reaches(level, cx.planted, Peer::is_answered);
        if is_reached && (self.is_good() || count(attempt, Peer::is_awaited) == 0) {
            self.give(attempt, cx);
        }
        if attempt.is_outdated(cx.routing) {
            return if attempt.answered { Progress::Over } else { Progress::Anew };
        }
        if attempt.answered {
            self.repair(attempt, cx);
            return if count(attempt, Peer::is_asked) > 0 { Progress::Going } else { Progress::Over };
        }
        if !attempt.may_reach(level, cx.planted) {
            attempt.refuse(cx);
            return Progress::Over;
        }
        for index in 0..attempt.peers.len() {
            if attempt.peers[index].state == State::Idle {
                self.ask(attempt, index, cx);
            }
        }
        Progress::Going
    }

    /// The deadline has passed: whatever is known is told.
    pub(super) fn expire<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) {
        let enough = match self.level {
            ReadLevel::One => self.best.is_some() || count(attempt, |p| p.is_owner() && p.is_answered()) > 0,
            ReadLevel::Quorum => attempt.reaches(WriteLevel::Quorum, cx.planted, Peer::is_answered),
            ReadLevel::All => attempt.reaches(WriteLevel::All, cx.planted, Peer::is_answered),
        };
        match (attempt.answered, enough, self.purpose) {
            (true, ..) => {}
            (false, true, Purpose::Get | Purpose::TimeToLive) => {
                self.give(attempt, cx);
            }
            // There is no time left to write anything.
            (false, true, Purpose::Touch { .. }) | (false, false, _) => attempt.refuse(cx),
        }
    }

    /// Whether what was found is as new as the client asked for.
    fn is_good(&self) -> bool {
        self.at_least.is_none_or(|least| self.best.as_ref().is_some_and(|(best, _)| best.version >= least))
    }

    /// Ends the read with what was found.
    fn give<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        let stale = !self.is_good();
        let live = self.best.as_ref().filter(|(stamp, _)| !stamp.is_absent_at(self.wall.as_millis()));
        let reply = match (live, self.purpose) {
            (None, _) => ClientReply::Miss,
            (Some((stamp, value)), Purpose::Get) => ClientReply::Value { stamp: *stamp, value: value.clone(), stale },
            (Some((stamp, _)), Purpose::TimeToLive) => ClientReply::TimeToLive { stamp: *stamp, stale },
            (Some((stamp, value)), Purpose::Touch { level, touched, expires_at_ms }) => {
                // A later change than the one that is there, even if that was made by a clock that is a little ahead.
                let touched = touched.max(stamp.touched.next());
                let stamp = Stamp { version: stamp.version, touched, kind: EntryKind::Value, expires_at_ms };
                return Progress::Write(Write::touch(level, stamp, Record::new(&self.key, value)));
            }
        };
        attempt.answer(reply, cx);
        Progress::Over
    }

    /// Sends the newest entry to the owners that have answered with less.
    fn repair<T: Copy>(&self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) {
        let Some((stamp, value)) = &self.best else { return };
        let newest = Some(stamp.rank());
        for peer in attempt.peers.iter_mut().filter(|peer| peer.is_answered() && peer.has < newest) {
            peer.has = newest;
            let record = Record::new(&self.key, value);
            let request = ReplicaRequest::Put { stamp: *stamp, hint_for: None, record };
            cx.outputs.push_back(Output::Tell { to: peer.ordinal, fence: attempt.fence, request });
        }
    }

    fn ask<T: Copy>(&self, attempt: &mut Attempt<T>, index: usize, cx: &mut Context<'_, T>) {
        attempt.peers[index].forgive();
        attempt.ask(index, ReplicaRequest::Get { key: self.key.clone() }, cx);
    }
}

fn count<T>(attempt: &Attempt<T>, is_counted: impl Fn(&Peer) -> bool) -> usize {
    attempt.peers.iter().filter(|peer| is_counted(peer)).count()
}
