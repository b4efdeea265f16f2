//! Balanced placement: which tokens each member has, picked instead of hashed.
//!
//! Hashed tokens are as uneven as chance: with `v` of them a member's share is off by about 1/√v. As a coordinator publishes
//! the ring, it can pick. What is picked must stay even through any sequence of joins and leaves, and move little. Three
//! moves do it, all on whole slots:
//!
//! 1. **Put.** Who is new gets its tokens one by one, each at the best of `CHOICES` places that its id hashes to: where it
//!    takes most from those who have too much. What it cuts off is as long as it needs of all copies, or as it needs as first
//!    owner, whichever is better: with zones the two differ, as an arc brings with it all up to the next token of its zone.
//!    (The power of several choices: Azar et al., 1994; for rings: Byers et al., 2003.) If most of the ring is new, hashed
//!    places do as well, as all that follows is free.
//! 2. **Slide.** A token stands between two arcs. One slot onward gives that slot to its member, and takes it from the last of
//!    those who owned it; one slot back does the reverse. Each token slides as long as that makes shares more even. It is free
//!    where the slot moves anyway, as a leaver's does.
//! 3. **Reseat.** Who has too little pulls up the token that it misses least, and puts it where there is too much. What that
//!    moves has a price, which falls from round to round: the cheapest corrections come first.
//!
//! What must move for a join is the share of who joins; for a leave that of who leaves. All corrections together may move
//! `SLACK_PERCENT` percent more. What stays uneven then is put right by the next change.
//!
//! Why not assign slots one by one, which is even by nature: a ring is some bytes for each token instead of some for each
//! slot, and a walk along it gives every slot its owners, the next in line, and zones, by one rule for both algorithms.
//!
//! The answer depends on the arguments alone, and not on the order of members. It is computed by whoever proposes a view, and
//! travels in it: nobody else needs to get the same, but everybody would. Limits: with many more members than vnodes a join
//! relieves only some of them, so shares differ by 1/v; if a zone is left with a single member, what that one holds is
//! decided, and its neighbours' share may be off for a while.

use std::collections::BTreeMap;

use quoit_proto_types::{
    HashPoint, Label, Ring, SlotCount, SlotIndex, Tokens,
    limits::REPLICATION_MAX,
    ring::{Circle, RingMember},
};

use super::fair::copies_held;
use chain::{Chain, Stand};
use former::Former;

mod chain;
mod former;
mod put;
mod slide;

#[cfg(test)]
mod tests;

/// How much more than it must a change may move, in percent of what it must. The bound that is promised is 10.
const SLACK_PERCENT: i64 = 9;

/// Whose tokens may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// Everybody's. Some of those who stay get slots of others, but few.
    Everybody,
    /// Those of who is new. Of those who stay, nobody takes anything but what a leaver leaves to the next on the circle.
    Newcomers,
}

/// A ring with assigned tokens.
#[derive(Clone, Copy, Debug)]
pub struct Seats<'a> {
    /// Its members.
    pub members: &'a [RingMember],
    /// The tokens of each.
    pub tokens: &'a [Tokens],
    /// How many owners a slot has.
    pub copies: u8,
}

impl Seats<'_> {
    /// No ring yet.
    pub const NONE: Self = Self { members: &[], tokens: &[], copies: 1 };

    /// The owners of every slot.
    pub fn ring(&self, slots: SlotCount) -> Ring {
        Ring::of(&Circle::of_tokens(self.members, self.tokens, slots), slots, self.copies)
    }
}

