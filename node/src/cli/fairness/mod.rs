//! `quoit fairness`: how evenly rings of vnodes spread slots and keys, over many rings; and how evenly a running cluster does.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use clap::Args;
use quoit_client::View;
use quoit_proto_types::{SlotCount, limits};

use super::{
    args::GlobalArgs,
    error::{CliError, Exit},
    output::{Format, Output},
    progress::Progress,
};
use crate::fairness::{self, KeyCounts, Placement, Question};

mod document;
mod live;
mod lookup;
mod page;
mod plots;
mod table;

/// The numbers of vnodes that are looked at, unless told otherwise.
const VNODES: [u32; 13] = [1, 2, 5, 10, 20, 50, 100, 128, 200, 256, 500, 700, 1000];
/// The numbers of nodes.
const SIZES: [u32; 3] = [3, 10, 50];
/// The most tokens of one ring, and the most rings of one run times tokens: what a machine can be asked to do in minutes.
const TOKENS_MAX: u64 = limits::TOKENS_MAX as u64;
const WORK_MAX: u64 = 20_000_000_000;
/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
#[command(after_help = "\
Each row is many rings, since one ring is one draw of luck: the mean, and in brackets what nine of ten rings are within. A
ring of balanced tokens leaves little to luck, so three are looked at, with half as many tokens as slots at most.
Loads are parts of the fair share, which is 1; with weights, that of the node's weight. The same --seed gives the same
figures everywhere, but for the times of lookups, which are measured.

Examples:
  quoit fairness                                  the usual numbers of nodes and vnodes
  quoit fairness --sizes 5 --vnodes 64,128,256 --copies 3 --zones 3
  quoit fairness --keys keys.txt --html report.html
  quoit fairness --live --max 1.20                the running cluster; ends with 1 if a node has more than 1.2 shares

Exit codes: 0 done; 1 the live cluster is less fair than --max; 2 usage; 3 no node answers.")]
pub(crate) struct FairnessArgs {
    /// Numbers of nodes [default: 3,10,50]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=2000))]
    sizes: Vec<u32>,
    /// Numbers of vnodes of a node [default: 1,2,5,10,20,50,100,128,200,256,500,700,1000]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
    vnodes: Vec<u32>,
    /// Rings for each row
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rings: u32,
    /// Makes the rings other ones
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Copies of each key
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    copies: u8,
    /// Weights of the nodes, again from the start when they run out
    #[arg(long, value_name = "W,…", value_delimiter = ',', default_value = "1")]
    weights: Vec<f64>,
    /// Zones over which the nodes are spread in turn
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    zones: u32,
    /// The cluster has two to the power of so many slots
    #[arg(long, default_value_t = 14, value_name = "N", value_parser = clap::value_parser!(u8).range(4..=20))]
    slots_log2: u8,
    /// Keys: a file with one on each line, - for standard input, or how many to make up
    #[arg(long, value_name = "FILE|-|N", default_value = "10000")]
    keys: String,
    /// Nodes that are lost at once, for the chance to lose data [default: copies, and one more]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=2000))]
    losses: Vec<u32>,
    /// Look at the running cluster
    #[arg(long, conflicts_with_all = ["sizes", "vnodes", "weights", "zones", "losses", "svg", "html"])]
    live: bool,
    /// With --live: end with 1 if a node has more than so many fair shares
    #[arg(long, value_name = "X", requires = "live")]
    max: Option<f64>,
    /// The same as --output csv
    #[arg(long)]
    csv: bool,
    /// Write a Markdown table
    #[arg(long, conflicts_with = "csv")]
    markdown: bool,
    /// Write the plots into this file as well
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    svg: Option<PathBuf>,
    /// Write plots and tables into this file as well: one page that needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    Json,
    Csv,
    Markdown,
}

/// What was computed, and what was measured beside it.
#[derive(Debug)]
struct Report {
    question: Question,
    cells: Vec<fairness::Cell>,
    /// One for each cell.
    lookups: Vec<lookup::Lookup>,
}

pub(crate) async fn run(args: FairnessArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let shape = args.shape(output);
    if args.live {
        return live::run(args.max, shape, global, output).await;
    }
    let question = args.question()?;
    let output_of_work = *output;
    let work = move || computed(question, &output_of_work);
    let report = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CliError::new(Exit::No, "the figures were not computed to the end").why(error.to_string()))?;
    match shape {
        Shape::Text => output.line(table::text(&report))?,
        Shape::Json => output.json(&document::json(&report))?,
        Shape::Csv => output.bytes(&document::csv(&report)?)?,
        Shape::Markdown => output.line(table::markdown(&report))?,
    }
    let plots = || plots::svg(&report).map_err(|error| CliError::new(Exit::No, "cannot draw").why(error.to_string()));
    if let Some(path) = &args.svg {
        written(path, &plots()?, output)?;
    }
    if let Some(path) = &args.html {
        written(path, &page::html(&report, &plots()?), output)?;
    }
    Ok(())
}

