//! Where the copies of an entry are, or come to be.
//!
//! A hint and the owner for whom it is kept have one home between them: the hint goes when it is delivered. It is delivered
//! when its owner has taken the entry in, and whoever keeps it forgets it as soon as it hears so, even if the owner has ended
//! meanwhile (simulator seeds 3678 and 4464). So from then on the owner's memory alone counts. One that is yet to own the
//! slot, or is about to lose it, is given a hint that is kept all the same (seed 1).
//!
//! What a former owner has while every owner that is up has it too stands in for no hint that is dropped: that one has offered
//! what it had, and lets go of it in any case, at once when it is to own the slot again (PROTOCOL T5; seed 7429).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quoit_core::routing::Standing;
use quoit_proto_types::Ordinal;

use super::{Rank, Side, slot_of};

/// Which entries of each key have been taken in by owners that go on to be.
#[derive(Debug, Default)]
pub(super) struct Homes(BTreeMap<Bytes, BTreeSet<Kept>>);

/// An entry, and the owner that has it or for whom it is kept.
type Kept = (Ordinal, Rank);

/// Who kept an entry for whom when that was looked at last, and how many hints each had dropped by then.
#[derive(Clone, Debug, Default)]
pub(super) struct Hinted(BTreeMap<u32, (u64, BTreeSet<Kept>)>);

/// Where an entry is, or comes to be when it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    Member(Ordinal),
    /// A process that is no member.
    Stranger(u32),
}

impl Homes {
    /// The member `owner` has taken in an entry.
    pub(super) fn note(&mut self, key: &[u8], taken: Rank, owner: Ordinal) {
        self.0.entry(Bytes::copy_from_slice(key)).or_default().insert((owner, taken));
    }

    /// How many copies there are of an entry or a later one, in different homes and with different processes. Two or more
    /// are the same.
    pub(super) fn copies(&self, sides: &[Side<'_>], key: &[u8], least: Rank) -> usize {
        pairs(sides.iter().map(|side| self.of(side, key, least)))
    }

    /// The same at this moment: a hint counts although its owner has taken it in and ended, as long as it is kept (simulator seed
    /// 22186).
    pub(super) fn copies_now(sides: &[Side<'_>], key: &[u8], least: Rank) -> usize {
        let homes = |side: &Side<'_>| {
            let kept = side.keeps_for(key, least).into_iter().map(|(owner, _)| Home::Member(owner));
            kept.chain(side.has(key, least).then(|| own(side))).collect()
        };
        pairs(sides.iter().map(homes))
    }

    /// Whether a copy goes with the process of `side`, one of `sides`: what it has itself, or keeps while there are no two
    /// copies without that.
    pub(super) fn take_along(&self, side: &Side<'_>, sides: &[Side<'_>], key: &[u8], least: Rank) -> bool {
        let others = sides.iter().filter(|other| other.actor.serial != side.actor.serial);
        let left = pairs(others.map(|other| self.of(other, key, least)));
        side.has(key, least) || left < self.copies(sides, key, least)
    }

