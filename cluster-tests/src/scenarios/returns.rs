//! What happens to a node that comes back, by what it has kept.

use std::time::Duration;

use quoit_core::cluster::{Standing, StopReason};
use quoit_proto_types::{
    message::membership::{Command, CommandAnswer},
    view::{Intent, Liveness},
};

use super::{LATER, SOON, claim, follower, settled};
use crate::{
    invariants::{Unsettled, Violation},
    sim::Cluster,
};

/// Somebody else than `host` who is up.
fn witness(cluster: &Cluster, host: usize) -> usize {
    (0..).find(|at| *at != host && cluster.is_up(*at)).unwrap_or(0)
}

fn is(cluster: &Cluster, host: usize, live: Liveness) -> bool {
    cluster.member(witness(cluster, host), host).is_some_and(|member| member.live == live)
}

/// Cuts `host` off until it is down.
fn cut_off_until_down(cluster: &mut Cluster, host: usize) -> Result<crate::sim::CutId, Violation> {
    let cut = cluster.cut_off(&[host]);
    cluster.expect("down", SOON, |cluster| is(cluster, host, Liveness::Down))?;
    Ok(cut)
}

/// A partition or a pause ends: it is up again, and nothing moves.
///
/// # Errors
/// What is not so.
pub fn same_instance_same_boot_is_up_again() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let host = follower(&cluster);
    let before = cluster.view(host).map(|view| (view.fence(), view.fields().ring.clone()));
    let cut = cut_off_until_down(&mut cluster, host)?;
    cluster.mend(cut);
    cluster.settle(SOON)?;
    let after = cluster.view(host).map(|view| (view.fence(), view.fields().ring.clone()));
    claim(before == after, "the ring is as it was")
}

/// A process restarts: its memory is another owner, so a ring change replaces it.
///
/// # Errors
/// What is not so.
pub fn same_instance_new_boot_is_replaced_in_the_ring() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let host = follower(&cluster);
    let before = cluster.member(0, host).cloned();
    cluster.kill(host)?;
    cluster.boot(host);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.settle(LATER)?;
    let after = cluster.member(0, host).cloned();
    let (Some(before), Some(after)) = (before, after) else { return claim(false, "it is a member") };
    claim(before.ordinal == after.ordinal, "it keeps its ordinal")?;
    claim(after.boot.value() == before.boot.value() + 1, "it has another boot")?;
    let fence = cluster.view(0).map(|view| view.fence().value()).unwrap_or_default();
    claim(fence > 1, "the ring has changed")
}

/// A disk is lost: the name belongs to the old instance while that is up, and to the new one after that.
///
/// # Errors
/// What is not so.
pub fn a_lost_disk_is_refused_while_the_old_instance_is_up_then_replaced() -> Result<(), Violation> {
    let mut cluster = settled(3, 1)?;
    let (host, twin) = (follower(&cluster), 3);
    let old = cluster.member(0, host).cloned();
    // The same name on another host, with a disk of its own.
    cluster.rename(twin, host);
    cluster.boot(twin);
    let refused = |cluster: &Cluster| {
        let standing = cluster.machine(twin).map(quoit_core::cluster::Cluster::standing);
        matches!(standing, Some(Standing::Joining { answers }) if answers.iter().any(|(_, answer)| {
            matches!(answer, quoit_proto_types::message::membership::JoinAnswer::NameInUse { .. })
        }))
    };
    cluster.expect("the new instance is refused", SOON, refused)?;
    claim(cluster.member(0, host).map(|m| m.instance) == old.as_ref().map(|m| m.instance), "the old one stays")?;
    cluster.kill(host)?;
    cluster.settle(LATER)?;
    let new = cluster.member(0, host).cloned();
    let (Some(old), Some(new)) = (old, new) else { return claim(false, "both were members") };
    claim(new.instance != old.instance && new.ordinal != old.ordinal, "another instance under another ordinal")
}

/// A removed node comes back: it joins as a new member.
///
/// # Errors
/// What is not so.
pub fn a_removed_node_joins_as_new() -> Result<(), Violation> {
    let mut cluster = settled(4, 0)?;
    let host = follower(&cluster);
    let name = cluster.label(host).clone();
    let old = cluster.member(0, host).map(|member| member.ordinal);
    let coordinator = cluster.coordinator().unwrap_or_default();
    let answer = cluster.ask(coordinator, Command::Drain { name })?;
    claim(matches!(answer, Some(CommandAnswer::Accepted { .. })), format!("the drain is accepted: {answer:?}"))?;
    cluster.expect("it has left", LATER, |cluster| !cluster.is_up(host))?;
    let retired = |reason: &StopReason| matches!(reason, StopReason::Retired { .. });
    claim(cluster.stopped().iter().any(|(_, reason)| retired(reason)), "it ended because it had left")?;
    cluster.settle(SOON)?;
    cluster.boot(host);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.settle(LATER)?;
    let new = cluster.member(coordinator, host).map(|member| (member.ordinal, member.intent));
    claim(new.is_some_and(|(ordinal, intent)| Some(ordinal) != old && intent == Intent::Stay), "it is new")
}