/// Computes on all cores, while this thread shows how far it is.
fn computed(question: Question, output: &Output) -> Report {
    let rings = |(placement, ..): &(Placement, u32, u32)| u64::from(placement.rings(question.rings));
    let total = fairness::cells(&question).iter().map(rings).sum();
    let done = AtomicU64::new(0);
    let cells = thread::scope(|scope| {
        let (question, done) = (&question, &done);
        let count = || {
            done.fetch_add(1, Ordering::Relaxed);
        };
        let work = scope.spawn(move || fairness::compute(question, count));
        let mut progress = Progress::new(output, "casting rings", Some(total));
        while !work.is_finished() {
            thread::park_timeout(TICK);
            let done = done.load(Ordering::Relaxed);
            progress.advance(done, "rings");
        }
        work.join()
    });
    // A panic of the computation is one of this thread.
    let cells = cells.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let lookups = cells.iter().map(|cell| lookup::Lookup::measured(&question, cell)).collect();
    Report { question, cells, lookups }
}

fn written(path: &PathBuf, text: &str, output: &Output) -> Result<(), CliError> {
    fs::write(path, text)
        .map_err(|error| CliError::usage(format!("cannot write {}", path.display())).why(error.to_string()))?;
    output.note(format!("wrote {}", path.display()));
    Ok(())
}

impl FairnessArgs {
    fn shape(&self, output: &Output) -> Shape {
        match output.format() {
            _ if self.markdown => Shape::Markdown,
            _ if self.csv => Shape::Csv,
            Format::Json | Format::Jsonl => Shape::Json,
            Format::Csv => Shape::Csv,
            Format::Table | Format::Raw => Shape::Text,
        }
    }

    fn question(&self) -> Result<Question, CliError> {
        let or = |given: &[u32], usual: &[u32]| if given.is_empty() { usual.to_vec() } else { sorted(given) };
        let (nodes, vnodes) = (or(&self.sizes, &SIZES), or(&self.vnodes, &VNODES));
        if let Some(weight) = self.weights.iter().find(|weight| !(0.01..=100.0).contains(*weight)) {
            return Err(CliError::usage(format!("{weight} is no weight")).advice("weights from 0.01 to 100"));
        }
        let heaviest = self.weights.iter().copied().fold(0.0, f64::max);
        let most = |counts: &[u32]| u64::from(counts.iter().copied().max().unwrap_or(0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "weights are within bounds")]
        let tokens = most(&nodes) * (most(&vnodes) as f64 * heaviest).ceil() as u64;
        let sum = |counts: &[u32]| counts.iter().copied().map(u64::from).sum::<u64>();
        let work = sum(&nodes) * sum(&vnodes) * u64::from(self.rings);
        if tokens > TOKENS_MAX || work > WORK_MAX {
            return Err(CliError::usage("that is more than this machine can be asked to do")
                .why(format!("the largest ring has {tokens} vnodes; all rings together place {work} of them"))
                .advice("fewer --sizes, --vnodes or --rings"));
        }
        let slots = SlotCount::from_log2(self.slots_log2).unwrap_or(SlotCount::DEFAULT);
        let copies = u32::from(self.copies);
        Ok(Question {
            placements: vec![Placement::Hashed, Placement::Balanced],
            nodes,
            vnodes,
            rings: self.rings,
            seed: self.seed,
            copies: self.copies,
            slots,
            weights: self.weights.clone(),
            zones: self.zones,
            keys: self.keys(slots)?,
            losses: or(&self.losses, &[copies, copies + 1]),
        })
    }

    /// Reads the keys, or makes them up.
    fn keys(&self, slots: SlotCount) -> Result<KeyCounts, CliError> {
        let mut keys = KeyCounts::new(slots);
        if let Ok(count) = self.keys.parse::<u32>() {
            (0..count).for_each(|index| keys.count(slots, format!("key:{index}").as_bytes()));
            return Ok(keys);
        }
        let unreadable =
            |error: io::Error| CliError::usage(format!("cannot read keys from {}", self.keys)).why(error.to_string());
        let source: Box<dyn BufRead> = if self.keys == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(fs::File::open(&self.keys).map_err(unreadable)?))
        };
        for line in source.split(b'\n') {
            let line = line.map_err(unreadable)?;
            let key = line.strip_suffix(b"\r").unwrap_or(&line);
            if key.len() > limits::KEY_BYTES_MAX {
                let line = keys.total + 1;
                return Err(CliError::usage(format!("the key after {} others is too long", line - 1))
                    .advice(format!("keys have up to {} bytes", limits::KEY_BYTES_MAX)));
            }
            if !key.is_empty() {
                keys.count(slots, key);
            }
        }
        if keys.total == 0 {
            return Err(CliError::usage(format!("there are no keys in {}", self.keys)).advice("one key on each line"));
        }
        Ok(keys)
    }
}

fn sorted(counts: &[u32]) -> Vec<u32> {
    let mut counts = counts.to_vec();
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// The slots that each member of `view` owns: its ordinal's place in the view, as primary and in all.
fn slots_of(view: &View) -> Vec<(usize, usize)> {
    let ring = view.ring();
    let mut slots = vec![(0, 0); view.members().len()];
    for slot in ring.slots().slots() {
        for (place, owner) in ring.owners(slot).iter().enumerate() {
            if let Ok(index) = view.members().binary_search_by_key(owner, |member| member.ordinal) {
                slots[index].0 += usize::from(place == 0);
                slots[index].1 += 1;
            }
        }
    }
    slots
}
