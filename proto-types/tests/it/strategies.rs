//! Arbitrary values of everything that crosses the wire.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
};

use proptest::{collection::vec, option, prelude::*, test_runner::RngSeed};
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, ErrorCode, Fence, HashPoint, Identity, Instance, Label, Member, Nonce, Ordinal,
    Role, SlotCount, Term, Tokens, View, codec,
    frame::{FrameHeader, FrameType, TraceContext},
    id::RequestId,
    limits,
    message::{
        client::{Expiry, Refusal},
        session::{Hello, HelloAck, NodeHello, Session, VersionRange},
    },
    ring::RingMember,
    view::{
        Address, AssignedTokens, Change, Intent, Liveness, Owner, Placed, RingAlgorithm, TimingProfile, ViewConfig,
        ViewDelta, ViewFields, ViewHash,
    },
};

pub(crate) use data::{entry_header, slot_set, stamp, transfer_reply, transfer_request, version};
pub(crate) use messages::{admin_reply, admin_request, heartbeat, peer_message};

mod data;
mod messages;

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

fn view_hash() -> impl Strategy<Value = ViewHash> {
    any::<[u8; 32]>().prop_map(|bytes| codec::decode_exact(&bytes, "hash", 32).unwrap())
}

fn config() -> impl Strategy<Value = ViewConfig> {
    let timing = prop::sample::select(&TimingProfile::ALL[..]);
    let replication = prop_oneof![1_u8..=limits::REPLICATION_MAX, Just(limits::REPLICATION_ALL)];
    (4_u8..=20, replication, timing, short_integer(), any::<bool>()).prop_map(
        |(log2, replication, timing, out_after_s, balanced)| ViewConfig {
            slots: SlotCount::from_log2(log2).unwrap(),
            replication,
            ring_algorithm: if balanced { RingAlgorithm::Balanced } else { RingAlgorithm::Hashed },
            timing,
            out_after_s,
        },
    )
}

fn versions() -> impl Strategy<Value = VersionRange> {
    any::<(u16, u16)>().prop_map(|(min, max)| VersionRange { min, max })
}

fn change() -> impl Strategy<Value = Change> {
    let with_name = prop::sample::select(
        &[
            Change::Elected as fn(Label) -> Change,
            Change::Joined,
            Change::Restarted,
            Change::Replaced,
            Change::Changed,
            Change::Up,
            Change::Down,
            Change::Slow,
            Change::QuickAgain,
            Change::TooLongDown,
            Change::Removed,
            Change::Votes,
            Change::VotesNoMore,
        ][..],
    );
    let bare =
        [Change::Formed, Change::RingChangeBegun, Change::RingChangeDone, Change::RingChangeAborted].map(Just).to_vec();
    prop_oneof![
        proptest::strategy::Union::new(bare),
        (with_name, label()).prop_map(|(change, name)| change(name)),
        (label(), address()).prop_map(|(name, address)| Change::Moved(name, address)),
        (label(), label()).prop_map(|(name, by)| Change::Draining(name, by)),
        (label(), label()).prop_map(|(name, by)| Change::ForcedOut(name, by)),
        (label(), integer()).prop_map(|(name, epoch)| Change::Recovered(name, Epoch::new(epoch))),
        (any::<u8>(), label()).prop_map(|(copies, by)| Change::CopiesWanted(copies, by)),
        any::<u8>().prop_map(Change::CopiesInForce),
        (label(), short_integer(), label()).prop_map(|(name, vnodes, by)| Change::Weighed(name, vnodes, by)),
        short_integer().prop_map(Change::SlotsLost),
    ]
}

