//! What was acknowledged, and so what a read may not fall behind.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The versions of every key. Versions count from 1; 0 stands for a key that was never written.
///
/// Writes of one key at once may end in any order, so the versions that a group of overlapping writes made are all right
/// to be read afterwards, and nothing older is once all of the group are acknowledged. A write whose outcome is unknown
/// may take effect whenever it likes: its group never ends, and earlier versions stay right.
///
/// Nobody takes a lock: a loader whose callers wait for one measures itself.
#[derive(Debug)]
pub struct Ledger(Box<[Page]>);

/// What is known of a key.
#[derive(Debug, Default)]
struct Page {
    /// The latest version in the upper half; how many writes are under way in the lower.
    writes: AtomicU64,
    /// The first version of the writes under way. Whoever begins a group says so before he ends his own write, and so before
    /// the group ends.
    group: AtomicU32,
    /// The least version that may be read.
    floor: AtomicU32,
}

/// One more version, and one more write under way.
const BEGUN: u64 = 1 << 32 | 1;

/// What is to be said of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The value of the key, and new enough.
    Right,
    /// Nothing was there, and nothing was ever acknowledged.
    Miss,
    /// Nothing was there, though a write was acknowledged.
    Missing,
    /// The value of the key before a write that was acknowledged.
    Stale,
    /// The value of another key, or of a version that nobody wrote.
    Wrong,
    /// No value of this run: a byte of it is not as it was written.
    Corrupt,
}

impl Verdict {
    /// Of a key without a value, when it was asked for at this floor.
    pub(super) fn of_absence(floor: u32) -> Self {
        if floor == 0 { Self::Miss } else { Self::Missing }
    }
}

impl Ledger {
    /// Of so many keys, none of which was written.
    pub fn new(keys: u32) -> Self {
        Self((0..keys).map(|_| Page::default()).collect())
    }

    /// The version that a write which begins makes.
    pub fn begin(&self, key: u32) -> u32 {
        let page = self.page(key);
        let (before, under_way) = halves(page.writes.fetch_add(BEGUN, Ordering::AcqRel));
        let version = before + 1;
        if under_way == 0 {
            page.group.store(version, Ordering::Relaxed);
        }
        version
    }

    /// A write was acknowledged.
    pub fn acknowledge(&self, key: u32) {
        let page = self.page(key);
        let (latest, under_way) = halves(page.writes.fetch_sub(1, Ordering::AcqRel));
        debug_assert!(under_way > 0, "a write ends once");
        let group = page.group.load(Ordering::Relaxed);
        // If another group has begun just now, the floor is lower than it could be until that one ends.
        if under_way == 1 && group <= latest {
            page.floor.fetch_max(group, Ordering::Release);
        }
    }

    /// The least version that a read which begins may find.
    pub fn floor(&self, key: u32) -> u32 {
        self.page(key).floor.load(Ordering::Acquire)
    }

    pub(super) fn judge(&self, key: u32, floor: u32, version: u32) -> Verdict {
        let (latest, _) = halves(self.page(key).writes.load(Ordering::Acquire));
        match version {
            version if version == 0 || version > latest => Verdict::Wrong,
            version if version < floor => Verdict::Stale,
            _ => Verdict::Right,
        }
    }

    fn page(&self, key: u32) -> &Page {
        &self.0[key as usize]
    }
}

/// The latest version, and how many writes are under way.
fn halves(writes: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = writes.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}
