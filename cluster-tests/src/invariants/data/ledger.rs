//! Every write that was begun, and what became of the copies of those that were acknowledged.
//!
//! **What is promised** (PROTOCOL 9.6). A write that was acknowledged at a level of two copies, while two nodes held it, survives
//! if at most one of them loses its memory before all owners hold it (A3); another one, if the node that held it does not (A4). When all owners
//! in force hold it, the count begins anew. A later entry of the key stands for an earlier one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
};

use bytes::Bytes;
use quoit_core::time::Wall;
use quoit_proto_types::{EntryKind, Hlc, Ordinal, Stamp, Version, WriteLevel};

use super::{
    Rank, Side,
    homes::{Hinted, Homes},
    rank, slot_of,
};
use crate::{
    invariants::{Ledger, Violation},
    sim::Actor,
};

/// What a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value.
    Set,
    /// No value.
    Delete,
    /// Another expiry.
    Touch,
}

/// A write that was begun.
#[derive(Clone, Debug)]
pub struct Written {
    /// Names it. It is the value, too.
    pub token: u64,
    pub(super) key: Bytes,
    pub(super) kind: Kind,
    pub(super) level: WriteLevel,
    /// That of a touch is known when it is acknowledged.
    pub(super) version: Option<Version>,
    pub(super) touched: Hlc,
}

impl Written {
    /// Of a value or of none, as `stamp` says.
    pub fn set(token: u64, key: &Bytes, level: WriteLevel, stamp: Stamp) -> Self {
        let kind = match stamp.kind {
            EntryKind::Value => Kind::Set,
            EntryKind::Tombstone => Kind::Delete,
        };
        let (version, touched) = (Some(stamp.version), stamp.touched);
        Self { token, key: key.clone(), kind, level, version, touched }
    }

    /// Of another expiry.
    pub fn touch(token: u64, key: &Bytes, level: WriteLevel, touched: Hlc) -> Self {
        Self { token, key: key.clone(), kind: Kind::Touch, level, version: None, touched }
    }
}

/// What is known of the copies of an acknowledged write.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) token: u64,
    pub(super) rank: Rank,
    /// How many holders may lose their memory.
    spare: usize,
    lost: usize,
    hinted: Hinted,
    /// Whether at some moment no owner held it: then owners may have collected what is older than a grace (A5).
    pub(super) orphaned: bool,
    settled: bool,
}

/// What the clients of a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Writes that were begun.
    pub begun: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Of those, writes of which nothing is promised, as too many copies went.
    pub excused: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.begun += other.begun;
        self.acknowledged += other.acknowledged;
        self.excused += other.excused;
    }
}

#[derive(Debug, Default)]
pub(super) struct Writes {
    /// By token.
    all: BTreeMap<u64, Written>,
    by_key: BTreeMap<Bytes, Vec<u64>>,
    by_version: BTreeMap<Version, u64>,
    promises: BTreeMap<Bytes, Vec<Promise>>,
    /// Of each key, from when on nothing may be found by whoever took in an entry of this place.
    ends_of_life: BTreeMap<Bytes, BTreeMap<Rank, u64>>,
    homes: Homes,
    /// The latest that any wall clock has shown.
    wall: Wall,
    /// Processes that have ended, and clocks that have jumped.
    disturbances: u64,
    disturbances_at_begin: BTreeMap<u64, u64>,
    totals: Totals,
}

impl Writes {
    pub(super) fn begins(&mut self, written: Written, by: &Actor) -> Result<(), Violation> {
        if let Some(version) = written.version {
            if let Some(other) = self.by_version.insert(version, written.token) {
                let what = format!("{by} gave {version} to {} and to {other}", written.token);
                return Err(Violation::new("versions are issued once", what));
            }
            let foreign = version.boot != by.boot;
            if foreign {
                return Err(Violation::new("versions are issued once", format!("{by} gave out {version}")));
            }
        }
        self.totals.begun += 1;
        self.disturbances_at_begin.insert(written.token, self.disturbances);
        self.by_key.entry(written.key.clone()).or_default().push(written.token);
        self.all.insert(written.token, written);
        Ok(())
    }

