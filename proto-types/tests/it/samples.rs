//! One sample of everything that crosses the wire. A new frame type or message does not compile until it has one.

use std::num::NonZeroU64;

use bytes::BytesMut;
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, Hlc, Identity, Instance, KeyspaceId, Label, Member, NodeId,
    Nonce, Ordinal, ReadLevel, RequestId, Role, SlotCount, Stamp, Term, Version, View, WriteLevel, codec,
    frame::{FrameHeader, FrameType, TraceContext},
    message::{
        client::{Expiry, KeyHeader, ReadHeader, Refusal, Unfinished, ValueHeader, WriteHeader, Written},
        replica::{EntryHeader, PutHeader, Stored},
        session::{FEATURES, Hello, HelloAck, NodeHello, Session, VERSIONS, VersionRange},
    },
    view::{
        Address, AssignedTokens, Change, Intent, Liveness, Owner, Placed, RingAlgorithm, TimingProfile, ViewConfig,
        ViewDelta, ViewFields, ViewHash,
    },
};

pub(crate) use transfer::{block, every_other_slot, transfer_replies, transfer_requests};

pub(crate) use messages::{
    admin_replies, admin_requests, applicant, changes, genesis, heartbeats, longest_ping, peer_messages,
};

mod messages;
mod transfer;

pub(crate) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub(crate) fn node_id(name: &str) -> NodeId {
    Identity { role: Role::Node, name: label(name), cluster: label("prod") }.node_id()
}

pub(crate) fn address(index: u32) -> Address {
    format!("10.0.0.{}:7750", index + 1).parse().unwrap()
}

pub(crate) fn member(index: u32) -> Member {
    let name = format!("n{}", index + 1);
    Member {
        ordinal: Ordinal::new(index),
        node_id: node_id(&name),
        name: label(&name),
        instance: Instance::from_random(u128::from(index) << 96 | 7),
        boot: Boot::new(300 + index),
        address: address(index),
        zone: (index > 0).then(|| label("zone-b")),
        vnodes: 128,
        priority: u8::from(index == 1),
        versions: VersionRange { min: 1, max: 2 },
        placed: (index == 1).then_some(Placed { zone: None, vnodes: 64 }),
        live: if index == 2 { Liveness::Down } else { Liveness::Up },
        degraded: index == 3,
        intent: if index == 0 { Intent::Leave } else { Intent::Stay },
    }
}

pub(crate) fn config() -> ViewConfig {
    let timing = TimingProfile::Wan;
    ViewConfig {
        slots: SlotCount::DEFAULT,
        replication: 2,
        ring_algorithm: RingAlgorithm::Hashed,
        timing,
        out_after_s: 300,
    }
}

pub(crate) fn ballot() -> Ballot {
    Ballot { term: Term::new(4), ordinal: Ordinal::new(1), boot: Boot::new(301) }
}

/// A ballot above [`ballot`].
pub(crate) fn ballot_above() -> Ballot {
    Ballot { term: Term::new(5), ..ballot() }
}

/// The fields of a valid view of four members, in which the first is leaving and the fourth joining.
pub(crate) fn view_fields() -> ViewFields {
    let members: Vec<Member> = (0..4).map(member).collect();
    let owners: Vec<Owner> = members.iter().map(|m| Owner { ordinal: m.ordinal, boot: m.boot }).collect();
    ViewFields {
        cluster: label("prod"),
        cluster_id: ClusterId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        epoch: Epoch::new(9),
        recovered_from: Some(ClusterId::from_random(0x0fed)),
        previous: view_hash(0xcd),
        ballot: ballot(),
        coordinator: Ordinal::new(1),
        voters: vec![Ordinal::new(0), Ordinal::new(1), Ordinal::new(2)],
        config: config(),
        copies: 3,
        members,
        ring: owners[..3].to_vec(),
        target: Some(owners),
        tokens: AssignedTokens::default(),
        fence: Fence::new(8),
        next_ordinal: Ordinal::new(4),
        proposed_at_ms: 1_800_000_000_000,
        changes: vec![Change::Joined(label("n4")), Change::RingChangeBegun],
    }
}

