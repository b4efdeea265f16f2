use super::*;
use crate::{epoch::Term, hash::SlotIndex};

/// A member in zone-less `prod`.
fn member(index: u32) -> Member {
    let name: Label = format!("n{index}").parse().unwrap();
    let identity = Identity { role: Role::Node, name: name.clone(), cluster: "prod".parse().unwrap() };
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
        versions: VersionRange { min: 1, max: 1 },
        placed: None,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}

fn owner(ordinal: u32) -> Owner {
    Owner { ordinal: Ordinal::new(ordinal), boot: Boot::new(1) }
}

/// Three members, a view at which every rule holds.
fn valid() -> ViewFields {
    ViewFields {
        cluster: "prod".parse().unwrap(),
        cluster_id: ClusterId::from_random(1),
        epoch: Epoch::new(5),
        recovered_from: None,
        previous: ViewHash::default(),
        ballot: Ballot { term: Term::new(2), ordinal: Ordinal::new(1), boot: Boot::new(1) },
        coordinator: Ordinal::new(1),
        voters: [1, 2, 3].map(Ordinal::new).to_vec(),
        config: ViewConfig { replication: 1, ..ViewConfig::default() },
        copies: 1,
        members: [1, 2, 3].map(member).to_vec(),
        ring: [1, 2].map(owner).to_vec(),
        target: Some([1, 2, 3].map(owner).to_vec()),
        tokens: AssignedTokens::default(),
        fence: Fence::new(5),
        next_ordinal: Ordinal::new(4),
        proposed_at_ms: 0,
        changes: Vec::new(),
    }
}

/// Asserts that `change` breaks the rule called `broken`, for a caller and for a decoder alike.
#[track_caller]
fn breaks(broken: &str, change: impl FnOnce(&mut ViewFields)) {
    let mut fields = valid();
    change(&mut fields);
    let mut bytes = BytesMut::new();
    codec::encode(&fields, &mut bytes);
    assert_eq!(View::decode(&bytes), Err(DecodeError::Malformed { what: "view" }));
    let refused = View::new(fields).map(drop).map_err(|error| error.to_string());
    assert_eq!(refused, Err(format!("not a valid view: {broken}")));
}

/// Asserts that a view may be so.
#[track_caller]
fn allows(change: impl FnOnce(&mut ViewFields)) {
    let mut fields = valid();
    change(&mut fields);
    assert_eq!(View::new(fields).map(drop), Ok(()));
}

#[test]
fn valid_views() {
    allows(|_| ());
    allows(|fields| fields.target = None);
    allows(|fields| fields.ring.clear());
    allows(|fields| fields.fence = Fence::new(0));
    allows(|fields| fields.members[0].vnodes = 0);
    allows(|fields| fields.members[0].vnodes = limits::VNODES_MAX);
    allows(|fields| fields.next_ordinal = Ordinal::new(u32::MAX));
    allows(|fields| fields.voters.truncate(1));
    allows(|fields| fields.config.replication = limits::REPLICATION_MAX);
    allows(|fields| fields.config.replication = limits::REPLICATION_ALL);
    // On the way from a copy on every node to few, every number is passed.
    allows(|fields| fields.copies = 100);
    allows(|fields| fields.members[0].placed = Some(Placed { zone: None, vnodes: limits::VNODES_MAX }));
    // An owner of an earlier life is replaced by a ring change of its own.
    allows(|fields| fields.ring[0].boot = Boot::new(0));
    // Those who leave may be called like the one who takes their place, and like each other.
    allows(|fields| {
        namesakes(fields);
        fields.members[0].intent = Intent::Leave;
    });
    allows(|fields| {
        namesakes(fields);
        fields.members[0].intent = Intent::Leave;
        fields.members[1].intent = Intent::Leave;
    });
    allows(|fields| fields.recovered_from = Some(ClusterId::from_random(2)));
    allows(|fields| fields.changes = vec![Change::Formed; limits::CHANGES_MAX]);
    // Two nodes may share an address, as when one takes over from another.
    allows(|fields| fields.members[0].address = fields.members[1].address.clone());
}

