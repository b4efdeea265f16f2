//! Arbitrary values of everything that crosses the wire.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
};

use proptest::{collection::vec, option, prelude::*, test_runner::RngSeed};
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, Identity, Instance, Label, Member, Nonce, Ordinal, Role,
    SlotCount, Term, View,
    frame::{FrameHeader, FrameType, TraceContext},
    id::RequestId,
    message::{
        client::{Expiry, Refusal},
        peer::{Founder, GenesisDigest, PeerMessage},
        session::{Hello, HelloAck, NodeHello, Session},
    },
    view::{Address, Liveness, Owner, RING_ALGORITHM, ViewConfig, ViewFields, ViewHash},
};

/// `cases` cases, the same in every run unless `PROPTEST_RNG_SEED` says otherwise.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    match config.rng_seed {
        RngSeed::Random => ProptestConfig { rng_seed: RngSeed::Fixed(0x5eed), ..config },
        RngSeed::Fixed(_) => config,
    }
}

/// Integers of every magnitude, so that each length of a varint occurs.
fn integer() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0_u32..64).prop_map(|(bits, shift)| bits >> shift)
}

fn short_integer() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0_u32..32).prop_map(|(bits, shift)| bits >> shift)
}

pub(crate) fn label() -> impl Strategy<Value = Label> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn address() -> impl Strategy<Value = Address> {
    let ip = any::<(IpAddr, u16)>().prop_map(|(ip, port)| Address::from(SocketAddr::from((ip, port.max(1)))));
    let named = ("[a-z][a-z0-9.-]{0,200}", 1..=u16::MAX);
    prop_oneof![ip, named.prop_map(|(host, port)| format!("{host}:{port}").parse().unwrap())]
}

fn boot() -> impl Strategy<Value = Boot> {
    short_integer().prop_map(Boot::new)
}

fn instance() -> impl Strategy<Value = Instance> {
    any::<u128>().prop_map(Instance::from_random)
}

fn cluster_id() -> impl Strategy<Value = ClusterId> {
    any::<u128>().prop_map(ClusterId::from_random)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (integer(), short_integer(), boot()).prop_map(|(term, ordinal, boot)| Ballot {
        term: Term::new(term),
        ordinal: Ordinal::new(ordinal),
        boot,
    })
}

fn config() -> impl Strategy<Value = ViewConfig> {
    (4_u8..=20, 1_u8..=7).prop_map(|(log2, replication)| ViewConfig {
        slots: SlotCount::from_log2(log2).unwrap(),
        replication,
        ring_algorithm: RING_ALGORITHM,
    })
}

fn genesis() -> impl Strategy<Value = GenesisDigest> {
    (label(), vec(label(), 0..4), config())
        .prop_map(|(cluster, founders, config)| GenesisDigest::of(&cluster, &founders, &config))
}

/// A member of cluster `prod`; ordinal and name are replaced by those of its place.
fn member() -> impl Strategy<Value = Member> {
    let life = (instance(), boot(), any::<bool>());
    (label(), life, address(), option::of(label()), 0..=4096_u32).prop_map(|(name, life, address, zone, vnodes)| {
        let (instance, boot, up) = life;
        let identity = Identity { role: Role::Node, name, cluster: "prod".parse().unwrap() };
        let live = if up { Liveness::Up } else { Liveness::Down };
        let (node_id, name) = (identity.node_id(), identity.name);
        Member { ordinal: Ordinal::default(), node_id, name, instance, boot, address, zone, vnodes, live }
    })
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    let numbers = (integer(), integer(), short_integer(), cluster_id(), ballot(), config());
    (vec(member(), 1..9), numbers, any::<[u16; 3]>()).prop_map(|(mut members, numbers, chosen)| {
        let (epoch, fence, gap, cluster_id, ballot, config) = numbers;
        let mut names = BTreeSet::new();
        members.retain(|member| names.insert(member.name.clone()));
        for (place, member) in (0_u32..).zip(&mut members) {
            member.ordinal = Ordinal::new(place * (1 + gap / 16));
        }
        let owners = |mask: u16| {
            let chosen = members.iter().enumerate().filter(|(place, _)| mask >> place & 1 == 1);
            chosen.map(|(_, member)| Owner { ordinal: member.ordinal, boot: member.boot }).collect::<Vec<_>>()
        };
        let epoch = epoch.max(1);
        let fields = ViewFields {
            cluster: "prod".parse().unwrap(),
            cluster_id,
            epoch: Epoch::new(epoch),
            previous: ViewHash::default(),
            ballot,
            coordinator: members[usize::from(chosen[2]) % members.len()].ordinal,
            voters: members.iter().take(7).map(|member| member.ordinal).collect(),
            config,
            ring: owners(chosen[0]),
            target: (chosen[2] & 1 == 1).then(|| owners(chosen[1])),
            fence: Fence::new(fence.min(epoch)),
            next_ordinal: Ordinal::new(u32::MAX),
            members,
        };
        View::new(fields).unwrap()
    })
}

