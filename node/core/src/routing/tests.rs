use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{
    ClusterId, Identity, Label, Role,
    message::session::VERSIONS,
    view::{AssignedTokens, Intent, Placed, ViewConfig, ViewFields},
};

use super::*;

fn member(index: u32) -> Member {
    let name: Label = format!("n{index}").parse().unwrap();
    let identity = Identity { role: Role::Node, name: name.clone(), cluster: "test".parse().unwrap() };
    Member {
        ordinal: Ordinal::new(index),
        node_id: identity.node_id(),
        name,
        instance: Instance::from_random(index.into()),
        boot: Boot::new(1),
        address: format!("10.0.0.{index}:7750").parse().unwrap(),
        zone: None,
        vnodes: 16,
        priority: 0,
        versions: VERSIONS,
        placed: None,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}

fn owner(index: u32) -> Owner {
    Owner { ordinal: Ordinal::new(index), boot: Boot::new(1) }
}

/// View 5 of five members, of whom `owners` own and `target` are to own, with `copies` of each slot.
fn fields(copies: u8, owners: &[u32], target: &[u32]) -> ViewFields {
    let list = |owners: &[u32]| owners.iter().copied().map(owner).collect::<Vec<_>>();
    let slots = SlotCount::from_log2(6).unwrap();
    ViewFields {
        cluster: "test".parse().unwrap(),
        cluster_id: ClusterId::from_random(1),
        recovered_from: None,
        epoch: Epoch::new(9),
        previous: ViewHash::default(),
        ballot: quoit_proto_types::Ballot::default(),
        coordinator: Ordinal::new(1),
        voters: [1, 2, 3].map(Ordinal::new).to_vec(),
        config: ViewConfig { slots, replication: copies, ..ViewConfig::default() },
        copies,
        members: (1..=5).map(member).collect(),
        ring: list(owners),
        target: Some(list(target)).filter(|target| !target.is_empty()),
        tokens: AssignedTokens::default(),
        fence: Fence::new(5),
        next_ordinal: Ordinal::new(6),
        proposed_at_ms: 0,
        changes: Vec::new(),
    }
}

/// The process of member 1 in the life `boot`, under these fields.
fn routing(fields: ViewFields, boot: u32) -> Routing {
    Routing::new(Arc::new(View::new(fields).unwrap()), Instance::from_random(1), Boot::new(boot))
}

fn ordinals(values: &[u32]) -> Vec<Ordinal> {
    values.iter().copied().map(Ordinal::new).collect()
}

/// How many of the 64 slots member 1, in the life `boot`, owns, is to own, and has nothing to do with.
#[track_caller]
fn check(what: &str, fields: ViewFields, boot: u32, is: impl FnOnce([usize; 3]) -> bool) {
    let routing = routing(fields, boot);
    let count = |standing| routing.slots_with(standing).len();
    let found = [count(Standing::Owner), count(Standing::Pending), count(Standing::Stranger)];
    assert_eq!(found.iter().sum::<usize>(), 64, "{what}");
    assert!(is(found), "{what}: {found:?}");
}

#[test]
fn only_the_own_fence_is_admitted() {
    let routing = routing(fields(1, &[1], &[]), 1);
    let code = |fence| routing.admit(Fence::new(fence)).err().map(|refusal| (refusal.code, refusal.argument));
    assert_eq!(code(5), None);
    assert_eq!((code(4), code(0)), (Some((ErrorCode::StaleView, 9)), Some((ErrorCode::StaleView, 9))));
    assert_eq!(code(6), Some((ErrorCode::NodeBehind, 9)));
}

#[test]
fn a_process_owns_what_the_ring_gives_it_in_this_life() {
    check("alone", fields(1, &[1], &[]), 1, |found| found == [64, 0, 0]);
    check("with others", fields(1, &[1, 2, 3], &[]), 1, |[owns, none, not]| owns > 0 && none == 0 && not > owns);
    check("two copies of three", fields(2, &[1, 2, 3], &[]), 1, |[owns, none, not]| owns > not && none == 0);
    check("as many copies as owners", fields(3, &[1, 2, 3], &[]), 1, |found| found == [64, 0, 0]);
    check("not an owner", fields(1, &[2, 3], &[]), 1, |found| found == [0, 0, 64]);
    check("an earlier life owns", fields(1, &[1], &[]), 2, |found| found == [0, 0, 64]);
}

#[test]
fn a_process_is_no_member_before_its_life_is_admitted() {
    let mut fields = fields(1, &[1, 2], &[]);
    assert_eq!(routing(fields.clone(), 1).me(), Some(Ordinal::new(1)));
    assert_eq!(routing(fields.clone(), 2).me(), None);
    fields.members[0].boot = Boot::new(2);
    assert_eq!((routing(fields.clone(), 1).me(), routing(fields, 2).me()), (None, Some(Ordinal::new(1))));
}

#[test]
fn a_process_is_to_own_what_the_target_gives_it_and_it_does_not_own() {
    check("it joins", fields(1, &[2, 3], &[1, 2, 3]), 1, |[owns, to_own, _]| owns == 0 && (1..64).contains(&to_own));
    check("another joins", fields(1, &[1, 2], &[1, 2, 3]), 1, |[owns, to_own, _]| owns > 0 && to_own == 0);
    check("another leaves", fields(1, &[1, 2, 3], &[1, 2]), 1, |[owns, to_own, _]| owns > 0 && to_own > 0);
    check("it leaves", fields(1, &[1, 2], &[2]), 1, |[owns, to_own, not]| owns > 0 && to_own == 0 && not > 0);
    let mut replaced = fields(1, &[1, 2], &[1, 2]);
    replaced.target.as_mut().unwrap()[0].boot = Boot::new(2);
    check("its next life", replaced.clone(), 1, |[owns, to_own, _]| owns > 0 && to_own == 0);
    replaced.members[0].boot = Boot::new(2);
    check("the next life itself", replaced, 2, |[owns, to_own, _]| owns == 0 && to_own > 0);
    let mut more = fields(1, &[1, 2], &[1, 2]);
    more.config.replication = 2;
    check("more copies", more, 1, |[owns, to_own, not]| owns > 0 && owns + to_own == 64 && not == 0);
    let mut heavier = fields(1, &[1, 2], &[1, 2]);
    (heavier.members[0].vnodes, heavier.members[0].placed) = (64, Some(Placed { zone: None, vnodes: 16 }));
    check("more weight", heavier, 1, |[owns, to_own, _]| owns > 0 && to_own > 0);
}

#[test]
fn a_stranger_is_no_member_and_owns_nothing() {
    let view = Arc::new(View::new(fields(3, &[1, 2, 3], &[])).unwrap());
    let stranger = Routing::new(view, Instance::from_random(9), Boot::new(1));
    assert_eq!((stranger.me(), stranger.slots_with(Standing::Stranger).len()), (None, 64));
}

#[test]
fn owners_are_those_in_force_then_those_to_be() {
    let routing = routing(fields(2, &[2, 3], &[3, 4]), 1);
    for slot in routing.slots().slots() {
        let owners = routing.owners(slot);
        let then = owners.then.unwrap();
        assert_eq!((owners.now, then), (routing.ring().owners(slot), routing.target().unwrap().owners(slot)));
        let all: Vec<Ordinal> = owners.all().collect();
        assert_eq!(&all[..2], owners.now);
        assert_eq!((all.len(), all[2]), (3, Ordinal::new(4)));
        assert!([2, 3, 4].map(Ordinal::new).iter().all(|owner| owners.contains(*owner)));
        assert!(!owners.contains(Ordinal::new(1)) && !owners.contains(Ordinal::new(9)));
    }
}

#[test]
fn an_owner_lives_if_it_is_up_and_has_not_restarted() {
    let mut fields = fields(2, &[1, 2, 3, 4], &[]);
    fields.members[1].live = Liveness::Down;
    fields.members[2].boot = Boot::new(2);
    let routing = routing(fields, 1);
    let lives = |index| routing.lives(Ordinal::new(index));
    assert_eq!([lives(1), lives(2), lives(3), lives(4)], [true, false, false, true]);
    assert_eq!((lives(5), lives(9)), (false, false), "no owner, no member");
    let up = |index| routing.is_up(Ordinal::new(index));
    assert_eq!([up(1), up(2), up(3), up(5), up(9)], [true, false, true, true, false]);
}

#[test]
fn substitutes_are_up_and_no_owners_and_change_little_with_the_members() {
    let mut fields = fields(1, &[2, 3], &[3]);
    let all = routing(fields.clone(), 1);
    fields.members[4].live = Liveness::Down;
    let fewer = routing(fields, 1);
    let mut firsts = std::collections::BTreeSet::new();
    for slot in all.slots().slots() {
        let (owners, substitutes) = (all.owners(slot), all.substitutes(slot));
        let mut expected = ordinals(&[1, 2, 3, 4, 5]);
        expected.retain(|ordinal| !owners.contains(*ordinal));
        let mut found = substitutes.clone();
        found.sort_unstable();
        assert_eq!(found, expected);
        firsts.insert(substitutes[0]);
        // Who is left keeps its place before others.
        let without: Vec<Ordinal> = substitutes.into_iter().filter(|ordinal| ordinal.value() != 5).collect();
        assert_eq!(fewer.substitutes(slot), without);
    }
    assert!(firsts.len() >= 3, "one is not the first of all: {firsts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What one process is to a slot is what the others take it for.
    #[test]
    fn standings_and_owners_agree(
        owners in vec(any::<bool>(), 5..6), target in vec(any::<bool>(), 5..6), copies in 1..=4_u8,
    ) {
        let pick = |mask: &[bool]| (1..=5).filter(|index| mask[*index as usize - 1]).collect::<Vec<u32>>();
        let fields = fields(copies, &pick(&owners), &pick(&target));
        let view = Arc::new(View::new(fields).unwrap());
        for index in 1..=5 {
            let routing = Routing::new(Arc::clone(&view), Instance::from_random(index.into()), Boot::new(1));
            for slot in routing.slots().slots() {
                let (standing, owners) = (routing.standing(slot), routing.owners(slot));
                let me = Ordinal::new(index);
                prop_assert_eq!(standing == Standing::Owner, owners.now.contains(&me));
                prop_assert_eq!(standing == Standing::Stranger, !owners.contains(me));
                prop_assert_eq!(routing.slots_with(standing).contains(slot), true);
            }
        }
    }
}
