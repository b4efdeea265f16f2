//! Simulates clusters under faults, and measures them.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use quoit_cluster_tests::{
    measure::{compare, cost, failover, mutants, quiet},
    sim::{self, Failure, Mutant, Plan, Summary},
};
use quoit_proto_types::view::RingAlgorithm;
use serde_json::{Value, json};

/// Simulates whole clusters of the real state machines on one thread, under faults that follow from a seed.
///
/// Exits with 1 if something that must hold does not, and prints how to see that again.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many founders each cluster has; drawn from the seed if not said.
    #[arg(long)]
    members: Option<usize>,
    /// Give the nodes data and clients, who read and write a few keys.
    #[arg(long)]
    data: bool,
    /// How the ring is laid out: hashed or balanced.
    #[arg(long, default_value_t)]
    ring: RingAlgorithm,
    /// Go on after a violation, and list all of them.
    #[arg(long)]
    keep_going: bool,
    /// Print all that happens under this seed.
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// With this bug planted.
    #[arg(long, value_name = "BUG")]
    mutant: Option<String>,
    /// Look for every planted bug.
    #[arg(long)]
    mutants: bool,
    /// Compare with the textbook bully.
    #[arg(long)]
    compare: bool,
    /// Measure messages and bytes in clusters of 3 to 1,000 members.
    #[arg(long)]
    cost: bool,
    /// Let a cluster of five be for so many virtual hours at 1 % loss.
    #[arg(long, value_name = "HOURS")]
    quiet_hours: Option<u64>,
    /// Kill the coordinator so many times.
    #[arg(long, value_name = "KILLS")]
    failover: Option<u64>,
    /// Print results for programs.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if (args.mutants || args.mutant.is_some()) && !cfg!(debug_assertions) {
        say("bugs can be planted in a debug build only: leave out --release");
        return Ok(ExitCode::from(2));
    }
    let held = if let Some(seed) = args.replay {
        replay(&args, seed)?
    } else if args.mutants {
        find_mutants(&args)
    } else if args.compare {
        compare_with_the_bully(&args)?
    } else if args.cost {
        measure_cost(&args)?
    } else if let Some(hours) = args.quiet_hours {
        be_quiet(&args, hours)?
    } else if let Some(kills) = args.failover {
        fail_over(&args, kills)?
    } else {
        run_seeds(&args)?
    };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "this is where results go")]
fn say(text: impl std::fmt::Display) {
    println!("{text}");
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed} {msg}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn mutant(args: &Args) -> anyhow::Result<Mutant> {
    let Some(name) = &args.mutant else { return Ok(Mutant::None) };
    match Mutant::all().into_iter().find(|mutant| mutant.to_string() == *name) {
        Some(mutant) => Ok(mutant),
        None => bail!("there is no bug called {name}; --mutants lists them"),
    }
}

fn replay(args: &Args, seed: u64) -> anyhow::Result<bool> {
    let (lines, ended) = sim::replay(plan(args, seed, mutant(args)?));
    for line in lines {
        say(line);
    }
    match ended {
        Ok(summary) => {
            say(line_of(&summary));
            Ok(true)
        }
        Err(violation) => {
            say(format!("violated: {violation}"));
            Ok(false)
        }
    }
}

fn plan(args: &Args, seed: u64, mutant: Mutant) -> Plan {
    Plan { seed, founders: args.members, data: args.data || mutant.needs_data(), ring: args.ring, mutant }
}

fn run_seeds(args: &Args) -> anyhow::Result<bool> {
    let mutant = mutant(args)?;
    let deadline = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let (mut total, mut failures) = (Summary::default(), Vec::<Failure>::new());
    let bar = bar(args.seeds);
    for seed in args.from..args.from.saturating_add(args.seeds) {
        match sim::run(plan(args, seed, mutant)) {
            Ok(run) => total += &run.summary,
            Err(failure) => {
                bar.suspend(|| say(&failure));
                failures.push(*failure);
                if !args.keep_going {
                    break;
                }
            }
        }
        bar.inc(1);
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            break;
        }
    }
    bar.finish_and_clear();
    if args.json {
        say(json_of(&total, &failures));
    } else {
        say(line_of(&total));
    }
    Ok(failures.is_empty())
}

