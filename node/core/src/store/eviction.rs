//! Which entry leaves first.
//!
//! Segmented LRU keeps what was read once more since it came, and gives what is new a tenth of the memory to be read in. A read
//! moves nothing, but leaves a mark; what is next to leave and has one moves then (the second chance of Corbató, 1968; "lazy
//! promotion" in Yang et al., "FIFO can be better than LRU", HotOS 2023). An entry's neighbours in a list are anywhere in memory:
//! to move it at each read would touch as much of it again as finding it does.
//!
//! What was evicted from there and comes back soon is protected at once, by a small memory of what left (as 2Q has it: Johnson and
//! Shasha, VLDB 1994; and S3-FIFO: Yang et al., SOSP 2023). That is within a point of what admission by frequency (W-TinyLFU,
//! Einziger et al., 2017) reaches where popularity does not change, far better where it does, and costs a hit nothing and an
//! entry one byte. What is left are loops longer than what fits, of which LRU keeps nothing: for them
//! [`trials`](super::trials) find out when it is better to hold on to what there is.

use super::entry::Entry;
use super::footprint;
use super::queue::Queue;
use super::remembered::Remembered;
use super::trials::{Stance, Trials};

/// How a shard chooses what to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// New entries are on probation and leave first, unless they were read: those are protected instead, and so are those that
    /// come back soon after eviction, up to nine tenths of the memory. Entries read once, as in a scan, do not push out those read often, nor does a loop that is
    /// longer than what fits push out all of itself.
    #[default]
    SegmentedLru,
    /// The least recently used entry leaves first.
    Lru,
}

/// Where an entry is kept. Plain LRU uses probation only for values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Probation,
    Protected,
    /// Tombstones, in the order in which they came.
    Graves,
}

/// Tombstones may take one part in so many of a shard's memory. The rest of it is for values, and they leave for lack of
/// room before tombstones do.
pub(super) const GRAVES_SHARE: usize = 8;

/// Entries that are spared for their marks in one step, before one leaves all the same: that takes some tenths of a millisecond.
/// If all have been used, nobody waits until all have been looked at.
pub(super) const CHANCES_MAX: usize = 1024;

/// Values from which on there are trials: with fewer, a sample of them says nothing.
const TRIED_VALUES_MIN: usize = 1024;

/// A shard's entries in the order in which they would be evicted.
#[derive(Debug)]
pub(super) struct Segments {
    probation: Queue,
    protected: Queue,
    graves: Queue,
    policy: EvictionPolicy,
    limit: usize,
    stance: Stance,
    history: History,
}

/// What is known beyond what is held, from the first eviction on.
#[derive(Debug, Default)]
struct History {
    /// Made for a shard of so many values.
    values: usize,
    remembered: Remembered,
    trials: Option<Box<Trials>>,
}

impl Segments {
    pub(super) fn new(memory_limit_bytes: usize, policy: EvictionPolicy) -> Self {
        // Two queues with about two idle steps each: a twelfth of the limit at worst, a fiftieth as a rule. The third has as
        // much less of them as it holds less.
        let step = memory_limit_bytes / 48 / footprint::ENTRY;
        Self {
            probation: Queue::new(step),
            protected: Queue::new(step),
            graves: Queue::new(step / GRAVES_SHARE),
            policy,
            limit: memory_limit_bytes,
            stance: Stance::default(),
            history: History::default(),
        }
    }

    /// How many values there are.
    pub(super) fn values(&self) -> usize {
        self.probation.len() + self.protected.len()
    }

    /// How many tombstones there are.
    pub(super) fn graves(&self) -> usize {
        self.graves.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.probation.bytes() + self.protected.bytes() + self.graves.bytes()
    }

    /// Whether tombstones take more than their share.
    pub(super) fn graves_overflow(&self) -> bool {
        self.graves.bytes() > self.limit / GRAVES_SHARE
    }

    /// Returns an entry without counting this as use.
    pub(super) fn peek(&self, hash: u64) -> Option<&Entry> {
        self.find(hash).map(|(_, entry)| entry)
    }

    /// The same, and where it is.
    pub(super) fn find(&self, hash: u64) -> Option<(Segment, &Entry)> {
        let queues = [
            (Segment::Protected, &self.protected),
            (Segment::Probation, &self.probation),
            (Segment::Graves, &self.graves),
        ];
        queues.into_iter().find_map(|(segment, queue)| Some((segment, queue.peek(hash)?)))
    }

    /// A value was asked for, and was held or not.
    pub(super) fn note_read(&mut self, hash: u64, is_held: bool) {
        if let Some(trials) = self.history.trials.as_mut().filter(|_| Trials::samples(hash))
            && let Some(better) = trials.read(hash, is_held, self.stance)
        {
            self.stance = better;
        }
    }

    /// Takes note that a value in `segment` has been used which was not marked yet.
    pub(super) fn hit(&mut self, segment: Segment, hash: u64) {
        match self.policy {
            EvictionPolicy::SegmentedLru => self.queue(segment).mark_used(hash),
            EvictionPolicy::Lru => self.queue(segment).refresh(hash),
        }
    }

    /// Inserts an entry whose hash is absent, at the front of its segment.
    pub(super) fn insert(&mut self, segment: Segment, hash: u64, entry: Entry) {
        let room = match segment {
            Segment::Probation | Segment::Protected => self.room(),
            Segment::Graves => self.room_for_graves(),
        };
        self.queue(segment).push_front(room, hash, entry);
        self.settle();
    }

