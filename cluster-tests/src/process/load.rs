//! Requests all the while, and what becomes of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use quoit_client::Client;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{Fleet, wait_for};

/// Callers at once.
const CALLERS: usize = 4;
/// Of each caller, for each owner.
const KEYS_PER_OWNER: usize = 4;
/// Between two requests of one caller: enough requests to hit every moment, few enough to leave the CPUs to the nodes.
const PERIOD: Duration = Duration::from_millis(4);
/// How long one request may take: the client's default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the client may take to be connected with every node.
const CONNECT: Duration = Duration::from_secs(30);
/// Failures that are told word by word.
const TOLD_MAX: usize = 20;
/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Callers that set and get keys of every owner. They end when this is dropped.
///
/// There is one copy of each key, so that requests for the keys of a node that is [down](Self::down) are not made, and
/// those under way when it goes down may fail. All others must succeed, whatever happens to others. What was under way when
/// something changed for its owner is [counted apart](LoadCount).
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    _callers: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    owners: Mutex<BTreeMap<String, Owner>>,
    count: Mutex<LoadCount>,
}

/// How an owner does, as this process knows because it did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owner {
    is_down: bool,
    lives: u32,
}

/// What held of a key's owner while a request for the key was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// It lived, and owned the key.
    Same,
    /// It lived, and the key became another's.
    RingChange,
    /// It went down, whosever the key is afterwards.
    Down,
}

impl Meanwhile {
    /// `was` and `is` are how the owner at the start did then and does at the end, `owns` whether it still owns the key.
    fn of(was: Owner, is: Owner, owns: bool) -> Self {
        if was != is {
            Self::Down
        } else if owns {
            Self::Same
        } else {
            Self::RingChange
        }
    }
}

/// How many requests of one kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// All of them.
    pub attempted: u64,
    /// Those of them that failed.
    pub failed: u64,
}

impl Attempts {
    fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.failed += other.failed;
    }
}

/// What became of requests. Each is in exactly one of `answered`, `failed`, `across_ring_change` and `across_down`.
#[derive(Clone, Debug)]
pub struct LoadCount {
    /// Requests that were answered while the key's owner lived and stayed its owner.
    pub answered: u64,
    /// Requests that failed meanwhile.
    pub failed: u64,
    /// Reads that found nothing, or something else, where a value had been set.
    pub lost: u64,
    /// Requests during which the key became another's while its owner lived.
    pub across_ring_change: Attempts,
    /// Requests during which the key's owner went down. There is no other copy: they may fail.
    pub across_down: Attempts,
    /// Words on the first that failed or were lost.
    pub told: Vec<String>,
    latency_us: Histogram<u64>,
}

impl Default for LoadCount {
    fn default() -> Self {
        let latency_us = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("three digits up to a minute are possible");
        let apart = Attempts::default();
        Self {
            answered: 0,
            failed: 0,
            lost: 0,
            across_ring_change: apart,
            across_down: apart,
            told: Vec::new(),
            latency_us,
        }
    }
}

impl LoadCount {
    /// The longest that an answered request took, in milliseconds.
    pub fn slowest_ms(&self) -> f64 {
        Duration::from_micros(self.latency_us.max()).as_secs_f64() * 1e3
    }

    /// The latency that 99 % of the answered requests kept to, in milliseconds.
    pub fn p99_ms(&self) -> f64 {
        Duration::from_micros(self.latency_us.value_at_quantile(0.99)).as_secs_f64() * 1e3
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.lost += other.lost;
        self.across_ring_change.add(other.across_ring_change);
        self.across_down.add(other.across_down);
        self.told.extend(other.told.iter().take(TOLD_MAX - self.told.len().min(TOLD_MAX)).cloned());
        self.latency_us += &other.latency_us;
    }

    /// Where requests are counted that are not to be held against a living owner.
    fn apart(&mut self, meanwhile: Meanwhile) -> Option<&mut Attempts> {
        match meanwhile {
            Meanwhile::Same => None,
            Meanwhile::RingChange => Some(&mut self.across_ring_change),
            Meanwhile::Down => Some(&mut self.across_down),
        }
    }

    fn tell(&mut self, text: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(text);
        }
    }
}

impl Load {
    /// Starts the callers.
    ///
    /// # Errors
    /// No node answers, or one owns next to nothing.
    pub async fn start(fleet: &Fleet) -> Result<Self> {
        let client = fleet.client(REQUEST_TIMEOUT).await?;
        let names = fleet.nodes().iter().map(|node| node.name().to_string());
        let owners: BTreeMap<_, _> = names.map(|name| (name, Owner::default())).collect();
        let keys = keys(&client, owners.keys())?;
        for key in keys.iter().flatten() {
            served_by_its_owner(&client, key).await?;
        }
        let shared = Shared { client, owners: Mutex::new(owners), count: Mutex::default() };
        let shared = Arc::new(shared);
        let mut callers = JoinSet::new();
        for own in keys {
            callers.spawn(call(Arc::clone(&shared), own));
        }
        Ok(Self { shared, _callers: callers })
    }

    /// Requests for the keys of this node may fail from now on.
    pub fn down(&self, name: &str) {
        self.shared.set(name, |owner| owner.is_down = true);
    }

