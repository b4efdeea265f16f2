//! A member's part in its cluster.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use quoit_proto_types::{
    Ballot, Epoch, Fence, Instance, Label, Ordinal, View,
    message::{
        admin::{ElectionRole, Quorum},
        election::ElectionMessage,
        heartbeat::Heartbeat,
        membership::{Applicant, Command, CommandAnswer, JoinAnswer, MembershipMessage},
        peer::PeerMessage,
    },
    view::{Intent, Liveness, ViewHash},
};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    admissions::{Admissions, is_same},
    failure_detector::FailureDetector,
    plan::Order,
    ring_change::RingChange,
    slow_reports::SlowReports,
    slowness::Slowness,
    verdict::Opinions,
};
use crate::{
    cluster::{CommandId, Finding, Fork, Life, WaitingChange},
    election::{Action, Election, Row, Rows},
    meta::Meta,
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

mod coordinator;
mod heartbeat;
mod views;

/// A view is asked for no more often than this.
const PULL_PAUSE: Duration = Duration::from_millis(100);
/// Commands of others that wait for an answer here.
const COMMANDS_MAX: usize = 256;

/// What an event is handled with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) meta: &'a mut Meta,
    /// The process of each connected peer.
    pub(crate) peers: &'a BTreeMap<Label, Life>,
}

/// What a participant wants of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all effects are messages, and short-lived")]
pub(crate) enum Effect {
    Send {
        to: Label,
        message: PeerMessage,
    },
    Beat {
        to: Label,
        heartbeat: Heartbeat,
    },
    Install(Arc<View>),
    Reach(Applicant),
    Answer {
        id: CommandId,
        answer: CommandAnswer,
    },
    Report(Finding),
    /// The installed view has no place for this node, which had this intent before.
    Removed(Intent),
    Forked(Box<Fork>),
}

/// What a participant keeps from birth.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) me: Applicant,
    pub(crate) started_at_ms: u64,
    pub(crate) planted: Planted,
}

/// A member, from the view in which it first was to the one in which it is no more.
#[derive(Debug)]
pub(crate) struct Participant {
    setting: Setting,
    me: Ordinal,
    timing: Timing,
    view: Arc<View>,
    hash: ViewHash,
    /// The view before, of which deltas are made.
    before: Option<Arc<View>>,
    /// The ballot under which the view was decided.
    ballot: Ballot,
    election: Election,
    detector: FailureDetector,
    opinions: Opinions,
    slowness: Slowness,
    slow_reports: SlowReports,
    admissions: Admissions,
    ring_change: RingChange,
    orders: Vec<Order>,
    down_since: BTreeMap<Ordinal, Timestamp>,
    next_beat: Timestamp,
    next_join: Timestamp,
    join_attempts: usize,
    answers: BTreeMap<Label, JoinAnswer>,
    /// How many slots this node has yet to fetch, of those that it is to own under the target of a fence.
    left: Option<(Fence, u32)>,
    /// Whether something has happened since the next view was last thought about. At a coordinator every heartbeat of every
    /// member is an event, and a plan costs as much as the view is long.
    plan_is_due: bool,
    next_pull: Timestamp,
    /// Peers of other clusters, each reported once.
    strangers: BTreeSet<Label>,
    /// Members that have been heard to have the present view.
    present: BTreeSet<Ordinal>,
    /// Since when no majority of the voters has been reached.
    cut_off_since: Option<Timestamp>,
    isolated: Duration,
    progress: u64,
    /// Commands that were passed on, by the number under which they were.
    commands: BTreeMap<u64, CommandId>,
    commands_sent: u64,
    effects: VecDeque<Effect>,
}

impl Participant {
    /// The part of the member of this instance in the view of `context.meta`.
    ///
    /// # Panics
    /// If there is no such member.
    pub(crate) fn new(setting: Setting, seed: u64, context: &Context<'_>) -> Self {
        let (now, planted) = (context.now, setting.planted);
        let view = Arc::clone(context.meta.view.as_ref().expect("a participant has a view"));
        let me = view.member_of_instance(setting.me.instance).expect("a participant is a member").ordinal;
        let timing = Timing::of(view.fields().config.timing);
        let identity = (me, setting.me.boot);
        let election = Election::new(identity, &view, (timing, planted), StdRng::seed_from_u64(seed), now);
        let mut detector = FailureDetector::new(timing, planted);
        detector.enter(now, &view, me);
        let mut slowness = Slowness::new(timing);
        slowness.enter(&view, me);
        let mut participant = Self {
            setting,
            me,
            timing,
            hash: view.hash(),
            before: None,
            ballot: view.fields().ballot,
            election,
            detector,
            opinions: Opinions::default(),
            slowness,
            slow_reports: SlowReports::default(),
            admissions: Admissions::default(),
            ring_change: RingChange::new(now),
            orders: Vec::new(),
            down_since: BTreeMap::new(),
            next_beat: now,
            next_join: now,
            join_attempts: 0,
            answers: BTreeMap::new(),
            left: None,
            plan_is_due: true,
            next_pull: now,
            strangers: BTreeSet::new(),
            present: BTreeSet::new(),
            cut_off_since: None,
            isolated: Duration::ZERO,
            progress: 0,
            commands: BTreeMap::new(),
            commands_sent: 0,
            effects: VecDeque::new(),
            view,
        };
        participant.note_down(now);
        participant
    }

