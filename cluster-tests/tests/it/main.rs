//! The tests that need more than one crate, in one binary: one module each.

mod client;
mod genesis;
mod identity;
mod live;
mod log;
mod tidy;
mod wire;
