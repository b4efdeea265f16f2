//! Members that answer, but late.

use std::time::Duration;

use quoit_proto_types::view::{Change, Liveness};

use super::{SOON, claim, follower, settled};
use crate::{
    invariants::Violation,
    sim::{Cluster, Mutant, Options, Trace},
};

/// How much later everything arrives that a slow host sends. Less than what makes a member suspected.
const LATE: Duration = Duration::from_millis(300);
/// How soon that must be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// How soon it must be forgotten.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(75);

/// Whether everybody goes by a view in which `host` is degraded, or none in which it is.
fn all_say(cluster: &Cluster, host: usize, degraded: bool) -> bool {
    let says = |at: usize| cluster.member(at, host).is_some_and(|member| member.degraded == degraded);
    (0..count(cluster, host)).all(says)
}

fn count(cluster: &Cluster, host: usize) -> usize {
    cluster.view(host).map_or(0, |view| view.members().len())
}

/// `host` is slow for two minutes, then quick again.
fn is_degraded_and_recovers(cluster: &mut Cluster, host: usize) -> Result<(), Violation> {
    let before = (cluster.installs().len(), cluster.elections().0, cluster.coordinator());
    let placed = cluster.view(host).map(|view| (view.fence(), view.fields().ring.clone()));
    cluster.slow_down(host, LATE);
    cluster.expect("degraded", NOTICED_WITHIN, |cluster| all_say(cluster, host, true))?;
    cluster.run_for(Duration::from_secs(120))?;
    claim(all_say(cluster, host, true), "it stays degraded")?;
    cluster.slow_down(host, Duration::ZERO);
    cluster.expect("quick again", FORGOTTEN_WITHIN, |cluster| all_say(cluster, host, false))?;
    cluster.run_for(Duration::from_secs(120))?;
    let changes: Vec<Change> =
        cluster.installs()[before.0..].iter().flat_map(|(_, view)| view.fields().changes.clone()).collect();
    let name = cluster.label(host).clone();
    claim(changes == [Change::Slow(name.clone()), Change::QuickAgain(name)], format!("two changes, not {changes:?}"))?;
    // Of each view, a proposal to the others, and what they say to it.
    let messages = cluster.elections().0 - before.1;
    let others = count(cluster, host).saturating_sub(1);
    claim(
        usize::try_from(messages) == Ok(2 * 2 * others),
        format!("two proposals and nothing else, in {messages} messages"),
    )?;
    claim(cluster.coordinator() == before.2, "nobody else coordinates")?;
    let after = cluster.view(host).map(|view| (view.fence(), view.fields().ring.clone()));
    claim(placed == after, "nothing has moved")
}

/// A host is slow: it is degraded within seconds, and no more once it has been quick for a minute. That is all that changes.
///
/// # Errors
/// What is not so.
pub fn a_slow_member_is_degraded_and_recovers() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    cluster.run_for(Duration::from_secs(10))?;
    let host = follower(&cluster);
    is_degraded_and_recovers(&mut cluster, host)
}

/// The same of three, where both others must say so.
///
/// # Errors
/// What is not so.
pub fn a_slow_member_of_three_is_degraded() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    cluster.run_for(Duration::from_secs(10))?;
    let host = follower(&cluster);
    is_degraded_and_recovers(&mut cluster, host)
}

/// The coordinator's host is slow: it says so of itself, as others do, and goes on.
///
/// # Errors
/// What is not so.
pub fn a_slow_coordinator_is_degraded_and_goes_on() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    cluster.run_for(Duration::from_secs(10))?;
    let host = cluster.coordinator().unwrap_or_default();
    is_degraded_and_recovers(&mut cluster, host)
}

/// A host pauses once for a moment: nobody takes notice.
///
/// # Errors
/// What is not so.
pub fn a_pause_degrades_nobody() -> Result<(), Violation> {
    let mut cluster = settled(5, 0)?;
    cluster.run_for(Duration::from_secs(10))?;
    let (before, host) = (cluster.installs().len(), follower(&cluster));
    cluster.stop_for(host, Duration::from_millis(700));
    cluster.run_for(Duration::from_secs(120))?;
    claim(cluster.installs().len() == before, "no view")
}

/// One link is slow, whichever it is: each of the two finds the other one slow, and nobody else does.
///
/// # Errors
/// What is not so.
pub fn one_slow_link_degrades_nobody() -> Result<(), Violation> {
    for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        one_slow_link((a, b), Mutant::None)?;
    }
    Ok(())
}

/// The same, in a cluster that may have a bug.
///
/// # Errors
/// What is not so.
pub fn one_slow_link(link: (usize, usize), mutant: Mutant) -> Result<(), Violation> {
    let mut cluster = Cluster::scripted(1, Options::calm(5), mutant, Trace::off());
    cluster.settle(SOON)?;
    cluster.run_for(Duration::from_secs(10))?;
    let before = cluster.installs().len();
    cluster.network_mut().slow_down(link, LATE);
    cluster.run_for(Duration::from_secs(60))?;
    let changes: Vec<_> = cluster.installs()[before..].iter().map(|(_, view)| view.fields().changes.clone()).collect();
    claim(changes.is_empty(), format!("slowness of {link:?} leads to {changes:?}"))
}

/// A quick member, asked by few: those who are down say nothing, and it takes two of those who are left.
///
/// # Errors
/// What is not so.
pub fn it_takes_two_to_degrade_a_member() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let host = follower(&cluster);
    let other = (0..3).find(|at| *at != host && Some(*at) != cluster.coordinator()).unwrap_or_default();
    cluster.kill(other)?;
    let is_down = |cluster: &Cluster| cluster.member(host, other).is_some_and(|it| it.live == Liveness::Down);
    cluster.expect("down", SOON, is_down)?;
    cluster.settle(SOON)?;
    let before = cluster.installs().len();
    cluster.slow_down(host, LATE);
    cluster.run_for(Duration::from_secs(120))?;
    claim(cluster.installs().len() == before, "the word of one, of three members, changes nothing")
}
