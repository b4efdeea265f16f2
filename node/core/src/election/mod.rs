//! The bully that cannot split the brain: it picks who proposes, and a quorum of the voters decides.
//!
//! What is kept of Garcia-Molina's bully (1982) is the total order of ranks, the question to the others, the answer of those
//! who outrank, and that the highest connected one takes office. What is repaired: office is a view that a majority of the
//! last view's voters accepted, so a second coordinator can only fail to commit; nobody stands while a coordinator that
//! reaches a majority is heard (it is *sticky*); candidates and coordinators must themselves reach a majority by round trips
//! (as in Omni-Paxos, 2023); ranks stand one after the other, not all at once; and a superior that answers but never takes
//! office is ignored after a while. Choosing views is single-decree Paxos, one instance for each epoch.
//!
//! ```text
//!            silence, my turn              a majority grants            a majority promises
//! Follower ───────────────────▶ Candidate ───────────────▶ Preparing ────────────────────▶ Proposing
//!    ▲ ▲                          │    ▲                        │                             │ a majority accepts
//!    │ └──a majority hears one────┤    │ deadline: ignore it    │ rejected, out of time       ▼
//!    │                            ▼    │                        │                        Coordinator ─┐ proposes
//!    │     a superior answers: Yielding┘                        │                             │  ▲      │ the next
//!    └──────────────── coordinator heard, or view ◀─────────────┴─ no quorum, higher ballot ──┘  └──────┘ view
//! ```
//!
//! The machine knows one epoch at a time. `enter` takes it to the next.

mod rank;
mod role;
mod row;
#[cfg(test)]
mod tests;
mod votes;

use std::collections::{BTreeMap, VecDeque};

use quoit_proto_types::{
    Ballot, Boot, Epoch, Ordinal, Term, View,
    message::{election::ElectionMessage, heartbeat::Office},
};
use rand::{RngExt, rngs::StdRng};

pub(crate) use rank::Electorate;
use role::Role;
pub use row::{Row, Rows};

use crate::{
    meta::Meta,
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// No honest voter gets here, and no ballot from here on is heeded: terms must not run out.
const TERM_LIMIT: Term = Term::new(1 << 48);
/// How many times the pause after a failed candidacy doubles.
const BACKOFF_DOUBLINGS: u32 = 3;

/// What the machine wants of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send this to a voter.
    Send(Ordinal, ElectionMessage),
    /// A majority accepted: install the view, and tell everybody.
    Decided { ballot: Ballot, view: View },
    /// A line for the log.
    Note(String),
}

/// The last word of a coordinator that reaches a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    ballot: Ballot,
    from: Ordinal,
    at: Timestamp,
}

/// One member's part in electing coordinators and deciding views.
#[derive(Debug)]
pub(crate) struct Election {
    me: Ordinal,
    boot: Boot,
    timing: Timing,
    planted: Planted,
    epoch: Epoch,
    electorate: Electorate,
    role: Role,
    /// The number of this node's candidacies.
    round: u64,
    /// The highest term seen anywhere.
    term_seen: Term,
    heard: Option<Heard>,
    /// The last sign that somebody leads: silence counts from here.
    quiet_since: Timestamp,
    jitter: std::time::Duration,
    not_before: Timestamp,
    failures: u32,
    ignored: BTreeMap<Ordinal, Timestamp>,
    /// The last round trip with each voter.
    round_trips: BTreeMap<Ordinal, Timestamp>,
    checked: Timestamp,
    rng: StdRng,
    actions: VecDeque<Action>,
    rows: Rows,
}

impl Election {
    /// The part of the member `me`, in its life `boot`, in `view`.
    pub(crate) fn new(
        (me, boot): (Ordinal, Boot),
        view: &View,
        (timing, planted): (Timing, Planted),
        mut rng: StdRng,
        now: Timestamp,
    ) -> Self {
        let jitter = rng.random_range(std::time::Duration::ZERO..=timing.jitter);
        Self {
            me,
            boot,
            timing,
            planted,
            epoch: view.epoch(),
            electorate: Electorate::of(view),
            role: Role::Follower,
            round: 0,
            term_seen: Term::default(),
            heard: None,
            quiet_since: now,
            jitter,
            not_before: now,
            failures: 0,
            ignored: BTreeMap::new(),
            round_trips: BTreeMap::new(),
            checked: now,
            rng,
            actions: VecDeque::new(),
            rows: Rows::default(),
        }
    }

