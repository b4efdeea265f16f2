//! The proposing half of genesis.

use std::time::Duration;

use quoit_proto_types::{Ballot, ClusterId, Label, message::genesis::GenesisMessage};
use rand::RngExt;

use super::{Genesis, Output, Role, TERM_LIMIT};
use crate::{
    genesis::{
        first_view::{first_view, ordinal},
        report::Finding,
        round::{Promise, Promises, Round, binding_view},
    },
    time::Timestamp,
};

/// Between the proposals of two founders who are next to each other in the list, so that the first one is usually alone.
const STAGGER: Duration = Duration::from_millis(100);
/// Longest random addition to a founder's turn.
const JITTER: Duration = Duration::from_millis(50);
/// How long a proposer waits for all answers to one question.
pub(super) const PHASE: Duration = Duration::from_millis(600);
/// Mean wait after the first round that failed. Doubles with each, [`BACKOFF_DOUBLINGS`] times.
const BACKOFF: Duration = Duration::from_millis(150);
const BACKOFF_DOUBLINGS: u32 = 3;

impl Genesis {
    /// Opens a round, with a ballot above every one seen.
    pub(super) fn campaign(&mut self, now: Timestamp) {
        let term = self.term_seen.max(self.acceptor.promised().term).next();
        let ballot = Ballot { term, ordinal: ordinal(self.rank), boot: self.life };
        let accepted = self.acceptor.prepare(ballot).expect("its term is above the promised one");
        self.role = Role::Proposer(Round::prepare(ballot, now.saturating_add(PHASE)));
        self.send_all(&GenesisMessage::Prepare { genesis: self.digest, ballot });
        let me = self.me.clone();
        self.on_promise(now, &me.name.clone(), ballot, Promise { founder: me, accepted });
    }

    pub(super) fn on_promise(&mut self, now: Timestamp, from: &Label, ballot: Ballot, promise: Promise) {
        let founders = self.quorum();
        match self.role.round(ballot) {
            Some(round) if promise.founder.name == *from => {
                if let Some(promises) = round.promised(from, promise, founders) {
                    self.propose(now, ballot, promises);
                }
            }
            Some(_) | None => self.ignore(),
        }
    }

    fn propose(&mut self, now: Timestamp, ballot: Ballot, promises: Promises) {
        let view = match binding_view(&promises) {
            Some(view) => Ok(view),
            None => {
                let cluster_id = ClusterId::from_random(self.rng.random());
                let founders = promises.into_values().map(|promise| promise.founder).collect();
                let now_ms = self.started_at_ms.saturating_add(now.as_micros() / 1000);
                first_view(&self.cluster, cluster_id, (ballot, now_ms), self.config, founders)
            }
        };
        let view = match view {
            Ok(view) => view,
            Err(reason) => {
                // The same founders would fail again, so wait until one comes back with other settings.
                self.role = Role::Waiting;
                return self.report(Finding::Unformable { reason });
            }
        };
        self.send_all(&GenesisMessage::Propose { ballot, view: view.clone() });
        self.role = Role::Proposer(Round::propose(ballot, now.saturating_add(PHASE), view));
        self.conclude(ballot);
    }

    pub(super) fn on_accepted(&mut self, _now: Timestamp, from: &Label, ballot: Ballot) {
        match self.role.round(ballot) {
            Some(round) => {
                round.accepted(from);
                self.conclude(ballot);
            }
            None => self.ignore(),
        }
    }

    /// Decides, once everybody else has accepted. The proposer accepts last, so it knows of a round it gave up that
    /// nothing was decided.
    fn conclude(&mut self, ballot: Ballot) {
        let others = self.quorum() - 1;
        let Some(view) = self.role.round(ballot).and_then(|round| round.accepted_by(others)) else {
            return;
        };
        self.acceptor.accept(ballot, view.clone()).expect("a higher promise would have ended this round");
        self.role = Role::Decided;
        self.outputs.push_back(Output::Decided { ballot, view });
    }

    pub(super) fn on_reject(&mut self, now: Timestamp, ballot: Ballot, seen: Ballot) {
        match self.role.round(ballot) {
            Some(_) if seen.term < TERM_LIMIT => {
                self.term_seen = self.term_seen.max(seen.term);
                self.back_off(now);
            }
            Some(_) | None => self.ignore(),
        }
    }

    /// Tries again later: after 150 ms, 300 ms, 600 ms, then 1.2 s, each ± 50 %.
    pub(super) fn back_off(&mut self, now: Timestamp) {
        let mean = BACKOFF * 2_u32.pow(self.rounds_failed.min(BACKOFF_DOUBLINGS));
        self.rounds_failed = self.rounds_failed.saturating_add(1);
        let wait = self.rng.random_range(mean / 2..=mean * 3 / 2);
        self.role = Role::Standby { until: now.saturating_add(wait) };
    }

    /// Waits for `at_least`, and then for this founder's turn.
    pub(super) fn stand_by(&mut self, now: Timestamp, at_least: Duration) {
        let turn = STAGGER * ordinal(self.rank).value().saturating_sub(1);
        let jitter = self.rng.random_range(Duration::ZERO..=JITTER);
        self.role = Role::Standby { until: now.saturating_add(at_least + turn + jitter) };
    }
}

impl Role {
    /// The round of `ballot`, if that is what is going on.
    fn round(&mut self, ballot: Ballot) -> Option<&mut Round> {
        match self {
            Self::Proposer(round) if round.ballot == ballot => Some(round),
            Self::Proposer(_) | Self::Waiting | Self::Standby { .. } | Self::Decided => None,
        }
    }
}
