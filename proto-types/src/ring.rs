//! The consistent-hash ring of virtual nodes, evaluated at slot points.
//!
//! A node with `v` vnodes has `v` tokens on a circle of 2^64 points (Karger et al., 1997; vnodes as in Dynamo, 2007). The
//! owners of a slot are the first N distinct nodes clockwise from the slot's first point, from distinct zones while that
//! is possible. Evaluating at slot points makes the slot the one unit of transfer, digest and repair: no range is ever
//! split. Rule of thumb for balance: slots ≥ 2 · nodes · vnodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    hash::{HashPoint, SlotCount, SlotIndex},
    id::{NodeId, Ordinal},
    identity::Label,
    tokens::Tokens,
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

/// The circle with everybody's tokens on it, in order: what owners are read off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// Whose tokens these are, with a number for each zone; a member without a zone has one of its own.
    members: Vec<(Ordinal, usize)>,
    tokens: Vec<Token>,
    /// How many of the members have tokens, and in how many zones.
    placed: usize,
    zones: usize,
}

/// One token of a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    point: HashPoint,
    /// Whose, as an index.
    member: usize,
}

impl Circle {
    /// Places `members`, in whatever order, where their ids hash to.
    pub fn of(members: &[RingMember]) -> Self {
        let points = |member: &RingMember| {
            let node_id = member.node_id;
            (0..member.vnodes).map(move |i| HashPoint::of_vnode(node_id, i))
        };
        Self::placed(members, members.iter().map(points))
    }

    /// Places `members`, in whatever order, at the `tokens` that are assigned to each of them in turn.
    ///
    /// Of tokens at one slot, the one of the lowest id comes first.
    pub fn of_tokens(members: &[RingMember], tokens: &[Tokens], slots: SlotCount) -> Self {
        Self::placed(members, tokens.iter().map(|tokens| tokens.slots().iter().map(|slot| slots.first_point(*slot))))
    }

    /// Places each of `members` at its `points`.
    fn placed<P: IntoIterator<Item = HashPoint>>(members: &[RingMember], points: impl Iterator<Item = P>) -> Self {
        // Of tokens at one point the one of the lowest id comes first: members by id, so that a token is two words to sort.
        let mut by_id: Vec<usize> = (0..members.len()).collect();
        by_id.sort_unstable_by_key(|index| (members[*index].node_id, members[*index].ordinal));
        let mut ranks = vec![0; members.len()];
        by_id.iter().enumerate().for_each(|(rank, index)| ranks[*index] = rank);
        let mut tokens: Vec<(HashPoint, usize)> = Vec::new();
        let mut placed = Vec::new();
        for (index, points) in (0..members.len()).zip(points) {
            let before = tokens.len();
            tokens.extend(points.into_iter().map(|point| (point, ranks[index])));
            placed.extend((tokens.len() > before).then_some(index));
        }
        tokens.sort_unstable();
        let mut named: BTreeMap<&Label, usize> = BTreeMap::new();
        let mut zones = 0;
        let mut next = || {
            zones += 1;
            zones - 1
        };
        let numbered = members.iter().map(|member| match &member.zone {
            Some(zone) => (member.ordinal, *named.entry(zone).or_insert_with(&mut next)),
            None => (member.ordinal, next()),
        });
        let numbered: Vec<_> = numbered.collect();
        let distinct: BTreeSet<usize> = placed.iter().map(|index| numbered[*index].1).collect();
        Self {
            placed: placed.len(),
            zones: distinct.len(),
            members: numbered,
            tokens: tokens.into_iter().map(|(point, rank)| Token { point, member: by_id[rank] }).collect(),
        }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nobody has a token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens clockwise from `point`, each with its member, once around.
    pub fn walk(&self, point: HashPoint) -> impl Iterator<Item = (HashPoint, Ordinal)> {
        let start = self.first_at(point);
        let clockwise = self.tokens[start..].iter().chain(&self.tokens[..start]);
        clockwise.map(|token| (token.point, self.members[token.member].0))
    }

    /// The walk clockwise from `point` that finds the owners of what lies there: every token that it meets, the last owner's
    /// the last.
    pub fn steps(&self, point: HashPoint, replication: u8) -> Vec<Step> {
        let start = self.first_at(point);
        let clockwise = || self.tokens[start..].iter().chain(&self.tokens[..start]);
        let mut walk = Walk::default();
        let zone = |member: usize| self.members[member].1;
        let seen = walk.find(clockwise().map(|token| token.member), zone, (self.stride(replication), self.zones));
        let found: Vec<usize> = walk.found().collect();
        let mut met: BTreeSet<usize> = BTreeSet::new();
        let step = |token: &Token| {
            let place = found.iter().position(|member| *member == token.member);
            let before = met.iter().copied().find(|other| {
                zone(*other) == zone(token.member) && walk.chosen.contains(other) && *other != token.member
            });
            let meaning = match (met.insert(token.member), place, before) {
                (false, ..) => Meeting::Again,
                (true, place, Some(before)) => Meeting::SameZone { owner: self.members[before].0, place },
                (true, Some(place), None) => Meeting::Owner { place },
                // Nobody is passed over but for a zone.
                (true, None, None) => Meeting::Again,
            };
            Step { point: token.point, member: self.members[token.member].0, meaning }
        };
        clockwise().take(seen).map(step).collect()
    }

    /// Calls `visit` with every arc between two neighbouring tokens, as a part of the whole circle, and its owners.
    pub fn for_each_arc(&self, replication: u8, mut visit: impl FnMut(f64, &[Ordinal])) {
        let (mut owners, mut walk) = (Vec::new(), Walk::default());
        for (index, token) in self.tokens.iter().enumerate() {
            let before = self.tokens[index.checked_sub(1).unwrap_or(self.tokens.len() - 1)];
            let length = token.point.value().wrapping_sub(before.point.value());
            // A token alone has the whole circle, which does not fit into its 64 bits.
            let part = if self.tokens.len() == 1 { 1.0 } else { length as f64 / 2.0_f64.powi(64) };
            owners.clear();
            self.owners_from(index, self.stride(replication), &mut walk, &mut owners);
            visit(part, &owners);
        }
    }

    /// Appends the first `count` owners clockwise from the token at index `start`.
    fn owners_from(&self, start: usize, count: usize, walk: &mut Walk, owners: &mut Vec<Ordinal>) {
        let clockwise = self.tokens[start..].iter().chain(&self.tokens[..start]).map(|token| token.member);
        walk.find(clockwise, |member| self.members[member].1, (count, self.zones));
        owners.extend(walk.found().map(|member| self.members[member].0));
    }

    /// How many owners a slot has, if it is to have `replication`.
    fn stride(&self, replication: u8) -> usize {
        self.placed.min(usize::from(replication))
    }

    /// The index of the first token at or after `point`; it may be one past the last, which stands for the first.
    fn first_at(&self, point: HashPoint) -> usize {
        self.tokens.partition_point(|token| token.point < point)
    }
}

/// One token that a walk for owners meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub point: HashPoint,
    /// Whose it is.
    pub member: Ordinal,
    /// What that means for the owners.
    pub meaning: Meeting,
}

