//! `processes`: whole clusters of real `quoit` processes, killed, paused, restarted and cut off from each other.
//!
//! ```text
//! cargo build --release -p quoit-node
//! cargo run --release -p quoit-cluster-tests --bin processes -- failover --kills 100
//! cargo run --release -p quoit-cluster-tests --bin processes -- churn --minutes 10
//! cargo run --release -p quoit-cluster-tests --bin processes -- all
//! ```

use std::{
    hint,
    io::{self, Read, Write},
    num::NonZeroU32,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use quoit_cluster_tests::process::{
    LinkKind, Program, Report, called_as_node,
    churn::{self, Churn, Step, Until},
    namespace,
    scenarios::{self, Stage},
    to_json, to_table,
};
use quoit_node::cli::{self, Cli as NodeCli};
use tokio::signal::unix::{SignalKind, signal};

const INTERRUPTED: u8 = 130;
/// Fewer cannot be cut into a majority and a minority that has somebody to talk to.
const NODES_MIN: usize = 3;
/// Of each cluster, unless it is said.
const NODES: usize = 5;
/// The same where a fourth node joins and is drained again.
const NODES_OF_CHURN: usize = 3;
/// How long the cluster churns as one scenario among others: a pass through all steps.
const CHURN_MINUTES: u64 = 3;
/// Long enough to be given up by everybody.
const PAUSE_SECONDS: u64 = 20;
/// Long enough for every timer that could act on a cut to have run out.
const CUT_SECONDS: u64 = 10;

#[derive(Debug, Parser)]
#[command(about = "Puts clusters of real `quoit` processes under stress, and checks that they never fork")]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Nodes of each cluster [default: 5, or 3 for churn]
    #[arg(long, global = true, value_parser = nodes)]
    nodes: Option<usize>,
    /// Threads for requests of each node [default: what a node takes by itself]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    /// How nodes are cut off from each other; by forwarders only with one thread each
    #[arg(long, global = true, value_enum, default_value_t = Cutting::Auto)]
    cutting: Cutting,
    /// Writes one JSON document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cutting {
    /// In a network namespace where this machine allows it, by forwarders elsewhere
    Auto,
    /// By packet filters in a network namespace; skipped where there can be none
    Namespace,
    /// By UDP forwarders on loopback
    Forwarders,
    /// Not at all: what needs it is left out
    None,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Kill the coordinator with SIGKILL, again and again, under load
    Failover {
        /// How often
        #[arg(long, default_value_t = 30)]
        kills: usize,
    },
    /// Start all founders at the same time, with empty disks
    Genesis {
        /// How often
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Restart every node in turn, under load
    Restart,
    /// Stop the coordinator with SIGSTOP, and let it go on
    Pause {
        /// How long after another has taken office
        #[arg(long, default_value_t = PAUSE_SECONDS)]
        seconds: u64,
    },
    /// Cut a majority off from a minority, and heal it
    Partition {
        /// How long after the minority was found down
        #[arg(long, default_value_t = CUT_SECONDS)]
        seconds: u64,
    },
    /// Cut links of the coordinator in one direction
    OneWay {
        /// How long each cut lasts after it took effect
        #[arg(long, default_value_t = CUT_SECONDS)]
        seconds: u64,
    },
    /// Keep every CPU busy
    Busy {
        /// For how long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Hand data over to a node that reads slowly, and measure what that costs the node that gives
    SlowReader {
        /// How many mebibytes of values
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
        mib: u64,
    },
    /// Have nodes join, leave, die and return under a load that finds every write that was lost
    Churn(ChurnArgs),
    /// All of these, with a minute of busy CPUs
    All {
        /// How often the coordinator is killed
        #[arg(long, default_value_t = 30)]
        kills: usize,
        /// How often a cluster is formed
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// What the program's own child processes do
    #[command(hide = true, name = scenarios::SPIN)]
    Spin,
}

#[derive(Args, Clone, Debug)]
struct ChurnArgs {
    /// How long [default: 3, if --writes does not say when it is over]
    #[arg(long, value_name = "M", conflicts_with = "writes")]
    minutes: Option<u64>,
    /// Go on until so many writes were acknowledged
    #[arg(long, value_name = "N")]
    writes: Option<u64>,
    /// What is drawn at random follows from it [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Callers at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    callers: u16,
    /// Requests per second of all callers together, once every key is there [default: as many as there can be]
    ///
    /// How long one takes counts from when it is sent.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Keys of all callers together
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1024..=2_000_000))]
    keys: u32,
    /// Copies of each key; with one, nothing is killed and nobody is cut off
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=6))]
    replication: u8,
    /// Bytes of each value [default: 40 to 160]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(24..=1 << 20))]
    value: Option<u32>,
    /// What each node may fetch in a second when slots move, as in 64MiB or unlimited [default: what a node does by itself]
    #[arg(long, value_name = "RATE")]
    handoff_rate: Option<String>,
    /// Only these steps, again and again, as in join,drain [default: all that can be done]
    #[arg(long, value_name = "STEP", value_enum, value_delimiter = ',')]
    steps: Vec<Step>,
}

