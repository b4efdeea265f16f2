//! A process installs view 1 once, and only a view that names it.

use std::collections::BTreeSet;

use quoit_proto_types::Instance;

use super::{Fact, Invariant, Violation};

#[derive(Debug, Default)]
pub(super) struct InstalledViewsNameTheProcess {
    installed: BTreeSet<Instance>,
}

impl Invariant for InstalledViewsNameTheProcess {
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        let Fact::Installed { by, view } = fact else { return Ok(()) };
        let me = (&by.name, by.instance, by.boot);
        if !view.members().iter().any(|member| (&member.name, member.instance, member.boot) == me) {
            Err(Violation(format!("{} installs view {}, which does not name its process", by.name, view.hash())))
        } else if !self.installed.insert(by.instance) {
            Err(Violation(format!("{} installs a second time", by.name)))
        } else {
            Ok(())
        }
    }
}
