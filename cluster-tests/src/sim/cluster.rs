//! A cluster of pure cores, driven as a node would drive them.

use std::time::Duration;

use quoit_core::{
    membership::{Finding, Genesis, GenesisConfig, GenesisStatus, Output},
    time::Timestamp,
};
use quoit_proto_types::{
    Boot, Instance, Label, View,
    message::peer::{Founder, PeerMessage},
    view::ViewConfig,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{EventQueue, Mutant, Network, NetworkEvent, Options, Summary, Trace};
use crate::invariants::{self, Fact, Invariant, Violation};

/// How soon ends try to connect again.
const REDIAL: Duration = Duration::from_millis(20);
/// The cluster must have settled this long after the last fault.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Founders, the network between them, and the faults ahead.
#[derive(Debug)]
pub struct Cluster {
    mutant: Mutant,
    options: Options,
    names: Vec<Label>,
    /// The living process of each name.
    processes: Vec<Option<Process>>,
    network: Network,
    queue: EventQueue<Event>,
    rng: StdRng,
    invariants: Vec<Box<dyn Invariant>>,
    views: Vec<View>,
    summary: Summary,
    trace: Trace,
}

#[derive(Debug)]
struct Process {
    me: Founder,
    genesis: Genesis,
    /// The deadline for which a wake is scheduled.
    armed: Option<Timestamp>,
}

#[derive(Debug)]
enum Event {
    Start(usize),
    Crash(usize),
    Dial(usize, usize),
    Cut(usize, usize),
    Network(NetworkEvent<PeerMessage>),
    /// A message that a mutant made up.
    MadeUp {
        from: usize,
        to: usize,
        message: PeerMessage,
    },
    /// A process's deadline.
    Wake(usize),
    /// The faults are over.
    Heal,
    /// Time to have settled.
    Judge,
}

impl From<NetworkEvent<PeerMessage>> for Event {
    fn from(event: NetworkEvent<PeerMessage>) -> Self {
        Self::Network(event)
    }
}

impl Cluster {
    /// The cluster that `seed` draws, before its first start.
    pub fn new(seed: u64, mutant: Mutant, trace: Trace) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let options = Options::draw(&mut rng);
        let label = |i: usize| format!("n{}", i + 1).parse().expect("a label");
        let names: Vec<Label> = (0..options.founders).map(label).collect();
        let mut cluster = Self {
            mutant,
            processes: names.iter().map(|_| None).collect(),
            network: Network::new(options.clone(), StdRng::seed_from_u64(rng.random())),
            queue: EventQueue::new(),
            invariants: invariants::all(&names),
            views: Vec::new(),
            summary: Summary::default(),
            trace,
            options,
            names,
            rng,
        };
        cluster.schedule_faults();
        cluster
    }

    fn schedule_faults(&mut self) {
        let Self { options, queue, rng, .. } = self;
        let founders = options.founders;
        for node in 0..founders {
            queue.after(rng.random_range(Duration::ZERO..=options.started_within), Event::Start(node));
        }
        for _ in 0..options.crashes {
            queue.after(
                rng.random_range(Duration::ZERO..options.faults_until),
                Event::Crash(rng.random_range(0..founders)),
            );
        }
        for _ in 0..options.cuts {
            let (a, b) = (rng.random_range(0..founders), rng.random_range(0..founders));
            queue.after(rng.random_range(Duration::ZERO..options.faults_until), Event::Cut(a, b));
        }
        queue.after(options.faults_until, Event::Heal);
    }

    /// Runs until the cluster has settled after the last fault.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        while let Some(event) = self.queue.pop() {
            if matches!(event, Event::Judge) {
                return self.judge();
            }
            self.step(event)?;
        }
        unreachable!("a judgement is scheduled")
    }

    /// What happened, if it was noted.
    pub fn into_trace(self) -> Vec<String> {
        match self.trace {
            Trace::Off => Vec::new(),
            Trace::On(lines) => lines,
        }
    }

    fn step(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Start(node) => self.start(node),
            Event::Crash(node) => self.crash(node),
            Event::Dial(a, b) => {
                if self.processes[a].is_some() && self.processes[b].is_some() {
                    self.network.connect((a, b), &mut self.queue);
                }
                Ok(())
            }
            Event::Cut(a, b) => {
                self.network.cut((a, b), None, &mut self.queue);
                Ok(())
            }
            Event::Network(event) if !self.network.admits(&event) => Ok(()),
            Event::Network(event) => self.network_event(event),
            Event::MadeUp { from, to, message } => self.deliver(from, to, message),
            Event::Wake(node) => self.wake(node),
            Event::Heal => {
                self.options.heal();
                self.network.heal();
                (0..self.names.len()).for_each(|node| self.queue.after(Duration::ZERO, Event::Start(node)));
                self.queue.after(SETTLED_WITHIN, Event::Judge);
                Ok(())
            }
            Event::Judge => Ok(()),
        }
    }

    fn network_event(&mut self, event: NetworkEvent<PeerMessage>) -> Result<(), Violation> {
        match event {
            NetworkEvent::Connected { node, peer, .. } => {
                let name = self.names[peer].clone();
                self.note(|| format!("connected {name}"), node);
                self.with(node, |genesis, now| genesis.handle_connected(now, &name))
            }
            NetworkEvent::Disconnected { node, peer, .. } => {
                self.queue.after(REDIAL, Event::Dial(node, peer));
                let name = self.names[peer].clone();
                self.note(|| format!("disconnected {name}"), node);
                self.with(node, |genesis, now| genesis.handle_disconnected(now, &name))
            }
            NetworkEvent::Deliver { from, to, message, .. } => self.deliver(from, to, message),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: PeerMessage) -> Result<(), Violation> {
        let name = self.names[from].clone();
        self.note(|| format!("<- {name} {message:?}"), to);
        self.with(to, |genesis, now| genesis.handle_message(now, &name, message))
    }

    /// Starts a process under the name of `node`, if none is up.
    fn start(&mut self, node: usize) -> Result<(), Violation> {
        if self.processes[node].is_some() {
            return Ok(());
        }
        let name = self.names[node].clone();
        let kept = self.mutant == Mutant::InstanceKept;
        let instance = if kept { node as u128 } else { self.rng.random() };
        let me = Founder {
            instance: Instance::from_random(instance),
            boot: Boot::new(1),
            address: format!("{name}:7750").parse().expect("an address"),
            zone: None,
            vnodes: 8,
            name,
        };
        let config = GenesisConfig {
            cluster: "sim".parse().expect("a label"),
            founders: self.names.clone(),
            me: me.clone(),
            config: ViewConfig::default(),
        };
        let seed = if self.mutant == Mutant::BallotsReused { 0 } else { self.rng.random() };
        self.note(|| format!("starts as {:?}", me.instance), node);
        self.check(&Fact::Started(&me))?;
        let genesis = Genesis::new(config, StdRng::seed_from_u64(seed), self.queue.now());
        self.processes[node] = Some(Process { me, genesis, armed: None });
        for peer in (0..self.names.len()).filter(|peer| *peer != node) {
            self.queue.after(self.rng.random_range(Duration::ZERO..REDIAL), Event::Dial(node, peer));
        }
        self.carry_out(node)
    }

    /// Ends the process of `node` without a word, and starts another one later.
    fn crash(&mut self, node: usize) -> Result<(), Violation> {
        let Some(process) = self.processes[node].take() else { return Ok(()) };
        self.note(|| "crashes".to_owned(), node);
        self.summary.crashes += 1;
        for peer in (0..self.names.len()).filter(|peer| *peer != node) {
            self.network.cut((node, peer), Some(node), &mut self.queue);
            // In case nobody is left to notice that the connection is gone.
            self.queue.after(REDIAL, Event::Dial(node, peer));
        }
        self.queue.after(self.rng.random_range(self.options.down.clone()), Event::Start(node));
        self.check(&Fact::Ended(process.me.instance))
    }

    fn wake(&mut self, node: usize) -> Result<(), Violation> {
        let due = self.processes[node].as_mut().and_then(|process| process.armed.take_if(|at| *at <= self.queue.now()));
        if due.is_some() { self.with(node, Genesis::handle_timeout) } else { Ok(()) }
    }

    /// Lets the process of `node` handle something, if it is up, and carries out what it wants.
    fn with(&mut self, node: usize, handle: impl FnOnce(&mut Genesis, Timestamp)) -> Result<(), Violation> {
        let Some(process) = &mut self.processes[node] else { return Ok(()) };
        handle(&mut process.genesis, self.queue.now());
        self.carry_out(node)
    }

    fn carry_out(&mut self, node: usize) -> Result<(), Violation> {
        while let Some(process) = &mut self.processes[node] {
            let Some(output) = process.genesis.poll_output() else {
                let deadline = process.genesis.poll_timeout().map(|(at, _)| at);
                if let Some(at) = deadline
                    && process.armed != deadline
                {
                    self.queue.at(at, Event::Wake(node));
                }
                process.armed = deadline;
                return Ok(());
            };
            if self.rng.random_bool(self.options.crash_at_output) {
                return self.crash(node);
            }
            let me = process.me.clone();
            match output {
                Output::Send { to, message } => self.send(node, &me, &to, message)?,
                Output::Install(view) => {
                    self.note(|| format!("installs view {}", view.hash()), node);
                    self.check(&Fact::Installed { by: &me, view: &view })?;
                    if !self.views.contains(&view) {
                        self.views.push(view);
                    }
                    if self.rng.random_bool(self.options.crash_at_install) {
                        return self.crash(node);
                    }
                }
                Output::Report(finding) => self.report(node, &finding)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, node: usize, me: &Founder, to: &Label, message: PeerMessage) -> Result<(), Violation> {
        let said = self.mutant.distort(me, message);
        said.into_iter().try_for_each(|message| self.say(node, me, to, message))
    }

    fn say(&mut self, node: usize, me: &Founder, to: &Label, message: PeerMessage) -> Result<(), Violation> {
        self.note(|| format!("-> {to} {message:?}"), node);
        self.check(&Fact::Sent { from: me, to, message: &message })?;
        let peer = self.names.binary_search(to).expect("founders talk to founders");
        let last_other = (0..self.names.len()).rfind(|other| *other != node);
        if last_other == Some(peer)
            && let Some(absent) = self.processes[peer].as_ref()
            && let Some(message) = self.mutant.make_up(&message, &absent.me)
        {
            self.queue.after(Duration::ZERO, Event::MadeUp { from: peer, to: node, message });
        }
        if let PeerMessage::Propose { ballot, view, .. } = &message
            && *ballot != view.fields().ballot
        {
            self.summary.adopted += 1;
        }
        self.network.send((node, peer), message, &mut self.queue);
        Ok(())
    }

    fn report(&mut self, node: usize, finding: &Finding) -> Result<(), Violation> {
        self.note(|| finding.to_string(), node);
        match finding {
            // A late message of a cluster that is gone looks like a fork to who gets it. The invariants see the difference.
            Finding::Superseded { .. } | Finding::Forked { .. } => Ok(()),
            Finding::FoundersDiffer { .. }
            | Finding::ConfigDiffers { .. }
            | Finding::NotAmong { .. }
            | Finding::Unformable { .. } => Err(Violation(format!("{} reports: {finding}", self.names[node]))),
        }
    }

    fn judge(&mut self) -> Result<Summary, Violation> {
        let living = self.processes.iter().flatten();
        let settled: Vec<_> = living.map(|process| (process.me.clone(), process.genesis.status())).collect();
        self.check(&Fact::Settled(&settled))?;
        let formed = settled.iter().filter(|(_, status)| *status == GenesisStatus::Formed).count();
        let superseded = settled.len() - formed;
        Ok(Summary { views: self.views.len(), formed, superseded, ..self.summary })
    }

    fn check(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        self.invariants.iter_mut().try_for_each(|invariant| invariant.observe(fact))
    }

    fn note(&mut self, line: impl FnOnce() -> String, node: usize) {
        let (now, name) = (self.queue.now(), &self.names[node]);
        self.trace.note(|| format!("{now} {name} {}", line()));
    }
}
