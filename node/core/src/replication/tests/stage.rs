//! A coordinator on a stage: nodes say what the test makes them say, and every output is a word of a line.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, HashPoint, Hlc, Identity, Instance, KeyspaceId, Label, Member,
    Ordinal, ReadLevel, Role, SlotCount, Stamp, Version, View, WriteLevel,
    message::{client::Refusal, session::VERSIONS},
    view::{AssignedTokens, Intent, Liveness, Owner, ViewConfig, ViewFields, ViewHash},
};

use crate::{
    planted::data::DataPlanted,
    replication::{ClientOperation, ClientReply, Coordinator, OperationId, Output, ReplicaReply, ReplicaRequest},
    routing::Routing,
    store::Record,
    time::{Timestamp, Wall},
};

/// The moment by the wall clock at which reads happen.
pub(super) const WALL: Wall = Wall::from_millis(1_000_000);

/// A view of members 1, 2, …, each an owner of every slot or of none.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) members: u32,
    pub(super) fence: u64,
    /// Of another view with the same fence.
    pub(super) later: u64,
    pub(super) now: Vec<(u32, u32)>,
    pub(super) then: Option<Vec<(u32, u32)>>,
    pub(super) down: Vec<u32>,
    /// Members in another life than their first.
    pub(super) restarted: Vec<u32>,
    pub(super) me: u32,
}

impl Layout {
    /// These own, in their first life, and two more members do not. Member 1 coordinates.
    pub(super) fn of(owners: &[u32]) -> Self {
        Self {
            members: owners.iter().max().unwrap() + 2,
            fence: 5,
            later: 0,
            now: owners.iter().map(|owner| (*owner, 1)).collect(),
            then: None,
            down: Vec::new(),
            restarted: Vec::new(),
            me: 1,
        }
    }

    /// These are to own.
    pub(super) fn joint(mut self, owners: &[u32]) -> Self {
        self.fence += 1;
        self.then = Some(owners.iter().map(|owner| (*owner, 1)).collect());
        self
    }

    /// Those that were to own do.
    pub(super) fn finished(mut self) -> Self {
        self.fence += 1;
        self.now = self.then.take().unwrap();
        self
    }

    pub(super) fn down(mut self, members: &[u32]) -> Self {
        self.later += 1;
        self.down = members.to_vec();
        self
    }

    pub(super) fn me(mut self, me: u32) -> Self {
        self.me = me;
        self
    }

    pub(super) fn members(mut self, members: u32) -> Self {
        self.members = members;
        self
    }

    pub(super) fn routing(&self) -> Arc<Routing> {
        let owners = |owners: &[(u32, u32)]| {
            let owner =
                |(ordinal, boot): &(u32, u32)| Owner { ordinal: Ordinal::new(*ordinal), boot: Boot::new(*boot) };
            owners.iter().map(owner).collect::<Vec<_>>()
        };
        let copies = u8::try_from(self.now.len()).unwrap();
        let wanted = self.then.as_ref().map_or(copies, |then| u8::try_from(then.len()).unwrap());
        let fields = ViewFields {
            cluster: "test".parse().unwrap(),
            cluster_id: ClusterId::from_random(1),
            recovered_from: None,
            epoch: Epoch::new(self.fence + self.later),
            previous: ViewHash::default(),
            ballot: Ballot::default(),
            coordinator: Ordinal::new(1),
            voters: vec![Ordinal::new(1)],
            config: ViewConfig {
                slots: SlotCount::from_log2(10).unwrap(),
                replication: wanted,
                ..ViewConfig::default()
            },
            members: (1..=self.members).map(|index| self.member(index)).collect(),
            copies,
            ring: owners(&self.now),
            target: self.then.as_deref().map(owners),
            tokens: AssignedTokens::default(),
            fence: Fence::new(self.fence),
            next_ordinal: Ordinal::new(self.members + 1),
            proposed_at_ms: 0,
            changes: Vec::new(),
        };
        let boot = self.member(self.me).boot;
        Arc::new(Routing::new(Arc::new(View::new(fields).unwrap()), Instance::from_random(self.me.into()), boot))
    }

