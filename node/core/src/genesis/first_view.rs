//! What view 1 looks like.

use quoit_proto_types::{
    Ballot, ClusterId, Epoch, Fence, Identity, Label, Member, Ordinal, Role, View,
    limits::VOTERS_MAX,
    message::membership::Applicant,
    view::{AssignedTokens, Change, Intent, InvalidView, Liveness, Owner, ViewConfig, ViewFields, ViewHash},
};

use crate::placement::first_tokens;

/// The ordinal of the founder at `rank` in the sorted list. Ordinals start at 1; 0 is nobody's, so that the default
/// ballot is below every ballot.
pub(super) fn ordinal(rank: usize) -> Ordinal {
    Ordinal::new(u32::try_from(rank + 1).expect("fewer founders than members in a view"))
}

/// View 1 of a new cluster. Every one of `founders`, which are in order, is a member; the first ones vote, and those with
/// vnodes own.
///
/// # Errors
/// [`InvalidView`], when the founders' settings allow no view.
pub(super) fn first_view(
    cluster: &Label,
    cluster_id: ClusterId,
    (ballot, proposed_at_ms): (Ballot, u64),
    config: ViewConfig,
    founders: Vec<Applicant>,
) -> Result<View, InvalidView> {
    let members: Vec<Member> =
        founders.iter().enumerate().map(|(rank, founder)| member(cluster, ordinal(rank), founder)).collect();
    let owners = members.iter().filter(|member| member.vnodes > 0);
    let tokens = AssignedTokens { ring: first_tokens(&config, owners.clone()), target: Vec::new() };
    let epoch = Epoch::GENESIS.next();
    View::new(ViewFields {
        cluster: cluster.clone(),
        cluster_id,
        recovered_from: None,
        epoch,
        previous: ViewHash::default(),
        ballot,
        coordinator: ballot.ordinal,
        voters: members.iter().map(|member| member.ordinal).take(VOTERS_MAX).collect(),
        config,
        copies: config.replication,
        ring: owners.map(|member| Owner { ordinal: member.ordinal, boot: member.boot }).collect(),
        target: None,
        tokens,
        fence: Fence::new(epoch.value()),
        next_ordinal: ordinal(members.len()),
        members,
        proposed_at_ms,
        changes: vec![Change::Formed],
    })
}

fn member(cluster: &Label, ordinal: Ordinal, founder: &Applicant) -> Member {
    let identity = Identity { role: Role::Node, name: founder.name.clone(), cluster: cluster.clone() };
    Member {
        ordinal,
        node_id: identity.node_id(),
        name: founder.name.clone(),
        instance: founder.instance,
        boot: founder.boot,
        address: founder.address.clone(),
        zone: founder.zone.clone(),
        vnodes: founder.vnodes,
        priority: founder.priority,
        versions: founder.versions,
        placed: None,
        live: Liveness::Up,
        degraded: false,
        intent: Intent::Stay,
    }
}