fn founder() -> impl Strategy<Value = Founder> {
    let place = (address(), option::of(label()), short_integer());
    (label(), instance(), boot(), place).prop_map(|(name, instance, boot, (address, zone, vnodes))| Founder {
        name,
        instance,
        boot,
        address,
        zone,
        vnodes,
    })
}

pub(crate) fn peer_message() -> impl Strategy<Value = PeerMessage> {
    let epoch = || integer().prop_map(Epoch::new);
    prop_oneof![
        (epoch(), genesis(), ballot()).prop_map(|(epoch, genesis, ballot)| PeerMessage::Prepare {
            epoch,
            genesis,
            ballot
        }),
        (epoch(), ballot(), option::of((ballot(), view())), founder())
            .prop_map(|(epoch, ballot, accepted, founder)| PeerMessage::Promise { epoch, ballot, accepted, founder }),
        (epoch(), ballot(), view()).prop_map(|(epoch, ballot, view)| PeerMessage::Propose { epoch, ballot, view }),
        (epoch(), ballot()).prop_map(|(epoch, ballot)| PeerMessage::Accepted { epoch, ballot }),
        (epoch(), ballot(), ballot()).prop_map(|(epoch, ballot, seen)| PeerMessage::Reject { epoch, ballot, seen }),
        view().prop_map(|view| PeerMessage::Commit { view }),
        (vec(label(), 0..9), config()).prop_map(|(founders, config)| PeerMessage::Founding { founders, config }),
    ]
}

fn node_hello() -> impl Strategy<Value = NodeHello> {
    (instance(), boot(), integer(), address()).prop_map(|(instance, boot, nonce, address)| NodeHello {
        instance,
        boot,
        nonce: Nonce::new(nonce),
        address,
    })
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    option::of(node_hello()).prop_map(|node| Hello { node })
}

pub(crate) fn hello_ack() -> impl Strategy<Value = HelloAck> {
    (any::<u16>(), integer(), integer(), short_integer(), option::of(node_hello())).prop_map(
        |(version, features, epoch, value_bytes_max, node)| HelloAck {
            session: Session { version, features },
            epoch: Epoch::new(epoch),
            value_bytes_max,
            node,
        },
    )
}

pub(crate) fn expiry() -> impl Strategy<Value = Expiry> {
    integer().prop_map(|ms| NonZeroU64::new(ms).map_or(Expiry::Never, Expiry::After))
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    (prop::sample::select(ErrorCode::ALL), integer(), "\\PC{0,200}").prop_map(|(code, argument, text)| Refusal {
        code,
        argument,
        text,
    })
}

/// Headers as a sender may write them: the length is within the limit of the type.
pub(crate) fn frame_header() -> impl Strategy<Value = FrameHeader> {
    let kind = prop::sample::select(FrameType::ALL);
    (kind, any::<u32>(), any::<[u64; 3]>(), any::<u32>(), any::<bool>()).prop_map(
        |(kind, length, [request, fence, epoch], deadline_ms, traced)| {
            let trace = if traced { TraceContext::Present } else { TraceContext::Absent };
            let body_bytes = length as usize % (kind.body_bytes_max() + 1) + trace.bytes();
            FrameHeader {
                deadline_ms,
                trace,
                body_bytes: u32::try_from(body_bytes).unwrap(),
                ..FrameHeader::new(kind, RequestId::new(request), Fence::new(fence), Epoch::new(epoch))
            }
        },
    )
}
