//! Installing views and telling others of them.

use std::sync::Arc;

use quoit_proto_types::{
    Ballot, Epoch, Label, View,
    message::membership::MembershipMessage,
    view::{DeltaError, Intent, ViewDelta},
};

use super::{Context, Effect, PULL_PAUSE, Participant};
use crate::{cluster::Finding, planted::Bug, time::Timestamp};

impl Participant {
    pub(super) fn on_commit(&mut self, context: &mut Context<'_>, from: &Label, ballot: Ballot, view: View) {
        let (mine, theirs) = (self.view.fields(), view.fields());
        if theirs.cluster != mine.cluster {
            return;
        }
        if theirs.cluster_id != mine.cluster_id {
            return self.on_foreign_view(context, from, view);
        }
        let any = self.setting.planted.is(Bug::InstallsOlderViews);
        if theirs.epoch < mine.epoch && !any {
            return self.tell_view(from, theirs.epoch);
        }
        let hash = view.hash();
        if theirs.epoch == mine.epoch {
            if hash != self.hash {
                return self.forked(from, hash.to_string());
            }
            return self.on_recommit(context, from, ballot);
        }
        if theirs.epoch == mine.epoch.next() && theirs.previous != self.hash && !any {
            return self.forked(from, format!("{hash}, which follows {}", theirs.previous));
        }
        self.install(context, from, ballot, Arc::new(view));
    }

    pub(super) fn on_delta(&mut self, context: &mut Context<'_>, from: &Label, ballot: Ballot, delta: &ViewDelta) {
        if delta.epoch <= self.view.epoch() {
            if delta.epoch == self.view.epoch() && delta.hash == self.hash {
                self.on_recommit(context, from, ballot);
            }
            return;
        }
        match delta.apply(&self.view, self.hash) {
            Ok(view) => self.on_commit(context, from, ballot, view),
            Err(DeltaError::OtherBase | DeltaError::Invalid(_) | DeltaError::OtherResult) => {
                self.next_pull = context.now;
                self.pull_whole(context.now, from);
            }
        }
    }

    /// The view this node has was decided once more, under a later ballot: that of who coordinates since.
    fn on_recommit(&mut self, context: &mut Context<'_>, from: &Label, ballot: Ballot) {
        if ballot > self.ballot {
            self.ballot = ballot;
        }
        if ballot >= context.meta.acceptor.promised() && context.meta.promise(ballot).is_ok() {
            let first_hand = self.member_of(context, from) == Some(ballot.ordinal);
            self.election.handle_recommit(context.now, ballot, first_hand);
            self.say_installed(context);
        }
    }

    /// A view of another cluster of this name. It is of interest only if an administrator made that cluster of this one, and
    /// this node has not reached a majority of the old one for long.
    fn on_foreign_view(&mut self, context: &mut Context<'_>, from: &Label, view: View) {
        let descends = view.fields().recovered_from == Some(self.view.fields().cluster_id);
        if descends && self.is_cut_off(context.now) && view.epoch() > self.view.epoch() {
            let (ballot, view) = (view.fields().ballot, Arc::new(view));
            return self.install(context, from, ballot, view);
        }
        if !self.strangers.insert(from.clone()) {
            return;
        }
        let address = view.member_named(from).map(|member| member.address.clone());
        self.effects.push_back(Effect::Report(Finding::OtherCluster { peer: from.clone(), address }));
    }

    /// A majority accepted this node's proposal.
    pub(super) fn on_decided(&mut self, context: &mut Context<'_>, ballot: Ballot, view: View) {
        let (old, view) = (Arc::clone(&self.view), Arc::new(view));
        let me = self.setting.me.name.clone();
        self.install(context, &me, ballot, Arc::clone(&view));
        let delta = ViewDelta::between(&old, &view);
        // Those who are no member any more are told as well. So is a member's earlier instance, under the same name, once.
        let names = old.members().iter().chain(view.members()).map(|member| &member.name);
        let names: std::collections::BTreeSet<&Label> = names.filter(|name| **name != me).collect();
        for name in names {
            let knew = old.member_named(name).is_some();
            let message = match &delta {
                Some(delta) if knew => MembershipMessage::CommitDelta { ballot, delta: delta.clone() },
                Some(_) | None => MembershipMessage::Commit { ballot, view: View::clone(&view) },
            };
            self.send(name, message);
        }
    }

