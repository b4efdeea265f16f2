//! The clusters that are looked at.

use quoit_proto_types::{NodeId, Ordinal, ring::RingMember};
use serde::Serialize;

use super::Question;

/// How tokens are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Placement {
    /// By a hash of the node's id.
    Hashed,
}

impl Placement {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
        }
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
            vnodes: match self.placement {
                Placement::Hashed => vnodes(self.vnodes, question.weights[index as usize % question.weights.len()]),
            },
        }
    }

    /// The zone of a member as a number; one without a zone has one of its own.
    pub(super) fn zone(question: &Question, index: u32) -> usize {
        index.checked_rem(question.zones).unwrap_or(index) as usize
    }
}

/// The vnodes of a node of this weight, where one of weight 1 has `vnodes`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
fn vnodes(vnodes: u32, weight: f64) -> u32 {
    (f64::from(vnodes) * weight).round().clamp(1.0, f64::from(u32::MAX)) as u32
}
