//! Quoit's decisions, as pure state machines: no IO, no clock, no ambient randomness.
//!
//! Time is an argument, randomness is seeded from outside, effects are values for a driver to carry out. The same inputs
//! give the same outputs in the same order, so a simulator can run whole clusters a million times.
//!
//! Deliberately not here: sockets, files, threads, logging of more than `tracing` macros, and any choice of when to call.
#![deny(missing_docs)]

pub mod acceptor;
pub mod cluster;
pub mod election;
pub mod genesis;
mod membership;
pub mod meta;
pub mod placement;
pub mod planted;
pub mod replication;
pub mod routing;
#[cfg(test)]
mod stage;
pub mod store;
pub mod time;
pub mod timing;
pub mod upkeep;
pub mod view_log;
