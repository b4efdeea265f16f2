//! The machine of a node's control plane: from its first start to its last view.
//!
//! It owns the other machines and passes messages between them:
//!
//! ```text
//! Searching ──founders known──▶ Founding ──view 1 decided──▶ Member ──removed──▶ Outside ──left──▶ Stopped
//!     └────────not a founder────▶ Outside ──a view names us──▲
//! ```
//!
//! It also owns the durable state, and one rule that all of safety rests on: what an event leads to leaves the node only when
//! the state it knows is on disk. Whatever an event wants done waits for [`handle_persisted`](Cluster::handle_persisted) while
//! there is state that is not; there is no list of messages that need it, so none can be forgotten.

mod collect;
mod lives;
mod output;
mod outside;
mod phases;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use quoit_proto_types::{
    Ballot, ClusterId, Epoch, Fence, Label, View,
    message::{
        admin::{ElectionRole, Quorum},
        genesis::GenesisMessage,
        heartbeat::Heartbeat,
        membership::{Applicant, Command, CommandAnswer, JoinAnswer, MembershipMessage},
        peer::PeerMessage,
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use lives::Lives;
pub use output::{
    Admission, ClusterConfig, CommandId, Finding, Fork, Life, Output, Reached, Standing, StopReason, WaitingChange,
};
use outside::Outside;

use crate::{
    election::Rows,
    genesis::{Genesis, GenesisConfig},
    membership::{Context, Participant, recovered_view},
    meta::Meta,
    time::Timestamp,
    timing::Timing,
};

/// Messages kept for each peer before it is known who the founders are: a founder that waits says little.
const EARLY_MESSAGES: usize = 64;

/// Events whose outcome waits for the disk; in later ones, messages are dropped. A disk that takes a second holds a few
/// hundred.
const HELD_MAX: usize = 4096;

/// The control plane of one node.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    meta: Meta,
    rng: StdRng,
    lives: Lives,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// What the event at hand has led to so far.
    fresh: Vec<Output>,
    /// Outputs that wait until the state of this sequence is on disk.
    held: VecDeque<(u64, Vec<Output>)>,
    /// The latest state that was to be persisted, and the latest that is.
    persisting: u64,
    persisted: u64,
    /// The rows of the parts that are over.
    rows: Rows,
}

#[derive(Debug)]
enum Phase {
    Searching { early: VecDeque<(Label, GenesisMessage)> },
    Founding(Box<Genesis>),
    Outside(Box<Outside>),
    Member(Box<Participant>),
    Stopped(StopReason),
}

impl Cluster {
    /// Starts from `meta`, which is on disk and whose boot belongs to this process alone. `rng` must differ between any two
    /// processes.
    pub fn new(config: ClusterConfig, meta: Meta, rng: StdRng, now: Timestamp) -> Self {
        let persisting = meta.sequence;
        let mut cluster = Self {
            config,
            meta,
            rng,
            lives: Lives::default(),
            phase: Phase::Searching { early: VecDeque::new() },
            outputs: VecDeque::new(),
            fresh: Vec::new(),
            held: VecDeque::new(),
            persisting,
            persisted: persisting,
            rows: Rows::default(),
        };
        if let Some(view) = cluster.meta.view.clone() {
            cluster.fresh.push(Output::Install(view));
            cluster.take_part(now);
            cluster.flush(now);
        }
        cluster
    }

