//! Nodes with several threads for requests, each of which reads a socket of its own, or one for all.

use std::{fs, net::SocketAddr, num::NonZeroUsize, time::Duration};

use futures_util::future::join_all;
use quoit_client::Client;
use quoit_node::{Network, StartError, Workers};
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE, as_soon_as};

const THREADS: usize = 3;
/// So many that they come to several of the sockets.
const CLIENTS: usize = 16;

fn threaded(address: SocketAddr) -> Result<Network, StartError> {
    let workers = Workers::start(NonZeroUsize::new(THREADS).unwrap()).unwrap();
    Network::udp_on(&workers, address, Duration::ZERO)
}

fn anywhere() -> Network {
    threaded("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// How many UDP sockets there are at 127.0.0.1 and this port.
fn sockets_at(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!("0100007F:{port:04X}");
    table.lines().filter(|line| line.split_whitespace().nth(1) == Some(&local)).count()
}

/// Has every client write a key, and then read what another one wrote.
async fn write_and_read(clients: &[Client], round: usize) {
    let key = |index: usize| format!("{round}:{}", index % clients.len());
    join_all(clients.iter().enumerate().map(async |(index, client)| {
        client.set(key(index), "v").await.unwrap();
    }))
    .await;
    join_all(clients.iter().enumerate().map(async |(index, client)| {
        assert_eq!(client.get(key(index + 1)).await.unwrap().as_deref(), Some(&b"v"[..]));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_them_forms_serves_and_changes() {
    let mut cluster = Cluster::start_on((0..3).map(|_| anywhere()).collect()).await;
    let address = cluster.nodes[0].local_address();
    if cfg!(target_os = "linux") {
        assert_eq!(sockets_at(address.port()), THREADS);
    }
    let error = Network::udp(address).unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }), "a port that its threads share is in use: {error}");

    let clients = join_all((0..CLIENTS).map(|_| cluster.client())).await;
    write_and_read(&clients, 0).await;
    let admin = cluster.admin().await;
    cluster.drain(&admin, "n2").await;
    write_and_read(&clients, 1).await;

    // Whoever starts again where it was serves the clients that it had.
    let first = cluster.nodes.remove(0);
    first.shutdown().await;
    let network = as_soon_as(|| threaded(address).ok()).await;
    let node = cluster.start_node("n1", network, |_| {}).await;
    cluster.nodes.push(node);
    cluster.settled().await;
    write_and_read(&clients, 2).await;
    timeout(PATIENCE, cluster.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_more_sockets_one_thread_reads_for_all() {
    let cluster = Cluster::start_on((0..2).map(|_| Network { beside: None, ..anywhere() }).collect()).await;
    let clients = join_all((0..CLIENTS).map(|_| cluster.client())).await;
    write_and_read(&clients, 0).await;
    timeout(PATIENCE, cluster.stop()).await.unwrap();
}
