//! What must hold in every run. An invariant sees facts, never the inside of a machine.

use std::{fmt, sync::Arc};

use quoit_core::{meta::Meta, time::Timestamp};
use quoit_proto_types::{
    Epoch, Fence, Instance, Label, View,
    message::{admin::ElectionRole, heartbeat::Heartbeat, peer::PeerMessage},
    view::{TimingProfile, ViewHash},
};

use crate::sim::Actor;

mod acceptors_keep_their_word;
mod bounded;
mod committed_by_a_majority_of_the_voters;
pub mod data;
mod down_only_by_majority;
mod fence_never_regresses;
mod installed_epochs_never_decrease;
mod issued_once;
mod ledger;
mod office_needs_a_quorum;
mod one_view_per_epoch;
mod proposals_are_promised;
mod retired_when_dispensable;
mod ring_changes_wait;
mod settled;
mod slow_only_by_majority;
mod sticky;
#[cfg(test)]
mod tests;
mod witnessed;

pub use ledger::Ledger;
pub use settled::{Settlement, Unsettled, check as settlement};
use witnessed::Hearing;

/// Something that happened, in the order in which it happened.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// A process started.
    Started(&'a Actor),
    /// A process ended.
    Ended(&'a Actor),
    /// A disk was lost, and with it this voting state.
    Wiped(Instance),
    /// A process was stopped for so long that it must have noticed, and goes on.
    Woke(&'a Actor),
    /// A process sent something.
    Sent {
        /// Which process.
        from: &'a Actor,
        /// The view it went by.
        at: Option<(Epoch, ViewHash)>,
        /// What was safe on its disk.
        durable: &'a Meta,
        /// To whoever has this name.
        to: &'a Label,
        /// What.
        message: &'a PeerMessage,
    },
    /// A process sent a heartbeat.
    Beat {
        /// Which process.
        from: &'a Actor,
        /// The heartbeat.
        heartbeat: &'a Heartbeat,
    },
    /// A process handled a heartbeat.
    Heard {
        /// Which process.
        by: &'a Actor,
        /// Whose.
        from: &'a Actor,
        /// The heartbeat.
        heartbeat: &'a Heartbeat,
    },
    /// A process asked for something to be written.
    Persisting {
        /// Which process.
        by: &'a Actor,
        /// What.
        meta: &'a Meta,
    },
    /// What a process asked for is safe, up to this sequence.
    Persisted {
        /// Which process.
        by: &'a Actor,
        /// The sequence.
        sequence: u64,
    },
    /// A process installed a view.
    Installed {
        /// Which process.
        by: &'a Actor,
        /// Which view.
        view: &'a Arc<View>,
        /// Its hash.
        hash: ViewHash,
    },
    /// A process holds all that it is to own.
    Synced {
        /// Which process.
        by: &'a Actor,
        /// Under which fence.
        fence: Fence,
    },
    /// A process has carried out all that it wanted.
    Stepped {
        /// Which process.
        by: &'a Actor,
        /// The role it has.
        role: ElectionRole,
        /// How many outputs there were.
        outputs: usize,
    },
    /// A process ends because it has left with this view.
    Retired {
        /// Which process.
        by: &'a Actor,
        /// The view without it.
        view: &'a Arc<View>,
    },
    /// An operator made a cluster of one survivor. What comes of it follows from no quorum.
    Recovered(&'a Actor),
}

/// What an invariant may know beside the fact.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// When it happened.
    pub now: Timestamp,
    /// What was proposed, accepted and decided before.
    pub ledger: &'a Ledger,
}

/// A property that no run may break.
pub trait Invariant: fmt::Debug {
    /// Takes note of `fact`.
    ///
    /// # Errors
    /// [`Violation`], if `fact` breaks the property.
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation>;
}

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What broke it.
    pub what: String,
}

impl Violation {
    /// `invariant` does not hold, because of `what`.
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What the invariants of one run start with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Who founds the cluster.
    pub founders: Vec<Label>,
    /// The waits of the machines.
    pub timing: TimingProfile,
    /// How long a packet travels at most.
    pub longest_delay: std::time::Duration,
    /// How long a write takes at most, with one before it: what is said waits that long.
    pub longest_write: std::time::Duration,
    /// How many hosts there are.
    pub hosts: usize,
}

/// Every invariant of a run, and the ledger that they share.
#[derive(Debug)]
pub struct Invariants {
    ledger: Ledger,
    all: Vec<Box<dyn Invariant>>,
    /// How often one of them was asked.
    pub checks: u64,
}

impl Invariants {
    /// All of them.
    pub fn new(setting: &Setting) -> Self {
        let all: Vec<Box<dyn Invariant>> = vec![
            Box::new(one_view_per_epoch::OneViewPerEpoch::default()),
            Box::new(installed_epochs_never_decrease::InstalledEpochsNeverDecrease::default()),
            Box::new(committed_by_a_majority_of_the_voters::CommittedByAMajority),
            Box::new(acceptors_keep_their_word::AcceptorsKeepTheirWord::default()),
            Box::new(proposals_are_promised::ProposalsArePromised::default()),
            Box::new(issued_once::IssuedOnce::default()),
            Box::new(bounded::Bounded::new(setting)),
            Box::new(fence_never_regresses::FenceNeverRegresses),
            Box::new(ring_changes_wait::RingChangesWait::default()),
            Box::new(down_only_by_majority::DownOnlyByMajority::new(setting)),
            Box::new(slow_only_by_majority::SlowOnlyByMajority::new(setting)),
            Box::new(sticky::Sticky::new(setting)),
            Box::new(office_needs_a_quorum::OfficeNeedsAQuorum::new(setting)),
            Box::new(retired_when_dispensable::RetiredWhenDispensable::default()),
        ];
        Self { ledger: Ledger::new(setting), all, checks: 0 }
    }

    /// Shows `fact` to all.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn observe(&mut self, now: Timestamp, fact: &Fact<'_>) -> Result<(), Violation> {
        self.ledger.observe(fact);
        let stage = Stage { now, ledger: &self.ledger };
        self.checks += self.all.len() as u64;
        self.all.iter_mut().try_for_each(|invariant| invariant.observe(stage, fact))
    }

    /// Takes a view for decided, as of a cluster that exists before the run.
    pub fn believe(&mut self, view: &Arc<View>) {
        self.ledger.believe(view);
    }

    /// What was proposed, accepted and decided.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
