//! I14: nobody says more than it must: messages of elections by process and second, outputs by step.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::time::Timestamp;
use quoit_proto_types::{limits, message::peer::PeerMessage};

use super::{Fact, Invariant, Setting, Stage, Violation, witnessed::between};

const NAME: &str = "bounded";
/// Messages of one candidacy by voter: `Elect` to `Accepted`.
const BY_CANDIDACY: usize = 6;
/// Candidacies and views in a second: the shortest pause between two of them is 75 ms.
const IN_A_SECOND: usize = 14;
/// Outputs of one step by host: a view and what it answers, and a heartbeat for each, twice over. A disk that was slow may
/// let go of what many steps wanted.
const BY_HOST: usize = 8 * 64;

#[derive(Debug)]
pub(super) struct Bounded {
    hosts: usize,
    /// The beginning of a second, and how much each process has said of elections since.
    said: BTreeMap<u32, (Timestamp, usize)>,
}

impl Bounded {
    pub(super) fn new(setting: &Setting) -> Self {
        Self { hosts: setting.hosts, said: BTreeMap::new() }
    }
}

impl Invariant for Bounded {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Fact::Sent { from, message: PeerMessage::Election(_), .. } = fact {
            let (since, said) = self.said.entry(from.serial).or_insert((stage.now, 0));
            if between(*since, stage.now) >= Duration::from_secs(1) {
                (*since, *said) = (stage.now, 0);
            }
            *said += 1;
            let most = BY_CANDIDACY * IN_A_SECOND * limits::VOTERS_MAX.min(self.hosts);
            if *said > most {
                return Err(Violation::new(NAME, format!("{from} said {said} things about elections in a second")));
            }
        }
        if let Fact::Stepped { by, outputs, .. } = fact
            && *outputs > 64 + BY_HOST * self.hosts
        {
            return Err(Violation::new(NAME, format!("{by} wanted {outputs} things at once")));
        }
        Ok(())
    }
}
