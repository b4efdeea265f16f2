//! A member is called down only if a majority of the voters really did not hear it, and up again only if somebody heard it
//! for long enough. One bad link, one sleeping voter: nobody is down.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::{time::Timestamp, timing::Timing};
use quoit_proto_types::{Instance, Member, View, message::heartbeat::Heartbeat, view::Liveness};

use super::{
    Fact, Hearing, Invariant, Setting, Stage, Violation,
    witnessed::{Who, before, who},
};

const NAME: &str = "down only by a majority";

#[derive(Debug)]
pub(super) struct DownOnlyByMajority {
    timing: Timing,
    hearing: Hearing,
    /// The last process of a voting state.
    processes: BTreeMap<Instance, u32>,
    /// When a process did something last.
    stepped: BTreeMap<u32, Timestamp>,
    /// When a life was decided to be down.
    down_since: BTreeMap<Who, Timestamp>,
    /// For how long what was true when it was said may be what somebody goes by.
    memory: Duration,
}

impl DownOnlyByMajority {
    pub(super) fn new(setting: &Setting) -> Self {
        let timing = Timing::of(setting.timing);
        Self {
            timing,
            hearing: Hearing::new(timing.suspect.mul_f64(1.1), timing.suspect.mul_f64(0.85)),
            processes: BTreeMap::new(),
            stepped: BTreeMap::new(),
            down_since: BTreeMap::new(),
            memory: timing.suspect * 3 + setting.longest_delay * 3 + setting.longest_write,
        }
    }
}

impl Invariant for DownOnlyByMajority {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Started(actor) => {
                self.processes.insert(actor.instance, actor.serial);
            }
            Fact::Woke(actor) => {
                let since = self.stepped.get(&actor.serial).copied().unwrap_or(stage.now);
                self.hearing.woke(actor.serial, since, stage.now);
            }
            Fact::Stepped { by, .. } | Fact::Persisting { by, .. } | Fact::Sent { from: by, .. } => {
                self.stepped.insert(by.serial, stage.now);
            }
            Fact::Heard { by, from, heartbeat: Heartbeat::Ping(_) } => {
                // What a process said before another one took its place may come late: it is gone all the same.
                if self.processes.get(&from.instance) == Some(&from.serial) {
                    self.hearing.heard(by.serial, who(from), stage.now);
                }
            }
            Fact::Heard { .. }
            | Fact::Ended(_)
            | Fact::Wiped(_)
            | Fact::Beat { .. }
            | Fact::Persisted { .. }
            | Fact::Installed { .. }
            | Fact::Synced { .. }
            | Fact::Retired { .. }
            | Fact::Recovered(_) => {}
        }
        self.note_down(stage);
        let Some(view) = stage.ledger.newly_proposed() else { return Ok(()) };
        let Some(base) = stage.ledger.base_of(view) else { return Ok(()) };
        if view.fields().recovered_from != base.fields().recovered_from {
            return Ok(());
        }
        // Who has slept may propose what it believes for an epoch that is decided: nobody comes to go by it (simulator seed 28832).
        if stage.ledger.latest().is_some_and(|latest| latest.epoch() >= view.epoch()) {
            return Ok(());
        }
        for (was, is) in base.members().iter().filter_map(|was| Some((was, view.member(was.ordinal)?))) {
            match (was.live, is.live) {
                (Liveness::Up, Liveness::Down) => self.may_be_down(stage.now, base, was)?,
                // Who is elected by a majority is up.
                (Liveness::Down, Liveness::Up) if view.fields().coordinator == is.ordinal => {}
                (Liveness::Down, Liveness::Up) if was.boot == is.boot => self.may_be_up(stage.now, base, was)?,
                (Liveness::Up | Liveness::Down, Liveness::Up) | (Liveness::Down, Liveness::Down) => {}
            }
        }
        Ok(())
    }
}

impl DownOnlyByMajority {
    fn note_down(&mut self, stage: Stage<'_>) {
        let Some(view) = stage.ledger.newly_chosen().and_then(|hash| stage.ledger.view(hash)) else { return };
        let Some(base) = stage.ledger.base_of(view) else { return };
        for member in view.members().iter().filter(|member| member.live == Liveness::Down) {
            if base.member(member.ordinal).is_some_and(|before| before.live == Liveness::Up) {
                self.down_since.insert((member.instance, member.boot), stage.now);
            }
        }
    }

    /// The processes of the voters of `view`, as far as any was ever started.
    fn voters(&self, view: &View) -> Vec<u32> {
        let voters = view.fields().voters.iter().filter_map(|voter| view.member(*voter));
        voters.filter_map(|voter| self.processes.get(&voter.instance).copied()).collect()
    }

    fn may_be_down(&self, now: Timestamp, base: &View, member: &Member) -> Result<(), Violation> {
        let speaker = (member.instance, member.boot);
        let after = before(now, self.memory);
        let hears = |voter: &&u32| {
            let is_itself = self.processes.get(&member.instance) == Some(voter);
            let last = self.stepped.get(voter).copied().unwrap_or(now);
            is_itself || !self.hearing.was_silent(**voter, speaker, after, last)
        };
        let voters = self.voters(base);
        let hearing = voters.iter().filter(hears).count();
        let silent = base.fields().voters.len() - hearing;
        if silent >= base.quorum() {
            return Ok(());
        }
        let what = format!("{} is down in {}, but {hearing} voters hear it", member.name, base.epoch().next());
        Err(Violation::new(NAME, what))
    }

    fn may_be_up(&self, now: Timestamp, base: &View, member: &Member) -> Result<(), Violation> {
        let speaker = (member.instance, member.boot);
        let least = self.timing.stable.mul_f64(0.8);
        let times = (self.down_since.get(&speaker).copied().unwrap_or_default(), before(now, self.memory));
        let stable =
            self.voters(base).into_iter().any(|voter| self.hearing.was_steady((voter, speaker), least, times, now));
        if stable {
            return Ok(());
        }
        let what = format!("{} is up in {}, but nobody heard it for {least:?}", member.name, base.epoch().next());
        Err(Violation::new(NAME, what))
    }
}
