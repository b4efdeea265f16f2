//! What administrators ask of a node.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::membership::{Command, CommandAnswer};
use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch},
    identity::Label,
    limits,
    view::{View, ViewRecord},
};

/// A request of an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// How does the node stand?
    Status,
    /// Which views has it seen, the latest last?
    ViewLog {
        /// At most so many.
        limit: u32,
    },
    /// The view of this epoch.
    ViewAt {
        /// Which.
        epoch: Epoch,
    },
    /// Something for the coordinator, which the node passes on.
    Command(Command),
    /// Make a new cluster of this node alone, which others then join. Only for when a majority of the voters is lost for
    /// good.
    Recover {
        /// The node's name, so that nobody recovers from another node than was meant.
        survivor: Label,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum AdminReply {
    /// To `Status`.
    Status(Box<NodeStatus>),
    /// To `ViewLog`.
    ViewLog(#[serde(deserialize_with = "codec::at_most::<{ limits::VIEW_LOG_MAX }, _, _>")] Vec<ViewRecord>),
    /// To `ViewAt`; nothing if the node does not remember it.
    ViewAt(Option<View>),
    /// To `Command`.
    Command(CommandAnswer),
    /// To `Recover`: the first view of the new cluster.
    Recovered {
        /// Its epoch.
        epoch: Epoch,
    },
    /// `Recover` was refused.
    NotRecovered {
        /// Why, and what to do instead.
        reason: String,
    },
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: Label,
    /// Its software.
    pub version: String,
    /// The view it has; 0 if none.
    pub epoch: Epoch,
    /// Where it stands on its way into the cluster, in words.
    pub standing: String,
    /// Its role in the election.
    pub role: ElectionRole,
    /// The coordinator it knows of.
    pub coordinator: Option<Label>,
    /// Whether it has heard of a majority of the voters lately: by round trips if it is a voter, else by answers.
    pub quorum: Quorum,
    /// What it has promised.
    pub promised: Ballot,
    /// How long it runs, in milliseconds.
    pub uptime_ms: u64,
    /// How long it has been cut off from a majority in all, in milliseconds.
    pub isolated_ms: u64,
    /// Until when its certificate is valid, in seconds since 1970.
    pub certificate_not_after_s: i64,
    /// Entries it holds.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub bytes_max: u64,
    /// Connections of clients.
    pub clients: u32,
    /// Alarms: sentences on what is wrong and what to do.
    #[serde(deserialize_with = "codec::at_most::<64, _, _>")]
    pub alarms: Vec<String>,
}

/// A node's role in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionRole {
    /// It has no view yet.
    Outside,
    /// It does not vote.
    Member,
    /// It votes, and follows.
    Follower,
    /// It stands for election, or proposes.
    Candidate,
    /// It publishes views.
    Coordinator,
}

/// Whether a node is connected to enough voters for views to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Voters it has heard lately, itself included.
    pub heard: u8,
    /// How many decide.
    pub needed: u8,
}

impl AdminRequest {
    /// Appends the encoded request.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "admin request", limits::ADMIN_REQUEST_BYTES_MAX)
    }
}

impl AdminReply {
    /// Appends the encoded reply.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "admin reply", limits::ADMIN_REPLY_BYTES_MAX)
    }
}
