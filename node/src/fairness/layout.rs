//! The clusters that are looked at.

use quoit_core::placement::balanced::{Adjust, Seats, place};
use quoit_proto_types::{
    NodeId, Ordinal, Ring, Tokens,
    ring::{Circle, RingMember},
};
use serde::Serialize;

use super::Question;

/// So many members of a balanced ring join one by one, after all others came at once: one that is new is evener than one that
/// has been lived in.
const LATECOMERS: usize = 4;

/// Of a balanced ring so many are enough: there is little chance in it, and each takes longer.
const BALANCED_RINGS: u32 = 3;

/// How tokens are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Placement {
    /// By a hash of the node's id.
    Hashed,
    /// By choice, so that shares are even.
    Balanced,
}

impl Placement {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::Balanced => "balanced",
        }
    }

    /// How many rings to look at, where `wanted` are asked for.
    pub(crate) fn rings(self, wanted: u32) -> u32 {
        match self {
            Self::Hashed => wanted,
            Self::Balanced => wanted.min(BALANCED_RINGS),
        }
    }

    /// Whether there are such rings worth a look: with fewer than two slots to a token there is little to even out, and much
    /// to compute.
    pub(crate) fn suits(self, question: &Question, nodes: u32, vnodes: u32) -> bool {
        self == Self::Hashed || 2 * u64::from(nodes) * u64::from(vnodes) <= u64::from(question.slots.count())
    }
}

/// One cluster of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) placement: Placement,
    pub(crate) nodes: u32,
    /// Of a node of weight 1.
    pub(crate) vnodes: u32,
    /// Which of the rings of the cell.
    pub(crate) ring: u64,
}

impl Layout {
    /// The first `nodes` members of the cluster. One more or one less is the same cluster otherwise.
    pub(crate) fn members(self, question: &Question, nodes: u32) -> Vec<RingMember> {
        (0..nodes).map(|index| self.member(question, index)).collect()
    }

    fn member(self, question: &Question, index: u32) -> RingMember {
        let (seed, ring) = (question.seed, self.ring);
        let zone = index.checked_rem(question.zones).map(|zone| format!("z{zone}"));
        RingMember {
            ordinal: Ordinal::new(index),
            node_id: NodeId::from_dns_name(&format!("n{index}.ring{ring}.seed{seed}")),
            zone: zone.map(|zone| zone.parse().expect("a letter and a number are a label")),
            vnodes: vnodes(self.vnodes, question.weights[index as usize % question.weights.len()]),
        }
    }

    /// The zone of a member as a number; one without a zone has one of its own.
    pub(super) fn zone(question: &Question, index: u32) -> usize {
        index.checked_rem(question.zones).unwrap_or(index) as usize
    }
}

/// A ring as it is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    placement: Placement,
    members: Vec<RingMember>,
    /// Those of a balanced one.
    tokens: Vec<Tokens>,
}

impl Laid {
    /// The ring of `layout`.
    pub(crate) fn of(question: &Question, layout: Layout) -> Self {
        let members = layout.members(question, layout.nodes);
        let early = members.len() - LATECOMERS.min(members.len() - 1);
        let none = Self { placement: layout.placement, members: Vec::new(), tokens: Vec::new() };
        match layout.placement {
            Placement::Hashed => Self { members, ..none },
            Placement::Balanced => {
                (early..=members.len()).fold(none, |laid, count| laid.after(question, members[..count].to_vec()))
            }
        }
    }

    /// The ring of `members` that comes after this one.
    pub(crate) fn after(&self, question: &Question, members: Vec<RingMember>) -> Self {
        let seats = Seats { members: &self.members, tokens: &self.tokens, copies: question.copies };
        let tokens = match self.placement {
            Placement::Hashed => Vec::new(),
            Placement::Balanced => place(&seats, &members, (question.slots, question.copies), Adjust::Everybody),
        };
        Self { placement: self.placement, members, tokens }
    }

    /// Its members, in the order of their ordinals.
    pub(crate) fn members(&self) -> &[RingMember] {
        &self.members
    }

    /// Its tokens on the circle.
    pub(crate) fn circle(&self, question: &Question) -> Circle {
        match self.placement {
            Placement::Hashed => Circle::of(&self.members),
            Placement::Balanced => Circle::of_tokens(&self.members, &self.tokens, question.slots),
        }
    }

    /// The owners of every slot.
    pub(crate) fn ring(&self, question: &Question) -> Ring {
        Ring::of(&self.circle(question), question.slots, question.copies)
    }
}

/// The vnodes of a node of this weight, where one of weight 1 has `vnodes`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
fn vnodes(vnodes: u32, weight: f64) -> u32 {
    (f64::from(vnodes) * weight).round().clamp(1.0, f64::from(u32::MAX)) as u32
}
