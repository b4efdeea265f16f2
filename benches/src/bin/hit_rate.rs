//! `hit_rate`: Quoit's eviction beside plain LRU, moka and `quick_cache`, at equal bytes.
//!
//! ```text
//! cargo run --release -p quoit-benches --bin hit_rate
//! ```

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use comfy_table::Table;
use quoit_benches::{
    hit_rate::{Kind, Outcome, Trace, run},
    progress::Progress,
    report::aligned,
};
use serde_json::json;

/// The allocator of the `quoit` command.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Hit rate may be so many percentage points below moka's.
const POINTS_MAX: f64 = 1.0;
/// An access may cost so many times what plain LRU's does.
const COST_MAX: f64 = 1.25;

#[derive(Debug, Parser)]
#[command(about = "Compares hit rates and costs of eviction policies, at equal bytes", max_term_width = 110)]
#[command(after_help = "Exit codes: 0 quoit is as good as it is to be on every trace; 1 it is not; 2 usage.")]
struct Args {
    /// Entries that fit
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..))]
    entries: u32,
    /// Accesses of each trace
    #[arg(long, default_value_t = 5_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..))]
    accesses: u32,
    /// How often each is run; the hit rate is of the last, the cost of the fastest
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only these traces
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TRACE,…")]
    only: Vec<Trace>,
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// The outcomes of all kinds on one trace, in their order.
type Row = (Trace, Vec<Outcome>);

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do about a standard error that cannot be written.
            let _ = writeln!(io::stderr(), "error  {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<ExitCode> {
    let traces = if args.only.is_empty() { Trace::value_variants() } else { &args.only };
    let kinds = Kind::value_variants();
    let mut progress = Progress::new(traces.len() * kinds.len(), args.quiet);
    let mut rows = Vec::new();
    for trace in traces {
        let keys = trace.keys(args.entries as usize, args.accesses as usize);
        let mut outcomes = Vec::new();
        for kind in kinds {
            drop(progress.step(format_args!("{}, {}", trace.name(), kind.name())));
            outcomes.push(run(*kind, &keys, args.entries as usize, args.runs as usize)?);
        }
        rows.push((*trace, outcomes));
    }
    drop(progress);
    let misses = rows.iter().flat_map(faults).collect::<Vec<_>>();
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &document(&rows, &misses))?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}\n", table(&rows))?;
        writeln!(out, "percent of accesses that hit, and nanoseconds of each; {} entries fit", args.entries)?;
        if misses.is_empty() {
            writeln!(out, "within {POINTS_MAX} point of moka and {COST_MAX} × the cost of plain LRU on every trace")?;
        }
        misses.iter().try_for_each(|miss| writeln!(out, "{miss}"))?;
    }
    Ok(if misses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn outcome(row: &Row, kind: Kind) -> Outcome {
    let at = Kind::value_variants().iter().position(|known| *known == kind);
    row.1[at.expect("every kind is a variant")]
}

/// What is not as it is to be.
fn faults(row: &Row) -> Vec<String> {
    let (quoit, moka, lru) = (outcome(row, Kind::Quoit), outcome(row, Kind::Moka), outcome(row, Kind::QuoitLru));
    let (behind, cost) = (moka.hit_percent - quoit.hit_percent, quoit.access_ns / lru.access_ns);
    let mut faults = Vec::new();
    if behind > POINTS_MAX {
        faults.push(format!("not met: {}: {behind:.1} points behind moka", row.0.name()));
    }
    if cost > COST_MAX {
        faults.push(format!("not met: {}: {cost:.2} × the cost of plain LRU", row.0.name()));
    }
    faults
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    let names = Kind::value_variants().iter().map(|kind| kind.name().to_owned());
    let last = ["to moka, points", "× cost of LRU"].map(str::to_owned);
    table.set_header(["trace".to_owned()].into_iter().chain(names).chain(last));
    for row in rows {
        let (quoit, moka, lru) = (outcome(row, Kind::Quoit), outcome(row, Kind::Moka), outcome(row, Kind::QuoitLru));
        let cells = row.1.iter().map(|o| format!("{:.2} %, {:.0} ns", o.hit_percent, o.access_ns));
        let behind = format!("{:+.2}", quoit.hit_percent - moka.hit_percent);
        let cost = format!("{:.2}", quoit.access_ns / lru.access_ns);
        table.add_row([row.0.name().to_owned()].into_iter().chain(cells).chain([behind, cost]));
    }
    aligned(table)
}

fn document(rows: &[Row], misses: &[String]) -> serde_json::Value {
    let traces = rows.iter().map(|(trace, outcomes)| {
        let kinds = Kind::value_variants().iter().zip(outcomes);
        let outcomes: serde_json::Map<_, _> =
            kinds.map(|(kind, outcome)| (kind.name().into(), json!(outcome))).collect();
        json!({ "trace": trace.name(), "caches": outcomes })
    });
    json!({ "traces": traces.collect::<Vec<_>>(), "not_met": misses })
}
