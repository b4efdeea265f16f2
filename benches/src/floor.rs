//! The yardstick: the least that has to happen between a caller and a hash map over QUIC with mutual TLS.
//!
//! TLS, sockets and transport settings are Quoit's own. What is above them is bare: one connection, one long-lived stream,
//! frames of a length, an id and a body, writes and wake-ups shared by all that is under way. There is no routing, no
//! deadline, no limit, no expiry, no eviction, and no answer but a value. What Quoit costs beyond this is the price of
//! what it does beyond this.
//!
//! A request's body is a key, and a value behind it to be set; the answer's body is the value, or nothing.

mod client;
mod frames;
mod server;

pub use self::{client::Client, server::Server};

/// Length of every key here.
pub const KEY_BYTES: usize = 16;