/// The hash that is `byte` all over.
pub(crate) fn view_hash(byte: u8) -> ViewHash {
    codec::decode_exact(&[byte; 32], "hash", 32).unwrap()
}

pub(crate) fn view() -> View {
    View::new(view_fields()).unwrap()
}

/// The view after it: the ring change is done, the first member is gone, and another one is up.
pub(crate) fn next_view() -> View {
    let (before, mut fields) = (view().hash(), view_fields());
    fields.epoch = Epoch::new(10);
    fields.previous = before;
    fields.members.remove(0);
    fields.members[1].live = Liveness::Up;
    fields.voters = vec![Ordinal::new(1), Ordinal::new(2), Ordinal::new(3)];
    fields.ring = fields.target.take().unwrap().split_off(1);
    fields.fence = Fence::new(10);
    fields.proposed_at_ms += 1_000;
    fields.changes = vec![Change::RingChangeDone, Change::Removed(label("n1")), Change::Up(label("n3"))];
    View::new(fields).unwrap()
}

/// What makes [`next_view`] of [`view`].
pub(crate) fn delta() -> ViewDelta {
    ViewDelta::between(&view(), &next_view()).unwrap()
}

pub(crate) fn founders() -> Vec<Label> {
    ["n1", "n2", "n3"].map(label).to_vec()
}

pub(crate) fn node_hello() -> NodeHello {
    NodeHello {
        instance: Instance::from_random(7),
        boot: Boot::new(300),
        nonce: Nonce::new(0xfeed),
        address: address(0),
    }
}

pub(crate) fn hello_ack() -> HelloAck {
    let session = Session { version: VERSIONS.max, features: FEATURES };
    HelloAck { session, epoch: Epoch::new(9), value_bytes_max: 1 << 20, node: Some(node_hello()) }
}

/// A write of the year 2027.
pub(crate) fn version() -> Version {
    Version {
        hlc: Hlc::new(Hlc::from_millis(1_800_000_000_000).value() + 3),
        ordinal: Ordinal::new(1),
        boot: Boot::new(301),
    }
}

/// That of a value that expires, and was touched.
pub(crate) fn stamp() -> Stamp {
    Stamp { touched: Hlc::from_millis(1_800_000_000_500), ..Stamp::value(version(), 1_800_000_060_000) }
}

/// The bytes that `encode` appends.
pub(crate) fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.into()
}

