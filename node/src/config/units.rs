//! Sizes, durations, paces and numbers of copies as people write them: `512MiB`, `30s`, `64MiB`, `all`.

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use bytesize::ByteSize;
use quoit_proto_types::limits::{REPLICATION_ALL, REPLICATION_MAX};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Size(pub(crate) usize);

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// Bytes per second, or as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Pace(pub(crate) Option<NonZeroU64>);

/// How many copies there are of a key: 1 to [`REPLICATION_MAX`], or [`REPLICATION_ALL`] for one on every node. In a file, a
/// number or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copies(pub(crate) u8);

/// A pace without a bound, in words.
const UNLIMITED: &str = "unlimited";
/// A copy on every node, in words.
const ALL: &str = "all";

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: ByteSize = text.parse().map_err(|_| format!("`{text}` is not a size: write 512MiB or 1GiB"))?;
        usize::try_from(size.as_u64()).map(Self).map_err(|_| format!("{text} is more than this machine can address"))
    }
}

impl fmt::Display for Size {
    /// Exact, in the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let (shift, unit) =
            units.into_iter().find(|&(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= shift).unwrap_or((0, "B"));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a duration: write 90s, 5m or 1h 30m"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == UNLIMITED {
            return Ok(Self(None));
        }
        let bytes = text.parse::<ByteSize>().ok().and_then(|size| NonZeroU64::new(size.as_u64()));
        let error = || format!("`{text}` is not a pace: write 64MiB, for each second, or {UNLIMITED}");
        bytes.map(|bytes| Self(Some(bytes))).ok_or_else(error)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => Size(usize::try_from(bytes.get()).unwrap_or(usize::MAX)).fmt(f),
            None => f.write_str(UNLIMITED),
        }
    }
}

impl FromStr for Copies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ALL {
            return Ok(Self(REPLICATION_ALL));
        }
        let copies = text.parse().ok().filter(|copies| (1..=REPLICATION_MAX).contains(copies));
        copies
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no number of copies: write 1 to {REPLICATION_MAX}, or {ALL}"))
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == REPLICATION_ALL { f.write_str(ALL) } else { self.0.fmt(f) }
    }
}

impl Serialize for Copies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == REPLICATION_ALL { serializer.serialize_str(ALL) } else { serializer.serialize_u8(self.0) }
    }
}

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Word(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Word(word) => word,
        };
        text.parse().map_err(D::Error::custom)
    }
}

macro_rules! as_text {
    ($($unit:ident)+) => {
        $(
            impl TryFrom<String> for $unit {
                type Error = String;

                fn try_from(text: String) -> Result<Self, String> {
                    text.parse()
                }
            }

            impl From<$unit> for String {
                fn from(value: $unit) -> Self {
                    value.to_string()
                }
            }
        )+
    };
}

as_text!(Size Span Pace);

#[cfg(test)]
mod tests;
