//! A node that leaves ends only when a majority of the voters that are left has the view without it.

use std::collections::BTreeMap;

use quoit_proto_types::{Epoch, Instance};

use super::{Fact, Invariant, Stage, Violation};

const NAME: &str = "retired when dispensable";

#[derive(Debug, Default)]
pub(super) struct RetiredWhenDispensable {
    installed: BTreeMap<Instance, Epoch>,
}

impl Invariant for RetiredWhenDispensable {
    fn observe(&mut self, _stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Fact::Installed { by, view, .. } = fact {
            self.installed.insert(by.instance, view.epoch());
        }
        let Fact::Retired { by, view } = fact else { return Ok(()) };
        let voters = view.fields().voters.iter().filter_map(|voter| view.member(*voter));
        let has = |instance: &Instance| self.installed.get(instance).is_some_and(|epoch| *epoch >= view.epoch());
        let have = voters.filter(|voter| has(&voter.instance)).count();
        if have >= view.quorum() {
            return Ok(());
        }
        Err(Violation::new(NAME, format!("{by} goes with {}, which {have} of the voters have", view.epoch())))
    }
}
