//! One sample of every message between nodes and of administrators.

use quoit_proto_types::{
    Ballot, Boot, Epoch, Fence, Instance, Label, Ordinal, Term, View,
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
        session::VERSIONS,
    },
    view::{Change, ViewMark, ViewRecord},
};

use super::{address, ballot, ballot_above, config, delta, founders, label, next_view, view};

pub(crate) fn genesis() -> GenesisDigest {
    GenesisDigest::of(&label("prod"), &founders(), &config())
}

pub(crate) fn applicant() -> Applicant {
    Applicant {
        name: label("n1"),
        instance: Instance::from_random(7),
        boot: Boot::new(300),
        address: address(0),
        zone: Some(label("zone-a")),
        vnodes: 128,
        priority: 3,
        versions: VERSIONS,
    }
}

/// Every reason for a view, with its name.
pub(crate) fn changes() -> Vec<(&'static str, Change)> {
    let [n1, ops] = ["n1", "ops"].map(label);
    let changes = vec![
        Change::Formed,
        Change::CopiesWanted(3, ops.clone()),
        Change::CopiesInForce(2),
        Change::Weighed(n1.clone(), 256, ops.clone()),
        Change::SlotsLost(700),
        Change::Elected(n1.clone()),
        Change::Joined(n1.clone()),
        Change::Restarted(n1.clone()),
        Change::Replaced(n1.clone()),
        Change::Moved(n1.clone(), address(8)),
        Change::Changed(n1.clone()),
        Change::Up(n1.clone()),
        Change::Down(n1.clone()),
        Change::Slow(n1.clone()),
        Change::QuickAgain(n1.clone()),
        Change::Draining(n1.clone(), ops.clone()),
        Change::ForcedOut(n1.clone(), ops),
        Change::TooLongDown(n1.clone()),
        Change::Removed(n1.clone()),
        Change::Votes(n1.clone()),
        Change::VotesNoMore(n1.clone()),
        Change::RingChangeBegun,
        Change::RingChangeDone,
        Change::RingChangeAborted,
        Change::Recovered(n1, Epoch::new(9)),
    ];
    changes.into_iter().map(|change| (change_name(&change), change)).collect()
}

fn change_name(change: &Change) -> &'static str {
    match change {
        Change::Formed => "Formed",
        Change::Elected(_) => "Elected",
        Change::Joined(_) => "Joined",
        Change::Restarted(_) => "Restarted",
        Change::Replaced(_) => "Replaced",
        Change::Moved(..) => "Moved",
        Change::Changed(_) => "Changed",
        Change::Up(_) => "Up",
        Change::Down(_) => "Down",
        Change::Slow(_) => "Slow",
        Change::QuickAgain(_) => "QuickAgain",
        Change::Draining(..) => "Draining",
        Change::ForcedOut(..) => "ForcedOut",
        Change::TooLongDown(_) => "TooLongDown",
        Change::Removed(_) => "Removed",
        Change::Votes(_) => "Votes",
        Change::VotesNoMore(_) => "VotesNoMore",
        Change::RingChangeBegun => "RingChangeBegun",
        Change::RingChangeDone => "RingChangeDone",
        Change::RingChangeAborted => "RingChangeAborted",
        Change::Recovered(..) => "Recovered",
        Change::CopiesWanted(..) => "CopiesWanted",
        Change::CopiesInForce(_) => "CopiesInForce",
        Change::Weighed(..) => "Weighed",
        Change::SlotsLost(_) => "SlotsLost",
    }
}

/// Every message between nodes, with its name.
pub(crate) fn peer_messages() -> Vec<(&'static str, PeerMessage)> {
    let genesis = genesis_messages().into_iter().map(PeerMessage::from);
    let election = election_messages().into_iter().map(PeerMessage::from);
    let membership = membership_messages().into_iter().map(PeerMessage::from);
    let messages = genesis.chain(election).chain(membership);
    messages.map(|message| (peer_message_name(&message), message)).collect()
}

fn peer_message_name(message: &PeerMessage) -> &'static str {
    match message {
        PeerMessage::Genesis(message) => genesis_name(message),
        PeerMessage::Election(message) => election_name(message),
        PeerMessage::Membership(message) => membership_name(message),
    }
}

