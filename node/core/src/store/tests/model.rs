//! The shard against a model that is too simple to be wrong: two lists, searched and summed from end to end.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::entry::Entry;
use super::super::expiry::Deadline;
use super::super::{EvictionPolicy, Expiry, Record, SetOutcome, Shard, ShardConfig, ShardStats};
use crate::time::Timestamp;

/// Room for about 100 small entries.
const LIMIT: usize = 16 * 1024;

#[derive(Clone, Debug)]
enum Op {
    Set { key: u8, value_len: usize, ttl: Option<u64> },
    Get { key: u8 },
    Delete { key: u8 },
    Touch { key: u8, ttl: Option<u64> },
    Ttl { key: u8 },
    Expire { entries_max: usize },
    Advance { micros: u64 },
    Retain { below: u8 },
    Clear,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let value_len = prop_oneof![16 => 0..200_usize, 4 => 200..3000_usize, 1 => 10_000..20_000_usize];
    let ttl = || proptest::option::of(0..500_u64);
    let op = prop_oneof![
        200 => (any::<u8>(), value_len, ttl()).prop_map(|(key, value_len, ttl)| Op::Set { key, value_len, ttl }),
        100 => any::<u8>().prop_map(|key| Op::Get { key }),
        20 => any::<u8>().prop_map(|key| Op::Delete { key }),
        40 => (any::<u8>(), ttl()).prop_map(|(key, ttl)| Op::Touch { key, ttl }),
        20 => any::<u8>().prop_map(|key| Op::Ttl { key }),
        10 => (0..20_usize).prop_map(|entries_max| Op::Expire { entries_max }),
        60 => (0..50_u64).prop_map(|micros| Op::Advance { micros }),
        2 => any::<u8>().prop_map(|below| Op::Retain { below }),
        1 => Just(Op::Clear),
    ];
    vec(op, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn shard_behaves_like_the_model(
        ops in ops(),
        policy in prop_oneof![Just(EvictionPolicy::SegmentedLru), Just(EvictionPolicy::Lru)],
    ) {
        let mut shard = Shard::new(ShardConfig { memory_limit_bytes: LIMIT, policy });
        let mut model = Model { policy, ..Model::default() };
        let mut now = 0;
        for (number, op) in ops.into_iter().enumerate() {
            if let Op::Advance { micros } = op {
                now += micros;
            }
            let expected = model.apply(now, number, &op);
            prop_assert_eq!(apply(&mut shard, now, number, &op), expected, "{:?}", op);
            check(&shard, &model);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Value(Option<(Vec<u8>, Expiry)>),
    Left(Option<Expiry>),
    Done(bool),
    Expired(usize),
    Retained(usize),
    Set(Option<SetOutcome>),
}

/// Keys differ where their hashes do not: a quarter of the keys shares its hash with another.
fn hash(key: u8) -> u64 {
    u64::from(key % 224)
}

fn expiry(ttl: Option<u64>) -> Expiry {
    ttl.map_or(Expiry::Never, |micros| Expiry::After(Duration::from_micros(micros)))
}

/// The value that operation `number` writes.
fn value(number: usize, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn apply(shard: &mut Shard, now: u64, number: usize, op: &Op) -> Answer {
    let now = Timestamp::from_micros(now);
    match *op {
        Op::Set { key, value_len, ttl } => {
            let record = Record::new(&[key], &value(number, value_len));
            Answer::Set(shard.set(now, hash(key), record, expiry(ttl)).ok())
        }
        Op::Get { key } => {
            let entry = shard.get(now, hash(key), &[key]);
            Answer::Value(entry.map(|entry| (entry.value().to_vec(), entry.remaining(now))))
        }
        Op::Delete { key } => Answer::Done(shard.delete(now, hash(key), &[key])),
        Op::Touch { key, ttl } => Answer::Done(shard.touch(now, hash(key), &[key], expiry(ttl))),
        Op::Ttl { key } => Answer::Left(shard.ttl(now, hash(key), &[key])),
        Op::Expire { entries_max } => Answer::Expired(shard.expire(now, entries_max)),
        Op::Advance { .. } => Answer::Nothing,
        Op::Retain { below } => Answer::Retained(shard.retain(|key| key[0] < below)),
        Op::Clear => {
            shard.clear();
            Answer::Nothing
        }
    }
}

/// Everything that can be seen of a shard equals the model, and its sums are true.
fn check(shard: &Shard, model: &Model) {
    let (segments, deadlines) = shard.parts();
    for (queue, items) in segments.queues().into_iter().zip([&model.probation, &model.protected]) {
        let entries: Vec<Item> = queue.newest_first().map(|(hash, entry)| Item::of(hash, entry)).collect();
        assert_eq!(&entries, items);
        assert_eq!(queue.bytes(), queue.newest_first().map(|(_, entry)| entry.footprint()).sum::<usize>());
        assert!(queue.slots() <= 3 * queue.len() + 24, "{} slots for {} entries", queue.slots(), queue.len());
    }
    let items = || model.probation.iter().chain(&model.protected);
    assert_eq!(deadlines.len(), items().filter(|item| item.deadline.is_some()).count());
    let next = items().filter_map(|item| item.deadline).min();
    assert_eq!(shard.next_deadline(), next.map(Timestamp::from_micros));
    let expected = ShardStats { entries: items().count(), bytes: model.bytes(), ..model.stats };
    assert_eq!(shard.stats(), expected);
    assert!(expected.bytes <= LIMIT);
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    hash: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    deadline: Option<u64>,
}

impl Item {
    fn of(hash: u64, entry: &Entry) -> Self {
        let deadline = match entry.remaining(Timestamp::default()) {
            Expiry::Never => None,
            Expiry::After(left) => Some(u64::try_from(left.as_micros()).unwrap()),
        };
        Self { hash, key: entry.key().to_vec(), value: entry.value().to_vec(), deadline }
    }

    fn footprint(&self) -> usize {
        let expiry = self.deadline.map_or(Expiry::Never, |at| Expiry::After(Duration::from_micros(at)));
        Entry::new(Record::new(&self.key, &self.value), Deadline::after(Timestamp::default(), expiry)).footprint()
    }

    fn is_expired(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Newest first in both lists.
#[derive(Debug, Default)]
struct Model {
    policy: EvictionPolicy,
    probation: Vec<Item>,
    protected: Vec<Item>,
    stats: ShardStats,
}

impl Model {
    fn apply(&mut self, now: u64, number: usize, op: &Op) -> Answer {
        match *op {
            Op::Set { key, value_len, ttl } => Answer::Set(self.set(now, key, value(number, value_len), ttl)),
            Op::Get { key } => {
                let live = self.is_live(now, key);
                self.stats.hits += u64::from(live);
                self.stats.misses += u64::from(!live);
                Answer::Value(live.then(|| self.hit(hash(key))).map(|item| (item.value.clone(), left(now, &item))))
            }
            Op::Delete { key } => {
                let live = self.is_live(now, key);
                if live {
                    self.remove(hash(key));
                    self.stats.deletes += 1;
                }
                Answer::Done(live)
            }
            Op::Touch { key, ttl } => {
                let live = self.is_live(now, key);
                if live {
                    let touched = self.hit(hash(key));
                    let items = self.probation.iter_mut().chain(&mut self.protected);
                    items.filter(|item| item.hash == touched.hash).for_each(|item| {
                        item.deadline = ttl.map(|micros| now + micros);
                    });
                    self.demote();
                    self.make_room(now, 0);
                }
                Answer::Done(live)
            }
            Op::Ttl { key } => {
                let live = self.is_live(now, key);
                let item = self.probation.iter().chain(&self.protected).find(|item| item.hash == hash(key));
                Answer::Left(item.filter(|_| live).map(|item| left(now, item)))
            }
            Op::Expire { entries_max } => {
                Answer::Expired((0..entries_max).take_while(|_| self.expire_one(now)).count())
            }
            Op::Advance { .. } => Answer::Nothing,
            Op::Retain { below } => {
                let before = self.probation.len() + self.protected.len();
                self.probation.retain(|item| item.key[0] < below);
                self.protected.retain(|item| item.key[0] < below);
                Answer::Retained(before - self.probation.len() - self.protected.len())
            }
            Op::Clear => {
                self.probation.clear();
                self.protected.clear();
                Answer::Nothing
            }
        }
    }

    fn set(&mut self, now: u64, key: u8, value: Vec<u8>, ttl: Option<u64>) -> Option<SetOutcome> {
        let item = Item { hash: hash(key), key: vec![key], value, deadline: ttl.map(|micros| now + micros) };
        if item.footprint() > LIMIT {
            return None;
        }
        self.stats.sets += 1;
        let live = self.is_live(now, key);
        let was_protected = live && self.protected.iter().any(|item| item.hash == hash(key));
        let other = self.remove(hash(key)).is_some_and(|old| old.key != item.key);
        self.stats.evictions += u64::from(other);
        self.make_room(now, item.footprint());
        let list = if was_protected { &mut self.protected } else { &mut self.probation };
        list.insert(0, item);
        self.demote();
        Some(if live { SetOutcome::Replaced } else { SetOutcome::Inserted })
    }

    fn is_live(&mut self, now: u64, key: u8) -> bool {
        let Some(item) = self.probation.iter().chain(&self.protected).find(|item| item.hash == hash(key)) else {
            return false;
        };
        let (expired, same) = (item.is_expired(now), item.key == [key]);
        if expired {
            self.remove(hash(key));
            self.stats.expirations += 1;
        }
        same && !expired
    }

    fn hit(&mut self, hash: u64) -> Item {
        let item = self.remove(hash).unwrap();
        match self.policy {
            EvictionPolicy::Lru => self.probation.insert(0, item.clone()),
            EvictionPolicy::SegmentedLru => self.protected.insert(0, item.clone()),
        }
        self.demote();
        item
    }

    fn demote(&mut self) {
        while self.protected.iter().map(Item::footprint).sum::<usize>() > LIMIT / 2 {
            self.probation.insert(0, self.protected.pop().unwrap());
        }
    }

    fn remove(&mut self, hash: u64) -> Option<Item> {
        for list in [&mut self.probation, &mut self.protected] {
            if let Some(index) = list.iter().position(|item| item.hash == hash) {
                return Some(list.remove(index));
            }
        }
        None
    }

    fn make_room(&mut self, now: u64, footprint: usize) {
        while self.bytes() + footprint > LIMIT {
            if !self.expire_one(now) {
                self.probation.pop().or_else(|| self.protected.pop()).unwrap();
                self.stats.evictions += 1;
            }
        }
    }

    fn expire_one(&mut self, now: u64) -> bool {
        let expired = self.probation.iter().chain(&self.protected).filter(|item| item.is_expired(now));
        let Some(hash) = expired.map(|item| (item.deadline, item.hash)).min().map(|(_, hash)| hash) else {
            return false;
        };
        self.remove(hash);
        self.stats.expirations += 1;
        true
    }

    fn bytes(&self) -> usize {
        self.probation.iter().chain(&self.protected).map(Item::footprint).sum()
    }
}

fn left(now: u64, item: &Item) -> Expiry {
    item.deadline.map_or(Expiry::Never, |deadline| Expiry::After(Duration::from_micros(deadline - now)))
}
