//! What happens to data when a ring change meets trouble, or an operator's second thoughts (PROTOCOL 8.4 and 8.5).

use std::time::Duration;

use quoit_proto_types::{message::membership::Command, view::Change};

use super::{
    LATER, SOON, claim,
    data::{A_WHILE, accepted, begin_change, busy, calm_down, has_begun},
    follower,
};
use crate::{
    invariants::Violation,
    sim::{Cluster, DataOptions, Mutant, Options, Trace},
};

/// How late everything arrives from who is slow: less than what makes a member suspected, and long beside a question.
const LATE: Duration = Duration::from_millis(300);

/// A settled cluster with so many keys that to fetch them takes some questions.
fn laden(founders: usize, others: usize, copies: u8) -> Result<Cluster, Violation> {
    let data = DataOptions { sessions: 4, keys: 400, ..DataOptions::calm(copies) };
    let options = Options { others, data: Some(data), ..Options::calm(founders) };
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    cluster.settle(SOON)?;
    cluster.run_for(Duration::from_secs(10))?;
    Ok(cluster)
}

fn order(cluster: &mut Cluster, command: Command) -> Result<(), Violation> {
    let coordinator = cluster.coordinator().unwrap_or_default();
    accepted(&cluster.ask(coordinator, command)?)
}

fn has(cluster: &Cluster, is_it: impl Fn(&Change) -> bool) -> bool {
    cluster.installs().iter().flat_map(|(_, view)| &view.fields().changes).any(is_it)
}

/// The coordinator dies before its ring change is accepted by a majority: nothing has happened, and the next one begins it
/// (8.4, first row).
///
/// # Errors
/// What is not so.
pub fn a_coordinator_dies_before_its_ring_change_is_accepted() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 2)?;
    cluster.boot(3);
    let votes = |change: &Change| matches!(change, Change::Votes(_));
    cluster.expect("it votes", SOON, |cluster| has(cluster, votes))?;
    // A change waits for others to join in for about as long as it takes to miss a voter.
    cluster.run_for(Duration::from_millis(900))?;
    claim(!has_begun(&cluster), "it waits yet")?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    let cut = cluster.cut_off(&[coordinator]);
    let proposes = |cluster: &Cluster| {
        let accepted = cluster.on_disk(coordinator).and_then(|meta| meta.acceptor.accepted());
        accepted.is_some_and(|(_, view)| view.fields().target.is_some())
    };
    cluster.expect("it proposes the change", SOON, proposes)?;
    cluster.kill(coordinator)?;
    let (decided, adopted) = (cluster.ledger().decided(), cluster.ledger().adopted());
    cluster.run_for(Duration::from_millis(500))?;
    claim(cluster.ledger().decided() == decided && !has_begun(&cluster), "nothing has happened")?;
    cluster.expect("another one begins it", LATER, has_begun)?;
    claim(cluster.ledger().adopted() == adopted, "of its own")?;
    cluster.mend(cut);
    cluster.boot(coordinator);
    cluster.run_for(Duration::from_secs(10))?;
    calm_down(&mut cluster)
}

/// The coordinator dies when a majority has accepted its ring change and nobody has heard of that: the next one carries out
/// that very change (8.4, second row).
///
/// # Errors
/// What is not so.
pub fn a_ring_change_that_nobody_heard_of_is_carried_out() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 2)?;
    cluster.boot(3);
    let is_decided = |cluster: &Cluster| cluster.ledger().latest().is_some_and(|view| view.fields().target.is_some());
    cluster.expect("a ring change is decided", SOON, is_decided)?;
    claim(!has_begun(&cluster), "nobody goes by it")?;
    let (decided, coordinator) = (cluster.ledger().latest().cloned(), cluster.coordinator().unwrap_or_default());
    cluster.kill(coordinator)?;
    cluster.expect("it is under way", SOON, has_begun)?;
    claim(cluster.installs().iter().any(|(_, view)| Some(view) == decided.as_ref()), "it is that very change")?;
    cluster.boot(coordinator);
    cluster.run_for(Duration::from_secs(10))?;
    calm_down(&mut cluster)
}

/// Whoever coordinates requests dies in the middle of them, over and over (8.4, sixth row).
///
/// # Errors
/// What is not so.
pub fn a_node_dies_in_the_middle_of_requests() -> Result<(), Violation> {
    let mut cluster = busy(4, 0, 3)?;
    for _ in 0..4 {
        let host = follower(&cluster);
        cluster.expect("it coordinates requests", SOON, |cluster| cluster.coordinates(host) > 0)?;
        cluster.kill(host)?;
        cluster.boot(host);
        cluster.run_for(Duration::from_secs(15))?;
    }
    calm_down(&mut cluster)
}

