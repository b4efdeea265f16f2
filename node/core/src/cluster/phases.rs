//! From one phase to the next.

use std::sync::Arc;

use quoit_proto_types::{
    Ballot, Epoch, Label, View,
    message::{
        membership::{JoinAnswer, MembershipMessage},
        peer::PeerMessage,
    },
};
use rand::RngExt;

use super::{Cluster, EARLY_MESSAGES, Output, Outside, Phase, StopReason};
use crate::{
    membership::{Context, Participant, Setting},
    time::Timestamp,
    timing::Timing,
};

impl Cluster {
    pub(super) fn with_member(&mut self, now: Timestamp, handle: impl FnOnce(&mut Participant, &mut Context<'_>)) {
        if let Phase::Member(member) = &mut self.phase {
            let mut context = Context { now, meta: &mut self.meta, peers: self.lives.connected() };
            handle(member, &mut context);
            self.flush(now);
        }
    }

    /// Enters the phase that the view in `meta` leads to.
    pub(super) fn take_part(&mut self, now: Timestamp) {
        self.leave_phase();
        let place = self.meta.view.as_ref().and_then(|view| view.member_of_instance(self.config.me.instance));
        self.phase = if place.is_some() {
            let setting = Setting {
                me: self.config.me.clone(),
                started_at_ms: self.config.started_at_ms,
                planted: self.config.planted,
            };
            let seed = self.rng.random();
            let context = Context { now, meta: &mut self.meta, peers: self.lives.connected() };
            Phase::Member(Box::new(Participant::new(setting, seed, &context)))
        } else {
            let timing = self.meta.view.as_ref().map_or(self.config.view.timing, |view| view.fields().config.timing);
            Phase::Outside(Box::new(Outside::joining(now, Timing::of(timing))))
        };
    }

    pub(super) fn leave_phase(&mut self) {
        if let Phase::Member(member) = &self.phase {
            self.rows.add(member.rows());
        }
    }

    pub(super) fn stop(&mut self, reason: StopReason) {
        self.leave_phase();
        self.fresh.push(Output::Stop(reason.clone()));
        self.phase = Phase::Stopped(reason);
    }

    pub(super) fn on_message_without_view(&mut self, now: Timestamp, from: &Label, message: PeerMessage) {
        match message {
            PeerMessage::Genesis(message) => match &mut self.phase {
                Phase::Founding(genesis) => genesis.handle_message(now, from, message),
                Phase::Searching { early } => {
                    if early.iter().filter(|(name, _)| name == from).count() < EARLY_MESSAGES {
                        early.push_back((from.clone(), message));
                    }
                }
                Phase::Outside(_) | Phase::Member(_) | Phase::Stopped(_) => {}
            },
            PeerMessage::Membership(MembershipMessage::Commit { ballot, view }) => {
                self.on_first_view(now, from, ballot, view);
            }
            PeerMessage::Membership(_) | PeerMessage::Election(_) => {}
        }
    }

    /// There is a cluster, and in it another node of this name is up. This one waits until that changes.
    pub(super) fn on_name_in_use(&mut self, now: Timestamp, by: &Label) {
        if matches!(self.phase, Phase::Searching { .. } | Phase::Founding(_)) {
            self.phase = Phase::Outside(Box::new(Outside::joining(now, Timing::of(self.config.view.timing))));
        }
        if let Phase::Outside(outside) = &mut self.phase {
            let finding = outside.note_answer(by, JoinAnswer::NameInUse { address: None });
            self.fresh.extend(finding.map(Output::Report));
        }
    }

    /// A view, told to a node that has none. It is this node's if it names this instance; else there is a cluster to join.
    pub(super) fn on_first_view(&mut self, now: Timestamp, from: &Label, ballot: Ballot, view: View) {
        if view.fields().cluster != self.config.cluster {
            return;
        }
        if view.member_of_instance(self.config.me.instance).is_some() {
            return self.adopt(now, from, ballot, view);
        }
        if !matches!(self.phase, Phase::Outside(_)) {
            self.phase = Phase::Outside(Box::new(Outside::joining(now, Timing::of(view.fields().config.timing))));
        }
        if let Phase::Outside(outside) = &mut self.phase {
            outside.note_member(now, from);
        }
    }

    pub(super) fn on_message_outside(&mut self, now: Timestamp, from: &Label, message: PeerMessage) {
        let PeerMessage::Membership(message) = message else { return };
        match message {
            MembershipMessage::Commit { ballot, view } => {
                let known = self.meta.view.as_ref().map(|known| (known.fields().cluster_id, known.epoch()));
                let newer = known.is_none_or(|(id, epoch)| id != view.fields().cluster_id || epoch < view.epoch());
                if newer {
                    self.on_first_view(now, from, ballot, view);
                } else if let Phase::Outside(outside) = &mut self.phase {
                    outside.note_member(now, from);
                }
            }
            MembershipMessage::JoinAnswer { applicant, answer } if applicant == self.config.me.name => {
                if let Phase::Outside(outside) = &mut self.phase
                    && let Some(finding) = outside.note_answer(from, answer)
                {
                    self.fresh.push(Output::Report(finding));
                }
            }
            MembershipMessage::CommitDelta { .. } => {
                let epoch = Epoch::GENESIS;
                let message = MembershipMessage::ViewGet { epoch }.into();
                self.fresh.push(Output::Send { to: from.clone(), message });
            }
            MembershipMessage::JoinAnswer { .. }
            | MembershipMessage::Installed { .. }
            | MembershipMessage::ViewGet { .. }
            | MembershipMessage::Join { .. }
            | MembershipMessage::ForwardedJoin(_)
            | MembershipMessage::Synced { .. }
            | MembershipMessage::Command { .. }
            | MembershipMessage::CommandAnswer { .. } => {}
        }
    }

    /// Takes a place in `view`, which names this instance.
    pub(super) fn adopt(&mut self, now: Timestamp, from: &Label, ballot: Ballot, view: View) {
        let view = Arc::new(view);
        self.meta.install(Arc::clone(&view), ballot);
        self.take_part(now);
        self.fresh.push(Output::Install(view));
        if let Phase::Member(member) = &mut self.phase {
            let mut context = Context { now, meta: &mut self.meta, peers: self.lives.connected() };
            member.announce(&mut context, from, ballot);
        }
    }
}
