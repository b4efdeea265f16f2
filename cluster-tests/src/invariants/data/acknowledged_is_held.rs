//! What is acknowledged is held at that moment, by as many as the level says, and by those that it says.

use quoit_proto_types::{WriteLevel, view::Owner};

use super::{Done, Rank, Side, homes::Homes, ledger::Writes, slot_of};
use crate::invariants::Violation;

pub(super) fn check(writes: &Writes, done: &Done<'_>, rank: Rank, sides: &[Side<'_>]) -> Result<(), Violation> {
    let Some(write) = writes.get(done.token) else { return Ok(()) };
    let routing = done.routing;
    // Whoever has ended, or goes by another ring by now, may have held it when it said so.
    let same = |side: &Side<'_>| side.routing().is_none_or(|other| other.fence() == routing.fence());
    // Who has no room for everything may have let go of it since, as a full cache does.
    let full = |side: &Side<'_>| !side.data.has_room();
    if !writes.is_undisturbed(done.token) || !sides.iter().all(same) || sides.iter().any(full) {
        return Ok(());
    }
    let owners = routing.owners(slot_of(routing, &write.key));
    let holders = || sides.iter().filter(|side| side.covers(&write.key, rank));
    let fields = routing.view().fields();
    let among = |set: &[quoit_proto_types::Ordinal], lives: &[Owner]| {
        let is_one = |side: &&Side<'_>| {
            let named = lives.iter().filter(|owner| set.contains(&owner.ordinal));
            let holds = || side.entry(&write.key).is_some() || side.floor(&write.key) >= rank.0.hlc;
            named.into_iter().any(|owner| side.is(routing, *owner)) && holds()
        };
        holders().filter(is_one).count()
    };
    let sets = [Some((owners.now, &fields.ring)), owners.then.zip(fields.target.as_ref())];
    for (set, lives) in sets.into_iter().flatten() {
        let (holding, needed) = match write.level {
            WriteLevel::Any => (holders().count(), 1),
            WriteLevel::One => (among(set, lives), 1),
            WriteLevel::Two => (Homes::copies_now(sides, &write.key, rank), set.len().clamp(1, 2)),
            WriteLevel::Quorum => (among(set, lives), set.len() / 2 + 1),
            WriteLevel::All => (among(set, lives), set.len()),
        };
        if holding < needed {
            let what = format!(
                "{} acknowledged {} of {} at level {} under {}, which {holding} hold and {needed} should",
                done.by,
                rank.0,
                String::from_utf8_lossy(&write.key),
                write.level,
                routing.fence()
            );
            return Err(Violation::new("acknowledged is held", what));
        }
    }
    Ok(())
}
