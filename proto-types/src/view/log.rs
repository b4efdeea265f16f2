//! One line of a view's history.

use serde::{Deserialize, Serialize};

use super::{Change, View, ViewHash};
use crate::{codec, epoch::Epoch, identity::Label, limits};

/// What is remembered of a view: which one, by whom, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// Its number.
    pub epoch: Epoch,
    /// Its hash.
    pub hash: ViewHash,
    /// Who proposed it.
    pub coordinator: Label,
    /// When, by the proposer's clock: milliseconds since 1970.
    pub proposed_at_ms: u64,
    /// How many members it has.
    pub members: u32,
    /// Why.
    #[serde(deserialize_with = "codec::at_most::<{ limits::CHANGES_MAX }, _, _>")]
    pub changes: Vec<Change>,
}

impl ViewRecord {
    /// The record of `view`, whose hash is `hash`.
    pub fn of(view: &View, hash: ViewHash) -> Self {
        let fields = view.fields();
        let coordinator = view.member(fields.coordinator).expect("a valid view's coordinator is a member");
        Self {
            epoch: fields.epoch,
            hash,
            coordinator: coordinator.name.clone(),
            proposed_at_ms: fields.proposed_at_ms,
            members: u32::try_from(fields.members.len()).unwrap_or(u32::MAX),
            changes: fields.changes.clone(),
        }
    }
}
