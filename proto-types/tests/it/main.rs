//! The evidence for what every party must agree on: pinned bytes, properties, hostile input.
#![expect(clippy::unwrap_used, reason = "what helps a test may fail like one")]

/// Counts what each thread allocates, which the `allocation` module reads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod allocation;
#[path = "../../fuzz/bodies.rs"]
pub mod bodies;
mod codec;
mod delta;
mod frame;
mod fuzz_corpus;
mod golden;
mod hello;
mod ring;
mod samples;
mod strategies;
mod transfer;
mod version;
