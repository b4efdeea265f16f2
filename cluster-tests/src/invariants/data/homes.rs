//! Where the copies of an entry are, or come to be.
//!
//! A hint and the owner for whom it is kept have one home between them: the hint goes when it is delivered. It is delivered
//! when its owner has taken the entry in, and whoever keeps it forgets it as soon as it hears so, even if the owner has ended
//! meanwhile (simulator seeds 3678 and 4464). So from then on the owner's memory alone counts. One that is yet to own the
//! slot, or is about to lose it, is given a hint that is kept all the same (seed 1).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quoit_proto_types::Ordinal;

use super::{Rank, Side};

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
        let mut dropped = Vec::new();
        hinted.0.retain(|serial, (before, kept)| {
            let side = sides.iter().find(|side| side.actor.serial == *serial);
            let is_dropped = |side: &Side<'_>| side.data.hints.stats().dropped > *before && !side.covers(key, least);
            let goes = side.is_some_and(is_dropped);
            if goes {
                dropped.push(self.undelivered(key, kept).collect());
            }
            !goes
        });
        for side in sides.iter().filter(|side| !side.has(key, least)) {
            let kept = side.keeps_for(key, least);
            if !kept.is_empty() {
                hinted.0.insert(side.actor.serial, (side.data.hints.stats().dropped, kept));
            }
        }
        let homes = || sides.iter().map(|side| self.of(side, key, least));
        if dropped.is_empty() { 0 } else { pairs(homes().chain(dropped)) - pairs(homes()) }
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
        let me = side.routing().and_then(|routing| routing.me());
        let own = me.map_or(Home::Stranger(side.actor.serial), Home::Member);
        self.undelivered(key, &kept).chain(side.has(key, least).then_some(own)).collect()
    }
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
    use quoit_proto_types::{Hlc, Version};

    use super::*;

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
