//! What a run of `quoit-bench` found: for programs and for people.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    load::{Counts, Sample},
    machine::Machine,
    plot,
    spread::Spread,
    workload::Mode,
};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The command line that repeats it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// The commit the sources stand at, if known; the program may be older.
    pub commit: Option<String>,
    /// What callers did.
    pub mode: Mode,
    /// Who was asked, in words.
    pub asked: String,
    /// Its cells, in order.
    pub cells: Vec<Cell>,
    /// Reads of every key once, after all cells of a subject that wrote.
    pub audits: Vec<Audit>,
    /// What these numbers say nothing about.
    pub not_measured: Vec<&'static str>,
}

/// So many callers with values of one size, of one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Who was asked.
    pub subject: &'static str,
    /// Requests under way at once, at most.
    pub callers: usize,
    /// Lengths of the values.
    pub value: String,
    /// Its numbers.
    #[serde(flatten)]
    pub summary: Summary,
    /// Operations per second as a multiple of the yardstick's, round by round.
    pub to_floor: Option<Spread>,
}

/// What was found after the last request.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Who was asked.
    pub subject: &'static str,
    /// Lengths of the values.
    pub value: String,
    /// What was found.
    pub counts: Counts,
}

/// Numbers of all rounds of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Operations per second.
    pub operations_per_second: Spread,
    /// Microseconds of CPU time of the servers' processes for each operation; none if they are not on this machine.
    pub server_cpu_us: Option<Spread>,
    /// The same of this process.
    pub client_cpu_us: Spread,
    /// What became of the requests, all rounds together.
    pub counts: Counts,
    /// Latencies of requests to read, all rounds together.
    pub reads: Latencies,
    /// The same of requests to write.
    pub writes: Latencies,
    /// How late requests were made in an open loop, which is in their latencies.
    pub late: Latencies,
    #[serde(skip)]
    all: Histogram<u64>,
}

/// Latencies in microseconds, by what share of requests took no longer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// How many requests.
    pub requests: u64,
    /// Half of them.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99.99 %.
    pub p9999_us: f64,
    /// All of them.
    pub max_us: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            requests: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

impl Summary {
    /// Sums up the rounds of a cell, at least one.
    pub fn of(samples: &[Sample], servers_are_here: bool) -> Self {
        let merged = |of: fn(&Sample) -> &Histogram<u64>| {
            let mut all = of(&samples[0]).clone();
            samples[1..].iter().for_each(|sample| add(&mut all, of(sample)));
            all
        };
        let (reads, writes) = (merged(|sample| &sample.reads), merged(|sample| &sample.writes));
        let mut counts = Counts::default();
        samples.iter().for_each(|sample| counts.add(&sample.counts));
        let mut all = reads.clone();
        add(&mut all, &writes);
        Self {
            operations_per_second: samples.iter().map(Sample::rate).collect(),
            server_cpu_us: servers_are_here.then(|| samples.iter().map(Sample::server_us).collect()),
            client_cpu_us: samples.iter().map(Sample::client_us).collect(),
            counts,
            reads: Latencies::of(&reads),
            writes: Latencies::of(&writes),
            late: Latencies::of(&merged(|sample| &sample.late)),
            all,
        }
    }
}

fn add(all: &mut Histogram<u64>, more: &Histogram<u64>) {
    all.add(more).expect("the histograms of all samples have the same bounds");
}

impl Report {
    /// Everything that was found, cells and audits together.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let all =
            self.cells.iter().map(|cell| &cell.summary.counts).chain(self.audits.iter().map(|audit| &audit.counts));
        all.for_each(|more| counts.add(more));
        counts
    }

    /// What is wrong with what was found, a sentence each. Nothing is well.
    pub fn faults(&self, evicts: bool) -> Vec<String> {
        let counts = self.counts();
        let mut faults = Vec::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        let lost = if evicts { counts.stale } else { counts.lost() };
        let what = format!("({} found nothing, {} an older value)", counts.missing, counts.stale);
        say(lost, &format!("reads show LOST writes that were acknowledged {what}"));
        say(counts.damaged(), "reads found what nobody wrote");
        say(counts.failed(), "requests failed");
        say(counts.unstarted, "requests were due and never made: more than can be done at this rate");
        for (kind, failures) in &counts.failures {
            faults.push(format!("  {} {kind}, the first one: {}", failures.count, failures.example));
        }
        faults
    }

    /// The latencies of every cell as a chart.
    pub fn charts(&self) -> String {
        let chart = |cell: &Cell| {
            let Cell { subject, callers, value, summary, .. } = cell;
            format!("{subject}, {callers} callers, {value}\n{}", plot::percentiles(&summary.all))
        };
        self.cells.iter().map(chart).collect::<Vec<_>>().join("\n")
    }

    fn numbers(&self) -> Table {
        let has_floor = self.cells.iter().any(|cell| cell.to_floor.is_some());
        let mut table = Table::new();
        let mut header = vec!["", "callers", "value", "k ops/s", "server µs/op", "client µs/op", "verified", "misses"];
        if has_floor {
            header.push("× floor (≥ 0.7)");
        }
        table.set_header(header);
        for cell in &self.cells {
            let summary = &cell.summary;
            let mut row = vec![
                cell.subject.to_owned(),
                cell.callers.to_string(),
                cell.value.clone(),
                format!("{:.1}", summary.operations_per_second.scaled(1e-3)),
                summary.server_cpu_us.map_or("-".into(), |us| format!("{us:.2}")),
                format!("{:.2}", summary.client_cpu_us),
                format!("{} of {}", summary.counts.verified, summary.counts.reads),
                summary.counts.misses.to_string(),
            ];
            if has_floor {
                row.push(cell.to_floor.map_or(String::new(), |ratio| ratio.to_string()));
            }
            table.add_row(row);
        }
        aligned(table)
    }

    fn latencies(&self) -> Table {
        let mut table = Table::new();
        let percentiles = ["p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "p99.99 µs", "max µs"];
        table.set_header(["", "callers", "value", "", "requests"].into_iter().chain(percentiles));
        for cell in &self.cells {
            let summary = &cell.summary;
            for (what, l) in [("read", summary.reads), ("write", summary.writes), ("made late", summary.late)] {
                if l.requests == 0 {
                    continue;
                }
                let of = [l.p50_us, l.p90_us, l.p99_us, l.p999_us, l.p9999_us, l.max_us];
                let (callers, requests) = (cell.callers.to_string(), l.requests.to_string());
                let names = [cell.subject.to_owned(), callers, cell.value.clone(), what.to_owned(), requests];
                table.add_row(names.into_iter().chain(of.map(|us| format!("{us:.0}"))));
            }
        }
        aligned(table)
    }
}

impl fmt::Display for Report {
    /// Tables and prose, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, load } = &self.machine;
        writeln!(f, "{}\n", self.numbers())?;
        writeln!(f, "{}\n", self.latencies())?;
        for Audit { subject, value, counts } in &self.audits {
            let (right, all) = (counts.verified + counts.misses, counts.reads + counts.failed());
            writeln!(f, "afterwards    {subject}, {value}: {right} of {all} keys read back as they were written")?;
        }
        writeln!(f, "asked         {}", self.asked)?;
        writeln!(f, "command       {}", self.command)?;
        writeln!(f, "machine       {cores} cores of {cpu}, Linux {kernel}, load at the end {load}")?;
        writeln!(f, "sources       {}", self.commit.as_deref().unwrap_or("unknown"))?;
        write!(f, "not measured  {}", self.not_measured.join("; "))
    }
}

/// Columns of numbers, without borders.
pub fn aligned(mut table: Table) -> Table {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