    /// Goes on to `view`, which was decided under `ballot`.
    fn install(&mut self, context: &mut Context<'_>, from: &Label, ballot: Ballot, view: Arc<View>) {
        let now = context.now;
        let standing = if self.setting.planted.is(Bug::NoStandingPromise) { Ballot::default() } else { ballot };
        context.meta.install(Arc::clone(&view), standing);
        let intent = self.view.member(self.me).map_or(Intent::Stay, |member| member.intent);
        let presided = self.election.presides().is_some();
        self.before = Some(std::mem::replace(&mut self.view, Arc::clone(&view)));
        (self.hash, self.ballot) = (view.hash(), ballot);
        self.effects.push_back(Effect::Install(Arc::clone(&view)));
        let Some(me) = view.member_of_instance(self.setting.me.instance) else {
            return self.effects.push_back(Effect::Removed(intent));
        };
        self.me = me.ordinal;
        let first_hand = self.member_of(context, from) == Some(ballot.ordinal);
        self.election.enter(now, (&view, self.me), ballot, first_hand);
        self.detector.enter(now, &view, self.me);
        self.slowness.enter(&view, self.me);
        if let Some(before) = &self.before {
            self.opinions.enter(before, &view);
            self.slow_reports.enter(now, before, &view);
        }
        self.note_down(now);
        self.ring_change.enter(now, &view);
        self.plan_is_due = true;
        self.present.clear();
        match self.election.presides() {
            Some(_) if !presided => self.take_office(now),
            Some(_) => self.forget_orders_done(),
            None => {
                self.admissions.clear();
                self.say_installed(context);
            }
        }
    }

    /// Says what a participant has to say of the view that made it one, which `from` told.
    pub(crate) fn announce(&mut self, context: &mut Context<'_>, from: &Label, ballot: Ballot) {
        self.ballot = ballot;
        let first_hand = self.member_of(context, from) == Some(ballot.ordinal);
        self.election.handle_recommit(context.now, ballot, first_hand);
        self.say_installed(context);
    }

    /// This node proposed view 1 under `ballot` as a founder, and so it coordinates.
    pub(crate) fn preside_from(&mut self, now: Timestamp, ballot: Ballot) {
        if self.election.preside_from(now, ballot) {
            self.take_office(now);
        }
    }

    /// Tells the coordinator what this node has installed and promised.
    fn say_installed(&mut self, context: &Context<'_>) {
        let epoch = self.view.epoch();
        let liar = self.setting.planted.is(Bug::NoStandingPromise);
        let promised = if liar { self.ballot } else { context.meta.acceptor.promised() };
        if self.ballot.ordinal != self.me {
            let to = self.name_of(self.ballot.ordinal);
            self.send(&to, MembershipMessage::Installed { epoch, promised });
        }
    }

    /// Tells `to` the view, if it is later than that of `epoch`.
    pub(super) fn tell_view(&mut self, to: &Label, epoch: Epoch) {
        if epoch >= self.view.epoch() {
            return;
        }
        let ballot = self.ballot;
        let base = self.before.as_ref().filter(|before| before.epoch() == epoch);
        let message = match base.and_then(|before| ViewDelta::between(before, &self.view)) {
            Some(delta) => MembershipMessage::CommitDelta { ballot, delta },
            None => MembershipMessage::Commit { ballot, view: View::clone(&self.view) },
        };
        self.send(to, message);
    }

    /// Asks `from` for its view.
    pub(super) fn pull(&mut self, now: Timestamp, from: &Label) {
        if self.next_pull <= now && !self.setting.planted.is(Bug::NoPull) {
            self.next_pull = now.saturating_add(PULL_PAUSE);
            self.send(from, MembershipMessage::ViewGet { epoch: self.view.epoch() });
        }
    }

    /// Asks `from` for its view, all of it: the delta did not fit.
    pub(super) fn pull_whole(&mut self, now: Timestamp, from: &Label) {
        if self.next_pull <= now {
            self.next_pull = now.saturating_add(PULL_PAUSE);
            self.send(from, MembershipMessage::ViewGet { epoch: Epoch::GENESIS });
        }
    }
}