    /// Asks a node that was started again until it answers; from then on requests for its keys may not fail any more. What
    /// was set before is gone. How long that took, and how many of these requests failed: the client must notice that its
    /// connection is to a process that is no more.
    ///
    /// # Errors
    /// It does not answer within `limit`.
    pub async fn up_again(&self, name: &str, limit: Duration) -> Result<(Duration, u64)> {
        let started = Instant::now();
        let key = (0..100_000).map(|number| format!("key:{number}")).find(|key| self.shared.owner(key).0 == name);
        let key = key.with_context(|| format!("{name} owns no keys"))?;
        let mut failed = 0;
        wait_for(&format!("an answer of {name}"), limit, async || {
            let answer = seen_to_by_its_owner(&self.shared.client, &key).await;
            failed += u64::from(answer.is_err());
            Ok(answer.unwrap_or_else(|error| Err(chain(&*error))))
        })
        .await?;
        self.shared.set(name, |owner| *owner = Owner { is_down: false, lives: owner.lives + 1 });
        Ok((started.elapsed(), failed))
    }

    /// They may not any more, and its memory was kept.
    pub fn up(&self, name: &str) {
        self.shared.set(name, |owner| owner.is_down = false);
    }

    /// What was counted since the last time.
    pub fn take(&self) -> LoadCount {
        std::mem::take(&mut *self.shared.count())
    }
}

impl Shared {
    fn set(&self, name: &str, change: impl FnOnce(&mut Owner)) {
        if let Some(owner) = self.owners.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name) {
            change(owner);
        }
    }

    fn count(&self) -> MutexGuard<'_, LoadCount> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner of a key by the client's view, and how it does. One that is not of the fleet counts as living, so that
    /// requests for its keys are made and must succeed.
    fn owner(&self, key: &str) -> (String, Owner) {
        let name = self.owner_name(key);
        let owner = self.state(&name);
        (name, owner)
    }

    fn owner_name(&self, key: &str) -> String {
        let placement = self.client.explain(key).ok();
        placement.and_then(|placement| placement.owners.into_iter().next()).unwrap_or_default()
    }

    fn state(&self, name: &str) -> Owner {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }

    /// What has held since `before`, which was the [owner](Self::owner) of `key`.
    fn since(&self, key: &str, (name, was): &(String, Owner)) -> Meanwhile {
        let owns = self.owner_name(key) == *name;
        Meanwhile::of(*was, self.state(name), owns)
    }
}

/// Waits until requests for `key` go to its owner. Until the client is connected with that one others see to them, and what
/// happens to those would be held against the owner.
async fn served_by_its_owner(client: &Client, key: &str) -> Result<()> {
    wait_for(&format!("{key} to be asked of its owner"), CONNECT, async || seen_to_by_its_owner(client, key).await)
        .await
}

/// Sets `key`, and says who else saw to it if it was not its owner: versions name who gave them out.
async fn seen_to_by_its_owner(client: &Client, key: &str) -> Result<Result<(), String>> {
    let (owners, version) = (client.explain(key)?.owners, client.set(key, "first").await?);
    let by = client.view().member(version.ordinal).map(|member| member.name.to_string());
    Ok(if by.as_ref() == owners.first() { Ok(()) } else { Err(format!("{by:?} sees to it")) })
}

/// For each caller some keys of each owner.
fn keys<'a>(client: &Client, owners: impl Iterator<Item = &'a String>) -> Result<Vec<Vec<String>>> {
    let mut open: BTreeMap<&str, usize> = owners.map(|name| (name.as_str(), CALLERS * KEYS_PER_OWNER)).collect();
    let mut keys = vec![Vec::new(); CALLERS];
    for number in 0..100_000 {
        let key = format!("key:{number}");
        let placement = client.explain(&key)?;
        let left = placement.owners.first().and_then(|owner| open.get_mut(owner.as_str()));
        if let Some(left) = left.filter(|left| **left > 0) {
            *left -= 1;
            keys[*left % CALLERS].push(key);
        }
        if open.values().all(|left| *left == 0) {
            return Ok(keys);
        }
    }
    ensure!(false, "some nodes own no keys: {open:?}");
    Ok(keys)
}

/// One caller: sets and reads its keys in turn, for ever.
async fn call(shared: Arc<Shared>, keys: Vec<String>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was last set, and in which life of which owner.
    let mut known: BTreeMap<&str, (String, (String, Owner))> = BTreeMap::new();
    for (turn, key) in (0_u64..).zip(keys.iter().cycle()) {
        let before = shared.owner(key);
        if before.1.is_down {
            tokio::task::yield_now().await;
            if turn % 16 == 0 {
                ticks.tick().await;
            }
            continue;
        }
        ticks.tick().await;
        let started = Instant::now();
        let set = (turn / keys.len() as u64).is_multiple_of(2);
        let outcome = if set {
            let value = turn.to_string();
            let done = shared.client.set(key, &value).await;
            match &done {
                Ok(_) => known.insert(key, (value, before.clone())),
                // Whether it took effect is not known.
                Err(_) => known.remove(key.as_str()),
            };
            done.map(|_| None)
        } else {
            shared.client.get(key).await.map(Some)
        };
        let (took, meanwhile) = (started.elapsed(), shared.since(key, &before));
        let mut count = shared.count();
        if let Some(apart) = count.apart(meanwhile) {
            apart.add(Attempts { attempted: 1, failed: outcome.is_err().into() });
            continue;
        }
        match outcome {
            Ok(read) => {
                count.answered += 1;
                count.latency_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                let expected = known.get(key.as_str()).filter(|(_, owner)| *owner == before);
                if let Some(((value, _), read)) = expected.zip(read)
                    && read.as_deref() != Some(value.as_bytes())
                {
                    count.lost += 1;
                    let found = if read.is_some() { "another value" } else { "nothing" };
                    count.tell(format!("{key} of {}: {found} where a value had been set", before.0));
                }
            }
            Err(error) => {
                count.failed += 1;
                let epoch = shared.client.view().epoch().value();
                let after_ms = took.as_millis();
                count.tell(format!("{key} of {}, epoch {epoch}, after {after_ms} ms: {}", before.0, chain(&error)));
            }
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
