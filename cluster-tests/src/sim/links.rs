//! What drivers do with connections: dial, let in, send, notice that they are gone.

use std::time::Duration;

use quoit_core::cluster::{Admission, Reached};
use quoit_proto_types::{
    Label,
    message::{election::ElectionMessage, heartbeat::Heartbeat, membership::Applicant, peer::PeerMessage},
};
use rand::RngExt;

use super::{Actor, Cluster, Event, NetworkEvent, process::Dial};
use crate::invariants::{Fact, Violation};

/// A dialler gives up after this time.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
/// Pauses between attempts, from and to.
const REDIAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often a process looks whom to dial, as long as it misses anybody.
const LOOK: Duration = Duration::from_millis(150);
/// How many addresses a node is configured with.
pub(super) const SEEDS: usize = 7;
/// For how long the one with the higher name leaves it to the other one to dial.
const COURTESY: Duration = Duration::from_secs(1);

impl Cluster {
    /// Lets the process of `host` look soon whom to dial.
    pub(super) fn look_whom_to_dial(&mut self, host: usize, delay: Duration) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if !std::mem::replace(&mut process.dialling, true) {
            let serial = process.actor.serial;
            self.queue.after(delay, Event::Dial(host, serial));
        }
    }

    pub(super) fn on_dial(&mut self, host: usize, serial: u32) -> Result<(), Violation> {
        let founders = self.options.founders;
        let (now, prefers) = (self.now(), self.options.prefers_one_connection);
        let own = self.hosts[host].name;
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        process.dialling = false;
        // Seeds first: the addresses that a node was configured with.
        let mut targets: Vec<usize> = (0..founders.min(SEEDS)).collect();
        targets.extend(&process.targets);
        targets.sort_unstable();
        targets.dedup();
        let mut targets: Vec<(usize, usize)> = targets.into_iter().map(|at| (at, self.hosts[at].name)).collect();
        targets.retain(|(_, name)| *name != own);
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        let mut due = Vec::new();
        let mut missing = false;
        for (target, name) in targets {
            if process.is_connected(name) {
                process.dials.remove(&target);
                continue;
            }
            missing = true;
            let courteous = name < own;
            let new = Dial { under_way: None, failures: 0, not_before: now };
            let dial = process.dials.entry(target).or_insert_with(|| Dial {
                not_before: if courteous { now.saturating_add(COURTESY) } else { now },
                ..new
            });
            if dial.under_way.is_none() && dial.not_before <= now {
                due.push(target);
            } else if dial.under_way.is_none() && prefers < 1.0 {
                // Who is impatient dials as well, so that a pair has two connections now and then.
                due.push(target);
            }
        }
        for target in due {
            let courteous = prefers < 1.0 && self.rng.random_bool(prefers);
            let id = {
                let waits = |dial: &Dial| dial.not_before > now;
                let Some(process) = self.process(host, serial) else { return Ok(()) };
                if courteous && process.dials.get(&target).is_some_and(waits) {
                    continue;
                }
                self.network.dial((host, serial), target, false, &mut self.queue)
            };
            self.queue.after(DIAL_WITHIN, NetworkEvent::DialFailed(id, host).into());
            if let Some(dial) = self.process(host, serial).and_then(|process| process.dials.get_mut(&target)) {
                dial.under_way = Some(id);
            }
        }
        if missing {
            let jitter = self.rng.random_range(Duration::ZERO..LOOK);
            self.look_whom_to_dial(host, LOOK + jitter);
        }
        Ok(())
    }

    /// Dials an applicant, to see whether it is where it says.
    pub(super) fn reach(&mut self, host: usize, serial: u32, applicant: Applicant) {
        let target = self.hosts.iter().position(|host| host.address == applicant.address);
        let Some(target) = target.filter(|target| *target != host) else {
            let id = self.network.fresh_id();
            self.reaching.insert(id, (host, serial, applicant));
            self.queue.after(Duration::from_millis(1), NetworkEvent::DialFailed(id, host).into());
            return;
        };
        let id = self.network.dial((host, serial), target, true, &mut self.queue);
        self.reaching.insert(id, (host, serial, applicant));
        self.queue.after(DIAL_WITHIN, NetworkEvent::DialFailed(id, host).into());
    }

    /// The host whose process an event of the network is for.
    pub(super) fn receiver(&self, event: &NetworkEvent) -> Option<usize> {
        let (id, end) = match event {
            NetworkEvent::Hello(id) => (id, 1),
            NetworkEvent::HelloAck(id) | NetworkEvent::Check(id) => (id, 0),
            NetworkEvent::DialFailed(_, host) => return Some(*host),
            NetworkEvent::Refused(id, end, _)
            | NetworkEvent::Data(id, end, _)
            | NetworkEvent::DataAgain(id, end, ..)
            | NetworkEvent::Message(id, end, _)
            | NetworkEvent::Datagram(id, end, _)
            | NetworkEvent::Retransmit(id, end)
            | NetworkEvent::Closed(id, end) => (id, *end),
        };
        self.network.connection(*id).map(|connection| connection.ends[end].host)
    }

    pub(super) fn on_network(&mut self, event: NetworkEvent) -> Result<(), Violation> {
        match event {
            NetworkEvent::Hello(id) => self.on_hello(id),
            NetworkEvent::HelloAck(id) => self.on_hello_ack(id),
            NetworkEvent::DialFailed(id, host) => self.on_dial_failed(id, host),
            NetworkEvent::Refused(id, end, admission) => self.on_refused(id, end, admission),
            NetworkEvent::Message(id, end, message) => {
                let Some((host, serial, peer)) = self.open_end(id, end) else { return Ok(()) };
                let from = self.actors[peer as usize].name.clone();
                self.note(host, || format!("<- {from} {message:?}"));
                self.trace.digest(self.now().as_micros() ^ u64::from(serial));
                self.with(host, serial, |machine, now| machine.handle_message(now, &from, *message))
            }
            NetworkEvent::Datagram(id, end, heartbeat) => self.on_datagram(id, end, *heartbeat),
            NetworkEvent::Data(id, end, frame) => match self.open_end(id, end) {
                Some(at) => self.on_data((id, end), at, *frame),
                None => Ok(()),
            },
            NetworkEvent::DataAgain(id, end, frame, losses) => {
                self.network.send_data((id, end), frame, losses, &mut self.queue);
                Ok(())
            }
            NetworkEvent::Retransmit(id, end) => {
                self.network.retransmit(id, end, &mut self.queue);
                Ok(())
            }
            NetworkEvent::Check(id) => {
                self.on_check(id);
                Ok(())
            }
            NetworkEvent::Closed(id, end) => self.on_closed(id, end),
        }
    }

    /// The process at an end of a connection in which it believes, and the number of the one at the other end.
    fn open_end(&self, id: u64, end: usize) -> Option<(usize, u32, u32)> {
        let connection = self.network.connection(id)?;
        let at = &connection.ends[end];
        let serial = at.serial.filter(|serial| at.open && self.serial(at.host) == Some(*serial))?;
        Some((at.host, serial, connection.ends[1 - end].serial?))
    }

    fn on_datagram(&mut self, id: u64, end: usize, heartbeat: Heartbeat) -> Result<(), Violation> {
        let Some((host, serial, peer)) = self.open_end(id, end) else { return Ok(()) };
        let from = self.actors[peer as usize].clone();
        let by = self.actors[serial as usize].clone();
        self.note(host, || format!("<- {from} {heartbeat:?}"));
        self.trace.digest(self.now().as_micros());
        self.check(&Fact::Heard { by: &by, from: &from, heartbeat: &heartbeat })?;
        self.with(host, serial, |machine, now| machine.handle_heartbeat(now, &from.name, heartbeat))
    }

    /// A dialler's first words arrive.
    fn on_hello(&mut self, id: u64) -> Result<(), Violation> {
        let Some(connection) = self.network.connection(id) else { return Ok(()) };
        let (from, to) = (connection.ends[0].host, connection.ends[1].host);
        let Some(dialler) = connection.ends[0].serial.filter(|serial| self.serial(from) == Some(*serial)) else {
            return Ok(());
        };
        if !self.network.is_open(from, to) {
            return Ok(());
        }
        let Some(serial) = self.serial(to) else {
            // Nothing listens there, which the host says at once.
            self.queue.after(Duration::from_millis(1), NetworkEvent::DialFailed(id, from).into());
            return Ok(());
        };
        let peer = self.actors[dialler as usize].clone();
        match self.admit(to, serial, &peer) {
            Admission::Admitted => {
                let number = self.hosts[from].name;
                if let Some(process) = self.process(to, serial) {
                    process.peers.entry(number).or_default().insert(id);
                }
                self.network.accept(id, serial, &mut self.queue);
            }
            refused @ (Admission::Superseded | Admission::Duplicate | Admission::NameInUse) => {
                if let Some(connection) = self.network.connection_mut(id) {
                    connection.ends[1].serial = Some(serial);
                }
                self.network.tell(id, 0, NetworkEvent::Refused(id, 0, refused), &mut self.queue);
            }
        }
        self.carry_out(to, serial)
    }

    /// Asks the machine on `host` whether to let `peer` in. What it wants is to be carried out when the connection is there.
    fn admit(&mut self, host: usize, serial: u32, peer: &Actor) -> Admission {
        let now = self.now();
        self.note(host, || format!("is connected with {peer}"));
        let Some(process) = self.process(host, serial) else { return Admission::Superseded };
        let local = process.local(now);
        let admission = process.machine.handle_connected(local, &peer.name, peer.life());
        self.summary.steps += 1;
        admission
    }

    /// The far end's answer reaches the dialler.
    fn on_hello_ack(&mut self, id: u64) -> Result<(), Violation> {
        let Some(connection) = self.network.connection_mut(id) else { return Ok(()) };
        let (host, far) = (connection.ends[0].host, connection.ends[1].host);
        let (Some(serial), Some(peer)) = (connection.ends[0].serial, connection.ends[1].serial) else { return Ok(()) };
        if self.serial(host) != Some(serial) {
            return Ok(());
        }
        let now = self.now();
        let peer = self.actors[peer as usize].clone();
        if let Some((_, _, applicant)) = self.reaching.remove(&id) {
            let same =
                (applicant.instance, applicant.boot) == (peer.instance, peer.boot) && applicant.name == peer.name;
            let reached = if same { Reached::Yes } else { Reached::No("another process answers there".to_owned()) };
            self.reached(host, serial, &applicant, reached)?;
            if self.serial(host) != Some(serial) {
                return Ok(());
            }
        }
        match self.admit(host, serial, &peer) {
            Admission::Admitted => {
                let number = self.hosts[far].name;
                if let Some(process) = self.process(host, serial) {
                    process.peers.entry(number).or_default().insert(id);
                    process.dials.remove(&far);
                }
                if let Some(connection) = self.network.connection_mut(id) {
                    (connection.ends[0].open, connection.ends[0].heard) = (true, now);
                }
            }
            refused @ (Admission::Superseded | Admission::Duplicate | Admission::NameInUse) => {
                if let Some(dial) = self.process(host, serial).and_then(|process| process.dials.get_mut(&far)) {
                    (dial.under_way, dial.not_before) = (None, now.saturating_add(REDIAL.1));
                }
                self.network.tell(id, 1, NetworkEvent::Refused(id, 1, refused), &mut self.queue);
            }
        }
        self.carry_out(host, serial)
    }

    fn on_dial_failed(&mut self, id: u64, host: usize) -> Result<(), Violation> {
        let now = self.now();
        if let Some((host, serial, applicant)) = self.reaching.remove(&id) {
            self.reached(host, serial, &applicant, Reached::No("no answer".to_owned()))?;
        }
        if let Some(connection) = self.network.connection(id)
            && !connection.ends[0].open
            && !connection.ends[1].open
        {
            self.network.close(id, 0);
        }
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        for dial in process.dials.values_mut().filter(|dial| dial.under_way == Some(id)) {
            dial.under_way = None;
            dial.failures += 1;
            let pause = (REDIAL.0 * (1 << dial.failures.min(5))).min(REDIAL.1);
            dial.not_before = now.saturating_add(pause);
        }
        self.look_whom_to_dial(host, LOOK);
        Ok(())
    }

    fn on_refused(&mut self, id: u64, end: usize, admission: Admission) -> Result<(), Violation> {
        let Some(connection) = self.network.connection(id) else { return Ok(()) };
        let (host, serial) = (connection.ends[end].host, connection.ends[end].serial);
        let by = connection.ends[1 - end].serial.map(|serial| self.actors[serial as usize].name.clone());
        let (Some(serial), Some(by)) = (serial, by) else { return Ok(()) };
        self.note(host, || format!("is refused by {by}: {admission:?}"));
        self.on_closed(id, end)?;
        self.network.close(id, 1 - end);
        self.with(host, serial, |machine, now| machine.handle_refused(now, &by, admission))
    }

    fn on_check(&mut self, id: u64) {
        let Some(connection) = self.network.connection(id) else { return };
        let state = |end: usize| {
            let at = &connection.ends[end];
            let process = self.hosts[at.host].process.as_ref();
            let there = process.filter(|process| Some(process.actor.serial) == at.serial);
            let awake = there.is_some_and(super::Process::is_awake);
            let replaced = there.is_none() && process.is_some_and(super::Process::is_awake);
            (awake, replaced)
        };
        let (near, far) = (state(0), state(1));
        self.network.check(id, [near.0, far.0], [near.1, far.1], &mut self.queue);
    }

    fn on_closed(&mut self, id: u64, end: usize) -> Result<(), Violation> {
        let opened = self.open_end(id, end);
        self.network.close(id, end);
        let Some((host, serial, peer)) = opened else { return Ok(()) };
        let peer = self.actors[peer as usize].clone();
        let number = self.numbers[&peer.name];
        let Some(process) = self.process(host, serial) else { return Ok(()) };
        let Some(connections) = process.peers.get_mut(&number) else { return Ok(()) };
        connections.remove(&id);
        let is_lost = connections.is_empty();
        self.lose_answers(host, serial, id)?;
        let Some(process) = self.process(host, serial).filter(|_| is_lost) else { return Ok(()) };
        process.peers.remove(&number);
        self.note(host, || format!("lost {}", peer.name));
        self.look_whom_to_dial(host, REDIAL.0);
        self.with(host, serial, |machine, now| machine.handle_disconnected(now, &peer.name))
    }

    /// Tells all peers of `host` that its process ends, as a graceful end does.
    pub(super) fn leave(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].process else { return };
        let (serial, ids): (_, Vec<u64>) = (process.actor.serial, process.peers.values().flatten().copied().collect());
        for id in ids {
            let Some(connection) = self.network.connection(id) else { continue };
            let far = usize::from(connection.ends[0].serial == Some(serial));
            self.network.tell(id, far, NetworkEvent::Closed(id, far), &mut self.queue);
        }
    }

    /// The newest connection of the process on `host` with the name `to`, and the process's end of it.
    pub(super) fn connection_to(&self, host: usize, to: &Label) -> Option<(u64, usize)> {
        let process = self.hosts[host].process.as_ref()?;
        let id = *process.peers.get(self.numbers.get(to)?)?.last()?;
        let connection = self.network.connection(id)?;
        Some((id, usize::from(connection.ends[0].serial != Some(process.actor.serial))))
    }

    pub(super) fn send(
        &mut self,
        host: usize,
        from: &Actor,
        to: &Label,
        message: PeerMessage,
    ) -> Result<(), Violation> {
        self.note(host, || format!("-> {to} {message:?}"));
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        if matches!(message, PeerMessage::Election(_)) {
            self.election_messages += 1;
        }
        let now = self.queue.now();
        if !self.copied {
            let fact = Fact::Sent { from, at: process.installed, durable: &process.durable, to, message: &message };
            self.invariants.observe(now, &fact)?;
            if let Some(hash) = self.invariants.ledger().newly_chosen() {
                self.decided(hash)?;
            }
        }
        if let Some((id, end)) = self.connection_to(host, to) {
            let higher = matches!(message, PeerMessage::Election(ElectionMessage::Higher { .. }));
            self.network.send_message(id, end, message, &mut self.queue);
            if higher && self.healed.is_some() && self.options.superior_dies && self.die_if_dispensable(host)? {
                self.options.superior_dies = false;
                self.summary.fault("superior dies");
            }
        }
        Ok(())
    }

    pub(super) fn beat(
        &mut self,
        host: usize,
        from: &Actor,
        to: &Label,
        heartbeat: &Heartbeat,
    ) -> Result<(), Violation> {
        self.check(&Fact::Beat { from, heartbeat })?;
        if let Some((id, end)) = self.connection_to(host, to) {
            self.network.send_datagram(id, end, heartbeat, &mut self.queue);
        }
        Ok(())
    }
}
