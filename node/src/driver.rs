//! Drives the membership machines: events and timers in, outputs executed. Takes no decision of its own.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use quoit_client::{Address, DialError, Label, View};
use quoit_core::{
    membership::{FounderOutcome, FounderSearch, Genesis, GenesisConfig, GenesisStatus, Output},
    routing::Routing,
    time::Timestamp,
};
use quoit_proto_types::message::peer::PeerMessage;
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tracing::{error, info, warn};

use crate::{
    clock::Clock,
    node::NodeState,
    transport::peers::{ConnectionId, PeerEvent},
};

/// The task that forms the cluster with the other founders.
#[derive(Debug)]
pub(crate) struct MembershipDriver {
    clock: Clock,
    search: FounderSearch,
    /// What genesis starts from, once the founders are known. The founders' list in it is filled in then.
    config: GenesisConfig,
    genesis: Option<Genesis>,
    seed: u64,
    peers: BTreeMap<Label, Peer>,
    unreachable: BTreeMap<Address, DialError>,
    duplicate: Option<Address>,
    routing: Arc<ArcSwapOption<Routing>>,
    state: watch::Sender<NodeState>,
}

/// A peer that is connected.
#[derive(Debug)]
struct Peer {
    connection: ConnectionId,
    outbox: Outbox,
    /// What it said before genesis began.
    early: Vec<PeerMessage>,
}

type Outbox = mpsc::Sender<PeerMessage>;

/// Messages kept for a peer before genesis begins: a founder that waits says little.
const EARLY_MESSAGES: usize = 64;

impl MembershipDriver {
    /// Forms a cluster of `config.me` and whoever `search` finds; `routing` and `state` show the outcome.
    pub(crate) fn new(
        clock: Clock,
        search: FounderSearch,
        config: GenesisConfig,
        seed: u64,
        routing: Arc<ArcSwapOption<Routing>>,
        state: watch::Sender<NodeState>,
    ) -> Self {
        Self {
            clock,
            search,
            config,
            genesis: None,
            seed,
            peers: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            duplicate: None,
            routing,
            state,
        }
    }

