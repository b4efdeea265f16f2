//! Merging an entry into a shard: what is taken in, and from whom.

use quoit_proto_types::version::Hlc;
use quoit_proto_types::{Fence, SlotIndex};

use super::entry::Entry;
use super::eviction::Segment;
use super::shard::Shard;
use super::slots::{Bounds, Share, SlotTable};
use crate::planted::data::DataBug;
use crate::time::Wall;

/// Where an entry comes from, which decides what it may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A request that is being coordinated. Its writer can be asked for a newer version.
    Write,
    /// A complete copy of what another node holds: a handoff, an offer, or the union that precedes a collection.
    Handoff,
    /// What differed from another owner's. It must not change what is being collected, nor push out what is in use.
    Repair,
}

/// What became of an entry that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is held, unless it was a tombstone with nothing to hide.
    Stored {
        /// Whether the key had a value before.
        was_live: bool,
    },
    /// This entry or a later one of the key was held already.
    Known {
        /// Whether the key has a value.
        was_live: bool,
    },
    /// It is not held, as it was deleted and the tombstone has been collected since. Writes are [`ApplyError::TooOld`]
    /// instead.
    Dropped,
}

/// Why an entry was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The shard goes by another view.
    #[error(transparent)]
    FenceMoved(#[from] FenceMoved),
    /// It does not fit one shard.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A write up to a moment that its slot takes no writes up to: write it again with a newer version.
    #[error("the slot takes no writes up to {until}")]
    TooOld {
        /// That moment.
        until: Hlc,
    },
    /// Repair of a slot that is being collected: later.
    #[error("the slot is being collected up to {until}")]
    HeldBack {
        /// Up to when.
        until: Hlc,
    },
    /// Repair of a key that is absent here, where it would have to push out another.
    #[error("the shard is full")]
    NoRoom,
}

/// The view has changed since the request was sent, or has not changed here yet. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard goes by fence {at}")]
pub struct FenceMoved {
    /// The shard's fence; the lowest of all before it has one.
    pub at: Fence,
}

/// The record costs more memory than the whole shard may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry needs {footprint_bytes} bytes, more than the {memory_limit_bytes} bytes its shard may hold")]
pub struct TooLarge {
    /// Bytes the entry would cost.
    pub footprint_bytes: usize,
    /// Bytes the shard may hold.
    pub memory_limit_bytes: usize,
}

/// Repair inserts nothing that would fill a shard beyond this part of its limit, in percent: the rest lets it replace, and
/// keeps repair and eviction from working against each other.
pub(super) const REPAIR_WATERMARK_PERCENT: usize = 95;

impl Shard {
    /// Keeps the later of `entry`, whose `slot` it is, and what is held of its key, and evicts what must go for it.
    ///
    /// A key that had a value keeps its segment, and its mark: writing alone does not protect it. Where it fits it keeps its place as
    /// well; where room must be made it comes to the front. Merging is commutative, associative and
    /// idempotent as long as nothing is refused, dropped or evicted.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]. Nothing has changed then but that an expired value of the key may have become a tombstone.
    pub(super) fn apply(
        &mut self,
        (slots, slot): (&SlotTable, SlotIndex),
        now: Wall,
        (fence, origin): (Fence, Origin),
        hash: u64,
        entry: Entry,
    ) -> Result<Applied, ApplyError> {
        if !self.config.planted.is(DataBug::SealIgnored) {
            self.check_fence(fence)?;
        }
        let entry = if entry.is_live(now) { entry } else { entry.into_tombstone() };
        // First, so that the processor waits for it and for what is held of the key at the same time.
        let mut bounds = slots.bounds(slot);
        let mut found = self.segments.find(hash);
        if found.is_some_and(|(_, found)| found.deadline().is_reached(now)) {
            self.bury_expired(slots, now, hash);
            // A tombstone may have gone for it, which raises the floor.
            bounds = slots.bounds(slot);
            found = self.segments.find(hash);
        }
        let found = found.filter(|(_, held)| held.key() == entry.key());
        let held = found.map(|(_, held)| held);
        let was_live = held.is_some_and(|held| !held.is_tombstone());
        let is_later = held.is_none_or(|held| self.wins(&entry, held));
        // Where it can simply take the place of what is held.
        let place =
            found.filter(|(_, held)| was_live && self.has_room_instead(&entry, held)).map(|(segment, _)| segment);
        if !self.is_admitted(bounds, origin, &entry, held.is_none())? {
            return Ok(Applied::Dropped);
        }
        if !is_later {
            return Ok(Applied::Known { was_live });
        }
        self.count(origin, &entry, was_live);
        match place {
            Some(segment) => self.take_place((slots, slot), segment, hash, entry),
            None => self.replace(slots, now, hash, entry),
        }
        Ok(Applied::Stored { was_live })
    }

