//! The handshake that opens every connection: who speaks, which protocol version, which features.
//!
//! `Hello` is the first frame on the first bidirectional stream, from the side that dialled. Its head never changes
//! between versions, so that a version nobody knows can still be refused with both versions named.

use std::fmt;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    epoch::Epoch,
    id::{Boot, Instance, Nonce},
    limits,
    view::Address,
};

/// The protocol versions this build speaks.
pub const VERSIONS: VersionRange = VersionRange { min: 3, max: 3 };

/// The optional features this build has, a bit each. Unknown bits are ignored.
pub const FEATURES: u64 = FEATURE_MORE;

/// Frames may say that [`more`](crate::frame::FrameHeader::more) for the same caller follow.
pub const FEATURE_MORE: u64 = 1;

/// An inclusive range of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl VersionRange {
    /// The newest version both sides speak.
    ///
    /// # Errors
    /// [`VersionMismatch`] if there is none.
    pub fn negotiate(self, theirs: Self) -> Result<u16, VersionMismatch> {
        let version = self.max.min(theirs.max);
        if version >= self.min && version >= theirs.min {
            Ok(version)
        } else {
            Err(VersionMismatch { ours: self, theirs })
        }
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.max) } else { write!(f, "{} to {}", self.min, self.max) }
    }
}

/// The two sides have no protocol version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this side speaks protocol version {ours}, the other {theirs}: upgrade the older one")]
pub struct VersionMismatch {
    /// What this build speaks.
    pub ours: VersionRange,
    /// What the other side said.
    pub theirs: VersionRange,
}

/// The part of `Hello` that no version changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HelloHead {
    versions: VersionRange,
    features: u64,
}

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Said by a node, and by nobody else.
    pub node: Option<NodeHello>,
}

/// What a node says of itself. Its name is in its certificate and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Which voting state.
    pub instance: Instance,
    /// Which memory.
    pub boot: Boot,
    /// Which process.
    pub nonce: Nonce,
    /// Where it can be reached.
    pub address: Address,
}

impl Hello {
    /// Appends the encoded message.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(&HelloHead { versions: VERSIONS, features: FEATURES }, out);
        codec::encode(self, out);
    }

    /// Reads the message; returns it with the negotiated version and the features both sides have.
    ///
    /// # Errors
    /// [`HelloError`]: the version is looked at before anything that another version could have changed.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Session), HelloError> {
        let (head, rest): (HelloHead, _) = codec::decode_prefix(bytes, "Hello")?;
        let version = VERSIONS.negotiate(head.versions)?;
        // A newer version may append fields, which are of no interest to a session in a version both sides speak.
        let (hello, _appended) = codec::decode_prefix(rest, "Hello")?;
        Ok((hello, Session { version, features: head.features & FEATURES }))
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The protocol version.
    pub version: u16,
    /// The features both have.
    pub features: u64,
}

/// Why a `Hello` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not a `Hello`.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// No version in common.
    #[error(transparent)]
    Version(#[from] VersionMismatch),
}

/// Accepts a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloAck {
    /// What was negotiated.
    pub session: Session,
    /// The view the node has; epoch 0 before the cluster is formed.
    pub epoch: Epoch,
    /// The longest value the node takes, in bytes.
    pub value_bytes_max: u32,
    /// The node's own introduction, if the caller is a node.
    pub node: Option<NodeHello>,
}

impl HelloAck {
    /// Reads the message.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "HelloAck", limits::HELLO_BYTES_MAX)
    }
}
