//! The machine that takes a founder to view 1.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use proposer::PHASE;
use quoit_proto_types::{
    Ballot, Boot, Epoch, Label, Term, View,
    message::peer::{Founder, GenesisDigest, PeerMessage},
    view::ViewConfig,
};
use rand::{RngExt, rngs::StdRng};

use super::{
    acceptor::Acceptor,
    peers::{Peer, Peers},
    report::{Finding, GenesisStatus},
    round::{Promise, Round},
};
use crate::time::Timestamp;

/// No honest founder gets here, and no ballot from here on is heeded: terms must not run out.
const TERM_LIMIT: Term = Term::new(1 << 48);

/// What a founder starts with.
#[derive(Clone, Debug)]
pub struct GenesisConfig {
    /// The cluster's name.
    pub cluster: Label,
    /// Everybody who founds, this node included, in any order.
    pub founders: Vec<Label>,
    /// This node's part of view 1. Its instance is another in every process that starts without durable state.
    pub me: Founder,
    /// What the founders must agree on.
    pub config: ViewConfig,
}

/// What [`Genesis`] wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send `message` to the founder `to`, or drop it if there is no connection.
    Send {
        /// The receiver.
        to: Label,
        /// The message.
        message: PeerMessage,
    },
    /// View 1 is decided and names this process. Happens once.
    Install(View),
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
/// The contract with its driver: `handle_connected` comes before the first message of a connection, and
/// `handle_disconnected` after the last; what is sent on a connection that stays up arrives in the end. Nothing more is
/// assumed: lost, repeated, late and reordered messages cost time at most, and not even a driver that breaks the contract
/// can make two views of one cluster.
///
/// ```text
/// Waiting ──all agree──▶ Standby ──my turn──▶ Proposer: Preparing ──all promised──▶ Proposing ──all accepted──▶ Formed
///    ▲                      ▲                     │                           │                                   ▲
///    │                      └───── rejected, out of time, or promised a higher ballot                             │
///    └── from each of these: not all connected and agreed              any: a Commit that names this process ─────┘
/// ```
#[derive(Debug)]
pub struct Genesis {
    cluster: Label,
    me: Founder,
    config: ViewConfig,
    digest: GenesisDigest,
    /// Every founder, in order.
    founders: Vec<Label>,
    /// The others.
    peers: Peers,
    /// This node's place among the founders.
    rank: usize,
    /// Stands for this process in its ballots, where a boot stands once boots are durable.
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
    Formed { view: Box<View> },
}

