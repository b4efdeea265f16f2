//! A client whose seeds have all been replaced.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use quoit_client::{Boot, Client};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, at, owner, view_where, wait_for};

/// Writes and reads keys one after the other until it is ended, and expects no failure.
struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// All keys have been written and read so many times.
    rounds: AtomicU64,
    /// The node whose keys may fail: it is down.
    down: Mutex<Option<String>>,
    is_ended: AtomicBool,
}

impl Load {
    fn start(client: &Client) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(write_and_read(client.clone(), Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Waits until every key has been written and read from here on.
    async fn whole_round(&self) {
        let seen = self.shared.rounds.load(Ordering::Relaxed);
        let is_over = || self.task.is_finished() || self.shared.rounds.load(Ordering::Relaxed) >= seen + 2;
        wait_for("the client goes on", is_over).await;
        assert!(!self.task.is_finished(), "a request failed");
    }

    fn tolerate(&self, down: Option<&str>) {
        *self.shared.down.lock().unwrap() = down.map(String::from);
    }

    async fn end(self) {
        self.shared.is_ended.store(true, Ordering::Relaxed);
        self.task.await.expect("no request failed");
    }
}

async fn write_and_read(client: Client, shared: Arc<Shared>) {
    let keys: Vec<_> = (0..200).map(|i| format!("load:{i}")).collect();
    for round in 0_u64.. {
        if shared.is_ended.load(Ordering::Relaxed) {
            return;
        }
        for key in &keys {
            let may_fail =
                |key: &str| shared.down.lock().unwrap().as_ref().is_some_and(|down| owner(&client, key) == *down);
            let value = format!("{key} in round {round}");
            let may_fail_from_the_start = may_fail(key);
            let outcome = async {
                client.set(key, &value).await?;
                client.get(key).await
            };
            match outcome.await {
                // What moves is forgotten.
                Ok(read) => assert!(read.is_none_or(|read| read == value), "{key}: not what was written last"),
                Err(error) => assert!(may_fail_from_the_start || may_fail(key), "{key}: {error}"),
            }
        }
        shared.rounds.fetch_add(1, Ordering::Relaxed);
    }
}

fn names(client: &Client) -> Vec<String> {
    client.view().members().iter().map(|member| member.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_though_every_seed_it_was_given_has_been_replaced() {
    let mut cluster = Cluster::start(3).await;
    let (client, admin) = (cluster.client().await, cluster.admin().await);
    let load = Load::start(&client);
    for name in ["n4", "n5", "n6"] {
        cluster.join(name).await;
    }
    for name in ["n1", "n2", "n3"] {
        cluster.drain(&admin, name).await;
        load.whole_round().await;
    }
    wait_for("the client knows who is left", || names(&client) == ["n4", "n5", "n6"]).await;
    load.whole_round().await;

    // Nobody is at any of the seeds to ask where n5 is.
    let index = cluster.nodes.iter().position(|node| node.identity().name.as_str() == "n5").unwrap();
    load.tolerate(Some("n5"));
    let old = cluster.nodes.remove(index);
    let address = old.local_address();
    old.shutdown().await;
    let members = cluster.nodes.iter().map(|node| node.local_address().to_string()).collect();
    let seeds = std::mem::replace(&mut cluster.seeds, members);
    assert!(!seeds.contains(&address.to_string()));
    let again = cluster.start_node("n5", at(address).await, |_| {}).await;
    cluster.nodes.push(again);
    let n5 = "n5".parse().unwrap();
    let is_back = |client: &Client| client.view().member_named(&n5).is_some_and(|n5| n5.boot == Boot::new(2));
    wait_for("the client knows that n5 is back", || is_back(&client)).await;
    cluster.settled().await;
    let last = cluster.nodes.last_mut().unwrap();
    view_where(last, |view| view.fields().ring.iter().any(|owner| owner.boot == Boot::new(2))).await;
    load.tolerate(None);
    load.whole_round().await;
    let key = (0..).map(|i| format!("after:{i}")).find(|key| owner(&client, key) == "n5").unwrap();
    client.set(&key, "value").await.unwrap();
    assert_eq!(client.get(&key).await.unwrap().as_deref(), Some(&b"value"[..]));
    load.end().await;
    cluster.stop().await;
}