impl ChurnArgs {
    /// What the command does by itself.
    const USUAL: Self = Self {
        minutes: None,
        writes: None,
        seed: None,
        callers: 64,
        rate: None,
        keys: 50_000,
        replication: 2,
        value: None,
        handoff_rate: None,
        steps: Vec::new(),
    };

    fn plan(self) -> Churn {
        let usual = Churn::default();
        let bytes = self.value.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let lasted = Until::Lasted(Duration::from_secs(60 * self.minutes.unwrap_or(CHURN_MINUTES)));
        Churn {
            until: self.writes.map_or(lasted, Until::Wrote),
            seed: self.seed.unwrap_or_else(rand::random),
            callers: self.callers.into(),
            rate: self.rate,
            keys: usize::try_from(self.keys).unwrap_or(usize::MAX),
            replication: self.replication,
            steps: if self.steps.is_empty() { usual.steps } else { self.steps },
            value_bytes: bytes.map_or(usual.value_bytes, |bytes| bytes..bytes + 1),
            handoff_rate: self.handoff_rate,
        }
    }
}

impl What {
    fn nodes(&self) -> usize {
        if matches!(self, Self::Churn(_)) { NODES_OF_CHURN } else { NODES }
    }

    fn cuts(&self) -> bool {
        matches!(self, Self::Partition { .. } | Self::OneWay { .. } | Self::Churn(_) | Self::All { .. })
    }
}

