//! Views and answers for the tests of what is shown of them.

use quoit_client::{Epoch, Identity, Label, Member, Role, View};
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Fence, Instance, Ordinal, Term,
    message::{
        admin::{ElectionRole, NodeStatus, Quorum},
        session::VERSIONS,
    },
    view::{Change, Intent, Liveness, Owner, ViewConfig, ViewFields, ViewHash, ViewRecord},
};

/// When the views here were proposed.
pub(crate) const PROPOSED_AT_MS: u64 = 1_700_000_000_000;

/// The view of epoch 5 of three members that all vote and own, and whose coordinator is `n1`, after `change`.
pub(crate) fn view(change: impl FnOnce(&mut ViewFields)) -> View {
    let mut fields = ViewFields {
        cluster: label("prod"),
        cluster_id: ClusterId::from_random(1),
        epoch: Epoch::new(5),
        recovered_from: None,
        previous: ViewHash::default(),
        ballot: Ballot { term: Term::new(2), ordinal: Ordinal::new(1), boot: Boot::new(1) },
        coordinator: Ordinal::new(1),
        voters: [1, 2, 3].map(Ordinal::new).to_vec(),
        config: ViewConfig::default(),
        members: [1, 2, 3].map(member).to_vec(),
        ring: [1, 2, 3].map(owner).to_vec(),
        target: None,
        fence: Fence::new(4),
        next_ordinal: Ordinal::new(9),
        proposed_at_ms: PROPOSED_AT_MS,
        changes: vec![Change::Joined(label("n3"))],
    };
    change(&mut fields);
    View::new(fields).unwrap()
}

pub(crate) fn label(name: &str) -> Label {
    name.parse().unwrap()
}

/// The member `n1`, `n2` and so on.
pub(crate) fn member(index: u32) -> Member {
    let name = label(&format!("n{index}"));
    let identity = Identity { role: Role::Node, name: name.clone(), cluster: label("prod") };
    Member {
        ordinal: Ordinal::new(index),
        node_id: identity.node_id(),
        name,
        instance: Instance::from_random(u128::from(index)),
        boot: Boot::new(1),
        address: format!("10.0.0.{index}:7750").parse().unwrap(),
        zone: None,
        vnodes: 128,
        priority: 0,
        versions: VERSIONS,
        live: Liveness::Up,
        intent: Intent::Stay,
    }
}

pub(crate) fn owner(index: u32) -> Owner {
    Owner { ordinal: Ordinal::new(index), boot: Boot::new(1) }
}

/// What the member `member` of `view` says if all is well.
pub(crate) fn status(view: &View, member: &Member) -> NodeStatus {
    let coordinator = view.member(view.fields().coordinator).unwrap().name.clone();
    let role = if coordinator == member.name { ElectionRole::Coordinator } else { ElectionRole::Follower };
    let voters = u8::try_from(view.fields().voters.len()).unwrap();
    NodeStatus {
        name: member.name.clone(),
        version: "0.1.0".into(),
        epoch: view.epoch(),
        standing: "member".into(),
        role,
        coordinator: Some(coordinator),
        quorum: Quorum { heard: voters, needed: u8::try_from(view.quorum()).unwrap() },
        promised: view.fields().ballot,
        uptime_ms: 3_600_000,
        isolated_ms: 0,
        certificate_not_after_s: i64::try_from(PROPOSED_AT_MS / 1000).unwrap() + 300 * 86_400,
        entries: 10,
        bytes: 1 << 20,
        bytes_max: 64 << 20,
        clients: 2,
        alarms: Vec::new(),
    }
}

/// What is remembered of an epoch that `changes` led to.
pub(crate) fn record(epoch: u64, changes: Vec<Change>) -> ViewRecord {
    ViewRecord {
        epoch: Epoch::new(epoch),
        hash: ViewHash::default(),
        coordinator: label("n1"),
        proposed_at_ms: PROPOSED_AT_MS + epoch * 1000,
        members: 3,
        changes,
    }
}
