//! What changed from one view to a later one: some hundred bytes instead of a hundred for each member.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{
    AssignedTokens, Change, InvalidView, Member, Owner, RingAlgorithm, TokensDelta, View, ViewConfig, ViewFields,
    ViewHash,
};
use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch, Fence},
    id::Ordinal,
    limits,
};

/// Makes one view of another. Both may be any number of epochs apart, but are views of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDelta {
    /// The hash of the view it applies to.
    pub base: ViewHash,
    /// The epoch of that view, by which it is looked for. The hash tells whether it is the right one.
    pub base_epoch: Epoch,
    /// The hash of the view that results.
    pub hash: ViewHash,
    /// The epoch of that view. This and what follows, as far as `changes`, are its small fields, whole.
    pub epoch: Epoch,
    /// See [`ViewFields::previous`].
    pub previous: ViewHash,
    /// See [`ViewFields::ballot`].
    pub ballot: Ballot,
    /// See [`ViewFields::coordinator`].
    pub coordinator: Ordinal,
    /// See [`ViewFields::voters`].
    #[serde(deserialize_with = "codec::at_most::<{ limits::VOTERS_MAX }, _, _>")]
    pub voters: Vec<Ordinal>,
    /// See [`ViewFields::config`].
    pub config: ViewConfig,
    /// See [`ViewFields::copies`].
    pub copies: u8,
    /// See [`ViewFields::fence`].
    pub fence: Fence,
    /// See [`ViewFields::next_ordinal`].
    pub next_ordinal: Ordinal,
    /// See [`ViewFields::proposed_at_ms`].
    pub proposed_at_ms: u64,
    /// See [`ViewFields::changes`].
    #[serde(deserialize_with = "codec::at_most::<{ limits::CHANGES_MAX }, _, _>")]
    pub changes: Vec<Change>,
    /// Members that are new or differ.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub members: Vec<Member>,
    /// Members that are gone.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub removed: Vec<Ordinal>,
    /// How the ring in force differs.
    pub ring: OwnersDelta,
    /// The tokens of the ring in force.
    pub tokens: TokensDelta,
    /// The owners-to-be.
    pub target: TargetDelta,
    /// Their tokens.
    pub target_tokens: TokensDelta,
}

/// How one set of owners differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnersDelta {
    /// Owners that are new, or have another boot.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub put: Vec<Owner>,
    /// Owners that are gone.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub removed: Vec<Ordinal>,
}

/// The owners-to-be of the view that results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetDelta {
    /// There are none: no ring change is under way.
    Stable,
    /// They differ by this from the ring in force of the view that results.
    Joint(OwnersDelta),
}

/// Why a delta does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It applies to another view: ask for the whole one.
    #[error("it applies to another view than this")]
    OtherBase,
    /// What results is not a view.
    #[error(transparent)]
    Invalid(#[from] InvalidView),
    /// What results is not the view that was meant.
    #[error("what results is another view than was meant")]
    OtherResult,
}

impl OwnersDelta {
    fn between(old: &[Owner], new: &[Owner]) -> Self {
        let (put, removed) = difference(old, new, |owner| owner.ordinal);
        Self { put, removed }
    }

    fn apply(&self, old: &[Owner]) -> Vec<Owner> {
        merged(old, &self.put, &self.removed, |owner| owner.ordinal)
    }
}

/// What of `new` is not in `old`, and who of `old` is not in `new`. Both are in order.
fn difference<T: Clone + PartialEq>(old: &[T], new: &[T], ordinal: impl Fn(&T) -> Ordinal) -> (Vec<T>, Vec<Ordinal>) {
    let in_list = |list: &[T], wanted: Ordinal| list.binary_search_by_key(&wanted, &ordinal).ok();
    let differs = |one: &&T| in_list(old, ordinal(one)).is_none_or(|place| old[place] != **one);
    let put = new.iter().filter(differs).cloned().collect();
    let removed = old.iter().map(&ordinal).filter(|gone| in_list(new, *gone).is_none()).collect();
    (put, removed)
}

