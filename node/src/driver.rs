//! The task that owns the control plane's machine: inputs and timers in, outputs executed. Takes no decision of its own.
//!
//! It also steps the store. So a node whose store stands still answers no heartbeat, and a node that answers is at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use alarms::Alarms;
use control::{ControlStatus, Request};
use peers::{Gone, Members, Peers};
use placement::Placement;
use quoit_client::{Address, DialError, ErrorCode, Label};
use quoit_core::{
    cluster::{Admission, Cluster, CommandId, Finding, Life, Output, Standing, StopReason, WaitingChange},
    genesis::{FounderOutcome, FounderSearch},
};
use quoit_proto_types::{Epoch, message::membership::CommandAnswer};
use saver::{SaveFailed, Saved, Saver};
use seeds::Seeds;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::yield_now,
    time::{MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    data::{DataPlane, upkeep::UpkeepNews},
    node::NodeState,
    shutdown::Tasks,
    transport::{
        dialler::PeerDialler,
        peers::{Beat, ConnectionId, PeerEvent, PeerLink},
    },
};

mod alarms;
pub(crate) mod control;
mod peers;
pub(crate) mod placement;
pub(crate) mod saver;
mod seeds;
mod standing;

/// How often the store is stepped.
const STEP_INTERVAL: Duration = Duration::from_millis(100);
/// Steps towards the removal of expired entries in one go, which bounds how long a shard is locked and a heartbeat waits.
const EXPIRED_AT_ONCE: usize = 256;
/// A write of the durable state that takes longer than this is worth an alarm: every promise waits for one.
const SAVE_SLOW: Duration = Duration::from_millis(250);
/// How long a node that has left stays: a little longer than any client takes to hear of the view without it.
const CLIENTS_FOLLOW: Duration = Duration::from_millis(500);
/// How long the requests may take that clients have under way then. With the above, no longer than those who shut the node
/// down wait for this task.
const LAST_ANSWERS: Duration = Duration::from_millis(400);
/// How long a node that has left goes on to offer what its slots' new owners may lack. Mostly they lack nothing, and it takes
/// as long as to compare some digests.
const LAST_OFFERS: Duration = Duration::from_secs(5);
/// How often it looks how far that has come.
const OFFERS_LOOK: Duration = Duration::from_millis(20);
/// Commands that wait for an answer. Each has a deadline of its own.
const COMMANDS_MAX: usize = 256;

/// What the driver starts with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) cluster: Cluster,
    pub(crate) search: FounderSearch,
    /// Where the cluster is looked for.
    pub(crate) seeds: Vec<Address>,
    pub(crate) dialler: PeerDialler,
    pub(crate) saver: Saver,
    pub(crate) placement: Placement,
    /// Requests for keys, which go by the same connections.
    pub(crate) plane: Arc<DataPlane>,
    pub(crate) state: watch::Sender<NodeState>,
}

/// What comes in.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) beats: mpsc::Receiver<Beat>,
    pub(crate) events: mpsc::Receiver<PeerEvent>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) upkeep: mpsc::Receiver<UpkeepNews>,
}

/// The task.
#[derive(Debug)]
pub(crate) struct Driver {
    clock: Clock,
    me: Label,
    life: Life,
    cluster: Cluster,
    search: FounderSearch,
    seeds: Seeds,
    peers: Peers,
    members: Members,
    dialler: PeerDialler,
    tasks: Tasks,
    saver: Saver,
    placement: Placement,
    plane: Arc<DataPlane>,
    /// Why the ring should change and does not, if it should.
    waiting: Option<WaitingChange>,
    /// Steps so far, and whether the last one left something to do.
    steps: u64,
    is_expiring: bool,
    state: watch::Sender<NodeState>,
    shown: NodeState,
    alarms: Alarms,
    commands: BTreeMap<CommandId, oneshot::Sender<CommandAnswer>>,
    next_command: u64,
    recovering: Option<Recovering>,
    end: Option<End>,
}

/// An administrator who waits for a new cluster to be on disk.
#[derive(Debug)]
struct Recovering {
    /// The state's sequence with which it is.
    sequence: u64,
    /// The new cluster's first epoch, and who is to hear of it.
    epoch: Epoch,
    answer: oneshot::Sender<Result<Epoch, String>>,
}

