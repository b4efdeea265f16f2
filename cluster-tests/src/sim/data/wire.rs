//! What processes say to each other about data, and its way over their connections.

use quoit_core::replication::{ReplicaReply, ReplicaRequest};
use quoit_proto_types::{
    Fence,
    message::transfer::{EntryBlock, TransferReply, TransferRequest},
};

/// One request, or its answer.
#[derive(Clone, Debug)]
pub struct DataFrame {
    /// Pairs an answer with its request, for the process that asked; 0 if it does not wait for one.
    pub exchange: u64,
    /// What.
    pub body: DataBody,
}

/// What is said.
#[derive(Clone, Debug)]
pub enum DataBody {
    /// A part of a request of a client.
    Replica(Fence, ReplicaRequest),
    /// The answer to it.
    ReplicaReply(ReplicaReply),
    /// A question of the background.
    Transfer(Fence, TransferRequest, EntryBlock),
    /// The answer to it.
    TransferReply(TransferReply, EntryBlock),
}
