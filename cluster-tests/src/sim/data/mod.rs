//! The data path under simulation: every process has a store, a clock for versions, hints and its upkeep, and coordinates
//! the requests of client sessions.
//!
//! The glue does what a node's driver does and decides nothing: what a replica answers is [`quoit_core::replication::Replica`],
//! what is fetched, compared and offered is [`quoit_core::upkeep::Upkeep`]. Requests between processes travel over the same
//! simulated connections as everything else, each as a stream of its own: nothing orders two of them, each waits for what was
//! lost, and when the connection is gone whoever asked learns that no answer will come.

mod drive;
mod judge;
mod look;
mod options;
mod side;
mod wire;
mod workload;

pub use options::DataOptions;
pub(super) use side::MEMORY_BYTES;
pub use side::{DataSide, Waiting};
pub use wire::{DataBody, DataFrame};
pub use workload::{DataWorld, Session};