/// What a token means to a walk for owners. Places count from 0, which is the primary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Its member becomes an owner.
    Owner {
        /// Its place among them.
        place: usize,
    },
    /// Its member has been met before.
    Again,
    /// Its member is passed over, as its zone has an owner.
    SameZone {
        /// That owner.
        owner: Ordinal,
        /// The place it gets after all, as there are fewer zones than copies.
        place: Option<usize>,
    },
}

/// A walk along a circle of tokens that finds owners: THE rule of who they are. Keeps its room between walks.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    chosen: Vec<usize>,
    passed_over: Vec<usize>,
}

impl Walk {
    /// Finds the first `count` distinct members of `clockwise`, whose tokens these are: the first of each of `zones` zones,
    /// then the first of those passed over. `zone` tells a member's. Returns how many tokens it looked at.
    pub fn find(
        &mut self,
        clockwise: impl Iterator<Item = usize>,
        zone: impl Fn(usize) -> usize,
        (count, zones): (usize, usize),
    ) -> usize {
        self.chosen.clear();
        self.passed_over.clear();
        let mut seen = 0;
        for member in clockwise {
            if self.chosen.len() + self.passed_over.len() == count {
                break;
            }
            seen += 1;
            if self.chosen.contains(&member) || self.passed_over.contains(&member) {
                continue;
            }
            if self.chosen.iter().all(|other| zone(*other) != zone(member)) {
                self.chosen.push(member);
            } else if self.passed_over.len() < count - zones.min(count) {
                self.passed_over.push(member);
            }
        }
        seen
    }

    /// The members that were found, the primary first.
    pub fn found(&self) -> impl Iterator<Item = usize> + Clone {
        self.chosen.iter().chain(&self.passed_over).copied()
    }
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
        Self::of(&Circle::of(members), slots, replication)
    }

    /// Reads the owners of every slot off `circle`.
    pub fn of(circle: &Circle, slots: SlotCount, replication: u8) -> Self {
        let stride = circle.stride(replication);
        let mut owners: Vec<Ordinal> = Vec::with_capacity(slots.count() as usize * stride);
        let (mut walk, mut start, mut before) = (Walk::default(), 0, None);
        for slot in slots.slots() {
            let point = slots.first_point(slot);
            while circle.tokens.get(start).is_some_and(|token| token.point < point) {
                start += 1;
            }
            if before == Some(start) {
                // No token stands between the two slots.
                owners.extend_from_within(owners.len() - stride..);
            } else {
                circle.owners_from(start, stride, &mut walk, &mut owners);
            }
            before = Some(start);
        }
        Self { slots, stride, owners }
    }

    /// How many slots the ring has.
    pub fn slots(&self) -> SlotCount {
        self.slots
    }

    /// How many owners each slot has.
    pub fn owners_each(&self) -> usize {
        self.stride
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
