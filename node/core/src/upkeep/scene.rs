//! What every step of a child machine goes by, and how entries from elsewhere enter the store.

use std::collections::BTreeMap;

use quoit_proto_types::{
    HashPoint, KeyspaceId, Ordinal, SlotCount, SlotIndex, SlotSet,
    limits::TRANSFER_HANDLES_MAX,
    message::transfer::{Cursor, EntryBlock, Known},
    version::{Hlc, Rank},
};

use super::config::COMPARED_ENTRIES_MAX;
use crate::{
    planted::data::DataPlanted,
    routing::{Routing, Standing},
    store::{Applied, ApplyError, Origin, Record, Store, key_hash},
    time::{Timestamp, Wall},
};

/// The moment, the store and the view.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) now: Timestamp,
    pub(super) wall: Wall,
    pub(super) store: &'a Store,
    pub(super) routing: &'a Routing,
    pub(super) planted: DataPlanted,
}

/// What became of the entries of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Import {
    /// Entries that were taken.
    pub(super) taken: u32,
    /// Whether one could not be read, or was refused because of another fence: the block does not count as merged.
    pub(super) failed: bool,
}

impl Scene<'_> {
    pub(super) fn slot_of(&self, key: &[u8]) -> SlotIndex {
        self.routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key))
    }

    /// Whether the data of `ordinal`, an owner in force, can be asked for.
    pub(super) fn is_source(&self, ordinal: Ordinal) -> bool {
        Some(ordinal) != self.routing.me() && self.routing.lives(ordinal)
    }

    /// Merges the entries of `block` that belong here.
    pub(super) fn import(&self, origin: Origin, block: &EntryBlock) -> Import {
        let mut import = Import::default();
        for entry in block.entries() {
            let Ok(entry) = entry else { return Import { failed: true, ..import } };
            // A handle may name another entry by the time it is used.
            if self.routing.standing(self.slot_of(entry.key)) == Standing::Stranger {
                continue;
            }
            let record = Record::new(entry.key, entry.value);
            match self.store.apply(self.wall, self.routing.fence(), origin, entry.stamp, record) {
                Ok(Applied::Stored { .. }) => import.taken += 1,
                Ok(Applied::Known { .. } | Applied::Dropped) => {}
                Err(ApplyError::FenceMoved(_)) => import.failed = true,
                // What does not fit, or is being collected, is missing here until it is repaired.
                Err(
                    ApplyError::TooLarge(_)
                    | ApplyError::TooOld { .. }
                    | ApplyError::HeldBack { .. }
                    | ApplyError::NoRoom,
                ) => {}
            }
        }
        import
    }

    /// Makes the floors of another owner the own ones, as all that it holds is here, and forgets the tombstones that they
    /// make needless: owners of one floor must not differ by them.
    pub(super) fn adopt_floors(&self, slots: SlotCount, floors: impl Iterator<Item = (SlotIndex, Hlc)>) {
        // Slots that were collected together have one floor, and to forget costs a walk through the store.
        let mut raised: BTreeMap<Hlc, SlotSet> = BTreeMap::new();
        for (slot, floor) in floors.filter(|(slot, floor)| *floor > self.store.floor(*slot)) {
            raised.entry(floor).or_insert_with(|| SlotSet::none(slots)).insert(slot);
        }
        for (floor, slots) in raised {
            self.store.purge(&slots, floor);
        }
    }

    /// The ranks of everything that is held of `slots`, by the hash of the key.
    pub(super) fn ranks(&self, slots: &SlotSet) -> BTreeMap<u128, Rank> {
        let (mut ranks, mut from) = (BTreeMap::new(), Cursor::default());
        loop {
            let (known, next) = self.store.list(slots, from, TRANSFER_HANDLES_MAX);
            ranks.extend(known.iter().map(|known| (known.key, known.stamp.rank())));
            match next {
                Some(next) => from = next,
                None => return ranks,
            }
        }
    }

    /// Takes slots out of `slots` that hold few enough entries to be compared in one go, by what is held here.
    pub(super) fn comparable(&self, slots: &mut SlotSet) -> SlotSet {
        let (mut page, mut entries) = (SlotSet::none(slots.slots()), 0);
        for slot in slots.iter() {
            entries += u64::from(self.store.summary(slot).entries);
            if entries > COMPARED_ENTRIES_MAX && !page.is_empty() {
                break;
            }
            page.insert(slot);
        }
        slots.subtract(&page);
        page
    }
}

/// The slots that `a` and `b`, sets of as many slots, have in common.
pub(super) fn both(a: &SlotSet, b: &SlotSet) -> SlotSet {
    let (mut common, mut only) = (a.clone(), a.clone());
    only.subtract(b);
    common.subtract(&only);
    common
}

/// Takes those out of `wanted` that were asked for and answered by `block`, which has them in their order: up to its last
/// one, or all if it has none, as entries that are gone are passed over.
pub(super) fn strike_off(wanted: &mut Vec<Known>, block: &EntryBlock) {
    let last = block.entries().flatten().last().map(|entry| key_hash(entry.key));
    let place = last.and_then(|last| wanted.iter().position(|wanted| wanted.key == last));
    match place {
        Some(place) => drop(wanted.drain(..=place)),
        None => wanted.clear(),
    }
}
