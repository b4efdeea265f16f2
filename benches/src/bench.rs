//! The command `quoit-bench`: what it takes, and a run of it.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use quoit_client::{Client, ClientConfig};
use tokio::signal::unix::{SignalKind, signal};

pub use self::args::Bench;
use self::args::Format;
pub(crate) use self::args::{at_least_one, duration};
use crate::{
    cache::Quoit,
    floor,
    identities::{Identities, files_in},
    load::{self, Load, Sample, Until},
    machine::{self, Machine},
    nodes::{Nodes, NodesPlan},
    process::Server,
    progress::Progress,
    report::{Audit, Cell, Report, Summary},
    server::{self, ServeArgs, Subject},
    spread::Spread,
    workload::{Mode, Sizes, Workload, WorkloadPlan},
};

mod args;

/// The user wants no more of it.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Who is asked. What it holds ends with it.
struct Subjects {
    quoit: Vec<Quoit>,
    /// None if they are not this process's children.
    servers: Option<Vec<u32>>,
    floor: Option<(Vec<floor::Client>, Server)>,
    _nodes: Option<(Nodes, Identities)>,
}

impl Bench {
    /// Runs it, and writes what it found.
    ///
    /// # Errors
    /// Whatever kept it from measuring. What it measured to be wrong is no error, but an exit code.
    pub fn run(&self) -> Result<ExitCode> {
        server::runtime(self.threads)?.block_on(async {
            // Whichever ends first, the servers and the certificates go with it.
            let report = tokio::select! {
                report = self.measure() => report?,
                interrupted = interrupted() => return Err(interrupted),
            };
            self.write(&report)
        })
    }

    async fn measure(&self) -> Result<Report> {
        let rounds = self.rounds as usize;
        let cells = self.callers.len() * self.value_size.len();
        let steps = cells * rounds * (1 + usize::from(self.floor)) + self.value_size.len() * 2;
        let mut progress = Progress::new(steps, self.quiet);
        let subjects = self.subjects().await?;
        let mut report = self.report();
        for sizes in &self.value_size {
            let seed = if self.nodes.is_some() { rand::random() } else { 0 };
            let plan = self.plan(sizes, seed);
            let workload = Arc::new(Workload::new(plan.clone())?);
            let beside = Arc::new(Workload::new(plan)?);
            load::preload(&subjects.quoit, &workload, &progress.step(format_args!("write {} keys", self.keys))).await?;
            if let Some((floor, _)) = &subjects.floor {
                load::preload(floor, &beside, &Arc::default()).await?;
            }
            for &callers in &self.callers {
                let (mut of_quoit, mut of_floor) = (Vec::new(), Vec::new());
                for round in 1..=rounds {
                    let what = format!("{callers} callers, {sizes}, round {round} of {rounds}");
                    let done = progress.step(&what);
                    let servers = subjects.servers.as_deref().unwrap_or_default();
                    of_quoit.push(self.load(callers).run(&subjects.quoit, &workload, servers, &done).await?);
                    drop(done);
                    if let Some((floor, server)) = &subjects.floor {
                        let done = progress.step(format_args!("floor, {what}"));
                        of_floor.push(self.load(callers).run(floor, &beside, &[server.id()], &done).await?);
                    }
                }
                report.cells.extend(cells_of(callers, sizes, &of_quoit, &of_floor, subjects.servers.is_some()));
            }
            let done = progress.step(format_args!("read {} keys back", self.keys));
            let counts = load::audit(&subjects.quoit, &workload, &done).await?;
            report.audits.push(Audit { subject: "quoit", value: sizes.to_string(), counts });
        }
        for quoit in &subjects.quoit {
            quoit.client.close().await;
        }
        if let Some((floor, _)) = &subjects.floor {
            floor.iter().for_each(floor::Client::close);
        }
        report.machine = Machine::here();
        Ok(report)
    }

    /// Starts what is to be started, and connects.
    async fn subjects(&self) -> Result<Subjects> {
        let clients = async |seeds: &[String], folder: &std::path::Path| {
            let mut clients = Vec::new();
            for _ in 0..self.connections {
                let config = ClientConfig::new(files_in(folder), seeds).context("--nodes")?;
                let mut config = config.request_timeout(self.timeout).busy_poll(self.busy_poll);
                if let Some(level) = self.write_level {
                    config = config.write_level(level);
                }
                if let Some(level) = self.read_level {
                    config = config.read_level(level);
                }
                clients.push(Quoit { client: Client::connect(config).await?, writes: self.set_options() });
            }
            anyhow::Ok(clients)
        };
        if let Some(seeds) = &self.nodes {
            let quoit = clients(seeds, &self.certs).await?;
            return Ok(Subjects { quoit, servers: None, floor: None, _nodes: None });
        }
        let identities = Identities::create(self.local)?;
        let nodes = Nodes::start(self.nodes_plan(), &identities)?;
        let quoit = clients(&nodes.addresses(), &identities.client()).await?;
        let floor = if self.floor { Some(self.floor(&identities).await?) } else { None };
        let servers = Some(nodes.processes());
        Ok(Subjects { quoit, servers, floor, _nodes: Some((nodes, identities)) })
    }

