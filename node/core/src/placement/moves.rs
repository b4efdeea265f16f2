//! What a wished change of the cluster moves: the ring after it, and the difference of the two rings.
//!
//! The coordinator gets there by one ring change or by several (of copies only one goes with each); what is told here is the
//! whole way. Of a slot's copies, the first that comes is taken for the first that goes, and so on: in truth, whichever of
//! the slot's owners has time gives it.

use std::collections::BTreeMap;

use quoit_proto_types::{
    Identity, Label, Member, Ordinal, Ring, Role, SlotIndex, View,
    limits::VNODES_MAX,
    ring::RingMember,
    view::{Intent, Liveness, Zone},
};

/// A change that somebody thinks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A node joins.
    Add {
        /// Who.
        name: Label,
        /// Its points on the ring.
        vnodes: u32,
        /// Where it stands.
        zone: Zone,
    },
    /// A member leaves.
    Remove {
        /// Who.
        name: Label,
    },
    /// A member gets another weight.
    Weight {
        /// Who.
        name: Label,
        /// Its points on the ring.
        vnodes: u32,
    },
    /// There are to be so many copies of each slot.
    Copies(u8),
    /// Every member that has a weight gets this one.
    Vnodes(u32),
}

/// Why a wish cannot be granted, whatever the nodes hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// The name is taken.
    #[error("{0} is a member already")]
    IsMember(Label),
    /// There is none of this name that stays.
    #[error("there is no member called {0} that is to stay")]
    NoSuchMember(Label),
    /// Nobody would own anything.
    #[error("nobody would hold keys")]
    NobodyLeft,
    /// More vnodes than a node can have, or than all of this cluster can.
    #[error("{0} vnodes are too many: {VNODES_MAX} for a node, {1} in all")]
    TooManyVnodes(u64, u32),
}

/// The members of the ring that `view` leads to once `wish` is granted, and the copies of each slot. A node that joins has
/// the next ordinal.
///
/// # Errors
/// [`Impossible`].
pub fn granted(view: &View, wish: &Wish) -> Result<(Vec<RingMember>, u8), Impossible> {
    let fields = view.fields();
    let owns = |member: &Member| fields.ring.iter().any(|owner| owner.ordinal == member.ordinal);
    let stays = |member: &&Member| member.intent == Intent::Stay && (member.live == Liveness::Up || owns(member));
    let ring_member = |member: &Member| RingMember {
        ordinal: member.ordinal,
        node_id: member.node_id,
        zone: member.zone.clone(),
        vnodes: member.vnodes,
    };
    let mut members: Vec<RingMember> = view.members().iter().filter(stays).map(ring_member).collect();
    let place = |name: &Label| {
        let found = view.member_named(name).filter(|member| member.intent == Intent::Stay);
        let found = found.and_then(|found| members.iter().position(|member| member.ordinal == found.ordinal));
        found.ok_or_else(|| Impossible::NoSuchMember(name.clone()))
    };
    let mut copies = fields.config.replication;
    match wish {
        Wish::Add { name, vnodes, zone } => {
            if view.member_named(name).is_some_and(|member| member.intent == Intent::Stay) {
                return Err(Impossible::IsMember(name.clone()));
            }
            let identity = Identity { role: Role::Node, name: name.clone(), cluster: fields.cluster.clone() };
            let (ordinal, node_id) = (fields.next_ordinal, identity.node_id());
            members.push(RingMember { ordinal, node_id, zone: zone.clone(), vnodes: *vnodes });
        }
        Wish::Remove { name } => {
            let place = place(name)?;
            members.remove(place);
        }
        Wish::Weight { name, vnodes } => {
            let place = place(name)?;
            members[place].vnodes = *vnodes;
        }
        Wish::Copies(wanted) => copies = *wanted,
        Wish::Vnodes(vnodes) => {
            members.iter_mut().filter(|member| member.vnodes > 0).for_each(|member| member.vnodes = *vnodes);
        }
    }
    members.retain(|member| member.vnodes > 0);
    let tokens = members.iter().map(|member| u64::from(member.vnodes)).sum::<u64>();
    let all_max = fields.config.ring_algorithm.tokens_max();
    match members.iter().map(|member| member.vnodes).max() {
        None => Err(Impossible::NobodyLeft),
        Some(most) if most > VNODES_MAX => Err(Impossible::TooManyVnodes(u64::from(most), all_max)),
        Some(_) if tokens > u64::from(all_max) => Err(Impossible::TooManyVnodes(tokens, all_max)),
        Some(_) => Ok((members, copies)),
    }
}

