//! A member is called slow only if a majority of those who measure it said so. One slow link, one observer with troubles of
//! its own: nobody is degraded. And being degraded changes nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quoit_core::{time::Timestamp, timing::Timing};
use quoit_proto_types::{
    Instance, Member, Ordinal, View,
    message::heartbeat::{Heartbeat, Ping},
    view::Liveness,
};

use super::{Fact, Invariant, Setting, Stage, Violation, witnessed::between};

const NAME: &str = "slow only by a majority";

/// When somebody called members slow for the last time, and which.
type Word = (Timestamp, BTreeSet<Ordinal>);

#[derive(Debug)]
pub(super) struct SlowOnlyByMajority {
    /// By the process that hears it, and the voting state whose word it is.
    heard: BTreeMap<(u32, Instance), Word>,
    /// The last process of a voting state.
    processes: BTreeMap<Instance, u32>,
    /// For how long somebody may go by a word.
    memory: Duration,
}

impl SlowOnlyByMajority {
    pub(super) fn new(setting: &Setting) -> Self {
        let timing = Timing::of(setting.timing);
        let memory = timing.suspect.mul_f64(1.1) + timing.heartbeat + setting.longest_write;
        Self { heard: BTreeMap::new(), processes: BTreeMap::new(), memory }
    }
}

impl Invariant for SlowOnlyByMajority {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Started(actor) => {
                self.processes.insert(actor.instance, actor.serial);
            }
            Fact::Heard { by, from, heartbeat: Heartbeat::Ping(ping) } => {
                self.note(stage.now, (by.serial, from.instance), ping);
            }
            Fact::Heard { .. }
            | Fact::Beat { .. }
            | Fact::Ended(_)
            | Fact::Wiped(_)
            | Fact::Woke(_)
            | Fact::Sent { .. }
            | Fact::Stepped { .. }
            | Fact::Persisting { .. }
            | Fact::Persisted { .. }
            | Fact::Installed { .. }
            | Fact::Synced { .. }
            | Fact::Retired { .. }
            | Fact::Recovered(_) => {}
        }
        let Some(view) = stage.ledger.newly_proposed() else { return Ok(()) };
        let Some(base) = stage.ledger.base_of(view) else { return Ok(()) };
        let slow = |is: &&Member| is.degraded && base.member(is.ordinal).is_none_or(|was| !was.degraded);
        view.members().iter().filter(slow).try_for_each(|member| self.may_be_slow(stage.now, base, view, member))
    }
}

impl SlowOnlyByMajority {
    fn note(&mut self, now: Timestamp, words: (u32, Instance), ping: &Ping) {
        if ping.slow.is_empty() {
            // What comes of what it said before may be under way to the disk.
            if self.heard.get(&words).is_some_and(|(at, _)| between(*at, now) > self.memory) {
                self.heard.remove(&words);
            }
            return;
        }
        self.heard.insert(words, (now, ping.slow.iter().copied().collect()));
    }

    fn may_be_slow(&self, now: Timestamp, base: &View, view: &View, member: &Member) -> Result<(), Violation> {
        let coordinator = view.fields().coordinator;
        let process = view.member(coordinator).and_then(|it| self.processes.get(&it.instance));
        let up = |other: &&Member| other.live == Liveness::Up && other.ordinal != member.ordinal;
        let says = |other: &&Member| {
            let word = process.and_then(|process| self.heard.get(&(*process, other.instance)));
            let heard =
                word.is_some_and(|(at, slow)| between(*at, now) <= self.memory && slow.contains(&member.ordinal));
            // What the coordinator finds itself it tells others no sooner than it proposes.
            heard || other.ordinal == coordinator
        };
        let measuring: Vec<&Member> = base.members().iter().filter(up).collect();
        let (measure, say) = (measuring.len(), measuring.iter().filter(|other| says(other)).count());
        let fewest = if base.members().len() == 2 { 1 } else { 2 };
        if member.live == Liveness::Up && say * 2 > measure && say >= fewest {
            return Ok(());
        }
        let what = format!("{} is slow in {}, but at most {say} of {measure} say so", member.name, view.epoch());
        Err(Violation::new(NAME, what))
    }
}
