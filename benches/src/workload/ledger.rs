//! What was acknowledged, and so what a read may not fall behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The versions of every key. Versions count from 1; 0 stands for a key that was never written.
///
/// Writes of one key at once may end in any order, so the versions that a group of overlapping writes made are all right
/// to be read afterwards, and nothing older is once all of the group are acknowledged. A write whose outcome is unknown
/// may take effect whenever it likes: its group never ends, and earlier versions stay right.
#[derive(Debug)]
pub struct Ledger(Box<[Mutex<Vec<Page>>]>);

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    issued: u32,
    /// The least version that may be read.
    floor: u32,
    /// The first version of the writes under way.
    group: u32,
    open: u32,
}

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
        let pages = (keys as usize).div_ceil(STRIPES);
        Self((0..STRIPES).map(|_| Mutex::new(vec![Page::default(); pages])).collect())
    }

    /// The version that a write which begins makes.
    pub fn begin(&self, key: u32) -> u32 {
        self.with(key, |page| {
            page.issued += 1;
            if page.open == 0 {
                page.group = page.issued;
            }
            page.open += 1;
            page.issued
        })
    }

    /// A write was acknowledged.
    pub fn acknowledge(&self, key: u32) {
        self.with(key, |page| {
            page.open -= 1;
            if page.open == 0 {
                page.floor = page.group;
            }
        });
    }

    /// The least version that a read which begins may find.
    pub fn floor(&self, key: u32) -> u32 {
        self.with(key, |page| page.floor)
    }

    pub(super) fn judge(&self, key: u32, floor: u32, version: u32) -> Verdict {
        let issued = self.with(key, |page| page.issued);
        match version {
            version if version == 0 || version > issued => Verdict::Wrong,
            version if version < floor => Verdict::Stale,
            _ => Verdict::Right,
        }
    }

    fn with<R>(&self, key: u32, change: impl FnOnce(&mut Page) -> R) -> R {
        let mut stripe = self.stripe(key as usize % STRIPES);
        change(&mut stripe[key as usize / STRIPES])
    }

    fn stripe(&self, index: usize) -> MutexGuard<'_, Vec<Page>> {
        self.0[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many that callers rarely meet.
const STRIPES: usize = 256;