/// What a node has of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Slots of which it is the primary.
    pub primary: u32,
    /// Slots that it owns.
    pub slots: u32,
    /// What weighs on them.
    pub load: u64,
}

/// What goes one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Slots.
    pub slots: u32,
    /// What weighs on them.
    pub load: u64,
}

/// The difference of two rings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// What each owner has before.
    pub before: BTreeMap<Ordinal, Share>,
    /// And after.
    pub after: BTreeMap<Ordinal, Share>,
    /// What goes from whom to whom. Nobody in the first place: nobody owned it. In the second: a copy is given up.
    pub flows: BTreeMap<(Option<Ordinal>, Option<Ordinal>), Flow>,
}

impl Moves {
    /// What a change from `old` to `new`, two rings with as many slots, moves. `load` says what weighs on a slot.
    pub fn between(old: &Ring, new: &Ring, load: impl Fn(SlotIndex) -> u64) -> Self {
        let mut moves = Self::default();
        for slot in new.slots().slots() {
            let (was, is, load) = (old.owners(slot), new.owners(slot), load(slot));
            share_out(&mut moves.before, was, load);
            share_out(&mut moves.after, is, load);
            let mut comes = is.iter().filter(|owner| !was.contains(owner));
            let mut goes = was.iter().filter(|owner| !is.contains(owner));
            loop {
                let way = match (goes.next(), comes.next()) {
                    (None, None) => break,
                    // One copy more is made of the first.
                    (from, Some(to)) => (from.or(was.first()).copied(), Some(*to)),
                    (Some(from), None) => (Some(*from), None),
                };
                let flow = moves.flows.entry(way).or_default();
                flow.slots += 1;
                flow.load += load;
            }
        }
        moves
    }

    /// What `node` takes.
    pub fn taken(&self, node: Ordinal) -> Flow {
        self.sum(|_, to| to == Some(node))
    }

    /// What moves in all.
    pub fn moved(&self) -> Flow {
        self.sum(|_, to| to.is_some())
    }

    /// What goes the ways that `counts` says.
    fn sum(&self, counts: impl Fn(Option<Ordinal>, Option<Ordinal>) -> bool) -> Flow {
        let flows = self.flows.iter().filter(|((from, to), _)| counts(*from, *to)).map(|(_, flow)| flow);
        flows.fold(Flow::default(), |sum, flow| Flow { slots: sum.slots + flow.slots, load: sum.load + flow.load })
    }
}

