//! The other side of the coin: the more nodes share slots, the more of them can only be lost together with data.

use std::collections::BTreeSet;

use quoit_proto_types::{Ordinal, Ring};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::figure::real;

/// Draws of nodes that are lost at once, where the chance is not exact.
const DRAWS: u32 = 400;

/// The sets of nodes that own a slot.
#[derive(Clone, Debug)]
pub(super) struct OwnerSets {
    nodes: usize,
    /// Each in order, without doubles.
    sets: Vec<Vec<u32>>,
    copies: usize,
}

impl OwnerSets {
    /// Those of `ring`, whose owners are 0 to `nodes` - 1.
    pub(super) fn of(ring: &Ring, nodes: u32) -> Self {
        let mut sets = BTreeSet::new();
        let mut before: &[Ordinal] = &[];
        for slot in ring.slots().slots() {
            let owners = ring.owners(slot);
            if owners != before {
                let mut set: Vec<u32> = owners.iter().map(|owner| owner.value()).collect();
                set.sort_unstable();
                sets.insert(set);
            }
            before = owners;
        }
        let copies = sets.iter().map(Vec::len).max().unwrap_or(0);
        Self { nodes: nodes as usize, sets: sets.into_iter().collect(), copies }
    }

    /// How many different ones there are.
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// How many other nodes each node shares a slot with: on average, and most.
    pub(super) fn peers(&self) -> (f64, f64) {
        let mut peers = vec![BTreeSet::<u32>::new(); self.nodes];
        for set in &self.sets {
            for node in set {
                peers[*node as usize].extend(set.iter().filter(|other| *other != node));
            }
        }
        let counts: Vec<f64> = peers.iter().map(|peers| real(peers.len())).collect();
        (counts.iter().sum::<f64>() / real(counts.len().max(1)), counts.into_iter().fold(0.0, f64::max))
    }

    /// The chance that `lost` nodes, each set of them as likely as any other, are all owners of some slot. Exact where as
    /// many are lost as own a slot, else of some hundred draws.
    pub(super) fn chance(&self, lost: u32, seed: u64) -> f64 {
        let lost = (lost as usize).min(self.nodes);
        if self.copies == 0 || lost < self.copies {
            return 0.0;
        }
        if lost == self.nodes {
            return 1.0;
        }
        if lost == self.copies {
            return (real(self.sets.len()) / combinations(self.nodes, lost)).min(1.0);
        }
        let mut random = StdRng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..self.nodes).collect();
        let mut hits = 0;
        for _ in 0..DRAWS {
            for place in 0..lost {
                let other = random.random_range(place..self.nodes);
                order.swap(place, other);
            }
            let mut is_lost = vec![false; self.nodes];
            order[..lost].iter().for_each(|node| is_lost[*node] = true);
            hits += u32::from(self.sets.iter().any(|set| set.iter().all(|node| is_lost[*node as usize])));
        }
        f64::from(hits) / f64::from(DRAWS)
    }
}

/// How many sets of `k` there are among `n`.
fn combinations(n: usize, k: usize) -> f64 {
    (0..k).map(|i| real(n - i) / real(i + 1)).product()
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::{NodeId, SlotCount, ring::RingMember};

    use super::*;

    fn sets(nodes: u32, vnodes: u32, copies: u8) -> OwnerSets {
        let member = |index: u32| RingMember {
            ordinal: Ordinal::new(index),
            node_id: NodeId::from_dns_name(&format!("n{index}")),
            zone: None,
            vnodes,
        };
        let members: Vec<_> = (0..nodes).map(member).collect();
        OwnerSets::of(&Ring::build(&members, SlotCount::DEFAULT, copies), nodes)
    }

    #[test]
    fn chances_are_those_of_counting() {
        // One vnode each: a node and its neighbour, all around.
        let ring = sets(6, 1, 2);
        assert_eq!(ring.len(), 6);
        assert!((ring.chance(2, 1) - 6.0 / 15.0).abs() < 1e-12);
        assert_eq!((ring.chance(1, 1), ring.chance(6, 1), ring.peers()), (0.0, 1.0, (2.0, 2.0)));
        // Of the 20 sets of three, only the 2 without neighbours hit nothing.
        assert!((ring.chance(3, 1) - 0.9).abs() < 0.06, "{}", ring.chance(3, 1));
        // Many vnodes: any two share a slot.
        assert_eq!((sets(6, 128, 2).len(), sets(6, 128, 2).chance(2, 1)), (15, 1.0));
        assert_eq!(sets(3, 8, 1).chance(1, 1), 1.0);
    }
}
