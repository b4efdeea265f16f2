//! Whole nodes in this process: forming, joining, leaving, coming back, and what administrators and clients see of it.

use std::path::Path;

use quoit_client::{RequestError, View};
use quoit_node::{DataError, NodeState, StartError, StopReason};
use quoit_proto_types::{
    Boot, Epoch, Label,
    message::{
        admin::{AdminReply, AdminRequest, ElectionRole},
        membership::{Command, CommandAnswer},
    },
    view::Change,
};
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE, free, is_settled, view_where, wait_for};

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_joins_is_seen_by_all_and_leaves_as_it_is_told_to() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let keys: Vec<String> = (0..200).map(|i| format!("key:{i}")).collect();
    for key in &keys {
        client.set(key, "value").await.unwrap();
    }
    let mut fourth = cluster.start_node("n4", free(), |_| {}).await;
    view_where(&mut fourth, |view| is_settled(view, 4)).await;
    for node in &mut cluster.nodes {
        view_where(node, |view| is_settled(view, 4)).await;
    }
    // The last of the views by which n4 comes: it owns its slots.
    wait_for("the client is told of the view without asking", || is_settled(&client.view(), 4)).await;
    let mut moved = 0;
    for key in &keys {
        let value = client.get(key).await.unwrap();
        let is_fourth = client.explain(key).unwrap().owners[0] == "n4";
        assert_eq!(value.as_deref(), Some(&b"value"[..]), "{key}: what moved is there");
        moved += usize::from(is_fourth);
    }
    assert!(moved > 0);
    let admin = cluster.admin().await;
    let drain = AdminRequest::Command(Command::Drain { name: label("n4") });
    let answer = admin.admin(&label("n2"), drain).await.unwrap();
    assert!(matches!(answer, AdminReply::Command(CommandAnswer::Accepted { .. })), "{answer:?}");
    let stopped = async {
        loop {
            if let NodeState::Stopped { reason } = fourth.state() {
                return reason;
            }
            fourth.state_changed().await;
        }
    };
    let reason = timeout(PATIENCE, stopped).await.unwrap();
    assert!(matches!(reason, StopReason::Retired { .. }), "{reason}");
    fourth.shutdown().await;
    for node in &mut cluster.nodes {
        let view = view_where(node, |view| view.members().len() == 3 && is_settled(view, 3)).await;
        assert!(view.member_named(&label("n4")).is_none());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_comes_back_as_the_same_member_in_its_next_life_and_is_refilled() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let keys: Vec<String> = (0..100).map(|i| format!("key:{i}")).collect();
    for key in &keys {
        client.set(key, "value").await.unwrap();
    }
    let before = view_where(&mut cluster.nodes[1], |view| is_settled(view, 3)).await;
    let old = before.member_named(&label("n2")).unwrap().clone();
    cluster.nodes.remove(1).shutdown().await;
    // At another address, as after a move to another machine with the same disk.
    let mut again = cluster.start_node("n2", free(), |_| {}).await;
    let is_back = |view: &View| {
        let owner = view.fields().ring.iter().find(|owner| owner.ordinal == old.ordinal);
        is_settled(view, 3) && owner.is_some_and(|owner| owner.boot == Boot::new(2))
    };
    let view = view_where(&mut again, is_back).await;
    let new = view.member_named(&label("n2")).unwrap();
    assert_eq!((new.ordinal, new.instance, new.boot), (old.ordinal, old.instance, Boot::new(2)));
    assert_ne!(new.address, old.address);
    for node in &mut cluster.nodes {
        view_where(node, is_back).await;
    }
    for key in &keys {
        let value = client.get(key).await.unwrap();
        assert_eq!(value.as_deref(), Some(&b"value"[..]), "{key}");
    }
    cluster.nodes.push(again);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_coordinator_stops_another_one_takes_over() {
    let mut cluster = Cluster::start(3).await;
    let view = view_where(&mut cluster.nodes[0], |_| true).await;
    let first = view.member(view.fields().coordinator).unwrap().name.clone();
    let index = cluster.nodes.iter().position(|node| node.identity().name == first).unwrap();
    cluster.nodes.remove(index).shutdown().await;
    for node in &mut cluster.nodes {
        let view =
            view_where(node, |view| view.fields().coordinator != view.member_named(&first).unwrap().ordinal).await;
        assert!(view.epoch() > Epoch::new(1));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_sees_how_each_node_stands_and_nobody_else_does() {
    let cluster = Cluster::start(3).await;
    let admin = cluster.admin().await;
    let mut coordinators = 0;
    for name in ["n1", "n2", "n3"] {
        let AdminReply::Status(status) = admin.admin(&label(name), AdminRequest::Status).await.unwrap() else {
            panic!("a status was asked for");
        };
        assert_eq!((status.name, status.quorum.needed), (label(name), 2));
        assert!(status.epoch > Epoch::GENESIS && status.clients == 1, "{}", status.clients);
        coordinators += usize::from(status.role == ElectionRole::Coordinator);
        assert!(status.alarms.iter().all(|alarm| !alarm.contains("certificate")), "{:?}", status.alarms);
    }
    assert_eq!(coordinators, 1);
    let log = admin.admin(&label("n1"), AdminRequest::ViewLog { limit: 1000 }).await.unwrap();
    let AdminReply::ViewLog(records) = log else { panic!("{log:?}") };
    assert_eq!((records[0].epoch, &records[0].changes[..]), (Epoch::new(1), &[Change::Formed][..]));
    let epoch = records[0].epoch;
    let view = admin.admin(&label("n3"), AdminRequest::ViewAt { epoch }).await.unwrap();
    assert!(matches!(&view, AdminReply::ViewAt(Some(view)) if view.hash() == records[0].hash), "{view:?}");
    let unknown = AdminRequest::ViewAt { epoch: Epoch::new(1000) };
    assert_eq!(admin.admin(&label("n3"), unknown).await.unwrap(), AdminReply::ViewAt(None));
    let nobody = AdminRequest::Command(Command::Drain { name: label("n9") });
    let answer = admin.admin(&label("n3"), nobody).await.unwrap();
    assert_eq!(answer, AdminReply::Command(CommandAnswer::NoSuchMember { name: label("n9") }));
    let other = AdminRequest::Recover { survivor: label("n2") };
    let answer = admin.admin(&label("n1"), other).await.unwrap();
    assert!(matches!(answer, AdminReply::NotRecovered { .. }), "{answer:?}");
    let client = cluster.client().await;
    let refused = client.admin(&label("n1"), AdminRequest::Status).await.unwrap_err();
    assert!(matches!(refused, RequestError::Refused { .. }), "{refused:?}");
    assert_eq!(cluster.nodes[0].status().await.clients, 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_cannot_use_one_data_folder() {
    let cluster = Cluster::start(1).await;
    let error = cluster.try_start_node("n1", free(), |_| {}).await.unwrap_err();
    assert!(matches!(error, StartError::Data(DataError::InUse { .. })), "{error:?}");
    assert!(error.advice().contains("--data"), "{}", error.advice());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_write_its_state_does_not_start() {
    let cluster = Cluster::start(1).await;
    let folder = cluster.data("n2");
    std::fs::create_dir_all(folder.join("meta.a.new")).unwrap();
    let error = cluster.try_start_node("n2", free(), |_| {}).await.unwrap_err();
    let is_named = |path: &Path| path.ends_with("n2/meta.a");
    assert!(matches!(&error, StartError::Data(DataError::Write { path, .. }) if is_named(path)), "{error:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_stops() {
    let mut cluster = Cluster::start(1).await;
    std::fs::create_dir(cluster.data("n1").join("meta.b.new")).unwrap();
    let _joining = cluster.start_node("n2", free(), |_| {}).await;
    let failed = async {
        loop {
            if let NodeState::Failed(text) = cluster.nodes[0].state() {
                return text;
            }
            cluster.nodes[0].state_changed().await;
        }
    };
    let text = timeout(PATIENCE, failed).await.unwrap();
    assert!(text.contains("meta.b") && text.contains("must not go on"), "{text}");
    cluster.stop().await;
}
