use std::collections::BTreeSet;

use quoit_core::{
    planted::data::DataPlanted,
    store::{Applied, ApplyError, Entry, EvictionPolicy, FenceMoved, Origin, Record},
    time::Wall,
};
use quoit_proto_types::{
    Boot, Epoch, HashPoint, Hlc, Instance, KeyspaceId, Nonce, Ordinal, Stamp, Version, View,
    view::{Liveness, Owner, ViewFields, ViewHash},
};

use super::*;
use crate::{stage, store::StoreConfig};

const NOW: Wall = Wall::from_millis(1_700_000_000_000);

/// The view of this fence, with the ring `ring` of one copy, and under way to `target`.
fn view(fence: u64, previous: ViewHash, ring: &[u32], target: Option<&[u32]>) -> Arc<View> {
    let owners = |owners: &[u32]| -> Vec<Owner> { owners.iter().copied().map(stage::owner).collect() };
    Arc::new(stage::view(|fields| {
        (fields.epoch, fields.previous, fields.fence) = (Epoch::new(fence), previous, Fence::new(fence));
        (fields.copies, fields.config.replication) = (1, 1);
        (fields.ring, fields.target) = (owners(ring), target.map(owners));
    }))
}

/// Views that follow one another, from fence 1 on.
fn views<const N: usize>(rings: [(&[u32], Option<&[u32]>); N]) -> [Arc<View>; N] {
    let mut previous = ViewHash::default();
    let mut fence = 0;
    rings.map(|(ring, target)| {
        fence += 1;
        let view = view(fence, previous, ring, target);
        previous = view.hash();
        view
    })
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
        let config =
            StoreConfig { memory_limit_bytes, value_bytes_max: 1024, policy, seed: 7, planted: DataPlanted::NOTHING };
        let store = Arc::new(Store::new(config));
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

    /// Writes all keys to the store whatever their slot, as a bug would.
    fn fill(&self, fence: u64) {
        for key in keys() {
            self.write(fence, &key, 1).unwrap();
        }
    }

    fn write(&self, fence: u64, key: &[u8], hlc: u64) -> Result<Applied, ApplyError> {
        let version = Version { hlc: Hlc::new(hlc), ordinal: Ordinal::new(1), boot: Boot::new(1) };
        let record = Record::new(key, b"value");
        self.store.apply(NOW, Fence::new(fence), Origin::Write, Stamp::value(version, 0), record)
    }

    fn delete(&self, fence: u64, key: &[u8]) {
        let version = Version { hlc: Hlc::new(9), ordinal: Ordinal::new(1), boot: Boot::new(1) };
        let stamp = Stamp::tombstone(version);
        self.store.apply(NOW, Fence::new(fence), Origin::Write, stamp, Record::new(key, b"")).unwrap();
    }

    fn held(&self) -> BTreeSet<Vec<u8>> {
        let fence = self.placement.current.as_ref().unwrap().fence();
        let is_held = |key: &Vec<u8>| self.store.get_with(NOW, fence, key, |entry: Option<&Entry>| entry.is_some());
        keys().filter(|key| is_held(key).unwrap()).collect()
    }

    fn epoch_in_force(&self) -> u64 {
        self.routing.load_full().unwrap().epoch().value()
    }

    /// The keys to which this process stands so, by the view in force.
    fn keys_with(&self, standing: Standing) -> BTreeSet<Vec<u8>> {
        let routing = self.routing.load_full().unwrap();
        let slot = |key: &[u8]| routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
        keys().filter(|key| routing.standing(slot(key)) == standing).collect()
    }

    fn slots_with(&self, standing: Standing) -> SlotSet {
        self.routing.load_full().unwrap().slots_with(standing)
    }
}

fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..1000_u32).map(|i| i.to_be_bytes().to_vec())
}

fn moved(to: u64) -> ApplyError {
    ApplyError::FenceMoved(FenceMoved { at: Fence::new(to) })
}

const ALL: &[u32] = &[1, 2];
const OTHER: &[u32] = &[2];
const ME: &[u32] = &[1];

