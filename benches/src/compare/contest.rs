//! One measurement of one subject, whoever it is.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Result;
use quoit_client::busy_poll::BUSY_POLL;

use super::Bed;
use crate::{
    cache::Quoit,
    load::{self, Load, Sample, Until},
    nodes::{Nodes, NodesPlan},
    peers::{Batches, Expiring, Meta, PeerServer, Resp, Shared, Transport, Wire},
    workload::{Mode, Workload, WorkloadPlan},
};

/// Requests under way: so many users, each with so many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) callers: usize,
    pub(super) depth: usize,
    /// Whether each user is a client with a connection of its own, as separate processes would be.
    pub(super) apart: bool,
    /// Whether what is written has a time to live.
    pub(super) expires: bool,
}

/// How a peer's client is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A connection for each user, which sends what that user has to ask at once and waits for all of it.
    Pool,
    /// One connection for all, on which requests coalesce.
    Shared,
}

impl Style {
    pub(super) const ALL: [Self; 2] = [Self::Pool, Self::Shared];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pool => "a connection each",
            Self::Shared => "one connection",
        }
    }
}

/// The keys of a mode, at one subject.
pub(super) type Loads = [Arc<Workload>; 2];

/// Workloads to read and to write, whose keys differ, so that neither disturbs what the other verifies.
pub(super) fn loads(keys: u32) -> Result<Loads> {
    let workload = |mode, seed| anyhow::Ok(Arc::new(Workload::new(WorkloadPlan { seed, ..plan(mode, keys) })?));
    Ok([workload(Mode::Get, 0)?, workload(Mode::Set, 1)?])
}

/// 16-byte keys, all alike, with values of 100 bytes.
pub(super) fn plan(mode: Mode, keys: u32) -> WorkloadPlan {
    WorkloadPlan::new(mode, keys, VALUE_BYTES)
}

impl Bed {
    /// Starts nodes of Quoit with so many copies.
    pub(super) fn nodes(&self, nodes: usize, replication: u8, memory: usize) -> Result<Nodes> {
        let threads = self.args.server_threads;
        Nodes::start(
            NodesPlan { nodes, threads, memory, replication, unpaced: true, busy_poll: BUSY_POLL },
            &self.identities,
        )
    }

    /// Clients of them.
    pub(super) async fn quoits(&self, nodes: &Nodes, count: usize) -> Result<Vec<Quoit>> {
        let folder: &Path = &self.identities.client();
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Quoit::new(nodes.connect(folder, REQUEST_TIMEOUT).await?));
        }
        Ok(clients)
    }

    /// Starts all peers that are here, with every transport they can do; what they cannot is told.
    pub(super) async fn peer_servers(&self, notes: &mut Vec<String>) -> Result<Vec<PeerServer>> {
        let mut servers = Vec::new();
        for peer in &self.peers {
            for transport in Transport::ALL {
                match PeerServer::start(*peer, transport, &self.identities, &[]).await {
                    Ok(server) => servers.push(server),
                    Err(error) => notes.push(format!("{}, {}: not measured, {error:#}", peer.name(), transport.name())),
                }
            }
        }
        Ok(servers)
    }

    pub(super) async fn preload_peer(&self, server: &PeerServer, loads: &[Arc<Workload>], expires: bool) -> Result<()> {
        for workload in loads {
            match (server.peer.is_redis_like(), expires) {
                (true, false) => preload::<Resp>(server, workload).await?,
                (true, true) => preload::<Expiring<Resp>>(server, workload).await?,
                (false, false) => preload::<Meta>(server, workload).await?,
                (false, true) => preload::<Expiring<Meta>>(server, workload).await?,
            }
        }
        Ok(())
    }

    pub(super) async fn ask_quoit(
        &self,
        nodes: &Nodes,
        shape: Shape,
        workload: &Arc<Workload>,
        done: &Arc<AtomicU64>,
    ) -> Result<Sample> {
        let clients = self.quoits(nodes, if shape.apart { shape.callers } else { 1 }).await?;
        // What a user has to ask at once is asked as one batch, as of the peers.
        let load = Load { batch: shape.depth, ..Load::closed(shape.callers, Until::Elapsed(self.duration)) };
        let sample = load.run(&clients, workload, &nodes.processes(), done).await;
        for quoit in &clients {
            quoit.client.close().await;
        }
        sample
    }

    pub(super) async fn ask_peer(
        &self,
        server: &PeerServer,
        (shape, style): (Shape, Style),
        workload: &Arc<Workload>,
        until: Until,
        done: &Arc<AtomicU64>,
    ) -> Result<Sample> {
        let how = (shape, style);
        match (server.peer.is_redis_like(), shape.expires) {
            (true, false) => ask::<Resp>(server, how, workload, until, done).await,
            (true, true) => ask::<Expiring<Resp>>(server, how, workload, until, done).await,
            (false, false) => ask::<Meta>(server, how, workload, until, done).await,
            (false, true) => ask::<Expiring<Meta>>(server, how, workload, until, done).await,
        }
    }

    pub(super) fn until(&self) -> Until {
        Until::Elapsed(self.duration)
    }
}

/// Writes every key of `workload` once.
async fn preload<W: Wire>(server: &PeerServer, workload: &Arc<Workload>) -> Result<()> {
    let caches = [Shared::<W>::connect(server.address(), server.tls()).await?];
    load::preload(&caches, workload, &Arc::default()).await
}

async fn ask<W: Wire>(
    server: &PeerServer,
    (shape, style): (Shape, Style),
    workload: &Arc<Workload>,
    until: Until,
    done: &Arc<AtomicU64>,
) -> Result<Sample> {
    let servers = [server.id()];
    match style {
        Style::Pool => {
            let mut pool = Batches::<W>::connect(shape.callers, server.address(), server.tls()).await?;
            pool.run(shape.depth, until, workload, &servers, done).await
        }
        Style::Shared => {
            let caches = [Shared::<W>::connect(server.address(), server.tls()).await?];
            Load::closed(shape.callers * shape.depth, until).run(&caches, workload, &servers, done).await
        }
    }
}

pub(super) const KEYS: u32 = 10_000;
pub(super) const VALUE_BYTES: usize = 100;
pub(super) const KEY_BYTES: usize = 16;
/// Far more than the few keys take.
pub(super) const MEMORY: usize = 512 << 20;
/// So long that only a server that has died exceeds it.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
