//! Entries that are kept for owners out of reach, and their way to them.
//!
//! [`Hints`] is what the serving side of a node writes to and reads from; the replay is a part of [`Upkeep`](super::Upkeep).
//! A hint goes to its owner when that one lives again in the view, as an ordinary write, and is forgotten when it is
//! confirmed. One that is yet to own the slot is given it too, as it may have merged the slot before the write; but then it is
//! kept, as that one lets go of everything if the ring change is given up.
//!
//! If its owner has lost the slot meanwhile, it goes to the present owners, and is forgotten when all of them have it. To one of
//! them would not do: of a write that two hints stand for, both would end with that one, and so the write with that one's memory,
//! though it was acknowledged by two nodes (A3 of PROTOCOL 9.6; simulator seed 611909).
//!
//! **What is dropped.** Room and age are bounded. What is dropped leaves a mark for its owner and slot. The marks move no
//! data: the node that dropped the bytes has nothing to give, and the owner needs no word from it, as it compares all its
//! slots with the other owners when it comes up, and once in each repair period in any case. They tell an operator what may
//! be missing until then, and are taken away one repair period after the owner lives.
//!
//! The bound on the age is what lets tombstones be collected at all: it is well below the grace that they have, so no hint
//! arrives after the tombstone of its key has gone (PROTOCOL 18.13).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quoit_proto_types::{Epoch, Fence, Hlc, Ordinal, SlotIndex, Stamp};

use super::{
    config::{HINTS_IN_FLIGHT, UpkeepConfig},
    exchange::ExchangeId,
    scene::Scene,
};
use crate::{
    planted::data::DataBug,
    store::{Origin, Record},
    time::{Timestamp, Wall},
};

/// The hints of a process: a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Hints {
    config: UpkeepConfig,
    shared: Arc<Mutex<Shelf>>,
}

/// What became of an entry that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, or a later one of its key is.
    Kept,
    /// There is no room.
    Full,
    /// A later one of its key is kept, but was made at an earlier moment, and so may be dropped before this one's time is up.
    Aging,
}

/// What is kept, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HintStats {
    /// Entries kept.
    pub entries: usize,
    /// Bytes they take.
    pub bytes: u64,
    /// Entries that were not kept, or not for long enough.
    pub dropped: u64,
    /// Entries that all have confirmed who were to have them.
    pub delivered: u64,
    /// Slots of owners of which entries were dropped.
    pub dirty_slots: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    targets: BTreeMap<Ordinal, Target>,
    next: u64,
    bytes: u64,
    dropped: u64,
    delivered: u64,
}

#[derive(Debug, Default)]
struct Target {
    hints: BTreeMap<Bytes, Hint>,
    /// The keys, in the order in which they came.
    order: BTreeMap<u64, Bytes>,
    /// Those that are to be brought, as far as is known.
    waiting: BTreeSet<u64>,
    /// Those that wait to be confirmed.
    in_flight: BTreeSet<u64>,
    /// Those that nobody can be brought under the present view: all who are to have them do, or are out of reach.
    idle: BTreeSet<u64>,
    /// Who has been given those that are kept all the same, under the present fence.
    given: BTreeMap<u64, Vec<Ordinal>>,
    bytes: u64,
    dirty: BTreeSet<SlotIndex>,
}

#[derive(Debug)]
struct Hint {
    number: u64,
    slot: SlotIndex,
    stamp: Stamp,
    record: Record,
    at: Timestamp,
}

/// What a hint takes besides its key, twice, and its value: two nodes of ordered maps.
const HINT_BYTES: u64 = 256;

impl Hint {
    fn bytes(&self) -> u64 {
        let record = self.record.key().len() * 2 + self.record.value().len();
        HINT_BYTES + u64::try_from(record).unwrap_or(u64::MAX)
    }
}

impl Hints {
    /// Keeps nothing yet.
    pub(super) fn new(config: UpkeepConfig) -> Self {
        Self { config, shared: Arc::default() }
    }

    /// Up to which moment an entry is too old to be kept at `wall`: owners may have collected what is older by the time that it
    /// reaches them, and would not take it. The age of a hint is counted from when it is kept, so what was written long before
    /// that must not become one: its writer, or its coordinator, may have been stopped meanwhile.
    pub(crate) fn too_old(&self, wall: Wall) -> Hlc {
        let age_ms = u64::try_from(self.config.hint_age.as_millis()).unwrap_or(u64::MAX);
        Hlc::from_millis(wall.as_millis().saturating_sub(age_ms))
    }

