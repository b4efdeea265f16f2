//! What the machines of the phases want, on its way out: past the disk.

use std::sync::Arc;

use quoit_proto_types::{Ballot, Label, View, message::membership::MembershipMessage, view::Intent};

use super::{Cluster, Finding, HELD_MAX, Output, Outside, Phase, StopReason};
use crate::{genesis, membership::Effect, planted::Bug, time::Timestamp, timing::Timing};

impl Cluster {
    /// Collects what the event led to. While the durable state is not on disk, all of that waits for it, heartbeats as well:
    /// nobody may hear of anything that a crash would undo.
    pub(super) fn flush(&mut self, now: Timestamp) {
        while self.collect(now) {}
        if self.meta.sequence != self.persisting {
            self.persisting = self.meta.sequence;
            self.outputs.push_back(Output::Persist(Box::new(self.meta.clone())));
        }
        if self.persisted >= self.persisting || self.config.planted.is(Bug::ForgottenFsync) {
            return self.outputs.extend(self.fresh.drain(..));
        }
        if self.held.len() >= HELD_MAX {
            // A disk that hangs: what would be repeated is forgotten, what must happen is not.
            self.fresh.retain(|output| !matches!(output, Output::Send { .. } | Output::Beat { .. }));
        }
        if !self.fresh.is_empty() {
            self.held.push_back((self.persisting, self.fresh.drain(..).collect()));
        }
    }

    /// Takes what the machine of the phase wants. Whether that led to another phase, which may want more.
    fn collect(&mut self, now: Timestamp) -> bool {
        match &mut self.phase {
            Phase::Founding(_) => self.collect_genesis(now),
            Phase::Member(_) => self.collect_member(now),
            Phase::Searching { .. } | Phase::Outside(_) | Phase::Stopped(_) => false,
        }
    }

    fn collect_genesis(&mut self, now: Timestamp) -> bool {
        let Phase::Founding(genesis) = &mut self.phase else { return false };
        if *genesis.acceptor() != self.meta.acceptor {
            self.meta.acceptor = genesis.acceptor().clone();
            self.meta.sequence += 1;
        }
        while let Some(output) = genesis.poll_output() {
            match output {
                genesis::Output::Send { to, message } => {
                    self.fresh.push(Output::Send { to, message: message.into() });
                }
                genesis::Output::Report(finding) => self.fresh.push(Output::Report(Finding::Genesis(finding))),
                genesis::Output::Decided { ballot, view } => {
                    self.on_genesis_decided(now, ballot, view);
                    return true;
                }
            }
        }
        false
    }

    /// This founder's proposal is view 1.
    fn on_genesis_decided(&mut self, now: Timestamp, ballot: Ballot, view: View) {
        let others = view.members().iter().map(|member| &member.name).filter(|name| **name != self.config.me.name);
        let commit = |to: &Label| Output::Send {
            to: to.clone(),
            message: MembershipMessage::Commit { ballot, view: view.clone() }.into(),
        };
        let commits: Vec<Output> = others.map(commit).collect();
        self.fresh.extend(commits);
        // A view that was accepted before may name an instance that lost its disk since.
        if view.member_of_instance(self.config.me.instance).is_none() {
            self.phase = Phase::Outside(Box::new(Outside::joining(now, Timing::of(view.fields().config.timing))));
            return;
        }
        let me = self.config.me.name.clone();
        self.adopt(now, &me, ballot, view);
        if let Phase::Member(member) = &mut self.phase {
            member.preside_from(now, ballot);
        }
    }

    fn collect_member(&mut self, now: Timestamp) -> bool {
        let Phase::Member(member) = &mut self.phase else { return false };
        while let Some(effect) = member.poll_effect() {
            match effect {
                Effect::Send { to, message } => self.fresh.push(Output::Send { to, message }),
                Effect::Beat { to, heartbeat } => self.fresh.push(Output::Beat { to, heartbeat }),
                Effect::Install(view) => self.fresh.push(Output::Install(view)),
                Effect::Reach(applicant) => self.fresh.push(Output::Reach(applicant)),
                Effect::Answer { id, answer } => self.fresh.push(Output::Answer { id, answer }),
                Effect::Report(finding) => self.fresh.push(Output::Report(finding)),
                Effect::Removed(intent) => {
                    self.on_removed(now, intent);
                    return true;
                }
                Effect::Forked(fork) => {
                    self.stop(StopReason::Forked(fork));
                    return true;
                }
            }
        }
        false
    }

    /// The view has no place for this node any more.
    fn on_removed(&mut self, now: Timestamp, intent: Intent) {
        self.leave_phase();
        let Some(view) = self.meta.view.clone() else { return };
        let mut outside = match intent {
            Intent::Leave => Outside::leaving(now, Arc::clone(&view)),
            Intent::Stay | Intent::Lost => Outside::joining(now, Timing::of(view.fields().config.timing)),
        };
        for peer in self.lives.connected().keys().filter(|peer| view.member_named(peer).is_some()) {
            outside.note_member(now, peer);
        }
        self.phase = Phase::Outside(Box::new(outside));
    }
}
