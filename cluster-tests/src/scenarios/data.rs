//! What happens to data in named situations: crashes at the steps of a ring change (PROTOCOL 8.4), and the corner cases of
//! the protocol that concern it (PROTOCOL 18).

use std::time::Duration;

use quoit_proto_types::{
    message::membership::{Command, CommandAnswer},
    view::Change,
};

use super::{LATER, SOON, claim, follower};
use crate::{
    invariants::Violation,
    sim::{Cluster, DataOptions, Mutant, Options, Trace},
};

/// Long enough for some rounds of repair and of collection.
pub(super) const A_WHILE: Duration = Duration::from_secs(90);

/// A settled cluster with data, and clients who write all the time.
pub(super) fn busy(founders: usize, others: usize, copies: u8) -> Result<Cluster, Violation> {
    let data = DataOptions { sessions: 4, ..DataOptions::calm(copies) };
    let options = Options { others, data: Some(data), ..Options::calm(founders) };
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    cluster.settle(SOON)?;
    cluster.run_for(Duration::from_secs(3))?;
    Ok(cluster)
}

/// Lets the clients stop and everything settle: every owner then has all that was promised, and all have the same.
pub(super) fn calm_down(cluster: &mut Cluster) -> Result<(), Violation> {
    cluster.run_for(Duration::from_secs(2))?;
    cluster.settle(LATER)?;
    cluster.settle_data(LATER)
}

pub(super) fn has_begun(cluster: &Cluster) -> bool {
    cluster.installs().last().is_some_and(|(_, view)| view.fields().target.is_some())
}

pub(super) fn accepted(answer: &Option<CommandAnswer>) -> Result<(), Violation> {
    claim(matches!(answer, Some(CommandAnswer::Accepted { .. })), format!("the command is accepted: {answer:?}"))
}

/// Begins a ring change and returns when it is under way.
pub(super) fn begin_change(cluster: &mut Cluster, joiner: usize) -> Result<(), Violation> {
    cluster.boot(joiner);
    cluster.expect("a ring change is under way", SOON, has_begun).map(drop)
}

/// The coordinator dies in the middle of a ring change: the next one goes on with it.
///
/// # Errors
/// What is not so.
pub fn a_coordinator_dies_during_a_ring_change() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 2)?;
    begin_change(&mut cluster, 3)?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    cluster.kill(coordinator)?;
    cluster.run_for(Duration::from_secs(10))?;
    cluster.boot(coordinator);
    cluster.run_for(Duration::from_millis(1))?;
    calm_down(&mut cluster)
}

/// An owner dies in the middle of a ring change: the others give what it had.
///
/// # Errors
/// What is not so.
pub fn an_owner_dies_during_a_ring_change() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 2)?;
    begin_change(&mut cluster, 3)?;
    let owner = follower(&cluster);
    cluster.kill(owner)?;
    cluster.run_for(Duration::from_secs(10))?;
    cluster.boot(owner);
    cluster.run_for(Duration::from_millis(1))?;
    calm_down(&mut cluster)
}

/// An owner-to-be dies in the middle of a ring change: it is given up, and begun anew when that one is back. What it had
/// fetched the first time counts for nothing (18.7).
///
/// # Errors
/// What is not so.
pub fn an_owner_to_be_dies_during_a_ring_change() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 2)?;
    begin_change(&mut cluster, 3)?;
    cluster.kill(3)?;
    cluster.boot(3);
    cluster.run_for(Duration::from_secs(10))?;
    calm_down(&mut cluster)?;
    let given_up = |change: &Change| matches!(change, Change::RingChangeAborted | Change::Restarted(_));
    let all = cluster.installs().iter().flat_map(|(_, view)| &view.fields().changes);
    claim(all.into_iter().any(given_up), "it was given up, or the joiner has come back")
}

/// A node sleeps through a ring change and wakes with the fence before: it is refused, and follows.
///
/// # Errors
/// What is not so.
pub fn a_node_that_sleeps_through_a_ring_change_follows() -> Result<(), Violation> {
    let mut cluster = busy(4, 1, 2)?;
    let sleeper = follower(&cluster);
    cluster.stop_for(sleeper, Duration::from_secs(20));
    cluster.run_for(Duration::from_secs(5))?;
    cluster.boot(4);
    cluster.run_for(Duration::from_secs(30))?;
    calm_down(&mut cluster)
}

