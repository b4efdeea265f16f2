//! Lets faults loose on the cluster, and ends them.

use std::{collections::BTreeSet, time::Duration};

use quoit_core::cluster::CommandId;
use quoit_proto_types::{
    Instance, Label, Member, Ordinal, View,
    message::membership::Command,
    view::{Intent, Liveness},
};
use rand::{RngExt, seq::SliceRandom};

use super::{Cluster, Event, Plague};
use crate::invariants::{Fact, Violation};

/// Commands are given by this administrator.
const ADMINISTRATOR: &str = "ops";

impl Cluster {
    pub(super) fn befall(&mut self, plague: Plague) -> Result<(), Violation> {
        self.summary.fault(plague.name());
        let host = self.rng.random_range(0..self.hosts.len());
        let coordinator = self.coordinator().unwrap_or(host);
        match plague {
            Plague::Crash => self.crash(host),
            Plague::CoordinatorCrash => self.crash(coordinator),
            Plague::PowerLoss => (0..self.hosts.len()).try_for_each(|host| self.crash(host)),
            Plague::RestartStorm => {
                self.storm();
                Ok(())
            }
            Plague::GracefulRestart => self.restart(host),
            Plague::Pause | Plague::LongPause | Plague::CoordinatorPause | Plague::PauseOfAll => {
                self.stop_some(plague, host, coordinator);
                Ok(())
            }
            Plague::Partition
            | Plague::OneWay
            | Plague::BadLink
            | Plague::BadDirection
            | Plague::Chain
            | Plague::Hub
            | Plague::Flapping
            | Plague::Swizzle
            | Plague::CoordinatorIsolated
            | Plague::CoordinatorDeaf => self.cut(plague, host, coordinator),
            Plague::ClockJump => {
                let by = self.millis(&[100, 2_000, 60_000, 3_600_000]);
                // Either nobody can tell, or it cannot be overlooked.
                let by = if by > Duration::from_millis(100) { by.max(super::SLEEP) } else { by };
                let now = self.now();
                if let Some(process) = &mut self.hosts[host].process {
                    process.clock.jump(now, by);
                    let actor = process.actor.clone();
                    self.data.iter_mut().for_each(|world| world.checks.jumped());
                    self.note(host, || format!("has its clock jump {by:?} ahead"));
                    // Its deadlines are past, and it may have been deaf for all it knows.
                    if by >= super::SLEEP {
                        self.check(&Fact::Woke(&actor))?;
                    }
                    return self.with(host, actor.serial, quoit_core::cluster::Cluster::handle_timeout);
                }
                Ok(())
            }
            Plague::Wipe => self.wipe(host),
            Plague::Move => {
                let number = self.rng.random_range(1_000..100_000);
                self.hosts[host].address = format!("h{number}:7750").parse().expect("an address");
                self.crash(host)
            }
            Plague::Join => {
                if let Some(spare) = (self.options.founders..self.hosts.len()).find(|host| !self.hosts[*host].wanted) {
                    self.queue.after(Duration::ZERO, Event::Start(spare));
                }
                Ok(())
            }
            Plague::Return => {
                let gone = self.hosts.iter().position(|host| !host.wanted && host.last_instance.is_some());
                if let Some(gone) = gone {
                    self.queue.after(Duration::ZERO, Event::Start(gone));
                }
                Ok(())
            }
            Plague::Drain | Plague::ForceOut | Plague::Transfer | Plague::Copies | Plague::Weight => {
                self.order(plague, host)
            }
        }
    }

    /// One of so many milliseconds at most.
    fn millis(&mut self, most: &[u64]) -> Duration {
        let most = most[self.rng.random_range(0..most.len())];
        Duration::from_millis(self.rng.random_range(1..=most))
    }

    fn storm(&mut self) {
        let pause = self.millis(&[50, 500, 3_000]);
        let mut at = Duration::ZERO;
        for _ in 0..self.rng.random_range(1..=3) {
            for host in 0..self.hosts.len() {
                self.queue.after(at, Event::Crash(host, None));
                at += pause;
            }
        }
    }

    /// Asks the process of `host` to stop, and lets another one start.
    pub(super) fn restart(&mut self, host: usize) -> Result<(), Violation> {
        let Some(serial) = self.serial(host) else { return Ok(()) };
        if self.hosts[host].process.as_ref().is_some_and(|process| !process.is_awake()) {
            return self.crash(host);
        }
        self.note(host, || "is asked to stop".to_owned());
        self.with(host, serial, quoit_core::cluster::Cluster::handle_stopping)?;
        self.leave(host);
        // The driver gives what it has said some time to leave.
        self.queue.after(Duration::from_millis(50), Event::Crash(host, Some(serial)));
        Ok(())
    }

