//! Drives the membership machines: events and timers in, outputs executed. Takes no decision of its own.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use quoit_client::{Address, DialError, Label, View};
use quoit_core::{
    membership::{FounderOutcome, FounderSearch, Genesis, GenesisConfig, GenesisStatus, Output},
    routing::Routing,
};
use quoit_proto_types::message::peer::PeerMessage;
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tracing::{error, info, warn};

use crate::{clock::Clock, node::NodeState, transport::peers::PeerEvent};

/// The task that forms the cluster with the other founders.
#[derive(Debug)]
pub(crate) struct MembershipDriver {
    clock: Clock,
    search: FounderSearch,
    /// What genesis starts from, once the founders are known. The founders' list in it is filled in then.
    config: GenesisConfig,
    genesis: Option<Genesis>,
    seed: u64,
    /// Where messages to a connected peer go: each of its connections, by the seed it was made through.
    outboxes: BTreeMap<Label, BTreeMap<Address, mpsc::Sender<PeerMessage>>>,
    unreachable: BTreeMap<Address, DialError>,
    duplicate: Option<Address>,
    routing: Arc<ArcSwapOption<Routing>>,
    state: watch::Sender<NodeState>,
}

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
            outboxes: BTreeMap::new(),
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
            PeerEvent::Connected { seed, peer, outbox } => {
                self.unreachable.remove(&seed);
                self.search.learned(&seed, peer.clone());
                self.outboxes.entry(peer.clone()).or_default().insert(seed, outbox);
                self.begin_if_founder();
                if let Some(genesis) = &mut self.genesis {
                    genesis.handle_connected(now, &peer);
                }
            }
            PeerEvent::Disconnected { seed, peer } => self.disconnected(&seed, &peer),
            PeerEvent::Unreachable { seed, error } => {
                if error.is_about_identity() && !self.unreachable.contains_key(&seed) {
                    warn!(event = "peer_refused", %seed, advice = error.advice(), "{error}");
                }
                self.unreachable.insert(seed, error);
            }
            PeerEvent::Message { from, message } => {
                // Before genesis begins nobody can tell what to make of it; the sender repeats what matters.
                if let Some(genesis) = &mut self.genesis {
                    genesis.handle_message(now, &from, *message);
                }
            }
        }
    }

    fn disconnected(&mut self, seed: &Address, peer: &Label) {
        let Some(connections) = self.outboxes.get_mut(peer) else {
            return;
        };
        connections.remove(seed);
        if connections.is_empty() {
            self.outboxes.remove(peer);
            if let Some(genesis) = &mut self.genesis {
                genesis.handle_disconnected(self.clock.now(), peer);
            }
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
        for peer in self.outboxes.keys() {
            genesis.handle_connected(now, peer);
        }
        self.genesis = Some(genesis);
        self.execute();
    }

    fn execute(&mut self) {
        while let Some(output) = self.genesis.as_mut().and_then(Genesis::poll_output) {
            match output {
                Output::Send { to, message } => self.send(&to, &message),
                Output::Install(view) => self.install(view),
                Output::Report(finding) => warn!(event = "genesis", "{finding}"),
            }
        }
    }

    /// Sends over one of the peer's connections. A full outbox drops the message, as a broken connection would.
    fn send(&self, to: &Label, message: &PeerMessage) {
        let outboxes = self.outboxes.get(to).into_iter().flat_map(BTreeMap::values);
        for outbox in outboxes {
            if outbox.try_send(message.clone()).is_ok() {
                return;
            }
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