    /// Whether a value fits when the one that is held of its key goes.
    fn has_room_instead(&self, entry: &Entry, held: &Entry) -> bool {
        let bytes = self.segments.bytes() + entry.footprint() - held.footprint();
        !entry.is_tombstone() && bytes <= self.config.memory_limit_bytes
    }

    /// Puts a value in the place of the one that is held of its key, in one step: most writes are such.
    fn take_place(&mut self, (slots, slot): (&SlotTable, SlotIndex), segment: Segment, hash: u64, entry: Entry) {
        let (share, alarm) = (Share::of(&entry, slot), entry.alarm(hash));
        match self.segments.replace(segment, hash, entry) {
            Ok(replaced) => {
                slots.exchange(share, &replaced);
                self.exchange_alarm(hash, replaced.alarm(hash), alarm);
            }
            Err(_) => unreachable!("what was found is there"),
        }
    }

    /// Whether an entry may be stored or replace what is held.
    fn is_admitted(
        &self,
        Bounds { floor, seal }: Bounds,
        origin: Origin,
        entry: &Entry,
        is_absent: bool,
    ) -> Result<bool, ApplyError> {
        let stamp = entry.stamp();
        let is_collected = |until| is_absent && stamp.version.hlc <= until;
        let is_floor_kept = !self.config.planted.is(DataBug::FloorIgnored);
        match origin {
            Origin::Write => {
                let until = if is_floor_kept { floor.max(seal) } else { seal };
                // A change of expiry is as old as itself where its value is held, and as old as the value where it is not.
                if stamp.moment() <= until || is_collected(until) {
                    return Err(ApplyError::TooOld { until });
                }
            }
            Origin::Handoff | Origin::Repair if is_floor_kept && is_collected(floor) => return Ok(false),
            Origin::Repair if stamp.version.hlc <= seal => return Err(ApplyError::HeldBack { until: seal }),
            Origin::Handoff | Origin::Repair => {}
        }
        let (footprint_bytes, memory_limit_bytes) = (entry.footprint(), self.config.memory_limit_bytes);
        if footprint_bytes > memory_limit_bytes {
            return Err(TooLarge { footprint_bytes, memory_limit_bytes }.into());
        }
        let watermark = memory_limit_bytes / 100 * REPAIR_WATERMARK_PERCENT;
        if origin == Origin::Repair && is_absent && self.segments.bytes() + footprint_bytes > watermark {
            return Err(ApplyError::NoRoom);
        }
        Ok(true)
    }

    fn wins(&self, entry: &Entry, held: &Entry) -> bool {
        let stamps = |entry: &Entry| (entry.version(), entry.stamp().touched);
        let is_forced = self.config.planted.is(DataBug::OlderWins)
            || self.config.planted.is(DataBug::EqualVersionOverwrites) && stamps(entry) == stamps(held);
        is_forced || entry.supersedes(held)
    }

    fn replace(&mut self, slots: &SlotTable, now: Wall, hash: u64, mut entry: Entry) {
        let kept = match self.remove(slots, hash) {
            Some((segment @ (Segment::Probation | Segment::Protected), old)) if old.key() == entry.key() => {
                if old.is_used() && !entry.is_tombstone() {
                    entry.set_used(true);
                }
                Some(segment)
            }
            // Another key's: the two cannot be held together.
            Some((_, other)) if other.key() != entry.key() => {
                if other.is_tombstone() {
                    self.note_lost_grave(slots, &other);
                } else {
                    self.counters.evictions += 1;
                }
                None
            }
            Some(_) | None => None,
        };
        if entry.is_tombstone() && !self.shadowing() {
            return;
        }
        self.make_room(slots, now, entry.footprint());
        let segment = match kept {
            _ if entry.is_tombstone() => Segment::Graves,
            Some(segment) => {
                self.segments.note_store(hash);
                segment
            }
            None => self.segments.received(hash),
        };
        self.insert(slots, segment, hash, entry);
    }

    fn count(&mut self, origin: Origin, entry: &Entry, was_live: bool) {
        match origin {
            Origin::Write if entry.is_tombstone() => self.counters.deletes += u64::from(was_live),
            Origin::Write => self.counters.sets += 1,
            Origin::Handoff | Origin::Repair => self.counters.imports += 1,
        }
    }
}
