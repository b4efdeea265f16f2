//! What administrators ask of a node.

use std::num::NonZeroU64;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::membership::{Command, CommandAnswer};
use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch},
    id::Boot,
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
    /// What does the node do with its data in the background?
    Handoff,
    /// Fetch slots at this pace from now on, until the node is started again.
    HandoffPace {
        /// Bytes per second; nothing for as many as there are.
        bytes_per_s: Option<NonZeroU64>,
    },
    /// Fetch nothing until told to go on. A ring change does not end meanwhile.
    HandoffPause,
    /// Go on after a pause.
    HandoffResume,
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
    /// To `Handoff`, `HandoffPace`, `HandoffPause` and `HandoffResume`: what is so from here on; nothing if the node has no
    /// view, or does not answer.
    Handoff(Option<Box<UpkeepStatus>>),
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: Label,
    /// Its life. The view may still name the one before, whose memory is gone.
    pub boot: Boot,
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
    /// What it does with its data in the background; nothing if that does not answer.
    pub upkeep: Option<UpkeepStatus>,
    /// Alarms: sentences on what is wrong and what to do.
    #[serde(deserialize_with = "codec::at_most::<64, _, _>")]
    pub alarms: Vec<String>,
}

/// What a node does with its data in the background.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepStatus {
    /// The slots that it fetches, while a ring change is under way that gives it some.
    pub takes: Option<HandoffStatus>,
    /// The slots that it gives up, while a ring change is under way that takes it some.
    pub gives: Option<HandoffStatus>,
    /// Bytes per second that it may fetch, and that others may fetch there; nothing for as many as there are.
    pub pace: Option<NonZeroU64>,
    /// How many of them it is at most at this moment, so that requests are not late.
    pub limit: Option<NonZeroU64>,
    /// Whether an administrator has paused it.
    pub is_paused: bool,
    /// Its slots of which an owner does not live.
    pub under_replicated_slots: u32,
    /// Its slots that are to be compared with other owners, once for each.
    pub dirty_slots: u32,
    /// Slots that it owns no more, of which it offers the owners what they lack.
    pub offered_slots: u32,
    /// Slots that it let go before all of their owners had been offered what it held, since its start.
    pub unoffered_slots: u64,
    /// Bytes that it has fetched by repair, since its start.
    pub repaired_bytes: u64,
    /// Entries that it keeps for owners out of reach.
    pub hints: HintsStatus,
}

/// How far the slots of one ring change have come, at a node that takes or gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoffStatus {
    /// With whom, in the order of their ordinals, at most [`limits::HANDOFF_PEERS_MAX`].
    #[serde(deserialize_with = "codec::at_most::<{ limits::HANDOFF_PEERS_MAX }, _, _>")]
    pub with: Vec<HandoffPeer>,
    /// How many slots there are to move.
    pub slots: u32,
    /// How many of them have not been moved.
    pub slots_left: u32,
    /// How many of them go on without one of their owners, as it does not live.
    pub slots_skipped: u32,
    /// Bytes that have been moved.
    pub bytes: u64,
    /// Bytes per second, at the moment.
    pub bytes_per_s: u64,
    /// How long it has been under way, in milliseconds.
    pub lasts_ms: u64,
    /// How long it will take, in milliseconds, if it goes on like this. Nothing if there is no telling.
    pub remaining_ms: Option<u64>,
}

/// The other side of a handoff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoffPeer {
    /// Who.
    pub name: Label,
    /// How many slots are still to be moved between the two.
    pub slots_left: u32,
}

/// Entries that a node keeps for owners out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintsStatus {
    /// How many.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Entries that were not kept, or not for long enough, since its start. Repair finds them, if another owner has them.
    pub dropped: u64,
    /// Entries that were brought to their owners, since its start.
    pub delivered: u64,
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
