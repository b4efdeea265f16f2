//! What members had before: their tokens, and which slots they hold, which is what need not move.

use std::collections::BTreeSet;

use quoit_proto_types::{
    Ordinal, Ring, SlotCount, SlotIndex, Tokens,
    limits::REPLICATION_MAX,
    ring::{Circle, RingMember},
};

use super::{Seats, chain::Stand};

/// In place of the index of a member: it is none of them any more.
const GONE: Ordinal = Ordinal::new(u32::MAX);

static NO_TOKENS: Tokens = Tokens::NONE;

/// A ring that there was, as the members of the next one see it.
#[derive(Debug)]
pub(super) struct Former<'a> {
    before: &'a Seats<'a>,
    slots: SlotCount,
    /// For each member, which of those before it was.
    known: Vec<Option<usize>>,
    /// The ring. Its ordinals are indices of the present members. `None` if everybody on it held everything.
    ring: Option<Ring>,
}

impl<'a> Former<'a> {
    /// What `members` were on the ring `before`. Who has the id of one that is gone comes in its place.
    pub(super) fn of(before: &'a Seats<'a>, members: &[&RingMember], slots: SlotCount) -> Self {
        let present: BTreeSet<Ordinal> = members.iter().map(|member| member.ordinal).collect();
        let known = |member: &&RingMember| {
            let mut had = (0..before.members.len()).filter(|known| !before.tokens[*known].slots().is_empty());
            let itself = had.clone().find(|known| before.members[*known].ordinal == member.ordinal);
            itself.or_else(|| {
                had.find(|known| {
                    let known = &before.members[*known];
                    known.node_id == member.node_id && !present.contains(&known.ordinal)
                })
            })
        };
        let known: Vec<Option<usize>> = members.iter().map(known).collect();
        let mut renamed = before.members.to_vec();
        renamed.iter_mut().for_each(|member| member.ordinal = GONE);
        for (index, known) in (0..).zip(&known) {
            known.iter().for_each(|known| renamed[*known].ordinal = Ordinal::new(index));
        }
        let placed = before.tokens.iter().filter(|tokens| !tokens.slots().is_empty()).count();
        let everything = usize::from(before.copies) >= placed || before.copies > REPLICATION_MAX;
        let circle = (!everything).then(|| Circle::of_tokens(&renamed, before.tokens, slots));
        Self { before, slots, known, ring: circle.map(|circle| Ring::of(&circle, slots, before.copies)) }
    }

    /// The tokens that the member of this index had.
    pub(super) fn tokens(&self, member: usize) -> &Tokens {
        self.known[member].map_or(&NO_TOKENS, |known| &self.before.tokens[known])
    }

    /// Whether the member of this index held `slot`.
    pub(super) fn held(&self, member: usize, slot: SlotIndex) -> bool {
        match &self.ring {
            Some(ring) => ring.owners(slot).iter().any(|owner| owner.value() as usize == member),
            None => self.known[member].is_some(),
        }
    }

    /// Whether `members` with `copies` are what there was.
    pub(super) fn is_same(&self, members: &[&RingMember], copies: u8) -> bool {
        let alike = |(member, known): (&&RingMember, &Option<usize>)| {
            let known = known.map(|known| &self.before.members[known]);
            known.is_some_and(|known| (known.vnodes, &known.zone) == (member.vnodes, &member.zone))
        };
        copies == self.before.copies && self.gone().next().is_none() && members.iter().zip(&self.known).all(alike)
    }

    /// How many slots must move, each copy counted: those of who leaves, or more if others are to have more than that. What
    /// is counted is what was fair; of who leaves, what it had.
    pub(super) fn due(&self, stands: &[Stand]) -> i64 {
        let before: Vec<&RingMember> = self.before.members.iter().collect();
        let fair = super::stands(&before, self.slots, self.before.copies);
        let more = |(stand, known): (&Stand, &Option<usize>)| {
            (stand.fair - known.map_or(0.0, |known| fair[known].fair)).max(0.0)
        };
        let (leave, join) = (self.held_by_gone(), self.known.iter().any(Option::is_none));
        if leave > 0 && !join {
            return leave;
        }
        let wanted: f64 = stands.iter().zip(&self.known).map(more).sum();
        #[expect(clippy::cast_possible_truncation, reason = "some copies of at most 2^20 slots each")]
        let wanted = wanted as i64;
        wanted.max(leave)
    }

    /// Who was and is no more, by place.
    fn gone(&self) -> impl Iterator<Item = usize> {
        let had = (0..self.before.members.len()).filter(|known| !self.before.tokens[*known].slots().is_empty());
        had.filter(|known| !self.known.contains(&Some(*known)))
    }

    fn held_by_gone(&self) -> i64 {
        let held = |ring: &Ring| {
            let owners =
                self.slots.slots().map(|slot| ring.owners(slot).iter().filter(|owner| **owner == GONE).count());
            i64::try_from(owners.sum::<usize>()).unwrap_or(i64::MAX)
        };
        let gone = i64::try_from(self.gone().count()).unwrap_or(i64::MAX);
        self.ring.as_ref().map_or_else(|| gone * i64::from(self.slots.count()), held)
    }
}
