//! Electing a coordinator, and deciding the view that follows the one of `epoch`.
//!
//! `Elect` to `Alive` are a pre-vote: they change nothing that lasts. `Prepare` to `Reject` are one instance of
//! single-decree Paxos for each epoch. Its acceptors are the voters of the view of that epoch.

use serde::{Deserialize, Serialize};

use crate::{
    epoch::{Ballot, Epoch},
    view::View,
};

/// A message between voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionMessage {
    /// A candidate asks whether it should propose.
    Elect {
        /// The view it has.
        epoch: Epoch,
        /// Which of its candidacies this is.
        round: u64,
        /// The ballot of the coordinator that hands over to the candidate. Whoever knows of no later one lets it pass,
        /// although a coordinator is heard.
        transferred: Option<Ballot>,
    },
    /// It should, for all the voter knows.
    Grant {
        /// The round asked about.
        round: u64,
    },
    /// The voter outranks the candidate and proposes itself.
    Higher {
        /// The round asked about.
        round: u64,
    },
    /// The voter hears a coordinator.
    Alive {
        /// The round asked about.
        round: u64,
        /// The coordinator's ballot.
        ballot: Ballot,
    },
    /// The voter has a later view.
    Newer {
        /// Its number.
        epoch: Epoch,
    },
    /// A proposer asks an acceptor to promise.
    Prepare {
        /// The epoch whose successor is decided.
        epoch: Epoch,
        /// The proposal's number.
        ballot: Ballot,
    },
    /// An acceptor will accept nothing below `ballot`.
    Promise {
        /// The epoch.
        epoch: Epoch,
        /// The ballot promised.
        ballot: Ballot,
        /// What it accepted before, which must then be proposed again.
        accepted: Option<(Ballot, View)>,
    },
    /// A proposer asks an acceptor to accept.
    Propose {
        /// The epoch.
        epoch: Epoch,
        /// The ballot.
        ballot: Ballot,
        /// The view that follows.
        view: View,
    },
    /// An acceptor accepted `ballot`.
    Accepted {
        /// The epoch.
        epoch: Epoch,
        /// The ballot.
        ballot: Ballot,
    },
    /// An acceptor has promised more than `ballot`.
    Reject {
        /// The epoch.
        epoch: Epoch,
        /// The ballot that is refused.
        ballot: Ballot,
        /// The ballot it has promised.
        seen: Ballot,
    },
    /// The coordinator hands its office over to the receiver.
    Transfer {
        /// The view it has.
        epoch: Epoch,
        /// Its ballot.
        ballot: Ballot,
    },
}
