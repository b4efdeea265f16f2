//! The hardest corner cases of the control plane, and what an operator does when a majority is lost.

use std::time::Duration;

use quoit_proto_types::{
    message::membership::{Command, CommandAnswer},
    view::Liveness,
};

use super::{LATER, SOON, claim, follower, settled};
use crate::{
    invariants::Violation,
    sim::{Cluster, Mutant, Options, Trace},
};

/// The coordinator decides a view with a bare quorum and dies before anybody hears: the next one finishes that very view.
///
/// # Errors
/// What is not so.
pub fn a_view_that_nobody_heard_of_is_finished() -> Result<(), Violation> {
    let mut cluster = settled(5, 1)?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    let adopted = cluster.ledger().adopted();
    cluster.boot(5);
    // Dies as soon as the view is decided, which its own machine learns last.
    let decided = cluster.ledger().decided();
    cluster.expect("a decision", SOON, |cluster| cluster.ledger().decided() > decided)?;
    let Some(view) = cluster.ledger().latest().cloned() else { return claim(false, "a view is decided") };
    claim((0..5).all(|host| cluster.epoch(host) < view.epoch()), "nobody has heard of it")?;
    cluster.kill(coordinator)?;
    cluster.expect("it is finished", SOON, |cluster| {
        (0..5).filter(|host| *host != coordinator).all(|host| cluster.epoch(host) >= view.epoch())
    })?;
    claim(cluster.ledger().adopted() > adopted, "by another's proposal")?;
    claim(cluster.installs().iter().any(|(_, installed)| *installed == view), "it is that very view")
}

/// A coordinator is stopped for minutes and goes on: it does not preside again, and nothing it wanted comes of it.
///
/// # Errors
/// What is not so.
pub fn a_coordinator_that_slept_for_minutes_follows() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    let name = cluster.label(follower(&cluster)).clone();
    // It has something in mind when it falls asleep.
    let asked = cluster.ask(coordinator, Command::Drain { name })?;
    claim(matches!(asked, Some(CommandAnswer::Accepted { .. })), "it takes the command")?;
    cluster.stop_for(coordinator, Duration::from_secs(180));
    cluster.expect("another coordinator", SOON, |cluster| {
        (0..5).any(|host| host != coordinator && cluster.coordinator() == Some(host))
    })?;
    cluster.run_for(Duration::from_secs(180))?;
    cluster.settle(LATER)?;
    claim(cluster.coordinator() != Some(coordinator), "there is no flap back")
}

/// A voter crashes between its disk and its answer, over and over: nothing is forgotten, nothing stands still.
///
/// # Errors
/// What is not so.
pub fn voters_that_crash_between_disk_and_answer_forget_nothing() -> Result<(), Violation> {
    for seed in 0..20 {
        let options = Options { crash_at_output: 0.02, ..Options::calm(3) };
        let mut cluster = Cluster::scripted(seed, options, Mutant::None, Trace::off());
        cluster.run_for(Duration::from_secs(20))?;
        cluster.options_mut().crash_at_output = 0.0;
        cluster.settle(LATER)?;
    }
    Ok(())
}

/// A founder loses its disk while the cluster is formed: there is one cluster, and it joins that.
///
/// # Errors
/// What is not so.
pub fn a_founder_that_lost_its_disk_does_not_form_another_cluster() -> Result<(), Violation> {
    for moment in [150, 200, 202, 205, 210, 250, 1_000] {
        let mut cluster = Cluster::scripted(moment, Options::calm(3), Mutant::None, Trace::off());
        cluster.run_for(Duration::from_millis(moment))?;
        cluster.kill(2)?;
        cluster.lose_disk(2)?;
        cluster.boot_after(2, Duration::from_secs(3));
        cluster.run_for(Duration::from_secs(4))?;
        cluster.settle(LATER)?;
    }
    Ok(())
}

/// All founders but one lose their disks; the one that is left was cut off. It has its part in a cluster, so there is none
/// without it.
///
/// # Errors
/// What is not so.
pub fn founders_without_disks_form_nothing_behind_the_back_of_the_last() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let cut = cluster.cut_off(&[0]);
    for host in [1, 2] {
        cluster.kill(host)?;
        cluster.lose_disk(host)?;
        cluster.boot(host);
    }
    let views = cluster.ledger().decided();
    cluster.run_for(Duration::from_secs(60))?;
    claim(cluster.ledger().decided() == views, "no view is decided")?;
    cluster.mend(cut);
    cluster.run_for(Duration::from_secs(60))?;
    claim(cluster.ledger().decided() == views, "nor when all are connected again")
}

/// Each host reaches its neighbours only: whoever presides stays, and nobody is called down by one.
///
/// # Errors
/// What is not so.
pub fn a_chain_neither_flaps_nor_stands_still() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let before = cluster.installs().len();
    let coordinator = cluster.coordinator().unwrap_or_default();
    let ends: Vec<usize> = (0..3).filter(|host| *host != (coordinator + 1) % 3).collect();
    cluster.cut_links([(ends[0], ends[1]), (ends[1], ends[0])]);
    cluster.run_for(Duration::from_secs(60))?;
    let views = cluster.installs().len() - before;
    claim(views <= 1, format!("{views} views in a minute"))
}

