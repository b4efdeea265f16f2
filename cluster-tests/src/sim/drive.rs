//! What the driver of one process does: starts, disks, deadlines, outputs.

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc, time::Duration};

use quoit_core::{
    cluster::{Cluster as Machine, ClusterConfig, Finding, Output, Reached, StopReason},
    genesis,
    meta::Meta,
};
use quoit_proto_types::{Fence, Instance, Nonce, View, message::membership::Applicant, view::Address};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Actor, Clock, Cluster, DataSide, Disk, DiskBug, Event, NetworkEvent, Process};
use crate::invariants::{Fact, Violation};

/// A driver learns from its seeds within this time who the founders are.
const FOUNDERS_WITHIN: Duration = Duration::from_millis(200);
/// Datagrams that wait for a stopped process. More are dropped, as by a full socket.
const WAITING_DATAGRAMS: usize = 256;
/// A process that was stopped for longer has been late with all it had to do.
pub(super) const SLEEP: Duration = Duration::from_secs(1);

impl Cluster {
    /// Starts a process on `host`, if none is up.
    pub(super) fn start(&mut self, host: usize) -> Result<(), Violation> {
        if self.hosts[host].process.is_some() {
            return Ok(());
        }
        let meta = self.next_meta(host);
        let actor = Actor {
            serial: u32::try_from(self.actors.len()).expect("few processes"),
            host,
            name: self.labels[self.hosts[host].name].clone(),
            instance: meta.instance,
            boot: meta.boot,
            nonce: Nonce::new(self.rng.random()),
        };
        self.actors.push(actor.clone());
        self.hosts[host].wanted = true;
        self.hosts[host].last_instance = Some(meta.instance);
        self.hosts[host].disk.put(meta.clone());
        let now = self.now();
        let rate = 1_000_000 + self.rng.random_range(0..=2 * self.options.drift) - self.options.drift;
        // Some day in 2026, an hour early.
        let started_at_ms = 1_790_000_000_000 + now.as_micros() / 1000 + self.hosts[host].skew_ms;
        let config = ClusterConfig {
            cluster: "sim".parse().expect("a label"),
            me: self.applicant(host, &actor),
            view: self.view_config(),
            started_at_ms,
            planted: self.mutant.planted(),
        };
        let clock = Clock::new(now, rate);
        let seed = StdRng::seed_from_u64(self.rng.random());
        let machine = Machine::new(config, meta.clone(), seed, clock.read(now));
        let memory = self.hosts[host].memory_bytes;
        let data = self.options.data.as_ref().map(|options| {
            Box::new(DataSide::new(self.rng.random(), options.upkeep, memory, started_at_ms, self.mutant.data()))
        });
        let serial = actor.serial;
        self.trace.note(now, &actor, || format!("starts as {:?} boot {}", actor.instance, actor.boot));
        self.check(&Fact::Started(&actor))?;
        self.hosts[host].process = Some(Process {
            actor,
            machine,
            clock,
            armed: None,
            paused: None,
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            dialling: false,
            targets: Vec::new(),
            installed: None,
            counted: false,
            durable: meta,
            data,
        });
        self.queue.after(self.rng.random_range(Duration::ZERO..=FOUNDERS_WITHIN), Event::Founders(host, serial));
        self.look_whom_to_dial(host, Duration::ZERO);
        self.carry_out(host, serial)
    }

    /// The durable state with which the next process on `host` starts.
    fn next_meta(&mut self, host: usize) -> Meta {
        let bug = self.mutant.disk();
        match self.hosts[host].disk.load() {
            Some(meta) if bug == Some(DiskBug::BootNotRaised) => meta.clone(),
            Some(meta) => meta.clone().next_boot(),
            None => {
                self.wipes += u32::from(self.hosts[host].last_instance.is_some());
                let guessed = self.hosts[host].last_instance.filter(|_| bug == Some(DiskBug::InstanceGuessed));
                let random = Instance::from_random(self.rng.random());
                let mut meta = Meta::new(guessed.unwrap_or(random));
                if guessed.is_some() {
                    // As a driver would that remembers the boot and nothing else.
                    let starts = self.actors.iter().filter(|actor| Some(actor.instance) == guessed).count();
                    (0..starts).for_each(|_| meta = meta.clone().next_boot());
                }
                meta
            }
        }
    }

