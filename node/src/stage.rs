//! A view for tests, of which each changes what it is about.

use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, Fence, Identity, Instance, Label, Member, Ordinal, Role, Term, View,
    message::session::VERSIONS,
    view::{AssignedTokens, Change, Intent, Liveness, Owner, ViewConfig, ViewFields, ViewHash},
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
        copies: ViewConfig::default().replication,
        ring: [1, 2, 3].map(owner).to_vec(),
        target: None,
        tokens: AssignedTokens::default(),
        fence: Fence::new(4),
        next_ordinal: Ordinal::new(9),
        proposed_at_ms: PROPOSED_AT_MS,
        changes: vec![Change::Joined(label("n3"))],
    };
    change(&mut fields);
    View::new(fields).unwrap()
}

/// A label that is known to be one.
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
        placed: None,
        priority: 0,
        versions: VERSIONS,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}

/// The member `index` in its first life, as an owner.
pub(crate) fn owner(index: u32) -> Owner {
    Owner { ordinal: Ordinal::new(index), boot: Boot::new(1) }
}
