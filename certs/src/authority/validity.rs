//! From when until when a certificate is valid.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::IssueError;

/// How far a certificate's beginning is set back, for the clocks of those who check it.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// A lifetime in days, from 1 to 7300 (twenty years).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Days(u16);

/// Why a text is not a lifetime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lifetime is a number of days from 1 to {max}", max = Days::MAX)]
pub struct DaysError;

impl Days {
    /// Lifetime of an identity where nobody asks for another: 365 days.
    pub const IDENTITY: Self = Self(365);
    /// Lifetime of an authority where nobody asks for another: ten years.
    pub const AUTHORITY: Self = Self(3650);
    /// The longest lifetime.
    pub const MAX: Self = Self(7300);

    /// Makes a lifetime of a number of days.
    ///
    /// # Errors
    ///
    /// If it is zero or more than [`Self::MAX`].
    pub fn new(days: u16) -> Result<Self, DaysError> {
        if (1..=Self::MAX.0).contains(&days) { Ok(Self(days)) } else { Err(DaysError) }
    }

    /// Returns the lifetime as a span of time.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * SECONDS_PER_DAY)
    }
}

impl FromStr for Days {
    type Err = DaysError;

    fn from_str(text: &str) -> Result<Self, DaysError> {
        text.parse().map_err(|_| DaysError).and_then(Self::new)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the beginning of a certificate issued at `now`.
pub(super) fn begin(now: SystemTime) -> SystemTime {
    now - CLOCK_SKEW
}

/// Returns beginning and end of a leaf, which never outlives its authority: a lifetime that was asked for is refused
/// rather than cut, the default is cut rather than refused.
pub(super) fn of_leaf(
    authority_ends: SystemTime,
    lifetime: Option<Days>,
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), IssueError> {
    let left = authority_ends.duration_since(now).map_err(|_| IssueError::AuthorityExpired(authority_ends))?;
    let end = match lifetime {
        None => authority_ends.min(now + Days::IDENTITY.duration()),
        Some(days) => now + days.duration(),
    };
    // Certificates hold whole seconds, so an authority made at this very moment seems to end a fraction sooner.
    if end >= authority_ends + Duration::from_secs(1) {
        let days = i64::try_from(left.as_secs() / SECONDS_PER_DAY).unwrap_or(i64::MAX);
        return Err(IssueError::OutlivesAuthority { ends: authority_ends, days });
    }
    Ok((begin(now), end))
}

/// Turns a time into the form the encoder wants, to the second.
pub(super) fn encode(time: SystemTime) -> Result<OffsetDateTime, IssueError> {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()),
        Err(before) => i64::try_from(before.duration().as_secs()).map(|seconds| -seconds),
    };
    let time = seconds.ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.filter(|time| time.year() >= 0).ok_or(IssueError::Date)
}
