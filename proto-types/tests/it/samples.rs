//! One sample of everything that crosses the wire. A new frame type or message does not compile until it has one.

use std::num::NonZeroU64;

use bytes::BytesMut;
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, Identity, Instance, KeyspaceId, Label, Member, NodeId, Nonce,
    Ordinal, RequestId, Role, SlotCount, Term, View, codec,
    frame::{FrameHeader, FrameType, TraceContext},
    message::{
        client::{Expiry, KeyHeader, Refusal, WriteHeader},
        peer::{Founder, GenesisDigest, PeerMessage},
        session::{FEATURES, Hello, HelloAck, NodeHello, Session, VERSIONS},
    },
    view::{Address, Liveness, Owner, RING_ALGORITHM, ViewConfig, ViewFields, ViewHash},
};

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
        live: if index == 2 { Liveness::Down } else { Liveness::Up },
    }
}

pub(crate) fn config() -> ViewConfig {
    ViewConfig { slots: SlotCount::DEFAULT, replication: 2, ring_algorithm: RING_ALGORITHM }
}

pub(crate) fn ballot() -> Ballot {
    Ballot { term: Term::new(4), ordinal: Ordinal::new(1), boot: Boot::new(301) }
}

/// The fields of a valid view of four members, in which the fourth is joining.
pub(crate) fn view_fields() -> ViewFields {
    let members: Vec<Member> = (0..4).map(member).collect();
    let owners: Vec<Owner> = members.iter().map(|m| Owner { ordinal: m.ordinal, boot: m.boot }).collect();
    ViewFields {
        cluster: label("prod"),
        cluster_id: ClusterId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        epoch: Epoch::new(9),
        previous: ViewHash::default(),
        ballot: ballot(),
        coordinator: Ordinal::new(1),
        voters: vec![Ordinal::new(0), Ordinal::new(1), Ordinal::new(2)],
        config: config(),
        members,
        ring: owners[..3].to_vec(),
        target: Some(owners),
        fence: Fence::new(8),
        next_ordinal: Ordinal::new(4),
    }
}

pub(crate) fn view() -> View {
    View::new(view_fields()).unwrap()
}

pub(crate) fn founders() -> Vec<Label> {
    ["n1", "n2", "n3"].map(label).to_vec()
}

pub(crate) fn genesis() -> GenesisDigest {
    GenesisDigest::of(&label("prod"), &founders(), &config())
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

/// Every message between nodes, with its name.
pub(crate) fn peer_messages() -> Vec<(&'static str, PeerMessage)> {
    let (epoch, ballot) = (Epoch::GENESIS, ballot());
    let founder = Founder {
        name: label("n1"),
        instance: Instance::from_random(7),
        boot: Boot::new(300),
        address: address(0),
        zone: Some(label("zone-a")),
        vnodes: 128,
    };
    let messages = vec![
        PeerMessage::Prepare { epoch, genesis: genesis(), ballot },
        PeerMessage::Promise { epoch, ballot, accepted: None, founder: founder.clone() },
        PeerMessage::Promise { epoch, ballot, accepted: Some((ballot, view())), founder },
        PeerMessage::Propose { epoch, ballot, view: view() },
        PeerMessage::Accepted { epoch, ballot },
        PeerMessage::Reject { epoch, ballot, seen: Ballot { term: Term::new(5), ..ballot } },
        PeerMessage::Commit { view: view() },
        PeerMessage::Founding { founders: founders(), config: config() },
    ];
    messages.into_iter().map(|message| (peer_message_name(&message), message)).collect()
}

fn peer_message_name(message: &PeerMessage) -> &'static str {
    match message {
        PeerMessage::Prepare { .. } => "Prepare",
        PeerMessage::Promise { accepted: None, .. } => "Promise",
        PeerMessage::Promise { accepted: Some(_), .. } => "Promise with a view",
        PeerMessage::Propose { .. } => "Propose",
        PeerMessage::Accepted { .. } => "Accepted",
        PeerMessage::Reject { .. } => "Reject",
        PeerMessage::Commit { .. } => "Commit",
        PeerMessage::Founding { .. } => "Founding",
    }
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
    let write = |expiry| encoded(|out| WriteHeader { keyspace, expiry, key }.encode(out));
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
        FrameType::Get | FrameType::Delete | FrameType::TimeToLive => {
            vec![("", encoded(|out| KeyHeader { keyspace, key }.encode(out)))]
        }
        FrameType::Set => vec![
            ("for ever", [write(Expiry::Never), b"hello".to_vec()].concat()),
            ("for a minute", [write(in_a_minute), b"hello".to_vec()].concat()),
        ],
        FrameType::Touch => vec![("", write(in_a_minute))],
        FrameType::Value => vec![("", b"hello".to_vec())],
        FrameType::Remaining => vec![
            ("for ever", encoded(|out| codec::encode(&Expiry::Never, out))),
            ("for a minute", encoded(|out| codec::encode(&in_a_minute, out))),
        ],
        FrameType::Refusal => vec![
            ("bare", encoded(|out| Refusal::new(ErrorCode::Busy, 50).encode(out))),
            ("with a text", encoded(|out| refusal().encode(out))),
        ],
        FrameType::Peer => {
            let encode = |(name, message): (_, PeerMessage)| (name, encoded(|out| message.encode(out)));
            peer_messages().into_iter().map(encode).collect()
        }
        FrameType::ViewGet | FrameType::Done | FrameType::Miss => vec![("", Vec::new())],
    }
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
