//! Bugs that tests plant, to prove that the simulator has teeth.
//!
//! They exist in builds with debug assertions only. In a release build [`Planted`] is empty, and the question whether a bug
//! is planted has one answer, which the compiler knows.

pub mod data;

/// One bug of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// One voter's word is enough.
    NoQuorum,
    /// A majority of the voters that are connected is enough.
    MajorityOfTheReachable,
    /// What a voter accepted before is not proposed again.
    AcceptedIgnored,
    /// A voter promises and accepts ballots below the one it promised.
    PromiseNotKept,
    /// An acceptor answers for epochs that it has left.
    AnswersForLeftEpochs,
    /// Founders form the cluster by majority.
    GenesisByMajority,
    /// Messages leave before the disk has what they tell.
    ForgottenFsync,
    /// Installing a view does not promise its ballot for the next one.
    NoStandingPromise,
    /// A coordinator goes on before its voters have promised its ballot.
    NoWaitForInstalled,
    /// The voters of the next view decide about it.
    WrongVoterSet,
    /// A proposer's term does not go up.
    TermReused,
    /// A ring change keeps the fence.
    FenceNotRaised,
    /// Any view is installed, however old.
    InstallsOlderViews,
    /// A voter stands for election whenever it outranks the coordinator.
    Preemptive,
    /// Voters grant although they hear the coordinator.
    NotSticky,
    /// A candidate waits for a superior for ever.
    YieldsForEver,
    /// A coordinator stays in office when it reaches no majority.
    StaysWithoutQuorum,
    /// One voter's suspicion makes a member down.
    DownByOneVoter,
    /// One member's word makes another slow.
    SlowByOneMember,
    /// A member is up at its first word.
    UpAtOnce,
    /// A voter that was asleep blames the others.
    NoSelfDoubt,
    /// A new instance takes over the ordinal of the one that lost its disk.
    InstanceInherits,
    /// The name of a member that is up goes to another instance.
    NameStolen,
    /// A leaving voter is told to go before a majority of the new voters has the view.
    RetiresEarly,
    /// A ring change ends without waiting for those who are to own.
    GuardIgnored,
    /// A ring change ends when one of those who are to own has its slots.
    GuardCountsOneOwner,
    /// A ring change takes two owners of a slot at once.
    ShrinksByTwo,
    /// The ring in force goes by a member's new weight or zone at once.
    WeightNotStaged,
    /// Views are not pulled: who missed a commit stays behind.
    NoPull,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 29] = [
        Self::NoQuorum,
        Self::MajorityOfTheReachable,
        Self::AcceptedIgnored,
        Self::PromiseNotKept,
        Self::AnswersForLeftEpochs,
        Self::GenesisByMajority,
        Self::ForgottenFsync,
        Self::NoStandingPromise,
        Self::NoWaitForInstalled,
        Self::WrongVoterSet,
        Self::TermReused,
        Self::FenceNotRaised,
        Self::InstallsOlderViews,
        Self::Preemptive,
        Self::NotSticky,
        Self::YieldsForEver,
        Self::StaysWithoutQuorum,
        Self::DownByOneVoter,
        Self::SlowByOneMember,
        Self::UpAtOnce,
        Self::NoSelfDoubt,
        Self::InstanceInherits,
        Self::NameStolen,
        Self::RetiresEarly,
        Self::GuardIgnored,
        Self::GuardCountsOneOwner,
        Self::ShrinksByTwo,
        Self::WeightNotStaged,
        Self::NoPull,
    ];
}

/// The bug that is planted, if any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planted {
    #[cfg(debug_assertions)]
    bug: Option<Bug>,
}

impl Planted {
    /// None.
    pub const NOTHING: Self = Self {
        #[cfg(debug_assertions)]
        bug: None,
    };

    /// This one. There is no such function in a release build.
    #[cfg(debug_assertions)]
    pub const fn some(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether it is `bug`.
    #[cfg(debug_assertions)]
    pub(crate) fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether it is `bug`: never.
    #[cfg(not(debug_assertions))]
    pub(crate) const fn is(self, _bug: Bug) -> bool {
        false
    }
}
