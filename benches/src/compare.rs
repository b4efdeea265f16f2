//! The command `compare`: what it takes, and a run of it, section by section.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use self::findings::{Findings, Section};
use crate::{
    bench::{at_least_one, duration, interrupted},
    identities::Identities,
    machine::{self, Machine},
    peers::Peer,
    progress::Progress,
    server,
};

mod bulk;
mod contest;
mod expiry;
mod failover;
mod findings;
mod growth;
mod handoff;
mod memory;
mod single;
mod three;
mod workloads;

/// The command line.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// A short run: one round, half a second each, a tenth of the entries. Its figures say little
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// How often each measurement is made, all subjects in turn [default: 5; 1 if quick]
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    rounds: Option<usize>,
    /// How long each measurement takes [default: 2s; 500ms if quick]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    duration: Option<Duration>,
    /// Entries for memory and handoff [default: 1000000; 100000 if quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..))]
    entries: Option<u32>,
    /// Cost growth up to 10,000,000 entries, not one million; takes 4 GiB of memory
    #[arg(long)]
    ten_million: bool,
    /// Threads for requests of Quoit's server; 0 for as many as `quoit node` has
    #[arg(long, default_value_t = 0, value_name = "N")]
    server_threads: usize,
    /// Worker threads of all clients, of Quoit and of the others: 0 for one on each CPU, 1 for a single-threaded runtime
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Where the result goes, as Markdown; `-` for standard output [default: benches/RESULTS.md for a whole run, else -]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write everything that was measured to standard output, as JSON
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One node, 100-byte values
    Single,
    /// One caller at a time
    Caller,
    /// Writes that expire
    Expiry,
    /// Quoit beside a bare prototype
    Floor,
    /// Three nodes with two copies
    Cluster,
    /// Memory for each entry
    Memory,
    /// A node that joins
    Handoff,
    /// Large values that move to a node that joins
    Bulk,
    /// A node that is killed
    Failover,
    /// The workloads of a small Go project
    Go,
    /// Connections and entries
    Growth,
}

/// What the parts work with.
struct Bed {
    args: Compare,
    identities: Identities,
    peers: Vec<Peer>,
    rounds: usize,
    duration: Duration,
    entries: u32,
}

impl Compare {
    /// Runs it, and writes what it found.
    ///
    /// # Errors
    /// Whatever kept it from measuring. A goal that is not reached is no error, and only the page says so. Wrong answers, failed
    /// requests and parts that cannot be measured make an exit code of 1.
    pub fn run(&self) -> Result<ExitCode> {
        server::runtime(self.threads)?.block_on(async {
            let findings = tokio::select! {
                findings = self.measure() => findings?,
                interrupted = interrupted() => return Err(interrupted),
            };
            self.write(&findings)?;
            let (faults, missing) = (findings.faults(), findings.missing());
            if faults == 0 && missing == 0 {
                return Ok(ExitCode::SUCCESS);
            }
            writeln!(io::stderr(), "error  {faults} wrong answers or failed requests, {missing} parts not measured")?;
            Ok(ExitCode::FAILURE)
        })
    }

    async fn measure(&self) -> Result<Findings> {
        let versions: Vec<_> = Peer::ALL.into_iter().filter_map(|peer| Some((peer, peer.version()?))).collect();
        let bed = Bed {
            args: self.clone(),
            identities: Identities::create(4)?,
            peers: versions.iter().map(|(peer, _)| *peer).collect(),
            rounds: self.rounds.unwrap_or(if self.quick { 1 } else { 5 }),
            duration: self.duration.unwrap_or(Duration::from_millis(if self.quick { 500 } else { 2000 })),
            entries: self.entries.unwrap_or(if self.quick { 100_000 } else { 1_000_000 }),
        };
        let parts: Vec<_> = Part::value_variants().iter().filter(|part| self.wants(**part)).collect();
        let mut progress = Progress::new(parts.len() * bed.rounds, self.quiet);
        let started = SystemTime::now();
        let mut sections = Vec::new();
        for part in parts {
            let name = part.to_possible_value().context("every part has a name")?.get_name().to_owned();
            // One part that cannot be measured does not take what the others found with it.
            match bed.part(*part, &mut progress).await {
                Ok(section) => sections.push(section),
                Err(error) => {
                    progress.note(format_args!("{name}: {error:#}"));
                    sections.push(Section::failed(&name, &error));
                }
            }
        }
        drop(progress);
        let versions = versions.into_iter().map(|(peer, version)| (peer.name(), version)).collect();
        Ok(Findings {
            command: env::args().collect::<Vec<_>>().join(" "),
            date: humantime::format_rfc3339_seconds(started).to_string(),
            took_s: started.elapsed().unwrap_or_default().as_secs(),
            machine: Machine::here(),
            commit: machine::commit(),
            versions,
            rounds: bed.rounds,
            duration_s: bed.duration.as_secs_f64(),
            server_threads: self.server_threads,
            client_threads: self.threads,
            sections,
            is_whole: self.is_whole(),
        })
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn is_whole(&self) -> bool {
        !self.quick && self.only.is_empty()
    }

    fn write(&self, findings: &Findings) -> Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut stdout, findings)?;
            writeln!(stdout)?;
        }
        let default = || {
            if self.is_whole() {
                PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md"))
            } else {
                PathBuf::from("-")
            }
        };
        let out = self.out.clone().unwrap_or_else(default);
        if out.as_os_str() != "-" {
            fs::write(&out, findings.to_string()).with_context(|| format!("cannot write {}", out.display()))?;
            writeln!(io::stderr(), "written to {}", out.display())?;
        } else if !self.json {
            write!(stdout, "{findings}")?;
        }
        Ok(stdout.flush()?)
    }
}

impl Bed {
    async fn part(&self, part: Part, progress: &mut Progress) -> Result<Section> {
        match part {
            Part::Single => self.single(progress).await,
            Part::Caller => self.caller(progress).await,
            Part::Expiry => self.expiry(progress).await,
            Part::Floor => self.floor(progress).await,
            Part::Cluster => self.three(progress).await,
            Part::Memory => self.memory(progress).await,
            Part::Handoff => self.handoff(progress).await,
            Part::Bulk => self.bulk(progress).await,
            Part::Failover => self.failover(progress).await,
            Part::Go => self.workloads(progress).await,
            Part::Growth => self.growth(progress).await,
        }
    }
}
