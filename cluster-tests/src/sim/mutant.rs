//! Planted bugs. A checker that finds none of them proves nothing.

use std::fmt;

use quoit_core::planted::{
    Bug, Planted,
    data::{DataBug, DataPlanted},
};

/// A bug, in the machine or in the disk under it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// No bug.
    #[default]
    None,
    /// One of the machine's own.
    Planted(Bug),
    /// One of the driver's or the disk's.
    Disk(DiskBug),
    /// One of the data plane's.
    Data(DataBug),
}

/// A bug of what keeps the durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBug {
    /// A sync returns before the data is safe: a crash loses the last write.
    LastWriteLost,
    /// A restarted process knows its view and none of its promises.
    PromisesLost,
    /// A start does not raise the boot.
    BootNotRaised,
    /// A process without a disk passes for the instance before it.
    InstanceGuessed,
}

impl DiskBug {
    /// Every bug.
    pub const ALL: [Self; 4] = [Self::LastWriteLost, Self::PromisesLost, Self::BootNotRaised, Self::InstanceGuessed];
}

/// Bugs that no run shows, and that tests of the core must find. A process is one thread here, so that no request meets a store
/// that is being sealed. The other two broke nothing in 800 seeds.
const UNSEEN: [DataBug; 3] = [DataBug::SealIgnored, DataBug::EqualVersionOverwrites, DataBug::RepairDuringRound];

impl Mutant {
    /// Every bug.
    pub fn all() -> Vec<Self> {
        let planted = Bug::ALL.into_iter().map(Self::Planted);
        let data = DataBug::ALL.into_iter().filter(|bug| !UNSEEN.contains(bug)).map(Self::Data);
        planted.chain(DiskBug::ALL.into_iter().map(Self::Disk)).chain(data).collect()
    }

    /// Whether it shows only where there is data.
    pub const fn needs_data(self) -> bool {
        match self {
            Self::None | Self::Disk(_) => false,
            Self::Planted(bug) => matches!(bug, Bug::GuardCountsOneOwner | Bug::ShrinksByTwo | Bug::WeightNotStaged),
            Self::Data(_) => true,
        }
    }

    /// What the machine is to do wrong.
    ///
    /// # Panics
    /// In a build without debug assertions, if it is to do anything wrong.
    pub fn planted(self) -> Planted {
        match self {
            Self::None | Self::Disk(_) | Self::Data(_) => Planted::NOTHING,
            #[cfg(debug_assertions)]
            Self::Planted(bug) => Planted::some(bug),
            #[cfg(not(debug_assertions))]
            Self::Planted(bug) => panic!("{bug:?} cannot be planted in a build without debug assertions"),
        }
    }

    /// What the data plane is to do wrong.
    ///
    /// # Panics
    /// In a build without debug assertions, if it is to do anything wrong.
    pub fn data(self) -> DataPlanted {
        match self {
            Self::None | Self::Disk(_) | Self::Planted(_) => DataPlanted::NOTHING,
            #[cfg(debug_assertions)]
            Self::Data(bug) => DataPlanted::some(bug),
            #[cfg(not(debug_assertions))]
            Self::Data(bug) => panic!("{bug:?} cannot be planted in a build without debug assertions"),
        }
    }

    /// What the disk is to do wrong.
    pub fn disk(self) -> Option<DiskBug> {
        match self {
            Self::Disk(bug) => Some(bug),
            Self::None | Self::Planted(_) | Self::Data(_) => None,
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Planted(bug) => f.pad(&format!("{bug:?}")),
            Self::Disk(bug) => f.pad(&format!("{bug:?}")),
            Self::Data(bug) => f.pad(&format!("{bug:?}")),
        }
    }
}
