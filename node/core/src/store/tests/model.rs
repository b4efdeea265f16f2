//! The shard against a model that is too simple to be wrong: lists, searched and summed from end to end.

use proptest::collection::vec;
use proptest::prelude::*;
use quoit_proto_types::message::transfer::{Digest, SlotSummary};
use quoit_proto_types::version::{EntryKind, Hlc, Stamp};
use quoit_proto_types::{SlotCount, SlotIndex};

use super::super::entry::Entry;
use super::super::eviction::GRAVES_SHARE;
use super::super::expiry::Deadline;
use super::super::merge::REPAIR_WATERMARK_PERCENT;
use super::super::slots::digest_of;
use super::*;

/// Room for about 100 small entries.
const LIMIT: usize = 16 * 1024;
const SLOTS: SlotCount = SlotCount::from_log2(4).unwrap();

#[derive(Clone, Debug)]
enum Op {
    Apply { origin: Origin, key: u8, stamp: Stamp, value_len: usize },
    Get { key: u8 },
    Peek { key: u8 },
    Expire { entries_max: usize },
    Advance { millis: u64 },
    Retain { slot: usize },
    Purge { slot: usize, back: u64 },
    Seal { slot: usize, back: u64 },
    Unseal { slot: usize },
    Reset { slot: usize },
    Shadowing(bool),
    Clear,
}

/// Versions and expiries lie around the clock, which starts at 1000 ms; an [`Hlc`] here counts milliseconds.
fn stamps() -> impl Strategy<Value = (i64, bool, bool, Option<i64>)> {
    (-100..100_i64, any::<bool>(), prop::bool::weighted(0.2), proptest::option::of(-5..300_i64))
}

