//! One ballot of a proposer, from its question to its decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use quoit_proto_types::{Ballot, Label, View, message::membership::Applicant};

use crate::time::Timestamp;

/// A ballot in progress. Its quorum is every founder.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) ballot: Ballot,
    /// When to give up on the answers that are missing.
    pub(super) until: Timestamp,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Preparing { promises: Promises },
    Proposing { view: Box<View>, accepted: BTreeSet<Label> },
}

/// What every founder answered to a prepare.
pub(super) type Promises = BTreeMap<Label, Promise>;

#[derive(Debug)]
pub(super) struct Promise {
    pub(super) founder: Applicant,
    pub(super) accepted: Option<(Ballot, View)>,
}

impl Round {
    /// The phase in which promises are collected.
    pub(super) fn prepare(ballot: Ballot, until: Timestamp) -> Self {
        let promises = BTreeMap::new();
        Self { ballot, until, phase: Phase::Preparing { promises } }
    }

    /// The phase in which `view` is being accepted.
    pub(super) fn propose(ballot: Ballot, until: Timestamp, view: View) -> Self {
        let (view, accepted) = (Box::new(view), BTreeSet::new());
        Self { ballot, until, phase: Phase::Proposing { view, accepted } }
    }

    /// Notes a promise. All promises, once there are as many as `founders`.
    pub(super) fn promised(&mut self, from: &Label, promise: Promise, founders: usize) -> Option<Promises> {
        match &mut self.phase {
            Phase::Preparing { promises } => {
                promises.insert(from.clone(), promise);
                (promises.len() == founders).then(|| mem::take(promises))
            }
            Phase::Proposing { .. } => None,
        }
    }

    /// Notes that `from` accepted.
    pub(super) fn accepted(&mut self, from: &Label) {
        if let Phase::Proposing { accepted, .. } = &mut self.phase {
            accepted.insert(from.clone());
        }
    }

    /// The view, once as many as `others` have accepted it: only the proposer itself is left to accept.
    pub(super) fn accepted_by(&self, others: usize) -> Option<View> {
        match &self.phase {
            Phase::Proposing { view, accepted } if accepted.len() >= others => Some(View::clone(view)),
            Phase::Proposing { .. } | Phase::Preparing { .. } => None,
        }
    }
}

/// The view that may have been decided already, and must be proposed again: the one accepted under the highest ballot.
pub(super) fn binding_view(promises: &Promises) -> Option<View> {
    let accepted = promises.values().filter_map(|promise| promise.accepted.as_ref());
    accepted.max_by_key(|(ballot, _)| *ballot).map(|(_, view)| view.clone())
}
