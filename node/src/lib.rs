//! A Quoit node: the IO around the decisions of `quoit-core`.
//!
//! [`NodeHandle::start`] runs a whole node in this process, as the `quoit` command does; tests and embedders start several.

#[cfg(feature = "jemalloc")]
pub mod allocator;
pub mod cli;
mod clock;
pub mod config;
mod data;
mod driver;
mod fairness;
mod gateway;
mod leave;
mod meta;
mod node;
mod shutdown;
#[cfg(test)]
mod stage;
mod status;
pub mod store;
mod transport;
mod views;
mod workers;

pub use leave::{Leave, LeaveProgress, LeftBehind};
pub use meta::DataError;
pub use node::{NodeHandle, NodeState, StartError};
pub use quoit_core::cluster::StopReason;
pub use transport::{
    counters::LimitsHit,
    endpoint::{Beside, Network},
};
pub use workers::Workers;