/// A member of cluster `prod`; ordinal and, where a name is there twice, intent are replaced by those of its place.
fn member() -> impl Strategy<Value = Member> {
    let life = (instance(), boot(), any::<[bool; 3]>());
    let placed = (option::of(label()), 0..=4096_u32).prop_map(|(zone, vnodes)| Placed { zone, vnodes });
    let place = (address(), option::of(label()), 0..=4096_u32, option::weighted(0.2, placed));
    (label(), life, place, any::<u8>(), versions()).prop_map(|(name, life, place, priority, versions)| {
        let (instance, boot, [up, degraded, stays]) = life;
        let (address, zone, vnodes, placed) = place;
        let identity = Identity { role: Role::Node, name, cluster: "prod".parse().unwrap() };
        let live = if up { Liveness::Up } else { Liveness::Down };
        let intent = if stays { Intent::Stay } else { Intent::Leave };
        let (ordinal, node_id, name) = (Ordinal::default(), identity.node_id(), identity.name);
        Member {
            ordinal,
            node_id,
            name,
            instance,
            boot,
            address,
            zone,
            vnodes,
            priority,
            versions,
            placed,
            live,
            degraded,
            intent,
        }
    })
}

/// One to eight members in order, some of them with the name of another.
fn members() -> impl Strategy<Value = Vec<Member>> {
    (vec((member(), any::<bool>()), 1..9), short_integer()).prop_map(|(drawn, gap)| {
        let mut names = BTreeSet::new();
        let mut members: Vec<Member> = Vec::new();
        for ((mut member, namesake), place) in drawn.into_iter().zip(0_u32..) {
            if let Some(first) = members.first().filter(|_| namesake) {
                (member.name, member.node_id) = (first.name.clone(), first.node_id);
            }
            if member.intent == Intent::Stay && !names.insert(member.name.clone()) {
                member.intent = Intent::Leave;
            }
            member.ordinal = Ordinal::new(place * (1 + gap / 16));
            members.push(member);
        }
        members
    })
}

/// What makes a view of members, beside them.
#[derive(Clone, Debug)]
struct Draw {
    epoch: u64,
    fence: u64,
    ballot: Ballot,
    config: ViewConfig,
    copies: u8,
    previous: ViewHash,
    cluster_id: ClusterId,
    recovered_from: Option<ClusterId>,
    proposed_at_ms: u64,
    changes: Vec<Change>,
    chosen: [u16; 4],
}

fn draw() -> impl Strategy<Value = Draw> {
    let numbers = (integer(), integer(), integer(), any::<[u16; 4]>());
    let about = (ballot(), (config(), 1..=u8::MAX), view_hash(), cluster_id(), option::of(cluster_id()));
    (numbers, about, vec(change(), 0..5)).prop_map(|(numbers, about, changes)| {
        let (epoch, fence, proposed_at_ms, chosen) = numbers;
        let (ballot, (config, copies), previous, cluster_id, recovered_from) = about;
        let epoch = epoch.clamp(1, 1 << 61);
        let fence = fence.min(epoch);
        let previous = if epoch == 1 { ViewHash::default() } else { previous };
        Draw {
            epoch,
            fence,
            ballot,
            config,
            copies,
            previous,
            cluster_id,
            recovered_from,
            proposed_at_ms,
            changes,
            chosen,
        }
    })
}

fn view_of(members: Vec<Member>, draw: Draw) -> View {
    let [ring, target, coordinator, voters] = draw.chosen;
    let of = |mask: u16| members.iter().enumerate().filter(move |(place, _)| mask >> place & 1 == 1).map(|(_, m)| m);
    let owners = |mask| of(mask).map(|m| Owner { ordinal: m.ordinal, boot: m.boot }).collect::<Vec<_>>();
    let mut voters: Vec<Ordinal> = of(voters).map(|member| member.ordinal).take(7).collect();
    if voters.is_empty() {
        voters = vec![members[0].ordinal];
    }
    let fields = ViewFields {
        cluster: "prod".parse().unwrap(),
        cluster_id: draw.cluster_id,
        epoch: Epoch::new(draw.epoch),
        recovered_from: draw.recovered_from,
        previous: draw.previous,
        ballot: draw.ballot,
        coordinator: members[usize::from(coordinator) % members.len()].ordinal,
        voters,
        config: ViewConfig { ring_algorithm: RingAlgorithm::Hashed, ..draw.config },
        copies: draw.copies,
        ring: owners(ring),
        target: (coordinator & 1 == 1).then(|| owners(target)),
        tokens: AssignedTokens::default(),
        fence: Fence::new(draw.fence),
        next_ordinal: Ordinal::new(u32::MAX),
        proposed_at_ms: draw.proposed_at_ms,
        changes: draw.changes,
        members,
    };
    assigned(View::new(fields).unwrap(), draw.config.ring_algorithm)
}

