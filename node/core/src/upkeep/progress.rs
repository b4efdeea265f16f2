//! What an operator can see of it.

use std::{num::NonZeroU64, time::Duration};

use quoit_proto_types::{Fence, Ordinal, version::Hlc};

use super::hints::HintStats;

/// What is going on in the background of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The slots that are being fetched, while a ring change is under way that gives this process some.
    pub handoff: Option<HandoffProgress>,
    /// Bytes per second that handoff may fetch; nothing for as many as there are.
    pub pace: Option<NonZeroU64>,
    /// How many of them it fetches at most at this moment, so that requests are not late.
    pub limit: Option<NonZeroU64>,
    /// Whether nothing is fetched at the moment, because an administrator said so.
    pub paused: bool,
    /// Slots of lost entries that are being offered to their owners.
    pub offers_left: usize,
    /// Entries that owners took of them.
    pub offers_taken: u64,
    /// Slots that were let go before all of their owners had been offered what they held.
    pub unoffered_slots: u64,
    /// Slots that are to be compared with other owners, once for each.
    pub repairs_left: usize,
    /// How often this process has begun to compare all that it shares with another owner.
    pub repair_passes: u64,
    /// Bytes that repair has fetched.
    pub repair_bytes: u64,
    /// Slots of this process of which an owner does not live.
    pub under_replicated_slots: usize,
    /// Entries kept for others.
    pub hints: HintStats,
    /// Rounds of collection that this process has driven to their end.
    pub rounds: u64,
    /// Up to when it has collected tombstones, as far as the owners agreed.
    pub collected_until: Hlc,
}

/// How far a handoff has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoffProgress {
    /// Under which fence.
    pub fence: Fence,
    /// Who gives.
    pub sources: Vec<SourceProgress>,
    /// Slots to be owned.
    pub slots: usize,
    /// Slots of them that are not synced.
    pub slots_left: usize,
    /// Slots that go on without one of their owners, as it does not live.
    pub slots_skipped: usize,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// Bytes per second, at the moment.
    pub rate: u64,
    /// How long it has been under way.
    pub lasts: Duration,
    /// How long it will take, if it goes on like this. Nothing if there is no telling.
    pub remaining: Option<Duration>,
}

/// How far one source has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceProgress {
    /// The source.
    pub from: Ordinal,
    /// Slots that it has still to give.
    pub slots_left: usize,
}

/// How long `left` of `all` take if the others took `lasted`.
pub(super) fn remaining(all: usize, left: usize, lasted: Duration) -> Option<Duration> {
    let done = u128::try_from(all - left.min(all)).ok().filter(|done| *done > 0)?;
    let micros = lasted.as_micros().checked_mul(u128::try_from(left).ok()?)? / done;
    Some(Duration::from_micros(u64::try_from(micros).ok()?))
}
