//! Planted bugs. A checker that finds none of them proves nothing.

use quoit_proto_types::message::peer::{Founder, PeerMessage};

/// A bug, planted where messages leave a process, so that the product needs no hook for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// No bug.
    None,
    /// A proposer does without the answer of one founder: of three, it asks a majority.
    MajorityQuorum,
    /// A promise does not tell what was accepted before.
    AcceptedViewUntold,
    /// An acceptor promises and accepts ballots below the one it promised.
    PromiseForgotten,
    /// Every process draws the same random numbers, so a restarted one uses its ballots again.
    BallotsReused,
    /// A restarted process passes for the one before it, without what that one had promised and accepted.
    InstanceKept,
    /// Who is in the cluster does not tell those who are not.
    CommitUntold,
}

impl Mutant {
    /// Every bug.
    pub const ALL: [Self; 6] = [
        Self::MajorityQuorum,
        Self::AcceptedViewUntold,
        Self::PromiseForgotten,
        Self::BallotsReused,
        Self::InstanceKept,
        Self::CommitUntold,
    ];

    /// What the process of `me` says instead of `message`.
    pub fn distort(self, me: &Founder, message: PeerMessage) -> Vec<PeerMessage> {
        match (self, message) {
            (Self::AcceptedViewUntold, PeerMessage::Promise { epoch, ballot, founder, .. }) => {
                vec![PeerMessage::Promise { epoch, ballot, accepted: None, founder }]
            }
            // Whichever of the two was asked for: the other is ignored.
            (Self::PromiseForgotten, PeerMessage::Reject { epoch, ballot, .. }) => {
                let founder = me.clone();
                let promise = PeerMessage::Promise { epoch, ballot, accepted: None, founder };
                vec![promise, PeerMessage::Accepted { epoch, ballot }]
            }
            (Self::CommitUntold, PeerMessage::Commit { .. }) => vec![],
            (_, message) => vec![message],
        }
    }

    /// The answer of `absent`, which a process that asks `question` makes up.
    pub fn make_up(self, question: &PeerMessage, absent: &Founder) -> Option<PeerMessage> {
        match (self, question) {
            (Self::MajorityQuorum, PeerMessage::Prepare { epoch, ballot, .. }) => {
                let (epoch, ballot, founder) = (*epoch, *ballot, absent.clone());
                Some(PeerMessage::Promise { epoch, ballot, accepted: None, founder })
            }
            (Self::MajorityQuorum, PeerMessage::Propose { epoch, ballot, .. }) => {
                Some(PeerMessage::Accepted { epoch: *epoch, ballot: *ballot })
            }
            _ => None,
        }
    }
}
