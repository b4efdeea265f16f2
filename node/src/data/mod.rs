//! The data plane: what a node does with requests for keys, its own clients' and its peers'.
//!
//! ```text
//!  client ── gateway ──► inline: the store, where this node alone decides
//!                │
//!                └──► session ── Coordinator ──► replica (this node)
//!                        ▲             └───────► links ── lane ──► peer
//!                        └──────────────────────────────────────────┘ replies
//!  peer ── replica ──► the store, or the hints
//!       └─ transfer ──► upkeep
//! ```
//!
//! Decisions are the core's: [`quoit_core::replication`] says who is asked and when a client is answered,
//! [`quoit_core::store`] which of two entries stays, [`quoit_core::upkeep`] what happens in the background.

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwapOption;
use quoit_client::Label;
use quoit_core::{
    cluster::Life,
    replication::{ClockSkew, HlcClock},
    routing::Routing,
    time::Wall,
    upkeep::Hints,
};
use quoit_proto_types::{Boot, Hlc, Version};

use crate::{
    clock::Clock,
    shutdown::Tasks,
    store::Store,
    transport::{
        counters::Counters,
        peers::{ConnectionId, PeerLink},
        streams::ByteBudget,
    },
    views::Views,
};

pub(crate) mod answer;
mod foresight;
mod giving;
mod lane;
mod lateness;
pub(crate) mod links;
mod replica;
pub(crate) mod session;
pub(crate) mod transfer;
pub(crate) mod under_way;
pub(crate) mod upkeep;

use links::Links;
use under_way::UnderWay;
use upkeep::UpkeepHandle;

/// What requests need, shared by all who carry them out.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(crate) store: Arc<Store>,
    /// Absent until the cluster has formed, and once the process must not go on.
    pub(crate) routing: Arc<ArcSwapOption<Routing>>,
    /// Wakes sessions when another view is in force.
    pub(crate) views: Arc<Views>,
    /// Stamps writes.
    pub(crate) stamps: HlcClock,
    pub(crate) hints: Hints,
    pub(crate) links: Links,
    pub(crate) upkeep: UpkeepHandle,
    pub(crate) clock: Clock,
    /// This process's life: versions have it.
    pub(crate) boot: Boot,
    pub(crate) value_bytes_max: usize,
    pub(crate) counters: Arc<Counters>,
    /// Bytes of large values that all connections together may have on their way, in and out.
    pub(crate) values_under_way: ByteBudget,
    /// Batches of requests that were begun, of clients and of peers.
    pub(crate) batches: AtomicU64,
    /// What a node that leaves waits for.
    pub(crate) under_way: UnderWay,
    /// Owns what outlives the request that began it.
    pub(crate) tasks: Tasks,
}

impl DataPlane {
    /// Serves a connection with `peer` that was admitted, and sends requests over it.
    pub(crate) fn connected(self: &Arc<Self>, peer: Label, life: Life, link: &PeerLink) {
        let runtime = &link.runtime;
        let link = self.links.connected(peer.clone(), life.instance, link);
        self.tasks.spawn_on(runtime, Arc::clone(self).serve_peer(peer, life, link));
    }

    /// A connection with `peer` is gone: nothing is sent over it any more, and nothing is waited for.
    pub(crate) fn disconnected(&self, peer: &Label, connection: ConnectionId) {
        self.links.disconnected(peer, connection);
    }

    /// The version of a write that this process coordinates as a member of the view that `routing` goes by; `None` if it is
    /// none.
    pub(crate) fn version(&self, routing: &Routing, wall: Wall, after: Hlc) -> Result<Option<Version>, ClockSkew> {
        let Some(ordinal) = routing.me() else { return Ok(None) };
        Ok(Some(Version { hlc: self.stamps.stamp(wall, after)?, ordinal, boot: self.boot }))
    }
}
