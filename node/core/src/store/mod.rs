//! The store of one shard: a bounded cache with time to live, single-threaded and pure.
//!
//! A [`Shard`] keeps [`Record`]s in least-recently-used order on one or two [`clru`] caches and never holds more than its
//! limit in bytes, where an entry weighs what the process really pays for it (see `footprint`). The caller hashes the key
//! with a secret seed, picks the shard, owns the lock and the clock.
//!
//! ```text
//!             set                hit                 limit / 2 reached
//!    (new) ────────► probation ────────► protected ────────┐
//!                        ▲  │                              │
//!                        │  └──► evicted, oldest first     │
//!                        └─────────────────────────────────┘
//! ```
//!
//! **Identity.** An entry is found by its 64-bit table hash, and its key is then compared in full, so a value is never
//! answered for another key. Two keys with equal hashes cannot be cached together: the later one evicts the earlier. With
//! a secret seed this takes billions of keys to happen once, and losing an entry is what a cache may always do.
//!
//! **What clru leaves to us.** It is used without its own weights and with room without end, so that it never evicts by
//! itself, refuses a value, or hides what left: the shard evicts, counts and keeps the sum. It never gives memory back and
//! doubles what it has, so `queue` sizes it and rebuilds it.
//!
//! **Known limits.** A rebuild copies one queue's entries in one go, some tens of nanoseconds each: keep shards small (tens
//! of MiB). While it runs that queue's slots exist twice.

mod entry;
mod eviction;
mod expiry;
mod footprint;
mod queue;
mod shard;

pub use entry::{Entry, Record, RecordBuilder};
pub use eviction::EvictionPolicy;
pub use expiry::Expiry;
pub use shard::{SetOutcome, Shard, ShardConfig, ShardStats, TooLarge};

#[cfg(test)]
mod tests;