    /// Keeps an entry of `slot` for `target`, which owns it and is out of reach.
    pub fn keep(&self, now: Timestamp, target: Ordinal, slot: SlotIndex, stamp: Stamp, record: Record) -> Kept {
        let mut shelf = self.lock();
        let Shelf { targets, next, bytes, dropped, .. } = &mut *shelf;
        let kept = targets.entry(target).or_default();
        let key = Bytes::copy_from_slice(record.key());
        // What is kept already gets its full age anew, as whoever wants it kept counts on that (simulator seeds 6180 and
        // 108800): the same one, or a later one that is no older.
        let known = kept.hints.get(&key).filter(|known| known.stamp.supersedes(&stamp));
        let (stamp, record) = match known {
            Some(known) if known.stamp.moment() < stamp.moment() => return Kept::Aging,
            Some(known) => (known.stamp, known.record.clone()),
            None => (stamp, record),
        };
        let hint = Hint { number: *next, slot, stamp, record, at: now };
        let freed = kept.hints.get(&key).map_or(0, Hint::bytes);
        let fits = |used: u64, limit: u64| (used - freed).saturating_add(hint.bytes()) <= limit;
        if !fits(kept.bytes, self.config.hint_target_bytes) || !fits(*bytes, self.config.hint_bytes) {
            kept.dirty.insert(slot);
            *dropped += 1;
            return Kept::Full;
        }
        *next += 1;
        *bytes -= kept.remove(&key);
        *bytes += hint.bytes();
        kept.bytes += hint.bytes();
        kept.order.insert(hint.number, key.clone());
        kept.waiting.insert(hint.number);
        kept.hints.insert(key, hint);
        Kept::Kept
    }

    /// The latest entry of `key` that is kept for anybody.
    pub fn find(&self, key: &[u8]) -> Option<(Stamp, Record)> {
        let shelf = self.lock();
        let found = shelf.targets.values().filter_map(|target| target.hints.get(key));
        let latest = found.max_by_key(|hint| hint.stamp.rank())?;
        Some((latest.stamp, latest.record.clone()))
    }

    /// For whom `key` is kept, in order, and which entry of it. What is kept for one who has it is no copy of its own: it
    /// goes when it is delivered.
    pub fn kept_for(&self, key: &[u8]) -> Vec<(Ordinal, Stamp)> {
        let shelf = self.lock();
        let kept = shelf.targets.iter().filter_map(|(owner, target)| Some((*owner, target.hints.get(key)?.stamp)));
        kept.collect()
    }

    /// What is kept, and what could not be.
    pub fn stats(&self) -> HintStats {
        let shelf = self.lock();
        HintStats {
            entries: shelf.targets.values().map(|target| target.hints.len()).sum(),
            bytes: shelf.bytes,
            dropped: shelf.dropped,
            delivered: shelf.delivered,
            dirty_slots: shelf.targets.values().map(|target| target.dirty.len()).sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// Takes a hint out, and returns how many bytes that frees.
    fn remove(&mut self, key: &[u8]) -> u64 {
        let Some(hint) = self.hints.remove(key) else { return 0 };
        self.order.remove(&hint.number);
        self.waiting.remove(&hint.number);
        self.in_flight.remove(&hint.number);
        self.idle.remove(&hint.number);
        self.given.remove(&hint.number);
        self.bytes -= hint.bytes();
        hint.bytes()
    }

    /// Under another view others may be in reach; under another fence what was given counts no more.
    fn bring_again(&mut self, fence_is_another: bool) {
        self.waiting.append(&mut self.idle);
        if fence_is_another {
            self.given.clear();
        }
    }
}

impl Shelf {
    fn remove(&mut self, target: Ordinal, number: u64) -> bool {
        let Some(kept) = self.targets.get_mut(&target) else { return false };
        let Some(key) = kept.order.get(&number).cloned() else { return false };
        self.bytes -= kept.remove(&key);
        true
    }

    /// A hint has arrived, and is kept or not; or it has not.
    fn confirm(&mut self, (owner, number): (Ordinal, u64), confirmed: Option<(Ordinal, Confirmed)>) {
        if let Some((_, Confirmed::Forgotten)) = confirmed {
            self.delivered += u64::from(self.remove(owner, number));
            return;
        }
        // Another one of the key may have taken its place.
        if let Some(target) = self.targets.get_mut(&owner)
            && target.in_flight.remove(&number)
        {
            if let Some((to, Confirmed::Kept)) = confirmed {
                target.given.entry(number).or_default().push(to);
            }
            target.waiting.insert(number);
        }
    }

    fn expire(&mut self, before: Timestamp) {
        for kept in self.targets.values_mut() {
            while let Some(key) = kept.order.first_key_value().map(|(_, key)| key.clone()) {
                let Some(slot) = kept.hints.get(&key).filter(|hint| hint.at < before).map(|hint| hint.slot) else {
                    break;
                };
                self.bytes -= kept.remove(&key);
                kept.dirty.insert(slot);
                self.dropped += 1;
            }
        }
        self.targets.retain(|_, kept| !kept.hints.is_empty() || !kept.dirty.is_empty());
    }
}

/// An entry on its way to an owner.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) to: Ordinal,
    pub(super) stamp: Stamp,
    pub(super) record: Record,
    hint: (Ordinal, u64),
    confirmed: Confirmed,
}

/// What becomes of a hint that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmed {
    Forgotten,
    /// Others need it, or may yet.
    Kept,
}

