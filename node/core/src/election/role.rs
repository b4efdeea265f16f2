//! What a member is doing in the election.

use std::collections::BTreeSet;

use quoit_proto_types::{Ballot, Ordinal, View};

use crate::time::Timestamp;

/// The role, with what only it needs.
#[derive(Debug)]
pub(super) enum Role {
    /// Waits for the coordinator to fall silent.
    Follower,
    /// Asks the others whether it should propose.
    Candidate(Candidacy),
    /// Leaves the office to a superior until a deadline.
    Yielding { to: Ordinal, until: Timestamp },
    /// Collects promises.
    Preparing(Preparation),
    /// Collects acceptances of the first view of its term.
    Proposing { ballot: Ballot, proposal: Box<Proposal> },
    /// Publishes views.
    Coordinator(Office),
}

/// A pre-vote.
#[derive(Debug)]
pub(super) struct Candidacy {
    pub(super) grants: BTreeSet<Ordinal>,
    /// Those who hear a coordinator.
    pub(super) alive: BTreeSet<Ordinal>,
    pub(super) since: Timestamp,
    /// The ballot of the coordinator that handed over.
    pub(super) transferred: Option<Ballot>,
}

/// The first phase of Paxos.
#[derive(Debug)]
pub(super) struct Preparation {
    pub(super) ballot: Ballot,
    pub(super) promises: BTreeSet<Ordinal>,
    /// What was accepted before, under the highest ballot.
    pub(super) accepted: Option<Box<(Ballot, View)>>,
    pub(super) until: Timestamp,
}

/// A view on its way to a majority: the second phase of Paxos.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) view: View,
    pub(super) accepted: BTreeSet<Ordinal>,
    pub(super) until: Timestamp,
}

/// A coordinator's office.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) ballot: Ballot,
    /// Since when the present view is installed here.
    pub(super) since: Timestamp,
    /// The voters that installed the present view and have promised the ballot for the next one.
    pub(super) installed: BTreeSet<Ordinal>,
    pub(super) proposal: Option<Box<Proposal>>,
    /// Until when it waits for a successor to take over.
    pub(super) handing_over: Option<Timestamp>,
}

impl Role {
    /// The office, if this node holds it.
    pub(super) fn office(&self) -> Option<&Office> {
        if let Self::Coordinator(office) = self { Some(office) } else { None }
    }

    /// The same, to change it.
    pub(super) fn office_mut(&mut self) -> Option<&mut Office> {
        if let Self::Coordinator(office) = self { Some(office) } else { None }
    }

    /// The candidacy, if this node asks for votes.
    pub(super) fn candidacy_mut(&mut self) -> Option<&mut Candidacy> {
        if let Self::Candidate(candidacy) = self { Some(candidacy) } else { None }
    }

    /// The preparation, if this node collects promises.
    pub(super) fn preparation(&self) -> Option<&Preparation> {
        if let Self::Preparing(preparation) = self { Some(preparation) } else { None }
    }

    /// The proposal under way and its ballot.
    pub(super) fn proposal(&self) -> Option<(Ballot, &Proposal)> {
        match self {
            Self::Proposing { ballot, proposal } => Some((*ballot, proposal)),
            Self::Coordinator(office) => office.proposal.as_ref().map(|proposal| (office.ballot, &**proposal)),
            Self::Follower | Self::Candidate(_) | Self::Yielding { .. } | Self::Preparing(_) => None,
        }
    }

    /// The same, to change it.
    pub(super) fn proposal_mut(&mut self) -> Option<(Ballot, &mut Proposal)> {
        match self {
            Self::Proposing { ballot, proposal } => Some((*ballot, proposal)),
            Self::Coordinator(office) => office.proposal.as_mut().map(|proposal| (office.ballot, &mut **proposal)),
            Self::Follower | Self::Candidate(_) | Self::Yielding { .. } | Self::Preparing(_) => None,
        }
    }

    /// The ballot under which this node prepares, proposes or coordinates.
    pub(super) fn ballot(&self) -> Option<Ballot> {
        match self {
            Self::Preparing(Preparation { ballot, .. })
            | Self::Proposing { ballot, .. }
            | Self::Coordinator(Office { ballot, .. }) => Some(*ballot),
            Self::Follower | Self::Candidate(_) | Self::Yielding { .. } => None,
        }
    }
}
