//! What nodes say to each other.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{election::ElectionMessage, genesis::GenesisMessage, membership::MembershipMessage};
use crate::{
    codec::{self, DecodeError},
    limits,
};

/// A message between nodes, on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Forming the first view.
    Genesis(GenesisMessage),
    /// Electing a coordinator and deciding the next view.
    Election(ElectionMessage),
    /// Spreading views; joining and leaving.
    Membership(MembershipMessage),
}

impl From<GenesisMessage> for PeerMessage {
    fn from(message: GenesisMessage) -> Self {
        Self::Genesis(message)
    }
}

impl From<ElectionMessage> for PeerMessage {
    fn from(message: ElectionMessage) -> Self {
        Self::Election(message)
    }
}

impl From<MembershipMessage> for PeerMessage {
    fn from(message: MembershipMessage) -> Self {
        Self::Membership(message)
    }
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