    fn stop_some(&mut self, plague: Plague, host: usize, coordinator: usize) {
        if plague == Plague::PauseOfAll {
            let duration = self.millis(&[1_000, 10_000, 60_000]);
            (0..self.hosts.len()).for_each(|host| self.pause(host, duration));
        } else if plague == Plague::CoordinatorPause {
            let duration = self.millis(&[300, 2_000, 20_000]);
            self.pause(coordinator, duration);
        } else {
            let most: &[u64] = if plague == Plague::LongPause { &[10_000, 120_000] } else { &[50, 500, 3_000] };
            let duration = self.millis(most);
            self.pause(host, duration);
        }
    }

    fn cut(&mut self, plague: Plague, host: usize, coordinator: usize) -> Result<(), Violation> {
        let count = self.hosts.len();
        let other = (host + 1 + self.rng.random_range(0..count.max(2) - 1)) % count;
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut self.rng);
        let split = self.rng.random_range(1..count.max(2));
        let side = |host: usize| order.iter().position(|at| *at == host).is_some_and(|at| at < split);
        let apart = |a: usize, b: usize| {
            let at = |host: usize| order.iter().position(|at| *at == host).unwrap_or(0);
            at(a).abs_diff(at(b)) > 1
        };
        let hub = order[0];
        if plague == Plague::Flapping {
            let times = self.rng.random_range(3..20);
            return self.flap(host, other, times);
        }
        if plague == Plague::Swizzle {
            self.swizzle();
            return Ok(());
        }
        let is_cut = |a: usize, b: usize| match plague {
            Plague::Partition => side(a) != side(b),
            Plague::OneWay => side(a) && !side(b),
            Plague::BadLink => (a, b) == (host, other) || (b, a) == (host, other),
            Plague::BadDirection => (a, b) == (host, other),
            Plague::Chain => apart(a, b),
            Plague::Hub => a != hub && b != hub,
            Plague::CoordinatorIsolated => (a == coordinator) != (b == coordinator),
            Plague::CoordinatorDeaf => b == coordinator,
            Plague::Crash
            | Plague::CoordinatorCrash
            | Plague::PowerLoss
            | Plague::RestartStorm
            | Plague::GracefulRestart
            | Plague::Pause
            | Plague::LongPause
            | Plague::CoordinatorPause
            | Plague::PauseOfAll
            | Plague::Flapping
            | Plague::Swizzle
            | Plague::ClockJump
            | Plague::Wipe
            | Plague::Move
            | Plague::Join
            | Plague::Drain
            | Plague::ForceOut
            | Plague::Transfer
            | Plague::Copies
            | Plague::Weight
            | Plague::Return => false,
        };
        let all = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        let links: Vec<(usize, usize)> = all.filter(|(a, b)| is_cut(*a, *b)).collect();
        let (from, to) = (self.now(), self.millis(&[500, 4_000, 15_000, 40_000]));
        self.trace.note(from, &"network", || format!("cuts {links:?} for {to:?}"));
        let cut = self.network.cut(links);
        self.queue.after(to, Event::Mend(cut));
        Ok(())
    }

    /// One link comes and goes.
    pub(super) fn flap(&mut self, a: usize, b: usize, times: u32) -> Result<(), Violation> {
        if times > 0 && self.healed.is_none() {
            let away = self.millis(&[300, 2_500]);
            let back = self.millis(&[300, 2_500]);
            let cut = self.network.cut([(a, b), (b, a)]);
            self.queue.after(away, Event::Mend(cut));
            self.queue.after(away + back, Event::Flap(a, b, times - 1));
        }
        Ok(())
    }

    /// Hosts lose all links one by one, and get them back in another order.
    fn swizzle(&mut self) {
        let count = self.hosts.len();
        let mut hosts: Vec<usize> = (0..count).collect();
        hosts.shuffle(&mut self.rng);
        hosts.truncate(self.rng.random_range(1..=count));
        let links: Vec<_> = hosts.iter().flat_map(|a| (0..count).flat_map(move |b| [(*a, b), (b, *a)])).collect();
        let cut = self.network.cut(links.clone());
        // All stop at once here; what matters is that they come back apart.
        let mut order = links;
        order.sort_unstable();
        order.dedup();
        order.shuffle(&mut self.rng);
        let mut at = self.millis(&[500, 5_000]);
        for link in order {
            self.queue.after(at, Event::MendLink(cut, link));
            at += self.millis(&[50, 500]);
        }
        self.queue.after(at, Event::Mend(cut));
    }

    /// The disk of `host` is lost, unless too few voters would be left for ever.
    fn wipe(&mut self, host: usize) -> Result<(), Violation> {
        let Some(instance) = self.hosts[host].disk.load().map(|meta| meta.instance) else { return Ok(()) };
        let intact = |instance: Instance| {
            self.hosts.iter().any(|host| host.disk.load().is_some_and(|meta| meta.instance == instance))
        };
        if self.options.founders == 1 && self.hosts[host].name == 0 {
            // A lone founder without a disk forms another cluster if nobody reaches it in time. Scripts lose its disk.
            return Ok(());
        }
        let spared = match self.ledger().latest() {
            None => self.hosts[..self.options.founders].iter().any(|host| host.disk.load().is_none()),
            Some(view) => {
                let voters = view.fields().voters.iter().filter_map(|voter| view.member(*voter));
                let mut others = voters.filter(|voter| voter.instance != instance);
                others.any(|voter| !intact(voter.instance))
            }
        };
        let voters = self.ledger().latest().map_or(self.options.founders, |view| view.fields().voters.len());
        if spared || voters < 3 {
            return Ok(());
        }
        let wanted = self.hosts[host].wanted;
        self.end(host)?;
        self.hosts[host].disk.wipe();
        self.wipes += 1;
        self.summary.fault("disk lost");
        self.note(host, || "has lost its disk".to_owned());
        if wanted {
            let down = self.rng.random_range(self.options.down.clone());
            self.queue.after(down, Event::Start(host));
        }
        self.check(&Fact::Wiped(instance))
    }

    /// Lets an administrator ask a random node for something.
    fn order(&mut self, plague: Plague, at: usize) -> Result<(), Violation> {
        let whom = self.labels[self.hosts[self.rng.random_range(0..self.hosts.len())].name].clone();
        let command = if plague == Plague::Drain {
            Command::Drain { name: whom }
        } else if plague == Plague::ForceOut {
            Command::ForceOut { name: whom }
        } else if plague == Plague::Copies {
            Command::SetCopies { copies: self.rng.random_range(1..=4) }
        } else if plague == Plague::Weight {
            Command::SetWeight { name: whom, vnodes: [0, 2, 8, 16][self.rng.random_range(0..4)] }
        } else {
            Command::Transfer { to: self.rng.random_bool(0.5).then_some(whom) }
        };
        self.command(at, command).map(drop)
    }

    /// Gives a command to the process of `host`. It will be answered under this id, if the process is up.
    pub(super) fn command(&mut self, host: usize, command: Command) -> Result<CommandId, Violation> {
        self.commands += 1;
        let id = CommandId(self.commands);
        let Some(process) = self.hosts[host].process.as_ref().filter(|process| process.is_awake()) else {
            return Ok(id);
        };
        let serial = process.actor.serial;
        self.note(host, || format!("is told {id:?}: {command:?}"));
        let by: Label = ADMINISTRATOR.parse().expect("a label");
        self.with(host, serial, |machine, now| machine.handle_command(now, id, by, command))?;
        Ok(id)
    }

    /// Ends all faults. Who is down starts again, but for some, as far as a majority of the voters is up.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        let now = self.now();
        self.trace.note(now, &"faults", || "end".to_owned());
        self.healed = Some(now);
        self.options.heal();
        let breaks = self.options.network.breaks;
        self.network.options = super::NetworkOptions { breaks, ..super::NetworkOptions::good() };
        self.network.mend_all();
        for host in 0..self.hosts.len() {
            self.resume(host, None)?;
        }
        let stay = self.who_stays_down();
        for host in 0..self.hosts.len() {
            if self.hosts[host].wanted && !stay.contains(&host) {
                self.queue.after(Duration::ZERO, Event::Start(host));
            }
        }
        for host in stay {
            self.end(host)?;
            self.hosts[host].wanted = false;
            self.note(host, || "stays down".to_owned());
        }
        self.queue.after(Duration::from_secs(2), Event::Judge);
        if self.options.superior_dies
            && let Some(coordinator) = self.coordinator()
        {
            self.die_if_dispensable(coordinator)?;
        }
        Ok(())
    }

    /// Ends the process of `host` for good, if a majority of the voters is up without it. Returns whether it did.
    pub(super) fn die_if_dispensable(&mut self, host: usize) -> Result<bool, Violation> {
        let Some(view) = self.ledger().latest().cloned() else { return Ok(false) };
        let known = |at: &super::Host| at.process.as_ref().and_then(|p| p.machine.view()) == Some(&view);
        let all_know = self.hosts.iter().filter(|at| at.process.is_some()).all(known);
        let mut gone: BTreeSet<usize> = (0..self.hosts.len()).filter(|at| self.hosts[*at].process.is_none()).collect();
        gone.insert(host);
        if !all_know || !self.can_do_without(&gone, self.votes_in_motion(&view)) {
            return Ok(false);
        }
        self.stay_down(host)?;
        Ok(true)
    }

    /// Hosts that end for good when the faults do, whatever is going on then.
    fn who_stays_down(&mut self) -> Vec<usize> {
        let Some(view) = self.ledger().latest().cloned() else { return Vec::new() };
        // What was decided last may be known to few: whoever votes on it must be there to tell.
        if self.ledger().base_of(&view).is_some_and(|base| base.fields().voters != view.fields().voters) {
            return Vec::new();
        }
        let stay = self.some_to_go(self.votes_in_motion(&view));
        // Founders that have not heard of the first view need somebody who has it, or all of each other.
        let knows = |host: &usize| self.hosts[*host].disk.load().is_some_and(|meta| meta.view.is_some());
        if !(0..self.hosts.len()).any(|host| !stay.contains(&host) && knows(&host)) {
            return Vec::new();
        }
        stay.into_iter().collect()
    }

    /// Ends as many processes of a settled cluster as it must survive: all but a bare majority of the voters, at most.
    pub(super) fn end_some(&mut self) -> Result<(), Violation> {
        for host in self.some_to_go(0) {
            if self.hosts[host].process.is_some() {
                self.summary.fault("dies when all is settled");
                self.stay_down(host)?;
            }
        }
        Ok(())
    }

    fn stay_down(&mut self, host: usize) -> Result<(), Violation> {
        self.note(host, || "dies for good".to_owned());
        self.hosts[host].wanted = false;
        self.end(host)
    }

    /// Hosts at random that may go at once, beside those that are gone.
    fn some_to_go(&mut self, spare: usize) -> BTreeSet<usize> {
        let mut hosts: Vec<usize> = (0..self.hosts.len()).collect();
        hosts.shuffle(&mut self.rng);
        let mut gone: BTreeSet<usize> = hosts.iter().copied().filter(|host| !self.hosts[*host].wanted).collect();
        let there = gone.clone();
        for host in hosts {
            if self.options.stays_down > 0.0 && self.rng.random_bool(self.options.stays_down) && gone.insert(host) {
                // A disk that holds more than what is known to be decided may be the only one that does.
                if !self.can_do_without(&gone, spare) {
                    gone.remove(&host);
                }
            }
        }
        gone.difference(&there).copied().collect()
    }

    /// How many voters more than a majority must be left while a vote may be given or taken: the coordinator that does so
    /// may not have noticed yet who is gone, and nobody can be sure that it has.
    fn votes_in_motion(&self, view: &View) -> usize {
        // One that is down may be about to be given up.
        let moves = |member: &Member| {
            member.live == Liveness::Down || (member.intent == Intent::Stay) != view.is_voter(member.ordinal)
        };
        usize::from(self.commands > 0 || view.members().iter().any(moves))
    }

    /// Whether all but those who are `gone` have a majority of the voters, and `spare` more, in the last view and in each that
    /// may have been decided after it.
    fn can_do_without(&self, gone: &BTreeSet<usize>, spare: usize) -> bool {
        let Some(latest) = self.ledger().latest() else { return false };
        let disks = || self.hosts.iter().enumerate().filter_map(|(host, at)| Some((host, at.disk.load()?)));
        let accepted = disks().filter_map(|(_, meta)| meta.acceptor.accepted()).map(|(_, view)| view);
        let next = accepted.filter(|view| view.fields().previous == latest.hash());
        std::iter::once(&**latest).chain(next).all(|view| {
            let instance = |voter: &Ordinal| view.member(*voter).map(|member| member.instance);
            let up = view
                .fields()
                .voters
                .iter()
                .filter_map(instance)
                .filter(|instance| disks().any(|(host, meta)| meta.instance == *instance && !gone.contains(&host)));
            up.count() >= view.quorum() + spare
        })
    }
}