fn genesis_messages() -> Vec<GenesisMessage> {
    let (ballot, founder) = (ballot(), applicant());
    vec![
        GenesisMessage::Founding { founders: founders(), config: config() },
        GenesisMessage::Prepare { genesis: genesis(), ballot },
        GenesisMessage::Promise { ballot, accepted: None, founder: founder.clone() },
        GenesisMessage::Promise { ballot, accepted: Some((ballot, view())), founder },
        GenesisMessage::Propose { ballot, view: view() },
        GenesisMessage::Accepted { ballot },
        GenesisMessage::Reject { ballot, seen: ballot_above() },
    ]
}

fn genesis_name(message: &GenesisMessage) -> &'static str {
    match message {
        GenesisMessage::Founding { .. } => "Genesis Founding",
        GenesisMessage::Prepare { .. } => "Genesis Prepare",
        GenesisMessage::Promise { accepted: None, .. } => "Genesis Promise",
        GenesisMessage::Promise { accepted: Some(_), .. } => "Genesis Promise with a view",
        GenesisMessage::Propose { .. } => "Genesis Propose",
        GenesisMessage::Accepted { .. } => "Genesis Accepted",
        GenesisMessage::Reject { .. } => "Genesis Reject",
    }
}

fn election_messages() -> Vec<ElectionMessage> {
    let (epoch, round, ballot) = (Epoch::new(9), 3, ballot());
    vec![
        ElectionMessage::Elect { epoch, round, transferred: None },
        ElectionMessage::Elect { epoch, round, transferred: Some(ballot) },
        ElectionMessage::Grant { round },
        ElectionMessage::Higher { round },
        ElectionMessage::Alive { round, ballot },
        ElectionMessage::Newer { epoch },
        ElectionMessage::Prepare { epoch, ballot },
        ElectionMessage::Promise { epoch, ballot, accepted: None },
        ElectionMessage::Promise { epoch, ballot, accepted: Some((ballot, next_view())) },
        ElectionMessage::Propose { epoch, ballot, view: next_view() },
        ElectionMessage::Accepted { epoch, ballot },
        ElectionMessage::Reject { epoch, ballot, seen: ballot_above() },
        ElectionMessage::Transfer { epoch, ballot },
    ]
}

fn election_name(message: &ElectionMessage) -> &'static str {
    match message {
        ElectionMessage::Elect { transferred: None, .. } => "Elect",
        ElectionMessage::Elect { transferred: Some(_), .. } => "Elect after a transfer",
        ElectionMessage::Grant { .. } => "Grant",
        ElectionMessage::Higher { .. } => "Higher",
        ElectionMessage::Alive { .. } => "Alive",
        ElectionMessage::Newer { .. } => "Newer",
        ElectionMessage::Prepare { .. } => "Prepare",
        ElectionMessage::Promise { accepted: None, .. } => "Promise",
        ElectionMessage::Promise { accepted: Some(_), .. } => "Promise with a view",
        ElectionMessage::Propose { .. } => "Propose",
        ElectionMessage::Accepted { .. } => "Accepted",
        ElectionMessage::Reject { .. } => "Reject",
        ElectionMessage::Transfer { .. } => "Transfer",
    }
}

fn membership_messages() -> Vec<MembershipMessage> {
    let (epoch, ballot) = (Epoch::new(9), ballot());
    let mut messages = vec![
        MembershipMessage::Commit { ballot, view: view() },
        MembershipMessage::CommitDelta { ballot, delta: delta() },
        MembershipMessage::Installed { epoch, promised: ballot },
        MembershipMessage::ViewGet { epoch },
        MembershipMessage::Join { applicant: applicant(), cluster: Some(quoit_proto_types::ClusterId::from_random(3)) },
        MembershipMessage::ForwardedJoin(applicant()),
        MembershipMessage::Synced { fence: Fence::new(8), left: 300 },
    ];
    let answers = join_answers().into_iter();
    messages.extend(answers.map(|answer| MembershipMessage::JoinAnswer { applicant: label("n1"), answer }));
    let by = label("ops");
    messages.extend(commands().into_iter().map(|command| MembershipMessage::Command {
        id: 5,
        by: by.clone(),
        command,
    }));
    messages.extend(command_answers().into_iter().map(|answer| MembershipMessage::CommandAnswer { id: 5, answer }));
    messages
}

