//! Callers that write and read all the while, each its own keys, and what they find.

use std::{
    num::NonZeroU32,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use quoit_client::{Client, Effect, GetOptions, RequestError, SetOptions, Version, WriteLevel, WriteOptions};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{RwLock, RwLockWriteGuard},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval_at},
};

use super::{
    ledger::{Deed, During, Ledger, Sight, Wrong},
    tally::Tally,
};
use crate::process::wait_for;

/// How many of a hundred requests are reads.
const READS_PERCENT: u32 = 30;
/// How many of a hundred writes are deletions.
const DELETES_PERCENT: u32 = 10;
/// How many of a hundred writes live for a short time only.
const BRIEF_PERCENT: u32 = 2;
/// How many of a hundred writes live for longer than any of this.
const LONG_PERCENT: u32 = 2;
/// Short enough to end while the cluster churns, long enough for some of it to be due. In milliseconds.
const BRIEF_MS: Range<u64> = 1_500..8_000;
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Who calls, and how.
#[derive(Debug)]
pub(super) struct Caller {
    /// Which ledger it keeps.
    pub(super) ledger: usize,
    /// By which it calls: a session of its own.
    pub(super) client: Client,
    /// The level of its writes, if it is not the client's.
    pub(super) level: Option<WriteLevel>,
}

/// Callers at work. They stop when they are told to, at the end of a request, so that the outcome of each is known.
#[derive(Debug)]
pub(super) struct Crew {
    ends: Arc<AtomicBool>,
    filled: Arc<AtomicUsize>,
    callers: JoinSet<()>,
}

/// The ledgers, and what was counted.
#[derive(Debug)]
pub(super) struct Books {
    ledgers: Vec<Mutex<Ledger>>,
    tally: Mutex<Tally>,
    /// Whether keys are on their way between nodes.
    moving: AtomicBool,
    /// Held by each request, and alone by who wants none to be under way.
    gate: RwLock<()>,
    started: Instant,
    seed: u64,
}

impl Books {
    /// Empty ledgers of so many keys each, with values of `lengths`.
    pub(super) fn new(ledgers: usize, keys: usize, lengths: &Range<usize>, seed: u64) -> Self {
        let ledger = |caller| Mutex::new(Ledger::new(u32::try_from(caller).unwrap_or(u32::MAX), keys, lengths.clone()));
        Self {
            ledgers: (0..ledgers).map(ledger).collect(),
            tally: Mutex::default(),
            moving: AtomicBool::new(false),
            gate: RwLock::new(()),
            started: Instant::now(),
            seed,
        }
    }

    /// Waits until no request is under way, and lets none begin until the guard is dropped.
    pub(super) async fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// When the books were opened.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Since then.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many ledgers there are.
    pub(super) fn ledgers(&self) -> usize {
        self.ledgers.len()
    }

    /// One of them.
    pub(super) fn ledger(&self, index: usize) -> MutexGuard<'_, Ledger> {
        self.ledgers[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts down whether keys are on their way, that they were, or were not, for so long, how many bytes were
    /// moved, and how many might be in a second.
    pub(super) fn moves(&self, moves: bool, lasted: Duration, bytes: u64, limit: Option<u64>) {
        let moved = self.moving.swap(moves, Ordering::Relaxed);
        let mut tally = self.tally();
        // While no request may begin, there is nothing to be measured.
        if self.gate.try_read().is_ok() {
            tally.pace(moved).lasted += lasted;
        }
        tally.moved_bytes += bytes;
        tally.limit = tally.limit.into_iter().chain(limit).min();
    }

    fn is_moving(&self) -> bool {
        self.moving.load(Ordering::Relaxed)
    }

    /// What was counted since [`take`](Self::take).
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted since the last time.
    pub(super) fn take(&self) -> Tally {
        let mut tally = self.tally();
        let taken = std::mem::take(&mut *tally);
        tally.resumed(Instant::now());
        taken
    }
}

impl Crew {
    /// Starts callers. Each writes all of its keys once, then goes on at random, all together at `rate` per second if there is
    /// one.
    pub(super) fn start(books: &Arc<Books>, callers: Vec<Caller>, rate: Option<NonZeroU32>) -> Self {
        let (ends, filled) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        let count = u32::try_from(callers.len()).unwrap_or(u32::MAX);
        // No pause at all is none that can be kept.
        let pause = rate.map(|rate| (Duration::from_secs(1) * count / rate.get()).max(Duration::from_nanos(1)));
        for caller in callers {
            let rng = StdRng::seed_from_u64(books.seed.wrapping_add(caller.ledger as u64));
            let (books, ends, filled) = (Arc::clone(books), Arc::clone(&ends), Arc::clone(&filled));
            let work = Work { books, caller, rng, ends, pause };
            tasks.spawn(work.call(filled));
        }
        Self { ends, filled, callers: tasks }
    }

    /// Waits until every key was written once.
    pub(super) async fn filled(&self, limit: Duration) -> Result<()> {
        wait_for("every key to be written once", limit, async || {
            let (filled, all) = (self.filled.load(Ordering::Relaxed), self.callers.len());
            Ok(if filled == all { Ok(()) } else { Err(format!("{filled} of {all} callers are through")) })
        })
        .await
    }