/// All owners-to-be die in the middle of a ring change: it is given up, and those in force have everything (8.4, eighth
/// row).
///
/// # Errors
/// What is not so.
pub fn all_owners_to_be_die_during_a_ring_change() -> Result<(), Violation> {
    // Four founders: they are a majority of the voters even if all who join have become ones.
    let mut cluster = laden(4, 3, 2)?;
    let joiners = [4, 5, 6];
    joiners.iter().for_each(|host| cluster.slow_down(*host, LATE));
    joiners.iter().for_each(|host| cluster.boot(*host));
    cluster.expect("a ring change is under way", SOON, has_begun)?;
    for host in joiners {
        cluster.kill(host)?;
    }
    let aborted = |change: &Change| matches!(change, Change::RingChangeAborted);
    cluster.expect("it is given up", LATER, |cluster| has(cluster, aborted))?;
    calm_down(&mut cluster)
}

/// Everything ends in the middle of a ring change and starts again: the memory is gone, and there is one cluster with one
/// ring (8.4, last row).
///
/// # Errors
/// What is not so.
pub fn everything_restarts_during_a_ring_change() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 2)?;
    begin_change(&mut cluster, 3)?;
    for host in 0..4 {
        cluster.kill(host)?;
    }
    (0..4).for_each(|host| cluster.boot(host));
    cluster.run_for(Duration::from_secs(20))?;
    calm_down(&mut cluster)
}

/// A node with far too little room is to own slots: it takes them, and lets go of what does not fit. The change goes on, it
/// shows in what the node tells of itself, and the others have everything (8.5).
///
/// # Errors
/// What is not so.
pub fn a_node_without_room_takes_slots_and_evicts() -> Result<(), Violation> {
    // Room for some of the keys, and for none.
    for room in [4_096, 64] {
        let mut cluster = laden(3, 1, 2)?;
        cluster.set_memory(3, room);
        begin_change(&mut cluster, 3)?;
        let is_over = |cluster: &Cluster| !has_begun(cluster) && has(cluster, |c| *c == Change::RingChangeDone);
        cluster.expect("the change is over", LATER, is_over)?;
        claim(!has(&cluster, |change| *change == Change::RingChangeAborted), "for good")?;
        cluster.run_for(A_WHILE)?;
        cluster.rest_clients();
        cluster.run_for(A_WHILE)?;
        let stats = cluster.store_stats(3);
        claim(stats.bytes <= room, format!("it holds no more than there is room for: {stats:?}"))?;
        claim(room < 100 || stats.evictions > 0 && stats.entries > 0, format!("it evicts, and tells so: {stats:?}"))?;
        cluster.settle(LATER)?;
        cluster.judge_without(3)?;
    }
    Ok(())
}

/// An operator drains a node, and starts it again while it gives up its slots; when it has left it is started once more, and
/// joins.
///
/// # Errors
/// What is not so.
pub fn a_node_is_drained_and_wanted_back_during_the_change() -> Result<(), Violation> {
    let mut cluster = laden(4, 0, 2)?;
    let host = follower(&cluster);
    let name = cluster.label(host).clone();
    order(&mut cluster, Command::Drain { name: name.clone() })?;
    cluster.expect("a ring change is under way", SOON, has_begun)?;
    cluster.kill(host)?;
    cluster.boot(host);
    cluster.expect("it has left", LATER, |cluster| !cluster.is_up(host) && !has_begun(cluster))?;
    cluster.settle(LATER)?;
    cluster.boot(host);
    let owns = |cluster: &Cluster| {
        cluster.installs().last().is_some_and(|(_, view)| {
            let member = view.member_named(&name).map(|member| member.ordinal);
            view.fields().target.is_none() && view.fields().ring.iter().any(|owner| Some(owner.ordinal) == member)
        })
    };
    cluster.expect("it owns again", LATER, owns)?;
    calm_down(&mut cluster)
}

/// An operator gives a node another weight while the ring change for the one before is under way: the last one is in force
/// in the end.
///
/// # Errors
/// What is not so.
pub fn a_weight_is_changed_again_during_the_change() -> Result<(), Violation> {
    let mut cluster = laden(4, 0, 2)?;
    let host = follower(&cluster);
    let name = cluster.label(host).clone();
    for vnodes in [0, 16, 2, 8, 4] {
        order(&mut cluster, Command::SetWeight { name: name.clone(), vnodes })?;
        cluster.run_until(SOON, has_begun)?;
    }
    cluster.run_for(Duration::from_secs(20))?;
    calm_down(&mut cluster)?;
    let weight = cluster.member(host, host).map(|member| member.vnodes);
    claim(weight == Some(4), format!("the last word counts: {weight:?}"))
}