#[test]
fn epoch() {
    breaks("epoch 0 has no view", |fields| {
        fields.epoch = Epoch::GENESIS;
        fields.fence = Fence::new(0);
    });
}

#[test]
fn no_members() {
    breaks("it has no members", |fields| fields.members.clear());
}

#[test]
fn too_many_members() {
    let members = u32::try_from(limits::MEMBERS_MAX).unwrap();
    let with = |count: u32| {
        move |fields: &mut ViewFields| {
            fields.members = (1..=count).map(|index| Member { address: member(1).address, ..plain(index) }).collect();
            fields.next_ordinal = Ordinal::new(count + 1);
        }
    };
    allows(with(members));
    breaks("it has too many members", with(members + 1));
}

/// A member whose address does not depend on its index, which may exceed a byte.
fn plain(index: u32) -> Member {
    let identity =
        Identity { role: Role::Node, name: format!("n{index}").parse().unwrap(), cluster: "prod".parse().unwrap() };
    Member { ordinal: Ordinal::new(index), node_id: identity.node_id(), name: identity.name, ..member(1) }
}

#[test]
fn order_of_members() {
    let broken = "members are not in the order of their ordinals";
    breaks(broken, |fields| fields.members.swap(0, 1));
    breaks(broken, |fields| fields.members[1].ordinal = Ordinal::new(1));
}

#[test]
fn names() {
    breaks("two members that stay have one name", namesakes);
}

/// Calls the second member like the first.
fn namesakes(fields: &mut ViewFields) {
    fields.members[1].name = fields.members[0].name.clone();
    fields.members[1].node_id = fields.members[0].node_id;
}

#[test]
fn changes() {
    breaks("it tells too many changes", |fields| fields.changes = vec![Change::Formed; limits::CHANGES_MAX + 1]);
}

#[test]
fn issued_ordinals() {
    breaks("an ordinal is not issued", |fields| fields.next_ordinal = Ordinal::new(3));
}

#[test]
fn epochs_end_before_they_overflow() {
    allows(|fields| fields.epoch = Epoch::new(1 << 62));
    breaks("the epoch is beyond any that a cluster can reach", |fields| fields.epoch = Epoch::new((1 << 62) + 1));
}

#[test]
fn the_first_view_follows_no_other() {
    let some = ViewHash([7; 32]);
    allows(|fields| fields.previous = some);
    breaks("the first view follows no other", |fields| {
        (fields.epoch, fields.fence, fields.previous) = (Epoch::new(1), Fence::new(1), some);
    });
}

#[test]
fn vnodes_in_all() {
    breaks("too many vnodes in all", |fields| {
        fields.members =
            (1..=1025).map(|i| Member { vnodes: 4096, address: "a:1".parse().unwrap(), ..member(i) }).collect();
        fields.next_ordinal = Ordinal::new(2000);
    });
}

#[test]
fn vnodes() {
    breaks("too many vnodes", |fields| fields.members[0].vnodes = limits::VNODES_MAX + 1);
}

#[test]
fn vnodes_in_force() {
    let heavy = |vnodes| Some(Placed { zone: None, vnodes });
    breaks("too many vnodes on the ring in force", |f| f.members[0].placed = heavy(limits::VNODES_MAX + 1));
    breaks("too many vnodes on the ring in force in all", |fields| {
        let member = |i| Member { placed: heavy(4096), address: "a:1".parse().unwrap(), ..member(i) };
        fields.members = (1..=1025).map(member).collect();
        fields.next_ordinal = Ordinal::new(2000);
    });
}

#[test]
fn node_ids() {
    let broken = "a node id does not follow from its name";
    breaks(broken, |fields| fields.members[0].node_id = fields.members[1].node_id);
    breaks(broken, |fields| fields.cluster = "test".parse().unwrap());
}

