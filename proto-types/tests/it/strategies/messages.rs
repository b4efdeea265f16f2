//! Arbitrary messages between nodes and of administrators.

use std::num::NonZeroU64;

use proptest::{collection::vec, option, prelude::*};
use quoit_proto_types::{
    Boot, Epoch, Fence, Ordinal, codec, limits,
    message::{
        admin::{
            AdminReply, AdminRequest, ElectionRole, HandoffPeer, HandoffStatus, HintsStatus, NodeStatus, Quorum,
            UpkeepStatus,
        },
        election::ElectionMessage,
        genesis::{GenesisDigest, GenesisMessage},
        heartbeat::{Heartbeat, Office, Ping},
        membership::{Applicant, Command, CommandAnswer, JoinAnswer, MembershipMessage},
        peer::PeerMessage,
    },
    view::{ViewMark, ViewRecord},
};

use super::{
    address, ballot, boot, change, config, instance, integer, label, short_integer, versions, view, view_delta,
    view_hash,
};

fn epoch() -> impl Strategy<Value = Epoch> {
    integer().prop_map(Epoch::new)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn applicant() -> impl Strategy<Value = Applicant> {
    let life = (label(), instance(), boot());
    let place = (address(), option::of(label()), short_integer());
    (life, place, any::<u8>(), versions()).prop_map(|(life, place, priority, versions)| {
        let ((name, instance, boot), (address, zone, vnodes)) = (life, place);
        Applicant { name, instance, boot, address, zone, vnodes, priority, versions }
    })
}

fn genesis_digest() -> impl Strategy<Value = GenesisDigest> {
    (label(), vec(label(), 0..4), config())
        .prop_map(|(cluster, founders, config)| GenesisDigest::of(&cluster, &founders, &config))
}

fn genesis() -> impl Strategy<Value = GenesisMessage> {
    prop_oneof![
        (vec(label(), 0..9), config()).prop_map(|(founders, config)| GenesisMessage::Founding { founders, config }),
        (genesis_digest(), ballot()).prop_map(|(genesis, ballot)| GenesisMessage::Prepare { genesis, ballot }),
        (ballot(), option::of((ballot(), view())), applicant())
            .prop_map(|(ballot, accepted, founder)| GenesisMessage::Promise { ballot, accepted, founder }),
        (ballot(), view()).prop_map(|(ballot, view)| GenesisMessage::Propose { ballot, view }),
        ballot().prop_map(|ballot| GenesisMessage::Accepted { ballot }),
        (ballot(), ballot()).prop_map(|(ballot, seen)| GenesisMessage::Reject { ballot, seen }),
    ]
}

fn election() -> impl Strategy<Value = ElectionMessage> {
    let round = integer;
    prop_oneof![
        (epoch(), round(), option::of(ballot())).prop_map(|(epoch, round, transferred)| ElectionMessage::Elect {
            epoch,
            round,
            transferred
        }),
        round().prop_map(|round| ElectionMessage::Grant { round }),
        round().prop_map(|round| ElectionMessage::Higher { round }),
        (round(), ballot()).prop_map(|(round, ballot)| ElectionMessage::Alive { round, ballot }),
        epoch().prop_map(|epoch| ElectionMessage::Newer { epoch }),
        (epoch(), ballot()).prop_map(|(epoch, ballot)| ElectionMessage::Prepare { epoch, ballot }),
        (epoch(), ballot(), option::of((ballot(), view())))
            .prop_map(|(epoch, ballot, accepted)| ElectionMessage::Promise { epoch, ballot, accepted }),
        (epoch(), ballot(), view()).prop_map(|(epoch, ballot, view)| ElectionMessage::Propose { epoch, ballot, view }),
        (epoch(), ballot()).prop_map(|(epoch, ballot)| ElectionMessage::Accepted { epoch, ballot }),
        (epoch(), ballot(), ballot()).prop_map(|(epoch, ballot, seen)| ElectionMessage::Reject { epoch, ballot, seen }),
        (epoch(), ballot()).prop_map(|(epoch, ballot)| ElectionMessage::Transfer { epoch, ballot }),
    ]
}

fn join_answer() -> impl Strategy<Value = JoinAnswer> {
    prop_oneof![
        label().prop_map(|coordinator| JoinAnswer::Queued { coordinator }),
        Just(JoinAnswer::NoCoordinator),
        option::of(address()).prop_map(|address| JoinAnswer::NameInUse { address }),
        (address(), text()).prop_map(|(address, reason)| JoinAnswer::NotReached { address, reason }),
        text().prop_map(|reason| JoinAnswer::Full { reason }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        label().prop_map(|name| Command::Drain { name }),
        label().prop_map(|name| Command::ForceOut { name }),
        option::of(label()).prop_map(|to| Command::Transfer { to }),
        any::<u8>().prop_map(|copies| Command::SetCopies { copies }),
        (label(), short_integer()).prop_map(|(name, vnodes)| Command::SetWeight { name, vnodes }),
    ]
}

fn command_answer() -> impl Strategy<Value = CommandAnswer> {
    prop_oneof![
        epoch().prop_map(|epoch| CommandAnswer::Accepted { epoch }),
        Just(CommandAnswer::NoCoordinator),
        label().prop_map(|name| CommandAnswer::NoSuchMember { name }),
        label().prop_map(|name| CommandAnswer::LastOne { name }),
        label().prop_map(|name| CommandAnswer::IsUp { name }),
        label().prop_map(|name| CommandAnswer::CannotPreside { name }),
        text().prop_map(|reason| CommandAnswer::OutOfRange { reason }),
    ]
}

fn membership() -> impl Strategy<Value = MembershipMessage> {
    prop_oneof![
        (ballot(), view()).prop_map(|(ballot, view)| MembershipMessage::Commit { ballot, view }),
        (ballot(), view_delta()).prop_map(|(ballot, delta)| MembershipMessage::CommitDelta { ballot, delta }),
        (epoch(), ballot()).prop_map(|(epoch, promised)| MembershipMessage::Installed { epoch, promised }),
        epoch().prop_map(|epoch| MembershipMessage::ViewGet { epoch }),
        (applicant(), option::of(super::cluster_id()))
            .prop_map(|(applicant, cluster)| MembershipMessage::Join { applicant, cluster }),
        applicant().prop_map(MembershipMessage::ForwardedJoin),
        (label(), join_answer()).prop_map(|(applicant, answer)| MembershipMessage::JoinAnswer { applicant, answer }),
        (integer(), short_integer())
            .prop_map(|(fence, left)| MembershipMessage::Synced { fence: Fence::new(fence), left }),
        (integer(), label(), command()).prop_map(|(id, by, command)| MembershipMessage::Command { id, by, command }),
        (integer(), command_answer()).prop_map(|(id, answer)| MembershipMessage::CommandAnswer { id, answer }),
    ]
}

pub(crate) fn peer_message() -> impl Strategy<Value = PeerMessage> {
    prop_oneof![
        genesis().prop_map(PeerMessage::from),
        election().prop_map(PeerMessage::from),
        membership().prop_map(PeerMessage::from),
    ]
}

fn mark() -> impl Strategy<Value = ViewMark> {
    any::<[u8; 8]>().prop_map(|bytes| codec::decode_exact(&bytes, "mark", 8).unwrap())
}

fn ping() -> impl Strategy<Value = Ping> {
    let office = prop::sample::select(&[Office::None, Office::Presiding, Office::Yielding][..]);
    let names = |most: usize| vec(short_integer().prop_map(Ordinal::new), 0..=most);
    let named = (names(12), names(12), names(limits::SLOW_MAX), super::cluster_id());
    (any::<[u64; 3]>(), epoch(), mark(), ballot(), office, named).prop_map(
        |([sequence, fence, progress], epoch, mark, ballot, office, (suspects, returned, slow, cluster))| Ping {
            cluster,
            sequence,
            epoch,
            mark,
            fence: Fence::new(fence),
            ballot,
            office,
            suspects,
            returned,
            slow,
            progress,
        },
    )
}

pub(crate) fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    prop_oneof![
        ping().prop_map(Heartbeat::Ping),
        (integer(), super::cluster_id(), epoch()).prop_map(|(sequence, cluster, epoch)| Heartbeat::Pong {
            sequence,
            cluster,
            epoch
        }),
    ]
}

pub(crate) fn admin_request() -> impl Strategy<Value = AdminRequest> {
    prop_oneof![
        Just(AdminRequest::Status),
        short_integer().prop_map(|limit| AdminRequest::ViewLog { limit }),
        epoch().prop_map(|epoch| AdminRequest::ViewAt { epoch }),
        command().prop_map(AdminRequest::Command),
        label().prop_map(|survivor| AdminRequest::Recover { survivor }),
        Just(AdminRequest::Handoff),
        any::<Option<NonZeroU64>>().prop_map(|bytes_per_s| AdminRequest::HandoffPace { bytes_per_s }),
        Just(AdminRequest::HandoffPause),
        Just(AdminRequest::HandoffResume),
    ]
}

fn record() -> impl Strategy<Value = ViewRecord> {
    (epoch(), view_hash(), label(), integer(), short_integer(), vec(change(), 0..4)).prop_map(
        |(epoch, hash, coordinator, proposed_at_ms, members, changes)| ViewRecord {
            epoch,
            hash,
            coordinator,
            proposed_at_ms,
            members,
            changes,
        },
    )
}

fn handoff_status() -> impl Strategy<Value = HandoffStatus> {
    let peer = (label(), short_integer()).prop_map(|(name, slots_left)| HandoffPeer { name, slots_left });
    (vec(peer, 0..4), any::<([u32; 3], [u64; 3], Option<u64>)>()).prop_map(|(with, numbers)| {
        let ([slots, slots_left, slots_skipped], [bytes, bytes_per_s, lasts_ms], remaining_ms) = numbers;
        HandoffStatus { with, slots, slots_left, slots_skipped, bytes, bytes_per_s, lasts_ms, remaining_ms }
    })
}

fn upkeep_status() -> impl Strategy<Value = UpkeepStatus> {
    let handoffs = (option::of(handoff_status()), option::of(handoff_status()));
    let numbers = any::<([Option<NonZeroU64>; 2], bool, [u32; 3], [u64; 6])>();
    (handoffs, numbers).prop_map(|((takes, gives), ([pace, limit], is_paused, slots, counts))| {
        let [under_replicated_slots, dirty_slots, offered_slots] = slots;
        let [unoffered_slots, repaired_bytes, entries, bytes, dropped, delivered] = counts;
        UpkeepStatus {
            takes,
            gives,
            pace,
            limit,
            is_paused,
            under_replicated_slots,
            dirty_slots,
            offered_slots,
            unoffered_slots,
            repaired_bytes,
            hints: HintsStatus { entries, bytes, dropped, delivered },
        }
    })
}

fn node_status() -> impl Strategy<Value = NodeStatus> {
    let roles = [
        ElectionRole::Outside,
        ElectionRole::Member,
        ElectionRole::Follower,
        ElectionRole::Candidate,
        ElectionRole::Coordinator,
    ];
    let election = (prop::sample::select(roles.to_vec()), option::of(label()), any::<(u8, u8, u32)>(), ballot());
    let words = (label(), text(), text(), vec(text(), 0..4));
    let parts = (words, election, epoch(), any::<([u64; 5], i64, u32)>(), option::of(upkeep_status()));
    parts.prop_map(|(words, election, epoch, numbers, upkeep)| {
        let (name, version, standing, alarms) = words;
        let (role, coordinator, (heard, needed, boot), promised) = election;
        let ([uptime_ms, isolated_ms, entries, bytes, bytes_max], certificate_not_after_s, clients) = numbers;
        NodeStatus {
            name,
            boot: Boot::new(boot),
            version,
            epoch,
            standing,
            role,
            coordinator,
            quorum: Quorum { heard, needed },
            promised,
            uptime_ms,
            isolated_ms,
            certificate_not_after_s,
            entries,
            bytes,
            bytes_max,
            clients,
            upkeep,
            alarms,
        }
    })
}

pub(crate) fn admin_reply() -> impl Strategy<Value = AdminReply> {
    prop_oneof![
        node_status().prop_map(|status| AdminReply::Status(Box::new(status))),
        vec(record(), 0..4).prop_map(AdminReply::ViewLog),
        option::of(view()).prop_map(AdminReply::ViewAt),
        command_answer().prop_map(AdminReply::Command),
        epoch().prop_map(|epoch| AdminReply::Recovered { epoch }),
        text().prop_map(|reason| AdminReply::NotRecovered { reason }),
        option::of(upkeep_status().prop_map(Box::new)).prop_map(AdminReply::Handoff),
    ]
}