    /// A connection with `peer` is up. Whoever is no member of this view learns which one there is; a member is asked for a
    /// later one.
    pub(crate) fn handle_connected(&mut self, context: &mut Context<'_>, peer: &Label) {
        if self.member_of(context, peer).is_none() {
            self.tell_view(peer, Epoch::GENESIS);
        } else if !self.setting.planted.is(Bug::NoPull) {
            self.send(peer, MembershipMessage::ViewGet { epoch: self.view.epoch() });
        }
    }

    /// A founder has not heard of the view yet.
    pub(crate) fn handle_founder(&mut self, from: &Label) {
        self.tell_view(from, Epoch::GENESIS);
    }

    /// `from` sent `heartbeat`.
    pub(crate) fn handle_heartbeat(&mut self, context: &mut Context<'_>, from: &Label, heartbeat: Heartbeat) {
        match heartbeat {
            Heartbeat::Ping(ping) => self.on_ping(context, from, ping),
            Heartbeat::Pong { cluster, .. } if cluster != self.view.fields().cluster_id => {
                self.meet_other_cluster(context, from);
            }
            Heartbeat::Pong { sequence, epoch, .. } => {
                if let Some(ordinal) = self.member_of(context, from) {
                    let asked = Timestamp::from_micros(sequence);
                    self.election.handle_pong(context.now, ordinal, asked);
                    self.slowness.answer(context.now, ordinal, asked);
                }
                if epoch > self.view.epoch() {
                    self.pull(context.now, from);
                }
            }
        }
        self.settle(context);
    }

    /// `from` sent `message`, about the election.
    pub(crate) fn handle_election(&mut self, context: &mut Context<'_>, from: &Label, message: ElectionMessage) {
        self.on_election(context, from, message);
        self.settle(context);
    }

    /// `from` sent `message`, about views and members. Whoever is no member may knock, and tell and ask for views.
    pub(crate) fn handle_membership(&mut self, context: &mut Context<'_>, from: &Label, message: MembershipMessage) {
        let member = self.member_of(context, from);
        match (message, member) {
            (MembershipMessage::Commit { ballot, view }, _) => self.on_commit(context, from, ballot, view),
            (MembershipMessage::CommitDelta { ballot, delta }, _) => self.on_delta(context, from, ballot, &delta),
            (MembershipMessage::ViewGet { epoch }, _) => self.tell_view(from, epoch),
            (MembershipMessage::Join { applicant, cluster }, _) => {
                let mine = self.view.fields().cluster_id;
                if cluster.is_some_and(|cluster| cluster != mine) {
                    self.tell_view(from, Epoch::GENESIS);
                } else if applicant.name == *from {
                    self.on_join(context, from, applicant);
                }
            }
            (message, Some(member)) => self.handle_member(context, (from, member), message),
            (_, None) => {}
        }
        self.settle(context);
    }

    /// The member `from` sent `message`, of those that only members send.
    fn handle_member(
        &mut self,
        context: &mut Context<'_>,
        (from, member): (&Label, Ordinal),
        message: MembershipMessage,
    ) {
        match message {
            MembershipMessage::Installed { epoch, promised } => self.on_installed(member, epoch, promised),
            MembershipMessage::ForwardedJoin(applicant) => self.on_forwarded_join(context, from, &applicant),
            MembershipMessage::JoinAnswer { applicant, answer } => self.on_join_answer(from, applicant, answer),
            MembershipMessage::Synced { fence, left } => self.on_synced(context.now, member, fence, left),
            MembershipMessage::Command { id, by, command } => {
                let answer = self.obey(context, by, command);
                self.send(from, MembershipMessage::CommandAnswer { id, answer });
            }
            MembershipMessage::CommandAnswer { id, answer } => {
                if let Some(id) = self.commands.remove(&id) {
                    self.effects.push_back(Effect::Answer { id, answer });
                }
            }
            MembershipMessage::Commit { .. }
            | MembershipMessage::CommitDelta { .. }
            | MembershipMessage::ViewGet { .. }
            | MembershipMessage::Join { .. } => {}
        }
    }