#[test]
fn a_view_that_empties_nothing_is_in_force_at_once() {
    let mut stage = Stage::new();
    assert_eq!(stage.write(0, b"key", 1), Err(moved(0)), "nothing is stored before there are slots");
    let [one, two] = views([(ALL, None), (ALL, Some(ME))]);
    stage.install(&one);
    stage.install(&two);
    assert!(!stage.placement.is_busy());
    assert_eq!(stage.settle(), [1, 2]);
    assert!(stage.settle().is_empty(), "each is told once");
}

#[test]
fn once_a_view_is_in_force_every_shard_refuses_the_fence_before() {
    let mut stage = Stage::new();
    let [one, two] = views([(ME, None), (ME, Some(ALL))]);
    stage.install(&one);
    stage.fill(1);
    stage.install(&two);
    assert_eq!(stage.epoch_in_force(), 2);
    for key in keys() {
        assert_eq!(stage.write(1, &key, 2), Err(moved(2)));
        stage.write(2, &key, 2).unwrap();
    }
}

#[test]
fn slots_that_come_are_empty_before_their_view_is_in_force() {
    let mut stage = Stage::new();
    let [one, two] = views([(OTHER, None), (OTHER, Some(ALL))]);
    stage.install(&one);
    stage.settle();
    // Leftovers, which the node must not take for what it fetched.
    stage.fill(1);
    stage.install(&two);
    assert!(stage.placement.is_busy());
    assert_eq!(stage.epoch_in_force(), 1);
    stage.placement.work();
    assert_eq!(stage.epoch_in_force(), 1, "in force only once the store is clean");
    stage.write(1, b"key", 2).expect("meanwhile the view before is served");
    assert_eq!(stage.settle(), [2]);
    let pending = stage.keys_with(Standing::Pending);
    assert!(!pending.is_empty() && stage.held().is_disjoint(&pending));
    assert_eq!(stage.held(), stage.keys_with(Standing::Stranger), "nothing else was touched");
}

#[test]
fn what_was_fetched_for_a_ring_change_that_was_given_up_is_removed_for_the_next() {
    let mut stage = Stage::new();
    let [one, two, _, four] = views([(OTHER, None), (OTHER, Some(ALL)), (OTHER, None), (OTHER, Some(ALL))]);
    stage.install(&one);
    stage.install(&two);
    stage.fill(2);
    // The view between was missed. Its fence lets nothing in any more while the slots are emptied.
    stage.install(&four);
    assert!(stage.placement.is_busy());
    let key = stage.keys_with(Standing::Pending).into_iter().next().unwrap();
    assert_eq!(stage.write(2, &key, 2), Err(moved(4)));
    assert_eq!(stage.settle(), [1, 2, 4]);
    assert!(stage.held().is_disjoint(&stage.keys_with(Standing::Pending)));
}

#[test]
fn a_view_of_the_same_fence_empties_nothing() {
    let mut stage = Stage::new();
    let [one, two] = views([(OTHER, None), (OTHER, Some(ALL))]);
    stage.install(&one);
    stage.install(&two);
    stage.fill(2);
    let mut fields = two.fields().clone();
    (fields.epoch, fields.previous) = (Epoch::new(3), two.hash());
    stage.install(&Arc::new(View::new(fields).unwrap()));
    assert!(!stage.placement.is_busy());
    assert_eq!((stage.settle(), stage.held().len()), (vec![1, 2, 3], 1000));
}

#[test]
fn views_that_come_while_the_store_is_busy_follow_in_order() {
    let mut stage = Stage::new();
    let [one, two, three, four] = views([(OTHER, None), (OTHER, Some(ALL)), (OTHER, None), (OTHER, Some(ME))]);
    stage.install(&one);
    stage.fill(1);
    for view in [&two, &three, &four] {
        stage.install(view);
    }
    assert_eq!(stage.settle(), [1, 2, 3, 4]);
}

