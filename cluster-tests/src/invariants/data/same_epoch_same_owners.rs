//! I4: processes that go by views of one epoch, or of one fence, name the same owners of every slot.

use std::collections::BTreeMap;

use quoit_core::routing::Routing;
use quoit_proto_types::{ClusterId, Epoch, Fence, Ordinal};

use crate::invariants::Violation;

/// The owners of every slot, in force and to be.
type Table = Vec<(Vec<Ordinal>, Option<Vec<Ordinal>>)>;

#[derive(Debug, Default)]
pub(super) struct SameEpochSameOwners {
    epochs: BTreeMap<(ClusterId, Epoch), Table>,
    fences: BTreeMap<(ClusterId, Fence), Table>,
}

impl SameEpochSameOwners {
    pub(super) fn observe(&mut self, routing: &Routing) -> Result<(), Violation> {
        let cluster = routing.view().fields().cluster_id;
        let owners = routing.slots().slots().map(|slot| {
            let owners = routing.owners(slot);
            (owners.now.to_vec(), owners.then.map(<[Ordinal]>::to_vec))
        });
        let table: Table = owners.collect();
        let (epoch, fence) = (routing.epoch(), routing.fence());
        let known = self.epochs.entry((cluster, epoch)).or_insert_with(|| table.clone());
        if *known != table {
            return Err(Violation::new("same epoch, same owners", format!("two rings at {epoch}")));
        }
        let known = self.fences.entry((cluster, fence)).or_insert_with(|| table.clone());
        if *known != table {
            return Err(Violation::new(
                "same fence, same owners",
                format!("the owners change at {epoch} under {fence}"),
            ));
        }
        Ok(())
    }
}