fn main() -> ExitCode {
    if called_as_node() {
        return cli::run(NodeCli::from_command_line());
    }
    let args = Cli::parse();
    if matches!(args.what, What::Spin) {
        spin();
        return ExitCode::SUCCESS;
    }
    run(&args).unwrap_or_else(|error| {
        // Nothing is left to do about a standard error that cannot be written.
        let _ = writeln!(io::stderr(), "error  {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Cli) -> Result<ExitCode> {
    let cutting = if args.what.cuts() { cutting(args.cutting) } else { Ok(LinkKind::Direct) };
    let program = Program::sibling()?;
    let (nodes, threads) = (args.nodes.unwrap_or(args.what.nodes()), args.threads);
    let stage = Stage { program, nodes, links: LinkKind::Direct, threads, shown: true };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reports = runtime.block_on(async {
        // Whichever ends first, the nodes and their folders go with it.
        tokio::select! {
            reports = Box::pin(play(args.what.clone(), &stage, cutting)) => anyhow::Ok(Some(reports)),
            signal = interrupted() => signal.map(|()| None),
        }
    })?;
    let Some(reports) = reports else { return Ok(ExitCode::from(INTERRUPTED)) };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", to_json(&reports))?;
    } else {
        write!(out, "{}", to_table(&reports))?;
    }
    out.flush()?;
    Ok(if reports.iter().all(Report::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How links can be cut here. Does not return where that takes a namespace: the program starts again inside.
fn cutting(wanted: Cutting) -> Result<LinkKind, String> {
    match wanted {
        Cutting::Forwarders => return Ok(LinkKind::Forwarders),
        Cutting::None => return Err("--cutting none".into()),
        Cutting::Auto | Cutting::Namespace => {}
    }
    match (namespace::enter(), wanted) {
        (Ok(()), _) => Ok(LinkKind::Namespace),
        (Err(error), Cutting::Auto) => {
            let _ = writeln!(io::stderr(), "SKIPPED: network namespaces: {error:#}; forwarders on loopback instead");
            Ok(LinkKind::Forwarders)
        }
        (Err(error), Cutting::Namespace | Cutting::Forwarders | Cutting::None) => Err(format!("{error:#}")),
    }
}

async fn play(what: What, stage: &Stage, cutting: Result<LinkKind, String>) -> Vec<Report> {
    let cut = cutting.map(|links| Stage { links, ..stage.clone() });
    match what {
        What::Failover { kills } => vec![Box::pin(scenarios::failover(stage, kills)).await],
        What::Genesis { rounds } => vec![Box::pin(scenarios::genesis(stage, rounds)).await],
        What::Restart => vec![Box::pin(scenarios::restart(stage)).await],
        What::Pause { seconds } => vec![Box::pin(scenarios::pause(stage, Duration::from_secs(seconds))).await],
        What::Partition { seconds } => vec![Box::pin(partition(&cut, seconds)).await],
        What::OneWay { seconds } => vec![Box::pin(one_way(&cut, seconds)).await],
        What::Busy { minutes } => {
            vec![Box::pin(scenarios::busy(stage, Duration::from_secs(60 * minutes))).await]
        }
        What::SlowReader { mib } => vec![Box::pin(scenarios::slow_reader(stage, mib)).await],
        What::All { kills, rounds } => vec![
            Box::pin(scenarios::genesis(stage, rounds)).await,
            Box::pin(scenarios::failover(stage, kills)).await,
            Box::pin(scenarios::pause(stage, Duration::from_secs(PAUSE_SECONDS))).await,
            Box::pin(partition(&cut, CUT_SECONDS)).await,
            Box::pin(one_way(&cut, CUT_SECONDS)).await,
            Box::pin(scenarios::restart(stage)).await,
            Box::pin(scenarios::busy(stage, Duration::from_secs(60))).await,
            Box::pin(churned(stage, &cut, ChurnArgs::USUAL)).await,
        ],
        What::Churn(args) => vec![Box::pin(churned(stage, &cut, args)).await],
        What::Spin => Vec::new(),
    }
}

async fn partition(cut: &Result<Stage, String>, seconds: u64) -> Report {
    match cut {
        Ok(stage) => scenarios::partition(stage, Duration::from_secs(seconds)).await,
        Err(why) => skipped("partition", why),
    }
}

/// Without partitions where nothing can be cut.
async fn churned(stage: &Stage, cut: &Result<Stage, String>, args: ChurnArgs) -> Report {
    let stage = cut.as_ref().unwrap_or(stage);
    let mut report = churn::churn(stage, &args.plan()).await;
    if let Err(why) = cut {
        report.notes.push(format!("no partitions: {why}"));
    }
    report
}

async fn one_way(cut: &Result<Stage, String>, seconds: u64) -> Report {
    match cut {
        Ok(stage) => scenarios::one_way(stage, Duration::from_secs(seconds)).await,
        Err(why) => skipped("one-way", why),
    }
}

fn skipped(scenario: &'static str, why: &str) -> Report {
    Report { scenario, skipped: Some(why.to_owned()), ..Report::default() }
}

async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Works until standard input ends, which it does with the process that holds its other end.
fn spin() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        ENDED.store(true, Ordering::Relaxed);
    });
    while !ENDED.load(Ordering::Relaxed) {
        hint::spin_loop();
    }
}

fn nodes(text: &str) -> Result<usize> {
    let count: usize = text.parse().context("a number is needed")?;
    anyhow::ensure!((NODES_MIN..=50).contains(&count), "{NODES_MIN} to 50");
    Ok(count)
}
