//! Reads ahead of the writes, on a thread of its own: files and pipes block.

use std::collections::HashSet;

use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::source::{BadRecord, Record, Source, SourceError};

/// Batches read but not taken yet: enough that neither side waits for the other's hiccups.
const BATCHES_AHEAD: usize = 4;
/// Where a batch ends even if it has room for more records, so that large values do not fill memory.
const BATCH_BYTES: usize = 1024 * 1024;

/// Records that are written together. No two have the same key.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// The keys' hashes.
    pub(super) keys: Vec<u64>,
    /// Bad records passed over on the way.
    pub(super) skipped: Vec<BadRecord>,
    /// Bytes of the input read so far.
    pub(super) position: u64,
}

/// Why reading stopped before the end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The input cannot be read on.
    Source(SourceError),
    /// One bad record more than were to be skipped.
    Bad(BadRecord),
}

/// Starts to read batches of at most `records_max`. Dropping the receiver stops it.
pub(super) fn read_ahead(source: Source, records_max: usize, skip_max: u64) -> mpsc::Receiver<Result<Batch, Stopped>> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut batcher = Batcher { records_max, batch: Batch::default(), seen: HashSet::new(), bytes: 0 };
        if let Err(Ended::Early(why)) = batcher.run(source, skip_max, &sender) {
            // If nobody listens nobody wants to know.
            let _ = sender.blocking_send(Err(why));
        }
    });
    receiver
}

struct Batcher {
    records_max: usize,
    batch: Batch,
    seen: HashSet<u64>,
    bytes: usize,
}

enum Ended {
    Early(Stopped),
    Unheard,
}

impl Batcher {
    fn run(
        &mut self,
        mut source: Source,
        skip_max: u64,
        sender: &mpsc::Sender<Result<Batch, Stopped>>,
    ) -> Result<(), Ended> {
        let mut skipped = 0;
        loop {
            let next = source.next();
            let position = source.position();
            match next {
                Ok(Some(Ok(record))) => {
                    let key = xxh3_64(&record.key);
                    if self.is_full() || self.seen.contains(&key) {
                        self.send(position, sender)?;
                    }
                    self.add(record, key);
                }
                Ok(Some(Err(bad))) if skipped < skip_max => {
                    skipped += 1;
                    self.batch.skipped.push(bad);
                    if self.batch.skipped.len() >= self.records_max {
                        self.send(position, sender)?;
                    }
                }
                Ok(Some(Err(bad))) => {
                    self.send(position, sender)?;
                    return Err(Ended::Early(Stopped::Bad(bad)));
                }
                Ok(None) => return self.send(position, sender),
                Err(error) => {
                    self.send(position, sender)?;
                    return Err(Ended::Early(Stopped::Source(error)));
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.batch.records.len() >= self.records_max || self.bytes >= BATCH_BYTES
    }

    fn add(&mut self, record: Record, key: u64) {
        self.bytes += record.key.len() + record.value.len();
        self.seen.insert(key);
        self.batch.keys.push(key);
        self.batch.records.push(record);
    }

    fn send(&mut self, position: u64, sender: &mpsc::Sender<Result<Batch, Stopped>>) -> Result<(), Ended> {
        let batch = Batch { position, ..std::mem::take(&mut self.batch) };
        self.seen.clear();
        self.bytes = 0;
        sender.blocking_send(Ok(batch)).map_err(|_| Ended::Unheard)
    }
}
