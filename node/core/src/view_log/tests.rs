use quoit_proto_types::{ClusterId, view::ViewFields};

use super::*;
use crate::stage;

/// View `epoch` of `members` members in the cluster `id`.
fn view(id: u128, epoch: u64, members: u32) -> Arc<View> {
    let fields = ViewFields { cluster_id: ClusterId::from_random(id), ..stage::fields(epoch, members) };
    Arc::new(View::new(fields).unwrap())
}

fn push(log: &mut ViewLog, view: &Arc<View>) {
    log.push(Arc::clone(view), view.hash());
}

fn epochs(log: &ViewLog) -> Vec<u64> {
    (0..2000).filter(|epoch| log.at(Epoch::new(*epoch)).is_some()).collect()
}

#[test]
fn a_delta_leads_from_every_view_that_is_remembered_to_the_latest() {
    let mut log = ViewLog::default();
    assert!(log.latest().is_none() && log.delta(Epoch::GENESIS).is_none());
    for epoch in [3, 4, 7] {
        push(&mut log, &view(1, epoch, u32::try_from(epoch).unwrap()));
    }
    for epoch in [3, 4] {
        let old = log.at(Epoch::new(epoch)).unwrap();
        let new = log.delta(Epoch::new(epoch)).unwrap().apply(old, old.hash()).unwrap();
        assert_eq!(&new, &**log.latest().unwrap());
    }
    for unknown in [2, 5, 7, 8] {
        assert_eq!(log.delta(Epoch::new(unknown)), None, "{unknown}");
    }
}

#[test]
fn views_and_records_are_bounded() {
    let mut log = ViewLog::default();
    for epoch in 1..=1100 {
        push(&mut log, &view(1, epoch, 1));
    }
    assert_eq!(epochs(&log), (1100 - 255..=1100).collect::<Vec<_>>());
    let records = log.records(usize::MAX);
    assert_eq!(records.len(), limits::VIEW_LOG_MAX);
    assert_eq!(records.last().map(|record| record.epoch), Some(Epoch::new(1100)));
    assert_eq!(log.records(2).iter().map(|record| record.epoch.value()).collect::<Vec<_>>(), [1099, 1100]);
}

#[test]
fn large_views_are_fewer_but_never_less_than_two() {
    let mut log = ViewLog::default();
    let large: Vec<_> = (1..=12).map(|epoch| view(1, epoch, 10_000)).collect();
    large.iter().for_each(|view| push(&mut log, view));
    assert_eq!(epochs(&log), (3..=12).collect::<Vec<_>>());
    log.members += MEMBERS_KEPT_MAX;
    push(&mut log, &view(1, 13, 1));
    assert_eq!(epochs(&log), [12, 13]);
}

#[test]
fn another_cluster_begins_another_log_but_keeps_the_records() {
    let mut log = ViewLog::default();
    push(&mut log, &view(1, 5, 1));
    push(&mut log, &view(1, 5, 1));
    assert_eq!(log.records(9).len(), 1, "a view that is there already");
    push(&mut log, &view(2, 1_000_005, 1));
    assert!(log.at(Epoch::new(5)).is_none());
    push(&mut log, &view(2, 5, 1));
    assert!(log.at(Epoch::new(1_000_005)).is_none(), "an earlier view than before");
    assert_eq!(log.records(9).len(), 3);
}