/// A certificate is replaced: the name is the same, so a new connection is all there is to it.
///
/// # Errors
/// What is not so.
pub fn a_new_certificate_is_a_reconnect() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let host = follower(&cluster);
    let epoch = cluster.epoch(host);
    // Whatever the key, peers see a connection that ends and another one of the same process.
    let cut = cluster.cut_off(&[host]);
    cluster.run_for(Duration::from_millis(300))?;
    cluster.mend(cut);
    cluster.run_for(Duration::from_secs(10))?;
    claim(cluster.settled().is_ok() && cluster.epoch(host) == epoch, "nobody takes notice")
}

/// A process of an earlier boot is still there: it is refused, and ends.
///
/// # Errors
/// What is not so.
pub fn an_older_boot_is_refused() -> Result<(), Violation> {
    let mut cluster = settled(3, 1)?;
    let (host, older) = (follower(&cluster), 3);
    cluster.expect_copies();
    let Some(old) = cluster.on_disk(host).cloned() else { return claim(false, "it has a disk") };
    for _ in 0..2 {
        cluster.kill(host)?;
        cluster.boot(host);
        cluster.run_for(Duration::from_millis(1))?;
        cluster.settle(LATER)?;
    }
    // What was on the disk before both restarts starts elsewhere.
    cluster.rename(older, host);
    cluster.put_on_disk(older, old);
    cluster.boot(older);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.expect("the older one has ended", SOON, |cluster| !cluster.is_up(older))?;
    let superseded = |reason: &StopReason| matches!(reason, StopReason::Superseded { .. });
    claim(cluster.stopped().iter().all(|(actor, reason)| actor.host == older && superseded(reason)), "it was told so")?;
    cluster.run_for(Duration::from_secs(10))?;
    claim(cluster.settled().is_ok(), "the true one stays")
}

/// A disk is copied and started twice: whoever comes later is refused, and ends.
///
/// # Errors
/// What is not so.
pub fn a_clone_is_refused() -> Result<(), Violation> {
    let mut cluster = settled(3, 1)?;
    let (host, clone) = (follower(&cluster), 3);
    cluster.expect_copies();
    cluster.kill(host)?;
    let Some(copy) = cluster.on_disk(host).cloned() else { return claim(false, "it has a disk") };
    cluster.boot(host);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.settle(LATER)?;
    cluster.rename(clone, host);
    cluster.put_on_disk(clone, copy);
    cluster.boot(clone);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.expect("the clone has ended", SOON, |cluster| !cluster.is_up(clone))?;
    let duplicate = |reason: &StopReason| matches!(reason, StopReason::Duplicate { .. });
    claim(cluster.stopped().iter().any(|(actor, reason)| actor.host == clone && duplicate(reason)), "it was told so")
}

/// A node moves: members dial it where it is.
///
/// # Errors
/// What is not so.
pub fn a_moved_node_is_found_where_it_is() -> Result<(), Violation> {
    let mut cluster = settled(3, 0)?;
    let host = follower(&cluster);
    cluster.kill(host)?;
    cluster.relocate(host, "elsewhere:7750");
    cluster.boot(host);
    cluster.run_for(Duration::from_millis(1))?;
    cluster.settle(LATER)?;
    let address = cluster.member(0, host).map(|member| member.address.to_string());
    claim(address.as_deref() == Some("elsewhere:7750"), format!("it is dialled at {address:?}"))
}

/// The only seed has left for good, and all others move at once: nobody can tell them where the others are, and nobody waits
/// for that. When one of them is again where the others know it, they meet.
///
/// # Errors
/// What is not so.
pub fn those_who_all_move_after_the_last_seed_left_need_another() -> Result<(), Violation> {
    let mut cluster = settled(1, 2)?;
    for host in [1, 2] {
        cluster.boot(host);
        cluster.expect("it is up", SOON, |cluster| cluster.is_up(host))?;
    }
    cluster.settle(LATER)?;
    let name = cluster.label(0).clone();
    let answer = cluster.ask(1, Command::Drain { name })?;
    claim(matches!(answer, Some(CommandAnswer::Accepted { .. })), format!("the drain is accepted: {answer:?}"))?;
    cluster.expect("the seed has left", LATER, |cluster| !cluster.is_up(0))?;
    cluster.settle(LATER)?;
    let before = cluster.epoch(1);
    for (host, address) in [(1, "elsewhere:7750"), (2, "nowhere:7750")] {
        cluster.kill(host)?;
        cluster.relocate(host, address);
        cluster.boot(host);
    }
    cluster.run_for(LATER)?;
    let epochs = [1, 2].map(|host| cluster.epoch(host));
    claim(epochs == [before; 2], format!("nothing is decided by one of two: {epochs:?}"))?;
    claim(cluster.settled() == Err(Unsettled::Frozen), format!("there is no way: {:?}", cluster.settled()))?;
    // The drivers of the simulator look addresses up when they start, and when they install a view.
    cluster.relocate(1, "h2:7750");
    for host in [1, 2] {
        cluster.kill(host)?;
        cluster.boot(host);
        cluster.run_for(Duration::from_millis(1))?;
    }
    cluster.settle(LATER).map(drop)
}
