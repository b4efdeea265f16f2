//! What is known of the seeds, for people.

use std::collections::BTreeMap;

use quoit_client::{Address, DialError, Label};

/// The seeds, and what they lead to.
#[derive(Debug)]
pub(super) struct Seeds(BTreeMap<Address, Seed>);

#[derive(Debug, Default)]
struct Seed {
    names: Vec<Label>,
    failures: Vec<DialError>,
    /// Another process with this node's certificate answers there.
    is_double: bool,
}

impl Seeds {
    pub(super) fn new(seeds: Vec<Address>) -> Self {
        Self(seeds.into_iter().map(|seed| (seed, Seed::default())).collect())
    }

    pub(super) fn all(&self) -> Vec<Address> {
        self.0.keys().cloned().collect()
    }

    /// Those of `failures` that the operator should read now: about certificates, and not said before.
    pub(super) fn news(&self, seed: &Address, names: &[Label], failures: &[DialError]) -> Vec<DialError> {
        let is_said = self.0.get(seed).is_some_and(|known| known.failures.iter().any(DialError::is_about_identity));
        if is_said || !names.is_empty() {
            return Vec::new();
        }
        failures.iter().filter(|failure| failure.is_about_identity()).cloned().collect()
    }

    /// `seed` leads to `names`.
    pub(super) fn answered(&mut self, seed: Address, names: Vec<Label>, failures: Vec<DialError>) {
        let known = self.0.entry(seed).or_default();
        if !names.is_empty() {
            known.is_double = false;
        }
        (known.names, known.failures) = (names, failures);
    }

    /// Another process with this node's certificate answers at `seed`.
    pub(super) fn double(&mut self, seed: Address) {
        self.0.entry(seed).or_default().is_double = true;
    }

    /// A seed at which another process with this node's certificate answers.
    pub(super) fn doubled(&self) -> Option<&Address> {
        self.0.iter().find(|(_, known)| known.is_double).map(|(seed, _)| seed)
    }

    /// The seeds that lead nowhere, each with the reason, as the end of a sentence; empty if there are none.
    pub(super) fn unreachable(&self) -> String {
        let silent = self.0.values().filter(|known| known.names.is_empty());
        let reasons: Vec<_> = silent.filter_map(|known| known.failures.last()).map(ToString::to_string).collect();
        if reasons.is_empty() { String::new() } else { format!("; {}", reasons.join("; ")) }
    }

    /// The seeds that lead to several nodes, so that they do not tell who the founders are.
    pub(super) fn ambiguous(&self) -> Vec<&Address> {
        self.0.iter().filter(|(_, known)| known.names.len() > 1).map(|(seed, _)| seed).collect()
    }
}
