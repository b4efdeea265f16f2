//! The messages, one module for each subject.

pub mod admin;
pub mod client;
pub mod election;
pub mod genesis;
pub mod heartbeat;
pub mod membership;
pub mod peer;
pub mod replica;
pub mod session;
pub mod transfer;
