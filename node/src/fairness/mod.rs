//! How evenly a ring of vnodes spreads slots and keys, over many rings: pure statistics.
//!
//! One ring is one draw of luck, so every figure is computed for many of them, each from a seed of its own. What is computed
//! depends on the question alone: the same question has the same answer, on every machine. Nothing here reads a clock or a
//! file; the command line asks, and shows.

use quoit_proto_types::{HashPoint, KeyspaceId, SlotCount};
use rayon::prelude::*;

pub(crate) use self::{
    evenness::{ChiSquare, Evenness},
    figure::Figure,
    layout::{Laid, Layout, Placement},
    sample::Sample,
};

mod evenness;
mod figure;
mod layout;
mod losses;
mod sample;
#[cfg(test)]
mod tests;

/// What is to be computed: one cell for each placement, number of nodes and number of vnodes.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) placements: Vec<Placement>,
    /// Numbers of nodes.
    pub(crate) nodes: Vec<u32>,
    /// Numbers of vnodes of a node of weight 1.
    pub(crate) vnodes: Vec<u32>,
    /// How many rings there are in each cell.
    pub(crate) rings: u32,
    /// Makes the rings other ones.
    pub(crate) seed: u64,
    /// How many owners a slot has.
    pub(crate) copies: u8,
    pub(crate) slots: SlotCount,
    /// The nodes' weights, again from the start when they run out.
    pub(crate) weights: Vec<f64>,
    /// Over how many zones the nodes are spread in turn; 0 for none.
    pub(crate) zones: u32,
    /// How many keys each slot holds.
    pub(crate) keys: KeyCounts,
    /// How many nodes are lost at once, where the chance to lose data is asked for.
    pub(crate) losses: Vec<u32>,
}

/// How many keys there are in each slot.
#[derive(Clone, Debug)]
pub(crate) struct KeyCounts {
    pub(crate) of_slot: Vec<u32>,
    pub(crate) total: u64,
}

impl KeyCounts {
    /// None.
    pub(crate) fn new(slots: SlotCount) -> Self {
        Self { of_slot: vec![0; slots.count() as usize], total: 0 }
    }

    /// Counts one key of the default keyspace.
    pub(crate) fn count(&mut self, slots: SlotCount, key: &[u8]) {
        let slot = slots.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key));
        self.of_slot[slot.index()] += 1;
        self.total += 1;
    }
}

/// The figures of one cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) placement: Placement,
    pub(crate) nodes: u32,
    pub(crate) vnodes: u32,
    /// One for each ring, in the order of their seeds.
    pub(crate) samples: Vec<Sample>,
    /// The first of the rings.
    pub(crate) first: Laid,
}

impl Cell {
    /// One number of every ring, as a figure.
    pub(crate) fn figure(&self, of: impl Fn(&Sample) -> f64) -> Figure {
        Figure::of(self.samples.iter().map(of).collect())
    }
}

/// The cells of `question`: placement, nodes and vnodes of each.
pub(crate) fn cells(question: &Question) -> Vec<(Placement, u32, u32)> {
    let mut cells = Vec::new();
    for placement in &question.placements {
        for nodes in &question.nodes {
            let suits = |vnodes: &&u32| placement.suits(question, *nodes, **vnodes);
            cells.extend(question.vnodes.iter().filter(suits).map(|vnodes| (*placement, *nodes, *vnodes)));
        }
    }
    cells
}

/// Computes all cells, on all cores. `done` is called after each ring.
pub(crate) fn compute(question: &Question, done: impl Fn() + Sync) -> Vec<Cell> {
    let cells = cells(question);
    let rings = |(placement, nodes, vnodes): &(Placement, u32, u32)| {
        let (placement, nodes, vnodes) = (*placement, *nodes, *vnodes);
        (0..u64::from(placement.rings(question.rings))).map(move |ring| Layout { placement, nodes, vnodes, ring })
    };
    let layouts: Vec<Layout> = cells.iter().flat_map(rings).collect();
    let sampled: Vec<(Sample, Option<Laid>)> = layouts
        .into_par_iter()
        .map(|layout| {
            let laid = Laid::of(question, layout);
            let sample = Sample::of(question, layout, &laid);
            done();
            (sample, (layout.ring == 0).then_some(laid))
        })
        .collect();
    let mut sampled = sampled.into_iter();
    let with_samples = |(placement, nodes, vnodes): (Placement, u32, u32)| {
        let of_cell = sampled.by_ref().take(placement.rings(question.rings) as usize);
        let (samples, first): (Vec<_>, Vec<_>) = of_cell.unzip();
        let first = first.into_iter().flatten().next().expect("there is at least one ring in a cell");
        Cell { placement, nodes, vnodes, samples, first }
    };
    cells.into_iter().map(with_samples).collect()
}
