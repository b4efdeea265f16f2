//! Names with several addresses, and names that lead elsewhere.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use quoit_certs::Role;
use quoit_client::{Address, Boot, Client, dial::Resolver};
use quoit_node::Network;
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE, free, is_settled, owner, view_where, wait_for};

/// Says where names lead to.
#[derive(Clone, Default)]
struct Directory(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Default)]
struct Entry {
    /// One for each lookup; the last one stays.
    answers: VecDeque<Vec<SocketAddr>>,
    lookups: usize,
}

impl Directory {
    fn enter(&self, name: &str, answers: &[&[SocketAddr]]) {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        self.0.lock().unwrap().entry(name.into()).or_default().answers = answers;
    }

    fn look_up(&self, name: &Address) -> io::Result<Vec<SocketAddr>> {
        let mut entries = self.0.lock().unwrap();
        let entry = entries.get_mut(name.as_str()).ok_or(io::ErrorKind::NotFound)?;
        entry.lookups += 1;
        let next = if entry.answers.len() > 1 { entry.answers.pop_front() } else { entry.answers.front().cloned() };
        Ok(next.unwrap_or_default())
    }

    fn lookups(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).map_or(0, |entry| entry.lookups)
    }

    fn lookup(&self) -> impl Fn(Address) -> std::future::Ready<io::Result<Vec<SocketAddr>>> + Send + Sync + 'static {
        let directory = self.clone();
        move |name| std::future::ready(directory.look_up(&name))
    }

    /// A network of its own whose names are in this directory.
    fn network(&self) -> Network {
        Network { resolver: Resolver::new(self.lookup()), ..free() }
    }
}

/// An address at which nobody ever answers, as long as the socket is held.
fn nobody() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn check_reads_and_writes(client: &Client, node: &str) {
    let key = (0..).map(|i| format!("key:{i}")).find(|key| owner(client, key) == node).unwrap();
    client.set(&key, "value").await.unwrap();
    assert_eq!(client.get(&key).await.unwrap().as_deref(), Some(&b"value"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_comes_past_the_dead_addresses_of_its_seed() {
    let cluster = Cluster::start(1).await;
    let ((_one, dead), (_two, dead_too)) = (nobody(), nobody());
    let directory = Directory::default();
    directory.enter("cache.test:7750", &[&[dead, dead_too, cluster.nodes[0].local_address()]]);
    let config = cluster.client_of(Role::Client, "client", &["cache.test:7750"]).resolver(directory.lookup());
    // A dead address costs no whole dial: this one would take all the time there is.
    let config = config.dial_timeout(2 * PATIENCE).connect_timeout(2 * PATIENCE);
    let client = timeout(PATIENCE, Client::connect(config)).await.expect("in time").unwrap();
    check_reads_and_writes(&client, "n1").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_resolves_its_seed_again_at_each_attempt() {
    let cluster = Cluster::start(1).await;
    let (_held, dead) = nobody();
    let directory = Directory::default();
    directory.enter("cache.test:7750", &[&[dead], &[], &[cluster.nodes[0].local_address()]]);
    let config = cluster.client_of(Role::Client, "client", &["cache.test:7750"]).resolver(directory.lookup());
    let client = Client::connect(config.dial_timeout(Duration::from_secs(1))).await.unwrap();
    assert!(directory.lookups("cache.test:7750") >= 3);
    check_reads_and_writes(&client, "n1").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_finds_its_cluster_by_a_name_that_led_nowhere_at_first() {
    let mut cluster = Cluster::start(1).await;
    let (_held, dead) = nobody();
    let directory = Directory::default();
    directory.enter("cache.test:7750", &[&[], &[dead, cluster.nodes[0].local_address()]]);
    let seed = "cache.test:7750".parse().unwrap();
    let node = cluster.start_node("n2", directory.network(), |settings| settings.seeds = vec![seed]).await;
    cluster.nodes.push(node);
    cluster.settled().await;
    assert!(directory.lookups("cache.test:7750") >= 2);
    cluster.stop().await;
}

/// n4 tells everybody to find it by a name whose first address is dead. It can join only if a member reaches it there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_reached_by_its_name_wherever_that_leads() {
    let directory = Directory::default();
    let mut cluster = Cluster::start_on((0..3).map(|_| directory.network()).collect()).await;
    let config = cluster.client_config(Role::Client, "client").resolver(directory.lookup());
    let client = Client::connect(config).await.unwrap();
    let (_held, dead) = nobody();
    let advertise = |settings: &mut quoit_node::config::Settings| {
        settings.advertise = Some("n4.test:7750".parse().unwrap());
    };
    let network = directory.network();
    directory.enter("n4.test:7750", &[&[dead, network.socket.local_addr().unwrap()]]);
    let node = cluster.start_node("n4", network, advertise).await;
    cluster.nodes.push(node);
    cluster.settled().await;
    let name = "n4".parse().unwrap();
    let n4_of = |client: &Client| client.view().member_named(&name).cloned();
    wait_for("the client knows n4", || is_settled(&client.view(), 4)).await;
    assert_eq!(n4_of(&client).unwrap().address.as_str(), "n4.test:7750");
    check_reads_and_writes(&client, "n4").await;

    // The same name, elsewhere: only a new lookup leads there.
    cluster.nodes.pop().unwrap().shutdown().await;
    let network = directory.network();
    directory.enter("n4.test:7750", &[&[dead, network.socket.local_addr().unwrap()]]);
    let mut node = cluster.start_node("n4", network, advertise).await;
    let is_back = |boot: Boot| boot == Boot::new(2);
    view_where(&mut node, |view| view.fields().ring.iter().any(|owner| is_back(owner.boot))).await;
    cluster.nodes.push(node);
    cluster.settled().await;
    wait_for("the client knows that n4 is back", || n4_of(&client).is_some_and(|n4| is_back(n4.boot))).await;
    check_reads_and_writes(&client, "n4").await;
    cluster.stop().await;
}
