//! The network between hosts: datagrams that are lost, late and doubled; streams that keep their order and wait for what
//! was lost; connections that break when nothing came through for long enough.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use quoit_core::{cluster::Admission, time::Timestamp};
use quoit_proto_types::message::{heartbeat::Heartbeat, peer::PeerMessage};
use rand::{RngExt, rngs::StdRng};

use super::{DataFrame, Event, EventQueue};

/// An end that heard nothing for this long takes the connection for broken.
const IDLE: Duration = Duration::from_secs(5);
/// How often the ends of a connection are looked at.
const CHECK: Duration = Duration::from_millis(1_000);
/// How soon what was lost on a stream is sent again, for the first and for the later times.
const RETRANSMIT: (Duration, Duration) = (Duration::from_millis(30), Duration::from_secs(2));

/// What the network does to what it carries.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// How long a packet travels.
    pub delay: RangeInclusive<Duration>,
    /// How likely it travels longer.
    pub tail: f64,
    /// How much longer at most. Short ones are more likely than long ones.
    pub tail_most: Duration,
    /// How likely it is lost.
    pub loss: f64,
    /// How likely a datagram arrives twice.
    pub duplicate: f64,
    /// Whether connections break at all. Without, nothing looks at them, which saves time in a large cluster.
    pub breaks: bool,
}

impl NetworkOptions {
    /// A network in one building.
    pub fn good() -> Self {
        Self {
            delay: Duration::from_micros(100)..=Duration::from_micros(900),
            tail: 0.0,
            tail_most: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            breaks: true,
        }
    }
}

/// Something that reaches a host.
#[derive(Clone, Debug)]
pub enum NetworkEvent {
    /// A dialler's first words reach the other end.
    Hello(u64),
    /// The answer reaches the dialler.
    HelloAck(u64),
    /// A dialler, on this host, gives up.
    DialFailed(u64, usize),
    /// An end learns that the other one does not want it.
    Refused(u64, usize, Admission),
    /// A message reaches an end.
    Message(u64, usize, Box<PeerMessage>),
    /// A request about data, or an answer, reaches an end.
    Data(u64, usize, Box<DataFrame>),
    /// An end sends one again, for the so-manieth time.
    DataAgain(u64, usize, Box<DataFrame>, u32),
    /// A datagram reaches an end.
    Datagram(u64, usize, Box<Heartbeat>),
    /// An end sends again what was lost.
    Retransmit(u64, usize),
    /// Time to see whether the connection is still good.
    Check(u64),
    /// An end learns that the connection is gone.
    Closed(u64, usize),
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    /// Where it is.
    pub host: usize,
    /// The process there. Unknown at the far end until the dialler's first words arrive.
    pub serial: Option<u32>,
    /// Whether the process believes in the connection.
    pub open: bool,
    /// When something came through to it last.
    pub heard: Timestamp,
    /// When the last message that is on its way to it arrives.
    last: Timestamp,
    /// Messages from it that are to be sent again.
    outbox: VecDeque<PeerMessage>,
    /// How often in vain.
    retries: u32,
}

/// A connection: the dialler's end first.
#[derive(Debug)]
pub struct Connection {
    /// Both ends.
    pub ends: [End; 2],
    /// Whether it was made to see whether an applicant is where it says it is.
    pub reach: bool,
}

/// A set of directed links that carry nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutId(u64);

/// All hosts' links and connections.
#[derive(Debug)]
pub struct Network {
    /// What it does.
    pub options: NetworkOptions,
    rng: StdRng,
    hosts: usize,
    /// How many cuts hold each directed link.
    blocked: Vec<u16>,
    /// How much longer packets travel on each directed link.
    slow: Vec<Duration>,
    cuts: BTreeMap<CutId, BTreeSet<(usize, usize)>>,
    issued: u64,
    connections: BTreeMap<u64, Connection>,
    /// Datagrams and messages that were handed in, and their bytes if they are counted.
    pub carried: Carried,
}

/// What was handed to the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Whether bytes are counted, which takes an encoding each.
    pub count_bytes: bool,
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes.
    pub datagram_bytes: u64,
    /// Messages on streams.
    pub messages: u64,
    /// Their bytes.
    pub message_bytes: u64,
}

impl Network {
    /// A network without connections.
    pub fn new(options: NetworkOptions, hosts: usize, rng: StdRng) -> Self {
        Self {
            options,
            rng,
            hosts,
            blocked: vec![0; hosts * hosts],
            slow: vec![Duration::ZERO; hosts * hosts],
            cuts: BTreeMap::new(),
            issued: 0,
            connections: BTreeMap::new(),
            carried: Carried::default(),
        }
    }