/// The last line: what all the runs came to.
fn line_of(total: &Summary) -> String {
    let faults: Vec<String> = total.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let untaken: Vec<&str> = total.rows.iter().filter(|(_, taken)| **taken == 0).map(|(row, _)| *row).collect();
    let (writes, operations) = (total.writes, total.operations);
    let data = match operations {
        0 => String::new(),
        _ => format!(
            ", {operations} operations, {} of {} writes acknowledged, {} of them lost with too many copies",
            writes.acknowledged, writes.begun, writes.excused
        ),
    };
    let rows = if untaken.is_empty() { "all".to_owned() } else { format!("all but {}", untaken.join("; ")) };
    format!(
        "{} seeds held: {:.1} simulated hours, {} steps, {} checks, {} views, {} elections, {} views finished for another, \
         rows taken: {rows}, slowest settling {:?}, {} frozen{data}, faults: {}",
        total.runs,
        total.hours(),
        total.steps,
        total.checks,
        total.views,
        total.elections,
        total.adopted,
        total.slowest_settling,
        total.frozen,
        faults.join(", ")
    )
}

fn json_of(total: &Summary, failures: &[Failure]) -> Value {
    let failed = |failure: &Failure| {
        json!({
            "seed": failure.plan.seed,
            "invariant": failure.violation.invariant,
            "what": failure.violation.what,
            "replay": failure.replay(),
        })
    };
    json!({
        "seeds": total.runs,
        "simulated_hours": total.hours(),
        "steps": total.steps,
        "checks": total.checks,
        "views": total.views,
        "elections": total.elections,
        "adopted": total.adopted,
        "frozen": total.frozen,
        "operations": total.operations,
        "writes": total.writes.begun,
        "acknowledged": total.writes.acknowledged,
        "excused": total.writes.excused,
        "slowest_settling_s": total.slowest_settling.as_secs_f64(),
        "faults": total.faults,
        "rows": total.rows,
        "failures": failures.iter().map(failed).collect::<Vec<_>>(),
    })
}

fn find_mutants(args: &Args) -> bool {
    let all = Mutant::all();
    let bar = bar(all.len() as u64);
    let searches: Vec<_> = all
        .into_iter()
        .map(|mutant| {
            bar.set_message(mutant.to_string());
            let search = mutants::search(mutant);
            bar.inc(1);
            search
        })
        .collect();
    bar.finish_and_clear();
    let found = searches.iter().filter(|search| search.found.is_some()).count();
    if args.json {
        say(mutants::to_json(&searches));
    } else {
        say(mutants::to_table(&searches));
        say(format!("found {found} of {}", searches.len()));
    }
    found == searches.len()
}

fn compare_with_the_bully(args: &Args) -> anyhow::Result<bool> {
    let rows = compare::measure().map_err(|violation| anyhow::anyhow!("{violation}"))?;
    if args.json {
        say(compare::to_json(&rows));
    } else {
        say(compare::to_table(&rows));
    }
    Ok(rows.iter().all(|row| !row.is_ours() || (row.forked == 0 && row.coordinators == 1)))
}

fn measure_cost(args: &Args) -> anyhow::Result<bool> {
    let sizes = args.members.map_or_else(|| vec![3, 10, 100, 1_000], |members| vec![members]);
    let bar = bar(sizes.len() as u64);
    let mut rows = Vec::new();
    for members in sizes {
        bar.set_message(format!("{members} members"));
        rows.push(cost::measure(members).map_err(|violation| anyhow::anyhow!("{violation}"))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.json {
        say(cost::to_json(&rows));
    } else {
        say(cost::to_table(&rows));
    }
    Ok(true)
}

fn be_quiet(args: &Args, hours: u64) -> anyhow::Result<bool> {
    let bar = bar(hours * 60);
    let quiet = quiet::measure(args.members.unwrap_or(5), hours, |minute| bar.set_position(minute));
    bar.finish_and_clear();
    let quiet = quiet.map_err(|violation| anyhow::anyhow!("{violation}"))?;
    if args.json {
        say(quiet.to_json());
    } else {
        say(format!(
            "{} simulated hours, {} members, 1 % loss: {} elections' messages, {} views, {} called down, {} datagrams",
            quiet.hours, quiet.members, quiet.election_messages, quiet.views, quiet.downs, quiet.datagrams
        ));
    }
    Ok(quiet.is_quiet())
}

fn fail_over(args: &Args, kills: u64) -> anyhow::Result<bool> {
    let cases = match args.members {
        Some(members) => vec![(members, 0.0), (members, 0.05)],
        None => vec![(3, 0.0), (5, 0.0), (7, 0.0), (5, 0.05)],
    };
    let bar = bar(cases.len() as u64);
    let mut rows = Vec::new();
    for (voters, loss) in cases {
        bar.set_message(format!("{voters} voters"));
        rows.push(failover::measure(voters, loss, kills).map_err(|violation| anyhow::anyhow!("{violation}"))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.json {
        say(rows.iter().map(failover::Failover::to_json).collect::<Value>());
    } else {
        say(failover::to_table(&rows));
    }
    Ok(rows.iter().all(failover::Failover::is_soon_enough))
}
