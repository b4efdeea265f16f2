//! Real nodes in this process, over loopback QUIC, with certificates in a temporary folder.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use quoit_certs::{Authority, CertsDir, Identity, Overwrite, Role};
use quoit_client::{CertificateFiles, Client, ClientConfig, View};
use quoit_node::{
    Network, NodeHandle,
    config::{Config, Settings},
};
use tempfile::TempDir;

/// Longer than anything takes that works at all, so that only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Certificates of one cluster.
pub(crate) struct Certs {
    folder: TempDir,
    authority: Authority,
    cluster: String,
}

impl Certs {
    pub(crate) fn new(cluster: &str) -> Result<Self> {
        let folder = quoit_cluster_tests::scratch("quoit-test-")?;
        let dir = CertsDir::create(folder.path())?;
        let made = dir.init(Some(&cluster.parse()?), None, SystemTime::now(), Overwrite::Keep)?;
        Ok(Self { authority: made.authority, cluster: cluster.into(), folder })
    }

    /// The files of `name`, made if they do not exist.
    pub(crate) fn files(&self, role: Role, name: &str) -> Result<CertificateFiles> {
        let identity = Identity::new(role, name.parse()?, self.cluster.parse()?);
        let dir = CertsDir::open(self.folder.path())?;
        dir.issue(&self.authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep)?;
        Ok(CertificateFiles::in_folder(self.folder.path().join(name)))
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Nodes that found one cluster, and the certificates to talk to them.
pub(crate) struct LiveCluster {
    pub(crate) certs: Certs,
    pub(crate) nodes: Vec<NodeHandle>,
    pub(crate) seeds: Vec<String>,
    /// Sockets that are bound already, so that nobody takes a seed's port before its node starts.
    networks: Mutex<Vec<Option<Network>>>,
}

impl LiveCluster {
    /// Starts `count` nodes, n1 and so on, and waits until each is a member.
    pub(crate) async fn start(count: usize) -> Result<Self> {
        Self::start_with(count, |_| {}).await
    }

    /// The same with settings of one's own.
    pub(crate) async fn start_with(count: usize, adjust: impl Fn(&mut Settings)) -> Result<Self> {
        let mut cluster = Self::bind(count)?;
        for index in 0..count {
            let node = cluster.start_node(index, &adjust).await?;
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            formed(node).await?;
        }
        Ok(cluster)
    }

    /// Certificates and addresses for `count` nodes, none of which runs.
    pub(crate) fn bind(count: usize) -> Result<Self> {
        let loopback = SocketAddr::new(own_loopback(), 0);
        let networks = (0..count).map(|_| Network::udp(loopback)).collect::<Result<Vec<_>, _>>()?;
        let address = |network: &Network| anyhow::Ok(network.socket.local_addr()?.to_string());
        let seeds = networks.iter().map(address).collect::<Result<_>>()?;
        let networks = Mutex::new(networks.into_iter().map(Some).collect());
        Ok(Self { certs: Certs::new("test")?, nodes: Vec::new(), seeds, networks })
    }

    /// Starts the node at one of the cluster's addresses.
    pub(crate) async fn start_node(&self, index: usize, adjust: impl Fn(&mut Settings)) -> Result<NodeHandle> {
        let files = self.certs.files(Role::Node, &format!("n{}", index + 1))?;
        let mut settings = Settings { listen: self.seeds[index].parse()?, ..Settings::new(files) };
        settings.seeds = self.seeds.iter().map(|seed| seed.parse()).collect::<Result<_, _>>()?;
        adjust(&mut settings);
        let bound = self.networks.lock().unwrap()[index].take();
        let config = Config::try_from(settings)?;
        Ok(match bound {
            Some(network) => NodeHandle::start_on(config, network).await?,
            None => NodeHandle::start(config).await?,
        })
    }

    /// What a client of this cluster is configured with.
    pub(crate) fn client_config(&self) -> Result<ClientConfig> {
        let files = self.certs.files(Role::Client, "client")?;
        Ok(ClientConfig::new(files, &self.seeds)?)
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        // Debug builds on a busy machine are slow, and no test is about a second's deadline.
        let config = self.client_config()?.request_timeout(PATIENCE).connect_timeout(PATIENCE);
        Ok(Client::connect(config).await?)
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

/// A loopback address for each cluster where there are many, so that nobody else is given the port of a node that has stopped.
fn own_loopback() -> IpAddr {
    static CLUSTERS: AtomicU8 = AtomicU8::new(0);
    let last = if cfg!(target_os = "linux") { 2 + CLUSTERS.fetch_add(1, Ordering::Relaxed) % 250 } else { 1 };
    Ipv4Addr::new(127, 0, 0, last).into()
}

pub(crate) async fn formed(node: &mut NodeHandle) -> Result<Arc<View>> {
    node.formed(PATIENCE).await.map_err(|state| anyhow!("not formed: {state:?}"))
}

/// Waits until `condition` holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let waiting = async {
        while !condition() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("waited in vain: {what}"))
}
