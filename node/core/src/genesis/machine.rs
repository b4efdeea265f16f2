//! The machine that takes a founder to view 1.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use proposer::PHASE;
use quoit_proto_types::{
    Ballot, Boot, Epoch, Label, Term, View,
    message::{
        genesis::{GenesisDigest, GenesisMessage},
        membership::Applicant,
    },
    view::ViewConfig,
};
use rand::{RngExt, rngs::StdRng};

use super::{
    peers::{Peer, Peers},
    report::{Finding, GenesisStatus},
    round::{Promise, Round},
};
use crate::{
    acceptor::Acceptor,
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// No honest founder gets here, and no ballot from here on is heeded: terms must not run out.
const TERM_LIMIT: Term = Term::new(1 << 48);

/// What a founder starts with.
#[derive(Clone, Debug)]
pub struct GenesisConfig {
    /// The cluster's name.
    pub cluster: Label,
    /// Everybody who founds, this node included, in any order.
    pub founders: Vec<Label>,
    /// This node's part of view 1.
    pub me: Applicant,
    /// What the founders must agree on.
    pub config: ViewConfig,
    /// The time of day when time was 0, in milliseconds since 1970, for what people read.
    pub started_at_ms: u64,
    /// A bug to plant.
    pub planted: Planted,
}

/// What [`Genesis`] wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send `message` to the founder `to`, or drop it if there is no connection.
    Send {
        /// The receiver.
        to: Label,
        /// The message.
        message: GenesisMessage,
    },
    /// View 1 is decided, by this node's proposal. Happens once at most: the machine has nothing left to do.
    Decided {
        /// Under which ballot.
        ballot: Ballot,
        /// It.
        view: View,
    },
    /// Tell the operator.
    Report(Finding),
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// To propose, if nobody else has.
    Propose,
    /// To give up a round that lacks answers.
    Phase,
}

/// Forms view 1 with the other founders.
///
/// The contract with its parent: `handle_connected` comes with every new connection; the promises and acceptances in its
/// [`Acceptor`] are on disk before any message that tells of them leaves. Lost, repeated, late and reordered messages cost
/// time at most.
///
/// ```text
/// Waiting ──all agree──▶ Standby ──my turn──▶ Proposer: Preparing ──all promised──▶ Proposing ──all accepted──▶ Decided
///    ▲                      ▲                     │                           │
///    │                      └───── rejected, out of time, or promised a higher ballot
///    └── from each of these: not all connected and agreed
/// ```
///
/// Whoever hears the view that was decided, from the proposer or from a member, is done as well; that is its parent's part.
#[derive(Debug)]
pub struct Genesis {
    cluster: Label,
    me: Applicant,
    config: ViewConfig,
    started_at_ms: u64,
    planted: Planted,
    digest: GenesisDigest,
    /// Every founder, in order.
    founders: Vec<Label>,
    /// The others.
    peers: Peers,
    /// This node's place among the founders.
    rank: usize,
    /// Stands for this process in its ballots: until the view assigns ordinals, an instance that lost its disk would
    /// otherwise use those of its predecessor again.
    life: Boot,
    acceptor: Acceptor,
    role: Role,
    /// The highest term of a ballot that beat one of ours.
    term_seen: Term,
    rounds_failed: u32,
    rng: StdRng,
    outputs: VecDeque<Output>,
    ignored: u64,
}

#[derive(Debug)]
enum Role {
    Waiting,
    Standby { until: Timestamp },
    Proposer(Round),
    Decided,
}

impl Genesis {
    /// Starts with the promises of earlier processes of this instance. `rng` must differ between any two processes. A
    /// founder alone listens for a while, then decides.
    ///
    /// # Panics
    /// If this node is not one of the founders.
    pub fn new(config: GenesisConfig, acceptor: Acceptor, mut rng: StdRng, now: Timestamp) -> Self {
        let founders: BTreeSet<Label> = config.founders.into_iter().collect();
        let founders: Vec<Label> = founders.into_iter().collect();
        let rank = founders.binary_search(&config.me.name).expect("only founders run genesis");
        let others = founders.iter().filter(|name| **name != config.me.name);
        let mut genesis = Self {
            digest: GenesisDigest::of(&config.cluster, &founders, &config.config),
            peers: Peers::new(others.cloned()),
            founders,
            rank,
            cluster: config.cluster,
            me: config.me,
            config: config.config,
            started_at_ms: config.started_at_ms,
            planted: config.planted,
            life: Boot::new(rng.random()),
            acceptor,
            role: Role::Waiting,
            term_seen: Term::default(),
            rounds_failed: 0,
            rng,
            outputs: VecDeque::new(),
            ignored: 0,
        };
        if genesis.founders.len() == 1 {
            // Should it have lost its disk, the members that it had before have this time to say so.
            genesis.stand_by(now, Timing::of(genesis.config.timing).suspect);
        }
        genesis
    }