/// The same view with that algorithm, and tokens if that wants them.
fn assigned(view: View, algorithm: RingAlgorithm) -> View {
    let mut fields = view.fields().clone();
    fields.config.ring_algorithm = algorithm;
    if algorithm == RingAlgorithm::Balanced {
        let tokens =
            |members: Vec<RingMember>| members.iter().map(|member| hashed(member, fields.config.slots)).collect();
        let target = fields.target.as_ref().map(|target| tokens(view.members_towards(target)));
        fields.tokens = AssignedTokens { ring: tokens(view.ring_members()), target: target.unwrap_or_default() };
    }
    View::new(fields).unwrap()
}

/// Tokens of `member`, as many as it has vnodes.
fn hashed(member: &RingMember, slots: SlotCount) -> Tokens {
    Tokens::new((0..member.vnodes).map(|i| slots.slot_of(HashPoint::of_vnode(member.node_id, i))).collect())
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    (members(), draw()).prop_map(|(members, draw)| view_of(members, draw))
}

/// Two views of one cluster, the later one last. Some members are in both, and some of these differ.
pub(crate) fn views() -> impl Strategy<Value = (View, View)> {
    let altered = vec((0_usize..8, any::<(u32, bool)>(), address()), 0..4);
    (members(), draw(), draw(), any::<[u8; 2]>(), altered).prop_map(|(members, first, mut second, masks, altered)| {
        (second.cluster_id, second.recovered_from) = (first.cluster_id, first.recovered_from);
        second.epoch = first.epoch + 1 + second.epoch % 4;
        second.fence = second.fence.min(second.epoch);
        let some = |members: &[Member], mask: u8| {
            let here = members.iter().enumerate().filter(|(place, _)| mask >> place & 1 == 1);
            let here: Vec<Member> = here.map(|(_, member)| member.clone()).collect();
            if here.is_empty() { members.to_vec() } else { here }
        };
        let old = view_of(some(&members, masks[0]), first);
        let mut members = members;
        for (place, (boot, up), address) in altered {
            if let Some(member) = members.get_mut(place) {
                (member.boot, member.address) = (Boot::new(boot), address);
                member.live = if up { Liveness::Up } else { Liveness::Down };
                member.degraded = !member.degraded;
            }
        }
        (old, view_of(some(&members, masks[1]), second))
    })
}

pub(crate) fn view_delta() -> impl Strategy<Value = ViewDelta> {
    views().prop_map(|(old, new)| ViewDelta::between(&old, &new).unwrap())
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
    (kind, any::<u32>(), any::<[u64; 3]>(), any::<u32>(), any::<[bool; 2]>()).prop_map(
        |(kind, length, [request, fence, epoch], deadline_ms, [traced, more])| {
            let trace = if traced { TraceContext::Present } else { TraceContext::Absent };
            let body_bytes = length as usize % (kind.body_bytes_max() + 1) + trace.bytes();
            FrameHeader {
                deadline_ms,
                trace,
                more,
                body_bytes: u32::try_from(body_bytes).unwrap(),
                ..FrameHeader::new(kind, RequestId::new(request), Fence::new(fence), Epoch::new(epoch))
            }
        },
    )
}
