//! What a member hears in heartbeats, and what it says in its own.

use std::cmp::Ordering;

use quoit_proto_types::{
    Label, Member, Ordinal, View,
    message::{
        heartbeat::{Heartbeat, Office, Ping},
        membership::MembershipMessage,
    },
    view::{Liveness, Owner},
};

use super::{Context, Effect, Participant};
use crate::{cluster::Finding, membership::verdict::Opinion, planted::Bug, time::Timestamp};

/// A node that has not reached a majority for so many windows of suspicion follows a recovered cluster, should it meet one.
const CUT_OFF_WINDOWS: u32 = 10;

impl Participant {
    pub(super) fn on_ping(&mut self, context: &mut Context<'_>, from: &Label, ping: Ping) {
        let now = context.now;
        let (cluster, epoch) = (self.view.fields().cluster_id, self.view.epoch());
        let pong = Heartbeat::Pong { sequence: ping.sequence, cluster, epoch };
        self.effects.push_back(Effect::Beat { to: from.clone(), heartbeat: pong });
        if ping.cluster != cluster {
            return self.meet_other_cluster(context, from);
        }
        let Some(ordinal) = self.member_of(context, from) else { return };
        if ping.epoch == self.view.epoch() && ping.mark != self.hash.mark() {
            return self.forked(from, format!("{:?}", ping.mark));
        }
        if ping.epoch > self.view.epoch() {
            self.pull(now, from);
        }
        if let Some(life) = context.peers.get(from) {
            self.detector.heard(now, ordinal, (life.instance, life.boot));
        }
        if ping.epoch == self.view.epoch() {
            self.note_present(ordinal);
        }
        if ping.epoch == self.view.epoch() {
            self.plan_is_due |= self.slow_reports.note(now, ordinal, ping.slow.clone());
        }
        if ping.fence == self.view.fence() {
            self.ring_change.note_installed(ordinal, ping.fence);
        }
        if self.view.is_voter(ordinal) {
            self.hear_of_promise(context, ordinal, from, &ping);
            let word = (ping.epoch, ping.ballot, ping.office);
            // Who has another view may suspect an earlier life of a member.
            if ping.epoch == self.view.epoch() {
                self.plan_is_due |= self.opinions.note(now, ordinal, Opinion::new(ping.suspects, ping.returned));
            }
            self.election.handle_ping(now, ordinal, word, context.meta.acceptor.promised());
        }
    }

    /// A member of this view is in another cluster by now. That is of interest only to a node that has lost this one.
    pub(super) fn meet_other_cluster(&mut self, context: &Context<'_>, from: &Label) {
        if self.is_cut_off(context.now) {
            self.pull_whole(context.now, from);
        }
    }

    /// Whether this node has not reached a majority of the voters for so long that it is no passing trouble.
    pub(super) fn is_cut_off(&self, now: Timestamp) -> bool {
        let patience = self.timing.suspect * CUT_OFF_WINDOWS;
        self.cut_off_since.is_some_and(|since| since.saturating_add(patience) <= now)
    }

    /// A voter's heartbeat also tells what it has installed and promised, should the message that said so be lost.
    ///
    /// If it has promised less than this coordinator's ballot, it has the view from somebody who did not know that ballot. If
    /// it has promised more, to a candidate that failed, it would never hear this coordinator again: that one needs a higher
    /// ballot.
    fn hear_of_promise(&mut self, context: &mut Context<'_>, ordinal: Ordinal, from: &Label, ping: &Ping) {
        let Some(ballot) = self.election.presides().filter(|_| ping.epoch == self.view.epoch()) else { return };
        match ping.ballot.cmp(&ballot) {
            Ordering::Less => {
                let view = View::clone(&self.view);
                self.send(from, MembershipMessage::Commit { ballot, view });
            }
            Ordering::Equal => self.election.handle_installed(ordinal, ping.epoch, ping.ballot),
            Ordering::Greater => self.election.outbid(context.now, ping.ballot, context.meta),
        }
    }

