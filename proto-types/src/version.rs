//! Versions: which of two writes of a key is the later one, without trusting anybody's clock for more than fairness.
//!
//! A version is a hybrid logical clock (Kulkarni et al., 2014) with the writer's identity behind it. The clock keeps close
//! to the wall clocks and never goes back; the identity makes versions unique whatever the clocks do, as a member's ordinal
//! is never issued twice and its boot goes up with every start.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    id::{Boot, Ordinal},
};

/// A moment of the hybrid logical clock: 48 bits of milliseconds since 1970, then 16 bits that count within one of them.
///
/// On the wire it is a slice of 8 bytes, and of none for [`MIN`](Self::MIN): as a number of varying length, which such a large one
/// gains nothing from, it would take longer to write and to read, in nearly every request and every answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc(#[serde(with = "codec::eight_bytes")] u64);

impl Hlc {
    /// Before every other.
    pub const MIN: Self = Self(0);
    /// Bits of the counter.
    const COUNTER_BITS: u32 = 16;
    /// The last millisecond there is room for, some 8,900 years after 1970.
    pub const MILLIS_MAX: u64 = (1 << 48) - 1;

    /// The first moment of the millisecond `ms` since 1970; the last one there is room for if it is beyond that.
    pub const fn from_millis(ms: u64) -> Self {
        let ms = if ms > Self::MILLIS_MAX { Self::MILLIS_MAX } else { ms };
        Self(ms << Self::COUNTER_BITS)
    }

    /// Wraps the 64 bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Its millisecond since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }

    /// The next moment. A millisecond whose counter is used up is followed by the next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xffff)
    }
}

/// Which write this is. Of two, the greater is the later one; two writes never have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// When, by the clock of the node that coordinated it.
    pub hlc: Hlc,
    /// That node.
    pub ordinal: Ordinal,
    /// Its life.
    pub boot: Boot,
}

impl fmt::Display for Version {
    /// As `quoit` prints it and takes it: `1763700000000.3@2.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.{}", self.hlc, self.ordinal, self.boot)
    }
}

/// What a stored entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// A key with its value.
    Value,
    /// A key that was deleted, or has expired: it reads as absent and hides every older version.
    Tombstone,
}

/// All that is known of an entry but its key and its value.
///
/// Replicas merge entries by keeping the one with the greater [`Rank`], which is a join: in whatever order and however often
/// they arrive, the result is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The write.
    pub version: Version,
    /// When its expiry was last changed without writing it anew; [`Hlc::MIN`] if never. It orders changes of the expiry of one
    /// write, and can never make an older write win over a newer one.
    pub touched: Hlc,
    /// Value or tombstone.
    pub kind: EntryKind,
    /// From when on it reads as absent, in milliseconds since 1970; 0 for never. Set once by the node that coordinated the
    /// write and never computed again, so that owners agree on it.
    pub expires_at_ms: u64,
}

/// The order in which entries of one key replace one another: the greater stays.
///
/// First the write, then the change of its expiry. Two nodes may give two changes the same moment, as a moment says nothing
/// of who gave it; then the one that lasts longer stays, and what never expires before all. Nothing but the entries decides,
/// so owners agree whoever heard of which change first, and whether one of the two had expired by then. A tombstone beats
/// the value that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    version: Version,
    touched: Hlc,
    /// When it expires; the last moment if never.
    ends_at_ms: u64,
    kind: EntryKind,
}

impl Stamp {
    /// That of a new value.
    pub const fn value(version: Version, expires_at_ms: u64) -> Self {
        Self { version, touched: Hlc::MIN, kind: EntryKind::Value, expires_at_ms }
    }

    /// That of a deletion.
    pub const fn tombstone(version: Version) -> Self {
        Self { version, touched: Hlc::MIN, kind: EntryKind::Tombstone, expires_at_ms: 0 }
    }

    /// When it was written, or its expiry changed last.
    pub fn moment(&self) -> Hlc {
        self.version.hlc.max(self.touched)
    }

    /// Its place among the entries of its key.
    pub fn rank(&self) -> Rank {
        let expires = matches!(self.expires_at_ms, 1..=Hlc::MILLIS_MAX);
        let ends_at_ms = if expires { self.expires_at_ms } else { u64::MAX };
        Rank { version: self.version, touched: self.touched, ends_at_ms, kind: self.kind }
    }

    /// Whether it replaces `other` where they meet.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    /// Whether it reads as absent at `now_ms`, in milliseconds since 1970.
    pub const fn is_absent_at(&self, now_ms: u64) -> bool {
        matches!(self.kind, EntryKind::Tombstone) || (self.expires_at_ms != 0 && self.expires_at_ms <= now_ms)
    }
}