/// The tokens for each of `wanted`, so that each slot has `copies` owners and shares are as even as weights and zones allow,
/// on a ring that comes after `before`.
///
/// A member has as many tokens as it has vnodes. Who stays keeps its tokens, but for those that slide or are reseated. Who has
/// the id of a former member, and comes in its place, has its tokens. If nothing is wanted but what there is, nothing changes.
pub fn place(
    before: &Seats<'_>,
    wanted: &[RingMember],
    (slots, copies): (SlotCount, u8),
    adjust: Adjust,
) -> Vec<Tokens> {
    let mut order: Vec<usize> = (0..wanted.len()).filter(|index| wanted[*index].vnodes > 0).collect();
    order.sort_unstable_by_key(|index| (wanted[*index].node_id, wanted[*index].ordinal));
    let members: Vec<&RingMember> = order.iter().map(|index| &wanted[*index]).collect();
    let former = Former::of(before, &members, slots);
    let placed = if former.is_same(&members, copies) {
        (0..members.len()).map(|index| former.tokens(index).clone()).collect()
    } else {
        placed(&former, &members, (slots, copies), adjust)
    };
    let mut tokens = vec![Tokens::default(); wanted.len()];
    order.into_iter().zip(placed).for_each(|(index, placed)| tokens[index] = placed);
    tokens
}

/// Does it for `members`, who all have vnodes and are in the order of their ids.
fn placed(
    former: &Former<'_>,
    members: &[&RingMember],
    (slots, copies): (SlotCount, u8),
    adjust: Adjust,
) -> Vec<Tokens> {
    if members.is_empty() {
        return Vec::new();
    }
    let stands = stands(members, slots, copies);
    let mut tokens: Vec<Vec<SlotIndex>> =
        members.iter().enumerate().map(|(index, member)| kept(former.tokens(index), member.vnodes)).collect();
    let present: usize = tokens.iter().map(Vec::len).sum();
    let lacking = members.iter().map(|member| member.vnodes as usize).sum::<usize>() - present;
    if lacking > present {
        for (member, tokens) in members.iter().zip(&mut tokens).filter(|(_, tokens)| tokens.is_empty()) {
            tokens.extend((0..member.vnodes).map(|i| slots.slot_of(HashPoint::of_vnode(member.node_id, i))));
        }
    }
    let allowance = former.due(&stands) * (100 + SLACK_PERCENT) / 100;
    // Where everybody holds everything, what is left to even out is who comes first.
    let everything = usize::from(copies) >= members.len() || copies > REPLICATION_MAX;
    let count = if everything { 1 } else { usize::from(copies) };
    let stands = if everything { stands.into_iter().map(Stand::into_primary).collect() } else { stands };
    let mut chain = Chain::new(stands, &tokens, slots, (count, allowance), former);
    chain.put_lacking(members);
    if adjust == Adjust::Everybody {
        chain.slide_freely();
        chain.reseat(members);
        chain.slide();
    }
    chain.into_tokens()
}

/// What is fair for each of `members`.
fn stands(members: &[&RingMember], slots: SlotCount, copies: u8) -> Vec<Stand> {
    let mut named: BTreeMap<&Label, usize> = BTreeMap::new();
    let weighed: Vec<(f64, usize)> = (0..)
        .zip(members)
        .map(|(index, member)| {
            let zone = member.zone.as_ref().map_or(index, |zone| *named.entry(zone).or_insert(index));
            (f64::from(member.vnodes), zone)
        })
        .collect();
    let all: f64 = weighed.iter().map(|(weight, _)| weight).sum();
    let slots = f64::from(slots.count());
    let stand = |(held, (weight, zone)): (f64, &(f64, usize))| Stand {
        zone: *zone,
        fair: held * slots,
        fair_primary: weight / all * slots,
        load: 0,
        primary: 0,
    };
    copies_held(&weighed, usize::from(copies)).into_iter().zip(&weighed).map(stand).collect()
}

/// What a member keeps of `tokens` that is to have `vnodes`: if fewer than it has, some from all around the circle.
fn kept(tokens: &Tokens, vnodes: u32) -> Vec<SlotIndex> {
    let (tokens, wanted) = (tokens.slots(), vnodes as usize);
    let kept = tokens.len().min(wanted);
    (0..kept).map(|index| tokens[index * tokens.len() / kept]).collect()
}
