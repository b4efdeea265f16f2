//! While a coordinator that reaches a majority is heard, whoever hears it neither stands for election nor lets another one
//! pass, unless the office is handed over.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::{time::Timestamp, timing::Timing};
use quoit_proto_types::{
    Ballot, Epoch, Label,
    message::{
        election::ElectionMessage,
        heartbeat::{Heartbeat, Office},
        peer::PeerMessage,
    },
};

use super::{
    Fact, Hearing, Invariant, Setting, Stage, Violation,
    witnessed::{Who, who},
};
use crate::sim::Actor;

const NAME: &str = "sticky";

#[derive(Debug)]
pub(super) struct Sticky {
    hearing: Hearing,
    /// Under which ballot a process was heard last as coordinator.
    ballots: BTreeMap<Who, Ballot>,
    /// What a process has promised, and its epoch.
    promised: BTreeMap<u32, (Epoch, Ballot)>,
    /// Candidacies for an office that is handed over.
    transferred: BTreeMap<(Label, u64), bool>,
    /// When a process's disk let go of what it wanted to say before.
    released: BTreeMap<u32, Timestamp>,
    /// Only who was heard for so long counts: what was said before has arrived by then.
    least: Duration,
}

impl Sticky {
    pub(super) fn new(setting: &Setting) -> Self {
        let timing = Timing::of(setting.timing);
        Self {
            hearing: Hearing::new(timing.suspect.mul_f64(0.6), timing.suspect),
            ballots: BTreeMap::new(),
            promised: BTreeMap::new(),
            transferred: BTreeMap::new(),
            released: BTreeMap::new(),
            least: timing.suspect * 3 + setting.longest_delay * 3,
        }
    }

    fn heard(&mut self, stage: Stage<'_>, by: &Actor, from: &Actor, heartbeat: &Heartbeat) {
        let Heartbeat::Ping(ping) = heartbeat else { return };
        let (epoch, promised) = self.promised.get(&by.serial).copied().unwrap_or_default();
        if ping.office == Office::Presiding && ping.ballot >= promised && ping.epoch == epoch {
            self.ballots.insert(who(from), ping.ballot);
            self.hearing.heard(by.serial, who(from), stage.now);
        } else if ping.office != Office::Presiding && ping.ballot >= promised && ping.epoch >= epoch {
            // It has stepped down, or was started again: whatever it presided over is over, in all its lives.
            self.hearing.forget_all_lives(by.serial, from.instance);
        } else {
            self.hearing.forget(by.serial, who(from));
        }
    }

    /// The coordinator that the process hears without doubt.
    fn hears(&self, stage: Stage<'_>, process: u32) -> Option<Ballot> {
        if self.released.get(&process) == Some(&stage.now) {
            return None;
        }
        let promised = self.promised.get(&process).map(|(_, ballot)| *ballot).unwrap_or_default();
        let steady = self.hearing.steady(process, self.least, stage.now);
        steady.filter_map(|who| self.ballots.get(&who).copied()).find(|ballot| *ballot >= promised)
    }
}

impl Invariant for Sticky {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Heard { by, from, heartbeat } => self.heard(stage, by, from, heartbeat),
            Fact::Woke(actor) => self.hearing.woke(actor.serial, stage.now, stage.now),
            Fact::Persisting { by, meta } => {
                self.promised.insert(by.serial, (meta.epoch(), meta.acceptor.promised()));
            }
            Fact::Sent { from, to, message: PeerMessage::Election(message), .. } => match message {
                ElectionMessage::Elect { round, transferred, .. } => {
                    self.transferred.insert((from.name.clone(), *round), transferred.is_some());
                    if transferred.is_none()
                        && let Some(ballot) = self.hears(stage, from.serial)
                    {
                        let what = format!("{from} stands for election although it hears the coordinator of {ballot}");
                        return Err(Violation::new(NAME, what));
                    }
                }
                ElectionMessage::Grant { round } => {
                    let transferred = self.transferred.get(&(Label::clone(to), *round)).copied().unwrap_or_default();
                    if !transferred && let Some(ballot) = self.hears(stage, from.serial) {
                        let what = format!("{from} lets {to} pass although it hears the coordinator of {ballot}");
                        return Err(Violation::new(NAME, what));
                    }
                }
                ElectionMessage::Higher { .. }
                | ElectionMessage::Alive { .. }
                | ElectionMessage::Newer { .. }
                | ElectionMessage::Prepare { .. }
                | ElectionMessage::Promise { .. }
                | ElectionMessage::Propose { .. }
                | ElectionMessage::Accepted { .. }
                | ElectionMessage::Reject { .. }
                | ElectionMessage::Transfer { .. } => {}
            },
            Fact::Persisted { by, .. } => {
                self.released.insert(by.serial, stage.now);
            }
            Fact::Sent { .. }
            | Fact::Started(_)
            | Fact::Ended(_)
            | Fact::Wiped(_)
            | Fact::Beat { .. }
            | Fact::Installed { .. }
            | Fact::Synced { .. }
            | Fact::Stepped { .. }
            | Fact::Retired { .. }
            | Fact::Recovered(_) => {}
        }
        Ok(())
    }
}
