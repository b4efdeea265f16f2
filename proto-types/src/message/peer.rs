//! What nodes say to each other: forming the first view.
//!
//! `Prepare` to `Accepted` are one instance of single-decree Paxos. At epoch 0 its acceptors are the founders and a
//! quorum is all of them.

use std::{collections::BTreeSet, fmt};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch},
    id::{Boot, Instance},
    identity::Label,
    limits,
    view::{Address, View, ViewConfig, Zone},
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

/// What a founder contributes to view 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// Its name, which must be the one in its certificate.
    pub name: Label,
    /// Its voting state.
    pub instance: Instance,
    /// Its memory.
    pub boot: Boot,
    /// Where it can be reached.
    pub address: Address,
    /// Where it stands.
    pub zone: Zone,
    /// Its weight on the ring.
    pub vnodes: u32,
}

/// A message between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// A proposer asks an acceptor to promise.
    Prepare {
        /// The epoch whose successor is being decided.
        epoch: Epoch,
        /// What the proposer would found.
        genesis: GenesisDigest,
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
        /// The acceptor's own part of view 1.
        founder: Founder,
    },
    /// A proposer asks an acceptor to accept.
    Propose {
        /// The epoch.
        epoch: Epoch,
        /// The ballot.
        ballot: Ballot,
        /// The view.
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
    /// A view is decided.
    Commit {
        /// It.
        view: View,
    },
    /// What the sender would found. Said on every new connection by a founder that holds no view, so that two founders
    /// who differ learn it at once.
    Founding {
        /// The sender's list.
        #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
        founders: Vec<Label>,
        /// The sender's configuration.
        config: ViewConfig,
    },
}

impl PeerMessage {
    /// Appends the encoded message.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "peer message", limits::PEER_MESSAGE_BYTES_MAX)
    }
}
