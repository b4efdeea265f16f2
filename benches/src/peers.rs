//! Other caches to compare with: their servers, and a lean client for each.
//!
//! A [`Wire`] says how requests and replies look. [`Batches`] sends many requests at once over one connection and waits for
//! all replies, which costs a client the least that there is; [`Shared`] is one connection for many callers, whose requests
//! coalesce. Both are over TCP, in the clear or with TLS.

pub use self::{
    batches::Batches,
    cluster::{PeerCluster, PeerNodes},
    servers::{Peer, PeerServer, Transport},
    shared::Shared,
    stream::{Stream, Tls},
    wire::{Expiring, LIFE, Meta, Reply, Resp, Wire},
};

mod batches;
mod cluster;
mod servers;
mod shared;
mod stream;
mod wire;
