//! A Quoit node: the IO around the decisions of `quoit-core`.
//!
//! [`NodeHandle::start`] runs a whole node in this process, as the `quoit` command does; tests and embedders start several.

pub mod cli;
mod clock;
pub mod config;
mod driver;
mod gateway;
mod node;
pub mod store;
mod transport;

pub use node::{NodeHandle, NodeState, StartError};
pub use transport::{counters::LimitsHit, endpoint::Network};
