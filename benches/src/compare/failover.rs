//! A node that is killed: how long keys cannot be written, its own and those of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::{
    Bed,
    contest::{KEYS, MEMORY, plan},
    findings::Section,
};
use crate::{
    cache::{Cache, Quoit},
    load,
    peers::{Peer, PeerNodes},
    progress::Progress,
    spread::Spread,
    workload::{Mode, Workload},
};

/// The longest times without a successful write: of keys of the killed node, and of the others'.
type Gaps = (Duration, Duration);

impl Bed {
    pub(super) async fn failover(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("A node is killed");
        section.note(format!(
            "Three nodes with two copies, `kill -9` of one. {WRITERS} writers for each node's keys, a write every {} ms each, \
             which is given up after {} ms and made again. The longest time between two successful writes, to keys that the killed \
             node owned first, and to all others; seconds. Quoit: writes wait for two nodes. Peers: cluster node timeout 1 s, \
             one replica for each master that has its entries, TLS, and a client that asks every node who has which slot, {} ms after the \
             answers before.",
            PERIOD.as_millis(),
            WRITE_TIMEOUT.as_millis(),
            REFRESH.as_millis(),
        ));
        section.header = vec!["who", "its keys", "other keys"];
        let rounds = self.rounds.min(ROUNDS_MAX);
        let mut gaps = Vec::new();
        for round in 1..=rounds {
            let _done = progress.step(format_args!("kill a node of quoit, round {round}"));
            gaps.push(self.kill_quoit().await?);
        }
        let own = section.gaps("quoit", &gaps);
        for peer in self.peers.iter().filter(|peer| peer.is_redis_like()) {
            let mut gaps = Vec::new();
            for round in 1..=rounds {
                let _done = progress.step(format_args!("kill a node of {}, round {round}", peer.name()));
                gaps.push(self.kill_peer(*peer).await?);
            }
            section.gaps(&format!("{} cluster", peer.name()), &gaps);
        }
        section.at_most("failover: gap of the killed node's keys", " s", Some(own.0.max), 1.5);
        section.at_most(
            "failover: gap of other keys (none, but for the machine's own pauses)",
            " s",
            Some(own.1.max),
            0.1,
        );
        Ok(section)
    }

    async fn kill_quoit(&self) -> Result<Gaps> {
        let mut nodes = self.nodes(3, 2, MEMORY)?;
        let client = nodes.connect(&self.identities.client(), WRITE_TIMEOUT).await?;
        let quoit = Quoit::new(client);
        let workload = Arc::new(Workload::new(plan(Mode::Set, KEYS))?);
        load::preload(std::slice::from_ref(&quoit), &workload, &Arc::default()).await?;
        let owner =
            |key: &[u8]| quoit.client.explain(key).ok().and_then(|placement| placement.owners.into_iter().next());
        // Not the coordinator's, nor is it avoided: the second node is as good as any.
        let victim = crate::identities::name(1);
        let writing = Writing::start(&quoit, &keys(&workload, owner));
        tokio::time::sleep(BEFORE).await;
        nodes.kill(1);
        tokio::time::sleep(AFTER).await;
        Ok(writing.gaps(&victim))
    }

    async fn kill_peer(&self, peer: Peer) -> Result<Gaps> {
        let mut cluster = PeerNodes::start(peer, 3, 1, 1000, &self.identities).await?;
        let client = cluster.connect().await?;
        let workload = Arc::new(Workload::new(plan(Mode::Set, KEYS))?);
        load::preload(std::slice::from_ref(&client), &workload, &Arc::default()).await?;
        let keys = keys(&workload, |key| client.owner(key).map(|address| address.to_string()));
        let first = cluster.address()?.to_string();
        // The second, as the first is whom the table of slots is asked of.
        let victim = keys.keys().find(|owner| **owner != first).cloned().context("one master only")?;
        let writing = Writing::start(&client, &keys);
        tokio::time::sleep(BEFORE).await;
        cluster.kill(victim.parse()?);
        let killed = Instant::now();
        while killed.elapsed() < AFTER {
            tokio::time::sleep(REFRESH).await;
            // Until another is promoted, nobody has the slots: they stay with whom they were.
            let _ = client.refresh(&cluster.nodes().await).await;
        }
        Ok(writing.gaps(&victim))
    }
}

