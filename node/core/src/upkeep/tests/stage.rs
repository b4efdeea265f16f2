//! Some nodes, each with a store and its upkeep, and a network between them that loses and delays as a seed says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, Fence, HashPoint, Identity, Instance, KeyspaceId, Label, Member, Ordinal, Role,
    SlotCount, SlotIndex, SlotSet, Stamp, Version, View,
    message::{
        session::VERSIONS,
        transfer::{EntryBlock, TransferReply, TransferRequest},
    },
    version::Hlc,
    view::{AssignedTokens, Intent, Liveness, Owner, ViewConfig, ViewFields, ViewHash},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::super::{ExchangeId, Output, Upkeep, UpkeepConfig, newly_pending, starts_empty};
use crate::{
    planted::data::DataPlanted,
    routing::{Routing, Standing},
    store::{Applied, ApplyError, Entry, EvictionPolicy, Origin, Record, Store, StoreConfig},
    time::{Timestamp, Wall},
};

/// The wall clock when everything begins: later than any grace.
pub(super) const BEGINNING_MS: u64 = 1_000_000_000;

pub(super) fn slots() -> SlotCount {
    SlotCount::from_log2(6).unwrap()
}

pub(super) fn ordinal(index: u32) -> Ordinal {
    Ordinal::new(index)
}

/// A version of the millisecond `ms` after the beginning.
pub(super) fn version(ms: u64, by: u32) -> Version {
    Version { hlc: Hlc::from_millis(BEGINNING_MS + ms), ordinal: ordinal(by), boot: Boot::new(1) }
}

pub(super) fn slot_of(key: &[u8]) -> SlotIndex {
    slots().slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key))
}

pub(super) struct Node {
    pub(super) routing: Option<Arc<Routing>>,
    pub(super) store: Store,
    pub(super) upkeep: Upkeep,
    /// What was reported last.
    pub(super) synced: Option<(Fence, usize)>,
    /// What it was told to let go of.
    pub(super) dropped: SlotSet,
}

#[derive(Debug)]
enum Wire {
    Ask { from: u32, to: u32, fence: Fence, id: ExchangeId, request: TransferRequest, block: EntryBlock },
    Reply { to: u32, id: ExchangeId, answer: Option<(TransferReply, EntryBlock)> },
    Put { from: u32, to: u32, fence: Fence, id: ExchangeId, stamp: Stamp, record: Record },
    Stored { to: u32, id: ExchangeId, stored: bool },
}

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand messages, so many are lost.
    pub(super) lost: u32,
    /// A node whose messages take seconds.
    pub(super) slow: Option<u32>,
    /// A node that nothing reaches.
    pub(super) cut_off: Option<u32>,
}

pub(super) const FAIR: Weather = Weather { lost: 0, slow: None, cut_off: None };
pub(super) const FOUL: Weather = Weather { lost: 250, slow: None, cut_off: None };

pub(super) struct Stage {
    pub(super) now: Timestamp,
    pub(super) rng: StdRng,
    pub(super) weather: Weather,
    pub(super) nodes: BTreeMap<u32, Node>,
    pub(super) view: Arc<View>,
    /// By when and in which order they arrive.
    wire: BTreeMap<(Timestamp, u64), Wire>,
    sent: u64,
    /// By how much the clocks of some nodes are ahead.
    pub(super) ahead: BTreeMap<u32, Duration>,
}

