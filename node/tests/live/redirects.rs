//! What it costs a client that its view is old.

use std::collections::BTreeMap;

use quoit_client::Client;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::cluster::{Cluster, PATIENCE, owner, view_where, wait_for};

const KEYS: u32 = 300;
/// Requests at once of the busier client.
const CALLERS: u64 = 8;

fn key(index: u32) -> String {
    format!("key:{index}")
}

fn value(key: &str) -> String {
    format!("value of {key}")
}

/// Reads one key after the other until `ended`, one request at a time, none of which is redirected more than once for each
/// view. Returns how many redirects that took. Every value is there, wherever it moves.
async fn read_on(client: Client, ended: watch::Receiver<bool>) -> u64 {
    let first = client.redirects();
    while !*ended.borrow() {
        for key in (0..KEYS).map(key) {
            let (epoch, redirects) = (client.view().epoch(), client.redirects());
            let read = timeout(PATIENCE, client.get(&key)).await.expect("no request is sent to and fro").unwrap();
            assert_eq!(read.as_deref(), Some(value(&key).as_bytes()), "{key}");
            let installed = client.view().epoch().value() - epoch.value();
            let most = installed.max(1);
            assert!(client.redirects() - redirects <= most, "{key}: redirected, with {installed} views installed");
        }
    }
    client.redirects() - first
}

/// The same with several requests at once, each of which may have gone by the old view.
async fn read_on_at_once(client: Client, ended: watch::Receiver<bool>) -> u64 {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (client, ended) = (client.clone(), ended.clone());
        callers.spawn(async move {
            let mut index = u32::try_from(caller).unwrap();
            while !*ended.borrow() {
                index = (index + 1) % KEYS;
                let key = key(index);
                let read = timeout(PATIENCE, client.get(&key)).await.expect("no request is sent to and fro").unwrap();
                assert_eq!(read.as_deref(), Some(value(&key).as_bytes()), "{key}");
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    client.redirects()
}

fn owners(client: &Client) -> BTreeMap<String, String> {
    (0..KEYS).map(key).map(|key| (key.clone(), owner(client, &key))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_client_is_redirected_at_most_once_for_each_view_and_reads_right() {
    let mut cluster = Cluster::start(3).await;
    let (client, busier) = (cluster.client().await, cluster.client().await);
    for key in (0..KEYS).map(key) {
        client.set(&key, value(&key)).await.unwrap();
    }
    let (before, first) = (owners(&client), client.view().epoch());
    let first_of_busier = busier.view().epoch();
    let (end, ended) = watch::channel(false);
    let reading = tokio::spawn(read_on(client.clone(), ended.clone()));
    let reading_at_once = tokio::spawn(read_on_at_once(busier.clone(), ended));
    for name in ["n4", "n5", "n6"] {
        cluster.join(name).await;
    }
    let latest = view_where(&mut cluster.nodes[0], |_| true).await.epoch();
    let is_told = || [&client, &busier].iter().all(|client| client.view().epoch() >= latest);
    wait_for("the clients are told of the latest view", is_told).await;
    end.send_replace(true);
    let redirects = timeout(PATIENCE, reading).await.unwrap().unwrap();
    let redirects_at_once = timeout(PATIENCE, reading_at_once).await.unwrap().unwrap();

    let changes = client.view().epoch().value() - first.value();
    // Any node coordinates any request: only one that was caught between two views may have sent the client for its view.
    assert!(redirects <= changes, "{redirects} redirects in {changes} changes of the view");
    let changes = busier.view().epoch().value() - first_of_busier.value();
    let most = CALLERS * changes;
    assert!(redirects_at_once <= most, "{redirects_at_once} redirects in {changes} changes of the view");

    let after = owners(&client);
    for key in after.keys() {
        assert_eq!(client.get(key).await.unwrap().as_deref(), Some(value(key).as_bytes()), "{key}");
    }
    assert!(before != after && before.iter().any(|(key, owner)| after[key] == *owner));
    cluster.stop().await;
}
