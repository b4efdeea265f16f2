//! Which process of each name is the true one.

use quoit_proto_types::{
    Boot, Instance, Label, Member, Nonce, View,
    view::{Intent, Liveness},
};

use crate::{
    cluster::{Admission, Life, lives::Lives, tests::stage::label},
    genesis::tests::view_of,
};

fn life(instance: u128, boot: u32, nonce: u64) -> Life {
    Life { instance: Instance::from_random(instance), boot: Boot::new(boot), nonce: Nonce::new(nonce) }
}

/// Asserts what the processes of `n1` hear that present themselves one after the other.
#[track_caller]
fn check(what: &str, processes: &[(Life, Admission)]) {
    let mut lives = Lives::default();
    for (life, admission) in processes {
        assert_eq!(lives.connect(&label("n1"), *life), *admission, "{what}: {life:?}");
    }
    let admitted = processes.iter().rev().find(|(_, admission)| *admission == Admission::Admitted);
    assert_eq!(lives.connected().get(&label("n1")), admitted.map(|(life, _)| life), "{what}");
}

#[test]
fn the_latest_process_of_an_instance_is_the_true_one() {
    use Admission::{Admitted, Duplicate, Superseded};
    check("a second connection", &[(life(7, 1, 1), Admitted), (life(7, 1, 1), Admitted)]);
    check(
        "a restart, and its predecessor",
        &[(life(7, 1, 1), Admitted), (life(7, 2, 2), Admitted), (life(7, 1, 1), Superseded), (life(7, 2, 2), Admitted)],
    );
    check("a copied disk", &[(life(7, 1, 1), Admitted), (life(7, 1, 2), Duplicate), (life(7, 1, 1), Admitted)]);
    check("a copy that was started more often", &[(life(7, 1, 1), Admitted), (life(7, 3, 2), Admitted)]);
    check(
        "another disk begins anew",
        &[(life(7, 9, 1), Admitted), (life(8, 1, 2), Admitted), (life(7, 9, 1), Admitted)],
    );
}

#[test]
fn who_was_seen_is_remembered_when_it_is_gone() {
    let mut lives = Lives::default();
    let n1 = label("n1");
    lives.connect(&n1, life(7, 2, 1));
    lives.disconnect(&n1);
    assert!(lives.connected().is_empty());
    assert_eq!(lives.connect(&n1, life(7, 1, 9)), Admission::Superseded);
    assert_eq!(lives.connect(&n1, life(7, 2, 9)), Admission::Duplicate);
    assert_eq!(lives.connect(&label("n2"), life(7, 1, 9)), Admission::Admitted, "of another name");
    assert_eq!(lives.connected().keys().collect::<Vec<&Label>>(), [&label("n2")]);
}

#[test]
fn so_many_lost_disks_are_remembered_of_a_name_and_not_of_all_names_together() {
    let mut lives = Lives::default();
    let (n1, n2) = (label("n1"), label("n2"));
    lives.connect(&n2, life(0, 5, 1));
    for instance in 1..=65 {
        assert_eq!(lives.connect(&n1, life(instance, 5, 1)), Admission::Admitted);
    }
    let earlier = |lives: &mut Lives, name, instance| lives.connect(name, life(instance, 4, 1));
    assert_eq!(earlier(&mut lives, &n1, 65), Admission::Superseded, "the one that is there");
    assert_eq!(earlier(&mut lives, &n1, 2), Admission::Superseded);
    assert_eq!(earlier(&mut lives, &n2, 0), Admission::Superseded, "those of n1 do not count for n2");
    assert_eq!(earlier(&mut lives, &n1, 1), Admission::Admitted, "one is forgotten");
}

/// A view of `n1`, in which it has the instance 7, and then `change`.
fn view(change: impl FnOnce(&mut Member)) -> View {
    let mut fields = view_of("n1").fields().clone();
    fields.members[0].instance = Instance::from_random(7);
    change(&mut fields.members[0]);
    View::new(fields).unwrap()
}

#[test]
fn a_name_is_taken_while_its_member_is_up_and_connected() {
    let mut lives = Lives::default();
    let n1 = label("n1");
    let (old, new) = (life(7, 1, 1), life(8, 1, 2));
    assert!(!lives.is_taken(&view(|_| ()), &n1, new), "nobody is connected");
    lives.connect(&n1, old);
    assert!(lives.is_taken(&view(|_| ()), &n1, new));
    assert!(!lives.is_taken(&view(|_| ()), &n1, life(7, 2, 2)), "the same instance");
    assert!(!lives.is_taken(&view(|n1| n1.live = Liveness::Down), &n1, new), "it is down");
    assert!(!lives.is_taken(&view(|n1| n1.intent = Intent::Leave), &n1, new), "it leaves");
    assert!(!lives.is_taken(&view(|n1| n1.instance = new.instance), &n1, new), "the new one is the member");
    assert!(!lives.is_taken(&view(|n1| n1.instance = Instance::from_random(9)), &n1, new), "none is");
    lives.disconnect(&n1);
    assert!(!lives.is_taken(&view(|_| ()), &n1, new), "it is gone");
}