/// Some keys of every owner.
fn keys(workload: &Workload, owner: impl Fn(&[u8]) -> Option<String>) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut keys: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for index in 0..workload.plan().keys {
        let mut key = Vec::new();
        workload.key(index, &mut key);
        if let Some(owner) = owner(&key) {
            let of_owner = keys.entry(owner).or_default();
            if of_owner.len() < WRITERS {
                of_owner.push(key);
            }
        }
    }
    keys
}

/// When each writer of each owner's keys succeeded.
type Successes = BTreeMap<String, Vec<Vec<Instant>>>;

/// Writers at work, each with a key of its own.
struct Writing {
    successes: Arc<Mutex<Successes>>,
    writers: JoinSet<()>,
}

impl Writing {
    fn start<C: Cache>(cache: &C, keys: &BTreeMap<String, Vec<Vec<u8>>>) -> Self {
        let successes = Arc::new(Mutex::new(BTreeMap::new()));
        let mut writers = JoinSet::new();
        for (owner, keys) in keys {
            let logs = vec![Vec::new(); keys.len()];
            successes.lock().unwrap_or_else(PoisonError::into_inner).insert(owner.clone(), logs);
            for (number, key) in keys.iter().cloned().enumerate() {
                let (cache, owner, successes) = (cache.clone(), owner.clone(), Arc::clone(&successes));
                writers.spawn(async move {
                    loop {
                        let write = tokio::time::timeout(WRITE_TIMEOUT, cache.set(&key, &[b'x'; 100]));
                        if let Ok(Ok(())) = write.await {
                            let mut successes = successes.lock().unwrap_or_else(PoisonError::into_inner);
                            if let Some(logs) = successes.get_mut(&owner) {
                                logs[number].push(Instant::now());
                            }
                        }
                        tokio::time::sleep(PERIOD).await;
                    }
                });
            }
        }
        Self { successes, writers }
    }

    /// Ends, and says the longest gaps of one writer between two successes, or since its last.
    fn gaps(mut self, victim: &str) -> Gaps {
        self.writers.abort_all();
        let (now, successes) = (Instant::now(), self.successes.lock().unwrap_or_else(PoisonError::into_inner));
        let gap = |times: &Vec<Instant>| {
            let ends = times.iter().skip(1).chain([&now]);
            times.iter().zip(ends).map(|(from, to)| *to - *from).max().unwrap_or(AFTER)
        };
        let longest = |of_victim: bool| {
            let owners = successes.iter().filter(|(owner, _)| (*owner == victim) == of_victim);
            owners.flat_map(|(_, logs)| logs).map(gap).max().unwrap_or_default()
        };
        (longest(true), longest(false))
    }
}

impl Section {
    fn gaps(&mut self, who: &str, gaps: &[Gaps]) -> (Spread, Spread) {
        let own: Spread = gaps.iter().map(|gaps| gaps.0.as_secs_f64()).collect();
        let others: Spread = gaps.iter().map(|gaps| gaps.1.as_secs_f64()).collect();
        self.rows.push(vec![who.to_owned(), format!("{own:.2}"), format!("{others:.2}")]);
        (own, others)
    }
}

const WRITERS: usize = 8;
const PERIOD: Duration = Duration::from_millis(5);
const WRITE_TIMEOUT: Duration = Duration::from_millis(250);
const REFRESH: Duration = Duration::from_millis(20);
const BEFORE: Duration = Duration::from_secs(2);
/// Longer than any of them takes.
const AFTER: Duration = Duration::from_secs(12);
const ROUNDS_MAX: usize = 3;
