//! The acceptor of one Paxos instance.

use quoit_proto_types::{Ballot, View};

/// What one founder has promised and accepted on the way to view 1.
#[derive(Debug, Default)]
pub(super) struct Acceptor {
    /// Nothing below is promised or accepted. The default ballot is below every ballot that is used.
    promised: Ballot,
    accepted: Option<(Ballot, View)>,
}

impl Acceptor {
    /// The highest ballot promised.
    pub(super) fn promised(&self) -> Ballot {
        self.promised
    }

    /// Promises `ballot` and tells what was accepted before.
    ///
    /// # Errors
    /// The higher ballot that is promised already.
    pub(super) fn prepare(&mut self, ballot: Ballot) -> Result<Option<(Ballot, View)>, Ballot> {
        if ballot < self.promised {
            return Err(self.promised);
        }
        self.promised = ballot;
        Ok(self.accepted.clone())
    }

    /// Accepts `view`, only under the very ballot promised.
    ///
    /// Paxos would allow higher ballots too, as its acceptors do not forget. Here the promise of a higher ballot may have
    /// been that of an earlier process of this name; what this process accepted since was unknown to the proposer.
    ///
    /// # Errors
    /// The ballot that is promised instead.
    pub(super) fn accept(&mut self, ballot: Ballot, view: View) -> Result<(), Ballot> {
        if ballot != self.promised {
            return Err(self.promised);
        }
        self.accepted = Some((ballot, view));
        Ok(())
    }
}
