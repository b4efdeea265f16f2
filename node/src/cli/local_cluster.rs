//! A real cluster in this process, with certificates that live and die with it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use quoit_certs::{CertsDir, DirError, Identity, Overwrite, Role};
use quoit_client::{Address, Client, ClientConfig};
use tempfile::TempDir;

use super::error::{CliError, Exit};
use crate::{
    Network, NodeHandle, NodeState, StartError,
    config::{Config, Settings},
};

/// How long the nodes may take to find each other, which is a matter of milliseconds on one machine.
const FORMING_MAX: Duration = Duration::from_secs(10);
/// How long one request may take: a machine that runs everything at once may well be busy.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Copies of each key: with fewer, a node that is stopped takes what it alone has with it, and there is less to see.
pub(crate) const REPLICATION: u8 = 2;
/// The names of the certificates for those who connect, and of their folders.
const CLIENT: &str = "client";
const ADMIN: &str = "admin";

/// Nodes on loopback ports without durable state, and a folder with their certificates, a client's and an administrator's.
///
/// Dropping it stops the nodes and removes the folder; [`stop`](Self::stop) does so in good order.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    nodes: Vec<NodeHandle>,
    certs: TempDir,
}

impl LocalCluster {
    /// Starts a cluster called `name` with one node, `n1` and so on, for each of `ports`, and waits until it has formed.
    /// A port that is in use, or 0, is replaced by a free one.
    pub(crate) async fn start(name: &str, ports: &[u16]) -> Result<Self, CliError> {
        let certs = tempfile::Builder::new()
            .prefix("quoit-")
            .tempdir()
            .map_err(|error| CliError::new(Exit::No, "cannot make a temporary folder").why(error.to_string()))?;
        let names: Vec<String> = (1..=ports.len()).map(|number| format!("n{number}")).collect();
        issue(certs.path(), name, &names)
            .map_err(|error| CliError::new(Exit::No, "cannot make certificates").why(error.to_string()))?;

        // All addresses must be known before the first node starts: they are every node's seeds.
        let networks = ports.iter().map(|port| bind(*port)).collect::<Result<Vec<_>, _>>()?;
        let seeds: Vec<Address> = networks.iter().map(|(_, address)| Address::from(*address)).collect();
        let mut nodes = Vec::new();
        for (name, (network, listen)) in names.iter().zip(networks) {
            let settings = Settings {
                listen,
                seeds: seeds.clone(),
                replication: REPLICATION,
                ..Settings::new(certs.path().join(name))
            };
            nodes.push(NodeHandle::start_on(Config::try_from(settings)?, network).await?);
        }
        for state in join_all(nodes.iter_mut().map(|node| node.formed(FORMING_MAX))).await {
            state.map_err(not_formed)?;
        }
        Ok(Self { nodes, certs })
    }

    pub(crate) fn nodes(&self) -> &[NodeHandle] {
        &self.nodes
    }

    /// Where the nodes listen.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().map(|node| node.local_address().to_string())
    }

    /// The folder with a folder for each identity, a client's and an administrator's among them.
    pub(crate) fn certs_folder(&self) -> &Path {
        self.certs.path()
    }

    /// The folder with the client's certificate.
    pub(crate) fn client_folder(&self) -> PathBuf {
        self.certs.path().join(CLIENT)
    }

    /// Connects as that client.
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        let config = ClientConfig::new(self.client_folder(), self.addresses())?.request_timeout(REQUEST_TIMEOUT);
        Ok(Client::connect(config).await?)
    }

    /// Stops the nodes and removes the folder.
    pub(crate) async fn stop(self) -> Result<(), CliError> {
        join_all(self.nodes.into_iter().map(NodeHandle::shutdown)).await;
        let folder = self.certs.path().to_owned();
        self.certs.close().map_err(|error| {
            CliError::new(Exit::No, format!("cannot remove {}", folder.display())).why(error.to_string())
        })
    }
}

/// Makes an authority, a certificate for each node, a client's and an administrator's.
fn issue(folder: &Path, cluster: &str, nodes: &[String]) -> Result<(), DirError> {
    let now = SystemTime::now();
    let cluster = cluster.parse().expect("clusters of this module have valid names");
    let dir = CertsDir::open(folder)?;
    let authority = dir.init(Some(&cluster), None, now, Overwrite::Keep)?.authority;
    let nodes = nodes.iter().map(|name| (Role::Node, name.as_str()));
    for (role, name) in nodes.chain([(Role::Client, CLIENT), (Role::Admin, ADMIN)]) {
        let name = name.parse().expect("letters and digits are a valid name");
        dir.issue(&authority, &Identity::new(role, name, cluster.clone()), &[], None, now, Overwrite::Keep)?;
    }
    Ok(())
}

fn bind(port: u16) -> Result<(Network, SocketAddr), CliError> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let network = Network::udp(loopback(port)).or_else(|_| Network::udp(loopback(0)))?;
    let address = network.socket.local_addr().map_err(StartError::Endpoint)?;
    Ok((network, address))
}

fn not_formed(state: NodeState) -> CliError {
    let why = match state {
        NodeState::Waiting(text) | NodeState::Failed(text) => text,
        NodeState::Member(view) => format!("a member of epoch {} all the same", view.epoch()),
        NodeState::Stopped { reason } => reason.to_string(),
    };
    CliError::new(Exit::No, "the cluster has not formed").why(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_nodes_form_serve_and_leave_nothing_behind() {
        let cluster = LocalCluster::start("test", &[0, 0, 0]).await.unwrap();
        let client = cluster.connect().await.unwrap();
        client.set("k", "v").await.unwrap();
        assert_eq!(client.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(cluster.nodes().iter().map(|node| node.stats().entries).sum::<usize>(), usize::from(REPLICATION));

        let folder = cluster.client_folder();
        assert!(folder.join("tls.key").exists());
        client.close().await;
        cluster.stop().await.unwrap();
        assert!(!folder.parent().unwrap().exists());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_replaced() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let cluster = LocalCluster::start("test", &[port]).await.unwrap();
        assert_ne!(cluster.nodes()[0].local_address().port(), port);
        cluster.stop().await.unwrap();
    }
}
