//! `quoit demo`: three real nodes, realistic records, and figures, in some seconds and without preparation.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::stream::{self, StreamExt};
use quoit_client::{Client, SetOptions};
use tokio::signal::unix::{SignalKind, signal};
use xxhash_rust::xxh3::xxh3_64;

use self::{
    reads::{Reads, read_skewed},
    report::Report,
};
use super::{
    args::GlobalArgs,
    dataset::Dataset,
    error::{CliError, Exit},
    local_cluster::LocalCluster,
    output::Output,
    progress::Progress,
};

mod reads;
mod report;

/// Records written or read back together, and how many such batches at once.
const BATCH_RECORDS: usize = 256;
const BATCHES: usize = 6;
/// How long the skewed reads go on.
const READ_DURATION: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// How many records to load
    #[arg(long, value_name = "N", default_value_t = 25_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    records: u32,
    /// Which records: the same for the same number
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn run(args: DemoArgs, _global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    output.note("starting three nodes on free ports, with certificates in a temporary folder");
    let mut terminate = signal(SignalKind::terminate())?;
    let cluster = LocalCluster::start("demo", &[0; 3]).await?;
    let client = cluster.connect().await?;
    let shown = tokio::select! {
        shown = show(&args, &cluster, &client, output) => shown,
        _ = terminate.recv() => Err(CliError::new(Exit::Interrupted, "terminated")),
    };
    client.close().await;
    shown.and(cluster.stop().await)
}

async fn show(args: &DemoArgs, cluster: &LocalCluster, client: &Client, output: &Output) -> Result<(), CliError> {
    let dataset = Dataset::new(args.records, args.seed);
    let (records, loaded) = load(dataset, client, output).await?;
    let records = Arc::new(records);
    let verified = verify(&records, client, output).await?;
    let reads = read_skewed(dataset, &records, client, READ_DURATION, output).await?;
    let report = Report { cluster, client, records: &records, loaded, verified, reads };
    report.write(output)
}

/// What is remembered of a record.
#[derive(Debug)]
struct Record {
    key: String,
    value_bytes: usize,
    value_hash: u64,
}

impl Record {
    fn has(&self, value: &[u8]) -> bool {
        value.len() == self.value_bytes && xxh3_64(value) == self.value_hash
    }
}

/// Writes every record.
async fn load(dataset: Dataset, client: &Client, output: &Output) -> Result<(Vec<Record>, Duration), CliError> {
    let mut progress = Progress::new(output, "loading", Some(u64::from(dataset.records())));
    let started = Instant::now();
    let indices: Vec<u32> = (0..dataset.records()).collect();
    let batches = indices.chunks(BATCH_RECORDS).map(|indices| {
        let (client, indices) = (client.clone(), indices.to_vec());
        tokio::spawn(async move {
            let entries: Vec<_> = indices.iter().map(|&index| (dataset.key(index), dataset.value(index))).collect();
            let results = client.set_many(entries.iter().map(|(key, value)| (key, value)), SetOptions::new()).await;
            let record =
                |(key, value): (String, Vec<u8>)| Record { value_bytes: value.len(), value_hash: xxh3_64(&value), key };
            results.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok::<_, CliError>(entries.into_iter().map(record).collect::<Vec<_>>())
        })
    });
    let mut records = Vec::with_capacity(indices.len());
    let mut batches = stream::iter(batches).buffered(BATCHES);
    while let Some(batch) = batches.next().await {
        records.extend(batch.map_err(crashed)??);
        progress.update(records.len() as u64, records.len() as u64, 0);
    }
    Ok((records, started.elapsed()))
}

/// Reads every record back and compares it.
async fn verify(records: &Arc<Vec<Record>>, client: &Client, output: &Output) -> Result<Duration, CliError> {
    let mut progress = Progress::new(output, "reading back", Some(records.len() as u64));
    let started = Instant::now();
    let batches = (0..records.len()).step_by(BATCH_RECORDS).map(|start| {
        let (client, records) = (client.clone(), Arc::clone(records));
        tokio::spawn(async move {
            let batch = &records[start..records.len().min(start + BATCH_RECORDS)];
            let answers = client.get_many(batch.iter().map(|record| &record.key)).await;
            for (record, answer) in batch.iter().zip(answers) {
                check(record, answer?.as_deref())?;
            }
            Ok::<_, CliError>(batch.len() as u64)
        })
    });
    let mut batches = stream::iter(batches).buffer_unordered(BATCHES);
    let mut done = 0;
    while let Some(batch) = batches.next().await {
        done += batch.map_err(crashed)??;
        progress.update(done, done, 0);
    }
    Ok(started.elapsed())
}

/// Whether `value` is what was written.
fn check(record: &Record, value: Option<&[u8]>) -> Result<(), CliError> {
    match value {
        Some(value) if record.has(value) => Ok(()),
        Some(_) => Err(wrong(&record.key, "reads back another value than was written")),
        None => Err(wrong(&record.key, "was written and is not there")),
    }
}

fn wrong(key: &str, what: &str) -> CliError {
    CliError::new(Exit::Cluster, format!("the key {key} {what}"))
}

fn crashed(error: tokio::task::JoinError) -> CliError {
    CliError::new(Exit::No, "a task of the demo crashed").why(error.to_string())
}

#[cfg(test)]
mod tests;
