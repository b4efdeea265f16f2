//! I1: at most one view is decided for each cluster id and epoch, and at most one first view as long as anybody's durable
//! state is left that belongs to it.

use std::collections::BTreeMap;

use quoit_proto_types::{
    ClusterId, Epoch, View,
    message::{membership::MembershipMessage, peer::PeerMessage},
    view::ViewHash,
};

use super::{Fact, Invariant, Stage, Violation};

const NAME: &str = "one view per epoch";

#[derive(Debug, Default)]
pub(super) struct OneViewPerEpoch {
    seen: BTreeMap<(ClusterId, Epoch), ViewHash>,
    /// The first views of clusters that founders formed.
    first: BTreeMap<ViewHash, ClusterId>,
}

impl Invariant for OneViewPerEpoch {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Some(hash) = stage.ledger.newly_chosen()
            && let Some(view) = stage.ledger.view(hash)
        {
            self.check(stage, view, hash)?;
        }
        match fact {
            Fact::Installed { view, hash, .. } => self.check(stage, view, *hash),
            Fact::Sent { message: PeerMessage::Membership(MembershipMessage::Commit { view, .. }), .. } => {
                self.check(stage, view, view.hash())
            }
            Fact::Sent { .. }
            | Fact::Started(_)
            | Fact::Ended(_)
            | Fact::Wiped(_)
            | Fact::Woke(_)
            | Fact::Beat { .. }
            | Fact::Heard { .. }
            | Fact::Persisting { .. }
            | Fact::Persisted { .. }
            | Fact::Synced { .. }
            | Fact::Stepped { .. }
            | Fact::Retired { .. }
            | Fact::Recovered(_) => Ok(()),
        }
    }
}

impl OneViewPerEpoch {
    fn check(&mut self, stage: Stage<'_>, view: &View, hash: ViewHash) -> Result<(), Violation> {
        let (cluster, epoch) = (view.fields().cluster_id, view.epoch());
        let first = *self.seen.entry((cluster, epoch)).or_insert(hash);
        if first != hash {
            return Err(Violation::new(NAME, format!("{epoch} has view {first} and view {hash}")));
        }
        if epoch == Epoch::new(1) && self.first.insert(hash, cluster).is_none() {
            for other in self.first.keys().filter(|other| **other != hash) {
                let left = stage.ledger.view(*other).and_then(|view| {
                    view.members().iter().find(|member| !stage.ledger.is_wiped(member.instance)).map(|m| m.name.clone())
                });
                if let Some(left) = left {
                    let what = format!("founders form view {hash}, while {left} has its part in view {other}");
                    return Err(Violation::new(NAME, what));
                }
            }
        }
        Ok(())
    }
}