fn join_answers() -> Vec<JoinAnswer> {
    vec![
        JoinAnswer::Queued { coordinator: label("n2") },
        JoinAnswer::NoCoordinator,
        JoinAnswer::NameInUse { address: Some(address(0)) },
        JoinAnswer::NotReached { address: address(0), reason: "timed out".to_owned() },
        JoinAnswer::Full { reason: "10000 members".to_owned() },
    ]
}

fn commands() -> Vec<Command> {
    let name = label("n1");
    vec![
        Command::Drain { name: name.clone() },
        Command::ForceOut { name: name.clone() },
        Command::Transfer { to: None },
        Command::Transfer { to: Some(name.clone()) },
        Command::SetCopies { copies: 3 },
        Command::SetWeight { name, vnodes: 256 },
    ]
}

fn command_answers() -> Vec<CommandAnswer> {
    let name = label("n1");
    vec![
        CommandAnswer::Accepted { epoch: Epoch::new(9) },
        CommandAnswer::NoCoordinator,
        CommandAnswer::NoSuchMember { name: name.clone() },
        CommandAnswer::LastOne { name: name.clone() },
        CommandAnswer::IsUp { name: name.clone() },
        CommandAnswer::CannotPreside { name },
        CommandAnswer::OutOfRange { reason: "at most 4096 vnodes".to_owned() },
    ]
}

fn membership_name(message: &MembershipMessage) -> &'static str {
    match message {
        MembershipMessage::Commit { .. } => "Commit",
        MembershipMessage::CommitDelta { .. } => "CommitDelta",
        MembershipMessage::Installed { .. } => "Installed",
        MembershipMessage::ViewGet { .. } => "ViewGet",
        MembershipMessage::Join { .. } => "Join",
        MembershipMessage::ForwardedJoin(_) => "ForwardedJoin",
        MembershipMessage::Synced { .. } => "Synced",
        MembershipMessage::JoinAnswer { answer, .. } => match answer {
            JoinAnswer::Queued { .. } => "JoinAnswer Queued",
            JoinAnswer::NoCoordinator => "JoinAnswer NoCoordinator",
            JoinAnswer::NameInUse { .. } => "JoinAnswer NameInUse",
            JoinAnswer::NotReached { .. } => "JoinAnswer NotReached",
            JoinAnswer::Full { .. } => "JoinAnswer Full",
        },
        MembershipMessage::Command { command, .. } => command_name(command),
        MembershipMessage::CommandAnswer { answer, .. } => command_answer_name(answer),
    }
}

fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Drain { .. } => "Command Drain",
        Command::ForceOut { .. } => "Command ForceOut",
        Command::Transfer { to: None } => "Command Transfer",
        Command::Transfer { to: Some(_) } => "Command Transfer to a member",
        Command::SetCopies { .. } => "Command SetCopies",
        Command::SetWeight { .. } => "Command SetWeight",
    }
}

fn command_answer_name(answer: &CommandAnswer) -> &'static str {
    match answer {
        CommandAnswer::Accepted { .. } => "CommandAnswer Accepted",
        CommandAnswer::NoCoordinator => "CommandAnswer NoCoordinator",
        CommandAnswer::NoSuchMember { .. } => "CommandAnswer NoSuchMember",
        CommandAnswer::LastOne { .. } => "CommandAnswer LastOne",
        CommandAnswer::IsUp { .. } => "CommandAnswer IsUp",
        CommandAnswer::CannotPreside { .. } => "CommandAnswer CannotPreside",
        CommandAnswer::OutOfRange { .. } => "CommandAnswer OutOfRange",
    }
}

