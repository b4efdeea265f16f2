//! What one caller has written, kept outside the cluster, and what may be read of it.
//!
//! Each key has one writer, which waits for the outcome of a write before it makes the next: so their order is known. A write
//! whose outcome is unknown may show or not, and may do so late. Its key is **in doubt**: it is not written again until it
//! was read from all owners when nothing was under way any more, so that no later write is ever mixed up with it.
//!
//! Pure: time is an argument, counted from whatever moment the caller likes.

use std::{fmt, ops::Range, time::Duration};

use quoit_client::{Effect, Version};

use super::value::Stamp;

/// How far apart the clock of a node that coordinates a write and the clock here may take the end of a key to be: twice what
/// nodes let each other's clocks differ.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);
/// How much later than its caller gave it up a request may still be carried out, at most.
const LATE_MAX: Duration = Duration::from_secs(15);

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Sets a value that stays.
    Set,
    /// Sets a value that lives so long.
    SetFor(Duration),
    /// Deletes.
    Delete,
    /// Not this ledger's: a value that should not be there was found, and may go as it came.
    Surprise,
}

/// A write, and when it was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Write {
    number: u64,
    deed: Deed,
    began: Duration,
    ended: Duration,
    version: Option<Version>,
}

/// When a read was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct During {
    /// From.
    pub(super) began: Duration,
    /// To.
    pub(super) ended: Duration,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight<'a> {
    /// The value, and its version; nothing if there is none.
    pub(super) found: Option<(&'a [u8], Version)>,
    /// When.
    pub(super) during: During,
}

/// What is wrong with what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// Nothing, where an acknowledged value is due.
    Nothing,
    /// An earlier value than the one that was acknowledged last.
    Stale,
    /// A value, where a deletion was acknowledged or the key has expired.
    Resurrected,
    /// A value that was never written to this key, or that its write was said not to have written.
    NeverWritten,
}

/// What a read should have found, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What is wrong.
    pub(super) wrong: Wrong,
    /// The same in words.
    pub(super) words: String,
}

#[derive(Clone, Debug, Default)]
struct Record {
    issued: u64,
    last: Option<Write>,
    open: Vec<Write>,
    is_suspect: bool,
}

/// Whether a key may be found, must be, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Present,
    Absent,
    Either,
}

/// The keys of one caller.
#[derive(Debug)]
pub(super) struct Ledger {
    caller: u32,
    /// Of values.
    lengths: Range<usize>,
    records: Vec<Record>,
}

impl Ledger {
    /// The ledger of a caller that has written nothing, and will write values of `lengths`.
    pub(super) fn new(caller: u32, keys: usize, lengths: Range<usize>) -> Self {
        Self { caller, lengths, records: vec![Record::default(); keys] }
    }

    /// How many keys it has.
    pub(super) fn keys(&self) -> usize {
        self.records.len()
    }

    /// A key by its number.
    pub(super) fn key(&self, key: usize) -> String {
        format!("c{:04}:k{key:09}", self.caller)
    }

    /// Whether a key may be written: nothing is in doubt about it.
    pub(super) fn is_clear(&self, key: usize) -> bool {
        let record = &self.records[key];
        record.open.is_empty() && !record.is_suspect
    }

    /// The key that is clear, and of which `deed` was the last write but not the only one, the longest ago.
    pub(super) fn last_done(&self, deed: Deed) -> Option<usize> {
        let done = |key: usize| {
            let last = self.records[key].last.filter(|_| self.is_clear(key));
            last.filter(|write| write.deed == deed && write.number > 1).map(|write| (write.ended, key))
        };
        (0..self.keys()).filter_map(done).min().map(|(_, key)| key)
    }

    /// The value of the write before the last one.
    pub(super) fn earlier_value(&self, key: usize) -> Vec<u8> {
        self.stamp(key, self.records[key].issued - 1).to_value(&self.lengths)
    }

    /// Begins a write: its number, and the value if it sets one.
    pub(super) fn begin(&mut self, key: usize) -> (u64, Vec<u8>) {
        let record = &mut self.records[key];
        record.issued += 1;
        let number = record.issued;
        (number, self.stamp(key, number).to_value(&self.lengths))
    }

    /// The last write begun was acknowledged.
    pub(super) fn acknowledged(&mut self, key: usize, deed: Deed, during: During, version: Version) {
        let record = &mut self.records[key];
        let During { began, ended } = during;
        record.last = Some(Write { number: record.issued, deed, began, ended, version: Some(version) });
    }

    /// The last write begun failed.
    pub(super) fn failed(&mut self, key: usize, deed: Deed, during: During, effect: Effect) {
        let record = &mut self.records[key];
        if effect == Effect::Unknown {
            let (began, ended) = (during.began, during.ended + LATE_MAX);
            record.open.push(Write { number: record.issued, deed, began, ended, version: None });
        }
    }

    /// Something is wrong with a key: it is not written before that is cleared up.
    pub(super) fn suspect(&mut self, key: usize) {
        self.records[key].is_suspect = true;
    }