#[test]
fn voters() {
    breaks("it has no voters, or too many", |fields| fields.voters.clear());
    breaks("it has no voters, or too many", |fields| {
        fields.members = (1..=8).map(member).collect();
        fields.next_ordinal = Ordinal::new(9);
        fields.voters = (1..=8).map(Ordinal::new).collect();
    });
    breaks("voters are not in order", |fields| fields.voters.swap(0, 1));
    breaks("voters are not in order", |fields| fields.voters[1] = fields.voters[0]);
    breaks("a voter is not a member", |fields| fields.voters[2] = Ordinal::new(9));
}

#[test]
fn coordinator() {
    breaks("the coordinator is not a member", |fields| fields.coordinator = Ordinal::new(4));
}

#[test]
fn configuration() {
    breaks("replication is out of range", |fields| fields.config.replication = 0);
    breaks("replication is out of range", |fields| fields.config.replication = limits::REPLICATION_MAX + 1);
    breaks("replication is out of range", |fields| fields.config.replication = limits::REPLICATION_ALL - 1);
    breaks("there are no copies", |fields| fields.copies = 0);
    assert_eq!(
        [0, 1, 2, 3].map(|number| RingAlgorithm::try_from(number).ok()),
        [None, Some(RingAlgorithm::Hashed), Some(RingAlgorithm::Balanced), None,]
    );
}

/// Makes the ring balanced: tokens at every third slot, each member's after the other's.
fn assign(fields: &mut ViewFields) {
    let tokens = |start: u32| Tokens::new((0..128).map(|index| SlotIndex::new(index * 3 + start)).collect());
    fields.config.ring_algorithm = RingAlgorithm::Balanced;
    fields.tokens = AssignedTokens { ring: vec![tokens(0), tokens(1)], target: [0, 1, 2].map(tokens).to_vec() };
}

#[test]
fn assigned_tokens() {
    allows(assign);
    let broken = "an owner's tokens are not as many as its vnodes, or beyond the last slot";
    breaks(broken, |fields| fields.config.ring_algorithm = RingAlgorithm::Balanced);
    let breaks_ring = |change: fn(&mut Vec<Tokens>)| {
        breaks(broken, |fields| {
            assign(fields);
            change(&mut fields.tokens.ring);
        });
    };
    breaks_ring(|tokens| drop(tokens.pop()));
    breaks_ring(|tokens| tokens[1] = Tokens::NONE);
    breaks_ring(|tokens| tokens[0] = Tokens::new(vec![SlotIndex::new(1 << 14); 128]));
    breaks(broken, |fields| {
        assign(fields);
        fields.config.ring_algorithm = RingAlgorithm::Hashed;
    });
    let broken = "an owner-to-be's tokens are not as many as its vnodes, or beyond the last slot";
    breaks(broken, |fields| {
        assign(fields);
        fields.tokens.target.pop();
    });
    breaks(broken, |fields| {
        assign(fields);
        fields.target = None;
    });
    // A ring in force goes by the weight that it was made for.
    allows(|fields| {
        assign(fields);
        fields.members[0].placed = Some(Placed { zone: None, vnodes: 128 });
        fields.members[0].vnodes = 5;
        fields.tokens.target[0] = Tokens::new(vec![SlotIndex::new(7); 5]);
    });
}

#[test]
fn owners_are_read_off_the_tokens() {
    let mut fields = valid();
    assign(&mut fields);
    let view = View::new(fields).unwrap();
    let (ring, target) = (view.ring(), view.target_ring().unwrap());
    let primaries =
        |ring: &Ring| (0..6).map(|slot| ring.primary(SlotIndex::new(slot)).unwrap().value()).collect::<Vec<_>>();
    assert_eq!((primaries(&ring), primaries(&target)), (vec![1, 2, 1, 1, 2, 1], vec![1, 2, 3, 1, 2, 3]));
    assert_eq!(view.circle().len(), 256);
    let mut bytes = BytesMut::new();
    view.encode(&mut bytes);
    assert_eq!(View::decode(&bytes), Ok(view));
}

