//! What a run found: numbers of every cell side by side, for programs and for people.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::{machine::Machine, measure::Sample, workload::Mode};

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
    /// Its cells, in order.
    pub cells: Vec<Cell>,
    /// What these numbers say nothing about.
    pub not_measured: Vec<&'static str>,
}

/// So many callers with values of one size, Quoit and the yardstick in turn.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Callers at once.
    pub callers: usize,
    /// Length of every value.
    pub value_bytes: usize,
    /// Quoit's numbers.
    pub quoit: Summary,
    /// The yardstick's.
    pub floor: Summary,
    /// Quoit's as multiples of the yardstick's, round by round.
    pub to_floor: Ratio,
    /// Quoit's medians as multiples of what was published of the prototype, where that has such a cell.
    pub to_published: Option<Ratio>,
}

/// Numbers of all rounds of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Operations per second.
    pub operations_per_second: Spread,
    /// Microseconds of CPU time of the server's process for each operation.
    pub server_cpu_us: Spread,
    /// The same of the callers' process.
    pub client_cpu_us: Spread,
    /// Median latency in microseconds.
    pub p50_us: Spread,
    /// What 1 % of operations exceed.
    pub p99_us: Spread,
    /// What 0.1 % of operations exceed.
    pub p999_us: Spread,
    /// Operations, all rounds together.
    pub operations: usize,
    /// Values that were read and compared, all of which were right.
    pub verified: usize,
}

/// One subject's numbers as multiples of another's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratio {
    /// Of operations per second: more is better.
    pub operations_per_second: Spread,
    /// Of server CPU: less is better.
    pub server_cpu: Spread,
}

/// Smallest, middle and largest of the rounds' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even count, the mean of the two.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Cell {
    /// Sums up the rounds of one cell; `quoit` and `floor` have one sample for each.
    pub fn new(mode: Mode, callers: usize, value_bytes: usize, quoit: &[Sample], floor: &[Sample]) -> Self {
        let rounds = || quoit.iter().zip(floor);
        let to_floor = Ratio {
            operations_per_second: rounds().map(|(quoit, floor)| rate(quoit) / rate(floor)).collect(),
            server_cpu: rounds().map(|(quoit, floor)| server_us(quoit) / server_us(floor)).collect(),
        };
        let known = |cell: &&Published| (mode, callers, value_bytes) == (Mode::Get, cell.callers, cell.value_bytes);
        let to_published = PUBLISHED.iter().find(known).map(|cell| Ratio {
            operations_per_second: quoit.iter().map(|sample| rate(sample) / cell.operations_per_second).collect(),
            server_cpu: quoit.iter().map(|sample| server_us(sample) / cell.server_cpu_us).collect(),
        });
        Self { callers, value_bytes, quoit: Summary::of(quoit), floor: Summary::of(floor), to_floor, to_published }
    }
}

impl Summary {
    fn of(samples: &[Sample]) -> Self {
        let quantile =
            |at: f64| samples.iter().map(|sample| sample.latency.value_at_quantile(at) as f64 / 1e3).collect();
        Self {
            operations_per_second: samples.iter().map(rate).collect(),
            server_cpu_us: samples.iter().map(server_us).collect(),
            client_cpu_us: samples.iter().map(client_us).collect(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            operations: samples.iter().map(|sample| sample.operations).sum(),
            verified: samples.iter().map(|sample| sample.verified).sum(),
        }
    }
}

fn rate(sample: &Sample) -> f64 {
    sample.operations as f64 / sample.elapsed.as_secs_f64()
}

fn server_us(sample: &Sample) -> f64 {
    sample.server_cpu.as_secs_f64() * 1e6 / sample.operations as f64
}

fn client_us(sample: &Sample) -> f64 {
    sample.client_cpu.as_secs_f64() * 1e6 / sample.operations as f64
}

impl FromIterator<f64> for Spread {
    /// Of nothing, it is all NaN.
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { min: at(0), median: f64::midpoint(at(last / 2), at(sorted.len() / 2)), max: at(last) }
    }
}

