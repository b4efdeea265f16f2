//! I2: a process goes from view to later view, and so does its disk.

use std::collections::BTreeMap;

use quoit_proto_types::{Epoch, Instance};

use super::{Fact, Invariant, Stage, Violation};

const NAME: &str = "installed epochs never decrease";

#[derive(Debug, Default)]
pub(super) struct InstalledEpochsNeverDecrease {
    installed: BTreeMap<u32, Epoch>,
    written: BTreeMap<Instance, Epoch>,
}

impl Invariant for InstalledEpochsNeverDecrease {
    fn observe(&mut self, _stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Fact::Installed { by, view, .. } = fact {
            let before = self.installed.insert(by.serial, view.epoch());
            if before.is_some_and(|before| before >= view.epoch()) {
                let (before, after) = (before.unwrap_or_default(), view.epoch());
                return Err(Violation::new(NAME, format!("{by} goes from {before} to {after}")));
            }
        }
        if let Fact::Persisting { by, meta } = fact {
            let before = self.written.insert(by.instance, meta.epoch()).unwrap_or_default();
            // A crash may have lost what was only being written, but a process never goes back by itself.
            if before > meta.epoch() && self.installed.get(&by.serial).is_some_and(|epoch| *epoch > meta.epoch()) {
                return Err(Violation::new(NAME, format!("{by} writes {} over {before}", meta.epoch())));
            }
        }
        Ok(())
    }
}