    /// Notes that a write was acknowledged, and returns its place.
    pub(super) fn acknowledged(&mut self, token: u64, version: Version, sides: &[Side<'_>]) -> Result<Rank, Violation> {
        let Some(write) = self.all.get_mut(&token) else {
            return Err(Violation::new("acknowledged is what was written", format!("{token} was never begun")));
        };
        if write.version.is_some_and(|known| known != version) {
            let what = format!("{token} is {:?} and was acknowledged as {version}", write.version);
            return Err(Violation::new("acknowledged is what was written", what));
        }
        write.version = Some(version);
        let (rank, key) = ((version, write.touched), write.key.clone());
        self.totals.acknowledged += 1;
        // One copy is promised of what was written at these levels. That there are more may be a hint for the one who has it,
        // which goes when it is delivered.
        let promised = if matches!(write.level, WriteLevel::One | WriteLevel::Any) { 1 } else { 2 };
        if let Some(spare) = self.homes.copies(sides, &key, rank).min(promised).checked_sub(1) {
            let mut hinted = Hinted::default();
            self.homes.dropped(&mut hinted, sides, &key, rank);
            let promise = Promise { token, rank, spare, lost: 0, hinted, orphaned: false, settled: false };
            self.promises.entry(key).or_default().push(promise);
        } else {
            self.totals.excused += 1;
        }
        Ok(rank)
    }

    /// Looks at the copies of every write of which something is promised.
    pub(super) fn look(&mut self, ledger: &Ledger, sides: &[Side<'_>]) {
        let Some(latest) = ledger.latest() else { return };
        // Whoever goes by the view knows its rings; without anybody who does nothing is settled.
        let routing = sides.iter().filter_map(Side::routing).find(|routing| routing.view() == latest);
        for (key, promises) in &mut self.promises {
            let owners: Option<Vec<&Side<'_>>> = routing.and_then(|routing| {
                let ring = &routing.view().fields().ring;
                let named = |ordinal| ring.iter().find(|owner| owner.ordinal == ordinal).copied();
                let of = |ordinal| named(ordinal).and_then(|owner| sides.iter().find(|side| side.is(routing, owner)));
                routing.owners(slot_of(routing, key)).now.iter().map(|ordinal| of(*ordinal)).collect()
            });
            for promise in promises.iter_mut() {
                let is_held = |side: &&Side<'_>| side.has(key, promise.rank);
                if let Some(owners) = owners.as_ref().filter(|owners| !owners.is_empty()) {
                    let holding = owners.iter().filter(|side| is_held(side)).count();
                    // What all owners have held, and no memory was lost since, is theirs to keep or to hide for ever.
                    promise.orphaned |= holding == 0 && !promise.settled;
                    // What no owner has, and one has collected: it was too late (A5; simulator seed 100662).
                    let is_collected = |side: &&Side<'_>| is_held(side) && side.entry(key).is_none();
                    if promise.orphaned && !promise.settled && owners.iter().any(is_collected) {
                        promise.lost = promise.spare + 1;
                    } else if holding == owners.len() {
                        (promise.lost, promise.settled) = (0, true);
                        promise.spare = owners.len().min(2) - 1;
                        promise.hinted = Hinted::default();
                    }
                } else {
                    promise.orphaned |= owners.is_none();
                }
                promise.lost += self.homes.dropped(&mut promise.hinted, sides, key, promise.rank);
            }
            // A later entry that all owners hold stands for every earlier one.
            let settled = promises.iter().filter(|promise| promise.settled).map(|promise| promise.rank).max();
            promises.retain(|promise| settled.is_none_or(|settled| promise.rank >= settled));
        }
        self.excuse();
    }

    /// A process ends, with what it held.
    pub(super) fn ended(&mut self, serial: u32, sides: &[Side<'_>]) {
        self.disturbances += 1;
        let Some(side) = sides.iter().find(|side| side.actor.serial == serial) else { return };
        for (key, promises) in &mut self.promises {
            for promise in promises.iter_mut().filter(|promise| side.covers(key, promise.rank)) {
                promise.settled &= !side.has(key, promise.rank);
                promise.lost += usize::from(self.homes.take_along(side, sides, key, promise.rank));
            }
        }
        self.excuse();
    }

    /// A process lets go of slots that it was fetching, as the change was given up: what it was written is gone.
    pub(super) fn gave_up(&mut self, side: &Side<'_>, is_given_up: impl Fn(&[u8]) -> bool) {
        for (key, promises) in self.promises.iter_mut().filter(|(key, _)| is_given_up(key)) {
            for promise in promises.iter_mut().filter(|promise| side.has(key, promise.rank)) {
                promise.lost += 1;
            }
        }
        self.excuse();
    }

    /// A process, one of `sides`, is given slots again of which it had something left: they start empty (PROTOCOL T5). What it
    /// had not offered to anybody yet is gone (simulator seed 208769).
    pub(super) fn emptied(&mut self, side: &Side<'_>, sides: &[Side<'_>], is_emptied: impl Fn(&[u8]) -> bool) {
        for (key, promises) in self.promises.iter_mut().filter(|(key, _)| is_emptied(key)) {
            for promise in promises.iter_mut().filter(|promise| side.has(key, promise.rank)) {
                let is_other = |other: &&Side<'_>| other.actor.serial != side.actor.serial;
                if !sides.iter().filter(is_other).any(|other| other.covers(key, promise.rank)) {
                    promise.lost = promise.spare + 1;
                }
            }
        }
        self.excuse();
    }

    fn excuse(&mut self) {
        for promises in self.promises.values_mut() {
            let before = promises.len();
            promises.retain(|promise| promise.lost <= promise.spare);
            self.totals.excused += (before - promises.len()) as u64;
        }
    }

    /// Some clock jumps: for its process a time has passed in which it may have let go of hints (simulator seed 28944).
    pub(super) fn jumped(&mut self) {
        self.disturbances += 1;
    }