    /// The administrator `by` wants something.
    pub(crate) fn handle_command(&mut self, context: &mut Context<'_>, id: CommandId, by: Label, command: Command) {
        let coordinator = self.coordinator(context.now, context.meta);
        match coordinator {
            Some(coordinator) if coordinator != self.me => {
                if self.commands.len() >= COMMANDS_MAX {
                    // The oldest was not answered, and nobody waits that long.
                    self.commands.pop_first();
                }
                self.commands_sent += 1;
                let number = self.commands_sent;
                self.commands.insert(number, id);
                let to = self.name_of(coordinator);
                self.send(&to, MembershipMessage::Command { id: number, by, command });
            }
            _ => {
                let answer = self.obey(context, by, command);
                self.effects.push_back(Effect::Answer { id, answer });
            }
        }
        self.settle(context);
    }

    /// This node has yet to fetch `left` of the slots that it is to own under the target of `fence`.
    pub(crate) fn handle_synced(&mut self, context: &mut Context<'_>, fence: Fence, left: u32) {
        let known = self.left.replace((fence, left));
        // Every slot makes a difference, but only the first word and the last have no time until the next heartbeat.
        let news = known != Some((fence, left));
        if news && (left == 0 || known.is_none_or(|(known, _)| known != fence)) {
            self.report_synced(context);
        }
        self.settle(context);
    }

    pub(crate) fn handle_progress(&mut self, steps: u64) {
        self.progress = steps;
    }

    /// Call when `now` has reached [`poll_timeout`](Self::poll_timeout).
    pub(crate) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        if self.next_beat <= now {
            self.beat(context);
        } else {
            self.election.handle_timeout(now, context.meta);
        }
        self.settle(context);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Timestamp {
        self.election.poll_timeout().map_or(self.next_beat, |due| due.min(self.next_beat))
    }

    /// The next thing to do.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The coordinator: heard lately, if this node votes; else the one that the view was decided by.
    pub(crate) fn coordinator(&self, now: Timestamp, meta: &Meta) -> Option<Ordinal> {
        if self.view.is_voter(self.me) {
            return self.election.coordinator(now, meta.acceptor.promised());
        }
        Some(self.ballot.ordinal).filter(|ordinal| self.view.member(*ordinal).is_some())
    }

    pub(crate) fn name_of(&self, ordinal: Ordinal) -> Label {
        let member = self.view.member(ordinal).map(|member| member.name.clone());
        member.unwrap_or_else(|| self.setting.me.name.clone())
    }

    pub(crate) fn role(&self) -> ElectionRole {
        match (self.view.is_voter(self.me), self.election.presides()) {
            (false, _) => ElectionRole::Member,
            (true, Some(_)) => ElectionRole::Coordinator,
            (true, None) if self.election.is_candidate() => ElectionRole::Candidate,
            (true, None) => ElectionRole::Follower,
        }
    }

    pub(crate) fn quorum(&self, now: Timestamp) -> Quorum {
        let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let (heard, needed) = (self.election.connected(now), self.election.electorate().quorum());
        Quorum { heard: small(heard), needed: small(needed) }
    }

    pub(crate) fn isolated(&self) -> Duration {
        self.isolated
    }

    pub(crate) fn rows(&self) -> &Rows {
        self.election.rows()
    }

    /// Whether the view names this very process, with the settings it has.
    pub(crate) fn is_current(&self) -> bool {
        let member = self.view.member(self.me);
        member.is_some_and(|member| is_same(member, &self.setting.me))
    }

    /// Why a ring change that is wanted does not begin, if this node coordinates.
    pub(crate) fn waiting_change(&self) -> Option<WaitingChange> {
        self.election.presides().and_then(|_| self.ring_change.waiting(&self.view))
    }

    /// What was answered to this node's joins.
    pub(crate) fn answers(&self) -> &BTreeMap<Label, JoinAnswer> {
        &self.answers
    }

    /// The ordinal of the member called `name`, if the connected process is of the instance that the view names.
    fn member_of(&self, context: &Context<'_>, name: &Label) -> Option<Ordinal> {
        let instance = context.peers.get(name)?.instance;
        self.member_with(name, instance)
    }

    fn member_with(&self, name: &Label, instance: Instance) -> Option<Ordinal> {
        let member = self.view.member_of_instance(instance).filter(|member| member.name == *name);
        member.map(|member| member.ordinal)
    }

