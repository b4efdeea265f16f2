//! A node without a place in a view: it wants one, or is about to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quoit_proto_types::{
    Epoch, Fence, Label, View,
    message::{
        heartbeat::{Heartbeat, Office, Ping},
        membership::{Applicant, JoinAnswer, MembershipMessage},
        peer::PeerMessage,
    },
};

use super::output::{Finding, Life, Output};
use crate::{meta::Meta, planted::Bug, planted::Planted, time::Timestamp, timing::Timing};

/// A node that has left tells voters that seem to lack the view of it with each so many-eth heartbeat.
const BEATS_PER_COMMIT: u32 = 10;
/// Pauses between joins grow to this.
const JOIN_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Knocks at members until a view names it; or, if it has left, waits until it is not needed any more.
#[derive(Debug)]
pub(super) struct Outside {
    /// Members that answered; and what they said.
    answers: BTreeMap<Label, JoinAnswer>,
    members: BTreeSet<Label>,
    attempts: u32,
    next: Timestamp,
    timing: Timing,
    leaving: Option<Leaving>,
}

/// A node that has left. As a voter of the view before, it may be the only one that knows the new view, and so it must not
/// end before a majority of the new voters has installed it.
#[derive(Debug)]
struct Leaving {
    epoch: Epoch,
    view: Arc<View>,
    installed: BTreeSet<Label>,
    beats: u32,
}

impl Outside {
    /// Wants to join.
    pub(super) fn joining(now: Timestamp, timing: Timing) -> Self {
        let (answers, members) = (BTreeMap::new(), BTreeSet::new());
        Self { answers, members, attempts: 0, next: now, timing, leaving: None }
    }

    /// Has left with `view`.
    pub(super) fn leaving(now: Timestamp, view: Arc<View>) -> Self {
        let timing = Timing::of(view.fields().config.timing);
        let leaving = Some(Leaving { epoch: view.epoch(), view, installed: BTreeSet::new(), beats: 0 });
        Self { leaving, ..Self::joining(now, timing) }
    }

    /// `peer` has a view.
    pub(super) fn note_member(&mut self, now: Timestamp, peer: &Label) {
        if self.members.insert(peer.clone()) {
            self.next = now;
        }
    }

    /// `peer` is gone.
    pub(super) fn forget(&mut self, peer: &Label) {
        self.members.remove(peer);
    }

    /// `from` answered. Whether that is news for the operator.
    pub(super) fn note_answer(&mut self, from: &Label, answer: JoinAnswer) -> Option<Finding> {
        let known = self.answers.insert(from.clone(), answer.clone());
        let news = known.as_ref() != Some(&answer) && !matches!(answer, JoinAnswer::Queued { .. });
        news.then(|| Finding::JoinRefused { by: from.clone(), answer })
    }

    /// `from` has the view of `epoch`. The view with which this node has left, once that ends its part.
    pub(super) fn note_pong(&mut self, from: &Label, epoch: Epoch, planted: Planted) -> Option<Epoch> {
        let leaving = self.leaving.as_mut()?;
        if epoch > leaving.epoch {
            // The voters of a view decide the next one, and only those that have installed it do.
            return Some(leaving.epoch);
        }
        if epoch == leaving.epoch {
            leaving.installed.insert(from.clone());
        }
        let voters = leaving.view.fields().voters.iter().filter_map(|voter| leaving.view.member(*voter));
        let installed = voters.filter(|voter| leaving.installed.contains(&voter.name)).count();
        let enough = if planted.is(Bug::RetiresEarly) { 0 } else { leaving.view.quorum() };
        (installed >= enough).then_some(leaving.epoch)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn answers(&self) -> &BTreeMap<Label, JoinAnswer> {
        &self.answers
    }

    pub(super) fn poll_timeout(&self) -> Timestamp {
        self.next
    }

    /// What to do when the time has come: knock, or ask whether the new view is installed.
    pub(super) fn handle_timeout(
        &mut self,
        now: Timestamp,
        me: &Applicant,
        meta: &Meta,
        peers: &BTreeMap<Label, Life>,
    ) -> Vec<Output> {
        if self.next > now {
            return Vec::new();
        }
        if let Some(leaving) = &mut self.leaving {
            self.next = now.saturating_add(self.timing.heartbeat);
            let outputs = leaving.pings(now, meta);
            leaving.beats = leaving.beats.wrapping_add(1);
            return outputs;
        }
        let pause = self.timing.rejoin * 2_u32.pow(self.attempts.min(4));
        self.next = now.saturating_add(pause.min(JOIN_PAUSE_MAX));
        self.attempts += 1;
        let send = |to: &Label, message: MembershipMessage| Output::Send { to: to.clone(), message: message.into() };
        let known: Vec<&Label> = self.members.iter().filter(|name| peers.contains_key(*name)).collect();
        if known.is_empty() {
            // They said nothing of a view; it may have been lost.
            let epoch = Epoch::GENESIS;
            return peers.keys().map(|to| send(to, MembershipMessage::ViewGet { epoch })).collect();
        }
        let turn = usize::try_from(self.attempts).unwrap_or(0) % known.len();
        vec![send(known[turn], MembershipMessage::Join { applicant: me.clone(), cluster: None })]
    }
}

impl Leaving {
    fn pings(&self, now: Timestamp, meta: &Meta) -> Vec<Output> {
        let ping = Ping {
            sequence: now.as_micros(),
            epoch: self.epoch,
            mark: self.view.hash().mark(),
            fence: Fence::default(),
            ballot: meta.acceptor.promised(),
            office: Office::None,
            cluster: self.view.fields().cluster_id,
            suspects: Vec::new(),
            returned: Vec::new(),
            slow: Vec::new(),
            progress: 0,
        };
        let tells = self.beats.is_multiple_of(BEATS_PER_COMMIT);
        let voters = self.view.fields().voters.iter().filter_map(|voter| self.view.member(*voter));
        let beat = |to: Label| Output::Beat { to, heartbeat: Heartbeat::Ping(ping.clone()) };
        let commit = |to: Label| {
            let message =
                MembershipMessage::Commit { ballot: self.view.fields().ballot, view: View::clone(&self.view) };
            Output::Send { to, message: PeerMessage::from(message) }
        };
        let missing = |name: &Label| tells && !self.installed.contains(name);
        voters
            .flat_map(|voter| {
                let name = voter.name.clone();
                // Who lacks the view gets it from here, should nobody else be left to tell.
                let told = missing(&name).then(|| commit(name.clone()));
                std::iter::once(beat(name)).chain(told)
            })
            .collect()
    }
}