    /// Whether a read found what it may find.
    pub(super) fn judge(&self, key: usize, sight: &Sight<'_>) -> Result<(), Finding> {
        let record = &self.records[key];
        let due = record.due(sight.during);
        let Some((value, version)) = sight.found else {
            if due != Due::Present || record.open.iter().any(Write::may_leave_nothing) {
                return Ok(());
            }
            return Err(self.finding(key, Wrong::Nothing, sight, "nothing"));
        };
        let found = match Stamp::of_value(value) {
            Some(stamp) if stamp == self.stamp(key, stamp.number) && stamp.number <= record.issued => stamp.number,
            Some(stamp) => return Err(self.finding(key, Wrong::NeverWritten, sight, &format!("a value of {stamp:?}"))),
            None => {
                let what = format!("{} bytes that nobody wrote", value.len());
                return Err(self.finding(key, Wrong::NeverWritten, sight, &what));
            }
        };
        let what = format!("value {found}, version {version}");
        if let Some(open) = record.open.iter().find(|write| write.number == found && write.deed != Deed::Delete) {
            return if open.is_over(sight.during) {
                Err(self.finding(key, Wrong::Resurrected, sight, &what))
            } else {
                Ok(())
            };
        }
        match record.last {
            Some(last) if last.number == found && last.deed != Deed::Delete => match due {
                Due::Absent => Err(self.finding(key, Wrong::Resurrected, sight, &what)),
                // Two versions of one write would be two writes.
                Due::Present | Due::Either if last.version.is_some_and(|it| it != version) => {
                    Err(self.finding(key, Wrong::NeverWritten, sight, &what))
                }
                Due::Present | Due::Either => Ok(()),
            },
            Some(last) if found < last.number && last.deed == Deed::Set => {
                Err(self.finding(key, Wrong::Stale, sight, &what))
            }
            // Behind a value that expires there is never an older one, before its end nor after.
            Some(last) if found <= last.number => {
                let wrong = if due == Due::Present { Wrong::Stale } else { Wrong::Resurrected };
                Err(self.finding(key, wrong, sight, &what))
            }
            Some(_) | None => Err(self.finding(
                key,
                Wrong::NeverWritten,
                sight,
                &format!("{what}, which was said to be written by nobody"),
            )),
        }
    }

    /// Takes what all owners agree on for what is so from here on.
    pub(super) fn resolve(&mut self, key: usize, sight: &Sight<'_>) {
        let record = &mut self.records[key];
        let found = sight.found.and_then(|(value, version)| Some((Stamp::of_value(value)?.number, version)));
        let mut known = record.open.drain(..).chain(record.last);
        record.last = match found {
            Some((number, version)) => known
                .find(|write| write.number == number)
                .map(|write| Write { version: Some(version), ..write })
                .or(Some(Write { number, version: Some(version), ..Write::now(Deed::Surprise, sight.during) })),
            None => Some(Write { number: record.issued, ..Write::now(Deed::Delete, sight.during) }),
        };
        drop(known);
        record.open.clear();
        record.is_suspect = false;
    }

    fn stamp(&self, key: usize, number: u64) -> Stamp {
        Stamp { caller: self.caller, key: u32::try_from(key).unwrap_or(u32::MAX), number }
    }

    fn finding(&self, key: usize, wrong: Wrong, sight: &Sight<'_>, found: &str) -> Finding {
        let record = &self.records[key];
        let last = record.last.map_or_else(|| "nothing was acknowledged".into(), |write| write.to_string());
        let open: Vec<_> = record.open.iter().map(|write| format!("{} {}", write.deed, write.number)).collect();
        let open = if open.is_empty() { String::new() } else { format!(", unknown: {}", open.join(", ")) };
        let During { began, ended } = sight.during;
        let (key, at, took_ms) = (self.key(key), began.as_secs_f64(), (ended - began).as_millis());
        Finding { wrong, words: format!("{key}: found {found} at {at:.3} s, within {took_ms} ms; {last}{open}") }
    }
}

impl Record {
    /// What must be found if no write but the last acknowledged one counts.
    fn due(&self, during: During) -> Due {
        match self.last {
            None => Due::Absent,
            Some(write) => write.due(during),
        }
    }
}

impl Write {
    fn now(deed: Deed, during: During) -> Self {
        Self { number: 0, deed, began: during.began, ended: during.ended, version: None }
    }

    fn due(&self, during: During) -> Due {
        match self.deed {
            Deed::Set => Due::Present,
            Deed::Delete => Due::Absent,
            Deed::SetFor(ttl) if during.ended + EXPIRY_MARGIN < self.began + ttl => Due::Present,
            Deed::SetFor(_) if self.is_over(during) => Due::Absent,
            Deed::SetFor(_) | Deed::Surprise => Due::Either,
        }
    }

    /// Whether the value has expired for certain.
    fn is_over(&self, during: During) -> bool {
        matches!(self.deed, Deed::SetFor(ttl) if self.ended + ttl + EXPIRY_MARGIN < during.began)
    }

    fn may_leave_nothing(&self) -> bool {
        self.deed != Deed::Set
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set => f.write_str("set"),
            Self::SetFor(ttl) => write!(f, "set for {} ms", ttl.as_millis()),
            Self::Delete => f.write_str("deletion"),
            Self::Surprise => f.write_str("nothing, but found a value, that of write"),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.ended.as_secs_f64();
        write!(f, "acknowledged last: {} {} at {at:.3} s", self.deed, self.number)?;
        self.version.map_or(Ok(()), |version| write!(f, ", version {version}"))
    }
}

#[cfg(test)]
mod tests;