/// `median (min–max)`, to as many digits as the formatter's precision; `-` where nothing was measured.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        if [self.min, self.median, self.max].iter().all(|number| number.is_finite()) {
            write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
        } else {
            f.write_str("-")
        }
    }
}

impl Spread {
    fn scaled(self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }
}

impl fmt::Display for Report {
    /// Tables and prose, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, load } = &self.machine;
        writeln!(f, "{}\n", self.numbers())?;
        writeln!(f, "{}\n", self.ratios())?;
        writeln!(f, "command       {}", self.command)?;
        writeln!(f, "machine       {cores} cores of {cpu}, Linux {kernel}, load at the end {load}")?;
        writeln!(f, "sources       {}", self.commit.as_deref().unwrap_or("unknown"))?;
        write!(f, "not measured  {}", self.not_measured.join("; "))
    }
}

impl Report {
    fn numbers(&self) -> Table {
        let mut table = Table::new();
        table.set_header([
            "callers",
            "value",
            "",
            "k ops/s",
            "server µs/op",
            "client µs/op",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "verified",
        ]);
        for cell in &self.cells {
            for (name, summary) in [("quoit", &cell.quoit), ("floor", &cell.floor)] {
                table.add_row([
                    cell.callers.to_string(),
                    format!("{} B", cell.value_bytes),
                    name.to_owned(),
                    format!("{:.0}", summary.operations_per_second.scaled(1e-3)),
                    format!("{:.2}", summary.server_cpu_us),
                    format!("{:.2}", summary.client_cpu_us),
                    format!("{:.0}", summary.p50_us.median),
                    format!("{:.0}", summary.p99_us.median),
                    format!("{:.0}", summary.p999_us.median),
                    format!("{} of {}", summary.verified, summary.operations),
                ]);
            }
        }
        aligned(table)
    }

    fn ratios(&self) -> Table {
        let (rate, cpu) = (format!("ops/s (≥ {RATE_RATIO_MIN})"), format!("server CPU (≤ {CPU_RATIO_MAX})"));
        let mut table = Table::new();
        table.set_header(["callers", "value", "quoit as a multiple of", &rate, &cpu]);
        for cell in &self.cells {
            let ratios =
                [("the floor beside it", Some(&cell.to_floor)), ("what is published", cell.to_published.as_ref())];
            for (what, ratio) in ratios {
                let Some(ratio) = ratio else { continue };
                table.add_row([
                    cell.callers.to_string(),
                    format!("{} B", cell.value_bytes),
                    what.to_owned(),
                    ratio.operations_per_second.to_string(),
                    ratio.server_cpu.to_string(),
                ]);
            }
        }
        aligned(table)
    }
}

/// Columns of numbers, without borders.
fn aligned(mut table: Table) -> Table {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A published figure of the pipelined prototype: gets over one connection with mutual TLS, one stream.
struct Published {
    callers: usize,
    value_bytes: usize,
    operations_per_second: f64,
    server_cpu_us: f64,
}

const fn published(callers: usize, value_bytes: usize, operations_per_second: f64, server_cpu_us: f64) -> Published {
    Published { callers, value_bytes, operations_per_second, server_cpu_us }
}

const PUBLISHED: [Published; 5] = [
    published(16, 100, 261e3, 1.9),
    published(64, 100, 932e3, 0.63),
    published(256, 100, 1.64e6, 0.37),
    published(1024, 100, 3.9e6, 0.21),
    published(64, 1024, 818e3, 1.2),
];

/// The share of a bare prototype's throughput that the whole of Quoit is to keep.
const RATE_RATIO_MIN: f64 = 0.5;
/// How much more server CPU than a bare prototype it may take.
const CPU_RATIO_MAX: f64 = 2.0;

#[cfg(test)]
mod tests;