#[test]
fn fence() {
    breaks("the fence is ahead of the epoch", |fields| fields.fence = Fence::new(6));
}

#[test]
fn owners() {
    let broken = "the ring is not in order or names no member";
    breaks(broken, |fields| fields.ring.swap(0, 1));
    breaks(broken, |fields| fields.ring[1] = fields.ring[0]);
    breaks(broken, |fields| fields.ring[1] = owner(9));
    let broken = "the target is not in order or names no member";
    breaks(broken, |fields| fields.target = Some(vec![owner(2), owner(1)]));
    breaks(broken, |fields| fields.target = Some(vec![owner(1), owner(1)]));
    breaks(broken, |fields| fields.target = Some(vec![owner(9)]));
}

#[test]
fn ring_of_those_in_force() {
    let mut fields = valid();
    fields.members[0].vnodes = 0;
    let view = View::new(fields).unwrap();
    let ring = view.ring();
    assert!(ring.slots().slots().all(|slot| ring.owners(slot) == [Ordinal::new(2)]), "n1 is a witness, n3 joins");
    assert_eq!(view.member(Ordinal::new(3)).unwrap().name.as_str(), "n3");
    assert_eq!(view.member(Ordinal::new(4)), None);
}

#[test]
fn ring_of_those_to_be() {
    let view = View::new(valid()).unwrap();
    let (ring, target) = (view.ring(), view.target_ring().unwrap());
    let owned = |ring: &Ring| [1, 2, 3].map(|ordinal| ring.primary_slots(Ordinal::new(ordinal)) > 0);
    assert_eq!((owned(&ring), owned(&target)), ([true, true, false], [true; 3]));
    let mut fields = valid();
    fields.target = None;
    assert_eq!(View::new(fields).unwrap().target_ring(), None);
}

/// How many slots `n1` is the primary of, of a ring in force and of the one to be.
fn primary(fields: ViewFields) -> [usize; 2] {
    let view = View::new(fields).unwrap();
    [view.ring(), view.target_ring().unwrap()].map(|ring| ring.primary_slots(Ordinal::new(1)))
}

#[test]
fn the_ring_in_force_goes_by_what_was_and_the_one_to_be_by_what_is() {
    let mut fields = valid();
    fields.target = Some(fields.ring.clone());
    let [even, same] = primary(fields.clone());
    assert_eq!(even, same);
    fields.members[0].placed = Some(Placed { zone: None, vnodes: 128 });
    fields.members[0].vnodes = 512;
    let [now, then] = primary(fields.clone());
    assert!(now == even && then > even + even / 4, "{now} {then}");
    // In another life it has its former place.
    fields.target.as_mut().unwrap()[0].boot = Boot::new(2);
    assert_eq!(primary(fields.clone()), [even, even]);
    // With others it goes by what it is.
    fields.target.as_mut().unwrap().push(owner(3));
    assert!(primary(fields.clone())[1] > even);
    // Without weight it keeps its former place, if it is named.
    (fields.members[0].vnodes, fields.target) = (0, Some([1, 2].map(owner).to_vec()));
    assert_eq!(primary(fields.clone()), [even, even]);
    fields.target = Some(vec![owner(2)]);
    assert_eq!(primary(fields), [even, 0]);
}

#[test]
fn a_change_of_lives_alone_keeps_the_number_of_copies() {
    let mut fields = valid();
    (fields.copies, fields.config.replication) = (1, 3);
    let view = View::new(fields).unwrap();
    let copies = |target: &[Owner]| (view.replaces_lives(target), view.copies_towards(target));
    let restarted = Owner { boot: Boot::new(2), ..owner(2) };
    assert_eq!(copies(&[owner(1), restarted]), (true, 1));
    assert_eq!(copies(&[owner(1), owner(2)]), (false, 3));
    assert_eq!(copies(&[owner(1), restarted, owner(3)]), (false, 3));
    assert_eq!(copies(&[restarted]), (false, 3));
}

