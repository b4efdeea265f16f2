//! One ballot of a proposer, from its question to its decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use quoit_proto_types::{Ballot, Label, View, message::peer::Founder};

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
    pub(super) founder: Founder,
    pub(super) accepted: Option<(Ballot, View)>,
}

impl Round {
    /// The phase in which promises are collected.
    pub(super) fn prepare(ballot: Ballot, until: Timestamp) -> Self {
        let promises = BTreeMap::new();
        Self {
            ballot,
            until,
            phase: Phase::Preparing { promises },
        }
    }

    /// The phase in which `view` is being accepted.
    pub(super) fn propose(ballot: Ballot, until: Timestamp, view: View) -> Self {
        let (view, accepted) = (Box::new(view), BTreeSet::new());
        Self {
            ballot,
            until,
            phase: Phase::Proposing { view, accepted },
        }
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

    /// Notes that `from` accepted. The view, once as many as `founders` have: it is decided.
    pub(super) fn accepted(&mut self, from: &Label, founders: usize) -> Option<View> {
        match &mut self.phase {
            Phase::Preparing { .. } => None,
            Phase::Proposing { view, accepted } => {
                accepted.insert(from.clone());
                (accepted.len() == founders).then(|| View::clone(view))
            }
        }
    }
}

/// The view that may have been decided already: the one accepted under the highest ballot, among those in which somebody
/// still lives. A view whose every process is gone is installed nowhere, and could be installed by nobody.
pub(super) fn accepted_view(promises: &Promises) -> Option<View> {
    let living: Vec<_> = promises.values().map(|promise| promise.founder.instance).collect();
    let lives = |view: &View| view.members().iter().any(|member| living.contains(&member.instance));
    let accepted = promises.values().filter_map(|promise| promise.accepted.as_ref());
    let newest = accepted
        .filter(|(_, view)| lives(view))
        .max_by_key(|(ballot, _)| *ballot);
    newest.map(|(_, view)| view.clone())
}