    /// The founders are these. Ignored unless the node has never had a view and is searching. A node that is not among them
    /// joins.
    pub fn handle_founders(&mut self, now: Timestamp, founders: Vec<Label>) {
        let Phase::Searching { early } = &mut self.phase else { return };
        let early = std::mem::take(early);
        if founders.contains(&self.config.me.name) {
            let founding = GenesisConfig {
                cluster: self.config.cluster.clone(),
                founders,
                me: self.config.me.clone(),
                config: self.config.view,
                started_at_ms: self.config.started_at_ms,
                planted: self.config.planted,
            };
            let rng = StdRng::seed_from_u64(self.rng.random());
            let mut genesis = Genesis::new(founding, self.meta.acceptor.clone(), rng, now);
            for peer in self.lives.connected().keys() {
                genesis.handle_connected(now, peer);
            }
            for (from, message) in early {
                genesis.handle_message(now, &from, message);
            }
            self.phase = Phase::Founding(Box::new(genesis));
        } else {
            self.phase = Phase::Outside(Box::new(Outside::joining(now, Timing::of(self.config.view.timing))));
        }
        self.flush(now);
    }

    /// A connection with the process `life` of `peer` is up; there may be others with it. Unless it is admitted, close it
    /// and pass nothing on that comes over it.
    pub fn handle_connected(&mut self, now: Timestamp, peer: &Label, life: Life) -> Admission {
        let view = self.meta.view.as_ref();
        let member = view.and_then(|view| view.member_of_instance(life.instance));
        let admission = if member.is_some_and(|member| member.boot > life.boot) {
            // A disk that was brought back from a backup has forgotten promises.
            Admission::Superseded
        } else if view.is_some_and(|view| self.lives.is_taken(view, peer, life)) {
            Admission::NameInUse
        } else {
            self.lives.connect(peer, life)
        };
        if admission != Admission::Admitted {
            self.fresh.push(Output::Report(Finding::Impostor { peer: peer.clone(), admission }));
            self.flush(now);
            return admission;
        }
        match &mut self.phase {
            Phase::Founding(genesis) => genesis.handle_connected(now, peer),
            Phase::Member(member) => {
                let mut context = Context { now, meta: &mut self.meta, peers: self.lives.connected() };
                member.handle_connected(&mut context, peer);
            }
            Phase::Searching { .. } | Phase::Outside(_) | Phase::Stopped(_) => {}
        }
        self.flush(now);
        admission
    }

    /// The last connection with `peer` is gone.
    pub fn handle_disconnected(&mut self, now: Timestamp, peer: &Label) {
        self.lives.disconnect(peer);
        match &mut self.phase {
            Phase::Founding(genesis) => genesis.handle_disconnected(now, peer),
            Phase::Outside(outside) => outside.forget(peer),
            Phase::Searching { .. } | Phase::Member(_) | Phase::Stopped(_) => {}
        }
        self.flush(now);
    }

    /// `by` refused this process, and closed the connection for that.
    pub fn handle_refused(&mut self, now: Timestamp, by: &Label, admission: Admission) {
        match admission {
            Admission::Admitted => {}
            Admission::Superseded => self.stop(StopReason::Superseded { by: by.clone() }),
            Admission::Duplicate => self.stop(StopReason::Duplicate { by: by.clone() }),
            Admission::NameInUse => self.on_name_in_use(now, by),
        }
        self.flush(now);
    }

    /// `from`, as its certificate names it, sent `message`.
    pub fn handle_message(&mut self, now: Timestamp, from: &Label, message: PeerMessage) {
        match &mut self.phase {
            Phase::Searching { .. } | Phase::Founding(_) => self.on_message_without_view(now, from, message),
            Phase::Outside(_) => self.on_message_outside(now, from, message),
            Phase::Member(member) => {
                let mut context = Context { now, meta: &mut self.meta, peers: self.lives.connected() };
                match message {
                    PeerMessage::Genesis(_) => member.handle_founder(from),
                    PeerMessage::Election(message) => member.handle_election(&mut context, from, message),
                    PeerMessage::Membership(message) => member.handle_membership(&mut context, from, message),
                }
            }
            Phase::Stopped(_) => {}
        }
        self.flush(now);
    }

