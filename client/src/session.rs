//! What a client has seen, so that the cluster never shows it less again.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use quoit_proto_types::{Hlc, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys whose versions a session remembers at most: less than a megabyte, and more than what is read again right after it was
/// written in any program that does not mean to write everything first.
pub(crate) const SESSION_KEYS_MAX: usize = 16_384;
/// Parts of the memory, each behind a lock of its own, so that callers on different threads seldom meet.
const PARTS: usize = 16;
/// Keys of one generation: there are two in each part.
const GENERATION_KEYS_MAX: usize = SESSION_KEYS_MAX / PARTS / 2;

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
    parts: Vec<Mutex<Seen>>,
}

/// The key of a request, as the session knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey(u64);

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

    /// The latest version of `key` that the session has seen, as far as it remembers.
    pub(crate) fn seen(&self, key: SessionKey) -> Option<Version> {
        self.part(key)?.version(key)
    }

    /// Takes note that `key` has been seen in this version.
    pub(crate) fn note(&self, key: SessionKey, version: Version) {
        self.moment.fetch_max(version.hlc.value(), Ordering::Relaxed);
        if let Some(mut part) = self.part(key) {
            part.note(key, version);
        }
    }

    /// Forgets the latest moment if it still is `moment`, which nodes refuse to go beyond: it comes from a clock far ahead, and
    /// would keep the session from writing anything until the other clocks are there.
    pub(crate) fn forget_moment(&self, moment: Hlc) {
        // If it is another one by now, that one is what the next write finds out about.
        let (known, none) = (moment.value(), Hlc::MIN.value());
        let _ = self.moment.compare_exchange(known, none, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn part(&self, key: SessionKey) -> Option<MutexGuard<'_, Seen>> {
        // Bits in the middle: a table takes the lowest and the seven highest.
        let index = usize::from(key.0.to_be_bytes()[3]) % PARTS;
        // A version that a panic kept from being noted is one that is not remembered.
        Some(self.parts.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Versions by key, in two generations: what has been used since the younger one was begun, and what was used before. When
/// the younger one is full the older one is forgotten. So it takes no list to know what was used last.
#[derive(Debug, Default)]
struct Seen {
    young: Versions,
    old: Versions,
}

/// A session key is a hash under a secret already: to hash it once more took a tenth of a client's time.
type Versions = HashMap<SessionKey, Version, BuildHasherDefault<AsItIs>>;

/// Takes a session key for its own hash.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        // Session keys are words; anything else would be hashed badly, but hashed.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Seen {
    fn version(&self, key: SessionKey) -> Option<Version> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn note(&mut self, key: SessionKey, version: Version) {
        if let Some(known) = self.young.get_mut(&key) {
            *known = version.max(*known);
            return;
        }
        let version = self.old.get(&key).map_or(version, |known| version.max(*known));
        if self.young.len() >= GENERATION_KEYS_MAX {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, version);
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::{Boot, Ordinal};

    use super::*;

    fn version(ms: u64) -> Version {
        Version { hlc: Hlc::from_millis(ms), ordinal: Ordinal::new(1), boot: Boot::new(1) }
    }

    fn note(session: &Session, key: &str, ms: u64) {
        session.note(session.key(key.as_bytes()), version(ms));
    }

    fn seen(session: &Session, key: &str) -> Option<Version> {
        session.seen(session.key(key.as_bytes()))
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
    fn what_is_remembered_is_bounded_and_what_was_used_last_stays() {
        let session = Session::new(Remember::Versions);
        note(&session, "first", 1);
        for index in 0..10 * SESSION_KEYS_MAX {
            note(&session, &format!("k{index}"), 2);
            if index % 16 == 0 {
                note(&session, "used", 3);
            }
        }
        let kept = |part: &Mutex<Seen>| {
            let part = part.lock().unwrap();
            part.young.len() + part.old.len()
        };
        let kept: usize = session.parts.iter().map(kept).sum();
        assert!((SESSION_KEYS_MAX / 2..=SESSION_KEYS_MAX).contains(&kept), "{kept}");
        assert_eq!((seen(&session, "first"), seen(&session, "used")), (None, Some(version(3))));
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
