//! Spreading views; joining, leaving, and what administrators ask for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::session::VersionRange;
use crate::{
    epoch::{Ballot, Epoch, Fence},
    id::{Boot, ClusterId, Instance},
    identity::Label,
    view::{Address, View, ViewDelta, Zone},
};

/// What a node says of itself to become a member: as a founder, or by joining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applicant {
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
    /// Its place in the election before seniority counts: the higher goes first.
    pub priority: u8,
    /// The protocol versions it speaks.
    pub versions: VersionRange,
}

/// A message about views and members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipMessage {
    /// A view is decided. To its voters this also asks for a promise of `ballot` for the next one.
    Commit {
        /// The ballot under which it was decided, which is higher than the view's own if it was proposed before.
        ballot: Ballot,
        /// It.
        view: View,
    },
    /// The same, for who has the view before.
    CommitDelta {
        /// The ballot under which it was decided.
        ballot: Ballot,
        /// What changed.
        delta: ViewDelta,
    },
    /// The sender has installed a view.
    Installed {
        /// Which.
        epoch: Epoch,
        /// What the sender has promised for the next one, if it is one of its voters.
        promised: Ballot,
    },
    /// The sender wants the receiver's view if that is later than this.
    ViewGet {
        /// What it has; 0 if none.
        epoch: Epoch,
    },
    /// The sender wants to be a member, or to be one again after a restart.
    Join {
        /// It.
        applicant: Applicant,
        /// The cluster in whose view it has a place. Nobody else admits it while it believes so.
        cluster: Option<ClusterId>,
    },
    /// A member passes a join on to the coordinator.
    ForwardedJoin(Applicant),
    /// What became of the join of `applicant`, if it does not lead to a view.
    JoinAnswer {
        /// Whose join.
        applicant: Label,
        /// What became of it.
        answer: JoinAnswer,
    },
    /// How far the sender, which is to own slots under the target of the view with this fence, is with fetching them. Said
    /// again at every heartbeat, as the coordinator may be another by then.
    Synced {
        /// The fence.
        fence: Fence,
        /// Slots that it has yet to fetch; 0 if it holds all.
        left: u32,
    },
    /// A member passes a command on to the coordinator.
    Command {
        /// Pairs the answer with it.
        id: u64,
        /// The administrator who gave it.
        by: Label,
        /// It.
        command: Command,
    },
    /// What became of it.
    CommandAnswer {
        /// Which.
        id: u64,
        /// What became of it.
        answer: CommandAnswer,
    },
}

/// What became of a join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// It waits at the coordinator for the next view.
    Queued {
        /// The coordinator.
        coordinator: Label,
    },
    /// Nobody can admit it: no coordinator is known.
    NoCoordinator,
    /// Another instance of this name is up.
    NameInUse {
        /// Where it is reached, if that is known.
        address: Option<Address>,
    },
    /// The coordinator cannot reach the address that it gave.
    NotReached {
        /// The address.
        address: Address,
        /// Why not.
        reason: String,
    },
    /// There would be too many members, or too many vnodes.
    Full {
        /// Which limit would be broken.
        reason: String,
    },
}

impl fmt::Display for JoinAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued { coordinator } => write!(f, "queued at the coordinator, {coordinator}"),
            Self::NoCoordinator => f.write_str(
                "it knows no coordinator: a majority of the voters must be up and connected (quoit status shows them)",
            ),
            Self::NameInUse { address } => {
                f.write_str("another node of this name is up")?;
                if let Some(address) = address {
                    write!(f, " at {address}")?;
                }
                f.write_str(": stop that one, or give this one a certificate of its own; one that is gone is replaced in moments")
            }
            Self::NotReached { address, reason } => {
                write!(
                    f,
                    "the coordinator cannot reach this node at {address} ({reason}): set --advertise to where it is reached"
                )
            }
            Self::Full { reason } => write!(f, "the view cannot take it: {reason}"),
        }
    }
}

/// What an administrator wants of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Let a member give up its slots and leave.
    Drain {
        /// Who.
        name: Label,
    },
    /// Remove a member without its doing.
    ForceOut {
        /// Who.
        name: Label,
    },
    /// Hand the office over.
    Transfer {
        /// To whom; the highest-ranked other voter if not said.
        to: Option<Label>,
    },
    /// Have so many copies of each slot. The ring follows: more come with one change of it, of fewer one goes with each.
    SetCopies {
        /// 1 to [`limits::REPLICATION_MAX`](crate::limits::REPLICATION_MAX), or
        /// [`limits::REPLICATION_ALL`](crate::limits::REPLICATION_ALL).
        copies: u8,
    },
    /// Give a member another weight on the ring. It counts until the member is started again: then its own configuration does.
    SetWeight {
        /// Who.
        name: Label,
        /// Its points on the ring, at most [`limits::VNODES_MAX`](crate::limits::VNODES_MAX). With none it gives up its slots
        /// and is a witness.
        vnodes: u32,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandAnswer {
    /// It is under way, or was done already. Views from this epoch on show it.
    Accepted {
        /// The coordinator's view when it was accepted.
        epoch: Epoch,
    },
    /// No coordinator is known, so nothing can be decided.
    NoCoordinator,
    /// There is no member of this name.
    NoSuchMember {
        /// The name.
        name: Label,
    },
    /// It would leave the cluster without owners, or without voters.
    LastOne {
        /// The member that is needed.
        name: Label,
    },
    /// The member is up: it can be drained.
    IsUp {
        /// The member.
        name: Label,
    },
    /// The office cannot be handed to it: it is not a voter, or is not heard.
    CannotPreside {
        /// The member.
        name: Label,
    },
    /// There can be no such number.
    OutOfRange {
        /// Which limit would be broken.
        reason: String,
    },
}
