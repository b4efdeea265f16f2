//! Whole nodes in this process: the control plane as administrators and clients see it, and a client beside a cluster that
//! changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod control_plane;
mod names;
mod redirects;
mod seeds;
mod threads;