    /// Whether nothing gets from one host to the other.
    pub fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked[from * self.hosts + to] > 0
    }

    /// Whether both directions carry.
    pub fn is_open(&self, a: usize, b: usize) -> bool {
        !self.is_blocked(a, b) && !self.is_blocked(b, a)
    }

    /// Lets these links carry nothing.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (usize, usize)>) -> CutId {
        self.issued += 1;
        let id = CutId(self.issued);
        let links: BTreeSet<_> = links.into_iter().filter(|(from, to)| from != to).collect();
        for (from, to) in &links {
            self.blocked[from * self.hosts + to] += 1;
        }
        self.cuts.insert(id, links);
        id
    }

    /// Takes one link out of a cut.
    pub fn mend_link(&mut self, id: CutId, (from, to): (usize, usize)) {
        if self.cuts.get_mut(&id).is_some_and(|links| links.remove(&(from, to))) {
            self.blocked[from * self.hosts + to] -= 1;
        }
    }

    /// Ends a cut.
    pub fn mend(&mut self, id: CutId) {
        for (from, to) in self.cuts.remove(&id).unwrap_or_default() {
            self.blocked[from * self.hosts + to] -= 1;
        }
    }

    /// Ends every cut, and lets no link be slow.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.blocked.fill(0);
        self.slow.fill(Duration::ZERO);
    }

    /// Lets packets from one host to the other travel so much longer.
    pub fn slow_down(&mut self, (from, to): (usize, usize), by: Duration) {
        self.slow[from * self.hosts + to] = by;
    }

    /// How long a packet travels that is sent now.
    fn delay(&mut self, (from, to): (usize, usize)) -> Duration {
        self.usual_delay() + self.slow[from * self.hosts + to]
    }

    fn usual_delay(&mut self) -> Duration {
        let usual = self.rng.random_range(self.options.delay.clone());
        if self.options.tail > 0.0 && self.rng.random_bool(self.options.tail) {
            let share: f64 = self.rng.random();
            return usual + self.options.tail_most.mul_f64(share.powi(6));
        }
        usual
    }

    fn is_lost(&mut self) -> bool {
        self.options.loss > 0.0 && self.rng.random_bool(self.options.loss)
    }

    /// A connection that lasts.
    pub fn connection(&self, id: u64) -> Option<&Connection> {
        self.connections.get(&id)
    }

    /// A connection that lasts.
    pub fn connection_mut(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// How many connections an end believes in.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The most messages that wait to be sent again at one end.
    pub fn longest_outbox(&self) -> usize {
        self.connections.values().flat_map(|c| &c.ends).map(|end| end.outbox.len()).max().unwrap_or(0)
    }

    /// A number that no connection has.
    pub fn fresh_id(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// Lets the process `serial` on `from` dial `to`.
    pub fn dial(&mut self, (from, serial): (usize, u32), to: usize, reach: bool, queue: &mut EventQueue<Event>) -> u64 {
        self.issued += 1;
        let (id, now) = (self.issued, queue.now());
        let end = |host, serial| End {
            host,
            serial,
            open: false,
            heard: now,
            last: now,
            outbox: VecDeque::new(),
            retries: 0,
        };
        self.connections.insert(id, Connection { ends: [end(from, Some(serial)), end(to, None)], reach });
        // A packet of the handshake that is lost is sent again soon.
        let again = if self.is_lost() { RETRANSMIT.0 * 3 } else { Duration::ZERO };
        let delay =
            self.usual_delay() * 2 + self.slow[from * self.hosts + to] + self.slow[to * self.hosts + from] + again;
        queue.after(delay, NetworkEvent::Hello(id).into());
        id
    }

    /// The far end has let the dialler in.
    pub fn accept(&mut self, id: u64, serial: u32, queue: &mut EventQueue<Event>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (dialler, host) = (connection.ends[0].host, connection.ends[1].host);
        let arrival = queue.now().saturating_add(self.delay((host, dialler)));
        let breaks = self.options.breaks;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[1];
        (end.serial, end.open, end.heard) = (Some(serial), true, queue.now());
        connection.ends[0].last = arrival;
        queue.at(arrival, NetworkEvent::HelloAck(id).into());
        if breaks {
            queue.after(CHECK, NetworkEvent::Check(id).into());
        }
    }

    /// The end is gone for the process there. Says nothing to the other end.
    pub fn close(&mut self, id: u64, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.ends[end].open = false;
        connection.ends[end].outbox.clear();
        if connection.ends.iter().all(|end| !end.open) {
            self.connections.remove(&id);
        }
    }

    /// Tells `end` about something that happened at the other one, if the link carries.
    pub fn tell(&mut self, id: u64, end: usize, event: NetworkEvent, queue: &mut EventQueue<Event>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = (connection.ends[1 - end].host, connection.ends[end].host);
        if !self.is_blocked(from, to) {
            let arrival = queue.now().saturating_add(self.delay((from, to)));
            let last = self.connections[&id].ends[end].last;
            queue.at(arrival.max(last.saturating_add(Duration::from_micros(1))), event.into());
        }
    }

    /// Sends a datagram from `end`.
    pub fn send_datagram(&mut self, id: u64, end: usize, heartbeat: &Heartbeat, queue: &mut EventQueue<Event>) {
        self.carried.datagrams += 1;
        if self.carried.count_bytes {
            let mut bytes = bytes::BytesMut::new();
            heartbeat.encode(&mut bytes);
            self.carried.datagram_bytes += bytes.len() as u64;
        }
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = (connection.ends[end].host, connection.ends[1 - end].host);
        if self.is_blocked(from, to) || self.is_lost() {
            return;
        }
        let twice = self.options.duplicate > 0.0 && self.rng.random_bool(self.options.duplicate);
        for _ in 0..=u8::from(twice) {
            let event = NetworkEvent::Datagram(id, 1 - end, Box::new(heartbeat.clone()));
            let delay = self.delay((from, to));
            queue.after(delay, event.into());
        }
    }

    /// Sends a message from `end`.
    pub fn send_message(&mut self, id: u64, end: usize, message: PeerMessage, queue: &mut EventQueue<Event>) {
        self.carried.messages += 1;
        if self.carried.count_bytes {
            let mut bytes = bytes::BytesMut::new();
            message.encode(&mut bytes);
            self.carried.message_bytes += bytes.len() as u64;
        }
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = (connection.ends[end].host, connection.ends[1 - end].host);
        let waits = !connection.ends[end].outbox.is_empty();
        if !waits && !self.is_blocked(from, to) && !self.is_lost() {
            self.carry(id, end, message, queue);
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let sender = &mut connection.ends[end];
        sender.outbox.push_back(message);
        if !waits {
            sender.retries = 0;
            queue.after(RETRANSMIT.0, NetworkEvent::Retransmit(id, end).into());
        }
    }

    /// Sends a request or an answer from `end`, on a stream of its own. It was lost so many times before.
    pub fn send_data(
        &mut self,
        (id, end): (u64, usize),
        frame: Box<DataFrame>,
        losses: u32,
        queue: &mut EventQueue<Event>,
    ) {
        let Some(connection) = self.connections.get(&id).filter(|connection| connection.ends[end].open) else { return };
        let link = (connection.ends[end].host, connection.ends[1 - end].host);
        // The dialler takes nothing in before it has heard that it was let in.
        let is_early = !connection.ends[1 - end].open && end == 1;
        self.carried.messages += 1;
        if is_early || self.is_blocked(link.0, link.1) || self.is_lost() {
            let delay = (RETRANSMIT.0 * (1 << losses.min(7))).min(RETRANSMIT.1);
            queue.after(delay, NetworkEvent::DataAgain(id, end, frame, losses + 1).into());
            return;
        }
        let delay = self.delay(link);
        queue.after(delay, NetworkEvent::Data(id, 1 - end, frame).into());
    }

    /// Sends again what waits at `end`.
    pub fn retransmit(&mut self, id: u64, end: usize, queue: &mut EventQueue<Event>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = (connection.ends[end].host, connection.ends[1 - end].host);
        let again = self.is_blocked(from, to) || self.is_lost();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let sender = &mut connection.ends[end];
        if again {
            sender.retries += 1;
            let delay = (RETRANSMIT.0 * (1 << sender.retries.min(7))).min(RETRANSMIT.1);
            queue.after(delay, NetworkEvent::Retransmit(id, end).into());
            return;
        }
        sender.retries = 0;
        for message in std::mem::take(&mut sender.outbox) {
            self.carry(id, end, message, queue);
        }
    }

    /// Lets `message` arrive behind those before it.
    fn carry(&mut self, id: u64, end: usize, message: PeerMessage, queue: &mut EventQueue<Event>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let link = (connection.ends[end].host, connection.ends[1 - end].host);
        let arrival = queue.now().saturating_add(self.delay(link));
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let receiver = &mut connection.ends[1 - end];
        receiver.last = arrival.max(receiver.last.saturating_add(Duration::from_micros(1)));
        queue.at(receiver.last, NetworkEvent::Message(id, 1 - end, Box::new(message)).into());
    }

    /// Looks at a connection. `answers` tells whether the process at an end is there and awake, `replaced` whether another
    /// one runs in its place. Ends that are to learn that it is gone get a [`NetworkEvent::Closed`].
    pub fn check(&mut self, id: u64, answers: [bool; 2], replaced: [bool; 2], queue: &mut EventQueue<Event>) {
        let now = queue.now();
        let Some(connection) = self.connections.get(&id) else { return };
        let hosts = [connection.ends[0].host, connection.ends[1].host];
        let carries = [!self.is_blocked(hosts[1], hosts[0]), !self.is_blocked(hosts[0], hosts[1])];
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let open = [connection.ends[0].open, connection.ends[1].open];
        for end in 0..2 {
            let other = 1 - end;
            if open[other] && answers[other] && carries[end] {
                connection.ends[end].heard = now;
            }
            let silent = now.checked_duration_since(connection.ends[end].heard).unwrap_or_default();
            // The process that took the place of the other end's, or that forgot the connection, resets it.
            let reset = carries[0] && carries[1] && (replaced[other] || (answers[other] && !open[other]));
            if open[end] && (silent > IDLE || reset) {
                queue.after(Duration::from_millis(1), NetworkEvent::Closed(id, end).into());
            }
        }
        queue.after(CHECK, NetworkEvent::Check(id).into());
    }
}
