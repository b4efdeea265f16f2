//! Which entries were evicted lately, in two bytes each.

/// Marks of hashes that were noted lately: one place for each of so many hashes, and in each place the mark of the hash that
/// was noted there last. So a hash is forgotten by chance, on average once as many others have been noted as there are places.
/// One in 32,768 of those that were never noted is taken for one that was, which costs next to nothing.
#[derive(Debug, Default)]
pub(super) struct Remembered(Box<[u16]>);

impl Remembered {
    /// For some of as many entries as a cache holds: those that come back later than that are better taken for new.
    pub(super) fn for_entries(entries: usize) -> Self {
        Self(vec![0; entries * 2 / 5].into())
    }

    pub(super) fn note(&mut self, hash: u64) {
        let mark = mark_of(hash);
        if let Some(place) = self.place(hash) {
            *place = mark;
        }
    }

    /// Whether `hash` was noted lately. It is forgotten then.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let mark = mark_of(hash);
        match self.place(hash) {
            Some(place) if *place == mark => {
                *place = 0;
                true
            }
            Some(_) | None => false,
        }
    }

    /// By the lowest bits, which are secret and the same for no shard's entries.
    fn place(&mut self, hash: u64) -> Option<&mut u16> {
        let at = ((hash & LOWEST) * self.0.len() as u64) >> LOWEST.count_ones();
        self.0.get_mut(usize::try_from(at).ok()?)
    }
}

/// Never that of an empty place.
fn mark_of(hash: u64) -> u16 {
    let [.., low, high] = hash.to_le_bytes();
    u16::from_le_bytes([low, high]) | 1
}

const LOWEST: u64 = (1 << 20) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> u64 {
        (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn what_was_noted_lately_is_known_once() {
        let mut remembered = Remembered::for_entries(10_000);
        (0..100_000).for_each(|key| remembered.note(hash(key)));
        let newest = (99_000..100_000).filter(|key| remembered.take(hash(*key))).count();
        assert!(newest > 800, "{newest}");
        assert_eq!((99_000..100_000).filter(|key| remembered.take(hash(*key))).count(), 0);
        let oldest = (0..50_000).filter(|key| remembered.take(hash(*key))).count();
        assert!(oldest < 20, "{oldest}");
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let mut remembered = Remembered::default();
        remembered.note(7);
        assert!(!remembered.take(7));
    }
}
