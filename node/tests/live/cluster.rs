//! Real nodes in this process, with their certificates and states in a temporary folder.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use quoit_certs::{Authority, CertsDir, Identity, Overwrite, Role};
use quoit_client::{AdminReply, AdminRequest, CertificateFiles, Client, ClientConfig, Command, CommandAnswer, View};
use quoit_node::{
    Network, NodeHandle, NodeState, StartError, StopReason,
    config::{Config, Settings},
};
use tempfile::TempDir;
use tokio::time::{interval, timeout};

/// Longer than anything takes that works at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    folder: TempDir,
    authority: Authority,
    /// Where n1 and so on are, the founders.
    pub(crate) seeds: Vec<String>,
    pub(crate) nodes: Vec<NodeHandle>,
}

impl Cluster {
    /// Forms a cluster of n1 to n`count`.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_on((0..count).map(|_| free()).collect()).await
    }

    /// The same on `networks`.
    pub(crate) async fn start_on(networks: Vec<Network>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The folder is locked for as long as it is open.
        let made = CertsDir::create(folder.path()).unwrap().init(None, None, SystemTime::now(), Overwrite::Keep);
        let authority = made.unwrap().authority;
        let seeds = networks.iter().map(|network| network.socket.local_addr().unwrap().to_string()).collect();
        let mut cluster = Self { folder, authority, seeds, nodes: Vec::new() };
        for (index, network) in networks.into_iter().enumerate() {
            let node = cluster.start_node(&format!("n{}", index + 1), network, |_| {}).await;
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            node.formed(PATIENCE).await.unwrap();
        }
        cluster
    }

    fn files(&self, role: Role, name: &str) -> CertificateFiles {
        let identity = Identity::new(role, name.parse().unwrap(), self.authority.cluster().clone());
        let certs = CertsDir::open(self.folder.path()).unwrap();
        certs.issue(&self.authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep).unwrap();
        CertificateFiles::in_folder(self.folder.path().join(name))
    }

    /// Where the node `name` keeps its state.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    /// Starts a node with the state in its data folder.
    pub(crate) async fn start_node(
        &self,
        name: &str,
        network: Network,
        adjust: impl FnOnce(&mut Settings),
    ) -> NodeHandle {
        self.try_start_node(name, network, adjust).await.unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) async fn try_start_node(
        &self,
        name: &str,
        network: Network,
        adjust: impl FnOnce(&mut Settings),
    ) -> Result<NodeHandle, StartError> {
        let mut settings = Settings::new(self.files(Role::Node, name));
        settings.seeds = self.seeds.iter().map(|seed| seed.parse().unwrap()).collect();
        settings.data = Some(self.data(name));
        adjust(&mut settings);
        NodeHandle::start_on(Config::try_from(settings).unwrap(), network).await
    }

    /// Starts one more node, and waits until every node has given it its share.
    pub(crate) async fn join(&mut self, name: &str) {
        let node = self.start_node(name, free(), |_| {}).await;
        self.nodes.push(node);
        self.settled().await;
    }

    /// Waits until every node goes by a view in which all of them own, and no ring change is under way.
    pub(crate) async fn settled(&mut self) {
        let count = self.nodes.len();
        for node in &mut self.nodes {
            view_where(node, |view| is_settled(view, count) && view.members().len() == count).await;
        }
    }

    /// Has the node `name` leave the cluster and end.
    pub(crate) async fn drain(&mut self, admin: &Client, name: &str) {
        let index = self.nodes.iter().position(|node| node.identity().name.as_str() == name).unwrap();
        let mut leaver = self.nodes.remove(index);
        let drain = AdminRequest::Command(Command::Drain { name: name.parse().unwrap() });
        let asked = self.nodes[0].identity().name.clone();
        let answer = admin.admin(&asked, drain).await.unwrap();
        assert!(matches!(answer, AdminReply::Command(CommandAnswer::Accepted { .. })), "{answer:?}");
        let stopped = async {
            loop {
                if let NodeState::Stopped { reason } = leaver.state() {
                    return reason;
                }
                leaver.state_changed().await;
            }
        };
        let reason = timeout(PATIENCE, stopped).await.expect("a drained node ends");
        assert!(matches!(reason, StopReason::Retired { .. }), "{reason}");
        leaver.shutdown().await;
        self.settled().await;
    }

    /// What a client is configured with that knows the founders' addresses.
    pub(crate) fn client_config(&self, role: Role, name: &str) -> ClientConfig {
        self.client_of(role, name, &self.seeds)
    }

    /// The same with seeds of its own.
    pub(crate) fn client_of<S: AsRef<str>>(&self, role: Role, name: &str, seeds: &[S]) -> ClientConfig {
        let config = ClientConfig::new(self.files(role, name), seeds).unwrap();
        config.request_timeout(PATIENCE).connect_timeout(PATIENCE)
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.client_config(Role::Client, "client")).await.unwrap()
    }

    pub(crate) async fn admin(&self) -> Client {
        Client::connect(self.client_config(Role::Admin, "admin")).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

pub(crate) fn free() -> Network {
    Network::udp("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// The network at `address`, as soon as the node that ended there has let go of it.
pub(crate) async fn at(address: SocketAddr) -> Network {
    as_soon_as(|| Network::udp(address).ok()).await
}

/// The network that `bind` makes, as soon as it can.
pub(crate) async fn as_soon_as(bind: impl Fn() -> Option<Network>) -> Network {
    let mut network = None;
    wait_for("the port is free again", || {
        network = bind();
        network.is_some()
    })
    .await;
    network.unwrap()
}

/// Waits until `condition` holds of the node's view.
pub(crate) async fn view_where(node: &mut NodeHandle, condition: impl Fn(&View) -> bool) -> Arc<View> {
    let waiting = async {
        loop {
            match node.state() {
                NodeState::Member(view) if condition(&view) => return view,
                NodeState::Member(_) | NodeState::Waiting(_) => {}
                state @ (NodeState::Failed(_) | NodeState::Stopped { .. }) => panic!("{state:?}"),
            }
            node.state_changed().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the view came in time")
}

pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let mut tick = interval(Duration::from_millis(10));
    let waiting = async {
        while !condition() {
            tick.tick().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// No ring change is under way, and `owners` members own.
pub(crate) fn is_settled(view: &View, owners: usize) -> bool {
    view.fields().target.is_none() && view.fields().ring.len() == owners
}

/// Who owns `key`, as the client sees it.
pub(crate) fn owner(client: &Client, key: &str) -> String {
    client.explain(key).unwrap().owners[0].clone()
}