    /// `from` sent `heartbeat`.
    pub fn handle_heartbeat(&mut self, now: Timestamp, from: &Label, heartbeat: Heartbeat) {
        match &mut self.phase {
            Phase::Member(member) => {
                let mut context = Context { now, meta: &mut self.meta, peers: self.lives.connected() };
                member.handle_heartbeat(&mut context, from, heartbeat);
            }
            Phase::Outside(outside) => {
                if let Heartbeat::Pong { epoch, .. } = heartbeat
                    && let Some(epoch) = outside.note_pong(from, epoch, self.config.planted)
                {
                    self.stop(StopReason::Retired { epoch });
                }
            }
            Phase::Searching { .. } | Phase::Founding(_) => {
                // Who takes this node for a member has a view, and knows what became of the founding.
                if let Heartbeat::Ping(_) = heartbeat {
                    let message = MembershipMessage::ViewGet { epoch: Epoch::GENESIS }.into();
                    self.fresh.push(Output::Send { to: from.clone(), message });
                }
            }
            Phase::Stopped(_) => {}
        }
        self.flush(now);
    }

    /// What was to be persisted is on disk, up to this sequence.
    pub fn handle_persisted(&mut self, now: Timestamp, sequence: u64) {
        let _ = now;
        self.persisted = self.persisted.max(sequence);
        while self.held.front().is_some_and(|held| held.0 <= sequence) {
            self.outputs.extend(self.held.pop_front().into_iter().flat_map(|(_, outputs)| outputs));
        }
    }

    /// What came of reaching `applicant` at its address.
    pub fn handle_reached(&mut self, now: Timestamp, applicant: &Applicant, reached: Reached) {
        self.with_member(now, |member, context| member.handle_reached(context, applicant, reached));
    }

    /// The administrator `by` wants something. There will be one answer with this id, unless the coordinator is lost.
    pub fn handle_command(&mut self, now: Timestamp, id: CommandId, by: Label, command: Command) {
        if !matches!(self.phase, Phase::Member(_)) {
            let answer = CommandAnswer::NoCoordinator;
            self.fresh.push(Output::Answer { id, answer });
            return self.flush(now);
        }
        self.with_member(now, |member, context| member.handle_command(context, id, by, command));
    }

    /// An administrator wants a new cluster of this node alone. Returns its first epoch.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn handle_recover(&mut self, now: Timestamp, survivor: &Label) -> Result<Epoch, String> {
        let me = &self.config.me;
        if *survivor != me.name {
            return Err(format!("this node is {}, not {survivor}", me.name));
        }
        let known = self.meta.view.clone().and_then(|view| {
            let ordinal = view.member_of_instance(me.instance)?.ordinal;
            Some((view, ordinal))
        });
        let Some((view, ordinal)) = known else {
            return Err("this node has no view with a place for it: recover from a member".to_owned());
        };
        let ballot = Ballot { term: self.meta.acceptor.promised().term.next(), ordinal, boot: me.boot };
        let proposed_at_ms = self.config.started_at_ms.saturating_add(now.as_micros() / 1000);
        let identity = (ClusterId::from_random(self.rng.random()), view.hash());
        let recovered = recovered_view(&view, (ordinal, me), identity, ballot, proposed_at_ms);
        let recovered = Arc::new(recovered.map_err(|invalid| invalid.to_string())?);
        let epoch = recovered.epoch();
        self.meta.install(Arc::clone(&recovered), ballot);
        self.take_part(now);
        let told = self.lives.connected().keys().map(|to| Output::Send {
            to: to.clone(),
            message: MembershipMessage::Commit { ballot, view: View::clone(&recovered) }.into(),
        });
        self.fresh.push(Output::Install(Arc::clone(&recovered)));
        self.fresh.extend(told);
        self.flush(now);
        Ok(epoch)
    }

    /// Of the slots that this node is to own under the target of the view with this fence, it has yet to fetch `left`.
    ///
    /// Every node that the target names must be told so, also one that has nothing to fetch, or the ring never changes.
    pub fn handle_synced(&mut self, now: Timestamp, fence: Fence, left: u32) {
        self.with_member(now, |member, context| member.handle_synced(context, fence, left));
    }