    /// Puts an entry in the place of the value of its hash in `segment`, which is returned. That is a use of what is protected;
    /// on probation it stays as used as the value was: writing alone does not protect. Gives it back if there is none.
    pub(super) fn replace(&mut self, segment: Segment, hash: u64, entry: Entry) -> Result<Entry, Entry> {
        let (is_lru, is_protected) = (self.policy == EvictionPolicy::Lru, segment == Segment::Protected);
        let queue = self.queue(segment);
        let replaced = queue.replace(hash, entry, is_protected)?;
        if is_lru {
            queue.refresh(hash);
        }
        self.note_store(hash);
        self.settle();
        Ok(replaced)
    }

    /// Removes an entry and says where it was.
    pub(super) fn remove(&mut self, hash: u64) -> Option<(Segment, Entry)> {
        let removed = [Segment::Protected, Segment::Probation, Segment::Graves]
            .into_iter()
            .find_map(|segment| Some((segment, self.queue(segment).remove(hash)?)));
        self.settle();
        removed
    }

    /// Every entry, in no order that matters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.probation.iter().chain(self.protected.iter()).chain(self.graves.iter())
    }

    /// Every tombstone.
    pub(super) fn iter_graves(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.graves.iter()
    }

    /// Removes the value that is worth least.
    pub(super) fn evict(&mut self) -> Option<(u64, Entry)> {
        let mut chances = CHANCES_MAX;
        while chances > 0
            && let Some((hash, entry)) = self.probation.pop_back_used()
        {
            chances -= 1;
            self.protected.push_front(self.room(), hash, entry);
            self.settle_with(&mut chances);
        }
        while self.probation.len() == 0 && chances > 0 && self.protected.spare_back() {
            chances -= 1;
        }
        let evicted = match self.probation.pop_back() {
            Some((hash, entry)) => {
                self.history_of_values().remembered.note(hash);
                Some((hash, entry))
            }
            None => self.protected.pop_back(),
        };
        self.settle_with(&mut chances);
        evicted
    }

    /// Removes the oldest tombstone.
    pub(super) fn exhume(&mut self) -> Option<(u64, Entry)> {
        let exhumed = self.graves.pop_back();
        self.settle();
        exhumed
    }

    /// A value is stored, anew or in the place of another.
    pub(super) fn note_store(&mut self, hash: u64) {
        if let Some(trials) = self.history.trials.as_mut().filter(|_| Trials::samples(hash)) {
            trials.store(hash);
        }
    }

    /// Where a value goes that takes nobody's place.
    pub(super) fn received(&mut self, hash: u64) -> Segment {
        self.note_store(hash);
        match (self.policy, self.stance) {
            (EvictionPolicy::SegmentedLru, Stance::Welcoming) if self.history.remembered.take(hash) => {
                return Segment::Protected;
            }
            (EvictionPolicy::SegmentedLru, Stance::Holding) => self.hold(),
            (EvictionPolicy::SegmentedLru, Stance::Welcoming) | (EvictionPolicy::Lru, _) => {}
        }
        Segment::Probation
    }

    /// Protects the oldest of those on probation while there is room: two for each that comes, so that nobody waits for all.
    fn hold(&mut self) {
        let (room, protected_max) = (self.room(), self.stance.protected(self.limit));
        for _ in 0..2 {
            if self.probation.bytes() > self.limit - protected_max
                && self.protected.bytes() + self.probation.bytes() / self.probation.len().max(1) < protected_max
                && let Some((hash, entry)) = self.probation.pop_back()
            {
                self.protected.push_front(room, hash, entry);
            }
        }
    }

    /// The history, made anew if it is for a shard with less than half or more than twice as many values. It is not kept for
    /// plain LRU.
    fn history_of_values(&mut self) -> &mut History {
        let values = self.values();
        let fits = (self.history.values / 2..=self.history.values * 2).contains(&values);
        if self.policy == EvictionPolicy::SegmentedLru && !fits {
            let sampled = || self.iter().filter(|(hash, _)| Trials::samples(*hash)).count();
            let trials = (values >= TRIED_VALUES_MIN).then(|| Box::new(Trials::new(sampled())));
            self.history = History { values, remembered: Remembered::for_entries(values), trials };
            self.stance = Stance::default();
        }
        &mut self.history
    }

    /// Demotes what is too much for the protected segment, and gives idle slots back.
    fn settle(&mut self) {
        self.settle_with(&mut { CHANCES_MAX });
    }

    /// The same, sparing no more than so many.
    fn settle_with(&mut self, chances: &mut usize) {
        let (room, protected_max) = (self.room(), self.stance.protected(self.limit));
        while self.protected.bytes() > protected_max {
            if *chances > 0 && self.protected.spare_back() {
                *chances -= 1;
            } else if let Some((hash, entry)) = self.protected.pop_back() {
                self.probation.push_front(room, hash, entry);
            } else {
                break;
            }
        }
        self.probation.shrink(room);
        self.protected.shrink(room);
        let room = self.room_for_graves();
        self.graves.shrink(room);
    }

    /// Bytes missing to the limit.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes())
    }

    /// Bytes missing to the limit of tombstones.
    fn room_for_graves(&self) -> usize {
        (self.limit / GRAVES_SHARE).saturating_sub(self.graves.bytes())
    }

    fn queue(&mut self, segment: Segment) -> &mut Queue {
        match segment {
            Segment::Probation => &mut self.probation,
            Segment::Protected => &mut self.protected,
            Segment::Graves => &mut self.graves,
        }
    }

    #[cfg(test)]
    pub(super) fn queues(&self) -> [&Queue; 3] {
        [&self.probation, &self.protected, &self.graves]
    }
}
