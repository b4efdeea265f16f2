//! Which entry leaves first.

use super::entry::Entry;
use super::footprint;
use super::queue::Queue;

/// How a shard chooses what to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// New entries are on probation and leave first; a hit protects an entry, up to half of the memory. Entries read once,
    /// as in a scan, do not push out those read often.
    #[default]
    SegmentedLru,
    /// The least recently used entry leaves first.
    Lru,
}

/// Where an entry is kept. Plain LRU uses probation only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Probation,
    Protected,
}

/// A shard's entries in the order in which they would be evicted.
#[derive(Debug)]
pub(super) struct Segments {
    probation: Queue,
    protected: Queue,
    policy: EvictionPolicy,
    limit: usize,
}

impl Segments {
    pub(super) fn new(memory_limit_bytes: usize, policy: EvictionPolicy) -> Self {
        // Two queues with about two idle steps each: a twelfth of the limit at worst, a fiftieth as a rule.
        let step = memory_limit_bytes / 48 / footprint::ENTRY;
        Self { probation: Queue::new(step), protected: Queue::new(step), policy, limit: memory_limit_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.probation.len() + self.protected.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.probation.bytes() + self.protected.bytes()
    }

    /// Returns an entry without counting this as use.
    pub(super) fn peek(&self, hash: u64) -> Option<&Entry> {
        self.protected.peek(hash).or_else(|| self.probation.peek(hash))
    }

    /// Makes an entry the most recently used one, and returns it.
    pub(super) fn hit(&mut self, hash: u64) -> Option<&Entry> {
        match self.policy {
            EvictionPolicy::Lru => self.probation.refresh(hash),
            EvictionPolicy::SegmentedLru => {
                if self.protected.contains(hash) {
                    return self.protected.refresh(hash);
                }
                let entry = self.probation.remove(hash)?;
                self.insert(Segment::Protected, hash, entry);
                // Its own weight may have sent it back.
                self.peek(hash)
            }
        }
    }

    /// Changes an entry in place.
    pub(super) fn update(&mut self, hash: u64, change: impl FnOnce(&mut Entry)) {
        if self.protected.contains(hash) {
            self.protected.update(hash, change);
        } else {
            self.probation.update(hash, change);
        }
        self.settle();
    }

    /// Inserts an entry whose hash is absent, as the most recently used of its segment.
    pub(super) fn insert(&mut self, segment: Segment, hash: u64, entry: Entry) {
        let room = self.room();
        match segment {
            Segment::Probation => self.probation.push_front(room, hash, entry),
            Segment::Protected => self.protected.push_front(room, hash, entry),
        }
        self.settle();
    }

    /// Removes an entry and says where it was.
    pub(super) fn remove(&mut self, hash: u64) -> Option<(Segment, Entry)> {
        let protected = self.protected.remove(hash).map(|entry| (Segment::Protected, entry));
        let removed = protected.or_else(|| Some((Segment::Probation, self.probation.remove(hash)?)));
        self.settle();
        removed
    }

    /// The hashes of the entries whose key is not to be kept.
    pub(super) fn unwanted(&self, mut keep: impl FnMut(&[u8]) -> bool) -> Vec<u64> {
        let mut unwanted = self.probation.unwanted(&mut keep);
        unwanted.extend(self.protected.unwanted(&mut keep));
        unwanted
    }

    /// Removes the entry that is worth least.
    pub(super) fn evict(&mut self) -> Option<(u64, Entry)> {
        let evicted = self.probation.pop_back().or_else(|| self.protected.pop_back());
        self.settle();
        evicted
    }

    /// Demotes what is too much for the protected segment, and gives idle slots back.
    fn settle(&mut self) {
        let room = self.room();
        while self.protected.bytes() > self.limit / 2 {
            let Some((hash, entry)) = self.protected.pop_back() else {
                break;
            };
            self.probation.push_front(room, hash, entry);
        }
        self.probation.shrink(room);
        self.protected.shrink(room);
    }

    /// Bytes missing to the limit.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes())
    }

    #[cfg(test)]
    pub(super) fn queues(&self) -> [&Queue; 2] {
        [&self.probation, &self.protected]
    }
}
