//! A coordinator among nodes that keep what they are sent, on a network that loses and reorders, through a ring change. Every
//! output is checked as it comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use quoit_proto_types::{
    ErrorCode, Fence, HashPoint, KeyspaceId, Ordinal, ReadLevel, Stamp, Version, WriteLevel, message::client::Refusal,
};

use super::stage::{Layout, WALL, version};
use crate::{
    planted::data::DataPlanted,
    replication::{ClientOperation, ClientReply, Coordinator, OperationId, Output, ReplicaReply, ReplicaRequest},
    routing::Routing,
    store::Record,
    time::Timestamp,
};

const MEMBERS: u32 = 6;
const DEADLINE_MS: u64 = 200;
/// The key that is written and read at level QUORUM only.
const REGISTER: u32 = 0;
/// Messages arrive more often than anything else happens.
const DELIVERED_AT_ONCE: usize = 3;
/// Replies that say nothing about the key.
const REFUSALS: [ErrorCode; 3] = [ErrorCode::NotReady, ErrorCode::Busy, ErrorCode::ClockSkew];

/// Decides what happens, number by number.
pub(super) struct Tape<'a>(pub(super) &'a [u32]);

impl Tape<'_> {
    fn next(&mut self, below: usize) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first as usize % below.max(1)
    }
}

/// Nodes that took something in, and for whom they keep it if they own nothing.
type Takers = BTreeSet<(u32, Option<Ordinal>)>;

#[derive(Debug, Default)]
struct Node {
    /// Which of the layouts it has installed.
    at: usize,
    held: BTreeMap<u32, Stamp>,
    hints: BTreeMap<u32, Stamp>,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    key: u32,
    deadline: Timestamp,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Read(ReadLevel),
    Write(WriteLevel),
    /// A read or a touch at first, a write later.
    Touch(WriteLevel),
}

/// What travels to a node, or back.
#[derive(Debug)]
enum Message {
    Request { operation: Option<OperationId>, to: u32, fence: Fence, request: ReplicaRequest },
    Reply { operation: OperationId, from: u32, key: u32, reply: ReplicaReply },
}

pub(super) struct World {
    now: Timestamp,
    layouts: Vec<Layout>,
    routings: Vec<Arc<Routing>>,
    at: usize,
    /// Whether everything has been carried over to the owners to be.
    is_carried: bool,
    coordinator: Coordinator<u32>,
    nodes: Vec<Node>,
    messages: Vec<Message>,
    writes: u64,
    tokens: u32,
    waiting: BTreeMap<u32, Wanted>,
    /// Who has taken in a version, by which fence, for whom.
    taken: BTreeMap<(Version, u64), Takers>,
    /// Nodes whose answer to a read has arrived, with what they had, by key and attempt.
    heard: BTreeMap<(u32, OperationId), BTreeMap<u32, Option<Version>>>,
    /// The stamp of each key's writes but the register's.
    stamps: BTreeMap<u32, Stamp>,
    /// Of the register: what was acknowledged, and what reads must not be older than.
    acknowledged: Version,
    floors: BTreeMap<u32, Version>,
    /// How many operations came to what was wanted.
    pub(super) successes: usize,
}

impl World {
    pub(super) fn new(now: &[u32], then: &[u32], me: u32, planted: DataPlanted) -> Self {
        let old = Layout::of(now).members(MEMBERS).me(me);
        let joint = old.clone().joint(then);
        let layouts = vec![old, joint.clone(), joint.finished()];
        Self {
            now: Timestamp::from_micros(1),
            routings: layouts.iter().map(Layout::routing).collect(),
            layouts,
            at: 0,
            is_carried: false,
            coordinator: Coordinator::new(planted),
            nodes: (0..=MEMBERS).map(|_| Node::default()).collect(),
            messages: Vec::new(),
            writes: 0,
            tokens: 0,
            waiting: BTreeMap::new(),
            taken: BTreeMap::new(),
            heard: BTreeMap::new(),
            stamps: BTreeMap::new(),
            acknowledged: Version::default(),
            floors: BTreeMap::new(),
            successes: 0,
        }
    }

    fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.routings[self.at])
    }

    /// Lets the tape run out, then time.
    pub(super) fn run(&mut self, tape: &mut Tape<'_>) {
        while !tape.0.is_empty() {
            match tape.next(32) {
                0..4 => self.begin(tape),
                4..24 => {
                    for _ in 0..DELIVERED_AT_ONCE {
                        self.deliver(tape);
                        self.listen();
                    }
                }
                24..26 => self.lose(tape),
                26..28 => self.pass(tape.next(20) as u64),
                28 => self.commit(),
                29..31 => self.install(tape.next(MEMBERS as usize) + 1),
                _ => self.flap(tape),
            }
            self.listen();
        }
        self.pass(DEADLINE_MS + 1);
        assert_eq!(self.waiting.len(), 0, "every operation is answered");
        assert!(self.coordinator.is_empty(), "and over at its deadline");
    }

    fn begin(&mut self, tape: &mut Tape<'_>) {
        self.tokens += 1;
        let write_level = WriteLevel::ALL[tape.next(5)];
        let read_level = ReadLevel::ALL[tape.next(3)];
        let (kind, fresh) = (tape.next(6), self.tokens);
        let known = self.stamps.keys().nth(tape.next(self.stamps.len())).copied().unwrap_or(fresh);
        let (key, what) = match kind {
            0 => (REGISTER, What::Write(WriteLevel::Quorum)),
            1 => (REGISTER, What::Read(ReadLevel::Quorum)),
            2 => (known, What::Read(read_level)),
            3 => (known, What::Touch(write_level)),
            _ => (fresh, What::Write(write_level)),
        };
        let deadline = Timestamp::from_micros(self.now.as_micros() + DEADLINE_MS * 1000);
        self.waiting.insert(self.tokens, Wanted { key, deadline, what });
        if key == REGISTER {
            self.floors.insert(self.tokens, self.acknowledged);
        }
        let request = self.request(key, what);
        let routing = self.routing();
        self.coordinator.begin(self.now, &routing, self.tokens, deadline, request);
    }

    fn request(&mut self, key: u32, what: What) -> ClientOperation {
        let bytes = Bytes::from(key.to_string());
        match what {
            What::Read(level) => ClientOperation::Get { level, at_least: None, wall: WALL, key: bytes },
            What::Touch(level) => {
                let touched = quoit_proto_types::Hlc::new(self.tokens.into());
                ClientOperation::Touch { level, touched, expires_at_ms: 0, wall: WALL, key: bytes }
            }
            What::Write(level) => {
                // Far apart, so that a version that is not the operation's own is nobody's.
                self.writes += 1000;
                let stamp = Stamp::value(version(self.writes), 0);
                if key != REGISTER {
                    self.stamps.insert(key, stamp);
                }
                ClientOperation::Set { level, stamp, record: Record::new(&bytes, b"v") }
            }
        }
    }

    /// One message arrives, whichever.
    fn deliver(&mut self, tape: &mut Tape<'_>) {
        if self.messages.is_empty() {
            return;
        }
        let message = self.messages.swap_remove(tape.next(self.messages.len()));
        match message {
            Message::Request { operation, to, fence, request } => {
                let key = key_of(&request);
                let is_unwilling = operation.is_some() && tape.next(12) == 0;
                let reply = if is_unwilling {
                    ReplicaReply::Refused(Refusal::new(REFUSALS[tape.next(3)], 0))
                } else {
                    self.act(to, fence, request)
                };
                let reply = operation.map(|operation| Message::Reply { operation, from: to, key, reply });
                self.messages.extend(reply);
            }
            Message::Reply { operation, from, key, reply } => {
                let had = match &reply {
                    ReplicaReply::Entry { stamp, .. } => Some(Some(stamp.version)),
                    ReplicaReply::Absent => Some(None),
                    ReplicaReply::Stored { .. } | ReplicaReply::Refused(_) | ReplicaReply::Unreachable => None,
                };
                if let Some(had) = had {
                    self.heard.entry((key, operation)).or_default().insert(from, had);
                }
                let routing = self.routing();
                self.coordinator.handle_reply(self.now, &routing, operation, Ordinal::new(from), reply);
            }
        }
    }

    /// One message does not arrive. Mostly that is noticed.
    fn lose(&mut self, tape: &mut Tape<'_>) {
        if self.messages.is_empty() {
            return;
        }
        let message = self.messages.swap_remove(tape.next(self.messages.len()));
        let is_noticed = tape.next(4) > 0;
        let (operation, from) = match message {
            Message::Request { operation, to, .. } => (operation, to),
            Message::Reply { operation, from, .. } => (Some(operation), from),
        };
        if let Some(operation) = operation.filter(|_| is_noticed) {
            let (routing, reply) = (self.routing(), ReplicaReply::Unreachable);
            self.coordinator.handle_reply(self.now, &routing, operation, Ordinal::new(from), reply);
        }
    }

    /// What a node does with a request.
    fn act(&mut self, to: u32, fence: Fence, request: ReplicaRequest) -> ReplicaReply {
        let at = self.nodes[to as usize].at;
        let layout = &self.layouts[at];
        match fence.value().cmp(&layout.fence) {
            std::cmp::Ordering::Less => return ReplicaReply::Refused(Refusal::new(ErrorCode::StaleView, 0)),
            std::cmp::Ordering::Greater => return ReplicaReply::Refused(Refusal::new(ErrorCode::NodeBehind, 0)),
            std::cmp::Ordering::Equal => {}
        }
        let (is_owner, is_named) = (owns(&layout.now, to), names(layout, to));
        let node = &mut self.nodes[to as usize];
        match request {
            ReplicaRequest::Put { stamp, hint_for, record } => {
                assert_eq!(is_named, hint_for.is_none(), "owners hold, and others keep for them");
                assert!(hint_for.is_none_or(|owner| names(layout, owner.value())));
                let key = text(record.key());
                let place = if is_named { &mut node.held } else { &mut node.hints };
                let before = place.get(&key).copied();
                if before.is_none_or(|before| stamp.supersedes(&before)) {
                    place.insert(key, stamp);
                }
                self.taken.entry((stamp.version, fence.value())).or_default().insert((to, hint_for));
                ReplicaReply::Stored { was_live: before.is_some() }
            }
            ReplicaRequest::Get { key } => {
                let place = if is_owner || is_named { &node.held } else { &node.hints };
                match place.get(&text(&key)) {
                    Some(stamp) => ReplicaReply::Entry { stamp: *stamp, value: Bytes::from_static(b"v") },
                    None => ReplicaReply::Absent,
                }
            }
        }
    }

    /// Time goes by, in steps no longer than to the next moment at which something is to be done.
    fn pass(&mut self, ms: u64) {
        let end = Timestamp::from_micros(self.now.as_micros() + ms * 1000);
        while let Some(at) = self.coordinator.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let routing = self.routing();
            self.coordinator.handle_timeout(self.now, &routing);
            assert!(self.coordinator.poll_timeout().is_none_or(|next| next > self.now), "time goes on");
            self.listen();
        }
        self.now = end;
    }

    /// The coordinating process installs the next view, if that may be committed: the last one when all have installed the
    /// one before, and have given the owners to be what they hold.
    fn commit(&mut self) {
        let next = self.at + 1;
        if next == self.layouts.len() || next == 2 && self.nodes.iter().skip(1).any(|node| node.at == 0) {
            return;
        }
        if next == 2 && !self.is_carried {
            // Others may install it first.
            self.is_carried = true;
            return self.carry();
        }
        self.at = next;
        let routing = self.routing();
        self.coordinator.handle_install(self.now, &routing);
        self.check_settled();
    }

    fn carry(&mut self) {
        let joint = &self.layouts[1];
        let sources = self.nodes.iter().zip(0..).filter(|(_, node)| owns(&joint.now, *node));
        let all: Vec<_> = sources.flat_map(|(node, _)| node.held.clone()).collect();
        let then = joint.then.as_ref().unwrap();
        for (node, _) in self.nodes.iter_mut().zip(0..).filter(|(_, node)| owns(then, *node)) {
            for (key, stamp) in &all {
                let held = node.held.entry(*key).or_insert(*stamp);
                if stamp.supersedes(held) {
                    *held = *stamp;
                }
            }
        }
    }

    /// A node installs the next view that this process, or what it may commit, has reached.
    fn install(&mut self, node: usize) {
        let owner = u32::try_from(node).unwrap();
        let last = if self.is_carried { 2 } else { 1 };
        let node = &mut self.nodes[node];
        node.at = last.min(node.at + 1);
        if !names(&self.layouts[node.at], owner) {
            node.held.clear();
        }
    }

    /// A member goes down or comes up.
    fn flap(&mut self, tape: &mut Tape<'_>) {
        let down: Vec<u32> = (1..=MEMBERS).filter(|_| tape.next(5) == 0).collect();
        self.layouts[self.at] = self.layouts[self.at].clone().down(&down);
        self.routings[self.at] = self.layouts[self.at].routing();
        let routing = self.routing();
        self.coordinator.handle_install(self.now, &routing);
    }

    fn check_settled(&self) {
        assert!(self.coordinator.poll_timeout().is_none_or(|next| next > self.now));
    }

    fn listen(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Ask { operation, to, fence, request } => {
                    self.check_ask(to.value(), fence, &request);
                    let operation = Some(operation);
                    self.messages.push(Message::Request { operation, to: to.value(), fence, request });
                }
                Output::Tell { to, fence, request } => {
                    assert!(matches!(request, ReplicaRequest::Put { .. }), "nobody listens");
                    self.check_ask(to.value(), fence, &request);
                    self.messages.push(Message::Request { operation: None, to: to.value(), fence, request });
                }
                Output::Answer { token, reply } => {
                    let wanted = self.waiting.remove(&token).expect("an operation is answered once");
                    assert!(self.now <= wanted.deadline, "by its deadline");
                    self.check_answer(token, wanted, &reply);
                }
            }
        }
    }

    fn check_ask(&self, to: u32, fence: Fence, request: &ReplicaRequest) {
        let layout = &self.layouts[self.at];
        assert_eq!(fence.value(), layout.fence);
        let key = key_of(request);
        match request {
            ReplicaRequest::Put { stamp, .. } if key != REGISTER => {
                assert_eq!(Some(stamp.version), self.stamps.get(&key).map(|s| s.version), "a write is one write");
            }
            ReplicaRequest::Put { .. } => {}
            ReplicaRequest::Get { .. } => {
                let mut waiting = self.waiting.values().filter(|wanted| wanted.key == key);
                assert!(waiting.clone().next().is_some(), "nobody is asked for what is answered");
                let is_plain = |wanted: &Wanted| match wanted.what {
                    What::Read(level) => level == ReadLevel::One,
                    What::Write(_) | What::Touch(_) => true,
                };
                if waiting.all(is_plain) {
                    assert!(owns(&layout.now, to) || !names(layout, to), "owners to be may not have everything");
                }
            }
        }
    }

    fn check_answer(&mut self, token: u32, wanted: Wanted, reply: &ClientReply) {
        let level = match (wanted.what, reply) {
            (What::Write(level) | What::Touch(level), ClientReply::Done(written)) => {
                assert!(self.is_held(level, wanted.key, written.version), "{level} is reached: {written:?}");
                if wanted.key == REGISTER {
                    self.acknowledged = self.acknowledged.max(written.version);
                }
                self.successes += 1;
                return;
            }
            (What::Read(level), ClientReply::Value { .. } | ClientReply::Miss) => level,
            (What::Touch(_), ClientReply::Miss) => ReadLevel::One,
            (_, ClientReply::Refused(_) | ClientReply::Unfinished { .. }) => return,
            (What::Write(_) | What::Touch(_), ClientReply::Value { .. })
            | (What::Write(_), ClientReply::Miss)
            | (What::Read(_), ClientReply::Done(_))
            | (_, ClientReply::TimeToLive { .. }) => panic!("{reply:?} answers no {wanted:?}"),
        };
        let found = match reply {
            ClientReply::Value { stamp, .. } => Some(stamp.version),
            ClientReply::Miss
            | ClientReply::TimeToLive { .. }
            | ClientReply::Done(_)
            | ClientReply::Unfinished { .. }
            | ClientReply::Refused(_) => None,
        };
        self.successes += 1;
        assert!(self.was_heard(wanted.key, level, found), "{found:?} was said by enough for {level}");
        if let Some(floor) = self.floors.remove(&token) {
            assert!(found.unwrap_or_default() >= floor, "a quorum read finds what a quorum holds");
        }
    }

    /// Whether a level is reached by what nodes took in under one of the fences.
    fn is_held(&self, level: WriteLevel, key: u32, version: Version) -> bool {
        let slot = self.routings[0].slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key.to_string().as_bytes()));
        self.routings.iter().any(|routing| {
            let Some(taken) = self.taken.get(&(version, routing.fence().value())) else { return false };
            let over = |owners: &[Ordinal]| {
                let held = taken.iter().filter(|(node, _)| owners.contains(&Ordinal::new(*node))).count();
                let kept = taken.iter().filter(|(_, of)| of.is_some_and(|of| owners.contains(&of))).count();
                match level {
                    WriteLevel::Any => true,
                    WriteLevel::One => held > 0,
                    WriteLevel::Two => held + kept >= owners.len().min(2),
                    WriteLevel::Quorum => 2 * held > owners.len(),
                    WriteLevel::All => held == owners.len(),
                }
            };
            let owners = routing.owners(slot);
            over(owners.now) && owners.then.is_none_or(over)
        })
    }

    /// Whether as many owners as the level asks for have answered an attempt, at one of the fences, with nothing newer.
    fn was_heard(&self, key: u32, level: ReadLevel, found: Option<Version>) -> bool {
        let attempts = self.heard.iter().filter(|((of, _), _)| *of == key).map(|(_, heard)| heard);
        let is_enough = |heard: &BTreeMap<u32, Option<Version>>, layout: &Layout| {
            let over = |owners: &[(u32, u32)]| {
                let said = heard.keys().filter(|node| owns(owners, **node)).count();
                match level {
                    ReadLevel::One => said > 0,
                    ReadLevel::Quorum => 2 * said > owners.len(),
                    ReadLevel::All => said == owners.len(),
                }
            };
            let by_hint = level == ReadLevel::One && found.is_some();
            let newest = heard.values().max().copied().flatten();
            let enough = match level {
                ReadLevel::One => over(&layout.now),
                ReadLevel::Quorum | ReadLevel::All => over(&layout.now) && layout.then.as_deref().is_none_or(over),
            };
            (enough || by_hint) && newest == found
        };
        attempts.into_iter().any(|heard| self.layouts.iter().any(|layout| is_enough(heard, layout)))
    }
}

fn owns(owners: &[(u32, u32)], node: u32) -> bool {
    owners.iter().any(|(owner, _)| *owner == node)
}

fn names(layout: &Layout, node: u32) -> bool {
    owns(&layout.now, node) || layout.then.as_deref().is_some_and(|then| owns(then, node))
}

fn key_of(request: &ReplicaRequest) -> u32 {
    match request {
        ReplicaRequest::Put { record, .. } => text(record.key()),
        ReplicaRequest::Get { key } => text(key),
    }
}

fn text(key: &[u8]) -> u32 {
    std::str::from_utf8(key).unwrap().parse().unwrap()
}
