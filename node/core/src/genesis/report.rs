//! What genesis tells humans.

use std::fmt;

use quoit_proto_types::{
    Label,
    view::{InvalidView, ViewConfig},
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
}

impl fmt::Display for GenesisStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { missing } => write!(f, "waiting for {}", Names(missing)),
            Self::Mismatch { with } => write!(f, "not in agreement with {} on what to found", Names(with)),
            Self::Forming => f.write_str("all founders are connected; forming the cluster"),
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
    /// The settings on which the founders agree allow no view.
    Unformable {
        /// Which rule they break.
        reason: InvalidView,
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
            Self::Unformable { reason } => write!(f, "the founders cannot form a cluster: {reason}"),
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
        let ViewConfig { slots, replication, ring_algorithm, timing, out_after_s } = self.0;
        write!(
            f,
            "{} slots, replication {replication}, {ring_algorithm} ring, timing {timing}, out after {out_after_s} s",
            slots.count()
        )
    }
}
