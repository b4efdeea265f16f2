//! What founders agree on and a cluster keeps.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{hash::SlotCount, limits};

/// What founders agree on and a cluster keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewConfig {
    /// How many slots.
    pub slots: SlotCount,
    /// How many owners a slot is to have: 1 to [`limits::REPLICATION_MAX`](crate::limits::REPLICATION_MAX), or
    /// [`limits::REPLICATION_ALL`](crate::limits::REPLICATION_ALL). The ring follows step by step.
    pub replication: u8,
    /// Which algorithm maps slots to owners.
    pub ring_algorithm: RingAlgorithm,
    /// How soon silence counts.
    pub timing: TimingProfile,
    /// After how many seconds a member that is down loses its place.
    pub out_after_s: u32,
}

/// How many copies there are of each key, unless founders say otherwise.
///
/// Two survive any one crash. Three survive any two, and decide by majority with one of them down, but cost half as much memory
/// again: the same nodes hold two thirds as many keys.
pub const REPLICATION_DEFAULT: u8 = 2;

/// After how many seconds a member that is down loses its place, unless founders say otherwise.
pub const OUT_AFTER_S_DEFAULT: u32 = 600;

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            slots: SlotCount::DEFAULT,
            replication: REPLICATION_DEFAULT,
            ring_algorithm: RingAlgorithm::default(),
            timing: TimingProfile::default(),
            out_after_s: OUT_AFTER_S_DEFAULT,
        }
    }
}

/// Which algorithm maps slots to owners. Both read them off a circle of tokens, at each slot's first point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum RingAlgorithm {
    /// A member's tokens are the xxh3-128 of its id and a number.
    #[default]
    Hashed,
    /// The coordinator picks tokens, and the view tells them.
    Balanced,
}

impl RingAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::Hashed, Self::Balanced];

    /// Its name, as in a configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::Balanced => "balanced",
        }
    }

    /// How many vnodes all members together may have.
    pub const fn tokens_max(self) -> u32 {
        match self {
            Self::Hashed => limits::TOKENS_MAX,
            Self::Balanced => limits::TOKENS_ASSIGNED_MAX,
        }
    }
}

impl fmt::Display for RingAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<RingAlgorithm> for u8 {
    fn from(algorithm: RingAlgorithm) -> Self {
        match algorithm {
            RingAlgorithm::Hashed => 1,
            RingAlgorithm::Balanced => 2,
        }
    }
}

impl TryFrom<u8> for RingAlgorithm {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::ALL.into_iter().find(|known| u8::from(*known) == number).ok_or("the ring algorithm is unknown")
    }
}

/// The text names no ring algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ring algorithm: hashed or balanced")]
pub struct UnknownAlgorithm(String);

impl FromStr for RingAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.name() == text);
        known.ok_or_else(|| UnknownAlgorithm(text.chars().take(32).collect()))
    }
}

/// How soon silence counts. All members of a cluster go by the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimingProfile {
    /// Within a rack: a heartbeat each 100 ms, suspicion after 500 ms.
    Fast,
    /// Within a site: 200 ms and 1 s.
    #[default]
    Lan,
    /// Between sites: 500 ms and 3 s.
    Wan,
}

impl TimingProfile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Lan, Self::Wan];

    /// Its name, as in a configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }
}

impl fmt::Display for TimingProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no timing profile: fast, lan or wan")]
pub struct UnknownProfile(String);

impl FromStr for TimingProfile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|profile| profile.name() == text);
        known.ok_or_else(|| UnknownProfile(text.chars().take(32).collect()))
    }
}