    /// A connection with `peer` is up. Repeating it is harmless.
    pub fn handle_connected(&mut self, now: Timestamp, peer: &Label) {
        if self.peers.contains(peer) {
            self.peers.connected(peer);
            self.greet(peer);
            self.follow_peers(now);
        }
    }

    /// The connection with `peer` is gone.
    pub fn handle_disconnected(&mut self, now: Timestamp, peer: &Label) {
        self.peers.disconnected(peer);
        self.follow_peers(now);
    }

    /// `from`, as its certificate names it, sent `message`.
    pub fn handle_message(&mut self, now: Timestamp, from: &Label, message: GenesisMessage) {
        if !self.peers.contains(from) {
            return self.on_stranger(from, message);
        }
        match message {
            GenesisMessage::Founding { founders, config } => self.on_founding(now, from, founders, config),
            GenesisMessage::Prepare { genesis, ballot } => self.on_prepare(now, from, genesis, ballot),
            GenesisMessage::Promise { ballot, accepted, founder } => {
                self.on_promise(now, from, ballot, Promise { founder, accepted });
            }
            GenesisMessage::Propose { ballot, view } => self.on_propose(now, from, ballot, view),
            GenesisMessage::Accepted { ballot } => self.on_accepted(now, from, ballot),
            GenesisMessage::Reject { ballot, seen } => self.on_reject(now, ballot, seen),
        }
    }

    /// Call when `now` has reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.poll_timeout() {
            Some((until, Timer::Propose)) if until <= now => self.campaign(now),
            Some((until, Timer::Phase)) if until <= now => self.back_off(now),
            Some(_) | None => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and for what.
    pub fn poll_timeout(&self) -> Option<(Timestamp, Timer)> {
        match &self.role {
            Role::Standby { until } => Some((*until, Timer::Propose)),
            Role::Proposer(round) => Some((round.until, Timer::Phase)),
            Role::Waiting | Role::Decided => None,
        }
    }

    /// The next thing to do. Drain it after every call of a `handle_` method, and after `new`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where this founder stands.
    pub fn status(&self) -> GenesisStatus {
        match self.role {
            Role::Standby { .. } | Role::Proposer(_) | Role::Decided => GenesisStatus::Forming,
            Role::Waiting => self.waiting_for(),
        }
    }

    /// What this founder has promised and accepted, which its parent keeps on disk.
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// How many messages were dropped because nobody who follows the protocol sends them, or because they came too late.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}

/// Who is there, and whether they agree.
impl Genesis {
    /// Tells `peer` what this node would found.
    fn greet(&mut self, peer: &Label) {
        let founding = GenesisMessage::Founding { founders: self.founders.clone(), config: self.config };
        self.send(peer, founding);
    }

    fn on_founding(&mut self, now: Timestamp, from: &Label, theirs: Vec<Label>, config: ViewConfig) {
        let agrees = GenesisDigest::of(&self.cluster, &theirs, &config) == self.digest;
        if !self.peers.said(from, if agrees { Peer::Agrees } else { Peer::Differs }) {
            return self.ignore();
        }
        self.follow_peers(now);
        if !agrees {
            self.report_difference(from, theirs, config);
        }
    }

    /// Somebody who is not a founder to us, but takes us for one, waits for us in vain unless it hears why.
    fn on_stranger(&mut self, from: &Label, message: GenesisMessage) {
        if let GenesisMessage::Founding { founders, config } = message
            && founders.contains(&self.me.name)
        {
            self.greet(from);
            self.report_difference(from, founders, config);
        } else {
            self.ignore();
        }
    }

