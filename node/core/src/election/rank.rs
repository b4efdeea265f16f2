//! Who votes, and in which order they stand for election.

use std::cmp::Reverse;

use quoit_proto_types::{Ordinal, View};

/// The voters of a view, best rank first: by priority, then by seniority. The longest-standing member is the calmest choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Electorate(Vec<Ordinal>);

impl Electorate {
    /// The voters of `view`.
    pub(crate) fn of(view: &View) -> Self {
        let priority = |ordinal: &Ordinal| view.member(*ordinal).map_or(0, |member| member.priority);
        let mut voters = view.fields().voters.clone();
        voters.sort_by_key(|ordinal| (Reverse(priority(ordinal)), *ordinal));
        Self(voters)
    }

    /// Every voter, best rank first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ordinal> {
        self.0.iter().copied()
    }

    /// Every voter but `me`.
    pub(crate) fn others(&self, me: Ordinal) -> impl Iterator<Item = Ordinal> {
        self.0.iter().copied().filter(move |voter| *voter != me)
    }

    /// How many decide.
    pub(crate) fn quorum(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether `voter` votes.
    pub(crate) fn contains(&self, voter: Ordinal) -> bool {
        self.0.contains(&voter)
    }

    /// The place of `voter` in the order, 0 for the first; `None` if it does not vote.
    pub(crate) fn rank(&self, voter: Ordinal) -> Option<usize> {
        self.0.iter().position(|known| *known == voter)
    }

    /// Whether `a` comes before `b`.
    pub(crate) fn outranks(&self, a: Ordinal, b: Ordinal) -> bool {
        match (self.rank(a), self.rank(b)) {
            (Some(a), Some(b)) => a < b,
            (rank, other) => rank.is_some() && other.is_none(),
        }
    }
}
