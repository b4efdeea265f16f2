//! What was found, and the page it becomes.

use std::fmt;

use quoit_node::Workers;
use serde::Serialize;

use crate::{load::Sample, machine::Machine, spread::Spread};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Findings {
    pub(super) command: String,
    pub(super) date: String,
    pub(super) took_s: u64,
    pub(super) machine: Machine,
    pub(super) commit: Option<String>,
    pub(super) versions: Vec<(&'static str, String)>,
    pub(super) rounds: usize,
    pub(super) duration_s: f64,
    /// Threads for requests of Quoit's servers, 0 for their default, and worker threads of all clients, as
    /// [`runtime`](crate::server::runtime) takes them.
    pub(super) server_threads: usize,
    pub(super) client_threads: usize,
    pub(super) sections: Vec<Section>,
    pub(super) is_whole: bool,
}

/// One part of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Section {
    pub(super) title: String,
    /// What was done, and what is to be known of it.
    pub(super) notes: Vec<String>,
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) goals: Vec<Goal>,
    /// The numbers behind the rows, as far as they are rates.
    pub(super) measured: Vec<Measured>,
    /// Answers that were wrong, and requests that failed, in all of it.
    pub(super) faults: u64,
    /// Whether it could not be measured.
    pub(super) is_missing: bool,
}

/// Something that is to be reached.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) goal: String,
    pub(super) measured: String,
    /// None if it was not measured.
    pub(super) is_met: Option<bool>,
}

/// The rounds of one subject at one thing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) what: String,
    pub(super) subject: String,
    pub(super) operations_per_second: Spread,
    pub(super) server_cpu_us: Spread,
    pub(super) client_cpu_us: Spread,
    pub(super) p50_us: Spread,
    pub(super) p99_us: Spread,
    pub(super) verified: u64,
    pub(super) faults: u64,
}

impl Measured {
    pub(super) fn of(what: &str, subject: &str, samples: &[Sample]) -> Self {
        Self {
            what: what.to_owned(),
            subject: subject.to_owned(),
            operations_per_second: samples.iter().map(Sample::rate).collect(),
            server_cpu_us: samples.iter().map(Sample::server_us).collect(),
            client_cpu_us: samples.iter().map(Sample::client_us).collect(),
            p50_us: samples.iter().map(|sample| sample.quantile_us(0.5)).collect(),
            p99_us: samples.iter().map(|sample| sample.quantile_us(0.99)).collect(),
            verified: samples.iter().map(|sample| sample.counts.verified).sum(),
            faults: samples.iter().map(|sample| sample.counts.faults()).sum(),
        }
    }

