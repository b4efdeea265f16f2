//! A cluster of Quoit on this machine, each node a process.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use quoit_client::{CertificateFiles, Client, ClientConfig, WriteLevel};

use crate::{
    identities::Identities,
    process::Server,
    server::{ServeArgs, Subject},
};

/// What a cluster is to be.
#[derive(Clone, Copy, Debug)]
pub struct NodesPlan {
    /// How many nodes.
    pub nodes: usize,
    /// Worker threads of each, as for [`ServeArgs`].
    pub threads: usize,
    /// Memory for entries of each, in bytes.
    pub memory: usize,
    /// Copies of each key.
    pub replication: u8,
    /// Handoff as fast as it goes.
    pub unpaced: bool,
    /// How long nodes, and clients, look for what comes next before they sleep.
    pub busy_poll: Duration,
}

/// The cluster. Its processes end when it is dropped.
#[derive(Debug)]
pub struct Nodes {
    plan: NodesPlan,
    servers: Vec<Server>,
    founders: Vec<SocketAddr>,
}

impl Nodes {
    /// Starts it, with certificates from `identities`.
    ///
    /// # Errors
    /// A node that does not start, or no free ports.
    pub fn start(plan: NodesPlan, identities: &Identities) -> Result<Self> {
        let founders = free_udp_addresses(plan.nodes)?;
        let mut nodes = Self { plan, servers: Vec::new(), founders };
        for index in 0..plan.nodes {
            nodes.add(Some(nodes.founders[index]), identities)?;
        }
        Ok(nodes)
    }

    /// Starts one more node, which joins them.
    ///
    /// # Errors
    /// A node that does not start.
    pub fn join(&mut self, identities: &Identities) -> Result<()> {
        self.add(free_udp_addresses(1)?.pop(), identities)
    }

    /// The numbers of the processes that run.
    pub fn processes(&self) -> Vec<u32> {
        self.servers.iter().map(Server::id).filter(|id| *id != 0).collect()
    }

    /// Where the nodes listen.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.address().to_string()).collect()
    }

    /// Kills a node as a power cut does.
    pub fn kill(&mut self, index: usize) {
        self.servers[index].kill();
    }

    /// Connects as the identity in `folder`.
    ///
    /// # Errors
    /// A cluster that does not form, or does not answer.
    pub async fn connect(&self, folder: &Path, request_timeout: Duration) -> Result<Client> {
        let config = ClientConfig::new(CertificateFiles::in_folder(folder), self.addresses())?;
        let config = config.request_timeout(request_timeout).connect_timeout(CONNECT_TIMEOUT);
        let config = config.busy_poll(self.plan.busy_poll);
        // Two of one copy is one: the same level serves any replication.
        Client::connect(config.write_level(WriteLevel::Two)).await.context("the nodes do not answer")
    }

    fn add(&mut self, listen: Option<SocketAddr>, identities: &Identities) -> Result<()> {
        let NodesPlan { threads, memory, replication, unpaced, busy_poll, .. } = self.plan;
        let certs = identities.node(self.servers.len())?;
        let args = ServeArgs::new(Subject::Quoit, certs, threads);
        let (replication, seeds) = (Some(replication), self.founders.clone());
        let args = ServeArgs { memory, listen, seeds, replication, unpaced, busy_poll, ..args };
        self.servers.push(Server::spawn(&args)?);
        Ok(())
    }
}

/// Loopback addresses that nobody uses. They are all bound at once, so that none is given twice.
fn free_udp_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let mut bound = Vec::new();
    for _ in 0..ATTEMPTS {
        if bound.len() == count {
            break;
        }
        bound.extend(UdpSocket::bind((Ipv4Addr::LOCALHOST, rand::random_range(PORTS))).ok());
    }
    ensure!(bound.len() == count, "there are no free ports from {} to {}", PORTS.start, PORTS.end);
    Ok(bound.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?)
}

/// Ports from below those that the system hands out to others.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
const ATTEMPTS: usize = 1000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