/// Every heartbeat, with its name.
pub(crate) fn heartbeats() -> Vec<(&'static str, Heartbeat)> {
    let ping = |office, suspects: &[u32]| {
        Heartbeat::Ping(Ping {
            sequence: 2_000_000,
            epoch: Epoch::new(9),
            mark: view().hash().mark(),
            fence: Fence::new(8),
            ballot: ballot(),
            office,
            cluster: quoit_proto_types::ClusterId::from_random(3),
            suspects: suspects.iter().copied().map(Ordinal::new).collect(),
            returned: suspects.iter().map(|ordinal| Ordinal::new(ordinal + 100)).collect(),
            slow: suspects.iter().map(|ordinal| Ordinal::new(ordinal + 200)).collect(),
            progress: 70_000,
        })
    };
    let heartbeats = vec![
        ping(Office::None, &[2, 300]),
        ping(Office::Presiding, &[]),
        ping(Office::Yielding, &[]),
        Heartbeat::Pong {
            sequence: 2_000_000,
            cluster: quoit_proto_types::ClusterId::from_random(3),
            epoch: Epoch::new(9),
        },
    ];
    heartbeats.into_iter().map(|heartbeat| (heartbeat_name(&heartbeat), heartbeat)).collect()
}

fn heartbeat_name(heartbeat: &Heartbeat) -> &'static str {
    match heartbeat {
        Heartbeat::Ping(Ping { office: Office::None, .. }) => "Ping of a member",
        Heartbeat::Ping(Ping { office: Office::Presiding, .. }) => "Ping of the coordinator",
        Heartbeat::Ping(Ping { office: Office::Yielding, .. }) => "Ping of a coordinator that yields",
        Heartbeat::Pong { .. } => "Pong",
    }
}

/// The longest ping there is, of `suspects`.
pub(crate) fn longest_ping(suspects: usize) -> Heartbeat {
    let number = u64::MAX;
    Heartbeat::Ping(Ping {
        sequence: number,
        epoch: Epoch::new(number),
        mark: ViewMark::default(),
        fence: Fence::new(number),
        ballot: Ballot { term: Term::new(number), ordinal: Ordinal::new(u32::MAX), boot: Boot::new(u32::MAX) },
        office: Office::Yielding,
        cluster: quoit_proto_types::ClusterId::from_random(u128::MAX),
        suspects: vec![Ordinal::new(u32::MAX); suspects],
        returned: vec![Ordinal::new(u32::MAX); quoit_proto_types::limits::SUSPECTS_MAX],
        slow: vec![Ordinal::new(u32::MAX); quoit_proto_types::limits::SLOW_MAX],
        progress: number,
    })
}

/// Every request of an administrator, with its name.
pub(crate) fn admin_requests() -> Vec<(&'static str, AdminRequest)> {
    let mut requests = vec![
        AdminRequest::Status,
        AdminRequest::ViewLog { limit: 50 },
        AdminRequest::ViewAt { epoch: Epoch::new(9) },
        AdminRequest::Recover { survivor: label("n1") },
        AdminRequest::Handoff,
        AdminRequest::HandoffPace { bytes_per_s: None },
        AdminRequest::HandoffPace { bytes_per_s: std::num::NonZeroU64::new(64 << 20) },
        AdminRequest::HandoffPause,
        AdminRequest::HandoffResume,
    ];
    requests.extend(commands().into_iter().map(AdminRequest::Command));
    requests.into_iter().map(|request| (admin_request_name(&request), request)).collect()
}

fn admin_request_name(request: &AdminRequest) -> &'static str {
    match request {
        AdminRequest::Status => "Status",
        AdminRequest::ViewLog { .. } => "ViewLog",
        AdminRequest::ViewAt { .. } => "ViewAt",
        AdminRequest::Recover { .. } => "Recover",
        AdminRequest::Handoff => "Handoff",
        AdminRequest::HandoffPace { bytes_per_s: None } => "HandoffPace without end",
        AdminRequest::HandoffPace { bytes_per_s: Some(_) } => "HandoffPace",
        AdminRequest::HandoffPause => "HandoffPause",
        AdminRequest::HandoffResume => "HandoffResume",
        AdminRequest::Command(command) => command_name(command),
    }
}

