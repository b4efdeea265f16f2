//! What a coordinator does: it admits, removes, and publishes the next view.

use std::collections::BTreeSet;

use quoit_proto_types::{
    Ballot, Epoch, Fence, Label, Member, Ordinal,
    limits::{REPLICATION_ALL, REPLICATION_MAX, TOKENS_MAX, VNODES_MAX, VOTERS_MAX},
    message::membership::{Applicant, Command, CommandAnswer, JoinAnswer, MembershipMessage},
    view::{Intent, Liveness},
};

use super::{Context, Effect, Participant};
use crate::{
    cluster::{Finding, Reached},
    membership::{
        admissions::{Knock, is_same},
        plan::{Knowledge, Order, Ordered},
        ring_change::RingChange,
    },
    time::Timestamp,
};

impl Participant {
    /// What came of reaching `applicant`.
    pub(crate) fn handle_reached(&mut self, context: &mut Context<'_>, applicant: &Applicant, reached: Reached) {
        self.plan_is_due = true;
        match reached {
            Reached::Yes => drop(self.admissions.reached(applicant, true)),
            Reached::No(reason) => {
                if let Some((applicant, via)) = self.admissions.reached(applicant, false) {
                    let answer = JoinAnswer::NotReached { address: applicant.address, reason };
                    self.send(&via, MembershipMessage::JoinAnswer { applicant: applicant.name, answer });
                }
            }
        }
        self.settle(context);
    }

    /// The process is about to stop.
    pub(crate) fn handle_stopping(&mut self, context: &mut Context<'_>) {
        if let Some(successor) = self.successor() {
            self.election.hand_over(context.now, successor);
            self.ping_voters(context);
        }
        self.settle(context);
    }

    /// A node wants to join, and asks this one.
    pub(super) fn on_join(&mut self, context: &mut Context<'_>, from: &Label, applicant: Applicant) {
        let known = self.view.member_of_instance(applicant.instance);
        if known.is_some_and(|member| is_same(member, &applicant)) {
            // It missed the view that admitted it.
            return self.tell_view(from, Epoch::GENESIS);
        }
        if self.election.presides().is_some() {
            return self.knock(context, Some(from), &applicant);
        }
        match self.coordinator(context.now, context.meta).filter(|coordinator| *coordinator != self.me) {
            Some(coordinator) => {
                let to = self.name_of(coordinator);
                self.send(&to, MembershipMessage::ForwardedJoin(applicant));
            }
            None => {
                let answer = JoinAnswer::NoCoordinator;
                self.send(from, MembershipMessage::JoinAnswer { applicant: applicant.name, answer });
            }
        }
    }

    pub(super) fn on_forwarded_join(&mut self, context: &mut Context<'_>, from: &Label, applicant: &Applicant) {
        if self.election.presides().is_some() {
            self.knock(context, Some(from), applicant);
        } else {
            let (applicant, answer) = (applicant.name.clone(), JoinAnswer::NoCoordinator);
            self.send(from, MembershipMessage::JoinAnswer { applicant, answer });
        }
    }

    /// `applicant` knocks at this coordinator, by way of `via`.
    pub(super) fn knock(&mut self, context: &mut Context<'_>, via: Option<&Label>, applicant: &Applicant) {
        self.plan_is_due = true;
        let answer_to = via.unwrap_or(&applicant.name);
        let knock = self.admissions.knock(context.now, &self.view, (applicant, answer_to), self.setting.planted);
        let answer = match knock {
            // Its own address needs no proof.
            Knock::Reach if applicant.name == self.setting.me.name => {
                self.admissions.reached(applicant, true);
                return;
            }
            Knock::Reach => {
                self.effects.push_back(Effect::Reach(applicant.clone()));
                JoinAnswer::Queued { coordinator: self.setting.me.name.clone() }
            }
            Knock::Queued | Knock::Waits => JoinAnswer::Queued { coordinator: self.setting.me.name.clone() },
            Knock::Refused(answer) => answer,
            Knock::IsIn => return self.tell_view(&applicant.name, Epoch::GENESIS),
            Knock::Outdated => return,
        };
        if let Some(via) = via {
            self.send(via, MembershipMessage::JoinAnswer { applicant: applicant.name.clone(), answer });
        }
    }

