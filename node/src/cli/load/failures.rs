//! Failed requests, counted by kind.

use std::collections::BTreeMap;

use quoit_client::RequestError;

/// How many of each kind, with one of them as an example.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<&'static str, Failure>);

/// The failures of one kind.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) count: u64,
    /// The first one: the line of its record, and what went wrong.
    pub(super) line: u64,
    pub(super) example: String,
}

impl Failures {
    pub(super) fn add(&mut self, error: &RequestError, line: u64) {
        let new = || Failure { count: 0, line, example: error.with_causes() };
        self.0.entry(error.kind()).or_insert_with(new).count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|failure| failure.count).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Failure)> {
        self.0.iter().map(|(kind, failure)| (*kind, failure))
    }
}