#[test]
fn copies_grow_at_once_and_shrink_one_by_one() {
    let all = limits::REPLICATION_ALL;
    for ((copies, wanted, owners), next) in [
        ((1, 3, 5), 3),
        ((1, all, 5), all),
        ((3, 3, 5), 3),
        ((3, 1, 5), 2),
        ((2, 1, 5), 1),
        ((7, 2, 3), 2),
        ((7, 1, 3), 2),
        // One of four leaves, and two copies are wanted of one on every node: three are left first.
        ((all, 2, 4), 3),
        ((all, 7, 4), 7),
        ((all, 1, 1), 1),
        ((all, 1, 0), 1),
        ((all, 3, 1_000), 254),
        ((1, 1, 0), 1),
    ] {
        assert_eq!(next_copies(copies, wanted, owners), next, "{copies} to {wanted} with {owners}");
    }
    for (copies, wanted, owners) in
        (1..=9).flat_map(|copies| (1..=9).flat_map(move |wanted| (0..=9).map(move |owners| (copies, wanted, owners))))
    {
        let next = next_copies(copies, wanted, owners);
        let held = usize::from(copies).min(owners);
        assert!(usize::from(next) + 1 >= held && next >= wanted && (next == wanted || next < copies));
    }
}

#[test]
fn a_member_that_resettles_is_placed_where_it_was_until_the_ring_follows() {
    let zone = |name: &str| Some(name.parse::<Label>().unwrap());
    let mut member = member(1);
    member.resettle(zone("a"), 128, true);
    assert_eq!((member.placed(), member.to_be_placed()), ((&None, 128), (&zone("a"), 128)));
    member.resettle(zone("b"), 64, true);
    assert_eq!((member.placed(), member.to_be_placed()), ((&None, 128), (&zone("b"), 64)));
    member.resettle(None, 0, true);
    assert_eq!((member.placed(), member.to_be_placed()), ((&None, 128), (&None, 128)));
    member.resettle(None, 128, true);
    assert_eq!(member.placed, None, "as it was");
    member.resettle(zone("a"), 64, false);
    assert_eq!((member.placed.as_ref(), member.placed()), (None, (&zone("a"), 64)), "it does not own");
}

#[test]
fn members_are_found_by_name_and_by_voting_state() {
    let mut fields = valid();
    namesakes(&mut fields);
    fields.members[0].intent = Intent::Leave;
    let found = |fields: &ViewFields, name: &str| {
        let view = View::new(fields.clone()).unwrap();
        view.member_named(&name.parse().unwrap()).map(|member| member.ordinal.value())
    };
    assert_eq!(found(&fields, "n1"), Some(2), "the one that stays");
    assert_eq!((found(&fields, "n3"), found(&fields, "n2")), (Some(3), None));
    fields.members[1].intent = Intent::Leave;
    assert_eq!(found(&fields, "n1"), Some(2), "the later of those that leave");
    let view = View::new(fields).unwrap();
    let of_instance = |bits| view.member_of_instance(Instance::from_random(bits)).map(|member| member.ordinal.value());
    assert_eq!((of_instance(1), of_instance(2), of_instance(9)), (Some(1), Some(2), None));
}

#[test]
fn a_quorum_is_more_than_half_of_the_voters() {
    for (voters, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
        let mut fields = valid();
        fields.members = (1..=8).map(member).collect();
        fields.next_ordinal = Ordinal::new(9);
        fields.voters = (1..=voters).map(Ordinal::new).collect();
        let view = View::new(fields).unwrap();
        assert_eq!(view.quorum(), quorum, "{voters} voters");
        assert!((1..=8).all(|ordinal| view.is_voter(Ordinal::new(ordinal)) == (ordinal <= voters)));
    }
}

