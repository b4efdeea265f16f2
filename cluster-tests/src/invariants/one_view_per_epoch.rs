//! An epoch has one view, as long as any process lives that is named in it.

use std::collections::BTreeSet;

use quoit_proto_types::{Instance, View};

use super::{Fact, Invariant, Violation};

#[derive(Debug, Default)]
pub(super) struct OneViewPerEpoch {
    living: BTreeSet<Instance>,
    /// Every view that was ever installed.
    installed: Vec<View>,
}

impl Invariant for OneViewPerEpoch {
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Started(process) => {
                self.living.insert(process.instance);
            }
            Fact::Ended(instance) => {
                self.living.remove(instance);
            }
            Fact::Installed { view, .. } if !self.installed.contains(view) => {
                let rival = self.installed.iter().find(|other| other.epoch() == view.epoch() && self.is_held(other));
                if let Some(rival) = rival {
                    let (epoch, first, second) = (view.epoch(), rival.hash(), view.hash());
                    return Err(Violation(format!("view {second} of {epoch}, while processes in view {first} live")));
                }
                self.installed.push(View::clone(view));
            }
            Fact::Installed { .. } | Fact::Sent { .. } | Fact::Settled(_) => {}
        }
        Ok(())
    }
}

impl OneViewPerEpoch {
    fn is_held(&self, view: &View) -> bool {
        view.members().iter().any(|member| self.living.contains(&member.instance))
    }
}