    /// Everything that is due at a heartbeat.
    pub(super) fn beat(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let late = now.checked_duration_since(self.next_beat).unwrap_or_default();
        if late > self.timing.late {
            self.election.handle_late(now);
            self.detector.handle_late(now);
            self.slowness.handle_late();
            let by_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            self.effects.push_back(Effect::Report(Finding::Late { by_ms }));
        }
        let regular = self.next_beat.saturating_add(self.timing.heartbeat);
        self.next_beat = if regular > now { regular } else { now.saturating_add(self.timing.heartbeat) };
        self.plan_is_due = true;
        let connected = self.election.is_connected(now);
        if connected {
            self.cut_off_since = None;
        } else {
            self.isolated += self.timing.heartbeat;
            self.cut_off_since.get_or_insert(now);
        }
        if self.view.is_voter(self.me) {
            if let Some(silent) = self.detector.tick(now, connected) {
                self.effects.push_back(Effect::Report(Finding::SelfDoubt { silent }));
            }
            let opinion = Opinion::new(self.detector.suspected(), self.detector.returned());
            self.opinions.note(now, self.me, opinion);
        }
        self.slowness.tick(now);
        self.slow_reports.note(now, self.me, self.slowness.slow());
        self.election.handle_timeout(now, context.meta);
        self.pass_orders_on(context);
        self.ping_voters(context);
        self.report_synced(context);
        self.rejoin(context);
    }

    pub(super) fn ping_voters(&mut self, context: &Context<'_>) {
        let now = context.now;
        let votes = self.view.is_voter(self.me);
        let (suspects, returned) =
            if votes { (self.detector.suspected(), self.detector.returned()) } else { Default::default() };
        let ping = Ping {
            sequence: now.as_micros(),
            cluster: self.view.fields().cluster_id,
            epoch: self.view.epoch(),
            mark: self.hash.mark(),
            fence: self.view.fence(),
            ballot: self.election.presides().unwrap_or_else(|| context.meta.acceptor.promised()),
            office: if votes { self.election.office(now) } else { Office::None },
            suspects,
            returned,
            slow: self.slowness.slow(),
            progress: self.progress,
        };
        let voters: Vec<Ordinal> = self.election.electorate().others(self.me).collect();
        voters.iter().for_each(|voter| self.slowness.ask(now, *voter));
        let mut to: Vec<Label> = voters.into_iter().map(|voter| self.name_of(voter)).collect();
        if !self.election.is_connected(now) && !self.setting.planted.is(Bug::NoPull) {
            // The voters of this view may all be gone. Any other member may know of a later one.
            let members = self.view.members();
            let turn = usize::try_from(now.as_micros() / 1000).unwrap_or(0) % members.len();
            to.extend(
                members
                    .get(turn)
                    .filter(|member| !votes || !self.view.is_voter(member.ordinal))
                    .map(|m| m.name.clone()),
            );
            to.retain(|name| *name != self.setting.me.name);
            to.dedup();
        }
        for to in to {
            self.effects.push_back(Effect::Beat { to, heartbeat: Heartbeat::Ping(ping.clone()) });
        }
    }

    /// Tells the coordinator how far this node is with the slots that it is to own. Repeated at every heartbeat until the
    /// target is in force, as the coordinator may be another by then.
    pub(super) fn report_synced(&mut self, context: &Context<'_>) {
        let fence = self.view.fence();
        let Some((_, left)) = self.left.filter(|(known, _)| *known == fence) else { return };
        let me = Owner { ordinal: self.me, boot: self.setting.me.boot };
        if !self.view.fields().target.as_ref().is_some_and(|target| target.contains(&me)) {
            return;
        }
        match self.coordinator(context.now, context.meta) {
            Some(coordinator) if coordinator == self.me => self.on_synced(context.now, self.me, fence, left),
            Some(coordinator) => {
                let to = self.name_of(coordinator);
                self.send(&to, MembershipMessage::Synced { fence, left });
            }
            None => {}
        }
    }

    /// Asks to be in the view as this process, while the view names an earlier one or other settings.
    fn rejoin(&mut self, context: &mut Context<'_>) {
        if self.is_current() {
            return self.answers.clear();
        }
        if self.next_join > context.now || self.view.member(self.me).is_none() {
            return;
        }
        self.next_join = context.now.saturating_add(self.timing.rejoin);
        let me = self.setting.me.clone();
        if self.election.presides().is_some() {
            return self.knock(context, None, &me);
        }
        let known = self.coordinator(context.now, context.meta).filter(|coordinator| *coordinator != self.me);
        let up = |member: &&Member| member.live == Liveness::Up && member.ordinal != self.me;
        let others: Vec<&Label> = self.view.members().iter().filter(up).map(|member| &member.name).collect();
        self.join_attempts += 1;
        let any = others.get(self.join_attempts % others.len().max(1)).map(|name| (*name).clone());
        if let Some(to) = known.map(|ordinal| self.name_of(ordinal)).or(any) {
            let cluster = Some(self.view.fields().cluster_id);
            self.send(&to, MembershipMessage::Join { applicant: me, cluster });
        }
    }
}
