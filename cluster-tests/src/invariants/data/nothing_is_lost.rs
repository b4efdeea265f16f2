//! I10 and I11: what was acknowledged is there, or something later, as far as it is promised; what was deleted or has expired
//! is not.

use quoit_proto_types::{EntryKind, Stamp};

use super::{
    Side,
    ledger::{Kind, Promise, Writes},
    rank, slot_of,
};
use crate::invariants::Violation;

pub(super) fn check(writes: &Writes, sides: &[Side<'_>]) -> Result<(), Violation> {
    for side in sides {
        let Some(routing) = side.routing() else { continue };
        let owns = |key: &[u8]| routing.standing(slot_of(routing, key)) == quoit_core::routing::Standing::Owner;
        for key in writes.keys().into_iter().filter(|key| owns(key)) {
            let Some(stamp) = side.entry(key) else { continue };
            if writes.of_version(stamp.version).is_none() {
                let what = format!("{} holds {} of {key:?}", side.actor, stamp.version);
                return Err(Violation::new("nothing is made up", what));
            }
        }
        for (key, promise) in writes.promises().filter(|(key, _)| owns(key)) {
            let held = side.entry(key);
            if is_kept(writes, side, (key, promise), held) {
                continue;
            }
            let write = writes.get(promise.token);
            let what = format!("{} holds {held:?} of {key:?}, not {:?} or later: {write:?}", side.actor, promise.rank);
            let name = if is_dead(writes, held) { "nothing is lost" } else { "what is deleted stays deleted" };
            let is_delete = write.is_some_and(|write| write.kind == Kind::Delete);
            return Err(Violation::new(if is_delete { name } else { "nothing is lost" }, what));
        }
    }
    Ok(())
}

/// Whether nothing is there, to whoever is furthest ahead.
fn is_dead(writes: &Writes, held: Option<Stamp>) -> bool {
    held.is_none_or(|held| held.kind == EntryKind::Tombstone || held.is_absent_at(writes.wall().as_millis()))
}

fn is_kept(writes: &Writes, side: &Side<'_>, (key, promise): (&bytes::Bytes, &Promise), held: Option<Stamp>) -> bool {
    if held.is_some_and(|held| rank(&held) >= promise.rank) {
        return true;
    }
    let kind = writes.get(promise.token).map(|write| write.kind);
    if kind == Some(Kind::Delete) && is_dead(writes, held) {
        return true;
    }
    // An older tombstone, that of an owner that was away, is as good as nothing (simulator seed 28022).
    let is_buried = held.is_none_or(|held| held.kind == EntryKind::Tombstone);
    if is_buried && writes.may_be_absent(key, promise.rank) {
        return true;
    }
    // Nobody who owned it had it for a while, and what is that old was collected meanwhile (A5).
    promise.orphaned && side.floor(key) >= promise.rank.0.hlc
}
