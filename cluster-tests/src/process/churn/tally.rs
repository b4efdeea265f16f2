//! What was counted during one step.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use quoit_client::RequestError;

use super::ledger::{Finding, Wrong};

/// Findings of one kind that are told word by word.
const TOLD_MAX: usize = 20;
/// Errors of one kind that are: they differ in little.
const ERRORS_TOLD_MAX: usize = 3;

/// No read takes longer than a minute: each has its deadline.
const READ_US_MAX: u64 = 60_000_000;

/// What was counted during one step, or several of one kind.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Writes that were acknowledged.
    pub(super) writes: u64,
    /// Reads that were answered while the cluster churned.
    pub(super) reads: u64,
    /// Reads at rest, one of each key.
    pub(super) verified: u64,
    /// Reads that found nothing where a value was due, and a later read found it.
    pub(super) misses: u64,
    /// The same at rest, where nothing excuses it.
    pub(super) misses_at_rest: u64,
    /// Old values that were marked as such, as the session had seen a later one.
    pub(super) marked_stale: u64,
    /// What is wrong, by kind; what is gone for good among it.
    pub(super) wrong: BTreeMap<Wrong, u64>,
    /// Requests that failed, by what they failed with.
    pub(super) errors: BTreeMap<String, u64>,
    /// The same of reads at rest, which are made once.
    pub(super) errors_at_rest: BTreeMap<String, u64>,
    /// The longest time between two acknowledged writes.
    pub(super) gap: Duration,
    /// The first findings of each kind, in words.
    pub(super) told: BTreeMap<String, Vec<String>>,
    /// How requests fared while keys were on their way between nodes.
    pub(super) moving: Pace,
    /// The same while none were.
    pub(super) resting: Pace,
    /// Bytes that were moved, as far as they were seen.
    pub(super) moved_bytes: u64,
    /// The least that a node that took slots let itself fetch in a second, in bytes.
    pub(super) limit: Option<u64>,
    last_write: Option<Instant>,
}

/// How requests fared.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// For how long.
    pub(super) lasted: Duration,
    /// Writes that were acknowledged.
    pub(super) writes: u64,
    /// What reads took, in microseconds.
    reads: Histogram<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        let reads = Histogram::new_with_bounds(1, READ_US_MAX, 3).expect("the bounds are far enough apart");
        Self { lasted: Duration::ZERO, writes: 0, reads }
    }
}

impl Pace {
    /// A read was answered.
    pub(super) fn read(&mut self, took: Duration) {
        self.reads.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Acknowledged writes per second; nothing of less than a tenth of a second.
    pub(super) fn writes_per_second(&self) -> Option<u64> {
        let micros = self.lasted.as_micros();
        (micros >= 100_000).then(|| u64::try_from(u128::from(self.writes) * 1_000_000 / micros).unwrap_or(u64::MAX))
    }

    /// What so many percent of all reads did not exceed, in microseconds; nothing of less than a hundred.
    pub(super) fn read_us(&self, percent: f64) -> Option<u64> {
        (self.reads.len() >= 100).then(|| self.reads.value_at_percentile(percent))
    }

    fn add(&mut self, other: &Self) {
        self.lasted += other.lasted;
        self.writes += other.writes;
        self.reads.add(&other.reads).expect("all have the same bounds");
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            writes: 0,
            reads: 0,
            verified: 0,
            misses: 0,
            misses_at_rest: 0,
            marked_stale: 0,
            wrong: BTreeMap::new(),
            errors: BTreeMap::new(),
            errors_at_rest: BTreeMap::new(),
            gap: Duration::ZERO,
            told: BTreeMap::new(),
            moving: Pace::default(),
            moved_bytes: 0,
            limit: None,
            resting: Pace::default(),
            last_write: None,
        }
    }
}