fn member(index: u32) -> Member {
    let name: Label = format!("n{index}").parse().unwrap();
    let identity = Identity { role: Role::Node, name: name.clone(), cluster: "test".parse().unwrap() };
    Member {
        ordinal: ordinal(index),
        node_id: identity.node_id(),
        name,
        instance: Instance::from_random(index.into()),
        boot: Boot::new(1),
        address: format!("10.0.0.{index}:7750").parse().unwrap(),
        zone: None,
        vnodes: 16,
        priority: 0,
        versions: VERSIONS,
        placed: None,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}

fn owners(indices: &[u32]) -> Vec<Owner> {
    indices.iter().map(|index| Owner { ordinal: ordinal(*index), boot: Boot::new(1) }).collect()
}

fn first_view(nodes: u32, ring: &[u32], copies: u8) -> View {
    let fields = ViewFields {
        cluster: "test".parse().unwrap(),
        cluster_id: ClusterId::from_random(1),
        recovered_from: None,
        epoch: Epoch::new(1),
        previous: ViewHash::default(),
        ballot: Ballot::default(),
        coordinator: ordinal(1),
        voters: vec![ordinal(1)],
        config: ViewConfig { slots: slots(), replication: copies, ..ViewConfig::default() },
        members: (1..=nodes).map(member).collect(),
        copies,
        ring: owners(ring),
        target: None,
        tokens: AssignedTokens::default(),
        fence: Fence::new(1),
        next_ordinal: ordinal(nodes + 1),
        proposed_at_ms: 0,
        changes: Vec::new(),
    };
    View::new(fields).unwrap()
}

impl Stage {
    /// `nodes` nodes, of which `ring` own, all going by the first view.
    pub(super) fn new(seed: u64, nodes: u32, ring: &[u32], copies: u8, config: UpkeepConfig) -> Self {
        let node = |index: u32| {
            let policy = EvictionPolicy::default();
            let planted = DataPlanted::NOTHING;
            let store = Store::new(StoreConfig {
                memory_limit_bytes: 16 << 20,
                value_bytes_max: 64 << 10,
                policy,
                seed: seed ^ u64::from(index),
                planted,
            });
            assert!(store.prepare(slots()));
            let upkeep = Upkeep::new(seed + u64::from(index), config);
            Node { routing: None, store, upkeep, synced: None, dropped: SlotSet::none(slots()) }
        };
        let mut stage = Self {
            now: Timestamp::from_micros(1_000_000),
            rng: StdRng::seed_from_u64(seed),
            weather: FAIR,
            nodes: (1..=nodes).map(|index| (index, node(index))).collect(),
            view: Arc::new(first_view(nodes, ring, copies)),
            wire: BTreeMap::new(),
            sent: 0,
            ahead: BTreeMap::new(),
        };
        stage.install_everywhere();
        stage
    }

    pub(super) fn wall(&self) -> Wall {
        Wall::from_millis(BEGINNING_MS + self.now.as_micros() / 1000)
    }

    fn wall_of(&self, index: u32) -> Wall {
        self.wall().saturating_add(self.ahead.get(&index).copied().unwrap_or_default())
    }

    /// Makes the next view. It goes to nobody yet.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut ViewFields)) {
        let mut fields = self.view.fields().clone();
        fields.previous = self.view.hash();
        fields.epoch = fields.epoch.next();
        let placement = (fields.ring.clone(), fields.target.clone(), fields.copies);
        change(&mut fields);
        if placement != (fields.ring.clone(), fields.target.clone(), fields.copies) {
            fields.fence = Fence::new(fields.epoch.value());
        }
        self.view = Arc::new(View::new(fields).unwrap());
    }

    pub(super) fn begin(&mut self, target: &[u32]) {
        self.change(|fields| fields.target = Some(owners(target)));
    }

    pub(super) fn finish(&mut self) {
        self.change(|fields| fields.ring = fields.target.take().unwrap());
    }

    pub(super) fn set_live(&mut self, index: u32, live: Liveness) {
        self.change(|fields| {
            fields.members.iter_mut().filter(|m| m.ordinal == ordinal(index)).for_each(|m| m.live = live);
        });
    }

    pub(super) fn install_everywhere(&mut self) {
        self.nodes.keys().copied().collect::<Vec<_>>().into_iter().for_each(|index| self.install(index));
    }

    /// What a driver does with a view.
    pub(super) fn install(&mut self, index: u32) {
        let (now, wall) = (self.now, self.wall_of(index));
        let routing = Arc::new(Routing::new(Arc::clone(&self.view), Instance::from_random(index.into()), Boot::new(1)));
        let node = self.nodes.get_mut(&index).unwrap();
        (0..node.store.shards_count()).for_each(|shard| node.store.seal(shard, routing.fence()));
        let pending = newly_pending(node.routing.as_deref(), &routing);
        node.empty(&starts_empty(&pending, &routing));
        node.store.reset_slots(&pending);
        node.routing = Some(Arc::clone(&routing));
        node.upkeep.install(now, wall, &routing, &node.store);
        self.drain(index);
    }

    pub(super) fn node(&self, index: u32) -> &Node {
        &self.nodes[&index]
    }

    /// An entry reaches these nodes, as a write under their fence. Says who took it.
    pub(super) fn write(
        &mut self,
        at: &[u32],
        key: &[u8],
        stamp: Stamp,
        value: &[u8],
    ) -> Vec<Result<Applied, ApplyError>> {
        let wall = self.wall();
        let write = |index: &u32| {
            let node = &self.nodes[index];
            let fence = node.routing.as_ref().unwrap().fence();
            node.store.apply(wall, fence, Origin::Write, stamp, Record::new(key, value))
        };
        at.iter().map(write).collect()
    }

    /// What a node has of a key.
    pub(super) fn read(&self, index: u32, key: &[u8]) -> Option<Stamp> {
        let node = &self.nodes[&index];
        let fence = node.routing.as_ref().unwrap().fence();
        node.store.peek_with(self.wall(), fence, key, |entry| entry.map(Entry::stamp)).unwrap()
    }

    /// Random entries, each at a random part of the owners of its slot, as writes at level ONE leave them. Returns the latest
    /// stamp of each key.
    pub(super) fn diverge(&mut self, keys: u32, versions: u64) -> BTreeMap<Vec<u8>, Stamp> {
        let mut latest: BTreeMap<Vec<u8>, Stamp> = BTreeMap::new();
        for ms in 0..versions {
            let key = format!("key{}", self.rng.random_range(0..keys)).into_bytes();
            let routing = self.nodes[&1].routing.clone().unwrap();
            let all: Vec<u32> = routing.owners(slot_of(&key)).now.iter().map(|owner| owner.value()).collect();
            let first = self.rng.random_range(0..all.len());
            let at: Vec<u32> = all
                .iter()
                .enumerate()
                .filter(|(i, _)| *i == first || self.rng.random_bool(0.3))
                .map(|(_, o)| *o)
                .collect();
            let version = version(ms, all[first]);
            let stamp = if self.rng.random_bool(0.2) { Stamp::tombstone(version) } else { Stamp::value(version, 0) };
            let value = vec![7; self.rng.random_range(0..2000)];
            assert!(self.write(&at, &key, stamp, &value).iter().all(Result::is_ok));
            latest.insert(key, stamp);
        }
        latest
    }

    /// Lets time pass until `done`, or for `limit`. Says whether it was done.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now.saturating_add(limit);
        loop {
            if done(self) {
                return true;
            }
            let timers = self.nodes.values().filter_map(|node| node.upkeep.poll_timeout());
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= deadline) else {
                self.now = deadline;
                return done(self);
            };
            self.now = self.now.max(next);
            self.step();
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= now) {
            let message = entry.remove();
            self.arrive(message);
        }
        for index in self.nodes.keys().copied().collect::<Vec<_>>() {
            let wall = self.wall_of(index);
            let node = self.nodes.get_mut(&index).unwrap();
            if node.upkeep.poll_timeout().is_some_and(|at| at <= now) {
                node.upkeep.handle_timeout(now, wall, &node.store);
                let again = node.upkeep.poll_timeout();
                assert!(again.is_none_or(|at| at > now), "node {index} would be called without end");
            }
            self.drain(index);
        }
    }

    fn arrive(&mut self, message: Wire) {
        let (Wire::Ask { to, .. } | Wire::Reply { to, .. } | Wire::Put { to, .. } | Wire::Stored { to, .. }) = &message;
        let (now, wall) = (self.now, self.wall_of(*to));
        match message {
            Wire::Ask { from, to, fence, id, request, block } => {
                let node = self.nodes.get_mut(&to).unwrap();
                let answer = node.upkeep.answer(now, wall, &node.store, Some(ordinal(from)), fence, &request, &block);
                self.send((to, from), Wire::Reply { to: from, id, answer: Some(answer) });
            }
            Wire::Reply { to, id, answer } => {
                let node = self.nodes.get_mut(&to).unwrap();
                node.upkeep.handle_reply(now, wall, &node.store, id, answer);
                self.drain(to);
            }
            Wire::Put { from, to, fence, id, stamp, record } => {
                let node = &self.nodes[&to];
                let stored = node.store.apply(wall, fence, Origin::Write, stamp, record).is_ok();
                self.send((to, from), Wire::Stored { to: from, id, stored });
            }
            Wire::Stored { to, id, stored } => {
                let node = self.nodes.get_mut(&to).unwrap();
                node.upkeep.handle_put_reply(now, wall, &node.store, id, stored);
                self.drain(to);
            }
        }
    }

    fn drain(&mut self, index: u32) {
        while let Some(output) = self.nodes.get_mut(&index).unwrap().upkeep.poll_output() {
            let node = self.nodes.get_mut(&index).unwrap();
            let fence = node.routing.as_ref().unwrap().fence();
            match output {
                Output::Ask { id, to, request, block } => {
                    let to = to.value();
                    self.send((index, to), Wire::Ask { from: index, to, fence, id, request, block });
                }
                Output::Put { id, to, stamp, record } => {
                    let to = to.value();
                    self.send((index, to), Wire::Put { from: index, to, fence, id, stamp, record });
                }
                Output::Synced { fence, left } => node.synced = Some((fence, left)),
                Output::Drop { slots } => {
                    node.empty(&slots);
                    node.dropped.extend(&slots);
                }
            }
        }
    }

    fn send(&mut self, (from, to): (u32, u32), message: Wire) {
        let parties = [Some(from), Some(to)];
        let slow = self.weather.slow.is_some() && parties.contains(&self.weather.slow);
        let cut_off = self.weather.cut_off.is_some() && parties.contains(&self.weather.cut_off);
        let millis = if slow { self.rng.random_range(1000..3000) } else { self.rng.random_range(1..20) };
        let mut at = self.now.saturating_add(Duration::from_millis(millis));
        let mut message = message;
        if cut_off || self.rng.random_range(0..1000) < self.weather.lost {
            // The driver hears of some losses, and of others it hears nothing.
            let Wire::Ask { from, id, .. } = message else { return };
            if self.rng.random_bool(0.5) {
                return;
            }
            at = self.now.saturating_add(Duration::from_millis(300));
            message = Wire::Reply { to: from, id, answer: None };
        }
        self.sent += 1;
        self.wire.insert((at, self.sent), message);
    }

    /// Whether all owners of each slot hold the same of it.
    pub(super) fn is_converged(&self) -> bool {
        let routing = self.nodes[&1].routing.clone().unwrap();
        slots().slots().all(|slot| {
            let owners = routing.owners(slot).now.iter().map(|owner| owner.value());
            let digests: Vec<_> = owners.map(|owner| self.nodes[&owner].store.summary(slot).digest).collect();
            digests.iter().all(|digest| *digest == digests[0])
        })
    }
}

impl Node {
    fn empty(&self, unwanted: &SlotSet) {
        if unwanted.is_empty() {
            return;
        }
        (0..self.store.shards_count()).for_each(|shard| {
            self.store.retain_slots(shard, |slot| !unwanted.contains(slot));
        });
        self.store.reset_slots(unwanted);
    }

    pub(super) fn standing(&self, key: &[u8]) -> Standing {
        self.routing.as_ref().unwrap().standing(slot_of(key))
    }

    /// Whether it has said that no slot is left to be fetched under its fence.
    pub(super) fn is_synced(&self) -> bool {
        self.synced == Some((self.routing.as_ref().unwrap().fence(), 0))
    }

    /// What it holds in all.
    pub(super) fn entries(&self) -> u32 {
        slots().slots().map(|slot| self.store.summary(slot).entries).sum()
    }
}
