//! Whole clusters in simulation: nothing that must hold breaks, every planted bug breaks something, and what happens in
//! named situations is what is meant to happen.

use std::collections::BTreeSet;

use quoit_cluster_tests::{
    measure::{compare, failover, mutants, quiet},
    scenarios::{changes, corner_cases, data, gray, returns},
    sim::{self, Mutant, Plan, Summary},
};
use quoit_core::planted::Bug;
use quoit_proto_types::view::RingAlgorithm;

#[test]
fn whatever_happens_the_invariants_hold() {
    let mut total = Summary::default();
    for seed in 0..400 {
        total += &sim::run(Plan::of(seed)).unwrap_or_else(|failure| panic!("{failure}")).summary;
    }
    // A simulator that never gets into trouble proves nothing.
    let untaken: Vec<_> = total.rows.iter().filter(|(_, taken)| **taken == 0).collect();
    assert!(untaken.is_empty() && total.adopted > 0, "{untaken:?} {total:?}");
    println!("{total:?}");
}

#[test]
fn whatever_happens_the_data_is_as_promised() {
    let mut total = Summary::default();
    for seed in 0..120 {
        total += &sim::run(Plan::with_data(seed)).unwrap_or_else(|failure| panic!("{failure}")).summary;
    }
    assert!(total.writes.acknowledged > 10_000 && total.writes.excused * 4 < total.writes.acknowledged, "{total:?}");
    println!("{total:?}");
}