    async fn floor(&self, identities: &Identities) -> Result<(Vec<floor::Client>, Server)> {
        ensure!(self.key_size == Sizes::Fixed(floor::KEY_BYTES), "the floor's keys have {} bytes", floor::KEY_BYTES);
        let server = Server::spawn(&ServeArgs::new(Subject::Floor, identities.node(0)?, self.server_threads))?;
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(floor::Client::connect(&files_in(&identities.client()), server.address()).await?);
        }
        Ok((clients, server))
    }

    fn nodes_plan(&self) -> NodesPlan {
        // Twice what all entries take, so that nothing is evicted.
        let largest = self.value_size.iter().map(Sizes::max).max().unwrap_or_default() + self.key_size.max();
        let memory = self.memory.unwrap_or(MEMORY_BYTES_MIN.max(2 * self.keys as usize * (largest + ENTRY_BYTES)));
        let replication = self.replication.unwrap_or(u8::try_from(self.local.min(2)).unwrap_or(2));
        let (nodes, threads, busy_poll) = (self.local, self.server_threads, self.busy_poll);
        NodesPlan { nodes, threads, memory, replication, unpaced: false, busy_poll }
    }

    fn plan(&self, sizes: &Sizes, seed: u32) -> WorkloadPlan {
        WorkloadPlan {
            mode: self.op,
            keys: self.keys,
            key_sizes: self.key_size.clone(),
            value_sizes: sizes.clone(),
            skew: if self.uniform { 0.0 } else { self.skew },
            writes: self.writes,
            dropped: self.drop,
            seed,
        }
    }

    fn load(&self, callers: usize) -> Load {
        let until = self.operations.map_or(Until::Elapsed(self.duration), Until::Requests);
        let warm_up = self.warm_up.map_or(until.tenth(), Until::Elapsed);
        let batch = self.batch.unwrap_or(if self.op == Mode::GetMany { 16 } else { 1 });
        Load { callers, until, warm_up, arrivals: self.arrivals(), batch }
    }

    fn report(&self) -> Report {
        let asked = match &self.nodes {
            Some(nodes) => format!("{}, over {} connections", nodes.join(", "), self.connections),
            None => format!("{} local nodes, {} clients of all", self.local, self.connections),
        };
        Report {
            command: env::args().collect::<Vec<_>>().join(" "),
            machine: Machine::here(),
            commit: machine::commit(),
            mode: self.op,
            asked,
            cells: Vec::new(),
            audits: Vec::new(),
            not_measured: if self.nodes.is_some() { NOT_MEASURED_AFAR.into() } else { NOT_MEASURED_HERE.into() },
        }
    }

    fn write(&self, report: &Report) -> Result<ExitCode> {
        let mut out = io::stdout().lock();
        let faults = report.faults(self.evicts);
        if self.json || self.output == Format::Json {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{report}")?;
            if self.plot || out.is_terminal() {
                writeln!(out, "\n{}", report.charts())?;
            }
        }
        out.flush()?;
        if faults.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        for fault in &faults {
            writeln!(io::stderr(), "fault  {fault}")?;
        }
        if self.drop > 0.0 {
            let pretended = report.counts().pretended;
            writeln!(io::stderr(), "       {pretended} writes were claimed and not made, as --drop asks for")?;
        }
        Ok(ExitCode::FAILURE)
    }
}

fn cells_of(callers: usize, sizes: &Sizes, quoit: &[Sample], floor: &[Sample], servers_are_here: bool) -> Vec<Cell> {
    let cell = |subject, samples: &[Sample], servers_are_here, to_floor| {
        let summary = Summary::of(samples, servers_are_here);
        Cell { subject, callers, value: sizes.to_string(), summary, to_floor }
    };
    let ratios: Spread = quoit.iter().zip(floor).map(|(quoit, floor)| quoit.rate() / floor.rate()).collect();
    let mut cells = vec![cell("quoit", quoit, servers_are_here, (!floor.is_empty()).then_some(ratios))];
    if !floor.is_empty() {
        cells.push(cell("floor", floor, true, None));
    }
    cells
}

/// Waits until this process is asked to end.
pub(crate) async fn interrupted() -> anyhow::Error {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return Interrupted.into() };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Interrupted.into()
}

/// More than an entry takes beside its key and value.
const ENTRY_BYTES: usize = 512;
const MEMORY_BYTES_MIN: usize = 512 << 20;

const NOT_MEASURED_HERE: [&str; 4] = [
    "any network but loopback, and packet loss",
    "eviction, expiry and a store larger than the CPU's caches, unless --keys and --memory say so",
    "the cost of logging",
    "a machine on which nothing else runs: see its load",
];
const NOT_MEASURED_AFAR: [&str; 2] = ["CPU time of the nodes", "what else the nodes and the network had to do"];
