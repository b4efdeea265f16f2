//! Writes batches side by side, and counts what became of them.

use std::{collections::HashSet, time::Duration};

use quoit_client::{Client, RequestError, SetOptions};
use tokio::{task::JoinSet, time::sleep};
use xxhash_rust::xxh3::xxh3_64;

use super::{ahead::Batch, failures::Failures, source::Record};

/// How long a batch's failed records wait before each further try. Repeating them is safe: the value is the same, and
/// no later record with the key is written before.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// Whether to remember what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remember {
    Everything,
    Nothing,
}

/// What has been written so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    /// Of keys and values.
    pub(super) bytes: u64,
    pub(super) failures: Failures,
    /// For verification, in no particular order.
    pub(super) expected: Vec<Expected>,
    /// How much of the input is dealt with, in bytes.
    pub(super) position: u64,
    /// Not one record of some batch was taken, for a reason that is not the records': there is no use in going on.
    pub(super) hopeless: bool,
}

/// What a key should have as its value.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) key: Box<[u8]>,
    pub(super) line: u64,
    /// The value's hash; `None` if nobody knows whether it was written.
    pub(super) value: Option<u64>,
}

/// Keeps a bounded number of batches in flight.
pub(super) struct Writer {
    client: Client,
    options: SetOptions,
    remember: Remember,
    batches_max: usize,
    in_flight: JoinSet<(Batch, Vec<Option<RequestError>>)>,
    /// Hashes of the keys in flight. The same key never is in flight twice: the last record of the input wins.
    keys: HashSet<u64>,
    tally: Tally,
}

impl Writer {
    pub(super) fn new(client: Client, options: SetOptions, batches_max: usize, remember: Remember) -> Self {
        Self {
            client,
            options,
            remember,
            batches_max,
            in_flight: JoinSet::new(),
            keys: HashSet::new(),
            tally: Tally::default(),
        }
    }

    /// Starts to write a batch, as soon as there is room for it and nothing before it is in its way.
    pub(super) async fn write(&mut self, batch: Batch) {
        while self.in_flight.len() >= self.batches_max {
            self.settle_one().await;
        }
        while !self.in_flight.is_empty() && batch.keys.iter().any(|key| self.keys.contains(key)) {
            self.settle_one().await;
        }
        self.keys.extend(&batch.keys);
        let (client, options) = (self.client.clone(), self.options);
        self.in_flight.spawn(async move {
            let errors = write_batch(&client, &batch.records, options).await;
            (batch, errors)
        });
    }

    /// Waits for what is in flight.
    pub(super) async fn finish(mut self) -> Tally {
        while !self.in_flight.is_empty() {
            self.settle_one().await;
        }
        self.tally
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    async fn settle_one(&mut self) {
        let Some(Ok((batch, errors))) = self.in_flight.join_next().await else {
            return;
        };
        for key in &batch.keys {
            self.keys.remove(key);
        }
        let tally = &mut self.tally;
        tally.position = tally.position.max(batch.position);
        tally.hopeless |=
            !errors.is_empty() && errors.iter().all(|e| e.as_ref().is_some_and(RequestError::is_retryable));
        for (record, error) in batch.records.iter().zip(errors) {
            if self.remember == Remember::Everything {
                let value = error.is_none().then(|| xxh3_64(&record.value));
                tally.expected.push(Expected { key: record.key.as_ref().into(), line: record.line, value });
            }
            match error {
                None => {
                    tally.records += 1;
                    tally.bytes += (record.key.len() + record.value.len()) as u64;
                }
                Some(error) => tally.failures.add(&error, record.line),
            }
        }
    }
}

/// Each record's error, if it was not written in the end.
async fn write_batch(client: &Client, records: &[Record], options: SetOptions) -> Vec<Option<RequestError>> {
    let mut errors: Vec<Option<RequestError>> = Vec::new();
    errors.resize_with(records.len(), || None);
    let mut open: Vec<usize> = (0..records.len()).collect();
    let mut pauses = RETRY_PAUSES.iter();
    loop {
        let entries = open.iter().map(|&index| (&records[index].key, &records[index].value));
        let results = client.set_many(entries, options).await;
        for (&index, result) in open.iter().zip(results) {
            errors[index] = result.err();
        }
        open.retain(|&index| errors[index].as_ref().is_some_and(RequestError::is_retryable));
        match pauses.next() {
            Some(pause) if !open.is_empty() => sleep(*pause).await,
            _ => return errors,
        }
    }
}
