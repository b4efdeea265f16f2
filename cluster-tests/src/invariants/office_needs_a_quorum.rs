//! Who says that it is in office has made round trips with a majority of the voters lately, and who cannot make them does
//! not stay in office.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quoit_core::{time::Timestamp, timing::Timing};
use quoit_proto_types::{
    Label, View,
    message::{
        admin::ElectionRole,
        heartbeat::{Heartbeat, Office},
    },
};

use super::{Fact, Invariant, Setting, Stage, Violation, witnessed::between};
use crate::sim::Actor;

const NAME: &str = "office needs a quorum";

#[derive(Debug)]
pub(super) struct OfficeNeedsAQuorum {
    fresh: Duration,
    views: BTreeMap<u32, Arc<View>>,
    pongs: BTreeMap<u32, BTreeMap<Label, Timestamp>>,
    /// When a coordinator reached a majority last, or took office.
    reached: BTreeMap<u32, Timestamp>,
    /// When a process's disk let go of what it wanted to say before.
    released: BTreeMap<u32, Timestamp>,
    /// When a process did something last.
    stepped: BTreeMap<u32, Timestamp>,
}

impl OfficeNeedsAQuorum {
    pub(super) fn new(setting: &Setting) -> Self {
        Self {
            fresh: Timing::of(setting.timing).quorum_fresh,
            views: BTreeMap::new(),
            pongs: BTreeMap::new(),
            reached: BTreeMap::new(),
            released: BTreeMap::new(),
            stepped: BTreeMap::new(),
        }
    }

    /// Who took office a moment ago was let in by a majority.
    fn may_preside(&self, by: &Actor, now: Timestamp) -> bool {
        let lately = self.reached.get(&by.serial).is_none_or(|since| between(*since, now) <= self.fresh * 2);
        lately || self.released.get(&by.serial) == Some(&now) || self.reaches_a_quorum(by, now)
    }

    fn reaches_a_quorum(&self, by: &Actor, now: Timestamp) -> bool {
        let Some(view) = self.views.get(&by.serial) else { return true };
        let pongs = self.pongs.get(&by.serial);
        let voters = view.fields().voters.iter().filter_map(|voter| view.member(*voter));
        let answered = |name: &Label| {
            let last = pongs.and_then(|pongs| pongs.get(name));
            last.is_some_and(|last| between(*last, now) <= self.fresh * 2)
        };
        voters.filter(|voter| voter.name == by.name || answered(&voter.name)).count() >= view.quorum()
    }
}

impl Invariant for OfficeNeedsAQuorum {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Installed { by, view, .. } => {
                self.views.insert(by.serial, Arc::clone(view));
            }
            // It goes by its next view before its disk has that, and says nothing until then; the disk may be slow (simulator
            // seeds 25082 and 205467).
            Fact::Persisting { by, meta } => {
                if let Some(view) = &meta.view {
                    self.views.insert(by.serial, Arc::clone(view));
                }
            }
            Fact::Heard { by, from, heartbeat: Heartbeat::Pong { .. } } => {
                self.pongs.entry(by.serial).or_default().insert(from.name.clone(), stage.now);
            }
            Fact::Beat { from, heartbeat: Heartbeat::Ping(ping) }
                if ping.office == Office::Presiding && !self.may_preside(from, stage.now) =>
            {
                return Err(Violation::new(NAME, format!("{from} says that it presides, and reaches no majority")));
            }
            Fact::Persisted { by, .. } => {
                self.released.insert(by.serial, stage.now);
            }
            Fact::Woke(by) => {
                self.reached.remove(&by.serial);
            }
            Fact::Stepped { by, role, .. } => {
                let last = self.stepped.insert(by.serial, stage.now).unwrap_or(stage.now);
                if between(last, stage.now) >= self.fresh {
                    // It was stopped for a while: it looks at its office when its timer is served.
                    self.reached.remove(&by.serial);
                }
                if *role != ElectionRole::Coordinator {
                    self.reached.remove(&by.serial);
                    return Ok(());
                }
                let since = *self.reached.entry(by.serial).or_insert(stage.now);
                if self.reaches_a_quorum(by, stage.now) {
                    self.reached.insert(by.serial, stage.now);
                } else if between(since, stage.now) > self.fresh * 2 {
                    return Err(Violation::new(NAME, format!("{by} stays in office and reaches no majority")));
                }
            }
            Fact::Heard { .. }
            | Fact::Beat { .. }
            | Fact::Started(_)
            | Fact::Ended(_)
            | Fact::Wiped(_)
            | Fact::Sent { .. }
            | Fact::Synced { .. }
            | Fact::Retired { .. }
            | Fact::Recovered(_) => {}
        }
        Ok(())
    }
}
