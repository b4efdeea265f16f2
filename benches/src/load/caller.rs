//! One caller.

use std::{sync::Arc, time::Instant};

use anyhow::{Result, bail};
use bytes::Bytes;

use super::{End, FAILURES_IN_A_ROW_MAX, schedule::Pacer, tally::Tally};
use crate::{
    cache::{Cache, Failure},
    workload::{Step, Workload},
};

pub(super) struct Caller<C> {
    pub(super) index: usize,
    pub(super) cache: C,
    pub(super) workload: Arc<Workload>,
    pub(super) tally: Tally,
    pub(super) batch: usize,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) buffers: Buffers,
}

/// What a batch is made of, which the next one is written over: a loader that takes memory for each key anew measures itself. Each
/// place keeps the memory of the longest key and value it had.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Which keys are read, and the least version that each may have.
    reads: Vec<(u32, u32)>,
    keys: Vec<Vec<u8>>,
    writes: Vec<u32>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<C: Cache> Caller<C> {
    /// Asks again as soon as it has an answer.
    pub(super) async fn without_pause(mut self: Box<Self>, end: End) -> Result<()> {
        let (mut turn, mut asked) = (0, Instant::now());
        while !end.is_reached(turn, asked) {
            asked = self.turn(turn, asked).await?;
            turn += 1;
        }
        self.tally.flush();
        Ok(())
    }

    /// Asks whenever it is time and no other caller has done so. The latency of a request counts from when it was due,
    /// however late it could be made: whoever waits behind a slow answer has waited, too.
    pub(super) async fn on_schedule(mut self: Box<Self>, pacer: Arc<Pacer>) -> Result<()> {
        while let Some((turn, due)) = pacer.next().await {
            self.tally.late(due.elapsed());
            // Each turn is one of all callers': they go through one order together.
            self.index = 0;
            self.turn(turn, due).await?;
        }
        self.tally.flush();
        Ok(())
    }

    /// Says when the last answer came.
    async fn turn(&mut self, turn: usize, due: Instant) -> Result<Instant> {
        if self.batch > 1 {
            // Boxed: a thousand callers who ask for one key at a time are not to carry what a batch takes.
            return Box::pin(self.many(turn, due)).await;
        }
        match self.workload.step(self.index, turn) {
            Step::Get(key) => self.read(key, due).await,
            Step::Set(key) => self.write(key, due).await,
            Step::Pretend(key) => {
                self.pretend(key);
                // A loop that only pretends would leave no time to anybody else.
                tokio::task::yield_now().await;
                Ok(Instant::now())
            }
        }
    }

    fn pretend(&mut self, key: u32) {
        let ledger = self.workload.ledger();
        ledger.begin(key);
        ledger.acknowledge(key);
        self.tally.pretended();
    }

    async fn read(&mut self, key: u32, due: Instant) -> Result<Instant> {
        let floor = self.workload.ledger().floor(key);
        self.workload.key(key, &mut self.key);
        let answer = self.cache.get(&self.key).await;
        let answered = Instant::now();
        self.tally.read_took(answered - due);
        self.judge(key, floor, answer)?;
        Ok(answered)
    }

    /// Reads many keys at once, and then writes those that are to be written.
    async fn many(&mut self, turn: usize, due: Instant) -> Result<Instant> {
        let mut buffers = std::mem::take(&mut self.buffers);
        let Buffers { reads, keys, writes, entries } = &mut buffers;
        reads.clear();
        writes.clear();
        for place in 0..self.batch {
            let step = self.workload.step(self.index, turn * self.batch + place);
            let ledger = self.workload.ledger();
            match step {
                Step::Get(key) => {
                    self.workload.key(key, place_in(keys, reads.len()));
                    reads.push((key, ledger.floor(key)));
                }
                Step::Pretend(key) => self.pretend(key),
                Step::Set(key) => {
                    let version = ledger.begin(key);
                    let (name, value) = place_in(entries, writes.len());
                    self.workload.key(key, name);
                    self.workload.value(key, version, value);
                    writes.push(key);
                }
            }
        }
        let mut answered = None;
        if !reads.is_empty() {
            answered = Some(self.read_many(reads, &keys[..reads.len()], due).await?);
        }
        if !writes.is_empty() {
            answered = Some(self.write_many(writes, &entries[..writes.len()], due).await?);
        }
        self.buffers = buffers;
        Ok(answered.unwrap_or_else(Instant::now))
    }

    async fn read_many(&mut self, asked: &[(u32, u32)], keys: &[Vec<u8>], due: Instant) -> Result<Instant> {
        let answers = self.cache.get_many(keys).await;
        let answered = Instant::now();
        self.tally.read_took(answered - due);
        for ((key, floor), answer) in asked.iter().zip(answers) {
            self.judge(*key, *floor, answer)?;
        }
        Ok(answered)
    }

    async fn write_many(&mut self, asked: &[u32], entries: &[(Vec<u8>, Vec<u8>)], due: Instant) -> Result<Instant> {
        let answers = self.cache.set_many(entries).await;
        let answered = Instant::now();
        let took = answered - due;
        for (key, answer) in asked.iter().zip(answers) {
            match answer {
                Ok(()) => {
                    self.workload.ledger().acknowledge(*key);
                    self.tally.wrote(took);
                }
                Err(failure) => self.failed(failure)?,
            }
        }
        Ok(answered)
    }

    async fn write(&mut self, key: u32, due: Instant) -> Result<Instant> {
        let version = self.workload.ledger().begin(key);
        self.workload.key(key, &mut self.key);
        self.workload.value(key, version, &mut self.value);
        let answer = self.cache.set(&self.key, &self.value).await;
        let answered = Instant::now();
        match answer {
            Ok(()) => {
                self.workload.ledger().acknowledge(key);
                self.tally.wrote(answered - due);
            }
            Err(failure) => self.failed(failure)?,
        }
        Ok(answered)
    }

    fn judge(&mut self, key: u32, floor: u32, answer: Result<Option<Bytes>, Failure>) -> Result<()> {
        match answer {
            Ok(found) => {
                self.tally.found(self.workload.judge(key, floor, found.as_deref()));
                Ok(())
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn failed(&mut self, failure: Failure) -> Result<()> {
        if self.tally.failed(&failure) < FAILURES_IN_A_ROW_MAX {
            return Ok(());
        }
        self.tally.flush();
        bail!("gave up after {FAILURES_IN_A_ROW_MAX} failures in a row, the last of them {failure}")
    }
}

/// The place of number `index`, which is the next one at most.
fn place_in<T: Default>(places: &mut Vec<T>, index: usize) -> &mut T {
    if index == places.len() {
        places.push(T::default());
    }
    &mut places[index]
}