/// Every reply to an administrator, with its name.
pub(crate) fn admin_replies() -> Vec<(&'static str, AdminReply)> {
    let record = |view: View| ViewRecord::of(&view, view.hash());
    let every_reason =
        ViewRecord { changes: changes().into_iter().map(|(_, change)| change).collect(), ..record(view()) };
    let roles = [
        ElectionRole::Outside,
        ElectionRole::Member,
        ElectionRole::Follower,
        ElectionRole::Candidate,
        ElectionRole::Coordinator,
    ];
    let mut replies: Vec<AdminReply> =
        roles.into_iter().map(|role| AdminReply::Status(Box::new(node_status(role)))).collect();
    replies.extend([
        AdminReply::ViewLog(vec![every_reason, record(next_view())]),
        AdminReply::ViewAt(None),
        AdminReply::ViewAt(Some(view())),
        AdminReply::Recovered { epoch: Epoch::new(1_000_009) },
        AdminReply::NotRecovered { reason: "a majority of the voters is connected".to_owned() },
        AdminReply::Handoff(None),
        AdminReply::Handoff(Some(Box::new(upkeep_status()))),
    ]);
    replies.extend(command_answers().into_iter().map(AdminReply::Command));
    replies.into_iter().map(|reply| (admin_reply_name(&reply), reply)).collect()
}

fn admin_reply_name(reply: &AdminReply) -> &'static str {
    match reply {
        AdminReply::Status(status) => match status.role {
            ElectionRole::Outside => "Status outside",
            ElectionRole::Member => "Status of a member",
            ElectionRole::Follower => "Status of a follower",
            ElectionRole::Candidate => "Status of a candidate",
            ElectionRole::Coordinator => "Status of the coordinator",
        },
        AdminReply::ViewLog(_) => "ViewLog",
        AdminReply::ViewAt(None) => "ViewAt nothing",
        AdminReply::ViewAt(Some(_)) => "ViewAt",
        AdminReply::Recovered { .. } => "Recovered",
        AdminReply::NotRecovered { .. } => "NotRecovered",
        AdminReply::Handoff(None) => "Handoff unknown",
        AdminReply::Handoff(Some(_)) => "Handoff",
        AdminReply::Command(answer) => command_answer_name(answer),
    }
}

/// The status of a node in `role`.
fn node_status(role: ElectionRole) -> NodeStatus {
    let coordinator: Option<Label> = (role != ElectionRole::Outside).then(|| label("n2"));
    NodeStatus {
        name: label("n1"),
        boot: Boot::new(3),
        version: "0.1.0".to_owned(),
        epoch: Epoch::new(9),
        standing: "member".to_owned(),
        role,
        coordinator,
        quorum: Quorum { heard: 3, needed: 2 },
        promised: ballot(),
        uptime_ms: 3_600_000,
        isolated_ms: 40,
        certificate_not_after_s: 1_900_000_000,
        entries: 70_000,
        bytes: 9_000_000,
        bytes_max: 1 << 30,
        clients: 12,
        upkeep: (role != ElectionRole::Outside).then(upkeep_status),
        alarms: vec!["n3 is down: start it again, or remove it with quoit force-out n3".to_owned()],
    }
}

/// The background work of a node that takes slots, as one of the owners of each is down.
fn upkeep_status() -> UpkeepStatus {
    let takes = HandoffStatus {
        with: vec![HandoffPeer { name: label("n2"), slots_left: 300 }],
        slots: 4096,
        slots_left: 300,
        slots_skipped: 7,
        bytes: 80_000_000,
        bytes_per_s: 60_000_000,
        lasts_ms: 1_500,
        remaining_ms: Some(120),
    };
    UpkeepStatus {
        takes: Some(takes),
        gives: None,
        pace: std::num::NonZeroU64::new(64 << 20),
        limit: std::num::NonZeroU64::new(48 << 20),
        is_paused: true,
        under_replicated_slots: 4000,
        dirty_slots: 5,
        offered_slots: 6,
        unoffered_slots: 2,
        repaired_bytes: 9_000,
        hints: HintsStatus { entries: 10, bytes: 5_000, dropped: 3, delivered: 400 },
    }
}

/// Names are file names in the corpus, and lines in golden files: no two may be the same.
#[test]
fn samples_have_names_of_their_own() {
    let of = |names: Vec<&'static str>| {
        let count = names.len();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), count, "{names:?}");
    };
    of(peer_messages().iter().map(|(name, _)| *name).collect());
    of(admin_requests().iter().map(|(name, _)| *name).collect());
    of(admin_replies().iter().map(|(name, _)| *name).collect());
    of(heartbeats().iter().map(|(name, _)| *name).collect());
    of(changes().iter().map(|(name, _)| *name).collect());
}
