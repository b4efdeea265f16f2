//! I9 and L2: when the cluster has settled, handoffs, offers and hints come to an end, and all owners of a slot that live hold
//! the same of it.

use quoit_core::{replication::Coordinator, time::Timestamp};
use quoit_proto_types::{message::transfer::Digest, view::Liveness};

use super::Side;
use crate::invariants::Ledger;

/// What is not so yet.
pub(super) fn unsettled(ledger: &Ledger, sides: &[Side<'_>], local: impl Fn(&Side<'_>) -> Timestamp) -> Option<String> {
    let latest = ledger.latest()?;
    let is_up = |ordinal| latest.member(ordinal).is_some_and(|member| member.live == Liveness::Up);
    let all_live = latest.fields().ring.iter().all(|owner| {
        is_up(owner.ordinal) && latest.member(owner.ordinal).is_some_and(|member| member.boot == owner.boot)
    });
    for side in sides {
        let progress = side.data.upkeep.progress(local(side));
        let open = side.data.coordinators.values().filter(|coordinator| !Coordinator::is_empty(coordinator)).count();
        let left = [
            (progress.handoff.is_some(), "is fetching slots"),
            // What has no owner that lives is offered when it has one.
            (progress.offers_left > 0 && all_live, "has slots to offer"),
            (progress.hints.entries > 0, "keeps hints"),
            (open > 0, "has operations that do not end"),
        ];
        if let Some((_, what)) = left.iter().find(|(is_left, _)| *is_left) {
            return Some(format!("{} {what}: {progress:?}", side.actor));
        }
    }
    let routing = sides.iter().filter_map(Side::routing).find(|routing| routing.view() == latest)?;
    let owner = |ordinal| routing.view().fields().ring.iter().find(|owner| owner.ordinal == ordinal).copied();
    for slot in routing.slots().slots() {
        let owners = routing.owners(slot).now.iter().filter_map(|ordinal| owner(*ordinal));
        let living = owners.filter_map(|owner| sides.iter().find(|side| side.is(routing, owner)));
        let held: Vec<(&Side<'_>, Digest)> = living.map(|side| (side, side.data.store.summary(slot).digest)).collect();
        if let Some((other, _)) = held.iter().find(|(_, digest)| *digest != held[0].1) {
            let what = |side: &Side<'_>| format!("{}: {:?}", side.actor, side.data.store.summary(slot));
            return Some(format!("slot {slot} differs: {} and {}", what(held[0].0), what(other)));
        }
    }
    None
}
