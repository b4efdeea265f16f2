//! What a node does with its data in the background, so that every owner of a slot ends with all of it.
//!
//! [`Upkeep`] is one machine for a process. It owns the others of this folder and routes between them; none knows another.
//!
//! ```text
//!                        ┌─ handoff     fetches the slots that this process is to own
//!   questions, answers   ├─ repair      compares with the other owners, fetches what is later there
//!  ◄────────────────────►├─ releases    offers what it owns no more, then lets go of it
//!        Upkeep          ├─ collector   forgets tombstones that all owners have
//!                        ├─ replay      brings hints to those they are kept for
//!   questions of others  └─ serving     answers the same of others
//! ```
//!
//! Each question has one answer of bounded size, and changes nothing by being repeated; so a lost answer costs time, and a
//! broken connection is no special case. Every question carries the fence, and nothing that was asked under one fence counts
//! under another (PROTOCOL, T1).
//!
//! **What the driver does.** It calls [`Upkeep::install`] for each view, after the fence of the shards was set and the slots
//! of [`starts_empty`] were emptied and reset; carries out every [`Output`] of a call before the next one; answers the
//! questions of others with [`Upkeep::answer`], as soon as it [may](Upkeep::may_answer); and tells how late it is with
//! [`Upkeep::observe`], and how long it was at it with [`Upkeep::worked`].
//!
//! **Known limits.** To compare a slot entry by entry, or to serve a page, the store is gone through from end to end: some
//! tens of nanoseconds for each entry of the process, in the task that runs this machine.

mod collector;
mod config;
mod exchange;
mod governor;
mod handoff;
mod hints;
mod machine;
mod merge;
mod offer;
mod pace;
mod progress;
mod releases;
mod repair;
mod scene;
mod serving;

pub use config::UpkeepConfig;
pub use exchange::ExchangeId;
pub use governor::Wakeup;
pub use hints::{HintStats, Hints, Kept};
pub use machine::{Output, Upkeep, newly_pending, starts_empty};
pub use progress::{HandoffProgress, Progress, SourceProgress};

#[cfg(test)]
mod tests;
