//! When the faults are over, one view holds everybody: its processes have installed it, and at least one of them lives;
//! whoever restarted since knows that it is superseded.

use std::collections::BTreeMap;

use quoit_core::membership::GenesisStatus;
use quoit_proto_types::{Instance, View};

use super::{Fact, Invariant, Violation};

#[derive(Debug, Default)]
pub(super) struct Settled {
    installed: BTreeMap<Instance, View>,
}

impl Invariant for Settled {
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Installed { by, view } => {
                self.installed.insert(by.instance, View::clone(view));
            }
            Fact::Ended(instance) => {
                self.installed.remove(instance);
            }
            Fact::Settled(processes) => {
                let view = self.installed.values().next().ok_or_else(|| Violation("nobody has a view".to_owned()))?;
                for (process, status) in *processes {
                    let named = view.members().iter().any(|member| member.instance == process.instance);
                    let formed = self.installed.get(&process.instance) == Some(view);
                    let superseded = matches!(status, GenesisStatus::Superseded { .. });
                    if (named, formed, superseded) != (named, named, !named) {
                        let (name, hash) = (&process.name, view.hash());
                        return Err(Violation(format!("{name} is not settled in view {hash}: {status}")));
                    }
                }
            }
            Fact::Started(_) | Fact::Sent { .. } => {}
        }
        Ok(())
    }
}
