//! A client beside a cluster that changes: seeds go, names lead elsewhere, placements move.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod names;
mod redirects;
mod seeds;