/// Brings hints to their owners.
#[derive(Debug)]
pub(super) struct Replay {
    hints: Hints,
    /// Of the view by which it was last seen who is in reach.
    epoch: Epoch,
    /// Under which those have been given what they have for whom something is kept all the same.
    fence: Fence,
    in_flight: BTreeMap<ExchangeId, InFlight>,
    /// Owners that did not confirm: nothing is sent to them until then.
    resting: BTreeMap<Ordinal, Timestamp>,
    /// Since when the owners of marks live.
    living: BTreeMap<Ordinal, Timestamp>,
}

#[derive(Debug)]
struct InFlight {
    hint: (Ordinal, u64),
    to: Ordinal,
    fence: Fence,
    confirmed: Confirmed,
    deadline: Timestamp,
}

/// After a write was not confirmed, the next one to the same owner waits this long.
const REST: Duration = Duration::from_secs(1);

impl Replay {
    pub(super) fn new(hints: Hints) -> Self {
        let (in_flight, resting, living) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (epoch, fence) = (Epoch::GENESIS, Fence::default());
        Self { hints, epoch, fence, in_flight, resting, living }
    }

    pub(super) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Drops what is too old, or is not confirmed in time.
    pub(super) fn handle_timeout(&mut self, scene: &Scene<'_>) {
        let late = self.in_flight.iter().filter(|(_, flight)| flight.deadline <= scene.now);
        let late: Vec<ExchangeId> = late.map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.confirm(scene.now, id, false));
        self.resting.retain(|_, until| *until > scene.now);
        let mut shelf = self.hints.lock();
        let age = u64::try_from(self.hints.config.hint_age.as_micros()).unwrap_or(u64::MAX);
        if !scene.planted.is(DataBug::HintAfterCollection) {
            shelf.expire(Timestamp::from_micros(scene.now.as_micros().saturating_sub(age)));
        }
        self.living.retain(|owner, _| scene.routing.lives(*owner));
        for (owner, target) in shelf.targets.iter_mut().filter(|(_, target)| !target.dirty.is_empty()) {
            // What owns nothing can miss nothing.
            if scene.routing.view().member(*owner).is_none() || !scene.routing.is_named(*owner) {
                target.dirty.clear();
            } else if scene.routing.lives(*owner) {
                let since = *self.living.entry(*owner).or_insert(scene.now);
                if since.saturating_add(self.hints.config.repair_period * 2) <= scene.now {
                    target.dirty.clear();
                    self.living.remove(owner);
                }
            }
        }
    }

    /// The next entry to be sent, if there is one at this moment.
    pub(super) fn next_put(&mut self, scene: &Scene<'_>) -> Option<Put> {
        let mut shelf = self.hints.lock();
        let (epoch, fence) = (scene.routing.view().epoch(), scene.routing.fence());
        if self.epoch != epoch || self.fence != fence {
            shelf.targets.values_mut().for_each(|target| target.bring_again(self.fence != fence));
            (self.epoch, self.fence) = (epoch, fence);
        }
        loop {
            let next = shelf.targets.iter_mut().find_map(|(owner, target)| self.next_of(scene, *owner, target));
            let (owner, number, (to, confirmed)) = next?;
            let target = shelf.targets.get_mut(&owner)?;
            let hint = target.order.get(&number).and_then(|key| target.hints.get(key))?;
            let (stamp, record) = (hint.stamp, hint.record.clone());
            target.waiting.remove(&number);
            target.in_flight.insert(number);
            if scene.routing.me() != Some(to) {
                return Some(Put { to, stamp, record, hint: (owner, number), confirmed });
            }
            // This process has become an owner itself, or is about to.
            let stored = scene.store.apply(scene.wall, self.fence, Origin::Handoff, stamp, record).is_ok();
            shelf.confirm((owner, number), stored.then_some((to, confirmed)));
            if !stored {
                self.resting.insert(to, scene.now.saturating_add(REST));
            }
        }
    }

    /// The next hint for `owner`, and who is to have it.
    fn next_of(
        &self,
        scene: &Scene<'_>,
        owner: Ordinal,
        target: &mut Target,
    ) -> Option<(Ordinal, u64, (Ordinal, Confirmed))> {
        let routing = scene.routing;
        let is_awaited = routing.is_named(owner) && routing.view().member(owner).is_some() && !routing.is_up(owner);
        if target.in_flight.len() >= HINTS_IN_FLIGHT || is_awaited {
            return None;
        }
        let mut idle = Vec::new();
        // Some, so that those whose receivers rest hold up few others; all would be a long search each time.
        let mut resting = 0;
        let next = target.waiting.iter().find_map(|number| {
            let slot = target.hints.get(target.order.get(number)?)?.slot;
            let given = target.given.get(number).map_or(&[][..], Vec::as_slice);
            let mut receivers = receivers(scene, owner, slot, given).peekable();
            if receivers.peek().is_none() {
                idle.push(*number);
                return None;
            }
            let receiver = receivers.find(|(to, _)| !self.resting.contains_key(to));
            resting += usize::from(receiver.is_none());
            match receiver {
                None if resting < HINTS_IN_FLIGHT => None,
                receiver => Some(receiver.map(|receiver| (owner, *number, receiver))),
            }
        });
        for number in idle {
            target.waiting.remove(&number);
            target.idle.insert(number);
        }
        next?
    }

    /// An entry is on its way.
    pub(super) fn sent(&mut self, now: Timestamp, id: ExchangeId, put: &Put) {
        let deadline = now.saturating_add(self.hints.config.source_patience);
        let Put { to, hint, confirmed, .. } = *put;
        self.in_flight.insert(id, InFlight { hint, to, fence: self.fence, confirmed, deadline });
    }

    /// An entry has arrived, or has not.
    pub(super) fn confirm(&mut self, now: Timestamp, id: ExchangeId, stored: bool) {
        let Some(InFlight { hint, to, fence, confirmed, .. }) = self.in_flight.remove(&id) else { return };
        // Given under another fence, it may have been let go of already.
        let counts = confirmed == Confirmed::Forgotten || fence == self.fence;
        self.hints.lock().confirm(hint, Some((to, confirmed)).filter(|_| stored && counts));
        if !stored {
            self.resting.insert(to, now.saturating_add(REST));
        }
    }
}

