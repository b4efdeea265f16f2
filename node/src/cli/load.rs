//! `quoit load`: writes many records from CSV, TSV or JSON lines.
//!
//! One thread reads ahead, batches of records travel to the nodes side by side, and the memory for both is bounded. If
//! a key comes more than once the last record wins, as if they had been written one after the other.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueHint};
use quoit_client::{Client, SetOptions};

use self::{
    ahead::{Batch, Stopped, read_ahead},
    report::Report,
    source::{Columns, InputFormat, Source, SourceError},
    verify::{last_of_each, verify},
    writer::{Remember, Tally, Writer},
};
use super::{
    args::GlobalArgs,
    error::{CliError, Exit},
    keys::{connected, time_to_live},
    output::Output,
    progress::Progress,
};

mod ahead;
mod failures;
mod report;
mod source;
mod verify;
mod writer;

/// Records written together: enough to fill packets, few enough to spread.
const BATCH_RECORDS: usize = 256;
/// Records in flight to each node unless told otherwise: below what a node takes of one connection at once.
const IN_FLIGHT_PER_NODE: usize = 768;
/// Skipped records that are shown.
const SKIPPED_SHOWN: u64 = 10;

#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// The file to read; `-` for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The column, or JSON field, that holds the key
    #[arg(long, short, value_name = "COLUMN")]
    key: String,
    /// The column that becomes the value [default: the whole record, as JSON]
    #[arg(long, value_name = "COLUMN")]
    value: Option<String>,
    /// How the records are written [default: by the file name's extension]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<InputFormat>,
    /// Put before every key, as in `city:`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// How long the keys live, as in 90s or 1h 30m; without it, until deleted or evicted
    #[arg(long, value_name = "DURATION", value_parser = time_to_live)]
    ttl: Option<Duration>,
    /// Records under way at once [default: 768 for each node]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: Option<u32>,
    /// Go on past so many records that cannot be read
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_errors: u64,
    /// Read everything back and compare; needs memory for all the keys
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
    /// Only read the records, without a cluster
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: LoadArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    if args.dry_run {
        return args.read_only(output).await;
    }
    // What is wrong with the file is said before a cluster is looked for.
    let (source, bytes) = args.open().await?;
    connected(global, async |client| args.load(source, bytes, client, output).await).await
}

