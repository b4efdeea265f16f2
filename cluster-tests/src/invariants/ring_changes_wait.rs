//! One ring change at a time, and it ends only when all who are to own something say that they hold it.

use std::collections::BTreeSet;

use quoit_proto_types::{Fence, Instance, View, view::Owner};

use super::{Fact, Invariant, Stage, Violation};

const NAME: &str = "ring changes wait";

#[derive(Debug, Default)]
pub(super) struct RingChangesWait {
    synced: BTreeSet<(Instance, Fence)>,
}

impl Invariant for RingChangesWait {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Fact::Synced { by, fence } = fact {
            self.synced.insert((by.instance, *fence));
        }
        let Some(hash) = stage.ledger.newly_chosen() else { return Ok(()) };
        let Some(view) = stage.ledger.view(hash) else { return Ok(()) };
        let Some(base) = stage.ledger.base_of(view) else { return Ok(()) };
        self.check(base, view)
    }
}

impl RingChangesWait {
    fn check(&self, base: &View, view: &View) -> Result<(), Violation> {
        let (before, after) = (base.fields(), view.fields());
        if after.recovered_from != before.recovered_from {
            return Ok(());
        }
        let epoch = view.epoch();
        match (&before.target, &after.target) {
            (None, _) if before.ring != after.ring => {
                Err(Violation::new(NAME, format!("the ring of {epoch} is another one, without a change under way")))
            }
            (Some(target), Some(other)) if target != other || before.ring != after.ring => {
                Err(Violation::new(NAME, format!("the ring change under way is another one in {epoch}")))
            }
            (Some(target), None) if after.ring == *target && after.ring != before.ring => self.may_end(base, target),
            (Some(_), None) if after.ring != before.ring => {
                Err(Violation::new(NAME, format!("the ring change ends with another ring in {epoch}")))
            }
            (None | Some(_), None | Some(_)) => Ok(()),
        }
    }

    fn may_end(&self, base: &View, target: &[Owner]) -> Result<(), Violation> {
        let mut ring = None;
        for owner in target.iter().filter(|owner| !base.fields().ring.contains(owner)) {
            let Some(member) = base.member(owner.ordinal) else { continue };
            if member.vnodes > 0 && !self.synced.contains(&(member.instance, base.fence())) {
                // With few slots, somebody may get none.
                let ring = ring.get_or_insert_with(|| base.ring_towards(target, &base.fields().tokens.target));
                if !ring.slots().slots().any(|slot| ring.owners(slot).contains(&owner.ordinal)) {
                    continue;
                }
                let what = format!("the ring change of {} ends before {} holds its slots", base.fence(), member.name);
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }
}