impl Tally {
    /// A write was acknowledged.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.writes += 1;
        if let Some(last) = self.last_write.replace(now) {
            self.gap = self.gap.max(now.saturating_duration_since(last));
        }
    }

    /// Where what is done while keys move, or none do, is counted.
    pub(super) fn pace(&mut self, moves: bool) -> &mut Pace {
        if moves { &mut self.moving } else { &mut self.resting }
    }

    /// Nothing is written on purpose until `now`: that is no gap.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.last_write = Some(now);
    }

    /// A request failed.
    pub(super) fn failed(&mut self, what: &str, at: Duration, error: &RequestError) {
        let kind = format!("{what}: {}", kind(error));
        let words = format!("at {:.3} s: {}", at.as_secs_f64(), error.with_causes());
        self.tell(&format!("client error, {kind}"), words, ERRORS_TOLD_MAX);
        *self.errors.entry(kind).or_default() += 1;
    }

    /// A read at rest failed.
    pub(super) fn failed_at_rest(&mut self, error: &RequestError) {
        self.tell("client error at rest", error.with_causes(), TOLD_MAX);
        *self.errors_at_rest.entry(kind(error)).or_default() += 1;
    }

    /// A read while the cluster churned found nothing where a value was due. Whether it is lost shows at rest.
    pub(super) fn missed(&mut self, finding: Finding) {
        self.misses += 1;
        self.tell("miss", finding.words, TOLD_MAX);
    }

    /// The same at rest, but all owners together have it.
    pub(super) fn missed_at_rest(&mut self, words: String) {
        self.misses_at_rest += 1;
        self.tell("miss at rest", words, TOLD_MAX);
    }

    /// Something is wrong for certain.
    pub(super) fn found(&mut self, finding: Finding) {
        *self.wrong.entry(finding.wrong).or_default() += 1;
        self.tell(name(finding.wrong), finding.words, TOLD_MAX);
    }

    /// How often something was wrong in this way.
    pub(super) fn count(&self, wrong: Wrong) -> u64 {
        self.wrong.get(&wrong).copied().unwrap_or_default()
    }

    /// Requests that failed while the cluster churned, or at rest.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().chain(self.errors_at_rest.values()).sum()
    }

    /// Adds what another counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.reads += other.reads;
        self.verified += other.verified;
        self.misses += other.misses;
        self.misses_at_rest += other.misses_at_rest;
        self.marked_stale += other.marked_stale;
        self.gap = self.gap.max(other.gap);
        self.moving.add(&other.moving);
        self.moved_bytes += other.moved_bytes;
        self.limit = self.limit.into_iter().chain(other.limit).min();
        self.resting.add(&other.resting);
        for (wrong, count) in &other.wrong {
            *self.wrong.entry(*wrong).or_default() += count;
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        for (kind, count) in &other.errors_at_rest {
            *self.errors_at_rest.entry(kind.clone()).or_default() += count;
        }
        for (kind, words) in &other.told {
            words.iter().for_each(|words| self.tell(kind, words.clone(), TOLD_MAX));
        }
    }

    /// The same with the step that it was found in before each finding.
    pub(super) fn during(mut self, step: &str) -> Self {
        for words in self.told.values_mut().flatten() {
            *words = format!("{step}: {words}");
        }
        self
    }

    fn tell(&mut self, kind: &str, words: String, most: usize) {
        let told = self.told.entry(kind.to_owned()).or_default();
        if told.len() < most {
            told.push(words);
        }
    }
}

/// What is counted under `wrong`, in a word.
pub(super) fn name(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Nothing => "lost",
        Wrong::Stale => "stale",
        Wrong::Resurrected => "resurrected",
        Wrong::NeverWritten => "wrong",
    }
}

/// What sort of error it is, without what differs from one to the next.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are rare, and say it themselves")]
fn kind(error: &RequestError) -> String {
    match error {
        RequestError::Timeout { .. } => "timeout".into(),
        RequestError::ConnectionLost { .. } => "connection lost".into(),
        RequestError::Unavailable { .. } => "node cannot be reached".into(),
        RequestError::Refused { refusal, .. } => format!("refused, {}", refusal.code),
        RequestError::Busy { .. } => "too many requests in flight".into(),
        RequestError::NoOwner { .. } => "no owner".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_reads_are_told_apart_from_quick_ones() {
        let mut pace = Pace::default();
        (1..=100).for_each(|ms| pace.read(Duration::from_millis(ms)));
        assert_eq!(pace.read_us(50.0).map(|us| us / 1000), Some(50));
        assert_eq!(pace.read_us(99.0).map(|us| us / 1000), Some(99));
    }
}
