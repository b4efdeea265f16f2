//! What genesis tells humans.

use std::fmt;

use quoit_proto_types::{
    Label,
    view::{InvalidView, ViewConfig, ViewHash},
};

/// Where a founder stands on the way to view 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GenesisStatus {
    /// These founders are not connected, or have not yet said what they would found.
    Waiting {
        /// Their names, in order.
        missing: Vec<Label>,
    },
    /// These founders would found something else; nothing is formed until that is mended.
    Mismatch {
        /// Their names, in order.
        with: Vec<Label>,
    },
    /// All founders are connected and agree; view 1 is being decided.
    Forming,
    /// View 1 is installed.
    Formed,
    /// View 1 was decided with an earlier process of this name, or without this node.
    Superseded {
        /// Who said so.
        by: Label,
    },
}

impl fmt::Display for GenesisStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { missing } => write!(f, "waiting for {}", Names(missing)),
            Self::Mismatch { with } => write!(f, "not in agreement with {} on what to found", Names(with)),
            Self::Forming => f.write_str("all founders are connected; forming the cluster"),
            Self::Formed => f.write_str("the cluster is formed"),
            Self::Superseded { by } => write!(f, "{by} is in a cluster without this process"),
        }
    }
}

/// What an operator must read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A founder was given another list of founders.
    FoundersDiffer {
        /// It.
        peer: Label,
        /// This node's list.
        ours: Vec<Label>,
        /// The other's.
        theirs: Vec<Label>,
    },
    /// A founder has another configuration.
    ConfigDiffers {
        /// It.
        peer: Label,
        /// This node's.
        ours: ViewConfig,
        /// The other's.
        theirs: ViewConfig,
    },
    /// The cluster was formed with an earlier process of this name.
    Superseded {
        /// Who said so.
        by: Label,
    },
    /// The cluster was formed without this node.
    NotAmong {
        /// Who said so.
        by: Label,
        /// The founders this node was given.
        ours: Vec<Label>,
        /// The members of the cluster.
        members: Vec<Label>,
    },
    /// The settings on which the founders agree allow no view.
    Unformable {
        /// Which rule they break.
        reason: InvalidView,
    },
    /// A founder holds another view of the same epoch. The protocol excludes it: two clusters share names and authority.
    Forked {
        /// It.
        peer: Label,
        /// This node's view.
        ours: ViewHash,
        /// The other's.
        theirs: ViewHash,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FoundersDiffer { peer, ours, theirs } => {
                let (ours, theirs) = (Names(ours), Names(theirs));
                write!(
                    f,
                    "the founders here are {ours}, but at {peer} they are {theirs}: give every node the same seeds"
                )
            }
            Self::ConfigDiffers { peer, ours, theirs } => {
                let (ours, theirs) = (Settings(ours), Settings(theirs));
                write!(f, "this founder has {ours}, but {peer} has {theirs}: give every founder the same settings")
            }
            Self::Superseded { by } => write!(
                f,
                "{by} is in a cluster that was formed before this process started: what this node held then is lost, and \
                 it cannot take its old place; restart every founder to form a new and empty cluster"
            ),
            Self::NotAmong { by, ours, members } => {
                let (ours, members) = (Names(ours), Names(members));
                write!(
                    f,
                    "{by} is in a cluster of {members}, but the founders here are {ours}: give every node the same seeds"
                )
            }
            Self::Unformable { reason } => write!(f, "the founders cannot form a cluster: {reason}"),
            Self::Forked { peer, ours, theirs } => write!(
                f,
                "{peer} holds view {theirs} and this node view {ours} of the same epoch: two clusters share one name and \
                 one authority"
            ),
        }
    }
}

/// Names for a sentence.
struct Names<'a>(&'a [Label]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A configuration for a sentence.
struct Settings<'a>(&'a ViewConfig);

impl fmt::Display for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ViewConfig { slots, replication, ring_algorithm } = self.0;
        write!(f, "{} slots, replication {replication} and ring algorithm {ring_algorithm}", slots.count())
    }
}
