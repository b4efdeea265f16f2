//! All figures of one ring.

use quoit_core::placement::fair;
use quoit_proto_types::{
    Ring,
    ring::{Circle, RingMember},
};
use serde::Serialize;

use super::{
    Question,
    evenness::{ChiSquare, Evenness},
    figure::real,
    layout::{Laid, Layout},
    losses::OwnerSets,
};

/// Of so many rings of a cell the chance to lose data is drawn, where it takes draws.
const DRAWN_RINGS: u64 = 20;

/// Something of primaries, and of all copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sides<T> {
    pub(crate) primary: T,
    pub(crate) copies: T,
}

/// What moves when the ring changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Moved {
    /// The part of all copies that somebody has to fetch.
    pub(crate) share: f64,
    /// The least that has to move: the fair share of one who joins, what one who leaves has held.
    pub(crate) ideal: f64,
}

/// All figures of one ring.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// The parts of the circle, to the last point of it.
    pub(crate) arc: Sides<Evenness>,
    /// Slots, which is what is really placed.
    pub(crate) slot: Sides<Evenness>,
    /// Keys.
    pub(crate) keys: Sides<Evenness>,
    /// Slots and keys of primaries against fair shares.
    pub(crate) chi_slots: ChiSquare,
    pub(crate) chi_keys: ChiSquare,
    /// One more node joins.
    pub(crate) join: Moved,
    /// One of the nodes leaves.
    pub(crate) leave: Moved,
    /// Different sets of owners.
    pub(crate) owner_sets: f64,
    /// The chance that so many losses at once hit a whole set, in the order of the question; nothing where it is not drawn.
    pub(crate) lost: Vec<Option<f64>>,
    /// With how many others a node shares slots: on average, and most.
    pub(crate) peers_mean: f64,
    pub(crate) peers_max: f64,
    /// Slots of each node, as primary and over all copies, as a part of what is fair.
    pub(crate) nodes: Vec<Sides<f64>>,
}

impl Sample {
    /// Those of `layout`, which is laid out like this.
    pub(super) fn of(question: &Question, layout: Layout, laid: &Laid) -> Self {
        let members = laid.members();
        let circle = laid.circle(question);
        let ring = Ring::of(&circle, question.slots, question.copies);
        let fair = Fair::of(question, members);
        let arcs = Loads::of_arcs(&circle, question.copies, members.len());
        let slots = Loads::of_slots(&ring, members.len(), |_| 1.0);
        let keys = Loads::of_slots(&ring, members.len(), |slot| f64::from(question.keys.of_slot[slot]));
        let sets = OwnerSets::of(&ring, layout.nodes);
        let (peers_mean, peers_max) = sets.peers();
        let chance = |lost: &u32| {
            let drawn = *lost > u32::from(question.copies);
            (!drawn || layout.ring < DRAWN_RINGS).then(|| sets.chance(*lost, question.seed ^ layout.ring))
        };
        Self {
            arc: arcs.evenness(&fair),
            slot: slots.evenness(&fair),
            keys: keys.evenness(&fair),
            chi_slots: ChiSquare::of(&slots.primary, &fair.primary),
            chi_keys: ChiSquare::of(&keys.primary, &fair.primary),
            join: joined(question, layout, laid, &ring),
            leave: left(question, laid, &ring, &slots),
            owner_sets: real(sets.len()),
            lost: question.losses.iter().map(chance).collect(),
            peers_mean,
            peers_max,
            nodes: slots.relative(&fair),
        }
    }
}

/// The fair shares of nodes.
#[derive(Debug)]
struct Fair {
    primary: Vec<f64>,
    copies: Vec<f64>,
}

impl Fair {
    fn of(question: &Question, members: &[RingMember]) -> Self {
        let zone = |index: usize| Layout::zone(question, u32::try_from(index).unwrap_or(u32::MAX));
        let weights: Vec<_> =
            members.iter().enumerate().map(|(index, member)| (f64::from(member.vnodes), zone(index))).collect();
        Self {
            primary: weights.iter().map(|(weight, _)| *weight).collect(),
            copies: fair::copies_held(&weights, usize::from(question.copies)),
        }
    }
}

/// How much each node has.
#[derive(Debug)]
struct Loads {
    primary: Vec<f64>,
    copies: Vec<f64>,
}

impl Loads {
    fn of_arcs(circle: &Circle, copies: u8, nodes: usize) -> Self {
        let mut loads = Self { primary: vec![0.0; nodes], copies: vec![0.0; nodes] };
        circle.for_each_arc(copies, |part, owners| loads.add(part, owners));
        loads
    }

    fn of_slots(ring: &Ring, nodes: usize, weight: impl Fn(usize) -> f64) -> Self {
        let mut loads = Self { primary: vec![0.0; nodes], copies: vec![0.0; nodes] };
        for slot in ring.slots().slots() {
            loads.add(weight(slot.index()), ring.owners(slot));
        }
        loads
    }

    fn add(&mut self, load: f64, owners: &[quoit_proto_types::Ordinal]) {
        for (place, owner) in owners.iter().enumerate() {
            let owner = owner.value() as usize;
            self.copies[owner] += load;
            if place == 0 {
                self.primary[owner] += load;
            }
        }
    }

    fn evenness(&self, fair: &Fair) -> Sides<Evenness> {
        Sides { primary: Evenness::of(&self.primary, &fair.primary), copies: Evenness::of(&self.copies, &fair.copies) }
    }

    fn relative(&self, fair: &Fair) -> Vec<Sides<f64>> {
        let part = |loads: &[f64], fair: &[f64], index: usize| {
            let (load, share): (f64, f64) = (loads.iter().sum(), fair.iter().sum());
            if fair[index] > 0.0 { loads[index] / load / (fair[index] / share) } else { 0.0 }
        };
        let of = |index| Sides {
            primary: part(&self.primary, &fair.primary, index),
            copies: part(&self.copies, &fair.copies, index),
        };
        (0..self.primary.len()).map(of).collect()
    }
}

/// What one more node takes, as a part of all copies that there are then.
fn joined(question: &Question, layout: Layout, laid: &Laid, before: &Ring) -> Moved {
    let members = layout.members(question, layout.nodes + 1);
    let after = laid.after(question, members.clone()).ring(question);
    let held = Fair::of(question, &members).copies;
    let ideal = held.last().copied().unwrap_or_default() / held.iter().sum::<f64>();
    Moved { share: fetched(before, &after), ideal }
}

/// What others fetch when the first node leaves, as a part of all copies that there are then.
fn left(question: &Question, laid: &Laid, before: &Ring, slots: &Loads) -> Moved {
    let after = laid.after(question, laid.members()[1..].to_vec()).ring(question);
    let whole = before.owners_each() == after.owners_each();
    // Where there are too few nodes for all copies, nobody takes those of one who leaves.
    let ideal = if whole { slots.copies[0] / slots.copies.iter().sum::<f64>() } else { 0.0 };
    Moved { share: fetched(before, &after), ideal }
}

/// The part of the copies of `after` that are not where they were.
fn fetched(before: &Ring, after: &Ring) -> f64 {
    let mut moved = 0;
    for slot in after.slots().slots() {
        let (old, new) = (before.owners(slot), after.owners(slot));
        if old != new {
            moved += new.iter().filter(|owner| !old.contains(owner)).count();
        }
    }
    real(moved) / real(after.slots().count() as usize * after.owners_each()).max(1.0)
}