/// An operator wants more copies, and while they are being made fewer, and more again.
///
/// # Errors
/// What is not so.
pub fn copies_are_changed_again_during_the_change() -> Result<(), Violation> {
    let mut cluster = laden(4, 0, 1)?;
    for copies in [3, 1, 4, 2] {
        order(&mut cluster, Command::SetCopies { copies })?;
        cluster.run_until(SOON, has_begun)?;
    }
    cluster.run_for(Duration::from_secs(20))?;
    calm_down(&mut cluster)?;
    let ring = cluster.view(0).map(|view| (view.ring(), view.fields().copies));
    let all = ring.map(|(ring, copies)| (ring.slots().slots().all(|slot| ring.owners(slot).len() == 2), copies));
    claim(all == Some((true, 2)), format!("the last word counts: {all:?}"))
}

/// A source is cut off while it gives: with another copy the change goes on at once that it is down; and what it alone had
/// it brings when it is back.
///
/// # Errors
/// What is not so.
pub fn a_source_vanishes_in_the_middle_of_a_pull() -> Result<(), Violation> {
    for copies in [1, 2] {
        let mut cluster = laden(3, 1, copies)?;
        let source = follower(&cluster);
        cluster.slow_down(source, LATE);
        begin_change(&mut cluster, 3)?;
        cluster.expect("the joiner fetches", SOON, |cluster| cluster.is_fetching(3))?;
        let cut = cluster.cut_off(&[source]);
        let at = cluster.now();
        cluster.run_until(LATER, |cluster| !has_begun(cluster))?;
        cluster.mend(cut);
        cluster.slow_down(source, Duration::ZERO);
        claim(at < cluster.now(), "it was in the middle")?;
        cluster.run_for(Duration::from_secs(20))?;
        calm_down(&mut cluster)?;
    }
    Ok(())
}

/// A source ends while it gives, and its memory with it: the other copy is complete.
///
/// # Errors
/// What is not so.
pub fn a_source_dies_in_the_middle_of_a_pull() -> Result<(), Violation> {
    let mut cluster = laden(3, 1, 2)?;
    let source = follower(&cluster);
    cluster.slow_down(source, LATE);
    begin_change(&mut cluster, 3)?;
    cluster.expect("the joiner fetches", SOON, |cluster| cluster.is_fetching(3))?;
    cluster.kill(source)?;
    cluster.run_for(Duration::from_secs(20))?;
    cluster.boot(source);
    cluster.run_for(Duration::from_secs(1))?;
    calm_down(&mut cluster)
}

/// An owner-to-be asks late and stops now and then while it fetches: the change takes long, and requests go on meanwhile.
///
/// # Errors
/// What is not so.
pub fn a_receiver_that_is_slow_holds_up_no_requests() -> Result<(), Violation> {
    let mut cluster = laden(3, 1, 2)?;
    cluster.slow_down(3, LATE);
    begin_change(&mut cluster, 3)?;
    let (mut rounds, first) = (0, cluster.operations());
    while has_begun(&cluster) {
        let before = cluster.operations();
        cluster.stop_for(3, Duration::from_millis(400));
        cluster.run_for(Duration::from_secs(1))?;
        let done = cluster.operations() - before;
        claim(done > 0, format!("requests go on: {done} in second {rounds}"))?;
        rounds += 1;
        claim(rounds < 120, "the change comes to an end")?;
    }
    let done = cluster.operations() - first;
    claim(rounds > 1 && done > 2 * rounds, format!("{done} requests in the {rounds} s that it takes"))?;
    claim(!has(&cluster, |change| *change == Change::RingChangeAborted), "and is not given up")?;
    cluster.slow_down(3, Duration::ZERO);
    calm_down(&mut cluster)
}

/// Clocks differ by as much as they may: what has expired by the fast one is over for the slow one too (18.11).
///
/// # Errors
/// What is not so.
pub fn what_a_fast_clock_saw_expire_does_not_come_back_for_a_slow_one() -> Result<(), Violation> {
    let data = DataOptions { sessions: 4, lives: Duration::from_millis(600), ..DataOptions::calm(3) };
    let options = Options { others: 1, data: Some(data), ..Options::calm(3) };
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    for host in 0..4 {
        cluster.set_skew(host, Duration::from_millis(u64::try_from(host).unwrap_or(0) * 150));
    }
    cluster.settle(SOON)?;
    cluster.run_for(A_WHILE)?;
    begin_change(&mut cluster, 3)?;
    cluster.run_for(A_WHILE)?;
    calm_down(&mut cluster)
}
