//! A cluster of pure cores, driven as a node would drive them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quoit_core::{
    cluster::{Cluster as Machine, CommandId, StopReason},
    election::Row,
    time::Timestamp,
};
use quoit_proto_types::{
    Fence, Label, View,
    message::{
        admin::ElectionRole,
        membership::{Applicant, CommandAnswer},
    },
    view::ViewConfig,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Actor, CutId, DataOptions, DataWorld, Disk, EventQueue, Host, Mutant, Network, NetworkEvent, Options, Plague, Plan,
    Process, Summary, Trace, links::SEEDS,
};
use crate::invariants::{Fact, Invariants, Ledger, Setting, Settlement, Unsettled, Violation, settlement};

/// How long a cluster may take to settle when the faults are over. What takes longest is a member that flapped: it must be
/// stable for longer each time, up to 96 s, and heartbeats that come late may begin that anew.
const SETTLED_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How often it is looked whether it has.
const LOOKED_EACH: Duration = Duration::from_secs(2);

/// Hosts, the network between them, and the faults ahead.
#[derive(Debug)]
pub struct Cluster {
    pub(super) mutant: Mutant,
    pub(super) options: Options,
    /// The names, by number.
    pub(super) labels: Vec<Label>,
    pub(super) numbers: BTreeMap<Label, usize>,
    pub(super) hosts: Vec<Host>,
    /// All that ever ran.
    pub(super) actors: Vec<Actor>,
    pub(super) network: Network,
    pub(super) queue: EventQueue<Event>,
    pub(super) rng: StdRng,
    pub(super) invariants: Invariants,
    pub(super) summary: Summary,
    pub(super) trace: Trace,
    pub(super) healed: Option<Timestamp>,
    /// Commands that were given.
    pub(super) commands: u64,
    /// What was answered.
    pub(super) answers: BTreeMap<CommandId, CommandAnswer>,
    /// When each view was installed for the first time, in order.
    pub(super) installs: Vec<(Timestamp, Arc<View>)>,
    /// Applicants that are being dialled, by connection: who wants to know.
    pub(super) reaching: BTreeMap<u64, (usize, u32, Applicant)>,
    /// Processes that ended by themselves.
    pub(super) stopped: Vec<(Actor, StopReason)>,
    /// Messages of elections that were sent.
    pub(super) election_messages: u64,
    /// Whether a cluster was made of a survivor, so that two are about.
    pub(super) recovered: bool,
    /// Whether a copied disk is at large, for which no promise is made.
    pub(super) copied: bool,
    /// Disks that were lost.
    pub(super) wipes: u32,
    /// Whether members of the settled cluster have died.
    pub(super) bereaved: bool,
    /// The data, if the run has any.
    pub(super) data: Option<Box<DataWorld>>,
    /// Since when all but the data has settled.
    settled_since: Option<Timestamp>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// The network's part.
    Network(NetworkEvent),
    /// A process starts, if none is up.
    Start(usize),
    /// A host's disk has finished a copy for a process.
    Written(usize, u32),
    /// A process's deadline.
    Wake(usize, u32),
    /// A process looks whom to dial.
    Dial(usize, u32),
    /// A process learns who the founders are.
    Founders(usize, u32),
    /// A process has yet to fetch so many slots.
    Synced(usize, u32, Fence, u32),
    /// A deadline of a process's data.
    WakeData(usize, u32),
    /// A client looks what to do.
    Session(usize),
    /// Time to count the copies of what clients wrote.
    LookAtData,
    /// Something befalls the cluster.
    Plague(Plague),
    /// A cut ends.
    Mend(CutId),
    /// A cut ends for one link.
    MendLink(CutId, (usize, usize)),
    /// A stopped process goes on.
    Resume(usize, u32),
    /// A process ends, if it is the one that is up.
    Crash(usize, Option<u32>),
    /// A link goes away, so many times more.
    Flap(usize, usize, u32),
    /// The faults are over.
    Heal,
    /// Time to see whether the cluster has settled.
    Judge,
    /// Time is up for whoever runs the cluster by a script.
    Bell,
}

impl From<NetworkEvent> for Event {
    fn from(event: NetworkEvent) -> Self {
        Self::Network(event)
    }
}

impl Cluster {
    /// The cluster that `plan` draws, before its first start, with its faults scheduled.
    pub fn drawn(plan: Plan, trace: Trace) -> Self {
        let Plan { seed, founders, data, ring, mutant } = plan;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut options = Options::draw(&mut rng, founders);
        options.ring = ring;
        options.data = data.then(|| DataOptions::draw(seed, &mut options));
        let mut cluster = Self::new(options, rng, mutant, trace);
        cluster.schedule_starts();
        cluster.schedule_faults();
        cluster
    }