/// Who is to have an entry that is kept for `owner`, is in reach, and is not among those to whom it was `given`: that one, or the
/// present owners if it is none any more. And whether it is forgotten when one of them has it.
///
/// While a ring change is under way it is forgotten only for one who owns the slot before and after it: one that is to leave
/// may have given all it had, and would drop this; one that is to come drops all it has if nothing comes of the change, but for
/// what nobody in reach owns.
fn receivers<'s>(
    scene: &'s Scene<'_>,
    owner: Ordinal,
    slot: SlotIndex,
    given: &'s [Ordinal],
) -> impl Iterator<Item = (Ordinal, Confirmed)> + 's {
    let (routing, owners) = (scene.routing, scene.routing.owners(slot));
    let is_owner = owners.contains(owner) && routing.view().member(owner).is_some();
    let comes = owners.then.is_some_and(|then| then.contains(&owner)) && routing.lives_in_target(owner);
    let stays = move |owner: Ordinal| routing.lives(owner) && owners.then.is_none_or(|then| then.contains(&owner));
    // One that has lost its memory since it was given something lacks it again.
    let lacks = move |owner: &Ordinal| !given.contains(owner) || !stays(*owner);
    let itself = if owners.now.contains(&owner) && stays(owner) {
        Some((owner, Confirmed::Forgotten))
    } else {
        comes.then_some((owner, Confirmed::Kept))
    };
    let others = owners.now.iter().copied().filter(lacks);
    let confirmed = if others.clone().count() == 1 { Confirmed::Forgotten } else { Confirmed::Kept };
    let others = others.filter(move |other| stays(*other)).map(move |other| (other, confirmed));
    let itself = itself.filter(|(owner, _)| is_owner && !given.contains(owner));
    itself.into_iter().chain(others.filter(move |_| !is_owner))
}
