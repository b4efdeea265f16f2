//! The tokens that a view assigns, where its ring is balanced.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Member, Owner, RingAlgorithm, ViewFields, Zone};
use crate::{codec, id::Ordinal, limits, tokens::Tokens};

/// The tokens of a [balanced](RingAlgorithm::Balanced) ring. Of a hashed one there are none to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTokens {
    /// Those of each owner in force, in their order.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub ring: Vec<Tokens>,
    /// Those of each owner-to-be, in their order, while a ring change is under way.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub target: Vec<Tokens>,
}

/// How the tokens of a list of owners differ from those of a list of another view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensDelta {
    /// From which list.
    pub from: TokensFrom,
    /// The owners whose tokens differ from that, in the order of their ordinals.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub put: Vec<(Ordinal, Tokens)>,
}

/// A list of owners of the view that a delta applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokensFrom {
    /// The ring in force.
    #[default]
    Ring,
    /// The ring to be: what it was when it is put in force.
    Target,
}

impl TokensDelta {
    /// What makes the `tokens` of `owners` of those of the view `base`: from whichever list there is less to tell.
    pub(super) fn between(base: &ViewFields, owners: &[Owner], tokens: &[Tokens]) -> Self {
        let delta = |from| {
            let known = known(base, from);
            let differs = |(owner, tokens): &(&Owner, &Tokens)| known.get(&owner.ordinal) != Some(tokens);
            let put = owners.iter().zip(tokens).filter(differs).map(|(owner, tokens)| (owner.ordinal, tokens.clone()));
            Self { from, put: put.collect() }
        };
        let (ring, target) = (delta(TokensFrom::Ring), delta(TokensFrom::Target));
        if ring.put.len() <= target.put.len() { ring } else { target }
    }

    /// The tokens of `owners`, if it applies to the view `base`. What it does not tell is left out, which no view allows.
    pub(super) fn apply(&self, base: &ViewFields, owners: &[Owner]) -> Vec<Tokens> {
        let mut known = known(base, self.from);
        known.extend(self.put.iter().map(|(ordinal, tokens)| (*ordinal, tokens)));
        owners.iter().filter_map(|owner| known.get(&owner.ordinal)).map(|tokens| (*tokens).clone()).collect()
    }
}

fn known(base: &ViewFields, from: TokensFrom) -> BTreeMap<Ordinal, &Tokens> {
    let (owners, tokens) = match from {
        TokensFrom::Ring => (base.ring.as_slice(), &base.tokens.ring),
        TokensFrom::Target => (base.target.as_deref().unwrap_or_default(), &base.tokens.target),
    };
    owners.iter().map(|owner| owner.ordinal).zip(tokens).collect()
}

impl ViewFields {
    /// Whether the owners in force have the tokens that the algorithm wants them to have.
    pub(super) fn ring_tokens_valid(&self) -> bool {
        self.tokens_valid(&self.ring, &self.tokens.ring, Member::placed)
    }

    /// The same of the owners-to-be.
    pub(super) fn target_tokens_valid(&self) -> bool {
        let target = self.target.as_deref().unwrap_or_default();
        let placed = if self.replaces_lives(target) { Member::placed } else { Member::to_be_placed };
        self.tokens_valid(target, &self.tokens.target, placed)
    }

    fn tokens_valid(&self, owners: &[Owner], tokens: &[Tokens], placed: fn(&Member) -> (&Zone, u32)) -> bool {
        let fits = |(owner, tokens): (&Owner, &Tokens)| {
            let found = self.members.binary_search_by_key(&owner.ordinal, |member| member.ordinal);
            let vnodes = found.map_or(0, |place| placed(&self.members[place]).1);
            tokens.slots().len() == vnodes as usize
                && tokens.slots().last().is_none_or(|last| self.config.slots.contains(*last))
        };
        match self.config.ring_algorithm {
            RingAlgorithm::Hashed => tokens.is_empty(),
            RingAlgorithm::Balanced => owners.len() == tokens.len() && owners.iter().zip(tokens).all(fits),
        }
    }
}
