//! Why a view differs from the one before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{epoch::Epoch, identity::Label, limits, view::Address};

/// One reason for a view. Members are named, because they may be gone when somebody reads this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The founders formed the cluster.
    Formed,
    /// The voters elected this member coordinator.
    Elected(Label),
    /// It was admitted.
    Joined(Label),
    /// It was started again and has an empty memory.
    Restarted(Label),
    /// It came back without its disk and is another member now.
    Replaced(Label),
    /// It is reached elsewhere.
    Moved(Label, Address),
    /// Its weight on the ring, its zone or its priority is another.
    Changed(Label),
    /// A majority of the voters hears it again.
    Up(Label),
    /// A majority of the voters does not hear it.
    Down(Label),
    /// It answers late, as a majority of those who ask it says.
    Slow(Label),
    /// They say so no more.
    QuickAgain(Label),
    /// It is to leave, as this administrator wants.
    Draining(Label, Label),
    /// It is to be removed, as this administrator wants.
    ForcedOut(Label, Label),
    /// It is to be removed, having been down for too long.
    TooLongDown(Label),
    /// It is no member any more.
    Removed(Label),
    /// It votes.
    Votes(Label),
    /// It votes no more.
    VotesNoMore(Label),
    /// Slots begin to move to a new ring.
    RingChangeBegun,
    /// The new ring is in force.
    RingChangeDone,
    /// The new ring was given up.
    RingChangeAborted,
    /// An administrator made a new cluster from what this survivor knew at this epoch.
    Recovered(Label, Epoch),
    /// So many copies of each slot are wanted, as this administrator says.
    CopiesWanted(u8, Label),
    /// The ring that is in force has so many.
    CopiesInForce(u8),
    /// It is to have so many vnodes, as this administrator wants.
    Weighed(Label, u32, Label),
    /// So many slots have no living owner, and none that may come back: the ring change that begins gives them to owners who
    /// start empty.
    SlotsLost(u32),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Formed => f.write_str("cluster formed"),
            Self::Elected(name) => write!(f, "{name} elected coordinator"),
            Self::Joined(name) => write!(f, "{name} joined"),
            Self::Restarted(name) => write!(f, "{name} restarted"),
            Self::Replaced(name) => write!(f, "{name} came back without its disk"),
            Self::Moved(name, address) => write!(f, "{name} moved to {address}"),
            Self::Changed(name) => write!(f, "{name} has other settings"),
            Self::Up(name) => write!(f, "{name} up"),
            Self::Down(name) => write!(f, "{name} down"),
            Self::Slow(name) => write!(f, "{name} slow"),
            Self::QuickAgain(name) => write!(f, "{name} quick again"),
            Self::Draining(name, by) => write!(f, "{name} to leave, drained by {by}"),
            Self::ForcedOut(name, by) => write!(f, "{name} to be removed, forced out by {by}"),
            Self::TooLongDown(name) => write!(f, "{name} to be removed, down for too long"),
            Self::Removed(name) => write!(f, "{name} removed"),
            Self::Votes(name) => write!(f, "{name} votes"),
            Self::VotesNoMore(name) => write!(f, "{name} votes no more"),
            Self::RingChangeBegun => f.write_str("ring change begun"),
            Self::RingChangeDone => f.write_str("ring change done"),
            Self::RingChangeAborted => f.write_str("ring change given up"),
            Self::Recovered(name, epoch) => write!(f, "recovered from {name}, which knew epoch {}", epoch.value()),
            Self::CopiesWanted(limits::REPLICATION_ALL, by) => write!(f, "a copy on every node wanted, set by {by}"),
            Self::CopiesWanted(1, by) => write!(f, "1 copy wanted, set by {by}"),
            Self::CopiesWanted(copies, by) => write!(f, "{copies} copies wanted, set by {by}"),
            Self::CopiesInForce(limits::REPLICATION_ALL) => f.write_str("every node holds a copy"),
            Self::CopiesInForce(1) => f.write_str("each key has 1 copy"),
            Self::CopiesInForce(copies) => write!(f, "each key has {copies} copies"),
            Self::Weighed(name, vnodes, by) => write!(f, "{name} to have {vnodes} vnodes, set by {by}"),
            Self::SlotsLost(1) => f.write_str("1 slot begins empty, none of its owners is left"),
            Self::SlotsLost(slots) => write!(f, "{slots} slots begin empty, none of their owners is left"),
        }
    }
}