    /// A cluster with these options, before its first start, for a script.
    pub fn scripted(seed: u64, options: Options, mutant: Mutant, trace: Trace) -> Self {
        let mut cluster = Self::new(options, StdRng::seed_from_u64(seed), mutant, trace);
        cluster.schedule_starts();
        cluster
    }

    /// A cluster of which nothing is scheduled.
    pub fn new(options: Options, mut rng: StdRng, mutant: Mutant, trace: Trace) -> Self {
        let count = options.founders + options.others;
        let label = |i: usize| -> Label { format!("n{}", i + 1).parse().expect("a label") };
        let labels: Vec<Label> = (0..count).map(label).collect();
        let hosts: Vec<Host> = (0..count)
            .map(|i| {
                let witness = (options.founders - options.witnesses..options.founders).contains(&i);
                Host {
                    name: i,
                    address: format!("h{}:7750", i + 1).parse().expect("an address"),
                    vnodes: if witness { 0 } else { 8 },
                    priority: 0,
                    disk: Disk::default(),
                    process: None,
                    skew_ms: u64::try_from(rng.random_range(Duration::ZERO..=options.skew * 2).as_millis())
                        .unwrap_or(0),
                    wanted: i < options.founders,
                    memory_bytes: super::data::MEMORY_BYTES,
                    last_instance: None,
                }
            })
            .collect();
        let setting = Setting {
            founders: labels[..options.founders].to_vec(),
            timing: options.timing,
            longest_delay: *options.network.delay.end() + options.network.tail_most,
            longest_write: *options.disk.write.end() * if options.disk.slow > 0.0 { 400 } else { 4 },
            hosts: count,
        };
        let network = Network::new(options.network.clone(), count, StdRng::seed_from_u64(rng.random()));
        Self {
            mutant,
            numbers: labels.iter().cloned().zip(0..).collect(),
            labels,
            hosts,
            actors: Vec::new(),
            network,
            queue: EventQueue::new(),
            rng,
            invariants: Invariants::new(&setting),
            summary: Summary { runs: 1, ..Summary::default() },
            trace,
            healed: None,
            commands: 0,
            answers: BTreeMap::new(),
            installs: Vec::new(),
            reaching: BTreeMap::new(),
            stopped: Vec::new(),
            election_messages: 0,
            recovered: false,
            copied: false,
            wipes: 0,
            bereaved: false,
            data: None,
            settled_since: None,
            options,
        }
    }

    fn schedule_starts(&mut self) {
        for host in 0..self.options.founders {
            let delay = self.rng.random_range(Duration::ZERO..=self.options.started_within);
            self.queue.after(delay, Event::Start(host));
        }
        if let Some(options) = self.options.data.clone() {
            (0..options.sessions).for_each(|session| self.queue.after(*options.think.end(), Event::Session(session)));
            self.queue.after(Duration::ZERO, Event::LookAtData);
            self.data = Some(Box::new(DataWorld::new(options, self.rng.random())));
        }
    }

    fn schedule_faults(&mut self) {
        let until = self.options.faults_until;
        let churn = self.options.data.iter().flat_map(|data| data.churn.clone());
        let all: Vec<_> = self.options.plagues.iter().copied().chain(churn).collect();
        for (plague, times) in all {
            for _ in 0..times {
                self.queue.after(self.rng.random_range(Duration::ZERO..until), Event::Plague(plague));
            }
        }
        self.queue.after(until, Event::Heal);
    }