    /// The header of [`row`](Self::row).
    pub(super) const HEADER: [&'static str; 8] =
        ["what", "who", "k ops/s", "server µs/op", "client µs/op", "p50 µs", "p99 µs", "verified"];

    pub(super) fn row(&self) -> Vec<String> {
        let faults = if self.faults == 0 { String::new() } else { format!(", {} FAULTS", self.faults) };
        vec![
            self.what.clone(),
            self.subject.clone(),
            format!("{:.1}", self.operations_per_second.scaled(1e-3)),
            format!("{:.2}", self.server_cpu_us),
            format!("{:.2}", self.client_cpu_us),
            format!("{:.0}", self.p50_us.median),
            format!("{:.0}", self.p99_us.median),
            format!("{}{faults}", self.verified),
        ]
    }
}

impl Section {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// A part that could not be measured.
    pub(super) fn failed(part: &str, error: &anyhow::Error) -> Self {
        let notes = vec![format!("Not measured: {error:#}")];
        Self { title: format!("{part}: not measured"), notes, is_missing: true, ..Self::default() }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Takes the rounds of one subject at one thing, and makes a row of them.
    pub(super) fn push(&mut self, measured: Measured) {
        self.header = Measured::HEADER.into();
        self.rows.push(measured.row());
        self.faults += measured.faults;
        self.measured.push(measured);
    }

    /// `value` is to be at least `least`.
    pub(super) fn at_least(&mut self, what: impl Into<String>, unit: &str, value: Option<f64>, least: f64) {
        self.judge(what, unit, value, ("≥", least), |value| value >= least);
    }

    /// `value` is to be at most `most`.
    pub(super) fn at_most(&mut self, what: impl Into<String>, unit: &str, value: Option<f64>, most: f64) {
        self.judge(what, unit, value, ("≤", most), |value| value <= most);
    }

    fn judge(
        &mut self,
        what: impl Into<String>,
        unit: &str,
        value: Option<f64>,
        (sign, bound): (&str, f64),
        is_met: impl FnOnce(f64) -> bool,
    ) {
        let value = value.filter(|value| value.is_finite());
        self.goals.push(Goal {
            what: what.into(),
            goal: format!("{sign} {bound}{unit}"),
            measured: value.map_or("not measured".into(), |value| format!("{value:.2}{unit}")),
            is_met: value.map(is_met),
        });
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, load } = &self.machine;
        writeln!(f, "# Quoit beside others\n")?;
        writeln!(f, "Written by `cargo run --release -p quoit-benches --bin compare`; do not edit.\n")?;
        if !self.is_whole {
            writeln!(f, "**A partial or short run: these figures say little.**\n")?;
        }
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(f, "| command | `{}` |", self.command)?;
        writeln!(f, "| date | {}, {} min |", self.date, self.took_s.div_ceil(60))?;
        writeln!(f, "| sources | {} |", self.commit.as_deref().unwrap_or("unknown"))?;
        writeln!(f, "| machine | {cores} cores of {cpu}, Linux {kernel}, load at the end {load} |")?;
        for (peer, version) in &self.versions {
            writeln!(f, "| {peer} | {version} |")?;
        }
        let count = match self.server_threads {
            0 => format!("{}, as `quoit node` has", Workers::default_count()),
            threads => format!("{threads}, by `--server-threads`"),
        };
        writeln!(f, "| servers of quoit | threads for requests: {count}; two for everything else |")?;
        writeln!(
            f,
            "| servers of others | their defaults: redis and valkey one thread for commands, memcached four |"
        )?;
        writeln!(f, "| clients of all | {} |", workers(self.client_threads))?;
        writeln!(
            f,
            "| rounds | {}, of {} s each, all subjects in turn; median (least–most) |\n",
            self.rounds, self.duration_s
        )?;
        let (faults, missing) = (self.faults(), self.missing());
        if faults > 0 {
            writeln!(f, "**{faults} answers were wrong, or requests failed: see the rows with FAULTS.**\n")?;
        }
        if missing > 0 {
            writeln!(f, "**{missing} parts could not be measured.**\n")?;
        }
        self.goals(f)?;
        for section in &self.sections {
            section.fmt(f)?;
        }
        writeln!(f, "## Not tested\n")?;
        NOT_TESTED.iter().try_for_each(|what| writeln!(f, "- {what}"))
    }
}

impl Findings {
    /// Answers that were wrong, and requests that failed.
    pub(super) fn faults(&self) -> u64 {
        self.sections.iter().map(|section| section.faults).sum()
    }

    /// Parts that could not be measured.
    pub(super) fn missing(&self) -> usize {
        self.sections.iter().filter(|section| section.is_missing).count()
    }

    fn goals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Goals\n\n| what | goal | measured | |\n|---|---|---:|---|")?;
        for Goal { what, goal, measured, is_met } in self.sections.iter().flat_map(|section| &section.goals) {
            let verdict = match is_met {
                Some(true) => "met",
                Some(false) => "**not met**",
                None => "not measured",
            };
            writeln!(f, "| {what} | {goal} | {measured} | {verdict} |")?;
        }
        writeln!(f)
    }
}

impl Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}\n"))?;
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(f, "| {} |", self.header.join(" | "))?;
        writeln!(
            f,
            "|{}|",
            self.header
                .iter()
                .enumerate()
                .map(|(i, _)| if i < 2 { "---" } else { "---:" })
                .collect::<Vec<_>>()
                .join("|")
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))?;
        writeln!(f)
    }
}

/// A runtime with so many workers, in words.
fn workers(threads: usize) -> String {
    match threads {
        0 => "one runtime with a worker thread on each CPU".into(),
        1 => "one single-threaded runtime".into(),
        _ => format!("one runtime with {threads} worker threads"),
    }
}

const NOT_TESTED: [&str; 7] = [
    "any network but loopback, and packet loss",
    "more than two cores, unless the machine above has them",
    "values above 100 bytes, but for those that move to a new node",
    "eviction, and keys whose time is over while it runs",
    "peers with more than one I/O thread, persistence or other than default settings, but for what is said above",
    "months of service, and fragmentation of memory by it",
    "a machine on which nothing else runs, unless the load above says so",
];