    fn report_difference(&mut self, peer: &Label, founders: Vec<Label>, config: ViewConfig) {
        let peer = peer.clone();
        self.report(if founders == self.founders {
            Finding::ConfigDiffers { peer, ours: self.config, theirs: config }
        } else {
            Finding::FoundersDiffer { peer, ours: self.founders.clone(), theirs: founders }
        });
    }

    /// Proposes only while every founder is connected and agrees: without all of them no round can succeed.
    fn follow_peers(&mut self, now: Timestamp) {
        match (&self.role, self.peers.agreeing() + 1 >= self.quorum()) {
            (Role::Waiting, true) => self.stand_by(now, Duration::ZERO),
            (Role::Standby { .. } | Role::Proposer(_), false) => self.role = Role::Waiting,
            (Role::Standby { .. } | Role::Proposer(_), true) | (Role::Waiting, false) | (Role::Decided, _) => {}
        }
    }

    /// How many founders form the cluster: all of them.
    pub(super) fn quorum(&self) -> usize {
        let founders = self.founders.len();
        if self.planted.is(Bug::GenesisByMajority) { founders / 2 + 1 } else { founders }
    }

    fn waiting_for(&self) -> GenesisStatus {
        let (with, missing) = (self.peers.in_state(&[Peer::Differs]), self.peers.in_state(&[Peer::Away, Peer::Silent]));
        match (with.is_empty(), missing.is_empty()) {
            (false, _) => GenesisStatus::Mismatch { with },
            (true, false) => GenesisStatus::Waiting { missing },
            (true, true) => GenesisStatus::Forming,
        }
    }
}

/// The acceptor.
impl Genesis {
    fn on_prepare(&mut self, now: Timestamp, from: &Label, genesis: GenesisDigest, ballot: Ballot) {
        if genesis != self.digest || !is_used(ballot) {
            return self.ignore();
        }
        let answer = match self.acceptor.prepare(ballot) {
            Ok(accepted) => {
                self.give_way(now);
                GenesisMessage::Promise { ballot, accepted, founder: self.me.clone() }
            }
            Err(seen) => GenesisMessage::Reject { ballot, seen },
        };
        self.send(from, answer);
    }

    fn on_propose(&mut self, now: Timestamp, from: &Label, ballot: Ballot, view: View) {
        if view.epoch() != Epoch::GENESIS.next() || view.fields().cluster != self.cluster || !is_used(ballot) {
            return self.ignore();
        }
        // Paxos would allow a higher ballot, too. Its promise may have been that of another instance of this name, though,
        // which lost its disk since; the proposer does not know what this one accepted then.
        let promised = self.acceptor.promised();
        let accepted = if ballot == promised { self.acceptor.accept(ballot, view) } else { Err(promised) };
        let answer = match accepted {
            Ok(()) => {
                self.give_way(now);
                GenesisMessage::Accepted { ballot }
            }
            Err(seen) => GenesisMessage::Reject { ballot, seen },
        };
        self.send(from, answer);
    }

    /// Leaves another proposer the time for a phase; its ballot has ended any round of this node.
    fn give_way(&mut self, now: Timestamp) {
        match self.role {
            Role::Standby { .. } | Role::Proposer(_) => self.stand_by(now, PHASE),
            Role::Waiting | Role::Decided => {}
        }
    }
}

/// Whether an honest founder may propose under `ballot`. The default one stands for no promise at all.
fn is_used(ballot: Ballot) -> bool {
    ballot > Ballot::default() && ballot.term < TERM_LIMIT
}

/// Outputs.
impl Genesis {
    fn send(&mut self, to: &Label, message: GenesisMessage) {
        self.outputs.push_back(Output::Send { to: to.clone(), message });
    }

    fn send_all(&mut self, message: &GenesisMessage) {
        let sends = self.peers.names().map(|to| Output::Send { to: to.clone(), message: message.clone() });
        self.outputs.extend(sends);
    }

    fn report(&mut self, finding: Finding) {
        self.outputs.push_back(Output::Report(finding));
    }

    fn ignore(&mut self) {
        self.ignored += 1;
    }
}

mod proposer;