    /// Lets all end what they have begun.
    pub(super) async fn end(mut self) -> Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Checks that all are still at work.
    pub(super) fn check(&mut self) -> Result<()> {
        ensure!(self.callers.try_join_next().is_none(), "a caller has ended by itself");
        Ok(())
    }
}

struct Work {
    books: Arc<Books>,
    caller: Caller,
    rng: StdRng,
    ends: Arc<AtomicBool>,
    /// From one request to the next.
    pause: Option<Duration>,
}

impl Work {
    async fn call(mut self, filled: Arc<AtomicUsize>) {
        let keys = self.books.ledger(self.caller.ledger).keys();
        for key in 0..keys {
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
            self.write(key, Deed::Set).await;
        }
        filled.fetch_add(1, Ordering::Relaxed);
        let mut turns = self.pause.map(|pause| self.turns(pause));
        while !self.ends.load(Ordering::Relaxed) {
            if let Some(turns) = &mut turns {
                turns.tick().await;
                if self.ends.load(Ordering::Relaxed) {
                    return;
                }
            }
            let key = self.rng.random_range(0..keys);
            if self.rng.random_range(0..100) < READS_PERCENT || !self.books.ledger(self.caller.ledger).is_clear(key) {
                self.read(key).await;
            } else {
                let deed = self.deed();
                self.write(key, deed).await;
            }
        }
    }

    /// When it is this caller's turn. Turns that are missed are left out: what has lasted too long is measured as it is.
    fn turns(&mut self, pause: Duration) -> Interval {
        let mut turns = interval_at(tokio::time::Instant::now() + pause.mul_f64(self.rng.random()), pause);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        turns
    }

    fn deed(&mut self) -> Deed {
        match self.rng.random_range(0..100) {
            drawn if drawn < DELETES_PERCENT => Deed::Delete,
            drawn if drawn < DELETES_PERCENT + BRIEF_PERCENT => {
                Deed::SetFor(Duration::from_millis(self.rng.random_range(BRIEF_MS)))
            }
            drawn if drawn < DELETES_PERCENT + BRIEF_PERCENT + LONG_PERCENT => Deed::SetFor(LONG),
            _ => Deed::Set,
        }
    }

    async fn write(&self, key: usize, deed: Deed) {
        let _open = self.books.gate.read().await;
        let ((_, value), name) = {
            let mut ledger = self.books.ledger(self.caller.ledger);
            (ledger.begin(key), ledger.key(key))
        };
        let began = self.books.now();
        let outcome = write(&self.caller, &name, &value, deed).await;
        let during = During { began, ended: self.books.now() };
        let mut ledger = self.books.ledger(self.caller.ledger);
        match outcome {
            Ok(version) => {
                ledger.acknowledged(key, deed, during, version);
                let mut tally = self.books.tally();
                tally.wrote(Instant::now());
                tally.pace(self.books.is_moving()).writes += 1;
            }
            Err(error) => {
                let effect = if error.has_no_side_effects() { Effect::None } else { Effect::Unknown };
                ledger.failed(key, deed, during, effect);
                self.books.tally().failed(if deed == Deed::Delete { "delete" } else { "set" }, began, &error);
            }
        }
    }

    /// Reads a key within the session that writes it.
    async fn read(&self, key: usize) {
        let _open = self.books.gate.read().await;
        let name = self.books.ledger(self.caller.ledger).key(key);
        let began = self.books.now();
        let outcome = self.caller.client.get_with(&name, GetOptions::new()).await;
        let during = During { began, ended: self.books.now() };
        let found = match outcome {
            Ok(found) => found,
            Err(error) => return self.books.tally().failed("get", began, &error),
        };
        let mut ledger = self.books.ledger(self.caller.ledger);
        let sight = Sight { found: found.as_ref().map(|found| (&found.value[..], found.version)), during };
        let mut tally = self.books.tally();
        tally.reads += 1;
        tally.pace(self.books.is_moving()).read(during.ended.saturating_sub(during.began));
        let Err(finding) = ledger.judge(key, &sight) else { return };
        let is_marked = found.as_ref().is_some_and(|found| found.stale);
        match finding.wrong {
            // No better one could be reached, and the reader was told.
            Wrong::Stale | Wrong::Resurrected if is_marked => tally.marked_stale += 1,
            Wrong::Nothing => {
                ledger.suspect(key);
                tally.missed(finding);
            }
            Wrong::Stale | Wrong::Resurrected | Wrong::NeverWritten => {
                ledger.suspect(key);
                tally.found(finding);
            }
        }
    }
}

async fn write(caller: &Caller, key: &str, value: &[u8], deed: Deed) -> Result<Version, RequestError> {
    let with_level = |options: SetOptions| caller.level.map_or(options, |level| options.level(level));
    let (client, options) = (&caller.client, SetOptions::new());
    match deed {
        Deed::Set => client.set_with(key, value, with_level(options)).await,
        Deed::SetFor(ttl) => client.set_with(key, value, with_level(options.ttl(ttl))).await,
        // The last one is nothing that a caller does.
        Deed::Delete | Deed::Surprise => {
            let options = WriteOptions::new();
            let options = caller.level.map_or(options, |level| options.level(level));
            Ok(client.delete_with(key, options).await?.version)
        }
    }
}
