//! The messages, one module for each pair of parties.

pub mod client;
pub mod peer;
pub mod session;