#[test]
fn a_mark_is_the_beginning_of_a_hash() {
    let hash =
        ViewHash([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!((hash.mark(), hash.to_string()), (ViewMark([1, 2, 3, 4, 5, 6, 7, 8]), "01020304".to_owned()));
}

#[test]
fn a_record_tells_who_when_and_why() {
    let mut fields = valid();
    fields.proposed_at_ms = 77;
    fields.changes = vec![Change::Elected("n1".parse().unwrap()), Change::Down("n2".parse().unwrap())];
    let view = View::new(fields).unwrap();
    let record = ViewRecord::of(&view, view.hash());
    assert_eq!((record.epoch, record.hash, record.members), (view.epoch(), view.hash(), 3));
    assert_eq!((record.coordinator.as_str(), record.proposed_at_ms), ("n1", 77));
    let told: Vec<String> = record.changes.iter().map(Change::to_string).collect();
    assert_eq!(told, ["n1 elected coordinator", "n2 down"]);
}

#[test]
fn changes_of_the_ring_read_well() {
    let [n1, ops] = ["n1", "ops"].map(|name| name.parse::<Label>().unwrap());
    for (change, text) in [
        (Change::CopiesWanted(1, ops.clone()), "1 copy wanted, set by ops"),
        (Change::CopiesWanted(3, ops.clone()), "3 copies wanted, set by ops"),
        (Change::CopiesWanted(255, ops.clone()), "a copy on every node wanted, set by ops"),
        (Change::CopiesInForce(1), "each key has 1 copy"),
        (Change::CopiesInForce(2), "each key has 2 copies"),
        (Change::CopiesInForce(255), "every node holds a copy"),
        (Change::Weighed(n1, 0, ops), "n1 to have 0 vnodes, set by ops"),
        (Change::SlotsLost(1), "1 slot begins empty, none of its owners is left"),
        (Change::SlotsLost(9), "9 slots begin empty, none of their owners is left"),
    ] {
        assert_eq!(change.to_string(), text);
    }
}

#[test]
fn timing_profiles_are_read_as_they_are_named() {
    for profile in TimingProfile::ALL {
        assert_eq!(profile.to_string().parse(), Ok(profile));
    }
    assert_eq!((TimingProfile::default(), ViewConfig::default().timing), (TimingProfile::Lan, TimingProfile::Lan));
    let unknown = "Lan".parse::<TimingProfile>().map_err(|error| error.to_string());
    assert_eq!(unknown, Err("`Lan` is no timing profile: fast, lan or wan".to_owned()));
    let long = "é".repeat(1000).parse::<TimingProfile>().unwrap_err().to_string();
    assert!(long.len() < 120, "{long}");
}

#[test]
fn addresses() {
    for good in ["10.0.0.1:7750", "[::1]:7750", "[fe80::1%3]:1", "n1.example:65535", "localhost:1"] {
        assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
    }
    let long = format!("{}:7750", "h".repeat(256));
    for bad in [
        "",
        ":7750",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:+1",
        "::1:7750",
        "[::1]",
        "[]:1",
        "[host]:1",
        "a b:1",
        "é:1",
        &long,
    ] {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
}

#[test]
fn a_degraded_owner_is_the_last_choice_but_for_one_that_is_down() {
    let choice = |change: fn(&mut ViewFields), owners: &[u32]| {
        let mut fields = valid();
        change(&mut fields);
        let owners: Vec<Ordinal> = owners.iter().copied().map(Ordinal::new).collect();
        View::new(fields).unwrap().by_choice(&owners).iter().map(|owner| owner.value()).collect::<Vec<_>>()
    };
    assert_eq!(choice(|_| (), &[2, 3, 1]), [2, 3, 1], "the ring's order");
    assert_eq!(choice(|fields| fields.members[1].degraded = true, &[2, 3, 1]), [3, 1, 2]);
    assert_eq!(choice(|fields| fields.members[1].live = Liveness::Down, &[2, 3, 1]), [3, 1, 2]);
    let both = |fields: &mut ViewFields| {
        fields.members[1].live = Liveness::Down;
        fields.members[2].degraded = true;
    };
    assert_eq!(choice(both, &[2, 3, 1]), [1, 3, 2], "slow is better than down");
    assert_eq!(choice(|_| (), &[9, 1]), [1, 9], "who is no member does not answer at all");
}