    /// Takes note of who keeps an entry for others alone, and returns how many copies went as hints were dropped since the
    /// last time.
    pub(super) fn dropped(&self, hinted: &mut Hinted, sides: &[Side<'_>], key: &[u8], least: Rank) -> usize {
        let mut dropped = BTreeMap::new();
        for (serial, (before, kept)) in &mut hinted.0 {
            let side = sides.iter().find(|side| side.actor.serial == *serial);
            let drops = |side: &&Side<'_>| side.data.hints.stats().dropped > *before && !side.has(key, least);
            let Some(side) = side.filter(drops) else { continue };
            // What it keeps for one owner may go while it keeps the same for another (simulator seeds 28021 and 28202).
            let left: BTreeSet<Ordinal> = side.keeps_for(key, least).into_iter().map(|(owner, _)| owner).collect();
            let gone: BTreeSet<Kept> = kept.extract_if(.., |(owner, _)| !left.contains(owner)).collect();
            dropped.insert(*serial, self.undelivered(key, &gone).collect::<BTreeSet<Home>>());
        }
        hinted.0.retain(|_, (_, kept)| !kept.is_empty());
        for side in sides.iter().filter(|side| !side.has(key, least)) {
            let kept = side.keeps_for(key, least);
            if !kept.is_empty() {
                hinted.0.insert(side.actor.serial, (side.data.hints.stats().dropped, kept));
            }
        }
        if dropped.is_empty() {
            return 0;
        }
        let after = |side: &Side<'_>| self.lasting(side, sides, key, least);
        let before =
            |side| after(side).into_iter().chain(dropped.remove(&side.actor.serial).unwrap_or_default()).collect();
        pairs(sides.iter().map(before)) - pairs(sides.iter().map(after))
    }

    /// Where those of `kept` come to be that their owners have not taken in.
    fn undelivered(&self, key: &[u8], kept: &BTreeSet<Kept>) -> impl Iterator<Item = Home> {
        let delivered = self.0.get(key);
        let is_open = move |kept: &&Kept| delivered.is_none_or(|delivered| !delivered.contains(*kept));
        kept.iter().filter(is_open).map(|(owner, _)| Home::Member(*owner))
    }

    /// The homes of what `side` holds.
    fn of(&self, side: &Side<'_>, key: &[u8], least: Rank) -> BTreeSet<Home> {
        let kept = side.keeps_for(key, least);
        self.undelivered(key, &kept).chain(side.has(key, least).then(|| own(side))).collect()
    }

    /// Those of them that are not about to go.
    fn lasting(&self, side: &Side<'_>, sides: &[Side<'_>], key: &[u8], least: Rank) -> BTreeSet<Home> {
        let mut homes = self.of(side, key, least);
        if is_left_over(side, sides, key, least) {
            homes.remove(&own(side));
        }
        homes
    }
}

/// The home of what `side` holds for itself.
fn own(side: &Side<'_>) -> Home {
    let me = side.routing().and_then(|routing| routing.me());
    me.map_or(Home::Stranger(side.actor.serial), Home::Member)
}

/// Whether `side` owns the slot of `key` no more, by its view, and each owner that is up has the entry, and there is one.
fn is_left_over(side: &Side<'_>, sides: &[Side<'_>], key: &[u8], least: Rank) -> bool {
    let Some(routing) = side.routing() else { return false };
    let slot = slot_of(routing, key);
    if routing.standing(slot) != Standing::Stranger {
        return false;
    }
    let (owners, ring) = (routing.owners(slot).now, &routing.view().fields().ring);
    let owners = ring.iter().filter(|owner| owners.contains(&owner.ordinal));
    let mut living = owners.filter_map(|owner| sides.iter().find(|side| side.is(routing, *owner))).peekable();
    living.peek().is_some() && living.all(|owner| owner.has(key, least))
}

