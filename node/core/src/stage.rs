//! Views for tests: some members, as they mostly are, of which a test changes what it is about.

use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, Fence, Identity, Instance, Label, Member, Ordinal, Role,
    message::session::VERSIONS,
    view::{AssignedTokens, Intent, Liveness, ViewConfig, ViewFields, ViewHash},
};

/// The fields of view `epoch` of the members n1 to `n{members}`, of whom the first presides and votes alone. Nobody owns.
pub(crate) fn fields(epoch: u64, members: u32) -> ViewFields {
    ViewFields {
        cluster: "test".parse().unwrap(),
        cluster_id: ClusterId::from_random(1),
        recovered_from: None,
        epoch: Epoch::new(epoch),
        previous: ViewHash::default(),
        ballot: Ballot::default(),
        coordinator: Ordinal::new(1),
        voters: vec![Ordinal::new(1)],
        config: ViewConfig::default(),
        copies: ViewConfig::default().replication,
        members: (1..=members).map(member).collect(),
        ring: Vec::new(),
        target: None,
        tokens: AssignedTokens::default(),
        fence: Fence::new(1),
        next_ordinal: Ordinal::new(members + 1),
        proposed_at_ms: 0,
        changes: Vec::new(),
    }
}

/// The member `n1`, `n2` or so, up in its first life.
pub(crate) fn member(index: u32) -> Member {
    let name: Label = format!("n{index}").parse().unwrap();
    let identity = Identity { role: Role::Node, name: name.clone(), cluster: "test".parse().unwrap() };
    Member {
        ordinal: Ordinal::new(index),
        node_id: identity.node_id(),
        name,
        instance: Instance::from_random(index.into()),
        boot: Boot::new(1),
        address: format!("n{index}:7750").parse().unwrap(),
        zone: None,
        vnodes: 8,
        priority: 0,
        versions: VERSIONS,
        placed: None,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}
