//! What goes into a [`Coordinator`](super::Coordinator) and what comes out.

use std::fmt;

use bytes::Bytes;
use quoit_proto_types::{
    Fence, Hlc, Ordinal, ReadLevel, Stamp, Version, WriteLevel,
    message::client::{Refusal, Written},
};

use crate::{store::Record, time::Wall};

/// One attempt at one operation. When the operation is tried anew it gets another one, so that answers to the earlier
/// attempt count for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl OperationId {
    /// That of the next attempt in the same place.
    pub(super) fn next(self) -> Self {
        Self { generation: self.generation.wrapping_add(1), ..self }
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOperation {
    /// The value of a key.
    Get {
        /// Whose answer is waited for.
        level: ReadLevel,
        /// What the client has seen already.
        at_least: Option<Version>,
        /// The moment of the read: what expires later is found.
        wall: Wall,
        /// The key.
        key: Bytes,
    },
    /// How long a key lives.
    TimeToLive {
        /// Whose answer is waited for.
        level: ReadLevel,
        /// What the client has seen already.
        at_least: Option<Version>,
        /// The moment of the read.
        wall: Wall,
        /// The key.
        key: Bytes,
    },
    /// A new value.
    Set {
        /// How many copies are waited for.
        level: WriteLevel,
        /// That of a value, stamped by this node.
        stamp: Stamp,
        /// The key and the value.
        record: Record,
    },
    /// No value.
    Delete {
        /// How many copies are waited for.
        level: WriteLevel,
        /// That of a tombstone, stamped by this node.
        stamp: Stamp,
        /// The key.
        key: Bytes,
    },
    /// The same value with another expiry.
    Touch {
        /// How many copies are waited for.
        level: WriteLevel,
        /// The moment of the change, given out by this node's clock.
        touched: Hlc,
        /// From when on it reads as absent, in milliseconds since 1970; 0 for never.
        expires_at_ms: u64,
        /// The moment of the read before the change.
        wall: Wall,
        /// The key.
        key: Bytes,
    },
}

impl ClientOperation {
    /// The key.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Get { key, .. } | Self::TimeToLive { key, .. } => key,
            Self::Delete { key, .. } | Self::Touch { key, .. } => key,
            Self::Set { record, .. } => record.key(),
        }
    }
}

/// What an operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientReply {
    /// The answer to `Get`.
    Value {
        /// What is known of the entry.
        stamp: Stamp,
        /// The value.
        value: Bytes,
        /// Whether it is older than the client asked for, and nobody within reach has a later one.
        stale: bool,
    },
    /// The answer to `TimeToLive`.
    TimeToLive {
        /// What is known of the entry, its expiry with it.
        stamp: Stamp,
        /// Whether it is older than the client asked for, and nobody within reach has a later one.
        stale: bool,
    },
    /// There is no such key, or it was deleted, or it has expired.
    Miss,
    /// The write is held by as many nodes as its level asks for.
    Done(Written),
    /// A value or a deletion is not held by as many nodes as its level asks for, or not known to be. Those that hold it keep it,
    /// and it may spread: it is neither done nor undone. Any node may carry it on as the same write, of this stamp.
    Unfinished {
        /// As what it was begun.
        stamp: Stamp,
        /// How many nodes did what they were asked in the last attempt.
        held: u64,
    },
    /// It came to nothing that can be promised.
    ///
    /// `Busy` and `DeadlinePassed` say that nothing was done. Of a write, everything else leaves open whether it took effect.
    /// `Unavailable` names how many nodes did what they were asked in the last attempt. After `TooOld` the write is to be stamped anew and begun anew; a touch can only be told so, as an owner that
    /// has evicted so old a value does not take it back. Other codes are those that nodes gave which
    /// could have acted but would not, such as `ClockSkew`.
    Refused(Refusal),
}

/// What an owner, or one who stands in for it, is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaRequest {
    /// Merge an entry.
    Put {
        /// What is known of it.
        stamp: Stamp,
        /// The owner it is to be kept for; without one, the receiver is an owner itself.
        hint_for: Option<Ordinal>,
        /// The key and the value; that of a tombstone is empty.
        record: Record,
    },
    /// Tell an entry.
    Get {
        /// The key.
        key: Bytes,
    },
}

impl ReplicaRequest {
    /// Whether it is to keep an entry for somebody else.
    pub fn is_hint(&self) -> bool {
        matches!(self, Self::Put { hint_for: Some(_), .. })
    }
}

/// What became of a [`ReplicaRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaReply {
    /// It holds the entry or a later one.
    Stored {
        /// Whether the key had a value before.
        was_live: bool,
    },
    /// It has this entry, which may be a tombstone or expired.
    Entry {
        /// What is known of it.
        stamp: Stamp,
        /// Its value.
        value: Bytes,
    },
    /// It knows nothing of the key.
    Absent,
    /// It did not act.
    Refused(Refusal),
    /// The request could not be sent, or its answer will not come.
    Unreachable,
}

/// What a [`Coordinator`](super::Coordinator) wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// Ask a node, which may be this one, and report its reply, or that there will be none.
    Ask {
        /// What the reply is for.
        operation: OperationId,
        /// Whom.
        to: Ordinal,
        /// By which the node was chosen, and which the request must carry.
        fence: Fence,
        /// What.
        request: ReplicaRequest,
    },
    /// Tell a node, and report nothing.
    Tell {
        /// Whom.
        to: Ordinal,
        /// By which the node was chosen, and which the request must carry.
        fence: Fence,
        /// What.
        request: ReplicaRequest,
    },
    /// Answer the client.
    Answer {
        /// As given to `begin`.
        token: T,
        /// What.
        reply: ClientReply,
    },
}
