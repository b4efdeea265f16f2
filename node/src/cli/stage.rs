//! Views and answers for the tests of what is shown of them.

use quoit_client::{Epoch, Member, View};
use quoit_proto_types::{
    message::admin::{ElectionRole, NodeStatus, Quorum, UpkeepStatus},
    view::{Change, ViewHash, ViewRecord},
};

pub(crate) use crate::stage::{PROPOSED_AT_MS, label, member, owner, view};

/// What the member `member` of `view` says if all is well.
pub(crate) fn status(view: &View, member: &Member) -> NodeStatus {
    let coordinator = view.member(view.fields().coordinator).unwrap().name.clone();
    let role = if coordinator == member.name { ElectionRole::Coordinator } else { ElectionRole::Follower };
    let voters = u8::try_from(view.fields().voters.len()).unwrap();
    NodeStatus {
        name: member.name.clone(),
        boot: member.boot,
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
        upkeep: Some(UpkeepStatus::default()),
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
