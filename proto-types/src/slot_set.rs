//! Sets of slots.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::hash::{SlotCount, SlotIndex};

/// Some of a cluster's slots. On the wire, runs of neighbours, as the slots between two vnodes have the same owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet {
    slots: SlotCount,
    words: Vec<u64>,
}

const WORD_BITS: usize = u64::BITS as usize;

impl SlotSet {
    /// None of `slots`.
    pub fn none(slots: SlotCount) -> Self {
        Self { slots, words: vec![0; (slots.count() as usize).div_ceil(WORD_BITS)] }
    }

    /// Those of `slots` that `belongs` says yes to.
    pub fn of(slots: SlotCount, mut belongs: impl FnMut(SlotIndex) -> bool) -> Self {
        let mut set = Self::none(slots);
        slots.slots().filter(|slot| belongs(*slot)).for_each(|slot| {
            set.insert(slot);
        });
        set
    }

    /// Of how many slots it is a set.
    pub fn slots(&self) -> SlotCount {
        self.slots
    }

    /// Whether it has `slot`.
    pub fn contains(&self, slot: SlotIndex) -> bool {
        self.words.get(slot.index() / WORD_BITS).is_some_and(|word| word >> (slot.index() % WORD_BITS) & 1 == 1)
    }

    /// Adds `slot`, if it is one of the cluster's.
    pub fn insert(&mut self, slot: SlotIndex) {
        if slot.index() < self.slots.count() as usize {
            self.words[slot.index() / WORD_BITS] |= 1 << (slot.index() % WORD_BITS);
        }
    }

    /// Takes `slot` out.
    pub fn remove(&mut self, slot: SlotIndex) {
        if let Some(word) = self.words.get_mut(slot.index() / WORD_BITS) {
            *word &= !(1 << (slot.index() % WORD_BITS));
        }
    }

    /// Adds those of `other`, a set of as many slots.
    pub fn extend(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Takes those of `other` out, a set of as many slots.
    pub fn subtract(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= !theirs);
    }

    /// Whether it has any that `other` has, a set of as many slots.
    pub fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(mine, theirs)| mine & theirs != 0)
    }

    /// How many it has.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Those it has, in order.
    pub fn iter(&self) -> impl Iterator<Item = SlotIndex> + '_ {
        (0..)
            .step_by(WORD_BITS)
            .zip(&self.words)
            .flat_map(|(first, word)| bits(*word).map(move |bit| SlotIndex::new(first + bit)))
    }

    /// Takes out and returns its first `count`, or as many as there are.
    #[must_use]
    pub fn take(&mut self, count: usize) -> Self {
        let mut taken = Self::none(self.slots);
        self.iter().take(count).for_each(|slot| taken.insert(slot));
        self.subtract(&taken);
        taken
    }

    /// Each run of neighbours: the slots passed over since the last one, and how many follow one another.
    fn runs(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut end = 0;
        for slot in self.iter() {
            match runs.last_mut() {
                Some((_, length)) if slot.value() == end => *length += 1,
                Some(_) | None => runs.push((slot.value() - end, 1)),
            }
            end = slot.value() + 1;
        }
        runs
    }
}

/// The places of a word's bits that are set, in order.
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then_some(word.trailing_zeros());
        // Without its lowest bit.
        word &= word.wrapping_sub(1);
        lowest
    })
}

impl Serialize for SlotSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.slots, self.runs()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SlotSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slots, runs) = <(SlotCount, Vec<(u32, u32)>)>::deserialize(deserializer)?;
        let mut set = Self::none(slots);
        let mut end = 0_u32;
        for (passed, length) in runs {
            if length == 0 || passed.checked_add(length).is_none_or(|moved| moved > slots.count()) {
                return Err(D::Error::custom("a run of no slots, or of more than there are"));
            }
            let first = end + passed;
            end = first + length;
            if end > slots.count() {
                return Err(D::Error::custom("slots beyond the last"));
            }
            (first..end).map(SlotIndex::new).for_each(|slot| set.insert(slot));
        }
        Ok(set)
    }
}
