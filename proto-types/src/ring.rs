//! The consistent-hash ring of virtual nodes, evaluated at slot points.
//!
//! A node with `v` vnodes has `v` tokens on a circle of 2^64 points (Karger et al., 1997; vnodes as in Dynamo, 2007). The
//! owners of a slot are the first N distinct nodes clockwise from the slot's first point, from distinct zones while that
//! is possible. Evaluating at slot points makes the slot the one unit of transfer, digest and repair: no range is ever
//! split. Rule of thumb for balance: slots ≥ 2 · nodes · vnodes.

use std::collections::BTreeSet;

use crate::{
    hash::{HashPoint, SlotCount, SlotIndex},
    id::{NodeId, Ordinal},
    view::Zone,
};

/// What the ring needs to know of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingMember {
    /// What the ring answers with.
    pub ordinal: Ordinal,
    /// Places its tokens.
    pub node_id: NodeId,
    /// Its failure domain. Members without one stand alone.
    pub zone: Zone,
    /// How many tokens it has.
    pub vnodes: u32,
}

/// The owners of every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    slots: SlotCount,
    /// Owners of each slot.
    stride: usize,
    /// `stride` owners for each slot in turn.
    owners: Vec<Ordinal>,
}

impl Ring {
    /// Places `members` on a ring and looks up the owners of every slot.
    ///
    /// The answer depends on the members alone, not on their order. With fewer than `replication` members that have
    /// vnodes, every such member owns every slot; with none, no slot has an owner.
    pub fn build(members: &[RingMember], slots: SlotCount, replication: u8) -> Self {
        let mut tokens: Vec<(HashPoint, NodeId, usize)> = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let points = (0..member.vnodes).map(|i| HashPoint::of_vnode(member.node_id, i));
            tokens.extend(points.map(|point| (point, member.node_id, index)));
        }
        tokens.sort_unstable();
        let placed: Vec<&RingMember> = members.iter().filter(|m| m.vnodes > 0).collect();
        let stride = placed.len().min(usize::from(replication));
        let zones = distinct_zones(&placed).min(stride);
        let mut owners = Vec::with_capacity(slots.count() as usize * stride);
        for slot in slots.slots() {
            let point = slots.first_point(slot);
            let start = tokens.partition_point(|token| token.0 < point);
            let clockwise = tokens[start..].iter().chain(&tokens[..start]);
            let walk = clockwise.map(|&(_, _, index)| &members[index]);
            owners.extend(first_owners(walk, stride, zones));
        }
        Self { slots, stride, owners }
    }

    /// How many slots the ring has.
    pub fn slots(&self) -> SlotCount {
        self.slots
    }

    /// The owners of `slot`, the primary first.
    pub fn owners(&self, slot: SlotIndex) -> &[Ordinal] {
        let start = slot.index() * self.stride;
        self.owners.get(start..start + self.stride).unwrap_or_default()
    }

    /// The first owner of `slot`; `None` on a ring without owners.
    pub fn primary(&self, slot: SlotIndex) -> Option<Ordinal> {
        self.owners(slot).first().copied()
    }

    /// The first owner of the slot that holds `point`.
    pub fn primary_of(&self, point: HashPoint) -> Option<Ordinal> {
        self.primary(self.slots.slot_of(point))
    }

    /// How many slots `node` is the primary of.
    pub fn primary_slots(&self, node: Ordinal) -> usize {
        self.owners.iter().step_by(self.stride.max(1)).filter(|owner| **owner == node).count()
    }
}

/// How many failure domains there are; a member without a zone is one by itself.
fn distinct_zones(members: &[&RingMember]) -> usize {
    let named: BTreeSet<_> = members.iter().filter_map(|member| member.zone.as_ref()).collect();
    named.len() + members.iter().filter(|member| member.zone.is_none()).count()
}

/// The first `count` distinct nodes of `walk`: the first of each of `zones` zones, then the first of those passed over.
fn first_owners<'a>(walk: impl Iterator<Item = &'a RingMember>, count: usize, zones: usize) -> Vec<Ordinal> {
    let mut chosen: Vec<&RingMember> = Vec::with_capacity(count);
    let mut passed_over: Vec<&RingMember> = Vec::new();
    for member in walk {
        if chosen.len() + passed_over.len() == count {
            break;
        }
        let known = |other: &&RingMember| other.ordinal == member.ordinal;
        if chosen.iter().any(known) || passed_over.iter().any(known) {
            continue;
        }
        if member.zone.is_none() || chosen.iter().all(|other| other.zone != member.zone) {
            chosen.push(member);
        } else if passed_over.len() < count - zones {
            passed_over.push(member);
        }
    }
    chosen.into_iter().chain(passed_over).map(|member| member.ordinal).collect()
}