    pub(super) fn on_installed(&mut self, member: Ordinal, epoch: Epoch, promised: Ballot) {
        self.election.handle_installed(member, epoch, promised);
        if epoch == self.view.epoch() {
            self.note_present(member);
            self.ring_change.note_installed(member, self.view.fence());
            let planted = self.setting.planted;
            self.plan_is_due |= self.ring_change.may_finish(&self.view, planted) || self.view.is_voter(member);
        }
    }

    /// `member` has yet to fetch `left` of its slots under the target of `fence`.
    ///
    /// Of a thousand owners each says so at every heartbeat, so a plan is made only when it may be the last word that was
    /// waited for.
    pub(super) fn on_synced(&mut self, now: Timestamp, member: Ordinal, fence: Fence, left: u32) {
        let news = self.ring_change.note_synced(now, member, fence, left);
        let last = news && left == 0;
        self.plan_is_due |= last && self.ring_change.may_finish(&self.view, self.setting.planted);
    }

    /// What administrators ordered is in the view.
    pub(super) fn forget_orders_done(&mut self) {
        self.orders.retain(|order| !order.what.is_done(&self.view));
    }

    /// Orders that this node accepted as coordinator, and could not carry out before another took its place, go to that one.
    pub(super) fn pass_orders_on(&mut self, context: &Context<'_>) {
        if self.orders.is_empty() || self.election.presides().is_some() {
            return;
        }
        let Some(coordinator) = self.coordinator(context.now, context.meta) else { return };
        let to = self.name_of(coordinator);
        self.forget_orders_done();
        for Order { what, by } in std::mem::take(&mut self.orders) {
            let command = match what {
                Ordered::Drain(name) => Command::Drain { name },
                Ordered::ForceOut(name) => Command::ForceOut { name },
                Ordered::Copies(copies) => Command::SetCopies { copies },
                Ordered::Weight(name, vnodes) => Command::SetWeight { name, vnodes },
            };
            // Nobody waits for an answer under number 0: it was given when the order was accepted.
            self.send(&to, MembershipMessage::Command { id: 0, by, command });
        }
    }

    /// This node has just become coordinator.
    pub(super) fn take_office(&mut self, now: Timestamp) {
        self.ring_change = RingChange::new(now);
        let epoch = self.view.epoch().value();
        let text = format!("this node coordinates since view {epoch}, elected under ballot {}", self.ballot);
        self.effects.push_back(Effect::Report(Finding::Election(text)));
    }

    /// Proposes the next view, if this node may and something is to change. Whether it did.
    pub(super) fn preside(&mut self, context: &mut Context<'_>) -> bool {
        let now = context.now;
        let Some(ballot) = self.election.wants_view(now) else { return false };
        let elected = self.election.presides().is_none();
        if !elected && !std::mem::take(&mut self.plan_is_due) {
            return false;
        }
        if !elected && self.hand_over_if_leaving(now) {
            return false;
        }
        let (timing, planted) = (self.timing, self.setting.planted);
        let mut applicants = self.admissions.ready(now, &self.view);
        if !self.is_current() {
            applicants.push(self.setting.me.clone());
        }
        let knowledge = Knowledge {
            view: &self.view,
            hash: self.hash,
            me: self.me,
            elected,
            now,
            timing,
            planted,
            applicants,
            orders: &self.orders,
            verdict: self.opinions.verdict(now, &self.view, timing, planted),
            paces: self.slow_reports.paces(now, &self.view, timing, planted),
            present: self.present_members(),
            down_since: &self.down_since,
            ring: self.ring_change.step(now, &self.view, self.me, timing, planted),
        };
        let proposed_at_ms = self.setting.started_at_ms.saturating_add(now.as_micros() / 1000);
        match knowledge.next_view(ballot, proposed_at_ms) {
            None => false,
            Some(Ok(view)) => {
                self.election.propose(now, view, context.meta);
                true
            }
            Some(Err(invalid)) => {
                (self.orders, self.admissions) = Default::default();
                let text = format!("the next view would not be valid, so there is none: {invalid}");
                self.effects.push_back(Effect::Report(Finding::Election(text)));
                false
            }
        }
    }

