//! What must hold in every run. An invariant sees facts, never the inside of a machine.

use std::fmt;

use quoit_core::membership::GenesisStatus;
use quoit_proto_types::{
    Instance, Label, View,
    message::peer::{Founder, PeerMessage},
};

mod installed_views_name_the_process;
mod one_view_per_ballot;
mod one_view_per_epoch;
mod settled;
mod view_accepted_by_all_founders;

/// Something that happened, in the order in which it happened.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// A process started.
    Started(&'a Founder),
    /// A process ended.
    Ended(Instance),
    /// A process sent something.
    Sent {
        /// Which process.
        from: &'a Founder,
        /// To whoever has this name.
        to: &'a Label,
        /// What.
        message: &'a PeerMessage,
    },
    /// A process installed a view.
    Installed {
        /// Which process.
        by: &'a Founder,
        /// Which view.
        view: &'a View,
    },
    /// All faults have been over for long; every founder is up.
    Settled(&'a [(Founder, GenesisStatus)]),
}

/// A property that no run may break.
pub trait Invariant: fmt::Debug {
    /// Takes note of `fact`.
    ///
    /// # Errors
    /// [`Violation`], if `fact` breaks the property.
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation>;
}

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every invariant, for one run of a cluster of `founders`.
pub fn all(founders: &[Label]) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(one_view_per_ballot::OneViewPerBallot::default()),
        Box::new(one_view_per_epoch::OneViewPerEpoch::default()),
        Box::new(view_accepted_by_all_founders::ViewAcceptedByAllFounders::new(founders)),
        Box::new(installed_views_name_the_process::InstalledViewsNameTheProcess::default()),
        Box::new(settled::Settled::default()),
    ]
}
