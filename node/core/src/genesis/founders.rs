//! Who the founders are.

use std::collections::{BTreeMap, BTreeSet};

use quoit_proto_types::{Label, view::Address};

/// Finds the founders: those who are behind the seed addresses, or those who were named.
///
/// Every node is given the same seeds. A node that finds itself behind one of them is a founder, and so is everybody else
/// it finds there. Several addresses may lead to one name.
#[derive(Debug)]
pub struct FounderSearch {
    me: Label,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Who answered at each seed, once known.
    Seeds(BTreeMap<Address, Option<Label>>),
    Named(BTreeSet<Label>),
}

/// What is known about the founders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FounderOutcome {
    /// Some seeds have not said who they are. Until all have, neither the list nor this node's place in it is known.
    Undecided {
        /// Those seeds.
        unanswered: Vec<Address>,
    },
    /// This node is one of the founders: these, in order.
    Founder(Vec<Label>),
    /// This node is not a founder.
    NotFounder {
        /// Those who are, in order.
        known: Vec<Label>,
    },
}

impl FounderSearch {
    /// A search among `seeds` by the node called `me`.
    pub fn from_seeds(me: Label, seeds: Vec<Address>) -> Self {
        Self { me, source: Source::Seeds(seeds.into_iter().map(|seed| (seed, None)).collect()) }
    }

    /// No search: the founders' names are given. For seeds whose addresses lead to changing nodes.
    pub fn named(me: Label, founders: Vec<Label>) -> Self {
        Self { me, source: Source::Named(founders.into_iter().collect()) }
    }

    /// The node at `address` has shown the certificate of `name`. The last answer of an address counts; addresses that are
    /// not seeds do not.
    pub fn learned(&mut self, address: &Address, name: Label) {
        if let Source::Seeds(seeds) = &mut self.source
            && let Some(behind) = seeds.get_mut(address)
        {
            *behind = Some(name);
        }
    }

    /// What is known.
    pub fn outcome(&self) -> FounderOutcome {
        let founders: BTreeSet<&Label> = match &self.source {
            Source::Named(founders) => founders.iter().collect(),
            Source::Seeds(seeds) => {
                let silent = seeds.iter().filter(|(_, name)| name.is_none());
                let unanswered: Vec<Address> = silent.map(|(seed, _)| seed.clone()).collect();
                if !unanswered.is_empty() {
                    return FounderOutcome::Undecided { unanswered };
                }
                seeds.values().flatten().collect()
            }
        };
        let known = founders.iter().map(|&name| name.clone()).collect();
        if founders.contains(&self.me) { FounderOutcome::Founder(known) } else { FounderOutcome::NotFounder { known } }
    }
}

#[cfg(test)]
mod tests;