    /// Members that have been heard to have the present view: the others may be gone, whatever the view says.
    fn present_members(&self) -> BTreeSet<Ordinal> {
        if let Some(promises) = self.election.promises() {
            // Whoever was heard before, one of them has just fallen silent.
            return promises.clone();
        }
        let heard = self.present.iter().copied().filter(|member| !self.detector.suspects(*member));
        heard.chain([self.me]).collect()
    }

    /// `member` has the present view.
    pub(super) fn note_present(&mut self, member: Ordinal) {
        let news = self.present.insert(member);
        self.plan_is_due |= news && self.view.fields().voters.len() < VOTERS_MAX;
    }

    fn hand_over_if_leaving(&mut self, now: Timestamp) -> bool {
        let leaves = self.view.member(self.me).is_some_and(|me| me.intent != Intent::Stay);
        match self.successor().filter(|_| leaves) {
            Some(successor) => self.election.hand_over(now, successor),
            None => false,
        }
    }

    /// The voter that comes next, of those that are up and stay.
    fn successor(&self) -> Option<Ordinal> {
        self.election.electorate().others(self.me).find(|voter| self.can_preside(*voter))
    }

    fn can_preside(&self, voter: Ordinal) -> bool {
        let member = self.view.member(voter);
        let fit = member.is_some_and(|member| member.live == Liveness::Up && member.intent == Intent::Stay);
        fit && self.view.is_voter(voter) && !self.detector.suspects(voter)
    }

    /// Carries out a command, if this node coordinates.
    pub(super) fn obey(&mut self, context: &Context<'_>, by: Label, command: Command) -> CommandAnswer {
        if self.election.presides().is_none() {
            return CommandAnswer::NoCoordinator;
        }
        match command {
            Command::Drain { name } => self.let_go(Ordered::Drain(name), by),
            Command::ForceOut { name } => self.let_go(Ordered::ForceOut(name), by),
            Command::Transfer { to } => self.transfer(context.now, to),
            Command::SetCopies { copies } => self.set_copies(copies, by),
            Command::SetWeight { name, vnodes } => self.set_weight(name, vnodes, by),
        }
    }

    /// Lets a member go, if others can do without it.
    fn let_go(&mut self, what: Ordered, by: Label) -> CommandAnswer {
        let accepted = CommandAnswer::Accepted { epoch: self.view.epoch() };
        let name = what.leaver().cloned().unwrap_or_else(|| self.setting.me.name.clone());
        let Some(member) = self.view.member_named(&name) else {
            return CommandAnswer::NoSuchMember { name };
        };
        if member.intent != Intent::Stay {
            return accepted;
        }
        if matches!(what, Ordered::ForceOut(_)) && member.live == Liveness::Up {
            return CommandAnswer::IsUp { name };
        }
        let rest = self.others_who_stay(member);
        let owner =
            member.vnodes > 0 && !rest.iter().any(|other| self.is_to_weigh(other) && other.live == Liveness::Up);
        let voter = !rest.iter().any(|other| other.live == Liveness::Up);
        if owner || voter {
            return CommandAnswer::LastOne { name };
        }
        self.order(what, by)
    }

