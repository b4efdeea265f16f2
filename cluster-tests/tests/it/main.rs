//! The tests that need more than one crate, in one binary: one module each. Those of real processes have their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod identity;
mod live;
mod log;
mod simulator;
mod tidy;
mod wire;