    /// Runs until the cluster has settled after the last fault.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        loop {
            let event = self.queue.pop().expect("a judgement is scheduled");
            if !matches!(event, Event::Judge) {
                self.step(event)?;
                continue;
            }
            let since = self.healed.and_then(|healed| self.now().checked_duration_since(healed)).unwrap_or_default();
            match self.settled() {
                Ok(()) if !self.has_data_settled()? => {
                    self.queue.after(LOOKED_EACH, Event::Judge);
                    continue;
                }
                Ok(()) => {
                    self.summary.slowest_settling = self.summary.slowest_settling.max(since);
                    if !std::mem::replace(&mut self.bereaved, true) && self.options.stays_down > 0.0 {
                        self.end_some()?;
                        self.healed = Some(self.now());
                        self.settled_since = None;
                        self.queue.after(LOOKED_EACH, Event::Judge);
                        continue;
                    }
                }
                // Disks that are gone may have taken the majority with them, or there is no way to it any more. Nothing else
                // may.
                Err(Unsettled::Frozen) if self.wipes > 0 || self.copied || self.recovered || self.is_scattered() => {
                    self.summary.frozen = 1;
                }
                Err(Unsettled::Frozen) => return Err(Violation::new("settled", Unsettled::Frozen.to_string())),
                Err(Unsettled::NotYet(what)) if since > SETTLED_WITHIN => {
                    return Err(Violation::new("settled", format!("{what}, {since:?} after the last fault")));
                }
                Err(Unsettled::NotYet(_)) => {
                    self.settled_since = None;
                    self.queue.after(LOOKED_EACH, Event::Judge);
                    continue;
                }
            }
            return Ok(self.summary());
        }
    }

    fn has_data_settled(&mut self) -> Result<bool, Violation> {
        let now = self.now();
        let since = *self.settled_since.get_or_insert(now);
        self.data_settled(since)
    }

    /// What the run came to so far.
    pub fn summary(&mut self) -> Summary {
        for host in 0..self.hosts.len() {
            self.count_rows(host);
        }
        let ledger = self.invariants.ledger();
        Summary {
            simulated: Duration::from_micros(self.now().as_micros()),
            views: ledger.decided(),
            adopted: ledger.adopted(),
            elections: self.summary.rows.get(Row::CandidatePrepares.text()).copied().unwrap_or_default(),
            checks: self.invariants.checks + self.data.as_ref().map_or(0, |data| data.checks.checks),
            writes: self.data.as_ref().map(|data| data.checks.totals()).unwrap_or_default(),
            ..self.summary.clone()
        }
    }

    /// Counts the rows of the state table that the process of `host` has taken, once.
    pub(super) fn count_rows(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if std::mem::replace(&mut process.counted, true) {
            return;
        }
        let rows = process.machine.rows();
        for row in Row::ALL {
            *self.summary.rows.entry(row.text()).or_default() += rows.taken(*row);
        }
    }

    /// Whether nothing is left to be done.
    ///
    /// # Errors
    /// What is.
    pub fn settled(&self) -> Result<(), Unsettled> {
        let in_reach = self.in_reach();
        let living: Vec<_> = self
            .hosts
            .iter()
            .filter_map(|host| host.process.as_ref())
            .filter(|process| in_reach.contains(&process.actor.host))
            .map(|process| Settlement {
                actor: &process.actor,
                view: process.machine.view(),
                role: process.machine.role(),
                standing: process.machine.standing(),
                waiting: process.machine.waiting_change(),
            })
            .collect();
        // Who is on its way up may be the one that is missing for a majority.
        if let Some(host) = self.hosts.iter().find(|host| host.wanted && host.process.is_none()) {
            return Err(Unsettled::NotYet(format!("{} is not up", self.labels[host.name])));
        }
        settlement(self.invariants.ledger(), &living)
    }

    /// The hosts of those that find the way to who has the latest view, by themselves or by each other. The others need other
    /// seeds, of an operator: those that they have are all gone, and nobody whose address they know, nor anybody who knows
    /// theirs, is there any more. That is so for one who has never known a member, and when all that are left have moved at
    /// once.
    pub(super) fn in_reach(&self) -> BTreeSet<usize> {
        let living = |host: &usize| self.hosts[*host].process.as_ref();
        let is_seed = |host: usize| host < self.options.founders.min(SEEDS);
        let dials = |from: usize, to: usize| {
            living(&from).is_some_and(|process| {
                is_seed(to) || process.targets.contains(&to) || process.is_connected(self.hosts[to].name)
            })
        };
        let epoch = |host: &usize| living(host)?.machine.view().map(|view| view.epoch());
        let all = || (0..self.hosts.len()).filter(|host| living(host).is_some());
        let first = all().filter(|host| epoch(host).is_some() || is_seed(*host)).max_by_key(epoch);
        let (mut found, mut ahead) = (BTreeSet::from_iter(first), Vec::from_iter(first));
        while let Some(one) = ahead.pop() {
            let next = all().filter(|other| dials(one, *other) || dials(*other, one));
            ahead.extend(next.filter(|other| found.insert(*other)));
        }
        found
    }

    /// Whether some cannot find the way to others.
    fn is_scattered(&self) -> bool {
        self.in_reach().len() < self.hosts.iter().filter(|host| host.process.is_some()).count()
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.queue.now()
    }

    /// What was proposed, accepted and decided.
    pub fn ledger(&self) -> &Ledger {
        self.invariants.ledger()
    }

    /// What happened, if it was noted, and its digest.
    pub fn into_trace(self) -> (Vec<String>, u64) {
        let digest = self.trace.value();
        (self.trace.into_lines(), digest)
    }

    /// The host of the coordinator: whose machine says so and has the latest view of those who do.
    pub fn coordinator(&self) -> Option<usize> {
        let presiding = self.hosts.iter().enumerate().filter_map(|(host, at)| {
            let machine = &at.process.as_ref()?.machine;
            (machine.role() == ElectionRole::Coordinator).then(|| (machine.meta().epoch(), host))
        });
        presiding.max().map(|(_, host)| host)
    }

    pub(super) fn step(&mut self, event: Event) -> Result<(), Violation> {
        if let Some(event) = self.put_off(event) {
            return self.happen(event);
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Network(event) => self.on_network(event),
            Event::Start(host) if self.healed.is_some() && !self.hosts[host].wanted => Ok(()),
            Event::Start(host) => self.start(host),
            Event::Written(host, serial) => self.on_written(host, serial),
            Event::Wake(host, serial) => self.on_wake(host, serial),
            Event::Dial(host, serial) => self.on_dial(host, serial),
            Event::Founders(host, serial) => {
                let founders = self.labels[..self.options.founders].to_vec();
                self.with(host, serial, |machine, now| machine.handle_founders(now, founders))
            }
            Event::Synced(host, serial, fence, left) => self.on_synced(host, serial, fence, left),
            Event::WakeData(host, serial) => self.wake_data(host, serial),
            Event::Session(session) => self.on_session(session),
            Event::LookAtData => self.look_at_data(),
            Event::Plague(plague) if self.healed.is_none() => self.befall(plague),
            Event::Plague(_) | Event::Bell | Event::Judge => Ok(()),
            Event::Mend(cut) => {
                self.network.mend(cut);
                Ok(())
            }
            Event::MendLink(cut, link) => {
                self.network.mend_link(cut, link);
                Ok(())
            }
            Event::Resume(host, serial) => self.resume(host, Some(serial)),
            Event::Crash(_, None) if self.healed.is_some() => Ok(()),
            Event::Crash(host, serial) => {
                if serial.is_some_and(|serial| self.serial(host) != Some(serial)) {
                    return Ok(());
                }
                self.crash(host)
            }
            Event::Flap(a, b, times) => self.flap(a, b, times),
            Event::Heal => self.heal(),
        }
    }

    /// The process that is up on `host`.
    pub(super) fn serial(&self, host: usize) -> Option<u32> {
        self.hosts[host].process.as_ref().map(|process| process.actor.serial)
    }

    /// The process `serial`, if it is up on `host`.
    pub(super) fn process(&mut self, host: usize, serial: u32) -> Option<&mut Process> {
        self.hosts[host].process.as_mut().filter(|process| process.actor.serial == serial)
    }

    /// Lets a machine handle something, if its process is up, and carries out what it wants.
    pub(super) fn with(
        &mut self,
        host: usize,
        serial: u32,
        handle: impl FnOnce(&mut Machine, Timestamp),
    ) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        let local = process.local(now);
        handle(&mut process.machine, local);
        self.summary.steps += 1;
        self.carry_out(host, serial)
    }

    /// How a process on `host` presents itself.
    pub(super) fn applicant(&self, host: usize, actor: &Actor) -> Applicant {
        let at = &self.hosts[host];
        Applicant {
            name: actor.name.clone(),
            instance: actor.instance,
            boot: actor.boot,
            address: at.address.clone(),
            zone: None,
            vnodes: at.vnodes,
            priority: at.priority,
            versions: quoit_proto_types::message::session::VERSIONS,
        }
    }

    /// What founders agree on.
    pub(super) fn view_config(&self) -> ViewConfig {
        let out_after_s = u32::try_from(self.options.out_after.as_secs()).unwrap_or(u32::MAX);
        let Options { timing, ring, .. } = self.options;
        let config = ViewConfig { timing, out_after_s, ring_algorithm: ring, ..ViewConfig::default() };
        match &self.options.data {
            Some(data) => ViewConfig { slots: data.slots, replication: data.copies, ..config },
            None => config,
        }
    }

    pub(super) fn check(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        if self.copied {
            return Ok(());
        }
        self.invariants.observe(self.queue.now(), fact)?;
        match self.invariants.ledger().newly_chosen() {
            Some(hash) => self.decided(hash),
            None => Ok(()),
        }
    }

    pub(super) fn note(&mut self, host: usize, line: impl FnOnce() -> String) {
        let now = self.queue.now();
        match &self.hosts[host].process {
            Some(process) => self.trace.note(now, &process.actor, line),
            None => self.trace.note(now, &self.labels[self.hosts[host].name], line),
        }
    }
}
