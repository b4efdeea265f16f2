use std::collections::BTreeSet;

use quoit_core::{
    store::{EvictionPolicy, Expiry},
    time::Timestamp,
};
use quoit_proto_types::{Boot, Epoch, Fence, Instance, Nonce, view::ViewHash};

use super::*;
use crate::{stage, store::StoreConfig};

const NOW: Timestamp = Timestamp::from_micros(1);

/// View `epoch`, which changes the placement: `owners` own.
fn view(epoch: u64, previous: ViewHash, owners: &[u32]) -> Arc<View> {
    Arc::new(stage::view(|fields| {
        (fields.epoch, fields.previous, fields.fence) = (Epoch::new(epoch), previous, Fence::new(epoch));
        fields.ring = owners.iter().copied().map(stage::owner).collect();
    }))
}

/// Member 1, with a store of several shards.
struct Stage {
    store: Arc<Store>,
    placement: Placement,
    routing: Arc<ArcSwapOption<Routing>>,
}

impl Stage {
    fn new() -> Self {
        let (memory_limit_bytes, policy) = (64 << 20, EvictionPolicy::default());
        let store = Arc::new(Store::new(StoreConfig { memory_limit_bytes, value_bytes_max: 1024, policy, seed: 7 }));
        let routing = Arc::new(ArcSwapOption::empty());
        let placement = Placement::new(Arc::clone(&store), Arc::clone(&routing), Arc::default());
        assert!(store.shards_count() > 1);
        Self { store, placement, routing }
    }

    fn install(&mut self, view: &Arc<View>) {
        let life = Life { instance: Instance::from_random(1), boot: Boot::new(1), nonce: Nonce::new(1) };
        self.placement.install(Arc::clone(view), life);
    }

    /// Works until nothing is left to do, and returns the epochs that came into force.
    fn settle(&mut self) -> Vec<u64> {
        while self.placement.is_busy() {
            self.placement.work();
        }
        self.placement.published().iter().map(|routing| routing.epoch().value()).collect()
    }

    fn fill(&self) {
        for key in keys() {
            self.store.set(NOW, &key, b"value", Expiry::Never).unwrap();
        }
    }

    fn held(&self) -> BTreeSet<Vec<u8>> {
        keys().filter(|key| self.store.get_with(NOW, key, |_| ()).is_some()).collect()
    }

    fn owned(&self) -> BTreeSet<Vec<u8>> {
        let owned = self.routing.load_full().unwrap().owned();
        keys().filter(|key| owned.holds(HashPoint::of_key(KeyspaceId::DEFAULT, key))).collect()
    }
}

fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..1000_u32).map(|i| i.to_be_bytes().to_vec())
}

#[test]
fn the_first_view_is_in_force_at_once() {
    let mut stage = Stage::new();
    stage.install(&view(1, ViewHash::default(), &[1, 2]));
    assert!(!stage.placement.is_busy());
    assert_eq!(stage.settle(), [1]);
    assert!(stage.settle().is_empty(), "each is told once");
}

#[test]
fn slots_that_come_are_empty_and_slots_that_go_are_dropped() {
    let mut stage = Stage::new();
    let (one, two) = (view(1, ViewHash::default(), &[1, 2]), view(2, ViewHash::default(), &[1]));
    let two = view(2, one.hash(), &two.fields().ring.iter().map(|owner| owner.ordinal.value()).collect::<Vec<_>>());
    stage.install(&one);
    stage.settle();
    // Leftovers of others' slots, which the node must not answer once it owns them.
    stage.fill();
    let before = stage.owned();
    stage.install(&two);
    assert_eq!(stage.routing.load_full().unwrap().epoch(), Epoch::new(1), "in force only once the store is clean");
    assert_eq!(stage.settle(), [2]);
    assert_eq!(stage.held(), before);
    stage.fill();
    stage.install(&view(3, two.hash(), &[1, 2]));
    assert_eq!(stage.settle(), [3]);
    assert_eq!(stage.held(), before, "what went to the other is dropped");
}

#[test]
fn after_views_that_were_missed_the_store_is_empty_and_meanwhile_nothing_is_in_force() {
    let mut stage = Stage::new();
    stage.install(&view(1, ViewHash::default(), &[1, 2]));
    stage.settle();
    stage.fill();
    stage.install(&view(5, ViewHash::default(), &[1, 2]));
    assert!(stage.routing.load_full().is_none());
    assert_eq!(stage.settle(), [5]);
    assert!(stage.held().is_empty());
}

#[test]
fn views_that_come_while_the_store_is_busy_follow_in_order() {
    let mut stage = Stage::new();
    let one = view(1, ViewHash::default(), &[1, 2]);
    let two = view(2, one.hash(), &[1]);
    let three = view(3, two.hash(), &[1, 2]);
    for view in [&one, &two, &three] {
        stage.install(view);
    }
    stage.fill();
    assert_eq!(stage.settle(), [1, 2, 3]);
    assert_eq!(stage.held(), stage.owned());
}
