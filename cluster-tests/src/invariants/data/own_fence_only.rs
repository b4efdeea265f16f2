//! I5: a replica acts only on its own fence; and when the ring that follows a change is decided, no owner that was counted on
//! acts any more on the ring before it.

use std::collections::{BTreeMap, BTreeSet};

use quoit_core::{replication::MAX_SKEW, replication::ReplicaRequest, time::Wall};
use quoit_proto_types::{
    Boot, Fence, Instance, Ordinal, View,
    view::{Change, Liveness},
};

use super::Acted;
use crate::invariants::{Ledger, Violation};

#[derive(Debug, Default)]
pub(super) struct OwnFenceOnly {
    /// Who was down in any view of a fence.
    downs: BTreeMap<Fence, BTreeSet<Ordinal>>,
    /// Who acts no more under a fence.
    over: BTreeMap<Fence, BTreeSet<(Instance, Boot)>>,
}

impl OwnFenceOnly {
    pub(super) fn observe(&self, acted: &Acted<'_>) -> Result<(), Violation> {
        if !acted.has_acted() {
            return Ok(());
        }
        let (actor, own) = (acted.actor, acted.routing.fence());
        if acted.fence != own {
            let what = format!("{actor} goes by {own} and acted on {}", acted.fence);
            return Err(Violation::new("own fence only", what));
        }
        if self.over.get(&own).is_some_and(|over| over.contains(&(actor.instance, actor.boot))) {
            let what = format!("{actor} acted on {own}, of which the ring after next is decided");
            return Err(Violation::new("own fence only", what));
        }
        if let ReplicaRequest::Put { stamp, .. } = acted.request {
            let ahead = Wall::from_millis(stamp.version.hlc.millis()).checked_duration_since(acted.wall);
            if ahead.is_some_and(|ahead| ahead > MAX_SKEW) {
                let what = format!("{actor} took {}, {ahead:?} ahead of its clock", stamp.version);
                return Err(Violation::new("no version from far ahead", what));
            }
        }
        Ok(())
    }

    pub(super) fn decided(&mut self, ledger: &Ledger, view: &View) {
        let down = view.members().iter().filter(|member| member.live == Liveness::Down);
        self.downs.entry(view.fence()).or_default().extend(down.map(|member| member.ordinal));
        let Some(joint) = ledger.base_of(view) else { return };
        let has_ended = view.fields().changes.contains(&Change::RingChangeDone);
        let Some(before) = before(ledger, joint).filter(|_| has_ended) else { return };
        let none = BTreeSet::new();
        let downs = self.downs.get(&joint.fence()).unwrap_or(&none);
        let counted = joint.fields().ring.iter().filter(|owner| !downs.contains(&owner.ordinal));
        let lives = counted.filter_map(|owner| Some((joint.member(owner.ordinal)?.instance, owner.boot)));
        self.over.entry(before).or_default().extend(lives);
    }
}

/// The fence before that of `view`.
fn before(ledger: &Ledger, view: &View) -> Option<Fence> {
    let mut base = ledger.base_of(view)?;
    while base.fence() == view.fence() {
        base = ledger.base_of(base)?;
    }
    Some(base.fence())
}
