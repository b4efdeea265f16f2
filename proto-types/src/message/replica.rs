//! What a node that coordinates a request asks of the owners of its key. Every frame carries the fence, and a node acts on
//! its own fence only. Value bytes stand raw behind these headers.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::client::check_key;
use crate::{
    codec::{self, DecodeError},
    id::{KeyspaceId, Ordinal},
    version::Stamp,
};

/// An entry to be merged: in front of the value, the body of `ReplicaPut`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutHeader<'a> {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// What is known of the entry.
    pub stamp: Stamp,
    /// The owner for whom the receiver is to keep it, because that one is out of reach. Without one, the receiver is an
    /// owner itself.
    pub hint_for: Option<Ordinal>,
    /// The key: 1 byte to [`limits::KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX).
    #[serde(serialize_with = "codec::whole_slice")]
    pub key: &'a [u8],
}

impl<'a> PutHeader<'a> {
    /// Reads the header at the front of `body`; what follows is the value.
    ///
    /// # Errors
    /// [`DecodeError`], also for a key that is empty or too long.
    pub fn decode(body: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (header, value): (Self, _) = codec::decode_prefix(body, "replica put")?;
        check_key(header.key)?;
        Ok((header, value))
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }
}

/// Held by the receiver, this entry or a later one: the body of `Stored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Whether the key had a value before.
    pub was_live: bool,
}

/// What an owner has of a key: in front of the value, the body of `Entry`. A tombstone is an answer like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryHeader {
    /// What is known of the entry.
    pub stamp: Stamp,
}
