//! The mutation gate: whether the simulator finds every planted bug, and with how many seeds.

use comfy_table::Table;
use serde_json::{Value, json};

use super::table;
use crate::sim::{self, DiskBug, Failure, Mutant, Plan};
use quoit_core::planted::{Bug, data::DataBug};

/// How a search for one bug went.
#[derive(Debug)]
pub struct Search {
    /// The bug.
    pub mutant: Mutant,
    /// How many seeds it may take.
    pub budget: u64,
    /// What the first seed that found it broke.
    pub found: Option<Box<Failure>>,
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
    let plan = |seed| Plan { seed, data: mutant.needs_data(), ..Plan::default() };
    let breaks = |seed| sim::run(plan(seed).planted(mutant)).err();
    // What breaks without the bug as well does not show the bug.
    let found = (0..budget).filter_map(breaks).find(|failure| sim::run(plan(failure.plan.seed)).is_ok());
    Search { mutant, budget, found }
}

/// The searches as a table.
pub fn to_table(searches: &[Search]) -> Table {
    let mut table = table(["bug", "seeds", "of", "found by", "how"]);
    for Search { mutant, budget, found } in searches {
        let (seeds, by, how) = match found {
            Some(failure) => {
                ((failure.plan.seed + 1).to_string(), failure.violation.invariant, failure.violation.what.clone())
            }
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
            "seed": search.found.as_ref().map(|failure| failure.plan.seed),
            "invariant": search.found.as_ref().map(|failure| failure.violation.invariant),
        })
    };
    searches.iter().map(row).collect()
}