/// How many pairs of a process and a home of its own there are, each in one pair at most; two or more are the same.
fn pairs(homes: impl Iterator<Item = BTreeSet<Home>>) -> usize {
    let held: Vec<BTreeSet<Home>> = homes.filter(|homes| !homes.is_empty()).collect();
    let Some((first, others)) = held.split_first() else { return 0 };
    // Two processes that have anything find two homes, unless both have the same one and no other.
    let one = others.iter().all(|other| other == first) && first.len() == 1;
    if others.is_empty() || one { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use quoit_core::{
        planted::data::DataPlanted,
        routing::Routing,
        store::{Origin, Record},
        time::Timestamp,
    };
    use quoit_proto_types::{
        Boot, Hlc, Instance, Nonce, Stamp, Version, View,
        view::{Liveness, ViewFields},
    };

    use super::{super::rank, *};
    use crate::{
        measure::cost::ready_view,
        sim::{Actor, DataOptions, DataSide, Options},
    };

    /// The members `numbers` of five, of whom 3 and 4 own everything and 4 is down.
    fn processes(numbers: &[u32]) -> Vec<(Actor, DataSide)> {
        let mut fields = ViewFields { copies: 2, ..ready_view(5, &Options::calm(5)).fields().clone() };
        fields.members[3].live = Liveness::Down;
        fields.ring.retain(|owner| [3, 4].contains(&owner.ordinal.value()));
        let view = Arc::new(View::new(fields).unwrap());
        let process = |number: &u32| {
            let (instance, boot) = (Instance::from_random((*number).into()), Boot::new(1));
            let (name, nonce) = (format!("n{number}").parse().unwrap(), Nonce::new((*number).into()));
            let actor = Actor { serial: *number, host: 0, name, instance, boot, nonce };
            let routing = Arc::new(Routing::new(Arc::clone(&view), instance, boot));
            let mut data = DataSide::new(1, DataOptions::calm(2).upkeep, 4 << 20, 1_000_000, DataPlanted::NOTHING);
            data.store.prepare(routing.slots());
            (0..data.store.shards_count()).for_each(|shard| data.store.seal(shard, routing.fence()));
            let wall = data.wall(Timestamp::default());
            data.upkeep.install(Timestamp::default(), wall, &routing, &data.store);
            data.routing = Some(routing);
            (actor, data)
        };
        numbers.iter().map(process).collect()
    }

    /// How many copies go with a hint for member 4 if these have the entry besides.
    fn dropped(holders: &[u32]) -> usize {
        let (key, stamp) = (b"key", Stamp::value(Version { hlc: Hlc::from_millis(5), ..Version::default() }, 0));
        let mut processes = processes(&[1, 2, 3, 5]);
        for (actor, data) in &processes {
            let (routing, wall) = (data.routing.as_ref().unwrap(), data.wall(Timestamp::default()));
            let record = Record::new(key, b"value");
            if holders.contains(&actor.serial) {
                data.store.apply(wall, routing.fence(), Origin::Write, stamp, record).unwrap();
            } else if actor.serial == 1 {
                data.hints.keep(Timestamp::default(), Ordinal::new(4), slot_of(routing, key), stamp, record);
            }
        }
        let (homes, mut hinted) = (Homes::default(), Hinted::default());
        let mut count = |processes: &[(Actor, DataSide)]| {
            let sides: Vec<Side<'_>> = processes.iter().map(|(actor, data)| Side { actor, data }).collect();
            homes.dropped(&mut hinted, &sides, key, rank(&stamp))
        };
        assert_eq!(count(&processes), 0);
        let (_, keeper) = &mut processes[0];
        let later = Timestamp::default().saturating_add(DataOptions::calm(2).upkeep.hint_age + Duration::from_secs(1));
        let wall = keeper.wall(later);
        keeper.upkeep.handle_timeout(later, wall, &keeper.store);
        assert_eq!(keeper.hints.stats().dropped, 1);
        count(&processes)
    }

    #[test]
    fn what_a_former_owner_has_beside_the_owners_stands_in_for_no_hint() {
        assert_eq!(dropped(&[3]), 1, "of two");
        assert_eq!(dropped(&[2]), 1, "of two");
        assert_eq!(dropped(&[2, 5]), 0, "there are two while an owner lacks it");
        assert_eq!(dropped(&[2, 3]), 1, "the owner has it, and so the former one lets go of it");
        assert_eq!(dropped(&[2, 3, 5]), 1, "and another one too");
    }

    #[test]
    fn a_hint_that_its_owner_has_taken_in_is_no_copy() {
        let (key, owner) = (b"key", Ordinal::new(1));
        let rank = |ms| (Version { hlc: Hlc::from_millis(ms), ..Version::default() }, Hlc::MIN);
        let mut homes = Homes::default();
        let open = |homes: &Homes, ms| homes.undelivered(key, &BTreeSet::from([(owner, rank(ms))])).count();
        assert_eq!(open(&homes, 5), 1);
        homes.note(key, rank(5), owner);
        assert_eq!(open(&homes, 5), 0, "even if the owner has ended since");
        // One that came after that, or before and was late, has yet to be delivered; and one of another key or for another.
        assert_eq!([4, 6].map(|ms| open(&homes, ms)), [1, 1]);
        let other = BTreeSet::from([(Ordinal::new(2), rank(5))]);
        assert_eq!(homes.undelivered(key, &other).count(), 1);
        assert_eq!(homes.undelivered(b"other", &BTreeSet::from([(owner, rank(5))])).count(), 1);
    }

    #[test]
    fn a_hint_and_its_owner_are_one_copy() {
        let homes = |lists: &[&[u32]]| {
            let set = |list: &&[u32]| list.iter().map(|owner| Home::Member(Ordinal::new(*owner))).collect();
            pairs(lists.iter().map(set))
        };
        assert_eq!(homes(&[&[], &[]]), 0);
        // The owner, and one or two who keep it for that owner.
        assert_eq!(homes(&[&[1], &[1], &[], &[1]]), 1);
        // One process that has it and keeps it for another: it goes with that process.
        assert_eq!(homes(&[&[1, 2], &[]]), 1);
        assert_eq!(homes(&[&[1, 2], &[1]]), 2);
        assert_eq!(homes(&[&[1], &[2]]), 2);
        assert_eq!(homes(&[&[1, 2], &[1, 2]]), 2);
    }
}
