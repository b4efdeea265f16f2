//! The mutation gate: whether the simulator finds every planted bug, and with how many seeds, or in which situation.

use std::fmt;

use comfy_table::Table;
use serde_json::{Value, json};

use super::table;
use crate::{
    invariants::Violation,
    scenarios::data,
    sim::{self, DiskBug, Failure, Mutant, Plan},
};
use quoit_core::planted::{Bug, data::DataBug};

/// How a search for one bug went.
#[derive(Debug)]
pub struct Search {
    /// The bug.
    pub mutant: Mutant,
    /// How many seeds it may take.
    pub budget: u64,
    /// What found it.
    pub found: Option<Found>,
}

/// What finds a bug.
#[derive(Debug)]
pub enum Found {
    /// This seed.
    Seed(Box<Failure>),
    /// The situation of this name, which is rare under seeds.
    Situation(&'static str, Violation),
}

impl Found {
    /// What broke.
    pub fn violation(&self) -> &Violation {
        match self {
            Self::Seed(failure) => &failure.violation,
            Self::Situation(_, violation) => violation,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(failure) => write!(f, "{}", failure.plan.seed + 1),
            Self::Situation(name, _) => f.write_str(name),
        }
    }
}

/// A situation that may be played in a cluster with a bug.
type Situation = fn(Mutant) -> Result<(), Violation>;

/// The situation in which `mutant` shows, where seeds come upon it too seldom.
fn situation(mutant: Mutant) -> Option<(&'static str, Situation)> {
    if mutant == Mutant::Data(DataBug::KeepsDataAfterLosingSlot) {
        Some(("owns again", data::owns_again))
    } else if mutant == Mutant::Data(DataBug::FloorIgnored) {
        Some(("offers late", data::offers_late))
    } else if mutant == Mutant::Data(DataBug::CollectsByOwnClock) {
        Some(("a clock ahead", data::a_clock_ahead))
    } else {
        None
    }
}

/// With how many seeds `mutant` must be found: about four times what it takes, as what a seed does changes with the
/// simulator.
pub const fn budget(mutant: Mutant) -> u64 {
    match mutant {
        Mutant::None => 0,
        Mutant::Planted(bug) => match bug {
            Bug::NoQuorum
            | Bug::MajorityOfTheReachable
            | Bug::AcceptedIgnored
            | Bug::PromiseNotKept
            | Bug::AnswersForLeftEpochs
            | Bug::GenesisByMajority
            | Bug::ForgottenFsync
            | Bug::NoStandingPromise
            | Bug::NoWaitForInstalled
            | Bug::TermReused
            | Bug::FenceNotRaised
            | Bug::InstallsOlderViews
            | Bug::StaysWithoutQuorum
            | Bug::DownByOneVoter
            | Bug::SlowByOneMember
            | Bug::InstanceInherits
            | Bug::GuardIgnored
            | Bug::GuardCountsOneOwner
            | Bug::WeightNotStaged
            | Bug::NoPull => 100,
            Bug::Preemptive | Bug::NotSticky | Bug::YieldsForEver | Bug::UpAtOnce | Bug::NoSelfDoubt => 500,
            Bug::WrongVoterSet | Bug::RetiresEarly => 1_000,
            Bug::ShrinksByTwo => 2_500,
            Bug::NameStolen => 2_000,
        },
        Mutant::Disk(bug) => match bug {
            DiskBug::LastWriteLost | DiskBug::PromisesLost | DiskBug::BootNotRaised => 100,
            DiskBug::InstanceGuessed => 4_000,
        },
        Mutant::Data(bug) => match bug {
            DataBug::KeepsDataAfterLosingSlot
            | DataBug::FloorIgnored
            | DataBug::ScanBeforeSeal
            | DataBug::DropsWithoutOffer
            | DataBug::CollectsByOwnClock
            | DataBug::PurgeOnMajority => 1_000,
            DataBug::DigestNotUpdatedOnExpiry
            | DataBug::EqualVersionOverwrites
            | DataBug::OlderWins
            | DataBug::SealIgnored
            | DataBug::OneSourceOnly
            | DataBug::RepairDuringRound
            | DataBug::HintAfterCollection
            | DataBug::SyncedTooEarly
            | DataBug::AckBeforeStored
            | DataBug::SubstituteCountsForQuorum
            | DataBug::JointWithoutNew
            | DataBug::JointWithoutOld
            | DataBug::RetryRestamps
            | DataBug::AnyReplicaReadsInJoint
            | DataBug::FenceIgnored
            | DataBug::SkewIgnored
            | DataBug::ExpiryLeavesNothing => 150,
        },
    }
}

/// Looks for `mutant`.
pub fn search(mutant: Mutant) -> Search {
    let budget = budget(mutant);
    if let Some((name, situation)) = situation(mutant) {
        // What breaks without the bug as well does not show the bug, here and below.
        let broken = situation(mutant).err().filter(|_| situation(Mutant::None).is_ok());
        return Search { mutant, budget, found: broken.map(|violation| Found::Situation(name, violation)) };
    }
    let plan = |seed| Plan { seed, data: mutant.needs_data(), ..Plan::default() };
    let breaks = |seed| sim::run(plan(seed).planted(mutant)).err();
    let found = (0..budget).filter_map(breaks).find(|failure| sim::run(plan(failure.plan.seed)).is_ok());
    Search { mutant, budget, found: found.map(Found::Seed) }
}

/// The searches as a table.
pub fn to_table(searches: &[Search]) -> Table {
    let mut table = table(["bug", "seeds", "of", "found by", "how"]);
    for Search { mutant, budget, found } in searches {
        let (seeds, by, how) = match found {
            Some(found) => (found.to_string(), found.violation().invariant, found.violation().what.clone()),
            None => ("-".to_owned(), "not found", String::new()),
        };
        table.add_row([mutant.to_string(), seeds, budget.to_string(), by.to_owned(), how]);
    }
    table
}

/// The searches for programs.
pub fn to_json(searches: &[Search]) -> Value {
    let row = |search: &Search| {
        json!({
            "bug": search.mutant.to_string(),
            "budget": search.budget,
            "found_by": search.found.as_ref().map(ToString::to_string),
            "invariant": search.found.as_ref().map(|found| found.violation().invariant),
        })
    };
    searches.iter().map(row).collect()
}
