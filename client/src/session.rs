//! What a client has seen, so that the cluster never shows it less again.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use quoit_proto_types::{Hlc, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Parts of the memory, each behind a lock of its own, so that callers on different threads seldom meet.
const PARTS: usize = 16;
/// Sets of a part, at most: a power of two, as their number always is.
const SETS: usize = 128;
const _: () = assert!(SETS.is_power_of_two());
/// Keys of a set. So 14,336 keys are remembered at most, in less than half a megabyte: more than what is read again right
/// after it was written in any program that does not mean to write everything first.
const WAYS: usize = 7;

/// Whether a session remembers which version of a key it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remember {
    /// It does, for the keys that it used last.
    Versions,
    /// It does not.
    Nothing,
}

/// What one session has seen. Clones of a client share it.
#[derive(Debug)]
pub(crate) struct Session {
    /// The latest moment in an answer. Relaxed: whoever waited for an answer sees what it left here.
    moment: AtomicU64,
    /// Keys are known by a hash with a secret of this session, so that nobody outside can make two of them one. If two are one
    /// by chance, the older of them is asked of more nodes than it need be.
    seed: u64,
    /// None of them if nothing is to be remembered.
    parts: Vec<Mutex<Versions>>,
}

/// The key of a request, as the session knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey(u64);

/// A key, and the latest version of it that the session has seen, as far as it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    key: SessionKey,
    pub(crate) version: Option<Version>,
}

impl Session {
    /// One that has seen nothing.
    pub(crate) fn new(remember: Remember) -> Self {
        let parts = match remember {
            Remember::Versions => PARTS,
            Remember::Nothing => 0,
        };
        let parts = (0..parts).map(|_| Mutex::default()).collect();
        Self { moment: AtomicU64::new(Hlc::MIN.value()), seed: rand::random(), parts }
    }

    /// Another one of the same kind that has seen nothing.
    pub(crate) fn another(&self) -> Self {
        Self::new(if self.parts.is_empty() { Remember::Nothing } else { Remember::Versions })
    }

    /// How the session knows `key`.
    pub(crate) fn key(&self, key: &[u8]) -> SessionKey {
        SessionKey(if self.parts.is_empty() { 0 } else { xxh3_64_with_seed(key, self.seed) })
    }

    /// The latest moment that the session has seen: what it writes is later.
    pub(crate) fn moment(&self) -> Hlc {
        Hlc::new(self.moment.load(Ordering::Relaxed))
    }

    /// What the session has seen of `key`.
    pub(crate) fn seen(&self, key: &[u8]) -> Seen {
        let key = self.key(key);
        Seen { key, version: self.part(key).and_then(|mut part| part.version(key)) }
    }

    /// Takes note that the key of which so much had been `seen` is there in this version. As a rule it is the same as before, and
    /// there is nothing to note: that spares half of what remembering costs a read.
    pub(crate) fn found(&self, seen: Seen, version: Version) {
        if seen.version != Some(version) {
            self.note(seen.key, version);
        } else if self.moment() < version.hlc {
            // It was seen, and its moment forgotten since.
            self.heed(version.hlc);
        }
    }

    /// Takes note that `key` has been seen in this version.
    pub(crate) fn note(&self, key: SessionKey, version: Version) {
        self.heed(version.hlc);
        if let Some(mut part) = self.part(key) {
            part.note(key, version);
        }
    }

    fn heed(&self, moment: Hlc) {
        self.moment.fetch_max(moment.value(), Ordering::Relaxed);
    }

