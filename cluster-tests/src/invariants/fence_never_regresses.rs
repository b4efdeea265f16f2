//! The fence is the epoch of the last change of the owners: it goes up with each change, and only then.

use quoit_proto_types::{Fence, View};

use super::{Fact, Invariant, Stage, Violation};

const NAME: &str = "the fence never regresses";

#[derive(Debug, Default)]
pub(super) struct FenceNeverRegresses;

impl Invariant for FenceNeverRegresses {
    fn observe(&mut self, stage: Stage<'_>, _fact: &Fact<'_>) -> Result<(), Violation> {
        let Some(hash) = stage.ledger.newly_chosen() else { return Ok(()) };
        let Some(view) = stage.ledger.view(hash) else { return Ok(()) };
        let Some(base) = stage.ledger.base_of(view) else { return Ok(()) };
        check(base, view)
    }
}

fn check(base: &View, view: &View) -> Result<(), Violation> {
    let (before, after) = (base.fields(), view.fields());
    let owners_change = (&before.ring, &before.target) != (&after.ring, &after.target);
    let expected = if owners_change { Fence::new(view.epoch().value()) } else { base.fence() };
    if view.fence() == expected || after.recovered_from != before.recovered_from {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("{} has {}, not {expected}, after {}", view.epoch(), view.fence(), base.fence())))
}
