//! Bugs of the data plane, planted like those of the control plane.

/// One bug of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataBug {
    /// An entry that expires keeps its share of the slot's digest.
    DigestNotUpdatedOnExpiry,
    /// A slot that is lost keeps its entries, and has them still when it comes back.
    KeepsDataAfterLosingSlot,
    /// What was deleted and collected is taken in again.
    FloorIgnored,
    /// Of two entries of the same version the one that arrives last stays.
    EqualVersionOverwrites,
    /// The entry that arrives last stays, however old.
    OlderWins,
    /// Writes are taken in under whatever fence they were sent.
    SealIgnored,
    /// A slot is synced as soon as one of its owners has given it.
    OneSourceOnly,
    /// A slot is given to a node that goes by a newer view than the one who gives it.
    ScanBeforeSeal,
    /// Repair goes on in slots that are being collected.
    RepairDuringRound,
    /// Tombstones are collected when a majority of the owners has them.
    PurgeOnMajority,
    /// Hints are kept for ever.
    HintAfterCollection,
    /// Entries of lost slots are dropped without being offered.
    DropsWithoutOffer,
    /// A slot is reported as synced when its first source begins to give it.
    SyncedTooEarly,
    /// A write is acknowledged before any node holds it.
    AckBeforeStored,
    /// Substitutes count among the owners of a quorum.
    SubstituteCountsForQuorum,
    /// While a ring change is under way, the owners to be do not count.
    JointWithoutNew,
    /// While a ring change is under way, the owners in force do not count.
    JointWithoutOld,
    /// A node that is yet to own a slot answers reads of it.
    AnyReplicaReadsInJoint,
    /// A write that is tried anew is another write.
    RetryRestamps,
    /// A node acts on requests of any fence.
    FenceIgnored,
    /// Versions from far ahead are taken in.
    SkewIgnored,
    /// An entry that expires leaves no tombstone.
    ExpiryLeavesNothing,
    /// Nobody but the owners is asked whether the moment up to which tombstones are collected has passed.
    CollectsByOwnClock,
}

impl DataBug {
    /// Every bug.
    pub const ALL: [Self; 23] = [
        Self::DigestNotUpdatedOnExpiry,
        Self::KeepsDataAfterLosingSlot,
        Self::FloorIgnored,
        Self::EqualVersionOverwrites,
        Self::OlderWins,
        Self::SealIgnored,
        Self::OneSourceOnly,
        Self::ScanBeforeSeal,
        Self::RepairDuringRound,
        Self::PurgeOnMajority,
        Self::HintAfterCollection,
        Self::DropsWithoutOffer,
        Self::SyncedTooEarly,
        Self::AckBeforeStored,
        Self::SubstituteCountsForQuorum,
        Self::JointWithoutNew,
        Self::JointWithoutOld,
        Self::AnyReplicaReadsInJoint,
        Self::RetryRestamps,
        Self::FenceIgnored,
        Self::SkewIgnored,
        Self::ExpiryLeavesNothing,
        Self::CollectsByOwnClock,
    ];
}

/// The bug of the data plane that is planted, if any.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataPlanted {
    #[cfg(debug_assertions)]
    bug: Option<DataBug>,
}

impl DataPlanted {
    /// None.
    pub const NOTHING: Self = Self {
        #[cfg(debug_assertions)]
        bug: None,
    };

    /// This one. There is no such function in a release build.
    #[cfg(debug_assertions)]
    pub const fn some(bug: DataBug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether it is `bug`.
    #[cfg(debug_assertions)]
    pub(crate) fn is(self, bug: DataBug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether it is `bug`: never.
    #[cfg(not(debug_assertions))]
    pub(crate) const fn is(self, _bug: DataBug) -> bool {
        false
    }
}