/// A restart loses the memory: the new life takes its place from the other owners (18.6, 18.10).
///
/// # Errors
/// What is not so.
pub fn a_restarted_owner_is_filled_by_the_others() -> Result<(), Violation> {
    let mut cluster = busy(3, 0, 3)?;
    for _ in 0..3 {
        let owner = follower(&cluster);
        cluster.kill(owner)?;
        cluster.boot(owner);
        cluster.run_for(Duration::from_secs(15))?;
    }
    calm_down(&mut cluster)
}

/// Keys are deleted and expire while rounds of collection go on and owners come and go from reach (18.8, 18.12, 18.13).
///
/// # Errors
/// What is not so.
pub fn what_was_deleted_stays_deleted_while_owners_come_and_go() -> Result<(), Violation> {
    let mut cluster = busy(3, 1, 3)?;
    for round in 0..4 {
        let host = follower(&cluster);
        let cut = cluster.cut_off(&[host]);
        cluster.run_for(Duration::from_secs(12))?;
        cluster.mend(cut);
        cluster.run_for(Duration::from_secs(12))?;
        if round == 1 {
            cluster.boot(3);
        }
    }
    cluster.run_for(A_WHILE)?;
    calm_down(&mut cluster)
}

/// A minority takes writes for longer than tombstones are kept, and comes back (18.14).
///
/// # Errors
/// What is not so.
pub fn a_minority_comes_back_after_the_grace() -> Result<(), Violation> {
    let mut cluster = busy(5, 0, 2)?;
    let host = follower(&cluster);
    let cut = cluster.cut_off(&[host]);
    cluster.run_for(A_WHILE)?;
    cluster.mend(cut);
    calm_down(&mut cluster)
}

/// A node gives up all its slots, keys are deleted, and the tombstones are collected; then it takes slots again (18.7).
///
/// # Errors
/// What is not so.
pub fn a_node_that_owns_again_begins_empty() -> Result<(), Violation> {
    owns_again(Mutant::None)
}

/// The same, in a cluster that may have a bug.
///
/// # Errors
/// What is not so.
pub fn owns_again(mutant: Mutant) -> Result<(), Violation> {
    let mut cluster = quiet_later(4, mutant)?;
    let host = follower(&cluster);
    weigh(&mut cluster, host, 0)?;
    cluster.run_for(Duration::from_secs(3))?;
    cluster.rest_clients();
    cluster.run_for(A_WHILE)?;
    weigh(&mut cluster, host, 16)?;
    calm_down(&mut cluster)
}

/// A node is cut off until it is removed, keys are deleted meanwhile and the tombstones are collected; then it is back, and
/// offers what it has: what is older than what was collected is not taken (18.14).
///
/// # Errors
/// What is not so.
pub fn what_a_removed_node_offers_is_taken_above_the_floor_only() -> Result<(), Violation> {
    offers_late(Mutant::None)
}

/// The same, in a cluster that may have a bug.
///
/// # Errors
/// What is not so.
pub fn offers_late(mutant: Mutant) -> Result<(), Violation> {
    let mut cluster = quiet_later(4, mutant)?;
    let host = follower(&cluster);
    let cut = cluster.cut_off(&[host]);
    cluster.run_for(Duration::from_secs(3))?;
    cluster.rest_clients();
    let name = cluster.label(host).clone();
    cluster.run_for(Duration::from_secs(10))?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    accepted(&cluster.ask(coordinator, Command::ForceOut { name })?)?;
    cluster.run_for(A_WHILE)?;
    cluster.mend(cut);
    calm_down(&mut cluster)
}

/// A settled cluster with more keys than clients write at a time, so that some are deleted and left alone.
fn quiet_later(founders: usize, mutant: Mutant) -> Result<Cluster, Violation> {
    let data = DataOptions { sessions: 4, keys: 64, ..DataOptions::calm(2) };
    let options = Options { data: Some(data), ..Options::calm(founders) };
    let mut cluster = Cluster::scripted(1, options, mutant, Trace::off());
    cluster.settle(SOON)?;
    cluster.run_for(Duration::from_secs(6))?;
    Ok(cluster)
}