    fn member(&self, index: u32) -> Member {
        let name: Label = format!("n{index}").parse().unwrap();
        let identity = Identity { role: Role::Node, name: name.clone(), cluster: "test".parse().unwrap() };
        Member {
            ordinal: Ordinal::new(index),
            node_id: identity.node_id(),
            name,
            instance: Instance::from_random(index.into()),
            boot: Boot::new(if self.restarted.contains(&index) { 2 } else { 1 }),
            address: format!("10.0.0.{index}:7750").parse().unwrap(),
            zone: None,
            vnodes: 16,
            priority: 0,
            versions: VERSIONS,
            placed: None,
            live: if self.down.contains(&index) { Liveness::Down } else { Liveness::Up },
            degraded: false,
            intent: Intent::Stay,
        }
    }
}

/// Version number `n`.
pub(super) fn version(n: u64) -> Version {
    Version { hlc: Hlc::new(n), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

/// A node has a value of version `n`, which is the text `n`.
pub(super) fn value(n: u64) -> ReplicaReply {
    ReplicaReply::Entry { stamp: Stamp::value(version(n), 0), value: n.to_string().into() }
}

/// A node has a value of version `n` that expires.
pub(super) fn expiring(n: u64, expires_at_ms: u64) -> ReplicaReply {
    ReplicaReply::Entry { stamp: Stamp::value(version(n), expires_at_ms), value: n.to_string().into() }
}

/// A node knows of a deletion.
pub(super) fn tombstone(n: u64) -> ReplicaReply {
    ReplicaReply::Entry { stamp: Stamp::tombstone(version(n)), value: Bytes::new() }
}

pub(super) fn stored() -> ReplicaReply {
    ReplicaReply::Stored { was_live: false }
}

pub(super) fn refused(code: ErrorCode) -> ReplicaReply {
    ReplicaReply::Refused(Refusal::new(code, 0))
}

pub(super) struct Stage {
    now_ms: u64,
    /// How long after its beginning an operation is to be answered.
    pub(super) deadline_ms: u64,
    pub(super) coordinator: Coordinator<u32>,
    routing: Arc<Routing>,
    key: Bytes,
    tokens: u32,
    asked: BTreeMap<u32, Vec<OperationId>>,
}

impl Stage {
    pub(super) fn new(layout: &Layout) -> Self {
        Self::planted(layout, DataPlanted::NOTHING)
    }

    /// With a key whose owners, and whose substitutes, are in the order of their numbers, so that tests can be read.
    pub(super) fn planted(layout: &Layout, planted: DataPlanted) -> Self {
        let routing = layout.routing();
        let is_ordered = |key: &Bytes| {
            let slot = routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
            let owners = routing.owners(slot);
            let ordered = owners.now.is_sorted() && owners.then.is_none_or(<[Ordinal]>::is_sorted);
            ordered && routing.substitutes(slot).is_sorted()
        };
        let key = (0..10_000).map(|i| Bytes::from(format!("k{i}"))).find(is_ordered).unwrap();
        let coordinator = Coordinator::new(planted);
        Self { now_ms: 0, deadline_ms: 1000, coordinator, routing, key, tokens: 0, asked: BTreeMap::new() }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_ms * 1000)
    }

    pub(super) fn begin(&mut self, request: ClientOperation) -> String {
        self.tokens += 1;
        let deadline = Timestamp::from_micros((self.now_ms + self.deadline_ms) * 1000);
        self.coordinator.begin(self.now(), &self.routing, self.tokens, deadline, request);
        self.said()
    }

    /// Sets version 7.
    pub(super) fn set(&mut self, level: WriteLevel) -> String {
        let record = Record::new(&self.key, b"7");
        self.begin(ClientOperation::Set { level, stamp: Stamp::value(version(7), 0), record })
    }

    pub(super) fn delete(&mut self, level: WriteLevel) -> String {
        let key = self.key.clone();
        self.begin(ClientOperation::Delete { level, stamp: Stamp::tombstone(version(7)), key })
    }

    pub(super) fn touch(&mut self, level: WriteLevel, touched: u64, expires_at_ms: u64) -> String {
        let (touched, key) = (Hlc::new(touched), self.key.clone());
        self.begin(ClientOperation::Touch { level, touched, expires_at_ms, wall: WALL, key })
    }

    pub(super) fn get(&mut self, level: ReadLevel) -> String {
        let key = self.key.clone();
        self.begin(ClientOperation::Get { level, at_least: None, wall: WALL, key })
    }

    pub(super) fn get_at_least(&mut self, level: ReadLevel, n: u64) -> String {
        let key = self.key.clone();
        self.begin(ClientOperation::Get { level, at_least: Some(version(n)), wall: WALL, key })
    }

    pub(super) fn time_to_live(&mut self, level: ReadLevel) -> String {
        let key = self.key.clone();
        self.begin(ClientOperation::TimeToLive { level, at_least: None, wall: WALL, key })
    }

    /// `node` answers the first thing that it was asked and has not answered.
    pub(super) fn reply(&mut self, node: u32, reply: ReplicaReply) -> String {
        let operation = self.asked.get_mut(&node).expect("it was asked").remove(0);
        self.reply_to(operation, node, reply)
    }

    pub(super) fn reply_to(&mut self, operation: OperationId, node: u32, reply: ReplicaReply) -> String {
        self.coordinator.handle_reply(self.now(), &self.routing, operation, Ordinal::new(node), reply);
        self.said()
    }

    /// What `node` was asked and has not answered.
    pub(super) fn asked(&self, node: u32) -> &[OperationId] {
        self.asked.get(&node).map(Vec::as_slice).unwrap_or_default()
    }

    /// Time goes on to `ms`, through every moment at which something is to be done.
    pub(super) fn at(&mut self, ms: u64) -> String {
        let end = Timestamp::from_micros(ms * 1000);
        while let Some(at) = self.coordinator.poll_timeout().filter(|at| *at <= end) {
            self.now_ms = self.now_ms.max(at.as_micros().div_ceil(1000));
            self.coordinator.handle_timeout(at.max(self.now()), &self.routing);
            assert!(self.coordinator.poll_timeout().is_none_or(|next| next > at), "time goes on");
        }
        self.now_ms = ms;
        self.said()
    }

    pub(super) fn install(&mut self, layout: &Layout) -> String {
        self.routing = layout.routing();
        self.coordinator.handle_install(self.now(), &self.routing);
        self.said()
    }

    fn said(&mut self) -> String {
        let mut said = Vec::new();
        while let Some(output) = self.coordinator.poll_output() {
            said.push(match output {
                Output::Ask { operation, to, fence, request } => {
                    assert_eq!(fence, self.routing.fence());
                    self.asked.entry(to.value()).or_default().push(operation);
                    describe_request(to, &request)
                }
                Output::Tell { to, fence, request } => {
                    assert_eq!(fence, self.routing.fence());
                    format!("tell {}", describe_request(to, &request))
                }
                Output::Answer { token: _, reply } => describe_reply(&reply),
            });
        }
        said.join(", ")
    }
}

fn describe_request(to: Ordinal, request: &ReplicaRequest) -> String {
    match request {
        ReplicaRequest::Get { .. } => format!("get {to}"),
        ReplicaRequest::Put { stamp, hint_for, record } => {
            let hint = hint_for.map(|owner| format!(" for {owner}")).unwrap_or_default();
            let touched = if stamp.touched == Hlc::MIN { String::new() } else { format!("+{}", stamp.touched.value()) };
            let expires = match stamp.expires_at_ms {
                0 => String::new(),
                ms => format!(" until {ms}"),
            };
            let value = String::from_utf8_lossy(record.value());
            format!("put {to}{hint} {}{touched}={value}{expires}", stamp.version.hlc.value())
        }
    }
}

fn describe_reply(reply: &ClientReply) -> String {
    let stale = |stale: &bool| if *stale { " stale" } else { "" };
    match reply {
        ClientReply::Value { stamp, value, stale: old } => {
            assert_eq!(value, stamp.version.hlc.value().to_string().as_bytes());
            format!("=> {}{}", stamp.version.hlc.value(), stale(old))
        }
        ClientReply::TimeToLive { stamp, stale: old } => format!("=> until {}{}", stamp.expires_at_ms, stale(old)),
        ClientReply::Miss => "=> miss".to_owned(),
        ClientReply::Done(written) if written.existed => format!("=> done {} again", written.version.hlc.value()),
        ClientReply::Done(written) => format!("=> done {}", written.version.hlc.value()),
        ClientReply::Unfinished { stamp, held } => format!("=> unfinished {} {held}", stamp.version.hlc.value()),
        ClientReply::Refused(refusal) => format!("=> {:?} {}", refusal.code, refusal.argument),
    }
}