    /// Ends the process of `host` without a word; another one starts later.
    pub(super) fn crash(&mut self, host: usize) -> Result<(), Violation> {
        let again = self.hosts[host].process.is_some();
        self.end(host)?;
        if again && self.hosts[host].wanted {
            let down = self.rng.random_range(self.options.down.clone());
            self.queue.after(down, Event::Start(host));
        }
        Ok(())
    }

    /// Ends the process of `host` without a word.
    pub(super) fn end(&mut self, host: usize) -> Result<(), Violation> {
        self.count_rows(host);
        self.note(host, || "ends".to_owned());
        self.lose_data(host)?;
        let Some(process) = self.hosts[host].process.take() else { return Ok(()) };
        let bug = self.mutant.disk();
        self.hosts[host].disk.crash(&self.options.disk, bug, &mut self.rng);
        for id in process.peers.values().flatten() {
            let end = self.network.connection(*id).map(|c| usize::from(c.ends[0].serial != Some(process.actor.serial)));
            if let Some(end) = end {
                self.network.close(*id, end);
            }
        }
        self.check(&Fact::Ended(&process.actor))
    }

    /// The disk of `host` has finished a copy.
    pub(super) fn on_written(&mut self, host: usize, serial: u32) -> Result<(), Violation> {
        if self.process(host, serial).is_none() {
            return Ok(());
        }
        let (durable, more) = self.hosts[host].disk.written();
        if more {
            let takes = Disk::takes(&self.options.disk, &mut self.rng);
            self.queue.after(takes, Event::Written(host, serial));
        }
        let Some((sequence, meta)) = durable else { return Ok(()) };
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        process.durable = meta;
        let actor = process.actor.clone();
        self.note(host, || format!("has {sequence} on disk"));
        self.check(&Fact::Persisted { by: &actor, sequence })?;
        self.with(host, serial, |machine, now| machine.handle_persisted(now, sequence))
    }