/// Why the driver ends.
#[derive(Clone, Debug)]
enum End {
    Stopped(StopReason),
    Failed(String),
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { clock, cluster, search, seeds, dialler, saver, placement, plane, state } = parts;
        let (me, hello, tasks) = (dialler.me.clone(), &dialler.hello, dialler.tasks.clone());
        let life = Life { instance: hello.instance, boot: hello.boot, nonce: hello.nonce };
        let shown = state.borrow().clone();
        Self {
            clock,
            me,
            life,
            cluster,
            search,
            seeds: Seeds::new(seeds),
            peers: Peers::default(),
            members: Members::default(),
            dialler,
            tasks,
            saver,
            placement,
            plane,
            waiting: None,
            steps: 0,
            is_expiring: false,
            state,
            shown,
            alarms: Alarms::default(),
            commands: BTreeMap::new(),
            next_command: 0,
            recovering: None,
            end: None,
        }
    }

    /// Runs until the process must end; the state says why.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        for seed in self.seeds.all() {
            self.tasks.spawn_home(self.dialler.clone().keep_found(seed, self.peers.connected()));
        }
        self.founders_if_known();
        self.execute();
        let mut ticks = interval(STEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if matches!(self.end, Some(End::Stopped(StopReason::Retired { .. }))) {
                // Meanwhile the view without this node is in force, so that clients are sent elsewhere. Its connections with the
                // other nodes, by which the last requests are answered, end with this task.
                sleep(CLIENTS_FOLLOW).await;
                let _ = timeout(LAST_ANSWERS, self.plane.under_way.none()).await;
                self.hand_over_the_rest().await;
            }
            self.publish();
            if self.end.is_some() {
                return;
            }
            let timer = self.cluster.poll_timeout();
            tokio::select! {
                biased;
                () = sleep_until(self.clock.instant(timer.unwrap_or_default())), if timer.is_some() => {
                    self.cluster.handle_timeout(self.clock.now());
                }
                saved = self.saver.done() => self.saved(saved),
                Some(beat) = inputs.beats.recv() => self.beat(&beat),
                _ = ticks.tick() => self.step(),
                Some(news) = inputs.upkeep.recv() => self.upkept(news),
                Some(request) = inputs.requests.recv() => self.request(request),
                Some(event) = inputs.events.recv() => self.event(event),
                // Gives way to everything above after each piece of work.
                () = yield_now(), if self.is_expiring || self.placement.is_busy() => self.work(),
            }
            self.execute();
        }
    }

    /// Waits until whoever owns the slots that this node has had holds all that is here of them.
    async fn hand_over_the_rest(&self) {
        let offering = async {
            while self.plane.upkeep.report().await.is_some_and(|report| report.progress.offers_left > 0) {
                sleep(OFFERS_LOOK).await;
            }
        };
        if timeout(LAST_OFFERS, offering).await.is_err() {
            warn!(
                event = "unoffered",
                "time is up, and not every owner of this node's slots was compared with it: a write that only it took is lost"
            );
        }
    }

    fn beat(&mut self, beat: &Beat) {
        if self.peers.knows(&beat.from, beat.connection) {
            self.cluster.handle_heartbeat(self.clock.now(), &beat.from, beat.heartbeat.clone());
        }
    }

    /// Steps the store. The machine tells others how often that happened.
    fn step(&mut self) {
        self.steps += 1;
        self.cluster.handle_progress(self.steps);
        self.expire();
        self.note_waiting();
    }

    /// Tells the operator once when the ring should change and does not begin to, and why. The status says it as long as it
    /// is so.
    fn note_waiting(&mut self) {
        let waiting = self.cluster.waiting_change();
        if self.waiting != waiting {
            match &waiting {
                Some(reason) => warn!(event = "ring_change_waits", "a change of the ring waits: {reason}"),
                None => info!(event = "ring_change_waits_no_more", "no change of the ring waits"),
            }
            self.waiting = waiting;
        }
    }

    /// What became of the data in the background.
    fn upkept(&mut self, news: UpkeepNews) {
        match news {
            UpkeepNews::Synced { fence, left } => {
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                self.cluster.handle_synced(self.clock.now(), fence, left);
            }
            UpkeepNews::Drop { fence, slots } => self.placement.drop_slots(fence, &slots),
        }
    }

    /// Gives memory of expired entries back without waiting for somebody to read them.
    fn expire(&mut self) {
        self.is_expiring = self.plane.store.expire(self.clock.wall(), EXPIRED_AT_ONCE) == EXPIRED_AT_ONCE;
    }

    /// Does the next piece of the work that is too long for one go.
    fn work(&mut self) {
        if self.placement.is_busy() {
            self.placement.work();
            self.installed();
        } else {
            self.expire();
        }
    }

    fn saved(&mut self, outcome: Result<Saved, SaveFailed>) {
        let now = self.clock.now();
        match outcome {
            Ok(Saved { sequence, began }) => {
                let took = now.checked_duration_since(began).unwrap_or_default();
                if took > SAVE_SLOW {
                    let ms = took.as_millis();
                    warn!(event = "data_slow", ms, "the durable state took long to write");
                    let text = format!("writing the durable state took {ms} ms: give --data a faster disk");
                    self.alarms.raise(now, "slow", text);
                }
                self.cluster.handle_persisted(now, sequence);
                if let Some(done) = self.recovering.take_if(|recovering| recovering.sequence <= sequence) {
                    // Who asked may have given up.
                    let _ = done.answer.send(Ok(done.epoch));
                }
            }
            Err(failed) => {
                error!(event = "data_failed", advice = failed.advice(), "{failed}");
                let text = format!("{failed}: what is on disk is not known, so this process must not go on");
                self.end = Some(End::Failed(text));
            }
        }
    }

    fn event(&mut self, event: PeerEvent) {
        let now = self.clock.now();
        match event {
            PeerEvent::Seed { seed, names, failures } => self.seed(seed, names, failures),
            PeerEvent::Double { seed } => self.seeds.double(seed),
            PeerEvent::Namesake { life, address } => self.namesake(life, &address),
            PeerEvent::Connected { peer, life, link } => self.connected(peer, life, link),
            PeerEvent::Message { from, connection, message } => {
                if self.peers.knows(&from, connection) {
                    self.cluster.handle_message(now, &from, *message);
                }
            }
            PeerEvent::Disconnected { peer, connection, verdict } => {
                if verdict != Admission::Admitted {
                    self.cluster.handle_refused(now, &peer, verdict);
                }
                self.disconnected(&peer, connection);
            }
            PeerEvent::Reached { applicant, reached } => self.cluster.handle_reached(now, &applicant, reached),
        }
    }

    fn seed(&mut self, seed: Address, names: Vec<Label>, failures: Vec<DialError>) {
        for failure in self.seeds.news(&seed, &names, &failures) {
            warn!(event = "peer_refused", %seed, advice = failure.advice(), "{failure}");
        }
        // A seed that leads to several nodes does not tell who the founders are.
        if let [name] = &names[..] {
            self.search.learned(&seed, name.clone());
        }
        self.seeds.answered(seed, names, failures);
        self.founders_if_known();
    }

    fn founders_if_known(&mut self) {
        match self.search.outcome() {
            FounderOutcome::Founder(founders) | FounderOutcome::NotFounder { known: founders } => {
                self.cluster.handle_founders(self.clock.now(), founders);
            }
            FounderOutcome::Undecided { .. } => {}
        }
    }

    /// Another process with this node's certificate dialled this one. It was refused.
    fn namesake(&mut self, life: Life, address: &Address) {
        let (now, me) = (self.clock.now(), &self.me);
        error!(event = "duplicate_identity", %address, "another process runs under the identity {me}");
        self.alarms.raise(now, "namesake", format!("another process at {address} runs as {me}: stop one of the two"));
        if life.instance == self.life.instance && life.boot > self.life.boot {
            self.cluster.handle_refused(now, &self.me, Admission::Superseded);
        }
    }

    fn connected(&mut self, peer: Label, life: Life, link: PeerLink) {
        if self.peers.is_full(&peer) {
            return link.close(ErrorCode::TooManyConnections, "there are connections enough between the two nodes");
        }
        match refusal(self.cluster.handle_connected(self.clock.now(), &peer, life)) {
            Some((code, text)) => link.close(code, text),
            None => {
                debug!(%peer, direction = ?link.direction, "connected");
                self.members.set_connected(&peer, true);
                self.plane.connected(peer.clone(), life, &link);
                self.peers.add(peer, life, link);
            }
        }
    }

    fn disconnected(&mut self, peer: &Label, connection: ConnectionId) {
        let now = self.clock.now();
        self.plane.disconnected(peer, connection);
        match self.peers.remove(peer, connection) {
            Gone::Unknown | Gone::One => {}
            // The process of that name that was heard last is gone, and another one is left.
            Gone::Other(life) => {
                if let Some((code, text)) = refusal(self.cluster.handle_connected(now, peer, life)) {
                    self.peers.close(peer, code, text);
                }
            }
            Gone::Last => {
                self.members.set_connected(peer, false);
                self.cluster.handle_disconnected(now, peer);
            }
        }
    }

    fn request(&mut self, request: Request) {
        let now = self.clock.now();
        match request {
            Request::Status(answer) => {
                let status = self.status();
                // Who asked may have given up, here and below.
                let _ = answer.send(status);
            }
            Request::Command { by, command, answer } => {
                self.commands.retain(|_, waiting| !waiting.is_closed());
                if self.commands.len() < COMMANDS_MAX {
                    info!(event = "command", %by, ?command, "an administrator wants something");
                    let id = CommandId(self.next_command);
                    self.next_command += 1;
                    self.commands.insert(id, answer);
                    self.cluster.handle_command(now, id, by, command);
                }
            }
            Request::Recover { by, survivor, answer } => {
                warn!(event = "recover", %by, %survivor, "an administrator wants a new cluster of this node alone");
                match self.cluster.handle_recover(now, &survivor) {
                    Ok(epoch) => {
                        let sequence = self.cluster.meta().sequence;
                        self.recovering = Some(Recovering { sequence, epoch, answer });
                    }
                    Err(reason) => drop(answer.send(Err(reason))),
                }
            }
            Request::Stopping(answer) => {
                self.cluster.handle_stopping(now);
                self.execute();
                let _ = answer.send(());
            }
        }
    }

    fn execute(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Send { to, message } => self.peers.send(&to, message),
                Output::Beat { to, heartbeat } => self.peers.beat(&to, &heartbeat),
                Output::Persist(meta) => self.saver.save(self.clock.now(), meta),
                Output::Install(view) => {
                    self.placement.install(view, self.life);
                    self.installed();
                }
                Output::Reach(applicant) => drop(self.tasks.spawn_home(self.dialler.clone().reach(applicant))),
                Output::Answer { id, answer } => {
                    if let Some(waiting) = self.commands.remove(&id) {
                        let _ = waiting.send(answer);
                    }
                }
                Output::Report(finding) => self.report(&finding),
                Output::Stop(reason) => self.stop(reason),
            }
        }
    }

    /// Sees to what follows from views that are in force.
    fn installed(&mut self) {
        for routing in self.placement.published() {
            let view = routing.view();
            let changes: Vec<_> = view.fields().changes.iter().map(ToString::to_string).collect();
            let (epoch, members, hash, changes) =
                (view.epoch(), view.members().len(), routing.hash(), changes.join("; "));
            info!(event = "view_installed", %epoch, members, fence = %view.fence(), %hash, changes, "view installed");
            let (dialler, peers) = (&self.dialler, &self.peers);
            self.members.follow(view, &self.me, |name, address, connected| {
                connected.send_replace(peers.is_connected(&name));
                let dial = dialler.clone().keep_connected(name, address, connected.subscribe());
                self.tasks.spawn_home(dial)
            });
            self.plane.upkeep.install(routing);
        }
    }

    fn report(&mut self, finding: &Finding) {
        let now = self.clock.now();
        match finding {
            Finding::Election(_) => return debug!(event = "election", "{finding}"),
            Finding::Impostor { peer, .. } => self.alarms.raise(now, peer.as_str(), finding.to_string()),
            Finding::OtherCluster { .. } => self.alarms.raise(now, "other cluster", finding.to_string()),
            Finding::Genesis(_) | Finding::JoinRefused { .. } | Finding::Late { .. } | Finding::SelfDoubt { .. } => {}
        }
        warn!(event = "control", "{finding}");
    }

    fn stop(&mut self, reason: StopReason) {
        match &reason {
            StopReason::Retired { .. } => info!(event = "retired", "{reason}"),
            StopReason::Superseded { .. } | StopReason::Duplicate { .. } => error!(event = "stopped", "{reason}"),
            StopReason::Forked(fork) => {
                let (peer, epoch, ours, theirs) = (&fork.peer, fork.epoch, fork.ours, &fork.theirs);
                error!(event = "fork", %peer, %epoch, %ours, %theirs, "{reason}");
            }
        }
        self.end = Some(End::Stopped(reason));
    }

    /// Shows where the node stands, if that changed.
    fn publish(&mut self) {
        let state = self.current_state();
        if self.end.is_some() {
            // A process that must not go on serves nobody either.
            self.placement.withdraw();
        }
        if self.shown != state {
            self.shown = state.clone();
            self.state.send_replace(state);
        }
    }

    fn current_state(&self) -> NodeState {
        match &self.end {
            Some(End::Stopped(reason)) => return NodeState::Stopped { reason: reason.clone() },
            Some(End::Failed(text)) => return NodeState::Failed(text.clone()),
            None => {}
        }
        let standing = self.cluster.standing();
        if let Standing::Stopped(reason) = standing {
            return NodeState::Stopped { reason };
        }
        if standing == Standing::Member {
            let in_force = self.placement.view().filter(|view| self.cluster.view() == Some(*view));
            // Between two views it is where it was.
            return in_force.map_or_else(|| self.shown.clone(), |view| NodeState::Member(Arc::clone(view)));
        }
        if let Some(seed) = self.seeds.doubled() {
            let me = &self.me;
            let text = format!("another process at {seed} runs under the identity {me}: stop one of the two");
            return NodeState::Failed(text);
        }
        NodeState::Waiting(self.standing_text(&standing))
    }

    fn standing_text(&self, standing: &Standing) -> String {
        standing::text(standing, &self.me, &self.search, &self.seeds)
    }

    fn status(&mut self) -> ControlStatus {
        let now = self.clock.now();
        let standing = self.cluster.standing();
        let quorum = self.cluster.quorum(now);
        let mut alarms = self.alarms.current(now);
        if self.cluster.view().is_some() && quorum.heard < quorum.needed {
            alarms.insert(
                0,
                format!(
                    "no quorum: {} of the {} voters needed are heard, so views cannot change; keys are served as before; \
                     start the voters that are down, or mend the network",
                    quorum.heard, quorum.needed
                ),
            );
        }
        if let Some(reason) = self.cluster.waiting_change() {
            alarms.push(format!("a change of the ring waits: {reason}"));
        }
        let unheard: BTreeSet<_> = self.members.unconnected();
        if !unheard.is_empty() {
            let names: Vec<_> = unheard.iter().take(8).map(ToString::to_string).collect();
            alarms.push(format!("no connection with {} of the members: {}", unheard.len(), names.join(", ")));
        }
        ControlStatus {
            epoch: self.cluster.meta().epoch(),
            standing: self.standing_text(&standing),
            role: self.cluster.role(),
            coordinator: self.cluster.coordinator(now),
            quorum,
            promised: self.cluster.meta().acceptor.promised(),
            isolated: self.cluster.isolated(now),
            alarms,
        }
    }
}

/// What a connection is closed with, unless it is admitted.
fn refusal(admission: Admission) -> Option<(ErrorCode, &'static str)> {
    match admission {
        Admission::Admitted => None,
        Admission::NameInUse => Some((ErrorCode::NameInUse, "another node of this name is up")),
        Admission::Superseded => Some((ErrorCode::Superseded, "a later process of this node has been seen")),
        Admission::Duplicate => {
            Some((ErrorCode::DuplicateIdentity, "another process with this instance and boot has been seen"))
        }
    }
}
