//! `quoit-bench`: one node of Quoit and a bare yardstick, measured side by side over loopback QUIC with mutual TLS.
//!
//! ```text
//! cargo run --release -p quoit-benches --bin quoit-bench -- --callers 1,16,64,256,1024
//! ```

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use quoit_benches::{
    floor,
    identities::{Identities, client_files},
    machine::{self, Machine},
    measure::{self, Until},
    process::Server,
    report::{Cell, Report},
    server::{self, ServeArgs, Subject},
    workload::{Mode, Workload},
};
use quoit_client::{Client, ClientConfig};
use tokio::signal::unix::{SignalKind, signal};

/// The allocator of the `quoit` command.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// So long that only a server that has died exceeds it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// More than an entry takes beside its value.
const ENTRY_BYTES: usize = 512;
const MEMORY_BYTES_MIN: usize = 512 << 20;
const INTERRUPTED: u8 = 130;

const NOT_MEASURED: [&str; 6] = [
    "any network but loopback, and packet loss",
    "more than one node, connection or calling process",
    "eviction, expiry and a store larger than the CPU's caches, unless --keys says so",
    "memory",
    "the cost of logging",
    "a machine on which nothing else runs: see its load",
];

#[derive(Debug, Parser)]
#[command(
    about = "Measures a node of Quoit beside a bare yardstick, and checks every value it reads",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the program's own child processes do
    #[command(hide = true)]
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
struct Run {
    /// Callers at once, each with one request under way
    #[arg(long, value_delimiter = ',', default_values_t = [64], value_parser = at_least_one)]
    callers: Vec<usize>,
    /// Bytes of every value
    #[arg(long, value_delimiter = ',', default_values_t = [100], value_parser = at_least_one)]
    value: Vec<usize>,
    /// What callers do; `mix` writes once for every nine reads
    #[arg(long, value_enum, default_value_t = Mode::Get)]
    op: Mode,
    /// Different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Exponent of Zipf's law, by which keys are popular; 0 makes all alike
    #[arg(long, default_value_t = 0.99)]
    skew: f64,
    /// Seconds of each measurement; a tenth of it comes before as a warm-up
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Ends each measurement after so many operations instead
    #[arg(long, conflicts_with = "seconds")]
    operations: Option<usize>,
    /// How often each measurement is made, Quoit and yardstick in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Worker threads of servers and callers each: 1 for single-threaded runtimes, 0 for one worker on each CPU
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Format of the result
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Short for `-o json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Serve(args)) => server::serve(args).map(|()| ExitCode::SUCCESS),
        None => run(&cli.run),
    };
    done.unwrap_or_else(|error| {
        // Nothing is left to do about a standard error that cannot be written.
        let _ = writeln!(io::stderr(), "error  {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Run) -> Result<ExitCode> {
    server::runtime(args.threads)?.block_on(async {
        // Whichever ends first, the servers and the certificates go with it.
        tokio::select! {
            report = args.measure() => args.write(&report?).map(|()| ExitCode::SUCCESS),
            signal = interrupted() => signal.map(|()| ExitCode::from(INTERRUPTED)),
        }
    })
}

async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

impl Run {
    async fn measure(&self) -> Result<Report> {
        let identities = Identities::create()?;
        let certs = identities.folder();
        let largest = self.value.iter().max().copied().unwrap_or_default();
        // Twice what all entries take, so that nothing is evicted.
        let memory = MEMORY_BYTES_MIN.max(2 * self.keys as usize * (largest + ENTRY_BYTES));
        let args = |subject| ServeArgs { subject, certs: certs.to_owned(), threads: self.threads, memory };
        let node = Server::spawn(&args(Subject::Quoit))?;
        let yardstick = Server::spawn(&args(Subject::Floor))?;
        let config = ClientConfig::new(client_files(certs), [node.address().to_string()])?;
        let quoit = Client::connect(config.request_timeout(REQUEST_TIMEOUT)).await?;
        let floor = floor::Client::connect(&client_files(certs), yardstick.address()).await?;
        let mut cells = Vec::new();
        for &value_bytes in &self.value {
            let workload = Arc::new(Workload::new(self.op, self.keys, value_bytes, self.skew)?);
            measure::preload(&quoit, &workload).await?;
            measure::preload(&floor, &workload).await?;
            for &callers in &self.callers {
                let (mut of_quoit, mut of_floor) = (Vec::new(), Vec::new());
                for round in 1..=self.rounds {
                    writeln!(io::stderr(), "{callers} callers, {value_bytes} B, round {round} of {}", self.rounds)?;
                    of_quoit.push(measure::measure(&quoit, &workload, callers, self.until(), &node).await?);
                    of_floor.push(measure::measure(&floor, &workload, callers, self.until(), &yardstick).await?);
                }
                cells.push(Cell::new(self.op, callers, value_bytes, &of_quoit, &of_floor));
            }
        }
        quoit.close().await;
        floor.close();
        Ok(Report {
            command: env::args().collect::<Vec<_>>().join(" "),
            machine: Machine::here(),
            commit: machine::commit(),
            mode: self.op,
            cells,
            not_measured: NOT_MEASURED.to_vec(),
        })
    }

    fn until(&self) -> Until {
        self.operations.map_or(Until::Elapsed(self.seconds), Until::Operations)
    }

    fn write(&self, report: &Report) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.json || self.output == Format::Json {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{report}")?;
        }
        Ok(out.flush()?)
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
