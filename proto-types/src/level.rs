//! How many copies a request waits for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WriteLevel {
    /// One node holds it, be it an owner or one that keeps it for an owner out of reach.
    Any,
    /// One owner holds it.
    One,
    /// Two nodes hold it, as far as the key has two copies: owners, or nodes that keep it for owners out of reach. So it
    /// survives the crash of any one node.
    #[default]
    Two,
    /// A majority of the owners holds it.
    Quorum,
    /// All owners hold it.
    All,
}

/// Whose answer a read waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadLevel {
    /// One owner's; another one is asked if it has nothing, or is slow.
    #[default]
    One,
    /// The newest of a majority of the owners.
    Quorum,
    /// The newest of all owners.
    All,
}

/// The text names no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no level: {known}")]
pub struct UnknownLevel {
    text: String,
    known: &'static str,
}

impl WriteLevel {
    /// Every level, from the weakest to the strongest.
    pub const ALL: [Self; 5] = [Self::Any, Self::One, Self::Two, Self::Quorum, Self::All];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::One => "one",
            Self::Two => "two",
            Self::Quorum => "quorum",
            Self::All => "all",
        }
    }
}

impl ReadLevel {
    /// Every level, from the weakest to the strongest.
    pub const ALL: [Self; 3] = [Self::One, Self::Quorum, Self::All];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
        }
    }
}

impl fmt::Display for WriteLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for WriteLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text));
        level.ok_or_else(|| UnknownLevel {
            text: text.chars().take(32).collect(),
            known: "any, one, two, quorum or all",
        })
    }
}

impl FromStr for ReadLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text));
        level.ok_or_else(|| UnknownLevel { text: text.chars().take(32).collect(), known: "one, quorum or all" })
    }
}