    /// Goes on to `view`, which was decided under `ballot`. `first_hand` if the coordinator itself said so just now.
    pub(crate) fn enter(&mut self, now: Timestamp, (view, me): (&View, Ordinal), ballot: Ballot, first_hand: bool) {
        self.rows.take(Row::CommitInstalled);
        let presides = self.role.proposal().is_some_and(|(mine, _)| mine == ballot);
        // One that missed how it was removed and let in again has another name in the view.
        self.me = me;
        self.epoch = view.epoch();
        let before = std::mem::replace(&mut self.electorate, Electorate::of(view));
        if presides {
            // Nobody can have made a round trip with one that votes only now.
            let new = self.electorate.iter().filter(|voter| !before.contains(*voter));
            self.round_trips.extend(new.map(|voter| (voter, now)));
        }
        self.term_seen = self.term_seen.max(ballot.term);
        (self.quiet_since, self.failures) = (now, 0);
        if presides && self.electorate.contains(self.me) {
            return self.take_office(now, ballot);
        }
        self.give_way();
        if first_hand && ballot.ordinal != self.me {
            self.heard = Some(Heard { ballot, from: ballot.ordinal, at: now });
        }
    }

    /// Coordinates under the ballot under which this node, as a founder, had view 1 decided. All voters have answered just
    /// now.
    /// False if it does not vote, so that another will.
    pub(crate) fn preside_from(&mut self, now: Timestamp, ballot: Ballot) -> bool {
        if !self.electorate.contains(self.me) {
            return false;
        }
        self.round_trips.extend(self.electorate.iter().map(|voter| (voter, now)));
        self.take_office(now, ballot);
        true
    }

    /// Coordinates under `ballot`, under which this node had the present view decided.
    fn take_office(&mut self, now: Timestamp, ballot: Ballot) {
        self.term_seen = self.term_seen.max(ballot.term);
        self.heard = None;
        let installed = [self.me].into();
        self.role =
            Role::Coordinator(role::Office { ballot, since: now, installed, proposal: None, handing_over: None });
    }

    /// A coordinator's or another member's heartbeat, of its epoch `epoch`.
    pub(crate) fn handle_ping(
        &mut self,
        now: Timestamp,
        from: Ordinal,
        (epoch, ballot, office): (Epoch, Ballot, Office),
        promised: Ballot,
    ) {
        if from == self.me || epoch < self.epoch || ballot < promised || ballot.term >= TERM_LIMIT {
            return;
        }
        match office {
            Office::Presiding => {
                self.heard = Some(Heard { ballot, from, at: now });
                (self.quiet_since, self.failures) = (now, 0);
                self.give_way();
            }
            // It hands over, stepped down, or was started again.
            Office::Yielding | Office::None => self.heard = self.heard.filter(|heard| heard.from != from),
        }
    }

    /// A voter answered the ping of the moment `sent`.
    pub(crate) fn handle_pong(&mut self, now: Timestamp, from: Ordinal, sent: Timestamp) {
        if now.checked_duration_since(sent).is_some_and(|trip| trip < self.timing.quorum_fresh) {
            self.round_trips.insert(from, now);
        }
    }

    /// This node was asleep: nothing that it did not hear meanwhile counts.
    pub(crate) fn handle_late(&mut self, now: Timestamp) {
        self.quiet_since = now;
    }