    /// The member `owner` took in an entry that it owns, and goes on to.
    pub(super) fn owned(&mut self, key: &[u8], stamp: &Stamp, owner: Ordinal) {
        self.homes.note(key, rank(stamp), owner);
    }

    pub(super) fn note_wall(&mut self, wall: Wall) {
        self.wall = self.wall.max(wall);
    }

    /// What of each key must be there.
    pub(super) fn promises(&self) -> impl Iterator<Item = (&Bytes, &Promise)> {
        self.promises.iter().flat_map(|(key, promises)| promises.iter().map(move |promise| (key, promise)))
    }

    pub(super) fn keys(&self) -> BTreeSet<&Bytes> {
        self.by_key.keys().collect()
    }

    pub(super) fn get(&self, token: u64) -> Option<&Written> {
        self.all.get(&token)
    }

    /// The write that gave a value its version.
    pub(super) fn of_version(&self, version: Version) -> Option<&Written> {
        self.by_version.get(&version).and_then(|token| self.all.get(token))
    }

    /// Whether no process has ended, and no clock has jumped, since a write was begun.
    pub(super) fn is_undisturbed(&self, token: u64) -> bool {
        self.disturbances_at_begin.get(&token) == Some(&self.disturbances)
    }

    /// The latest that any wall clock has shown.
    pub(super) fn wall(&self) -> Wall {
        self.wall
    }

    /// Notes that some replica took in an entry. Its place is known for certain here alone: a coordinator stamps a touch later
    /// than it was asked to if it finds the key touched later than that by a faster clock.
    pub(super) fn taken_in(&mut self, key: &[u8], stamp: &Stamp) {
        let ends_at_ms = match stamp.kind {
            EntryKind::Tombstone => 0,
            EntryKind::Value if stamp.expires_at_ms == 0 => return,
            EntryKind::Value => stamp.expires_at_ms,
        };
        let ends = self.ends_of_life.entry(Bytes::copy_from_slice(key)).or_default();
        // Two touches that found the same may have given their entries the same place.
        ends.entry(rank(stamp)).and_modify(|known| *known = ends_at_ms.min(*known)).or_insert(ends_at_ms);
    }

    /// Whether nothing may be found of a key of which there was an entry of this place: something not earlier has been
    /// deleted, or has expired by some clock.
    pub(super) fn may_be_absent(&self, key: &Bytes, least: Rank) -> bool {
        let now_ms = self.wall.as_millis();
        self.ends_of_life.get(key).is_some_and(|ends| ends.range(least..).any(|(_, ends_at_ms)| *ends_at_ms <= now_ms))
    }

    /// The latest write of a key that a majority of the owners was said to hold.
    pub(super) fn quorum_written(&self, key: &Bytes) -> Option<Rank> {
        let promises = self.promises.get(key)?;
        let is_quorum = |promise: &&Promise| {
            let level = self.all.get(&promise.token).map(|write| write.level);
            matches!(level, Some(WriteLevel::Quorum | WriteLevel::All))
        };
        promises.iter().filter(is_quorum).map(|promise| promise.rank).max()
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Bytes = Bytes::from_static(b"key");

    fn version() -> Version {
        Version { hlc: Hlc::from_millis(1_000), ..Version::default() }
    }

    #[test]
    fn an_expiry_counts_at_the_place_that_its_entry_was_given() {
        let touched = |millis, expires_at_ms| Stamp {
            touched: Hlc::from_millis(millis),
            expires_at_ms,
            ..Stamp::value(version(), 0)
        };
        let mut writes = Writes::default();
        writes.note_wall(Wall::from_millis(5_000));
        writes.taken_in(&KEY, &touched(3_000, 0));
        // The next touch was asked for at 2,000, by a slower clock, and so it is stamped as later than what it found.
        let raised = Stamp { touched: Hlc::from_millis(3_000).next(), ..touched(0, 4_500) };
        assert!(!writes.may_be_absent(&KEY, (version(), Hlc::from_millis(3_000))), "nothing has ended it");
        writes.taken_in(&KEY, &raised);
        assert!(writes.may_be_absent(&KEY, (version(), Hlc::from_millis(3_000))));
        // What came after that is not over for it.
        assert!(!writes.may_be_absent(&KEY, (version(), raised.touched.next())));
    }

    #[test]
    fn what_nobody_took_in_ends_nothing() {
        let mut writes = Writes::default();
        let actor = Actor {
            serial: 0,
            host: 0,
            name: "n1".parse().unwrap(),
            instance: quoit_proto_types::Instance::from_random(1),
            boot: Default::default(),
            nonce: Default::default(),
        };
        let stamp = Stamp::tombstone(version());
        writes.begins(Written::set(1, &KEY, WriteLevel::Two, stamp), &actor).unwrap();
        assert!(!writes.may_be_absent(&KEY, (version(), Hlc::MIN)));
        writes.taken_in(&KEY, &stamp);
        assert!(writes.may_be_absent(&KEY, (version(), Hlc::MIN)));
    }
}