/// Sample bodies of frames of `kind`, each with its name.
pub(crate) fn bodies(kind: FrameType) -> Vec<(&'static str, Vec<u8>)> {
    let keyspace = KeyspaceId::DEFAULT;
    let key = b"greeting".as_slice();
    let in_a_minute = Expiry::After(NonZeroU64::new(60_000).unwrap());
    let write = |expiry, again| {
        let (level, after) = (WriteLevel::Quorum, version().hlc);
        encoded(|out| WriteHeader { keyspace, level, after, expiry, again, key }.encode(out))
    };
    let read = |level, at_least| encoded(|out| ReadHeader { keyspace, level, at_least, key }.encode(out));
    let put = |stamp, hint_for| encoded(|out| PutHeader { keyspace, stamp, hint_for, key }.encode(out));
    match kind {
        FrameType::Hello => vec![
            ("of a client", encoded(|out| Hello { node: None }.encode(out))),
            ("of a node", encoded(|out| Hello { node: Some(node_hello()) }.encode(out))),
        ],
        FrameType::HelloAck => vec![
            ("to a client", encoded(|out| codec::encode(&HelloAck { node: None, ..hello_ack() }, out))),
            ("to a node", encoded(|out| codec::encode(&hello_ack(), out))),
        ],
        FrameType::View => vec![("", encoded(|out| view().encode(out)))],
        FrameType::ViewDelta => vec![("", encoded(|out| delta().encode(out)))],
        FrameType::Get | FrameType::TimeToLive => {
            vec![("one", read(ReadLevel::One, None)), ("all at least", read(ReadLevel::All, Some(version())))]
        }
        FrameType::Delete => vec![
            ("", write(Expiry::Never, None)),
            ("carried on", write(Expiry::Never, Some(Stamp::tombstone(version())))),
        ],
        FrameType::ReplicaGet => vec![("", encoded(|out| KeyHeader { keyspace, key }.encode(out)))],
        FrameType::ReplicaPut => vec![
            ("a value", [put(stamp(), None), b"hello".to_vec()].concat()),
            ("a tombstone to keep", put(Stamp::tombstone(version()), Some(Ordinal::new(2)))),
        ],
        FrameType::Stored => vec![("", encoded(|out| codec::encode(&Stored { was_live: true }, out)))],
        FrameType::Entry => {
            let header = encoded(|out| codec::encode(&EntryHeader { stamp: stamp() }, out));
            vec![("", [header, b"hello".to_vec()].concat())]
        }
        FrameType::Transfer => transfer_requests(),
        FrameType::TransferReply => transfer_replies(),
        FrameType::Set => vec![
            ("for ever", [write(Expiry::Never, None), b"hello".to_vec()].concat()),
            ("for a minute", [write(in_a_minute, None), b"hello".to_vec()].concat()),
            ("carried on", [write(in_a_minute, Some(stamp())), b"hello".to_vec()].concat()),
        ],
        FrameType::Touch => vec![("", write(in_a_minute, None))],
        FrameType::Value => {
            let header = encoded(|out| codec::encode(&ValueHeader { version: version(), stale: true }, out));
            vec![("", [header, b"hello".to_vec()].concat())]
        }
        FrameType::Done => {
            vec![("", encoded(|out| codec::encode(&Written { version: version(), existed: true }, out)))]
        }
        FrameType::Unfinished => {
            vec![("", encoded(|out| codec::encode(&Unfinished { stamp: stamp(), held: 1 }, out)))]
        }
        FrameType::Remaining => vec![
            ("for ever", encoded(|out| codec::encode(&Expiry::Never, out))),
            ("for a minute", encoded(|out| codec::encode(&in_a_minute, out))),
        ],
        FrameType::Refusal => vec![
            ("bare", encoded(|out| Refusal::new(ErrorCode::Busy, 50).encode(out))),
            ("with a text", encoded(|out| refusal().encode(out))),
        ],
        FrameType::Peer => named(peer_messages(), |message, out| message.encode(out)),
        FrameType::Admin => named(admin_requests(), |request, out| request.encode(out)),
        FrameType::AdminReply => named(admin_replies(), |reply, out| reply.encode(out)),
        FrameType::ViewGet | FrameType::ViewWatch | FrameType::Miss | FrameType::Absent => vec![("", Vec::new())],
    }
}

/// Sample datagrams, each with its name.
pub(crate) fn datagrams() -> Vec<(&'static str, Vec<u8>)> {
    named(heartbeats(), |heartbeat, out| heartbeat.encode(out))
}

/// Every frame body and every datagram, each with a name.
pub(crate) fn everything() -> Vec<(String, Vec<u8>)> {
    let kinds = FrameType::ALL.iter();
    let bodies =
        kinds.flat_map(|&kind| bodies(kind).into_iter().map(move |(name, body)| (format!("{kind:?} {name}"), body)));
    bodies.chain(datagrams().into_iter().map(|(name, bytes)| (name.to_owned(), bytes))).collect()
}

/// `messages`, encoded.
fn named<M>(messages: Vec<(&'static str, M)>, encode: impl Fn(&M, &mut BytesMut)) -> Vec<(&'static str, Vec<u8>)> {
    messages.into_iter().map(|(name, message)| (name, encoded(|out| encode(&message, out)))).collect()
}

pub(crate) fn refusal() -> Refusal {
    Refusal { code: ErrorCode::NotReady, argument: 0, text: "waiting for n2 and n3".to_owned() }
}

/// A frame of `kind` around `body`.
pub(crate) fn frame(kind: FrameType, trace: TraceContext, body: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        deadline_ms: 1_000,
        trace,
        ..FrameHeader::new(kind, RequestId::new(42), Fence::new(8), Epoch::new(9))
    };
    encoded(|out| {
        header.encode_with(out, 0, |out| {
            out.extend_from_slice(&[0xab; 24][..trace.bytes()]);
            out.extend_from_slice(body);
        });
    })
}