    /// The store has been stepped so many times. Heartbeats carry it.
    pub fn handle_progress(&mut self, steps: u64) {
        if let Phase::Member(member) = &mut self.phase {
            member.handle_progress(steps);
        }
    }

    /// The process is about to stop: if it is the coordinator, it hands over.
    pub fn handle_stopping(&mut self, now: Timestamp) {
        self.with_member(now, |member, context| member.handle_stopping(context));
    }

    /// Call when `now` has reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &mut self.phase {
            Phase::Founding(genesis) => genesis.handle_timeout(now),
            Phase::Member(_) => return self.with_member(now, |member, context| member.handle_timeout(context)),
            Phase::Outside(outside) => {
                let outputs = outside.handle_timeout(now, &self.config.me, &self.meta, self.lives.connected());
                self.fresh.extend(outputs);
            }
            Phase::Searching { .. } | Phase::Stopped(_) => {}
        }
        self.flush(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Founding(genesis) => genesis.poll_timeout().map(|(at, _)| at),
            Phase::Member(member) => Some(member.poll_timeout()),
            Phase::Outside(outside) => Some(outside.poll_timeout()),
            Phase::Searching { .. } | Phase::Stopped(_) => None,
        }
    }

    /// The next thing to do. Drain it after every call of a `handle_` method, and after `new`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

/// What others may ask.
impl Cluster {
    /// The installed view.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.meta.view.as_ref()
    }

    /// The durable state as it is in memory.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Where the node stands.
    pub fn standing(&self) -> Standing {
        let list = |answers: &std::collections::BTreeMap<Label, JoinAnswer>| {
            answers.iter().map(|(name, answer)| (name.clone(), answer.clone())).collect()
        };
        match &self.phase {
            Phase::Searching { .. } => Standing::Searching,
            Phase::Founding(genesis) => Standing::Founding(genesis.status()),
            Phase::Outside(outside) if outside.is_leaving() => Standing::Leaving,
            Phase::Outside(outside) => Standing::Joining { answers: list(outside.answers()) },
            Phase::Member(member) if member.is_current() => Standing::Member,
            Phase::Member(member) => Standing::Rejoining { answers: list(member.answers()) },
            Phase::Stopped(reason) => Standing::Stopped(reason.clone()),
        }
    }

    /// The role in the election.
    pub fn role(&self) -> ElectionRole {
        self.member().map_or(ElectionRole::Outside, Participant::role)
    }

    /// The coordinator that is known: heard lately by a voter, named by the view to others.
    pub fn coordinator(&self, now: Timestamp) -> Option<Label> {
        let member = self.member()?;
        member.coordinator(now, &self.meta).map(|ordinal| member.name_of(ordinal))
    }

    /// How many voters have been heard lately.
    pub fn quorum(&self, now: Timestamp) -> Quorum {
        self.member().map_or(Quorum { heard: 0, needed: 0 }, |member| member.quorum(now))
    }

    /// Why the ring should change and does not begin to. Only the coordinator knows.
    pub fn waiting_change(&self) -> Option<WaitingChange> {
        self.member().and_then(Participant::waiting_change)
    }

    /// How long the node has been cut off from a majority of the voters, in all.
    pub fn isolated(&self, _now: Timestamp) -> Duration {
        self.member().map_or(Duration::ZERO, Participant::isolated)
    }

    /// How often each row of the election's state table was taken.
    pub fn rows(&self) -> Rows {
        let mut rows = self.rows.clone();
        if let Some(member) = self.member() {
            rows.add(member.rows());
        }
        rows
    }

    fn member(&self) -> Option<&Participant> {
        match &self.phase {
            Phase::Member(member) => Some(member),
            Phase::Searching { .. } | Phase::Founding(_) | Phase::Outside(_) | Phase::Stopped(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