#[test]
fn it_is_as_promised_on_a_balanced_ring_as_well() {
    for seed in 0..100 {
        let (control, data) = (Plan::of(1_000 + seed), Plan::with_data(1_000 + seed));
        for plan in [control, data].map(|plan| plan.on(RingAlgorithm::Balanced)) {
            sim::run(plan).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_with_data() {
    for seed in 0..10 {
        let plan = Plan::with_data(seed);
        assert_eq!(sim::replay(plan), sim::replay(plan), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let digest = |seed| sim::run(Plan::of(seed)).map(|run| run.digest).map_err(|failure| failure.violation);
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
        let (first, second) = (sim::replay(Plan::of(seed)), sim::replay(Plan::of(seed)));
        assert!(!first.0.is_empty());
        assert_eq!(first, second, "seed {seed}");
    }
}

/// Those that break something soon come first. What they break are all the invariants but those that have tests of their
/// own, so that none of them is there for show.
#[test]
fn planted_bugs_are_found() {
    let mut all = Mutant::all();
    all.sort_by_key(|mutant| mutants::budget(*mutant));
    let mut broken = BTreeSet::new();
    for mutant in all {
        let search = mutants::search(mutant);
        let found = search.found.unwrap_or_else(|| panic!("{mutant} is not found in {} seeds", search.budget));
        println!("{mutant}: {found}: {}", found.violation());
        broken.insert(found.violation().invariant);
    }
    let missing: Vec<_> = BROKEN_BY_MUTANTS.iter().filter(|name| !broken.contains(**name)).collect();
    assert!(missing.is_empty(), "no bug breaks {missing:?}");
}

/// What the mutation gate breaks.
const BROKEN_BY_MUTANTS: [&str; 12] = [
    "acceptors keep their word",
    "committed by a majority of the voters",
    "down only by a majority",
    "installed epochs never decrease",
    "office needs a quorum",
    "proposals are promised",
    "retired when dispensable",
    "ring changes wait",
    "settled",
    "slow only by a majority",
    "sticky",
    "the fence never regresses",
];

#[test]
fn a_bug_that_takes_one_members_word_is_found_by_one_slow_link() {
    let mutant = Mutant::Planted(Bug::SlowByOneMember);
    let found = gray::one_slow_link((0, 1), mutant).expect_err("somebody is called slow");
    assert_eq!(found.invariant, "slow only by a majority");
}

#[test]
fn a_killed_coordinator_is_replaced_in_time() {
    let failover = failover::measure(5, 0.0, 30).unwrap_or_else(|violation| panic!("{violation}"));
    let p99 = failover.times.value_at_quantile(0.99);
    assert!(p99 < 1_500_000, "{p99} us");
}

#[test]
fn a_quiet_hour_is_quiet() {
    let quiet = quiet::measure(3, 1, |_| ()).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(quiet.is_quiet(), "{quiet:?}");
}

#[test]
fn the_textbook_forks_and_flaps_and_ours_does_not() {
    let rows = compare::measure().unwrap_or_else(|violation| panic!("{violation}"));
    let [textbook, ours, flapping, steady] = &rows[..] else { panic!("{rows:?}") };
    assert!(textbook.forked > 0 && ours.forked == 0, "{rows:?}");
    assert!(flapping.coordinators > 10 * steady.coordinators.max(1), "{rows:?}");
}

/// One test for each scenario, named after it.
macro_rules! scenarios {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            $module::$name().unwrap_or_else(|violation| panic!("{violation}"));
        })+
    };
}

scenarios! {
    returns::same_instance_same_boot_is_up_again,
    returns::same_instance_new_boot_is_replaced_in_the_ring,
    returns::a_lost_disk_is_refused_while_the_old_instance_is_up_then_replaced,
    returns::a_removed_node_joins_as_new,
    returns::a_new_certificate_is_a_reconnect,
    returns::an_older_boot_is_refused,
    returns::a_clone_is_refused,
    returns::a_moved_node_is_found_where_it_is,
    returns::those_who_all_move_after_the_last_seed_left_need_another,
    corner_cases::a_view_that_nobody_heard_of_is_finished,
    corner_cases::a_coordinator_that_slept_for_minutes_follows,
    corner_cases::voters_that_crash_between_disk_and_answer_forget_nothing,
    corner_cases::a_founder_that_lost_its_disk_does_not_form_another_cluster,
    corner_cases::founders_without_disks_form_nothing_behind_the_back_of_the_last,
    corner_cases::a_chain_neither_flaps_nor_stands_still,
    corner_cases::one_bad_link_and_nobody_is_down,
    corner_cases::a_hub_takes_office_once,
    corner_cases::a_copied_disk_is_found_out,
    corner_cases::members_leave_gracefully,
    corner_cases::two_nodes_and_a_witness_survive_one,
    corner_cases::a_survivor_makes_a_new_cluster,
    corner_cases::the_office_is_handed_over,
    gray::a_slow_member_is_degraded_and_recovers,
    gray::a_slow_member_of_three_is_degraded,
    gray::a_slow_coordinator_is_degraded_and_goes_on,
    gray::a_pause_degrades_nobody,
    gray::one_slow_link_degrades_nobody,
    gray::it_takes_two_to_degrade_a_member,
    data::a_coordinator_dies_during_a_ring_change,
    data::an_owner_dies_during_a_ring_change,
    data::an_owner_to_be_dies_during_a_ring_change,
    data::a_node_that_sleeps_through_a_ring_change_follows,
    data::a_restarted_owner_is_filled_by_the_others,
    data::what_was_deleted_stays_deleted_while_owners_come_and_go,
    data::a_minority_comes_back_after_the_grace,
    data::a_node_that_owns_again_begins_empty,
    data::what_a_removed_node_offers_is_taken_above_the_floor_only,
    data::two_of_three_leave_one_after_the_other,
    data::a_clock_a_day_ahead_is_not_obeyed,
    data::an_only_owner_whose_clock_is_ahead_keeps_nothing_out,
    data::copies_come_and_go,
    changes::a_coordinator_dies_before_its_ring_change_is_accepted,
    changes::a_ring_change_that_nobody_heard_of_is_carried_out,
    changes::a_node_dies_in_the_middle_of_requests,
    changes::all_owners_to_be_die_during_a_ring_change,
    changes::everything_restarts_during_a_ring_change,
    changes::a_node_without_room_takes_slots_and_evicts,
    changes::a_node_is_drained_and_wanted_back_during_the_change,
    changes::a_weight_is_changed_again_during_the_change,
    changes::copies_are_changed_again_during_the_change,
    changes::a_source_vanishes_in_the_middle_of_a_pull,
    changes::a_source_dies_in_the_middle_of_a_pull,
    changes::a_receiver_that_is_slow_holds_up_no_requests,
    changes::what_a_fast_clock_saw_expire_does_not_come_back_for_a_slow_one,
}