impl LoadArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        if self.dry_run {
            return self.read_only(output).await;
        }
        let (source, bytes) = self.open().await?;
        self.load(source, bytes, client, output).await
    }

    /// Whether it needs standard input for itself.
    pub(crate) fn reads_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }

    async fn load(&self, source: Source, bytes: Option<u64>, client: &Client, output: &Output) -> Result<(), CliError> {
        let nodes = client.view().members().len().max(1);
        let in_flight = self.in_flight.map_or(IN_FLIGHT_PER_NODE * nodes, |records| records as usize);
        let batch_max = in_flight.min(BATCH_RECORDS);
        let batches_max = in_flight / batch_max;
        let options = self.ttl.map_or(SetOptions::new(), |ttl| SetOptions::new().ttl(ttl));
        let remember = if self.verify { Remember::Everything } else { Remember::Nothing };

        let mut progress = Progress::new(output, "loading", bytes);
        let mut writer = Writer::new(client.clone(), options, batches_max, remember);
        let mut skipped = Skipped::default();
        let mut batches = read_ahead(source, batch_max, self.skip_errors);
        let mut stopped = None;
        while let Some(next) = batches.recv().await {
            match next {
                Ok(batch) => {
                    skipped.show(&batch, &progress, output);
                    writer.write(batch).await;
                }
                Err(why) => stopped = Some(why),
            }
            let tally = writer.tally();
            progress.update(tally.position, tally.records, tally.failures.count() + skipped.count);
            if tally.hopeless {
                break;
            }
        }
        drop(batches);
        let mut tally = writer.finish().await;
        let elapsed = progress.elapsed();
        drop(progress);

        let expected = last_of_each(std::mem::take(&mut tally.expected));
        let mut report = Report { tally, skipped: skipped.count, elapsed, verdict: None };
        if let Some(why) = stopped {
            return Err(self
                .explain_stop(why)
                .why(format!("{} loaded before it", report::counted(report.tally.records))));
        }
        if self.verify {
            let mut progress = Progress::new(output, "verifying", Some(expected.len() as u64));
            report.verdict = Some(verify(client, expected, (batches_max, batch_max), &mut progress).await);
        }
        report.write(output)?;
        report.result()
    }

    /// Reads all records and writes none.
    async fn read_only(&self, output: &Output) -> Result<(), CliError> {
        let (source, bytes) = self.open().await?;
        let mut progress = Progress::new(output, "reading", bytes);
        let mut skipped = Skipped::default();
        let mut tally = Tally::default();
        let mut batches = read_ahead(source, BATCH_RECORDS, self.skip_errors);
        while let Some(next) = batches.recv().await {
            let batch = next.map_err(|why| self.explain_stop(why))?;
            skipped.show(&batch, &progress, output);
            tally.records += batch.records.len() as u64;
            tally.bytes += batch.records.iter().map(|r| (r.key.len() + r.value.len()) as u64).sum::<u64>();
            progress.update(batch.position, tally.records, skipped.count);
        }
        let elapsed = progress.elapsed();
        drop(progress);
        Report { tally, skipped: skipped.count, elapsed, verdict: None }.write(output)?;
        Ok(())
    }

    /// Opens the input and reads its heading, off the threads that connections need: a pipe may keep one waiting.
    async fn open(&self) -> Result<(Source, Option<u64>), CliError> {
        let args = self.clone();
        tokio::task::spawn_blocking(move || args.open_now()).await.map_err(io::Error::other)?
    }

    /// Opens the input; with its size, if that is known.
    fn open_now(&self) -> Result<(Source, Option<u64>), CliError> {
        let (input, bytes): (Box<dyn Read + Send>, _) = if self.reads_standard_input() {
            (Box::new(io::stdin()), None)
        } else {
            let open = || {
                let file = File::open(&self.file)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, metadata)) }
            };
            let (file, metadata) = open().map_err(|error: io::Error| {
                CliError::usage(format!("cannot open {}", self.name())).why(error.to_string())
            })?;
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let extension = self.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let Some(format) = self.format.or_else(|| InputFormat::of_extension(extension)) else {
            let advice = "--format csv, --format tsv or --format jsonl";
            return Err(
                CliError::usage(format!("cannot tell how records are written in {}", self.name())).advice(advice)
            );
        };
        let columns = Columns { key: self.key.clone(), value: self.value.clone(), prefix: self.prefix.clone() };
        let source = Source::open(input, format, columns).map_err(|error| self.explain_source(error))?;
        Ok((source, bytes))
    }

    fn name(&self) -> String {
        if self.reads_standard_input() { "standard input".into() } else { self.file.display().to_string() }
    }

    fn explain_stop(&self, why: Stopped) -> CliError {
        match why {
            Stopped::Source(error) => self.explain_source(error),
            Stopped::Bad(bad) => CliError::usage(format!("{}, {bad}", self.name()))
                .advice("--skip-errors N, to go on past as many such records"),
        }
    }

    fn explain_source(&self, error: SourceError) -> CliError {
        let name = self.name();
        match error {
            SourceError::NoColumn { name: wanted, columns } => {
                CliError::usage(format!("there is no column `{wanted}` in {name}"))
                    .why(format!("the columns are {}", columns.join(", ")))
            }
            SourceError::Read(cause) => {
                CliError::new(Exit::Usage, format!("cannot read {name}")).why(cause.to_string())
            }
            SourceError::Empty | SourceError::Endless { .. } => CliError::usage(format!("{name}: {error}")),
        }
    }
}

/// Bad records that were passed over.
#[derive(Default)]
struct Skipped {
    count: u64,
}

impl Skipped {
    /// Counts those of a batch, and shows the first few.
    fn show(&mut self, batch: &Batch, progress: &Progress, output: &Output) {
        for bad in &batch.skipped {
            self.count += 1;
            if self.count <= SKIPPED_SHOWN {
                progress.note(output, format_args!("skipped {bad}"));
            } else if self.count == SKIPPED_SHOWN + 1 {
                progress.note(output, "skipped more, which are only counted");
            }
        }
    }
}

#[cfg(test)]
mod tests;