    fn on_election(&mut self, context: &mut Context<'_>, from: &Label, message: ElectionMessage) {
        if let Some(epoch) = epoch_of(&message) {
            if epoch > self.view.epoch() {
                self.election.note_row(Row::ViewFetched);
                return self.pull(context.now, from);
            }
            if epoch < self.view.epoch() {
                if self.setting.planted.is(Bug::AnswersForLeftEpochs) {
                    return self.answer_for_left_epoch(from, message);
                }
                if is_question(&message) {
                    self.election.note_row(Row::NewerAnswered);
                    self.send(from, ElectionMessage::Newer { epoch: self.view.epoch() });
                }
                return;
            }
        }
        let sender = self.member_of(context, from).filter(|ordinal| self.view.is_voter(*ordinal));
        let Some(sender) = sender.filter(|_| self.view.is_voter(self.me)) else { return };
        if let ElectionMessage::Propose { view, .. } = &message
            && !self.may_follow(view)
        {
            return;
        }
        self.election.handle_message(context.now, sender, message, context.meta);
    }

    /// Whether `view` can be the one after this.
    fn may_follow(&self, view: &View) -> bool {
        let (mine, theirs) = (self.view.fields(), view.fields());
        theirs.epoch == mine.epoch.next() && theirs.cluster_id == mine.cluster_id && theirs.previous == self.hash
    }

    /// A planted bug: an acceptor that answers for instances that are over.
    fn answer_for_left_epoch(&mut self, from: &Label, message: ElectionMessage) {
        if let ElectionMessage::Prepare { epoch, ballot } = message {
            self.send(from, ElectionMessage::Promise { epoch, ballot, accepted: None });
        } else if let ElectionMessage::Propose { epoch, ballot, .. } = message {
            self.send(from, ElectionMessage::Accepted { epoch, ballot });
        }
    }

    fn on_join_answer(&mut self, from: &Label, applicant: Label, answer: JoinAnswer) {
        if applicant != self.setting.me.name {
            let to = applicant.clone();
            return self.send(&to, MembershipMessage::JoinAnswer { applicant, answer });
        }
        let known = self.answers.insert(from.clone(), answer.clone());
        if known.as_ref() != Some(&answer) && !matches!(answer, JoinAnswer::Queued { .. }) {
            self.effects.push_back(Effect::Report(Finding::JoinRefused { by: from.clone(), answer }));
        }
    }

    /// Carries out what the election wants, and lets a coordinator do its work, until nothing is left to do.
    fn settle(&mut self, context: &mut Context<'_>) {
        loop {
            while let Some(action) = self.election.poll_action() {
                match action {
                    Action::Send(to, message) => {
                        let to = self.name_of(to);
                        self.send(&to, message);
                    }
                    Action::Decided { ballot, view } => self.on_decided(context, ballot, view),
                    Action::Note(text) => self.effects.push_back(Effect::Report(Finding::Election(text))),
                }
            }
            if !self.preside(context) {
                return;
            }
        }
    }

    fn note_down(&mut self, now: Timestamp) {
        let view = &self.view;
        self.down_since.retain(|ordinal, _| view.member(*ordinal).is_some_and(|m| m.live == Liveness::Down));
        for member in view.members().iter().filter(|member| member.live == Liveness::Down) {
            self.down_since.entry(member.ordinal).or_insert(now);
        }
    }

    fn send(&mut self, to: &Label, message: impl Into<PeerMessage>) {
        self.effects.push_back(Effect::Send { to: to.clone(), message: message.into() });
    }

    fn forked(&mut self, peer: &Label, theirs: String) {
        let (epoch, ours) = (self.view.epoch(), self.hash);
        self.effects.push_back(Effect::Forked(Box::new(Fork { peer: peer.clone(), epoch, ours, theirs })));
    }
}

/// Whether the sender waits for an answer.
fn is_question(message: &ElectionMessage) -> bool {
    match message {
        ElectionMessage::Elect { .. }
        | ElectionMessage::Prepare { .. }
        | ElectionMessage::Propose { .. }
        | ElectionMessage::Transfer { .. } => true,
        ElectionMessage::Grant { .. }
        | ElectionMessage::Higher { .. }
        | ElectionMessage::Alive { .. }
        | ElectionMessage::Newer { .. }
        | ElectionMessage::Promise { .. }
        | ElectionMessage::Accepted { .. }
        | ElectionMessage::Reject { .. } => false,
    }
}

/// The epoch that a message is about; `None` for answers that are about a round of the receiver.
fn epoch_of(message: &ElectionMessage) -> Option<Epoch> {
    match message {
        ElectionMessage::Elect { epoch, .. }
        | ElectionMessage::Prepare { epoch, .. }
        | ElectionMessage::Promise { epoch, .. }
        | ElectionMessage::Propose { epoch, .. }
        | ElectionMessage::Accepted { epoch, .. }
        | ElectionMessage::Reject { epoch, .. }
        | ElectionMessage::Transfer { epoch, .. }
        | ElectionMessage::Newer { epoch } => Some(*epoch),
        ElectionMessage::Grant { .. } | ElectionMessage::Higher { .. } | ElectionMessage::Alive { .. } => None,
    }
}