/// One link carries nothing, both ways or one way, whichever it is: nobody is called down, and nobody else presides.
///
/// # Errors
/// What is not so.
pub fn one_bad_link_and_nobody_is_down() -> Result<(), Violation> {
    for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        let both = [(a, b), (b, a)];
        for links in [&both[..], &both[..1]] {
            let mut cluster = settled(5, 0)?;
            let (before, coordinator) = (cluster.installs().len(), cluster.coordinator());
            cluster.cut_links(links.iter().copied());
            cluster.run_for(Duration::from_secs(60))?;
            let changes: Vec<_> =
                cluster.installs()[before..].iter().map(|(_, view)| view.fields().changes.clone()).collect();
            claim(changes.is_empty(), format!("a cut of {links:?} leads to {changes:?}"))?;
            claim(cluster.coordinator() == coordinator, format!("a cut of {links:?} changes who presides"))?;
        }
    }
    Ok(())
}

/// All reach one host only, which does not preside: it takes office, once.
///
/// # Errors
/// What is not so.
pub fn a_hub_takes_office_once() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    let hub = follower(&cluster);
    let before = cluster.installs().len();
    let links = (0..5).flat_map(|a| (0..5).map(move |b| (a, b)));
    cluster.cut_links(links.filter(|(a, b)| *a != hub && *b != hub).collect::<Vec<_>>());
    cluster.expect("the hub presides", SOON, |cluster| {
        (0..5).all(|host| {
            cluster.view(host).is_some_and(|view| {
                view.member(view.fields().coordinator).is_some_and(|member| member.name == *cluster.label(hub))
            })
        })
    })?;
    cluster.run_for(Duration::from_secs(60))?;
    let views = cluster.installs().len() - before;
    claim(views <= 2, format!("{views} views in a minute"))
}

/// A copied disk is started while the first one is cut off: it is found out when they meet.
///
/// # Errors
/// What is not so.
pub fn a_copied_disk_is_found_out() -> Result<(), Violation> {
    let mut cluster = settled(3, 1)?;
    let host = follower(&cluster);
    cluster.expect_copies();
    let Some(copy) = cluster.on_disk(host).cloned() else { return claim(false, "it has a disk") };
    cluster.rename(3, host);
    cluster.put_on_disk(3, copy);
    let cut = cluster.cut_off(&[host]);
    cluster.boot(3);
    cluster.run_for(Duration::from_secs(10))?;
    cluster.mend(cut);
    cluster.run_for(Duration::from_secs(30))?;
    let left = [host, 3].iter().filter(|host| cluster.is_up(**host)).count();
    claim(left == 1, format!("{left} of the two are left"))
}

/// A member leaves, the coordinator too: those who stay need none of them.
///
/// # Errors
/// What is not so.
pub fn members_leave_gracefully() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    for _ in 0..2 {
        let coordinator = cluster.coordinator().unwrap_or_default();
        let name = cluster.label(coordinator).clone();
        let asked = (0..5).find(|host| cluster.is_up(*host)).unwrap_or(0);
        let answer = cluster.ask(asked, Command::Drain { name })?;
        claim(matches!(answer, Some(CommandAnswer::Accepted { .. })), format!("the drain is accepted: {answer:?}"))?;
        cluster.expect("it has left", LATER, |cluster| !cluster.is_up(coordinator))?;
        cluster.settle(LATER)?;
    }
    let left = (0..5).find_map(|host| cluster.view(host)).map(|view| view.members().len());
    claim(left == Some(3), format!("{left:?} members are left"))
}

/// Two nodes and a witness that owns nothing: one of the nodes dies, and the other one goes on.
///
/// # Errors
/// What is not so.
pub fn two_nodes_and_a_witness_survive_one() -> Result<(), Violation> {
    let options = Options { witnesses: 1, ..Options::calm(3) };
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    cluster.settle(SOON)?;
    let witness = cluster.view(0).is_some_and(|view| view.fields().ring.len() == 2);
    claim(witness, "the witness owns nothing")?;
    cluster.kill(0)?;
    cluster.expect("it is down", SOON, |cluster| {
        cluster.member(1, 0).is_some_and(|member| member.live == Liveness::Down)
    })?;
    cluster.settle(SOON).map(drop)
}

/// A majority of the voters is lost for good: an operator makes a cluster of a survivor, and the others join it.
///
/// # Errors
/// What is not so.
pub fn a_survivor_makes_a_new_cluster() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    for host in [0, 1, 2] {
        cluster.kill(host)?;
        cluster.lose_disk(host)?;
    }
    cluster.run_for(Duration::from_secs(10))?;
    let before = cluster.view(3).map(|view| (view.fields().cluster_id, view.epoch()));
    let epoch = cluster.recover(3)?;
    let after = cluster.view(3).map(|view| view.fields().cluster_id);
    claim(before.is_some_and(|(id, old)| Some(id) != after && epoch > old), "it is another cluster, and later")?;
    cluster.settle(LATER)?;
    claim(cluster.member(3, 4).is_some(), "the other one has joined")?;
    cluster.boot(0);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.settle(LATER)?;
    claim(cluster.member(3, 0).is_some(), "and one without a disk")
}

/// The office is handed over: at once, and without anybody being called down.
///
/// # Errors
/// What is not so.
pub fn the_office_is_handed_over() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let coordinator = cluster.coordinator().unwrap_or_default();
    let to = follower(&cluster);
    let name = cluster.label(to).clone();
    let answer = cluster.ask(coordinator, Command::Transfer { to: Some(name) })?;
    claim(matches!(answer, Some(CommandAnswer::Accepted { .. })), format!("it is accepted: {answer:?}"))?;
    cluster.expect("the other one presides", Duration::from_secs(2), |cluster| {
        cluster.coordinator() == Some(to) && cluster.settled().is_ok()
    })?;
    Ok(())
}