fn share_out(shares: &mut BTreeMap<Ordinal, Share>, owners: &[Ordinal], load: u64) {
    for (place, owner) in owners.iter().enumerate() {
        let share = shares.entry(*owner).or_default();
        share.primary += u32::from(place == 0);
        share.slots += 1;
        share.load += load;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};
    use quoit_proto_types::{Boot, NodeId, SlotCount, limits::TOKENS_MAX, view::Owner};

    use super::*;
    use crate::stage;

    /// Of this many members, who all own two copies of each slot.
    fn view(members: u32) -> View {
        let owner = |index: u32| Owner { ordinal: Ordinal::new(index), boot: Boot::new(1) };
        let mut fields = stage::fields(5, members);
        (fields.copies, fields.config.replication, fields.next_ordinal) = (2, 2, Ordinal::new(9));
        fields.ring = (1..=members).map(owner).collect();
        View::new(fields).unwrap()
    }

    fn members(weights: &[u32]) -> Vec<RingMember> {
        let member = |(index, vnodes): (u32, &u32)| RingMember {
            ordinal: Ordinal::new(index),
            node_id: NodeId::from_dns_name(&format!("n{index}")),
            zone: None,
            vnodes: *vnodes,
        };
        (0..).zip(weights).map(member).collect()
    }

    proptest! {
        #[test]
        fn what_moves_is_the_difference_of_the_rings(
            old in vec(0_u32..20, 1..7), new in vec(0_u32..20, 1..7), copies in (1_u8..4, 1_u8..4),
        ) {
            let slots = SlotCount::from_log2(8).unwrap();
            let (old, new) = (Ring::build(&members(&old), slots, copies.0), Ring::build(&members(&new), slots, copies.1));
            let weight = |slot: SlotIndex| slot.index() as u64 + 1;
            let moves = Moves::between(&old, &new, weight);
            let held = |ring: &Ring| -> BTreeSet<(SlotIndex, Ordinal)> {
                slots.slots().flat_map(|slot| ring.owners(slot).iter().map(move |owner| (slot, *owner)).collect::<Vec<_>>()).collect()
            };
            let (was, is) = (held(&old), held(&new));
            for node in (0..7).map(Ordinal::new) {
                let of = |held: &BTreeSet<(SlotIndex, Ordinal)>, other: &BTreeSet<(SlotIndex, Ordinal)>| {
                    let own = held.iter().filter(|it| it.1 == node && !other.contains(it));
                    own.fold(Flow::default(), |sum, it| Flow { slots: sum.slots + 1, load: sum.load + weight(it.0) })
                };
                prop_assert_eq!(moves.taken(node), of(&is, &was));
                let nothing = BTreeSet::new();
                let has = |shares: &BTreeMap<Ordinal, Share>| {
                    let share = shares.get(&node).copied().unwrap_or_default();
                    Flow { slots: share.slots, load: share.load }
                };
                prop_assert_eq!((has(&moves.before), has(&moves.after)), (of(&was, &nothing), of(&is, &nothing)));
            }
            prop_assert_eq!(moves.moved().slots as usize, is.difference(&was).count());
            // Nobody gives what it did not have.
            prop_assert!(moves.flows.keys().all(|(from, to)| from.is_none_or(|from| moves.before.contains_key(&from)) && from != to));
        }
    }

    #[test]
    fn a_wish_leads_where_the_view_would() {
        let before = view(3);
        let names = |wish: &Wish| {
            granted(&before, wish).map(|(members, copies)| {
                (members.iter().map(|member| (member.ordinal.value(), member.vnodes)).collect::<Vec<_>>(), copies)
            })
        };
        let n = |name: &str| name.parse::<Label>().unwrap();
        assert_eq!(names(&Wish::Remove { name: n("n2") }).unwrap(), (vec![(1, 8), (3, 8)], 2));
        assert_eq!(names(&Wish::Weight { name: n("n2"), vnodes: 0 }).unwrap().0, [(1, 8), (3, 8)]);
        assert_eq!(names(&Wish::Copies(3)).unwrap().1, 3);
        assert_eq!(names(&Wish::Vnodes(7)).unwrap().0, [(1, 7), (2, 7), (3, 7)]);
        let add = |name: &str, vnodes| Wish::Add { name: n(name), vnodes, zone: None };
        assert_eq!(names(&add("n9", 5)).unwrap().0[3], (9, 5));
        assert_eq!(names(&add("n1", 5)), Err(Impossible::IsMember(n("n1"))));
        assert_eq!(
            names(&add("n9", VNODES_MAX + 1)),
            Err(Impossible::TooManyVnodes(u64::from(VNODES_MAX) + 1, TOKENS_MAX))
        );
        assert_eq!(names(&Wish::Remove { name: n("n9") }), Err(Impossible::NoSuchMember(n("n9"))));
        assert_eq!(names(&Wish::Vnodes(0)), Err(Impossible::NobodyLeft));
        // What joins takes the place that a view would give it.
        let (after, copies) = granted(&before, &add("n4", 8)).unwrap();
        let joined = view(4);
        let slots = joined.fields().config.slots;
        let planned = Ring::build(&after, slots, copies);
        let same = |slot: &SlotIndex| {
            let name = |owner: &Ordinal| if *owner == Ordinal::new(9) { Ordinal::new(4) } else { *owner };
            planned.owners(*slot).iter().map(name).eq(joined.ring().owners(*slot).iter().copied())
        };
        assert!(slots.slots().step_by(97).all(|slot| same(&slot)));
    }
}