    pub(super) fn on_wake(&mut self, host: usize, serial: u32) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        if process.armed.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        self.with(host, serial, Machine::handle_timeout)
    }

    pub(super) fn on_synced(&mut self, host: usize, serial: u32, fence: Fence, left: u32) -> Result<(), Violation> {
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        let actor = process.actor.clone();
        if process.machine.view().is_none_or(|view| view.fence() != fence) {
            return Ok(());
        }
        self.note(host, || format!("lacks {left} of its slots under {fence}"));
        if left == 0 {
            self.check(&Fact::Synced { by: &actor, fence })?;
        }
        self.with(host, serial, |machine, now| machine.handle_synced(now, fence, left))
    }

    /// Carries out what the process wants.
    pub(super) fn carry_out(&mut self, host: usize, serial: u32) -> Result<(), Violation> {
        let mut outputs = 0;
        loop {
            let Some(process) = self.process(host, serial) else { return Ok(()) };
            let Some(output) = process.machine.poll_output() else { break };
            outputs += 1;
            if self.options.crash_at_output > 0.0 && self.rng.random_bool(self.options.crash_at_output) {
                self.summary.fault("crash at an output");
                return self.crash(host);
            }
            self.execute(host, serial, output)?;
        }
        let now = self.now();
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        let deadline = process.machine.poll_timeout().map(|at| process.clock.when(at).max(now));
        let changed = process.armed != deadline;
        process.armed = deadline;
        let (actor, role) = (process.actor.clone(), process.machine.role());
        if let Some(at) = deadline.filter(|_| changed) {
            self.queue.at(at, Event::Wake(host, serial));
        }
        self.check(&Fact::Stepped { by: &actor, role, outputs })
    }

    fn execute(&mut self, host: usize, serial: u32, output: Output) -> Result<(), Violation> {
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        let actor = process.actor.clone();
        match output {
            Output::Send { to, message } => self.send(host, &actor, &to, message),
            Output::Beat { to, heartbeat } => self.beat(host, &actor, &to, &heartbeat),
            Output::Persist(meta) => {
                self.note(host, || {
                    format!("writes {}: {} {:?}", meta.sequence, meta.epoch(), meta.acceptor.promised())
                });
                self.trace.digest(meta.sequence);
                self.check(&Fact::Persisting { by: &actor, meta: &meta })?;
                if self.hosts[host].disk.write(*meta) {
                    let takes = Disk::takes(&self.options.disk, &mut self.rng);
                    self.queue.after(takes, Event::Written(host, serial));
                }
                Ok(())
            }
            Output::Install(view) => self.install(host, &actor, &view),
            Output::Reach(applicant) => {
                self.note(host, || format!("tries to reach {} at {}", applicant.name, applicant.address));
                self.reach(host, serial, applicant);
                Ok(())
            }
            Output::Answer { id, answer } => {
                self.note(host, || format!("answers {id:?}: {answer:?}"));
                self.answers.insert(id, answer);
                Ok(())
            }
            Output::Report(finding) => self.report(host, &actor, &finding),
            Output::Stop(reason) => self.stop(host, &actor, &reason),
        }
    }

    fn install(&mut self, host: usize, actor: &Actor, view: &Arc<View>) -> Result<(), Violation> {
        let hash = view.hash();
        let fields = view.fields();
        self.note(host, || {
            let ring: Vec<_> = fields.ring.iter().map(|owner| (owner.ordinal, owner.boot)).collect();
            let (changes, target) = (&fields.changes, fields.target.is_some());
            format!("installs {} {hash}: {changes:?} ring {ring:?} joint {target} {}", view.epoch(), view.fence())
        });
        self.trace.digest(view.epoch().value());
        self.check(&Fact::Installed { by: actor, view, hash })?;
        if self.installs.last().is_none_or(|(_, last)| last.epoch() < view.epoch()) {
            self.installs.push((self.now(), Arc::clone(view)));
        }
        let owns = |owner: &quoit_proto_types::view::Owner| {
            owner.boot == actor.boot && view.member(owner.ordinal).is_some_and(|m| m.instance == actor.instance)
        };
        let reports = fields.target.as_ref().is_some_and(|target| target.iter().any(owns));
        let hosts = &self.hosts;
        let at = |address: &Address| hosts.iter().position(|host| host.address == *address);
        let is_voter = |ordinal| view.is_voter(ordinal);
        let me = view.member_of_instance(actor.instance).map(|member| member.ordinal);
        let all = self.options.dials_all || me.is_some_and(is_voter);
        let wanted = view.members().iter().filter(|member| all || is_voter(member.ordinal));
        let targets: Vec<usize> = wanted.filter_map(|member| at(&member.address)).filter(|at| *at != host).collect();
        if let Some(process) = &mut self.hosts[host].process {
            process.installed = Some((view.epoch(), hash));
            process.targets = targets;
        }
        if self.options.data.is_some() {
            self.install_data(host, actor, view)?;
        } else if reports {
            // Who gains nothing has nothing to wait for.
            let gains = !fields.ring.iter().any(owns);
            let delay = if gains { self.rng.random_range(self.options.sync.clone()) } else { Duration::ZERO };
            self.queue.after(delay, Event::Synced(host, actor.serial, view.fence(), 0));
        }
        self.look_whom_to_dial(host, Duration::ZERO);
        if self.options.crash_at_install > 0.0 && self.rng.random_bool(self.options.crash_at_install) {
            self.summary.fault("crash at an install");
            return self.crash(host);
        }
        Ok(())
    }

    fn report(&mut self, host: usize, actor: &Actor, finding: &Finding) -> Result<(), Violation> {
        self.note(host, || finding.to_string());
        let fatal = match finding {
            Finding::Genesis(finding) => match finding {
                genesis::Finding::FoundersDiffer { .. }
                | genesis::Finding::ConfigDiffers { .. }
                | genesis::Finding::Unformable { .. } => true,
            },
            Finding::OtherCluster { .. } => !self.recovered,
            Finding::Impostor { .. }
            | Finding::JoinRefused { .. }
            | Finding::Late { .. }
            | Finding::SelfDoubt { .. }
            | Finding::Election(_) => false,
        };
        if fatal && !self.copied {
            return Err(Violation::new("nothing is wrong with the founders", format!("{actor} reports: {finding}")));
        }
        Ok(())
    }

    fn stop(&mut self, host: usize, actor: &Actor, reason: &StopReason) -> Result<(), Violation> {
        self.note(host, || reason.to_string());
        match reason {
            StopReason::Retired { .. } => {
                let view = self.hosts[host].process.as_ref().and_then(|process| process.machine.view().cloned());
                if let Some(view) = view {
                    self.check(&Fact::Retired { by: actor, view: &view })?;
                }
                self.summary.fault("retired");
                self.hosts[host].wanted = false;
            }
            StopReason::Superseded { .. } | StopReason::Duplicate { .. } if self.copied => {
                self.hosts[host].wanted = false;
            }
            StopReason::Superseded { .. } | StopReason::Duplicate { .. } | StopReason::Forked(_) => {
                return Err(Violation::new("nobody is stopped without need", format!("{actor}: {reason}")));
            }
        }
        self.stopped.push((actor.clone(), reason.clone()));
        self.leave(host);
        self.end(host)
    }

    /// Stops the process of `host` for a while.
    pub(super) fn pause(&mut self, host: usize, duration: Duration) {
        let now = self.now();
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.paused.is_some() {
            return;
        }
        process.paused = Some((now, VecDeque::new()));
        let serial = process.actor.serial;
        self.note(host, || format!("sleeps for {duration:?}"));
        self.queue.after(duration, Event::Resume(host, serial));
    }

    /// Lets the process of `host` go on.
    pub(super) fn resume(&mut self, host: usize, serial: Option<u32>) -> Result<(), Violation> {
        let now = self.now();
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if serial.is_some_and(|serial| serial != process.actor.serial) {
            return Ok(());
        }
        let Some((since, mut waiting)) = process.paused.take() else { return Ok(()) };
        let actor = process.actor.clone();
        if now.checked_duration_since(since).unwrap_or_default() >= SLEEP {
            self.check(&Fact::Woke(&actor))?;
        }
        self.note(host, || format!("wakes with {} things to do", waiting.len()));
        // A driver may see its timer or its sockets first.
        if self.rng.random_bool(0.5)
            && let Some(wake) = waiting.iter().position(|event| matches!(event, Event::Wake(..)))
            && let Some(wake) = waiting.remove(wake)
        {
            waiting.push_front(wake);
        }
        for event in waiting {
            self.queue.at(now, event);
        }
        Ok(())
    }

    /// Keeps `event` for later, if it is for a process that is stopped.
    pub(super) fn put_off(&mut self, event: Event) -> Option<Event> {
        let host = match &event {
            Event::Network(event) => self.receiver(event)?,
            Event::Wake(host, _)
            | Event::Dial(host, _)
            | Event::Founders(host, _)
            | Event::Synced(host, ..)
            | Event::WakeData(host, _)
            | Event::Written(host, _) => *host,
            Event::Start(_)
            | Event::Plague(_)
            | Event::Mend(_)
            | Event::MendLink(..)
            | Event::Resume(..)
            | Event::Crash(..)
            | Event::Flap(..)
            | Event::Heal
            | Event::Judge
            | Event::Session(_)
            | Event::LookAtData
            | Event::Bell => return Some(event),
        };
        // The network looks after its own connections, whoever sleeps.
        if matches!(event, Event::Network(NetworkEvent::Check(_))) {
            return Some(event);
        }
        let process = self.hosts[host].process.as_mut();
        let Some((_, waiting)) = process.and_then(|process| process.paused.as_mut()) else { return Some(event) };
        let datagram = matches!(event, Event::Network(NetworkEvent::Datagram(..)));
        if !datagram || waiting.len() < WAITING_DATAGRAMS {
            waiting.push_back(event);
        }
        None
    }

    /// Tells the machine of `serial` on `host` what came of reaching an applicant.
    pub(super) fn reached(
        &mut self,
        host: usize,
        serial: u32,
        applicant: &Applicant,
        reached: Reached,
    ) -> Result<(), Violation> {
        self.note(host, || format!("reached {}: {reached:?}", applicant.name));
        self.with(host, serial, |machine, now| machine.handle_reached(now, applicant, reached))
    }
}