    fn set_copies(&mut self, copies: u8, by: Label) -> CommandAnswer {
        if !matches!(copies, 1..=REPLICATION_MAX | REPLICATION_ALL) {
            let reason =
                format!("there may be 1 to {REPLICATION_MAX} copies, or {REPLICATION_ALL} for one on every node");
            return CommandAnswer::OutOfRange { reason };
        }
        self.orders.retain(|order| !matches!(order.what, Ordered::Copies(_)));
        self.order(Ordered::Copies(copies), by)
    }

    fn set_weight(&mut self, name: Label, vnodes: u32, by: Label) -> CommandAnswer {
        let Some(member) = self.view.member_named(&name) else {
            return CommandAnswer::NoSuchMember { name };
        };
        let others = self.view.members().iter().filter(|other| other.ordinal != member.ordinal);
        let tokens = others.map(|other| u64::from(other.vnodes)).sum::<u64>() + u64::from(vnodes);
        if vnodes > VNODES_MAX || tokens > u64::from(TOKENS_MAX) {
            let reason = format!("there may be {VNODES_MAX} vnodes on one member, and {TOKENS_MAX} in all");
            return CommandAnswer::OutOfRange { reason };
        }
        let rest = self.others_who_stay(member);
        let alone = !rest.iter().any(|other| self.is_to_weigh(other) && other.live == Liveness::Up);
        if vnodes == 0 && member.vnodes > 0 && alone {
            return CommandAnswer::LastOne { name };
        }
        self.orders.retain(|order| !matches!(&order.what, Ordered::Weight(known, _) if *known == name));
        self.order(Ordered::Weight(name, vnodes), by)
    }

    /// Orders what was found to be possible. It waits for the view that has it.
    fn order(&mut self, what: Ordered, by: Label) -> CommandAnswer {
        if !what.is_done(&self.view) {
            self.orders.push(Order { what, by });
            self.plan_is_due = true;
        }
        CommandAnswer::Accepted { epoch: self.view.epoch() }
    }

    /// The members other than `member` that stay, as far as is known and ordered.
    fn others_who_stay(&self, member: &Member) -> Vec<&Member> {
        let stays = |other: &&Member| other.intent == Intent::Stay && other.ordinal != member.ordinal;
        let ordered = |other: &&Member| self.orders.iter().any(|order| order.what.leaver() == Some(&other.name));
        self.view.members().iter().filter(stays).filter(|other| !ordered(other)).collect()
    }

    /// Whether `member` has vnodes, and no order takes them away.
    fn is_to_weigh(&self, member: &Member) -> bool {
        let ordered = self.orders.iter().rev().find_map(|order| match &order.what {
            Ordered::Weight(name, vnodes) if *name == member.name => Some(*vnodes),
            Ordered::Weight(..) | Ordered::Drain(_) | Ordered::ForceOut(_) | Ordered::Copies(_) => None,
        });
        ordered.unwrap_or(member.vnodes) > 0
    }

    fn transfer(&mut self, now: Timestamp, to: Option<Label>) -> CommandAnswer {
        let epoch = self.view.epoch();
        let named = to.as_ref().and_then(|name| self.view.member_named(name)).map(|member| member.ordinal);
        let to = match (to, named) {
            (Some(name), None) => return CommandAnswer::NoSuchMember { name },
            (Some(_), Some(ordinal)) if ordinal == self.me => return CommandAnswer::Accepted { epoch },
            (Some(name), Some(ordinal)) if !self.can_preside(ordinal) => {
                return CommandAnswer::CannotPreside { name };
            }
            (Some(_), Some(ordinal)) => Some(ordinal),
            (None, _) => self.successor(),
        };
        match to {
            Some(successor) if self.election.hand_over(now, successor) => CommandAnswer::Accepted { epoch },
            Some(_) => CommandAnswer::NoCoordinator,
            None => CommandAnswer::CannotPreside { name: self.setting.me.name.clone() },
        }
    }
}
