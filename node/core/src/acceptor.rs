//! The acceptor of one Paxos instance after the other: the state that must outlive the process.

use quoit_proto_types::{Ballot, View};
use serde::{Deserialize, Serialize};

/// What a voter has promised and accepted for the view that follows the one it has (Lamport, 2001).
///
/// Promises carry over from one instance to the next: a coordinator's ballot stays good for the views it publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptor {
    /// Nothing below is promised or accepted. The default ballot is below every ballot that is used.
    promised: Ballot,
    accepted: Option<(Ballot, View)>,
}

impl Acceptor {
    /// The highest ballot promised.
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// What was accepted, and under which ballot.
    pub fn accepted(&self) -> Option<&(Ballot, View)> {
        self.accepted.as_ref()
    }

    /// Promises `ballot` and tells what was accepted before.
    ///
    /// # Errors
    /// The higher ballot that is promised already.
    pub fn prepare(&mut self, ballot: Ballot) -> Result<Option<(Ballot, View)>, Ballot> {
        if ballot < self.promised {
            return Err(self.promised);
        }
        self.promised = ballot;
        Ok(self.accepted.clone())
    }

    /// Accepts `view`.
    ///
    /// # Errors
    /// The higher ballot that is promised already.
    pub fn accept(&mut self, ballot: Ballot, view: View) -> Result<(), Ballot> {
        if ballot < self.promised {
            return Err(self.promised);
        }
        self.promised = ballot;
        self.accepted = Some((ballot, view));
        Ok(())
    }

    /// Goes on to the instance after a view that was decided under `ballot`. Installing the view is the promise of that
    /// ballot for the next one.
    pub fn advance(&mut self, ballot: Ballot) {
        self.promised = self.promised.max(ballot);
        self.accepted = None;
    }
}

#[cfg(test)]
mod tests;
