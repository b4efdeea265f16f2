//! How much a node does in the background, and how soon.

use std::{num::NonZeroU64, time::Duration};

use quoit_proto_types::limits;

use crate::planted::data::DataPlanted;

/// Settings of [`Upkeep`](super::Upkeep).
#[derive(Clone, Copy, Debug)]
pub struct UpkeepConfig {
    /// Bytes per second that handoff may fetch, and that others may fetch here; nothing for as many as there are. 64 MiB by
    /// default: a stream at full speed more than doubles the slowest requests beside it, and a paced one does not. It is held
    /// back further where requests are late all the same. Repair goes by a quarter of it.
    pub pace: Option<NonZeroU64>,
    /// How long an answer is waited for before the question is repeated. 5 s by default: a page takes milliseconds, unless the
    /// other side is in trouble, and to ask again adds to that.
    pub source_patience: Duration,
    /// How often each pair of owners compares what it holds. 60 s by default: less finds a lost write sooner and costs 48
    /// bytes for each slot and pair.
    pub repair_period: Duration,
    /// How old a hint may get. 600 s by default. It must be well below `gc_grace`, so that no hint outlives the tombstone of
    /// what it would write.
    pub hint_age: Duration,
    /// Bytes of hints that are kept for one node. 64 MiB by default.
    pub hint_target_bytes: u64,
    /// Bytes of hints that are kept in all. 256 MiB by default.
    pub hint_bytes: u64,
    /// How old a tombstone gets at least. 1 h by default: what was written longer ago, by a node that was removed, counts no
    /// more when that one returns.
    pub gc_grace: Duration,
    /// How often tombstones are collected. 300 s by default.
    pub round_interval: Duration,
    /// The bug that is planted, if any.
    pub planted: DataPlanted,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self {
            pace: NonZeroU64::new(64 << 20),
            source_patience: Duration::from_secs(5),
            repair_period: Duration::from_secs(60),
            hint_age: Duration::from_secs(600),
            hint_target_bytes: 64 << 20,
            hint_bytes: 256 << 20,
            gc_grace: Duration::from_secs(3600),
            round_interval: Duration::from_secs(300),
            planted: DataPlanted::NOTHING,
        }
    }
}

/// Slots that are fetched, or offered, together: a batch of a well filled store takes about a second, and what a lost
/// source leaves half done is small.
pub(super) const BATCH_SLOTS: usize = 512;

/// Questions of the handoff that wait for an answer of one node: enough to hide the way there and back, and a bound on the
/// pages that it has to walk for others at once.
pub(super) const PULLS_PER_PEER: usize = 8;

/// Bytes of entries that may be on their way here at once, over all nodes.
pub(super) const FLIGHT_BYTES_MAX: usize = 8 << 20;

/// Pages of entries that may be on their way here at once.
pub(super) const FLIGHT_PAGES_MAX: usize = FLIGHT_BYTES_MAX / limits::TRANSFER_PAGE_BYTES;

/// Entries whose versions are held in memory to compare them with another node's: some 4 MiB. A slot with more is compared
/// alone.
pub(super) const COMPARED_ENTRIES_MAX: u64 = 1 << 16;

/// After a refusal, or a lost answer, the next try waits this long.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// Pairs of owners that compare at once.
pub(super) const REPAIRS_MAX: usize = 4;

/// Repair may fetch this part of what handoff may.
pub(super) const REPAIR_SHARE: u64 = 4;

/// What the pace counts for an entry that is only named, in bytes: about what one of middling size costs to be fetched.
pub(super) const LISTED_BYTES: usize = 64;

/// How long entries of lost slots are offered before they are dropped although an owner, which is said to be in reach, has not
/// taken them. While no owner is, they are kept.
pub(super) const OFFER_DEADLINE: Duration = Duration::from_secs(600);

/// How long an owner stands by what it said in a round of collection.
pub(super) const SEAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the owner that drives a round waits for all answers of a stage: well below [`SEAL_TIMEOUT`].
pub(super) const ROUND_TIMEOUT: Duration = Duration::from_secs(10);

/// How often hints are looked through.
pub(super) const HINTS_TICK: Duration = Duration::from_secs(1);

/// Hints that wait for one node to confirm them.
pub(super) const HINTS_IN_FLIGHT: usize = 32;