    /// Call at every heartbeat, and when `now` has reached [`poll_timeout`](Self::poll_timeout).
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, meta: &mut Meta) {
        self.checked = now;
        if !self.electorate.contains(self.me) {
            return;
        }
        match &self.role {
            Role::Follower => self.stand_if_due(now, meta),
            Role::Candidate(candidacy) => {
                let over = candidacy.since.saturating_add(self.timing.candidacy) <= now;
                self.advance(now, meta);
                if over && matches!(self.role, Role::Candidate(_)) {
                    self.rows.take(Row::CandidateGivesUp);
                    self.back_off(now);
                }
            }
            Role::Yielding { to, until } => {
                if *until <= now && !self.planted.is(Bug::YieldsForEver) {
                    self.stop_yielding(now, *to, meta);
                }
            }
            Role::Preparing(preparation) => self.give_up_if_late(now, preparation.until),
            Role::Proposing { proposal, .. } => self.give_up_if_late(now, proposal.until),
            Role::Coordinator(_) => self.preside(now),
        }
    }

    /// The superior did not take office: it is ignored for a while.
    fn stop_yielding(&mut self, now: Timestamp, to: Ordinal, meta: &mut Meta) {
        self.rows.take(Row::YieldingOver);
        self.ignored.insert(to, now.saturating_add(self.timing.ignore));
        self.follow();
        if !self.is_fresh(now, meta.acceptor.promised()) && self.is_connected(now) {
            self.stand(now, None, meta);
        }
    }

    fn give_up_if_late(&mut self, now: Timestamp, until: Timestamp) {
        if until <= now {
            self.rows.take(Row::RoundTimedOut);
            self.back_off(now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), beside every heartbeat.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let rank = self.electorate.rank(self.me)?;
        let due = match &self.role {
            Role::Follower => Some(self.turn(rank)),
            Role::Candidate(candidacy) => {
                let answer = candidacy.since.saturating_add(self.timing.answer);
                let all = candidacy.since.saturating_add(self.timing.candidacy);
                Some(if self.checked < answer { answer } else { all })
            }
            Role::Yielding { until, .. } => Some(*until),
            Role::Preparing(preparation) => Some(preparation.until),
            Role::Proposing { proposal, .. } => Some(proposal.until),
            Role::Coordinator(office) => office.proposal.as_ref().map(|proposal| proposal.until),
        };
        due.filter(|due| *due > self.checked)
    }

    /// The next thing to do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether a coordinator that reaches a majority is known, this node included.
    pub(crate) fn is_fresh(&self, now: Timestamp, promised: Ballot) -> bool {
        if let Some(office) = self.role.office() {
            return office.handing_over.is_none();
        }
        let lasts = self.timing.suspect.saturating_sub(self.timing.heartbeat);
        self.heard.is_some_and(|heard| heard.ballot >= promised && heard.at.saturating_add(lasts) > now)
    }

    /// Whether this node has made round trips with a majority lately.
    pub(crate) fn is_connected(&self, now: Timestamp) -> bool {
        self.connected(now) >= self.electorate.quorum()
    }

    /// With how many voters it has, itself included if it votes.
    pub(crate) fn connected(&self, now: Timestamp) -> usize {
        let fresh = |voter: &Ordinal| {
            let last = self.round_trips.get(voter);
            *voter == self.me || last.is_some_and(|at| at.saturating_add(self.timing.quorum_fresh) > now)
        };
        self.electorate.iter().filter(fresh).count()
    }

    /// What heartbeats say of this node's office.
    pub(crate) fn office(&self, now: Timestamp) -> Office {
        match self.role.office() {
            Some(office) if office.handing_over.is_none() && self.is_connected(now) => Office::Presiding,
            Some(_) => Office::Yielding,
            None => Office::None,
        }
    }

    /// The ballot of this node as coordinator.
    pub(crate) fn presides(&self) -> Option<Ballot> {
        self.role.office().map(|office| office.ballot)
    }

    /// The coordinator heard lately.
    pub(crate) fn coordinator(&self, now: Timestamp, promised: Ballot) -> Option<Ordinal> {
        if self.role.office().is_some() {
            return Some(self.me);
        }
        self.heard.filter(|_| self.is_fresh(now, promised)).map(|heard| heard.from)
    }

    /// Whether this node stands for election.
    pub(crate) fn is_candidate(&self) -> bool {
        !matches!(self.role, Role::Follower | Role::Coordinator(_))
    }

    /// How often each row of the state table was taken.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(crate) fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    pub(crate) fn note_row(&mut self, row: Row) {
        self.rows.take(row);
    }

    /// The moment at which a follower of `rank` stands if it hears nobody until then.
    fn turn(&self, rank: usize) -> Timestamp {
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let silence = self.timing.suspect + self.timing.stagger.saturating_mul(rank) + self.jitter;
        self.quiet_since.saturating_add(silence).max(self.not_before)
    }

    fn stand_if_due(&mut self, now: Timestamp, meta: &mut Meta) {
        let Some(rank) = self.electorate.rank(self.me) else { return };
        let due = self.turn(rank) <= now && !self.is_fresh(now, meta.acceptor.promised());
        let bully = self.planted.is(Bug::Preemptive)
            && self.heard.is_some_and(|heard| self.electorate.outranks(self.me, heard.from));
        if (due || bully) && self.not_before <= now && self.is_connected(now) {
            self.rows.take(Row::FollowerStands);
            self.stand(now, None, meta);
        }
    }

    /// Follows somebody else, whatever it was doing.
    fn give_way(&mut self) {
        match self.role {
            Role::Coordinator(_) => self.rows.take(Row::StepsDownForAnother),
            Role::Yielding { .. } => self.rows.take(Row::YieldingEnds),
            Role::Follower | Role::Candidate(_) | Role::Preparing(_) | Role::Proposing { .. } => {}
        }
        self.follow();
    }

    fn follow(&mut self) {
        self.role = Role::Follower;
        self.jitter = self.rng.random_range(std::time::Duration::ZERO..=self.timing.jitter);
    }

    /// Follows, and does not stand for a while: 150 ms, 300 ms, 600 ms, then 1.2 s, each ± 50 %.
    fn back_off(&mut self, now: Timestamp) {
        let mean = self.timing.backoff * 2_u32.pow(self.failures.min(BACKOFF_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        let pause = self.rng.random_range(mean / 2..=mean * 3 / 2);
        self.not_before = now.saturating_add(pause);
        self.follow();
    }

    fn send(&mut self, to: Ordinal, message: ElectionMessage) {
        self.actions.push_back(Action::Send(to, message));
    }

    fn send_all(&mut self, message: &ElectionMessage) {
        let sends = self.electorate.others(self.me).map(|to| Action::Send(to, message.clone()));
        self.actions.extend(sends);
    }

    fn note(&mut self, text: String) {
        self.actions.push_back(Action::Note(text));
    }
}
