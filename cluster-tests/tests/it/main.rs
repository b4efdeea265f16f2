//! The tests that need more than one crate, in one binary: one module each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod identity;
mod live;
mod log;
mod processes;
mod simulator;
mod tidy;
mod wire;
