//! What goes into the machine and what comes out, beside messages.

use std::{fmt, sync::Arc};

use quoit_proto_types::{
    Boot, Epoch, Instance, Label, Nonce, View,
    message::{
        heartbeat::Heartbeat,
        membership::{Applicant, CommandAnswer, JoinAnswer},
        peer::PeerMessage,
    },
    view::{Address, ViewConfig, ViewHash},
};

use crate::{genesis, meta::Meta, planted::Planted};

/// What a node starts with, beside its durable state.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The cluster's name.
    pub cluster: Label,
    /// The node itself. Instance and boot are those of its durable state.
    pub me: Applicant,
    /// What founders must agree on.
    pub view: ViewConfig,
    /// The time of day when time was 0, in milliseconds since 1970, for what people read.
    pub started_at_ms: u64,
    /// A bug to plant.
    pub planted: Planted,
}

/// Which process of a name a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its voting state.
    pub instance: Instance,
    /// Its memory.
    pub boot: Boot,
    /// The process.
    pub nonce: Nonce,
}

/// Whether a peer is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Admitted,
    /// A later process of its instance has been seen: close with `Superseded`.
    Superseded,
    /// Another process of its instance and boot has been seen, so a disk was copied: close with `DuplicateIdentity`.
    Duplicate,
    /// Another instance of its name is a member, up, and connected: close with `NameInUse`.
    NameInUse,
}

/// Pairs the answer to a command with it, for who passed it to this node's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// What came of an attempt to reach an applicant where it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The process with this instance and boot, under the applicant's name, answered there.
    Yes,
    /// It did not, for this reason.
    No(String),
}

/// What the machine wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all outputs are messages, and short-lived")]
pub enum Output {
    /// Send `message` to the peer `to`, or drop it if there is no connection.
    Send {
        /// The receiver.
        to: Label,
        /// The message.
        message: PeerMessage,
    },
    /// Send `heartbeat` as a datagram, or drop it.
    Beat {
        /// The receiver.
        to: Label,
        /// The heartbeat.
        heartbeat: Heartbeat,
    },
    /// Write this to disk, then call `handle_persisted` with its sequence. If several wait, only the last need be written.
    /// A write that fails must stop the process.
    Persist(Box<Meta>),
    /// Go by this view from here on.
    Install(Arc<View>),
    /// Dial the applicant where it says it is, and call `handle_reached`.
    Reach(Applicant),
    /// The answer to a command.
    Answer {
        /// Which.
        id: CommandId,
        /// It.
        answer: CommandAnswer,
    },
    /// Tell the operator.
    Report(Finding),
    /// End the process.
    Stop(StopReason),
}

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It has left the cluster, as it was told to.
    Retired {
        /// The first view without it.
        epoch: Epoch,
    },
    /// A later process of the same instance is up.
    Superseded {
        /// Who said so.
        by: Label,
    },
    /// Another process of the same instance and boot is up: a disk was copied.
    Duplicate {
        /// Who said so.
        by: Label,
    },
    /// Two views of one epoch: what the protocol excludes has happened.
    Forked(Box<Fork>),
}

/// The evidence of a fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Who has the other view.
    pub peer: Label,
    /// The epoch.
    pub epoch: Epoch,
    /// The hash of this node's view.
    pub ours: ViewHash,
    /// What is known of the other one, in words.
    pub theirs: String,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retired { epoch } => write!(f, "this node has left the cluster with view {}", epoch.value()),
            Self::Superseded { by } => {
                write!(f, "{by} has seen a later process of this node: two run on one data folder, or on copies of it")
            }
            Self::Duplicate { by } => write!(
                f,
                "{by} has seen another process with this node's identity and the same number of starts: its data folder \
                 was copied; stop one, delete the copy and start it again as a new node"
            ),
            Self::Forked(fork) => write!(
                f,
                "{} and this node have different views of epoch {} (here {}, there {}): two clusters share one name and \
                 one authority, or a data folder was brought back from a backup",
                fork.peer,
                fork.epoch.value(),
                fork.ours,
                fork.theirs
            ),
        }
    }
}

/// Where the node stands on its way into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not know the founders yet.
    Searching,
    /// It forms the cluster with the other founders.
    Founding(genesis::GenesisStatus),
    /// It wants to join: what the members that it asked said last, in the order of their names.
    Joining {
        /// The answers.
        answers: Vec<(Label, JoinAnswer)>,
    },
    /// It is a member of its view, in an earlier life: it waits to be admitted in this one.
    Rejoining {
        /// The answers.
        answers: Vec<(Label, JoinAnswer)>,
    },
    /// It is a member.
    Member,
    /// It has left, and waits until a majority of the voters knows that.
    Leaving,
    /// It has left, or must not go on.
    Stopped(StopReason),
}

/// Why the ring should change and does not begin to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingChange {
    /// These members are down, and would have to take slots: it begins when they are up, or are given up.
    Down(Vec<Label>),
    /// These members are all who own, they are all to go, and nobody could take their slots: it begins when another joins.
    NobodyElse(Vec<Label>),
}

impl fmt::Display for WaitingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Label]| names.iter().map(Label::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::Down(names) => write!(f, "{} down, and would have to take slots", list(names)),
            Self::NobodyElse(names) => write!(f, "nobody could take the slots of {}", list(names)),
        }
    }
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// About forming the cluster.
    Genesis(genesis::Finding),
    /// A join failed.
    JoinRefused {
        /// Who said so.
        by: Label,
        /// Why.
        answer: JoinAnswer,
    },
    /// A peer presents an older process than one that was seen, or a copied disk.
    Impostor {
        /// Its name.
        peer: Label,
        /// Which of the two.
        admission: Admission,
    },
    /// A peer is in another cluster of this name.
    OtherCluster {
        /// It.
        peer: Label,
        /// Where it is reached, if known.
        address: Option<Address>,
    },
    /// This node was late by so many milliseconds, and withdrew its suspicions.
    Late {
        /// How late.
        by_ms: u64,
    },
    /// More than half of the members fell silent at once, and this node doubted itself.
    SelfDoubt {
        /// How many fell silent.
        silent: usize,
    },
    /// Something about the election, for the log.
    Election(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Genesis(finding) => finding.fmt(f),
            Self::JoinRefused { by, answer } => write!(f, "{by} did not let this node join: {answer}"),
            Self::Impostor { peer, admission: Admission::Duplicate } => write!(
                f,
                "two processes run as {peer} with one instance and one boot: its data folder was copied; stop one of them"
            ),
            Self::Impostor { peer, admission: Admission::NameInUse } => {
                write!(f, "a second node called {peer}, with another disk, was refused while the first one is up")
            }
            Self::Impostor { peer, .. } => write!(f, "an earlier process of {peer} still runs; it was told to stop"),
            Self::OtherCluster { peer, address } => {
                write!(f, "{peer}")?;
                if let Some(address) = address {
                    write!(f, " at {address}")?;
                }
                f.write_str(" is in another cluster of this name: give this node other seeds, or stop that cluster")
            }
            Self::Late { by_ms } => {
                write!(f, "this node was busy or stopped for {by_ms} ms; it suspects nobody for that")
            }
            Self::SelfDoubt { silent } => {
                write!(f, "{silent} members fell silent at once: this node waits before it calls them down")
            }
            Self::Election(text) => f.write_str(text),
        }
    }
}
