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
    pub(super) async fn without_pause(mut self, end: End) -> Result<()> {
        let (mut turn, mut asked) = (0, Instant::now());
        while !end.is_reached(turn, asked) {
            self.turn(turn, asked).await?;
            turn += 1;
            asked = Instant::now();
        }
        self.tally.flush();
        Ok(())
    }

    /// Asks whenever it is time and no other caller has done so. The latency of a request counts from when it was due,
    /// however late it could be made: whoever waits behind a slow answer has waited, too.
    pub(super) async fn on_schedule(mut self, pacer: Arc<Pacer>) -> Result<()> {
        while let Some((turn, due)) = pacer.next().await {
            self.tally.late(due.elapsed());
            // Each turn is one of all callers': they go through one order together.
            self.index = 0;
            self.turn(turn, due).await?;
        }
        self.tally.flush();
        Ok(())
    }

    async fn turn(&mut self, turn: usize, due: Instant) -> Result<()> {
        if self.batch > 1 {
            return self.many(turn, due).await;
        }
        match self.workload.step(self.index, turn) {
            Step::Get(key) => self.read(key, due).await,
            Step::Set(key) => self.write(key, due).await,
            Step::Pretend(key) => {
                self.pretend(key);
                // A loop that only pretends would leave no time to anybody else.
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    fn pretend(&mut self, key: u32) {
        let ledger = self.workload.ledger();
        ledger.begin(key);
        ledger.acknowledge(key);
        self.tally.pretended();
    }

    async fn read(&mut self, key: u32, due: Instant) -> Result<()> {
        let floor = self.workload.ledger().floor(key);
        self.workload.key(key, &mut self.key);
        let answer = self.cache.get(&self.key).await;
        self.tally.read_took(due.elapsed());
        self.judge(key, floor, answer)
    }

    /// Reads many keys at once, and then writes those that are to be written.
    async fn many(&mut self, turn: usize, due: Instant) -> Result<()> {
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
        self.read_many(reads, &keys[..reads.len()], due).await?;
        self.write_many(writes, &entries[..writes.len()], due).await?;
        self.buffers = buffers;
        Ok(())
    }

    async fn read_many(&mut self, asked: &[(u32, u32)], keys: &[Vec<u8>], due: Instant) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let answers = self.cache.get_many(keys).await;
        self.tally.read_took(due.elapsed());
        for ((key, floor), answer) in asked.iter().zip(answers) {
            self.judge(*key, *floor, answer)?;
        }
        Ok(())
    }

    async fn write_many(&mut self, asked: &[u32], entries: &[(Vec<u8>, Vec<u8>)], due: Instant) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let answers = self.cache.set_many(entries).await;
        let took = due.elapsed();
        for (key, answer) in asked.iter().zip(answers) {
            match answer {
                Ok(()) => {
                    self.workload.ledger().acknowledge(*key);
                    self.tally.wrote(took);
                }
                Err(failure) => self.failed(failure)?,
            }
        }
        Ok(())
    }

    async fn write(&mut self, key: u32, due: Instant) -> Result<()> {
        let version = self.workload.ledger().begin(key);
        self.workload.key(key, &mut self.key);
        self.workload.value(key, version, &mut self.value);
        match self.cache.set(&self.key, &self.value).await {
            Ok(()) => {
                self.workload.ledger().acknowledge(key);
                self.tally.wrote(due.elapsed());
                Ok(())
            }
            Err(failure) => self.failed(failure),
        }
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