/// `old`, which is in order, without `removed` and with `put`, in order.
fn merged<T: Clone>(old: &[T], put: &[T], removed: &[Ordinal], ordinal: impl Fn(&T) -> Ordinal) -> Vec<T> {
    let changed: BTreeMap<Ordinal, Option<&T>> =
        removed.iter().map(|gone| (*gone, None)).chain(put.iter().map(|one| (ordinal(one), Some(one)))).collect();
    let mut changed = changed.into_iter().peekable();
    let mut merged = Vec::with_capacity(old.len() + put.len());
    for one in old {
        while let Some((_, new)) = changed.next_if(|(place, _)| *place < ordinal(one)) {
            merged.extend(new.cloned());
        }
        match changed.next_if(|(place, _)| *place == ordinal(one)) {
            Some((_, new)) => merged.extend(new.cloned()),
            None => merged.push(one.clone()),
        }
    }
    merged.extend(changed.filter_map(|(_, new)| new.cloned()));
    merged
}

impl ViewDelta {
    /// What makes `new` of `old`. `None` for views of two clusters, or a `new` that is not newer.
    pub fn between(old: &View, new: &View) -> Option<Self> {
        let (from, to) = (old.fields(), new.fields());
        if from.cluster_id != to.cluster_id || from.recovered_from != to.recovered_from || from.epoch >= to.epoch {
            return None;
        }
        let (members, removed) = difference(&from.members, &to.members, |member| member.ordinal);
        Some(Self {
            base: old.hash(),
            base_epoch: from.epoch,
            hash: new.hash(),
            epoch: to.epoch,
            previous: to.previous,
            ballot: to.ballot,
            coordinator: to.coordinator,
            voters: to.voters.clone(),
            config: to.config,
            copies: to.copies,
            fence: to.fence,
            next_ordinal: to.next_ordinal,
            proposed_at_ms: to.proposed_at_ms,
            changes: to.changes.clone(),
            members,
            removed,
            ring: OwnersDelta::between(&from.ring, &to.ring),
            tokens: TokensDelta::between(from, &to.ring, &to.tokens.ring),
            target_tokens: TokensDelta::between(from, to.target.as_deref().unwrap_or_default(), &to.tokens.target),
            target: match &to.target {
                None => TargetDelta::Stable,
                Some(target) => TargetDelta::Joint(OwnersDelta::between(&to.ring, target)),
            },
        })
    }

    /// The view that results from `old`, whose hash is `hash`.
    ///
    /// # Errors
    /// [`DeltaError`]. Nothing that is not byte for byte the view that was meant ever results.
    pub fn apply(&self, old: &View, hash: ViewHash) -> Result<View, DeltaError> {
        if self.base != hash {
            return Err(DeltaError::OtherBase);
        }
        let from = old.fields();
        let ring = self.ring.apply(&from.ring);
        let target = match &self.target {
            TargetDelta::Stable => None,
            TargetDelta::Joint(delta) => Some(delta.apply(&ring)),
        };
        let tokens = match self.config.ring_algorithm {
            RingAlgorithm::Hashed => AssignedTokens::default(),
            RingAlgorithm::Balanced => AssignedTokens {
                ring: self.tokens.apply(from, &ring),
                target: self.target_tokens.apply(from, target.as_deref().unwrap_or_default()),
            },
        };
        let fields = ViewFields {
            cluster: from.cluster.clone(),
            cluster_id: from.cluster_id,
            recovered_from: from.recovered_from,
            epoch: self.epoch,
            previous: self.previous,
            ballot: self.ballot,
            coordinator: self.coordinator,
            voters: self.voters.clone(),
            config: self.config,
            copies: self.copies,
            members: merged(&from.members, &self.members, &self.removed, |member| member.ordinal),
            ring,
            target,
            tokens,
            fence: self.fence,
            next_ordinal: self.next_ordinal,
            proposed_at_ms: self.proposed_at_ms,
            changes: self.changes.clone(),
        };
        let view = View::after(old, fields)?;
        if view.hash() == self.hash { Ok(view) } else { Err(DeltaError::OtherResult) }
    }

    /// Appends the encoded delta.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a delta.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "view delta", limits::VIEW_BYTES_MAX)
    }
}