#[test]
fn slots_that_are_let_go_are_removed_and_those_that_are_owned_again_are_not() {
    let mut stage = Stage::new();
    let [one, two, three, four] = views([(ALL, None), (ALL, Some(OTHER)), (OTHER, None), (OTHER, Some(ME))]);
    for view in [&one, &two, &three] {
        stage.install(view);
    }
    stage.fill(3);
    let slots = stage.slots_with(Standing::Stranger);
    let kept = slots.clone().take(100);
    let mut dropped = slots.clone();
    dropped.subtract(&kept);
    stage.placement.drop_slots(Fence::new(3), &dropped);
    assert_eq!(stage.held().len(), 1000, "not all at once");
    stage.settle();
    let slot = |key: &[u8]| slots.slots().slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
    assert_eq!(stage.held(), keys().filter(|key| kept.contains(slot(key))).collect());
    stage.fill(3);
    stage.install(&four);
    stage.settle();
    stage.fill(4);
    // Said before the view that gives the slots back.
    stage.placement.drop_slots(Fence::new(3), &slots);
    stage.settle();
    assert_eq!(stage.held().len(), 1000);
}

#[test]
fn what_is_left_of_slots_that_nobody_in_reach_owns_is_kept_but_for_what_was_being_dropped() {
    let mut stage = Stage::new();
    let [one, two, _] = views([(ALL, None), (OTHER, None), (OTHER, Some(ALL))]);
    stage.install(&one);
    stage.install(&two);
    stage.fill(2);
    let slots = stage.slots_with(Standing::Stranger);
    slots.iter().for_each(|slot| stage.store.raise_floor(slot, Hlc::new(5)));
    let begun = slots.clone().take(slots.len() / 2);
    stage.placement.drop_slots(Fence::new(2), &begun);
    stage.placement.work();
    // The other one has just died.
    let mut fields = view(3, two.hash(), OTHER, Some(ALL)).fields().clone();
    fields.members.iter_mut().filter(|m| m.ordinal == Ordinal::new(2)).for_each(|m| m.live = Liveness::Down);
    stage.install(&Arc::new(View::new(fields).unwrap()));
    stage.settle();
    let slot = |key: &[u8]| slots.slots().slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
    let pending = stage.keys_with(Standing::Pending);
    let is_kept = |key: &Vec<u8>| !begun.contains(slot(key));
    assert!(pending.iter().any(is_kept) && !pending.iter().all(is_kept));
    let held = stage.held();
    assert!(pending.iter().all(|key| held.contains(key) == is_kept(key)));
    assert!(stage.slots_with(Standing::Pending).iter().all(|slot| stage.store.floor(slot) == Hlc::MIN));
}

#[test]
fn a_word_that_is_two_views_old_drops_nothing() {
    let mut stage = Stage::new();
    let [one, two, three] = views([(OTHER, None), (OTHER, Some(ALL)), (OTHER, None)]);
    stage.install(&one);
    let slots = stage.slots_with(Standing::Stranger);
    stage.install(&two);
    let owned_between = stage.keys_with(Standing::Pending);
    stage.install(&three);
    stage.fill(3);
    stage.placement.drop_slots(Fence::new(1), &slots);
    stage.settle();
    assert_eq!(stage.held(), owned_between, "they are to be offered first");
}

#[test]
fn deletions_leave_a_trace_unless_nobody_else_was_ever_there() {
    let tombstones = |change: fn(&mut ViewFields)| {
        let mut stage = Stage::new();
        let [view] = views([(ME, None)]);
        let mut fields = view.fields().clone();
        change(&mut fields);
        stage.install(&Arc::new(View::new(fields).unwrap()));
        stage.write(1, b"a", 2).unwrap();
        stage.delete(1, b"a");
        stage.store.stats().tombstones
    };
    assert_eq!(tombstones(|_| ()), 1, "others are members, or were");
    let alone = |fields: &mut ViewFields| {
        fields.members.truncate(1);
        fields.voters = vec![fields.members[0].ordinal];
        fields.next_ordinal = Ordinal::new(2);
    };
    assert_eq!(tombstones(alone), 0);
}