fn ops() -> impl Strategy<Value = Vec<(Op, i64)>> {
    let value_len = prop_oneof![16 => 0..200_usize, 4 => 200..3000_usize, 1 => 10_000..20_000_usize];
    let origin = prop_oneof![6 => Just(Origin::Write), 2 => Just(Origin::Handoff), 2 => Just(Origin::Repair)];
    let apply =
        (origin, any::<u8>(), stamps(), value_len).prop_map(|(origin, key, (hlc, touched, dead, ttl), value_len)| {
            let stamp = Stamp {
                version: version(0),
                touched: Hlc::new(u64::from(touched)),
                kind: if dead { EntryKind::Tombstone } else { EntryKind::Value },
                expires_at_ms: ttl.map_or(0, |ttl| (ttl + 10).unsigned_abs()),
            };
            (Op::Apply { origin, key, stamp, value_len }, hlc)
        });
    let slot = || 0..SLOTS.count() as usize;
    let other = prop_oneof![
        100 => any::<u8>().prop_map(|key| Op::Get { key }),
        20 => any::<u8>().prop_map(|key| Op::Peek { key }),
        10 => (0..20_usize).prop_map(|entries_max| Op::Expire { entries_max }),
        60 => (0..50_u64).prop_map(|millis| Op::Advance { millis }),
        2 => slot().prop_map(|slot| Op::Retain { slot }),
        4 => (slot(), 0..100_u64).prop_map(|(slot, back)| Op::Purge { slot, back }),
        4 => (slot(), 0..100_u64).prop_map(|(slot, back)| Op::Seal { slot, back }),
        8 => slot().prop_map(|slot| Op::Unseal { slot }),
        4 => slot().prop_map(|slot| Op::Reset { slot }),
        4 => any::<bool>().prop_map(Op::Shadowing),
        1 => Just(Op::Clear),
    ];
    vec(prop_oneof![3 => apply, 2 => other.prop_map(|op| (op, 0))], 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn shard_behaves_like_the_model(
        ops in ops(),
        policy in prop_oneof![Just(EvictionPolicy::SegmentedLru), Just(EvictionPolicy::Lru)],
    ) {
        let config = ShardConfig { memory_limit_bytes: LIMIT, policy, planted: DataPlanted::NOTHING };
        let mut single = Single { shard: Shard::new(config), slots: SlotTable::new(SLOTS), last: 0 };
        single.shard.seal(FENCE);
        let mut model = Model::new(policy);
        let mut now = 1000;
        for (number, (op, hlc)) in ops.into_iter().enumerate() {
            if let Op::Advance { millis } = op {
                now += millis;
            }
            let op = at(now, op, hlc);
            let expected = model.act(now, number, &op);
            prop_assert_eq!(act(&mut single, now, number, &op), expected, "{:?}", op);
            check(&single, &model);
        }
    }
}

/// Moves what an operation says of time to around `now`.
fn at(now: u64, op: Op, hlc: i64) -> Op {
    let Op::Apply { origin, key, mut stamp, value_len } = op else { return op };
    let around = |offset: i64| now.checked_add_signed(offset).unwrap();
    stamp.version = version(around(hlc));
    if stamp.touched != Hlc::MIN {
        stamp.touched = Hlc::new(around(hlc + 20));
    }
    if stamp.expires_at_ms != 0 {
        stamp.expires_at_ms += now - 10;
    }
    Op::Apply { origin, key, stamp, value_len }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Entry(Option<(Stamp, Vec<u8>)>),
    Removed(usize),
    Applied(Result<Applied, ApplyError>),
}

/// Keys differ where their hashes do not: a quarter of the keys shares its hash with another.
fn hash(key: u8) -> u64 {
    u64::from(key % 224) + 1
}

fn slot(index: usize) -> SlotIndex {
    SLOTS.slots().nth(index).unwrap()
}

/// The value that operation `number` writes.
fn value(number: usize, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn act(single: &mut Single, now: u64, number: usize, op: &Op) -> Answer {
    let (wall, Single { shard, slots, .. }) = (Wall::from_millis(now), single);
    let shown = |entry: &Entry| (entry.stamp(), entry.value().to_vec());
    match *op {
        Op::Apply { origin, key, stamp, value_len } => {
            let entry = Entry::new(Record::new(&[key], &value(number, value_len)), stamp);
            let slot = slots.slot_of(entry.key());
            return Answer::Applied(shard.apply((slots, slot), wall, (FENCE, origin), hash(key), entry));
        }
        Op::Get { key } => {
            return Answer::Entry(shard.get(slots, wall, (hash(key), &[key]), |entry| entry.map(shown)));
        }
        Op::Peek { key } => return Answer::Entry(shard.peek(slots, wall, hash(key), &[key]).map(shown)),
        Op::Expire { entries_max } => return Answer::Removed(expire(shard, slots, wall, entries_max)),
        Op::Retain { slot: lost } => {
            return Answer::Removed(shard.retain(slots, |_, entry| slots.slot_of(entry.key()).index() != lost));
        }
        Op::Purge { slot: chosen, back } => {
            let until = Hlc::new(now - back);
            slots.raise_floor(slot(chosen), until);
            let is_chosen = |slot: SlotIndex| slot.index() == chosen;
            return Answer::Removed(shard.purge(slots, is_chosen, until, Wall::from_millis(now - back)));
        }
        Op::Advance { .. } => {}
        Op::Seal { slot: chosen, back } => slots.raise_seal(slot(chosen), Hlc::new(now - back)),
        Op::Unseal { slot: chosen } => slots.lift_seal(slot(chosen)),
        Op::Reset { slot: chosen } => slots.reset(slot(chosen)),
        Op::Shadowing(shadowing) => shard.set_shadowing(shadowing),
        Op::Clear => shard.clear(slots),
    }
    Answer::Nothing
}

/// Everything that can be seen of a shard equals the model, and its sums are true.
fn check(single: &Single, model: &Model) {
    let Single { shard, slots, .. } = single;
    for (queue, items) in shard.segments.queues().into_iter().zip(&model.lists) {
        let entries: Vec<Item> = queue.iter().map(|(hash, entry)| Item::of(hash, entry)).collect();
        assert_eq!(&entries, items);
        let mut expiring = queue.iter().filter(|(_, entry)| entry.deadline() != Deadline::NEVER);
        assert!(expiring.all(|(hash, entry)| shard.alarms().holds(entry.alarm(hash), hash)));
        assert_eq!(queue.bytes(), queue.iter().map(|(_, entry)| entry.footprint()).sum::<usize>());
        assert!(queue.slots() <= 3 * queue.len() + 24, "{} slots for {} entries", queue.slots(), queue.len());
    }
    let deadlines = model.items().filter_map(|item| item.deadline());
    assert_eq!(shard.alarms().len(), deadlines.clone().count());
    let idle = model.shadowing || model.lists[2].is_empty();
    let next = if idle { deadlines.min().map(Wall::from_millis) } else { Some(Wall::MIN) };
    assert_eq!(shard.next_deadline().is_some(), next.is_some());
    assert!(shard.next_deadline() <= next, "nothing expires before it is looked for");
    let entries = model.lists[0].len() + model.lists[1].len();
    let (tombstones, bytes) = (model.lists[2].len(), model.bytes());
    assert_eq!(shard.stats(), ShardStats { entries, tombstones, bytes, ..model.stats });
    assert!(bytes <= LIMIT);
    assert!(model.lists[2].iter().map(Item::footprint).sum::<usize>() <= LIMIT / GRAVES_SHARE);
    for slot in SLOTS.slots() {
        assert_eq!(slots.summary(slot), model.summary(slot), "slot {slot}");
        assert_eq!(slots.bounds(slot).seal, model.seals[slot.index()]);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    hash: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    stamp: Stamp,
    is_used: bool,
}

impl Item {
    fn of(hash: u64, entry: &Entry) -> Self {
        let (key, value) = (entry.key().to_vec(), entry.value().to_vec());
        Self { hash, key, value, stamp: entry.stamp(), is_used: entry.is_used() }
    }

    fn entry(&self) -> Entry {
        Entry::new(Record::new(&self.key, &self.value), self.stamp)
    }

    fn footprint(&self) -> usize {
        self.entry().footprint()
    }

    fn is_dead(&self) -> bool {
        self.stamp.kind == EntryKind::Tombstone
    }

    fn deadline(&self) -> Option<u64> {
        (!self.is_dead() && self.stamp.expires_at_ms != 0).then_some(self.stamp.expires_at_ms)
    }

    fn is_expired(&self, now: u64) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    fn bury(&mut self) {
        self.stamp.kind = EntryKind::Tombstone;
        self.value.clear();
        self.is_used = false;
    }

    fn slot(&self) -> usize {
        SlotTable::new(SLOTS).slot_of(&self.key).index()
    }
}

/// Probation, protected, graves; newest first in all of them.
#[derive(Debug)]
struct Model {
    policy: EvictionPolicy,
    lists: [Vec<Item>; 3],
    /// Its values, and what it was made for.
    remembered: (Remembered, usize),
    stats: ShardStats,
    floors: Vec<Hlc>,
    seals: Vec<Hlc>,
    shadowing: bool,
}

impl Model {
    fn new(policy: EvictionPolicy) -> Self {
        let none = vec![Hlc::MIN; SLOTS.count() as usize];
        let (lists, remembered, stats) = (Default::default(), Default::default(), ShardStats::default());
        Self { policy, lists, remembered, stats, floors: none.clone(), seals: none, shadowing: true }
    }

    fn act(&mut self, now: u64, number: usize, op: &Op) -> Answer {
        match *op {
            Op::Apply { origin, key, stamp, value_len } => {
                let value = value(number, value_len);
                let mut item = Item { hash: hash(key), key: vec![key], value, stamp, is_used: false };
                if item.is_dead() || item.is_expired(now) {
                    item.bury();
                }
                return Answer::Applied(self.merge(now, origin, item));
            }
            Op::Get { key } => {
                let found = self.find(now, key);
                let live = found.as_ref().is_some_and(|item| !item.is_dead());
                self.stats.hits += u64::from(live);
                self.stats.misses += u64::from(!live);
                if live {
                    self.hit(hash(key));
                }
                return Answer::Entry(found.map(|item| (item.stamp, item.value)));
            }
            Op::Peek { key } => return Answer::Entry(self.find(now, key).map(|item| (item.stamp, item.value))),
            Op::Expire { entries_max } => {
                let done = (0..entries_max)
                    .take_while(|_| self.expire_one(now) || !self.shadowing && self.lists[2].pop().is_some());
                return Answer::Removed(done.count());
            }
            Op::Retain { slot } => return Answer::Removed(self.remove_if(|item| item.slot() == slot)),
            Op::Purge { slot, back } => {
                let until = now - back;
                self.floors[slot] = self.floors[slot].max(Hlc::new(until));
                while self.expire_one(until) {}
                return Answer::Removed(self.remove_if(|item| {
                    let Stamp { version, touched, expires_at_ms, .. } = item.stamp;
                    let last = version.hlc.value().max(touched.value()).max(expires_at_ms);
                    item.is_dead() && item.slot() == slot && last <= until
                }));
            }
            Op::Advance { .. } => {}
            Op::Seal { slot, back } => self.seals[slot] = self.seals[slot].max(Hlc::new(now - back)),
            Op::Unseal { slot } => self.seals[slot] = Hlc::MIN,
            Op::Reset { slot } => (self.floors[slot], self.seals[slot]) = (Hlc::MIN, Hlc::MIN),
            Op::Shadowing(shadowing) => self.shadowing = shadowing,
            Op::Clear => (self.lists, self.remembered) = Default::default(),
        }
        Answer::Nothing
    }

    fn merge(&mut self, now: u64, origin: Origin, item: Item) -> Result<Applied, ApplyError> {
        let held = self.find(now, item.key[0]);
        let was_live = held.as_ref().is_some_and(|held| !held.is_dead());
        let (floor, seal, hlc) = (self.floors[item.slot()], self.seals[item.slot()], item.stamp.version.hlc);
        let late = if held.is_some() { hlc.max(item.stamp.touched) } else { hlc };
        if origin == Origin::Write && late <= floor.max(seal) {
            return Err(ApplyError::TooOld { until: floor.max(seal) });
        }
        if origin != Origin::Write && held.is_none() && hlc <= floor {
            return Ok(Applied::Dropped);
        }
        if origin == Origin::Repair && hlc <= seal {
            return Err(ApplyError::HeldBack { until: seal });
        }
        let footprint_bytes = item.footprint();
        if footprint_bytes > LIMIT {
            return Err(TooLarge { footprint_bytes, memory_limit_bytes: LIMIT }.into());
        }
        let watermark = LIMIT / 100 * REPAIR_WATERMARK_PERCENT;
        if origin == Origin::Repair && held.is_none() && self.bytes() + footprint_bytes > watermark {
            return Err(ApplyError::NoRoom);
        }
        if held.is_some_and(|held| !item.entry().supersedes(&held.entry())) {
            return Ok(Applied::Known { was_live });
        }
        match (origin, item.is_dead()) {
            (Origin::Write, true) => self.stats.deletes += u64::from(was_live),
            (Origin::Write, false) => self.stats.sets += 1,
            (Origin::Handoff | Origin::Repair, _) => self.stats.imports += 1,
        }
        self.put(now, item);
        Ok(Applied::Stored { was_live })
    }

    fn put(&mut self, now: u64, item: Item) {
        let Some(mut item) = self.put_in_place(item) else { return };
        let (mut list, mut is_new) = (0, true);
        match self.remove(item.hash) {
            Some((old, held)) if held.key == item.key => {
                (list, is_new) = (old % 2, old == 2);
                item.is_used = held.is_used && !item.is_dead();
            }
            Some((2, other)) => self.lose(&other),
            Some(_) => self.stats.evictions += 1,
            None => {}
        }
        if item.is_dead() {
            list = 2;
        }
        if !item.is_dead() || self.shadowing {
            self.make_room(now, item.footprint());
            let is_back =
                is_new && list == 0 && self.policy == EvictionPolicy::SegmentedLru && self.remembered.0.take(item.hash);
            self.insert(if is_back { 1 } else { list }, item);
        }
    }

    /// Puts a value where one of its key is, if it fits there; gives it back if not.
    fn put_in_place(&mut self, mut item: Item) -> Option<Item> {
        let all = self.lists.iter().enumerate().take(2);
        let mut place =
            all.filter_map(|(list, items)| Some((list, items.iter().position(|held| held.key == item.key)?)));
        let Some((list, index)) = place.next_back().filter(|_| !item.is_dead()) else { return Some(item) };
        let held = &self.lists[list][index];
        if self.bytes() + item.footprint() - held.footprint() > LIMIT {
            return Some(item);
        }
        item.is_used = held.is_used || list == 1;
        self.lists[list][index] = item;
        if self.policy == EvictionPolicy::Lru {
            self.hit(self.lists[list][index].hash);
        }
        self.demote();
        None
    }

    fn insert(&mut self, list: usize, item: Item) {
        self.lists[list].insert(0, item);
        self.demote();
        while self.lists[2].iter().map(Item::footprint).sum::<usize>() > LIMIT / GRAVES_SHARE {
            let lost = self.lists[2].pop().unwrap();
            self.lose(&lost);
        }
    }

    fn demote(&mut self) {
        while self.lists[1].iter().map(Item::footprint).sum::<usize>() > LIMIT / 10 * 9 {
            let mut oldest = self.lists[1].pop().unwrap();
            let is_spared = std::mem::take(&mut oldest.is_used);
            self.lists[usize::from(is_spared)].insert(0, oldest);
        }
    }

    /// Spares the oldest if they were used: here there are never so many that some are not.
    fn spare(&mut self) {
        for list in 0..2 {
            while let Some(mut oldest) = self.lists[list].pop_if(|oldest| oldest.is_used) {
                oldest.is_used = false;
                self.insert(1, oldest);
            }
            if !self.lists[list].is_empty() {
                break;
            }
        }
    }

    fn lose(&mut self, item: &Item) {
        let floor = &mut self.floors[item.slot()];
        *floor = item.stamp.version.hlc.max(*floor);
        self.stats.tombstones_lost += 1;
    }

    /// What is held of a key. What is held under its hash is buried if it has expired.
    fn find(&mut self, now: u64, key: u8) -> Option<Item> {
        if self.items().any(|item| item.hash == hash(key) && item.is_expired(now)) {
            self.expire(hash(key));
        }
        self.items().find(|item| item.key == [key]).cloned()
    }

    fn hit(&mut self, hash: u64) {
        if self.policy == EvictionPolicy::SegmentedLru {
            let mut items = self.lists.iter_mut().flatten();
            items.find(|item| item.hash == hash).unwrap().is_used = true;
        } else {
            let (_, item) = self.remove(hash).unwrap();
            self.insert(0, item);
        }
    }

    fn remove(&mut self, hash: u64) -> Option<(usize, Item)> {
        self.lists.iter_mut().enumerate().find_map(|(number, list)| {
            let index = list.iter().position(|item| item.hash == hash)?;
            Some((number, list.remove(index)))
        })
    }

    fn remove_if(&mut self, is_unwanted: impl Fn(&Item) -> bool) -> usize {
        let before = self.items().count();
        self.lists.iter_mut().for_each(|list| list.retain(|item| !is_unwanted(item)));
        before - self.items().count()
    }

    fn make_room(&mut self, now: u64, footprint: usize) {
        while self.bytes() + footprint > LIMIT {
            if self.expire_one(now) {
                continue;
            }
            self.spare();
            if let Some(evicted) = self.lists[0].pop() {
                self.remember(evicted.hash);
                self.stats.evictions += 1;
            } else if self.lists[1].pop().is_some() {
                self.stats.evictions += 1;
            } else {
                let lost = self.lists[2].pop().unwrap();
                self.lose(&lost);
            }
        }
    }

    fn remember(&mut self, hash: u64) {
        let values = self.lists[0].len() + self.lists[1].len();
        let made_for = self.remembered.1;
        if self.policy == EvictionPolicy::SegmentedLru && !(made_for / 2..=made_for * 2).contains(&values) {
            self.remembered = (Remembered::for_entries(values), values);
        }
        self.remembered.0.note(hash);
    }

    fn expire_one(&mut self, now: u64) -> bool {
        let expired = self.items().filter(|item| item.is_expired(now));
        let Some((_, hash)) = expired.map(|item| (item.deadline(), item.hash)).min() else {
            return false;
        };
        self.expire(hash);
        true
    }

    fn expire(&mut self, hash: u64) {
        let (_, mut item) = self.remove(hash).unwrap();
        self.stats.expirations += 1;
        item.bury();
        if self.shadowing {
            self.insert(2, item);
        }
    }

    fn items(&self) -> impl Iterator<Item = &Item> + Clone {
        self.lists.iter().flatten()
    }

    fn bytes(&self) -> usize {
        self.items().map(Item::footprint).sum()
    }

    fn summary(&self, slot: SlotIndex) -> SlotSummary {
        let items = || self.items().filter(|item| item.slot() == slot.index());
        SlotSummary {
            digest: Digest(items().fold(0, |digest, item| digest ^ digest_of(&item.entry()))),
            entries: u32::try_from(items().count()).unwrap(),
            bytes: items().map(|item| (item.key.len() + item.value.len()) as u64).sum(),
            floor: self.floors[slot.index()],
        }
    }
}
