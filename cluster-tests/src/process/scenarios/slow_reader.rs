//! A node that joins reads slowly what it is given. Whoever gives keeps little more than what is on the way.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use quoit_client::Client;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{SETTLE, Stage};
use crate::process::{Fleet, FleetPlan, Observer, Report, Settled};

/// Of each value that is handed over.
const VALUE_BYTES: usize = 64 << 10;
/// Values that are written at a time.
const WRITERS: usize = 8;
/// Keys that are read and written meanwhile, by one caller.
const KEYS: usize = 16;
/// The reader goes on and stops again with this: it runs for one of so many ticks.
const TICK: Duration = Duration::from_millis(40);
const TICKS_PER_RUN: u64 = 4;
/// How long one request may take: longer than the reader is stopped, and much shorter than what it holds up if one waits for
/// it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// By how much the memory of the source may grow beyond its data: some hundred pages, where four may be asked for at a
/// time, and the rest for what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 48 << 20;
/// How long it may take to hand over a mebibyte.
const PATIENCE_PER_MIB: Duration = Duration::from_secs(2);

/// Fills a node with `mib` mebibytes, and has another one join that is to hold a copy of all of it and is stopped most of
/// the time. Requests go on, and the memory of the first grows by a bound that has nothing to do with how much that is.
pub async fn slow_reader(stage: &Stage, mib: u64) -> Report {
    stage
        .play("slow-reader", async |report| {
            // Twice the values: room for what they cost beside their bytes.
            let memory = format!("{}MiB", mib * 2 + 64);
            let plan = FleetPlan { memory, replication: Some(2), nodes: 1, ..stage.plan() };
            let mut fleet = Fleet::start(&plan).await?;
            let played = play(stage, &mut fleet, report, mib).await;
            if played.is_err() || !report.is_good() {
                report.logs = Some(fleet.keep().display().to_string());
            }
            played
        })
        .await
}

async fn play(stage: &Stage, fleet: &mut Fleet, report: &mut Report, mib: u64) -> Result<()> {
    let mut observer = Observer::connect(fleet).await?;
    Settled::wait(fleet, &mut observer, SETTLE).await?;
    let mut progress = stage.progress("slow-reader", 3);
    let client = fleet.client(REQUEST_TIMEOUT).await?;
    let values = mib * (1 << 20) / u64::try_from(VALUE_BYTES)?;
    fill(&client, values).await?;
    progress.step(&format!("{mib} MiB are held"));

    let source = fleet.pid(0)?;
    let asked = Asked::start(client.clone());
    forget_peak(source)?;
    let before = memory(source, "VmRSS:")?;
    let joiner = fleet.add_joiner("n2", 0)?;
    fleet.launch(joiner)?;
    let lasted = read_slowly(fleet, &client, joiner, PATIENCE_PER_MIB * u32::try_from(mib)? + SETTLE).await?;
    let growth = memory(source, "VmHWM:")?.saturating_sub(before);
    let (answered, failed) = asked.count();
    progress.step("handed over");

    Settled::wait(fleet, &mut observer, SETTLE).await?;
    let found = check(&client, values).await?;
    progress.step("all of it is there");
    report.figure("handed_over_mib", mib);
    report.figure("handoff_s", lasted.as_secs());
    report.figure("source_bytes_before", before);
    report.figure("source_peak_growth_bytes", growth);
    report.figure("requests", answered);
    report.figure("requests_failed", failed);
    report.figure("values_checked", found);
    ensure!(growth <= GROWTH_BYTES_MAX, "the source grew by {growth} bytes, more than {GROWTH_BYTES_MAX}");
    ensure!(failed == 0 && answered > 0, "{failed} of {} requests failed meanwhile", answered + failed);
    Ok(())
}

fn value_of(number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(VALUE_BYTES).collect()
}

async fn fill(client: &Client, values: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (client, next) = (client.clone(), Arc::clone(&next));
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= values {
                    return anyhow::Ok(());
                }
                client.set(format!("value:{number}"), value_of(number)).await?;
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(())
}

/// Lets the joiner run and stops it, over and over, until the ring change is over.
async fn read_slowly(fleet: &mut Fleet, client: &Client, joiner: usize, limit: Duration) -> Result<Duration> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = std::time::Instant::now();
    for turn in 1.. {
        ticks.tick().await;
        let view = client.view();
        let fields = view.fields();
        if fields.ring.len() == 2 && fields.target.is_none() {
            break;
        }
        ensure!(started.elapsed() < limit, "the ring change is not over after {:.0} s", limit.as_secs_f64());
        // Until it fetches it is let be, so that it joins.
        if fields.target.is_none() {
            continue;
        } else if turn % TICKS_PER_RUN == 0 {
            fleet.resume(joiner)?;
        } else if fleet.nodes()[joiner].is_living() {
            fleet.pause(joiner)?;
        }
    }
    fleet.resume(joiner)?;
    Ok(started.elapsed())
}

/// Reads some of the values back, and returns how many.
async fn check(client: &Client, values: u64) -> Result<u64> {
    let some = (0..values).step_by(usize::try_from(values / 64)?.max(1));
    let mut found = 0;
    for number in some {
        let value = client.get(format!("value:{number}")).await?;
        ensure!(value.is_some_and(|value| value == value_of(number)), "value {number} is not there");
        found += 1;
    }
    Ok(found)
}

/// One caller that reads and writes a few keys all the while. It ends when this is dropped.
struct Asked {
    counts: Arc<[AtomicU64; 2]>,
    _caller: JoinSet<()>,
}

impl Asked {
    fn start(client: Client) -> Self {
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let mut caller = JoinSet::new();
        let counted = Arc::clone(&counts);
        caller.spawn(async move {
            for turn in 0_usize.. {
                let key = format!("asked:{}", turn % KEYS);
                let good = match client.set(&key, turn.to_le_bytes()).await {
                    Ok(_) => client.get(&key).await.is_ok_and(|value| value.is_some()),
                    Err(_) => false,
                };
                counted[usize::from(!good)].fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { counts, _caller: caller }
    }

    /// How many pairs of a write and a read were answered, and how many were not.
    fn count(&self) -> (u64, u64) {
        (self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed))
    }
}

/// A line of what the kernel knows of the memory of a process, in bytes.
fn memory(pid: u32, what: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(what)).with_context(|| format!("no {what}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Has the kernel take the present memory of a process for its greatest so far.
fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}