/// Changes the weight of the node at `host`, and waits until that is in force.
fn weigh(cluster: &mut Cluster, host: usize, vnodes: u32) -> Result<(), Violation> {
    let (coordinator, name) = (cluster.coordinator().unwrap_or_default(), cluster.label(host).clone());
    accepted(&cluster.ask(coordinator, Command::SetWeight { name: name.clone(), vnodes })?)?;
    let is_placed = |cluster: &Cluster| {
        cluster.installs().last().is_some_and(|(_, view)| {
            let member = view.member_named(&name);
            let owns = member.is_some_and(|m| view.fields().ring.iter().any(|owner| owner.ordinal == m.ordinal));
            view.fields().target.is_none() && owns == (vnodes > 0)
        })
    };
    cluster.expect("the weight is in force", LATER, is_placed).map(drop)
}

/// Two of three nodes are told to leave at once: they go one after the other (18.15).
///
/// # Errors
/// What is not so.
pub fn two_of_three_leave_one_after_the_other() -> Result<(), Violation> {
    let mut cluster = busy(3, 0, 3)?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    let leave: Vec<usize> = (0..3).filter(|host| *host != coordinator).collect();
    for host in &leave {
        let name = cluster.label(*host).clone();
        accepted(&cluster.ask(coordinator, Command::Drain { name })?)?;
    }
    cluster.expect("both have left", LATER, |cluster| leave.iter().all(|host| !cluster.is_up(*host)))?;
    calm_down(&mut cluster)
}

/// A node's clock is a day ahead: it is refused as a writer, and collects nothing of the others (18.20, 18.11).
///
/// # Errors
/// What is not so.
pub fn a_clock_a_day_ahead_is_not_obeyed() -> Result<(), Violation> {
    let mut cluster = busy(3, 0, 2)?;
    let host = follower(&cluster);
    cluster.kill(host)?;
    cluster.set_skew(host, Duration::from_secs(24 * 3600));
    cluster.boot(host);
    cluster.run_for(A_WHILE)?;
    calm_down(&mut cluster)
}

/// The only owner of a slot has a clock that is further ahead than tombstones are kept, and collects alone; its answers are
/// so late that what it refuses is kept as a hint and acknowledged. It must not refuse what others write in their present.
///
/// # Errors
/// What is not so.
pub fn an_only_owner_whose_clock_is_ahead_keeps_nothing_out() -> Result<(), Violation> {
    a_clock_ahead(Mutant::None)
}

/// The same, in a cluster that may have a bug.
///
/// # Errors
/// What is not so.
pub fn a_clock_ahead(mutant: Mutant) -> Result<(), Violation> {
    // Many keys, so that few writes are hidden by later ones.
    let data = DataOptions { sessions: 8, keys: 1024, ..DataOptions::calm(1) };
    let options = Options { data: Some(data), ..Options::calm(3) };
    let mut cluster = Cluster::scripted(1, options, mutant, Trace::off());
    cluster.settle(SOON)?;
    let host = follower(&cluster);
    cluster.kill(host)?;
    cluster.set_skew(host, Duration::from_secs(300));
    // What it would stamp itself would be later than what it refuses.
    cluster.shun(host);
    cluster.slow_down(host, Duration::from_millis(80));
    cluster.boot(host);
    cluster.run_for(A_WHILE)?;
    calm_down(&mut cluster)
}

/// The number of copies goes up and down while clients write: nothing is lost, and reads by a majority find it (18.5).
///
/// # Errors
/// What is not so.
pub fn copies_come_and_go() -> Result<(), Violation> {
    let mut cluster = busy(4, 0, 1)?;
    for copies in [3, 1, 4, 2] {
        let coordinator = cluster.coordinator().unwrap_or_default();
        accepted(&cluster.ask(coordinator, Command::SetCopies { copies })?)?;
        let reached = |cluster: &Cluster| {
            cluster
                .view(coordinator)
                .is_some_and(|view| view.fields().copies == copies && view.fields().target.is_none())
        };
        cluster.expect("the copies are in force", LATER, reached)?;
    }
    calm_down(&mut cluster)
}
