use super::*;
use crate::epoch::Term;

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
        live: Liveness::Up,
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
        previous: ViewHash::default(),
        ballot: Ballot { term: Term::new(2), ordinal: Ordinal::new(1), boot: Boot::new(1) },
        coordinator: Ordinal::new(1),
        voters: [1, 2, 3].map(Ordinal::new).to_vec(),
        config: ViewConfig::default(),
        members: [1, 2, 3].map(member).to_vec(),
        ring: [1, 2].map(owner).to_vec(),
        target: Some([1, 2, 3].map(owner).to_vec()),
        fence: Fence::new(5),
        next_ordinal: Ordinal::new(4),
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
    // An owner of an earlier life is replaced by a ring change of its own.
    allows(|fields| fields.ring[0].boot = Boot::new(0));
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
    breaks("two members have one name", |fields| {
        fields.members[1].name = fields.members[0].name.clone();
        fields.members[1].node_id = fields.members[0].node_id;
    });
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
    breaks("the ring algorithm is unknown", |fields| fields.config.ring_algorithm = RING_ALGORITHM + 1);
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
