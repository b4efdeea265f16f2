//! What a run came to.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use crate::invariants::data::Totals;

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Inputs that machines handled.
    pub steps: u64,
    /// How often the invariants were asked.
    pub checks: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Views that were decided.
    pub views: u64,
    /// Candidacies that got as far as a ballot.
    pub elections: u64,
    /// Views proposed again under a later ballot than their own.
    pub adopted: u64,
    /// Runs that ended without a majority of the voters, for which no settling can be asked.
    pub frozen: u64,
    /// The longest time from the end of the faults until a cluster had settled.
    pub slowest_settling: Duration,
    /// Operations of clients that were carried out.
    pub operations: u64,
    /// What became of their writes.
    pub writes: Totals,
    /// How often each row of the state table was taken.
    pub rows: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Counts a fault.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Counts a row of the state table.
    pub fn row(&mut self, row: &'static str) {
        *self.rows.entry(row).or_default() += 1;
    }

    /// Simulated hours.
    pub fn hours(&self) -> f64 {
        self.simulated.as_secs_f64() / 3600.0
    }
}

impl AddAssign<&Self> for Summary {
    fn add_assign(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.steps += other.steps;
        self.checks += other.checks;
        self.views += other.views;
        self.elections += other.elections;
        self.adopted += other.adopted;
        self.frozen += other.frozen;
        self.operations += other.operations;
        self.writes += other.writes;
        self.slowest_settling = self.slowest_settling.max(other.slowest_settling);
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (row, count) in &other.rows {
            *self.rows.entry(row).or_default() += count;
        }
    }
}
