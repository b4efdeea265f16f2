//! How founders form the first view.
//!
//! `Prepare` to `Reject` are one instance of single-decree Paxos. Its acceptors are the founders and a quorum is all of
//! them.

use std::{collections::BTreeSet, fmt};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::membership::Applicant;
use crate::{
    codec,
    epoch::Ballot,
    identity::Label,
    limits,
    view::{View, ViewConfig},
};

/// The digest of what founders must agree on before they may form a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenesisDigest([u8; 32]);

impl GenesisDigest {
    /// The digest of cluster name, the set of founders' names (in whatever order they are listed) and configuration.
    pub fn of(cluster: &Label, founders: &[Label], config: &ViewConfig) -> Self {
        let founders: BTreeSet<&Label> = founders.iter().collect();
        let mut bytes = BytesMut::new();
        codec::encode(&(cluster, founders, config), &mut bytes);
        Self(Sha256::digest(&bytes).into())
    }
}

impl fmt::Debug for GenesisDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "GenesisDigest({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// A message between founders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GenesisMessage {
    /// What the sender would found. Said on every new connection by a founder that holds no view, so that two founders
    /// who differ learn it at once.
    Founding {
        /// The sender's list.
        #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
        founders: Vec<Label>,
        /// The sender's configuration.
        config: ViewConfig,
    },
    /// A proposer asks an acceptor to promise.
    Prepare {
        /// What the proposer would found.
        genesis: GenesisDigest,
        /// The proposal's number.
        ballot: Ballot,
    },
    /// An acceptor will accept nothing below `ballot`.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// What it accepted before, which must then be proposed again.
        accepted: Option<(Ballot, View)>,
        /// The acceptor's own part of view 1.
        founder: Applicant,
    },
    /// A proposer asks an acceptor to accept.
    Propose {
        /// The ballot.
        ballot: Ballot,
        /// The view.
        view: View,
    },
    /// An acceptor accepted `ballot`.
    Accepted {
        /// The ballot.
        ballot: Ballot,
    },
    /// An acceptor has promised more than `ballot`.
    Reject {
        /// The ballot that is refused.
        ballot: Ballot,
        /// The ballot it has promised.
        seen: Ballot,
    },
}