    /// Runs until no event can come any more.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<PeerEvent>) {
        self.begin_if_founder();
        self.publish();
        loop {
            let timer = self.genesis.as_ref().and_then(Genesis::poll_timeout).map(|(at, _)| at);
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                () = sleep_until(self.clock.instant(timer.unwrap_or_default())), if timer.is_some() => {
                    if let Some(genesis) = &mut self.genesis {
                        genesis.handle_timeout(self.clock.now());
                    }
                }
            }
            self.execute();
            self.publish();
        }
    }

    fn handle(&mut self, event: PeerEvent) {
        let now = self.clock.now();
        match event {
            PeerEvent::Myself { seed } => {
                self.unreachable.remove(&seed);
                let me = self.config.me.name.clone();
                self.search.learned(&seed, me);
                self.begin_if_founder();
            }
            PeerEvent::Duplicate { seed } => {
                let me = &self.config.me.name;
                error!(event = "duplicate_identity", %seed, "another process runs under the identity {me}");
                self.duplicate = Some(seed);
            }
            PeerEvent::Learned { seed, peer } => {
                self.unreachable.remove(&seed);
                self.search.learned(&seed, peer);
                self.begin_if_founder();
            }
            PeerEvent::Connected { peer, connection, outbox } => self.connected(now, peer, connection, outbox),
            PeerEvent::Disconnected { peer, connection } => {
                if self.peers.get(&peer).is_some_and(|known| known.connection == connection) {
                    self.disconnect(now, &peer);
                }
            }
            PeerEvent::Unreachable { seed, error } => {
                if error.is_about_identity() && !self.unreachable.contains_key(&seed) {
                    warn!(event = "peer_refused", %seed, advice = error.advice(), "{error}");
                }
                self.unreachable.insert(seed, error);
            }
            PeerEvent::Message { from, connection, message } => {
                let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.connection == connection) else {
                    return;
                };
                match &mut self.genesis {
                    Some(genesis) => genesis.handle_message(now, &from, *message),
                    // Kept until it is known who the founders are.
                    None if peer.early.len() < EARLY_MESSAGES => peer.early.push(*message),
                    None => warn!(event = "genesis", %from, "too many messages before the founders are known"),
                }
            }
        }
    }

    fn connected(&mut self, now: Timestamp, name: Label, connection: ConnectionId, outbox: Outbox) {
        self.disconnect(now, &name);
        if let Some(genesis) = &mut self.genesis {
            genesis.handle_connected(now, &name);
        }
        self.peers.insert(name, Peer { connection, outbox, early: Vec::new() });
    }

    fn disconnect(&mut self, now: Timestamp, name: &Label) {
        if self.peers.remove(name).is_some()
            && let Some(genesis) = &mut self.genesis
        {
            genesis.handle_disconnected(now, name);
        }
    }

    /// Begins genesis once it is known who the founders are and that this node is one.
    fn begin_if_founder(&mut self) {
        if self.genesis.is_some() {
            return;
        }
        let FounderOutcome::Founder(founders) = self.search.outcome() else {
            return;
        };
        let now = self.clock.now();
        let config = GenesisConfig { founders, ..self.config.clone() };
        let mut genesis = Genesis::new(config, StdRng::seed_from_u64(self.seed), now);
        for (name, peer) in &mut self.peers {
            genesis.handle_connected(now, name);
            for message in peer.early.drain(..) {
                genesis.handle_message(now, name, message);
            }
        }
        self.genesis = Some(genesis);
        self.execute();
    }

    fn execute(&mut self) {
        while let Some(output) = self.genesis.as_mut().and_then(Genesis::poll_output) {
            match output {
                Output::Send { to, message } => self.send(&to, message),
                Output::Install(view) => self.install(view),
                Output::Report(finding) => warn!(event = "genesis", "{finding}"),
            }
        }
    }

    /// Sends if the peer is connected. A full outbox means that the peer does not read: its connection is about to end.
    fn send(&self, to: &Label, message: PeerMessage) {
        if let Some(peer) = self.peers.get(to)
            && peer.outbox.try_send(message).is_err()
        {
            warn!(event = "genesis", %to, "a message was dropped: the peer does not read");
        }
    }

    fn install(&mut self, view: View) {
        let name = &self.config.me.name;
        let Some(me) = view.members().iter().find(|member| member.name == *name) else {
            error!(event = "view", "a view without this node was to be installed");
            return;
        };
        let (epoch, members) = (view.epoch(), view.members().len());
        info!(event = "view_installed", %epoch, members, hash = %view.hash(), "the cluster is formed");
        let me = me.ordinal;
        self.routing.store(Some(Arc::new(Routing::new(view, me))));
    }

    /// Shows where the node stands, if that changed.
    fn publish(&self) {
        let state = self.current_state();
        self.state.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
    }

    fn current_state(&self) -> NodeState {
        if let Some(routing) = self.routing.load().as_deref() {
            return NodeState::Member(routing.view().clone());
        }
        let me = &self.config.me.name;
        if let Some(seed) = &self.duplicate {
            let text = format!("another process at {seed} runs under the identity {me}: stop one of the two");
            return NodeState::Failed(text);
        }
        let text = match (&self.genesis, self.search.outcome()) {
            (Some(genesis), _) => match genesis.status() {
                status @ (GenesisStatus::Waiting { .. } | GenesisStatus::Mismatch { .. }) => {
                    format!("{status}{}", self.unreachable_seeds())
                }
                status @ (GenesisStatus::Forming | GenesisStatus::Formed | GenesisStatus::Superseded { .. }) => {
                    status.to_string()
                }
            },
            (None, FounderOutcome::NotFounder { known }) => {
                let names: Vec<_> = known.iter().map(ToString::to_string).collect();
                format!(
                    "{me} is not one of the founders ({}) and waits to be admitted, which this version cannot do: \
                     give it a seed address of its own, the same on every node",
                    names.join(", ")
                )
            }
            (None, FounderOutcome::Undecided { unanswered }) => {
                let seeds: Vec<_> = unanswered.iter().map(ToString::to_string).collect();
                let why = self.unreachable_seeds();
                format!("waiting for the seeds that have not said who they are: {}{why}", seeds.join(", "))
            }
            (None, FounderOutcome::Founder(_)) => "starting".into(),
        };
        NodeState::Waiting(text)
    }

    /// The seeds that do not answer, each with the reason.
    fn unreachable_seeds(&self) -> String {
        let seeds: Vec<_> = self.unreachable.values().map(ToString::to_string).collect();
        if seeds.is_empty() { String::new() } else { format!("; {}", seeds.join("; ")) }
    }
}
