//! Nodes with several threads for requests, each of which reads a socket of its own.

use std::{fs, num::NonZeroUsize, time::Duration};

use futures_util::future::join_all;
use quoit_client::Client;
use quoit_node::{Network, StartError, Workers};

use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE};

/// Threads of a node. That all of the clients come to one of the sockets happens once in 3^15 times.
const THREADS: usize = 3;
const CLIENTS: usize = 16;

fn threaded() -> Network {
    let workers = Workers::start(NonZeroUsize::new(THREADS).unwrap()).unwrap();
    Network::udp_on(&workers, "127.0.0.1:0".parse().unwrap(), Duration::ZERO).unwrap()
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
    let mut cluster = Cluster::start_on((0..3).map(|_| threaded()).collect()).await;
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
    timeout(PATIENCE, cluster.stop()).await.unwrap();
}
