//! The store: a bounded cache of versioned entries with time to live, which any number of threads use.
//!
//! A shard keeps entries in the order of their use on [`clru`] caches, and never holds more than its limit in
//! bytes, where an entry weighs what the process really pays for it (see `footprint`). [`Store`] hashes the key with a secret
//! seed, picks the shard and holds its lock; the clock is the caller's.
//!
//! ```text
//!             set      to leave, but read; or evicted lately    9/10 of the limit reached
//!    (new) ────────► probation ───────────────────────► protected ────────┐
//!                        ▲  │                             ▲               │
//!                        │  └──► evicted, oldest first    └── if read ────┤
//!                        └────────────────────────────────── if not ──────┘
//!    (deleted, expired) ────────► graves ──► floor of the slot raised, oldest first
//! ```
//!
//! **Versions.** Entries are merged: the one with the greater stamp stays, so all owners of a key end with the same entry in
//! whatever order they heard of it. A deletion, and an expiry, leaves a tombstone, or an older value would come back from
//! where the deletion was not heard of. Tombstones are collected when all owners have them; one that must leave before that
//! raises the *floor* of its slot: what is absent and not later than the floor is taken for deleted.
//!
//! **Slots.** What nodes compare, a digest, a count and a floor for each slot, is kept up to date with each change and read
//! without a lock.
//!
//! **Identity.** An entry is found by its 64-bit table hash, and its key is then compared in full, so a value is never
//! answered for another key. Two keys with equal hashes cannot be held together: the later one evicts the earlier. With
//! a secret seed this takes billions of keys to happen once, and losing an entry is what a cache may always do.
//!
//! **What clru leaves to us.** It is used without its own weights and with room without end, so that it never evicts by
//! itself, refuses a value, or hides what left: the shard evicts, counts and keeps the sum. It never gives memory back and
//! doubles what it has, so `queue` sizes it and rebuilds it.
//!
//! **Memory.** An entry is one allocation, of a header of 12 bytes or some more, its key and its value, and 16 bytes that point
//! to it. clru adds two links and the hash: 40 bytes in its slab and 10 to 20 in its table, up to 40 when entries come and go. Of
//! a key of 16 bytes and a value of 100 that makes some 189 bytes of resident memory. The hash could be had from the key, for a
//! visit to every entry's memory whenever a table grows; shorter links could be had from a list of our own.
//!
//! **Known limits.** A rebuild copies one queue's entries in one go, some tens of nanoseconds each: keep shards small (tens
//! of MiB). While it runs that queue's slots exist twice. A floor that is raised by one lost tombstone hides older entries of
//! other keys of its slot as well, where they are absent: they are fewer copies then, until they are written again.
//! Eviction learns in each shard of a thousand values or more by itself, in about four times as many reads as it has values: a
//! loop that is over by then was never noticed.

mod entry;
mod eviction;
mod expiry;
mod footprint;
mod header;
mod merge;
mod queue;
mod remembered;
mod shard;
mod sharded;
mod slots;
mod stats;
mod trials;
mod walk;

pub use entry::{Entry, Record, RecordBuilder};
pub use eviction::EvictionPolicy;
pub use expiry::Expiry;
pub use merge::{Applied, ApplyError, FenceMoved, Origin, TooLarge};
pub use sharded::{Store, StoreConfig, WARMED_MAX};
pub use slots::key_hash;
pub use stats::ShardStats;

#[cfg(test)]
mod tests;