impl Genesis {
    /// Starts. `rng` must differ between any two processes. A founder alone is formed at once.
    ///
    /// # Panics
    /// If this node is not one of the founders.
    pub fn new(config: GenesisConfig, mut rng: StdRng, now: Timestamp) -> Self {
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
            life: Boot::new(rng.random()),
            acceptor: Acceptor::default(),
            role: Role::Waiting,
            term_seen: Term::default(),
            rounds_failed: 0,
            rng,
            outputs: VecDeque::new(),
            ignored: 0,
        };
        if genesis.founders.len() == 1 {
            genesis.campaign(now);
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
    pub fn handle_message(&mut self, now: Timestamp, from: &Label, message: PeerMessage) {
        if !self.peers.contains(from) {
            return self.on_stranger(from, message);
        }
        if let Role::Formed { .. } = self.role {
            return self.on_late_message(from, message);
        }
        match message {
            PeerMessage::Founding { founders, config } => self.on_founding(now, from, founders, config),
            PeerMessage::Prepare { epoch, genesis, ballot } => self.on_prepare(now, from, epoch, genesis, ballot),
            PeerMessage::Promise { ballot, accepted, founder, .. } => {
                self.on_promise(now, from, ballot, Promise { founder, accepted });
            }
            PeerMessage::Propose { epoch, ballot, view } => self.on_propose(now, from, epoch, ballot, view),
            PeerMessage::Accepted { ballot, .. } => self.on_accepted(now, from, ballot),
            PeerMessage::Reject { ballot, seen, .. } => self.on_reject(now, ballot, seen),
            PeerMessage::Commit { view } => self.on_commit(now, from, view),
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
            Role::Waiting | Role::Formed { .. } => None,
        }
    }

    /// The next thing to do. Drain it after every call of a `handle_` method, and after `new`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where this founder stands.
    pub fn status(&self) -> GenesisStatus {
        match self.role {
            Role::Formed { .. } => GenesisStatus::Formed,
            Role::Standby { .. } | Role::Proposer(_) => GenesisStatus::Forming,
            Role::Waiting => self.waiting_for(),
        }
    }

    /// How many messages were dropped because nobody who follows the protocol sends them, or because they came too late.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}

/// Who is there, and whether they agree.
impl Genesis {
    /// Tells `peer` where this node stands: the view, or what it would found.
    fn greet(&mut self, peer: &Label) {
        let message = if let Role::Formed { view } = &self.role {
            PeerMessage::Commit { view: View::clone(view) }
        } else {
            PeerMessage::Founding { founders: self.founders.clone(), config: self.config }
        };
        self.send(peer, message);
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
    fn on_stranger(&mut self, from: &Label, message: PeerMessage) {
        if let PeerMessage::Founding { founders, config } = message
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
        match (&self.role, self.peers.all_agree()) {
            (Role::Waiting, true) => self.stand_by(now, Duration::ZERO),
            (Role::Standby { .. } | Role::Proposer(_), false) => self.role = Role::Waiting,
            (Role::Standby { .. } | Role::Proposer(_), true) | (Role::Waiting, false) | (Role::Formed { .. }, _) => {}
        }
    }

    fn waiting_for(&self) -> GenesisStatus {
        if let Some(by) = self.peers.in_state(&[Peer::Supersedes]).pop() {
            return GenesisStatus::Superseded { by };
        }
        let (with, missing) = (self.peers.in_state(&[Peer::Differs]), self.peers.in_state(&[Peer::Away, Peer::Silent]));
        match (with.is_empty(), missing.is_empty()) {
            (false, _) => GenesisStatus::Mismatch { with },
            (true, false) => GenesisStatus::Waiting { missing },
            (true, true) => GenesisStatus::Forming,
        }
    }
}

/// The acceptor and the learner.
impl Genesis {
    fn on_prepare(&mut self, now: Timestamp, from: &Label, epoch: Epoch, genesis: GenesisDigest, ballot: Ballot) {
        if epoch != Epoch::GENESIS || genesis != self.digest || ballot.term >= TERM_LIMIT {
            return self.ignore();
        }
        let answer = match self.acceptor.prepare(ballot) {
            Ok(accepted) => {
                self.give_way(now);
                PeerMessage::Promise { epoch, ballot, accepted, founder: self.me.clone() }
            }
            Err(seen) => PeerMessage::Reject { epoch, ballot, seen },
        };
        self.send(from, answer);
    }

    fn on_propose(&mut self, now: Timestamp, from: &Label, epoch: Epoch, ballot: Ballot, view: View) {
        if epoch != Epoch::GENESIS || view.epoch() != epoch.next() || view.fields().cluster != self.cluster {
            return self.ignore();
        }
        let answer = match self.acceptor.accept(ballot, view) {
            Ok(()) => {
                self.give_way(now);
                PeerMessage::Accepted { epoch, ballot }
            }
            Err(seen) => PeerMessage::Reject { epoch, ballot, seen },
        };
        self.send(from, answer);
    }

    /// Leaves another proposer the time for a phase; its ballot has ended any round of this node.
    fn give_way(&mut self, now: Timestamp) {
        match self.role {
            Role::Standby { .. } | Role::Proposer(_) => self.stand_by(now, PHASE),
            Role::Waiting | Role::Formed { .. } => {}
        }
    }

    fn on_commit(&mut self, now: Timestamp, from: &Label, view: View) {
        let first = self.peers.in_state(&[Peer::Supersedes]).is_empty();
        if view.fields().cluster != self.cluster {
            self.ignore();
        } else if self.is_in(&view) {
            self.install(view);
        } else if self.peers.said(from, Peer::Supersedes) {
            self.follow_peers(now);
            if first {
                self.report(self.left_out(from, &view));
            }
        } else {
            self.ignore();
        }
    }

    fn left_out(&self, by: &Label, view: &View) -> Finding {
        let members: Vec<Label> = view.members().iter().map(|member| member.name.clone()).collect();
        if members.contains(&self.me.name) {
            Finding::Superseded { by: by.clone() }
        } else {
            Finding::NotAmong { by: by.clone(), ours: self.founders.clone(), members }
        }
    }

    /// Whoever is still forming the cluster hears that it is formed.
    fn on_late_message(&mut self, from: &Label, message: PeerMessage) {
        match message {
            // It was greeted with the view when it connected.
            PeerMessage::Founding { .. } => {}
            PeerMessage::Prepare { .. } | PeerMessage::Propose { .. } => self.greet(from),
            PeerMessage::Commit { view } => self.compare(from, &view),
            PeerMessage::Promise { .. } | PeerMessage::Accepted { .. } | PeerMessage::Reject { .. } => self.ignore(),
        }
    }

    fn compare(&mut self, from: &Label, view: &View) {
        if let Role::Formed { view: mine } = &self.role
            && mine.epoch() == view.epoch()
            && **mine != *view
        {
            let (ours, theirs) = (mine.hash(), view.hash());
            self.report(Finding::Forked { peer: from.clone(), ours, theirs });
        }
    }

    fn install(&mut self, view: View) {
        self.role = Role::Formed { view: Box::new(view.clone()) };
        self.outputs.push_back(Output::Install(view));
    }

    /// Whether `view` names this very process.
    fn is_in(&self, view: &View) -> bool {
        let mine = (&self.me.name, self.me.instance, self.me.boot);
        view.members().iter().any(|member| (&member.name, member.instance, member.boot) == mine)
    }
}

/// Outputs.
impl Genesis {
    fn send(&mut self, to: &Label, message: PeerMessage) {
        self.outputs.push_back(Output::Send { to: to.clone(), message });
    }

    fn send_all(&mut self, message: &PeerMessage) {
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