    /// Forgets the latest moment if it still is `moment`, which nodes refuse to go beyond: it comes from a clock far ahead, and
    /// would keep the session from writing anything until the other clocks are there.
    pub(crate) fn forget_moment(&self, moment: Hlc) {
        // If it is another one by now, that one is what the next write finds out about.
        let (known, none) = (moment.value(), Hlc::MIN.value());
        let _ = self.moment.compare_exchange(known, none, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn part(&self, key: SessionKey) -> Option<MutexGuard<'_, Versions>> {
        let index = usize::from(key.0.to_le_bytes()[7]) % PARTS;
        // A version that a panic kept from being noted is one that is not remembered.
        Some(self.parts.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Versions by key, in sets of a few: a key can be in one set only, and when that is full, one of its keys is forgotten that
/// was not used since the hand last came by (the second chance algorithm, Corbató 1968). So it takes no list to know what was
/// used last, and what is looked at for a key stands together in memory.
#[derive(Debug)]
struct Versions {
    sets: Vec<Set>,
}

/// The keys of a set stand in one line of a processor's cache, beside what is known of their use.
#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
struct Set {
    keys: [u64; WAYS],
    /// How many of the keys are there.
    filled: u8,
    /// Whether a key has been used since the hand came by, a bit each.
    used: u8,
    /// Where the search for one to forget goes on.
    hand: u8,
    versions: [Version; WAYS],
}

impl Default for Versions {
    fn default() -> Self {
        Self { sets: vec![Set::default()] }
    }
}

impl Versions {
    fn index(&self, key: SessionKey) -> usize {
        // The lowest bits: a part is chosen by others.
        let [low, high, ..] = key.0.to_le_bytes();
        // Their number is a power of two, and dividing would take as long as the rest.
        usize::from(u16::from_le_bytes([low, high])) & (self.sets.len() - 1)
    }

    /// That of a key, which counts as used by that.
    fn version(&mut self, key: SessionKey) -> Option<Version> {
        let index = self.index(key);
        let set = &mut self.sets[index];
        let index = set.find(key)?;
        set.used |= 1 << index;
        Some(set.versions[index])
    }

    fn note(&mut self, key: SessionKey, version: Version) {
        let (index, is_largest) = (self.index(key), self.sets.len() == SETS);
        let set = &mut self.sets[index];
        match set.find(key) {
            Some(index) => set.put(index, key, version.max(set.versions[index])),
            None if usize::from(set.filled) < WAYS || is_largest => {
                let index = set.place();
                set.put(index, key, version);
            }
            None => {
                self.grow();
                self.note(key, version);
            }
        }
    }

    /// Twice as many sets: sessions are made for a few requests as well, and should not cost what those with thousands do.
    fn grow(&mut self) {
        let twice = vec![Set::default(); self.sets.len() * 2];
        for set in std::mem::replace(&mut self.sets, twice) {
            for (key, version) in set.keys.into_iter().zip(set.versions).take(set.filled.into()) {
                self.note(SessionKey(key), version);
            }
        }
    }
}

impl Set {
    fn find(&self, key: SessionKey) -> Option<usize> {
        self.keys[..usize::from(self.filled)].iter().position(|known| *known == key.0)
    }

    fn put(&mut self, index: usize, key: SessionKey, version: Version) {
        (self.keys[index], self.versions[index]) = (key.0, version);
        self.used |= 1 << index;
    }

    /// A place for another key: one that is free, or that of a key which was not used lately.
    fn place(&mut self) -> usize {
        let filled = usize::from(self.filled);
        if filled < WAYS {
            self.filled += 1;
            return filled;
        }
        // Ends: what is passed over has had its second chance by the next turn.
        loop {
            let index = usize::from(self.hand);
            self.hand = if index + 1 < WAYS { self.hand + 1 } else { 0 };
            if self.used & 1 << index == 0 {
                return index;
            }
            self.used &= !(1 << index);
        }
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::{Boot, Ordinal};

    use super::*;

    const KEYS_MAX: usize = PARTS * SETS * WAYS;

    fn version(ms: u64) -> Version {
        Version { hlc: Hlc::from_millis(ms), ordinal: Ordinal::new(1), boot: Boot::new(1) }
    }

    fn note(session: &Session, key: &str, ms: u64) {
        session.note(session.key(key.as_bytes()), version(ms));
    }

    fn seen(session: &Session, key: &str) -> Option<Version> {
        session.seen(key.as_bytes()).version
    }

    #[test]
    fn the_latest_version_of_a_key_is_remembered() {
        let session = Session::new(Remember::Versions);
        assert_eq!((seen(&session, "a"), session.moment()), (None, Hlc::MIN));
        note(&session, "a", 5);
        note(&session, "a", 3);
        note(&session, "b", 9);
        assert_eq!(seen(&session, "a"), Some(version(5)));
        assert_eq!(seen(&session, "b"), Some(version(9)));
        assert_eq!(session.moment(), Hlc::from_millis(9));
    }

    #[test]
    fn what_is_read_as_it_was_seen_is_known_and_its_moment_heeded_again() {
        let session = Session::new(Remember::Versions);
        note(&session, "a", 5);
        let known = session.seen(b"a");
        session.forget_moment(session.moment());
        session.found(known, version(5));
        assert_eq!((session.moment(), seen(&session, "a")), (Hlc::from_millis(5), Some(version(5))));
        session.found(known, version(7));
        session.found(session.seen(b"b"), version(9));
        assert_eq!((seen(&session, "a"), seen(&session, "b")), (Some(version(7)), Some(version(9))));
        assert_eq!(session.moment(), Hlc::from_millis(9));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_was_used_last_stays() {
        let session = Session::new(Remember::Versions);
        note(&session, "first", 1);
        for index in 0..10 * KEYS_MAX {
            note(&session, &format!("k{index}"), 2);
            if index % 16 == 0 {
                note(&session, "used", 3);
            }
        }
        let kept = |part: &Mutex<Versions>| {
            let part = part.lock().unwrap();
            part.sets.iter().map(|set| usize::from(set.filled)).sum::<usize>()
        };
        let kept: usize = session.parts.iter().map(kept).sum();
        assert!((KEYS_MAX / 2..=KEYS_MAX).contains(&kept), "{kept}");
        assert_eq!(size_of::<Set>(), 192);
        assert_eq!((seen(&session, "first"), seen(&session, "used")), (None, Some(version(3))));
    }

    #[test]
    fn a_session_of_few_keys_is_small_and_forgets_nothing_as_it_grows() {
        let session = Session::new(Remember::Versions);
        let sets = || session.parts.iter().map(|part| part.lock().unwrap().sets.len()).sum::<usize>();
        assert_eq!(sets(), PARTS);
        for index in 0..1000u64 {
            note(&session, &format!("k{index}"), index + 1);
        }
        assert!((PARTS..PARTS * SETS).contains(&sets()), "{}", sets());
        for index in 0..1000u64 {
            assert_eq!(seen(&session, &format!("k{index}")), Some(version(index + 1)), "k{index}");
        }
    }

    #[test]
    fn who_remembers_no_versions_keeps_its_writes_in_order_all_the_same() {
        let session = Session::new(Remember::Nothing);
        note(&session, "a", 5);
        assert_eq!((seen(&session, "a"), session.moment()), (None, Hlc::from_millis(5)));
        assert!(session.another().parts.is_empty());
    }

    #[test]
    fn another_session_has_seen_nothing() {
        let session = Session::new(Remember::Versions);
        note(&session, "a", 5);
        let another = session.another();
        assert_eq!((seen(&another, "a"), another.moment()), (None, Hlc::MIN));
        note(&another, "a", 7);
        assert_eq!(seen(&session, "a"), Some(version(5)));
    }

    #[test]
    fn a_moment_is_forgotten_unless_there_is_a_later_one() {
        let session = Session::new(Remember::Versions);
        note(&session, "a", 5);
        session.forget_moment(Hlc::from_millis(4));
        assert_eq!(session.moment(), Hlc::from_millis(5));
        session.forget_moment(Hlc::from_millis(5));
        assert_eq!((session.moment(), seen(&session, "a")), (Hlc::MIN, Some(version(5))));
    }
}
