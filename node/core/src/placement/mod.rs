//! Who should own how much, and where tokens go to make it so.

pub mod balanced;
pub mod fair;
pub mod moves;

use quoit_proto_types::{
    Member, Ring, Tokens, View,
    ring::RingMember,
    view::{Liveness, Owner, RingAlgorithm, ViewConfig},
};

use balanced::{Adjust, Seats, place};

/// The tokens of `target`, in its order, if these were the owners-to-be of `view`. None if its ring is hashed.
///
/// While one of them is down, none that has a place is given another: what it would gain it could not take, and all would
/// wait for it.
pub fn tokens_towards(view: &View, target: &[Owner]) -> Vec<Tokens> {
    let fields = view.fields();
    if fields.config.ring_algorithm == RingAlgorithm::Hashed {
        return Vec::new();
    }
    if fields.target.as_deref() == Some(target) {
        return fields.tokens.target.clone();
    }
    if view.replaces_lives(target) {
        return fields.tokens.ring.clone();
    }
    let is_up = |owner: &Owner| view.member(owner.ordinal).is_some_and(|member| member.live == Liveness::Up);
    let adjust = if target.iter().all(is_up) { Adjust::Everybody } else { Adjust::Newcomers };
    tokens_after(view, (&view.members_towards(target), view.copies_towards(target)), adjust)
}

/// The ring of `members`, with so many copies of each slot, after that of `view`.
pub fn ring_after(view: &View, members: &[RingMember], copies: u8) -> Ring {
    let slots = view.fields().config.slots;
    match view.fields().config.ring_algorithm {
        RingAlgorithm::Hashed => Ring::build(members, slots, copies),
        RingAlgorithm::Balanced => {
            let tokens = tokens_after(view, (members, copies), Adjust::Everybody);
            Seats { members, tokens: &tokens, copies }.ring(slots)
        }
    }
}

fn tokens_after(view: &View, (members, copies): (&[RingMember], u8), adjust: Adjust) -> Vec<Tokens> {
    let fields = view.fields();
    let before = Seats { members: &view.ring_members(), tokens: &fields.tokens.ring, copies: fields.copies };
    place(&before, members, (fields.config.slots, copies), adjust)
}

/// The tokens of the first owners of a cluster. None if its ring is hashed.
pub(crate) fn first_tokens<'a>(config: &ViewConfig, owners: impl Iterator<Item = &'a Member>) -> Vec<Tokens> {
    if config.ring_algorithm == RingAlgorithm::Hashed {
        return Vec::new();
    }
    let member = |member: &Member| RingMember {
        ordinal: member.ordinal,
        node_id: member.node_id,
        zone: member.zone.clone(),
        vnodes: member.vnodes,
    };
    let members: Vec<RingMember> = owners.map(member).collect();
    place(&Seats::NONE, &members, (config.slots, config.replication), Adjust::Everybody)
}
