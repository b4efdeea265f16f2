use quoit_proto_types::{
    Boot, ClusterId, Fence,
    view::{Intent, Liveness},
};

use super::*;
use crate::cli::stage::{self, label, record};

fn changed(diff: &Diff) -> Vec<String> {
    diff.changed.iter().map(|it| format!("{} {} {} {}", it.what, it.field, it.from, it.to)).collect()
}

#[test]
fn members_that_come_go_and_change_are_told_field_by_field() {
    let from = stage::view(|_| {});
    let to = stage::view(|fields| {
        fields.epoch = Epoch::new(7);
        fields.members.remove(0);
        fields.members.push(stage::member(4));
        fields.members[0].zone = Some(label("west"));
        fields.members[0].boot = Boot::new(2);
        fields.members[1].live = Liveness::Down;
        fields.members[1].degraded = true;
        fields.voters = [2, 3, 4].map(Ordinal::new).to_vec();
        fields.coordinator = Ordinal::new(2);
        fields.ring = [2, 3, 4].map(stage::owner).to_vec();
        fields.fence = Fence::new(7);
    });
    let log = [5, 6, 7, 8].map(|epoch| record(epoch, vec![Change::Removed(label("n1"))])).to_vec();
    let diff = Diff::of(&from, &to, log);
    assert_eq!(
        (&*diff.added, &*diff.removed),
        (&["n4 (10.0.0.4:7750)".into()][..], &["n1 (10.0.0.1:7750)".into()][..])
    );
    let expected = [
        "view coordinator n1 n2",
        "view voters n1, n2, n3 n2, n3, n4",
        "view ring n1.1, n2.1, n3.1 n2.1, n3.1, n4.1",
        "view fence 4 7",
        "n2 boot 1 2",
        "n2 zone none west",
        "n3 live up down",
        "n3 degraded false true",
    ];
    assert_eq!(changed(&diff), expected);
    let epochs: Vec<_> = diff.steps.iter().map(|step| step.epoch.value()).collect();
    assert_eq!((epochs, diff.forgotten()), (vec![6, 7], 0));
    let text = diff.text();
    for told in ["+ n4", "- n1", "~ n3 live: up -> down", "7  2023-11-14T22:13:27Z  by n1: n1 removed"] {
        assert!(text.contains(told), "{told} in {text}");
    }
}

#[test]
fn slots_are_counted_where_they_go() {
    let from = stage::view(|_| {});
    let to = stage::view(|fields| fields.ring = [1, 2].map(stage::owner).to_vec());
    let diff = Diff::of(&from, &to, Vec::new());
    assert!(diff.slots_moved.keys().all(|(from, _)| from == "n3"), "only who left gives: {:?}", diff.slots_moved);
    assert_eq!(diff.slots_moved.values().sum::<usize>(), from.ring().primary_slots(Ordinal::new(3)));
    assert!(diff.text().contains("of 16384 slots have another primary"));
}

#[test]
fn what_nobody_remembers_is_admitted() {
    let (from, to) = (stage::view(|_| {}), stage::view(|fields| fields.epoch = Epoch::new(9)));
    let diff = Diff::of(&from, &to, vec![record(9, vec![])]);
    assert!(diff.text().contains("nothing differs but the epoch"));
    assert!(diff.text().ends_with("and 3 that nobody who answered remembers"), "{}", diff.text());
}

#[test]
fn a_recovered_cluster_keeps_its_members_under_other_ordinals() {
    let from = stage::view(|_| {});
    let to = stage::view(|fields| {
        fields.cluster_id = ClusterId::from_random(2);
        fields.epoch = Epoch::new(1_000_006);
        fields.members = vec![stage::member(2)];
        fields.members[0].ordinal = Ordinal::new(1);
        fields.members[0].intent = Intent::Stay;
        fields.voters = vec![Ordinal::new(1)];
        fields.ring = vec![stage::owner(1)];
    });
    let diff = Diff::of(&from, &to, vec![record(1_000_006, vec![Change::Recovered(label("n2"), Epoch::new(5))])]);
    assert_eq!((diff.added.len(), diff.removed.len(), diff.forgotten()), (0, 2, 0));
    assert!(changed(&diff).contains(&"n2 ordinal 2 1".into()), "{:?}", changed(&diff));
    assert!(diff.text().contains("another cluster"));
}
