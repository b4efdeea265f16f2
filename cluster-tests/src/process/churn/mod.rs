//! A cluster that changes all the while, under a load that knows what it must find.
//!
//! Callers write and read keys of their own, and keep a `ledger` of every write outside the cluster. `steps` changes the
//! cluster: nodes join, leave, die and return, copies and weights change, the nodes are cut apart and joined again. After each
//! step, once the cluster is at rest, the load is held for a moment, and a client that has written nothing reads every key
//! once: `verify`. What was acknowledged must be there, and nothing else may be.
//!
//! The ledger is bounded by the number of keys, which are written over and over.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use quoit_client::{Client, ReadLevel};

use self::{
    ledger::Wrong,
    load::{Books, Caller, Crew},
    sides::Sides,
    steps::Cluster,
    tally::Tally,
    verify::Verifier,
};
use super::{
    Fleet, FleetPlan, LinkKind, Observer, Progress, Report,
    scenarios::{PERIOD, SETTLE, Stage},
    wait,
};

mod ledger;
mod load;
mod meddle;
mod moving;
mod rows;
mod sides;
mod steps;
mod tally;
mod value;
mod verify;

pub use self::steps::Step;

/// Memory of each node, beside four times what the values of all keys take, so that none is evicted.
const MEMORY_MIB: usize = 512;
/// How full a node may get before it cannot be excluded any more that it evicts. No status tells of evictions.
const FULL: f64 = 0.5;
/// Connections to each node, which the callers share.
const CLIENTS: usize = 2;
/// How long who watches keys move waits for an answer.
const WATCH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long nothing is done, so that other steps can be compared with it.
const IDLE: Duration = Duration::from_secs(10);
/// A node that joins, and two clients that can be cut off.
const SPARE: usize = 3;

/// What a churn is to be.
#[derive(Clone, Debug)]
pub struct Churn {
    /// How long it goes on.
    pub until: Until,
    /// What is drawn at random follows from it: requests of each caller, nodes of each step.
    pub seed: u64,
    /// Callers at once, each with one request under way.
    pub callers: usize,
    /// Requests per second of all callers together, once every key is there; without it, as many as there can be.
    pub rate: Option<NonZeroU32>,
    /// Keys of all callers together.
    pub keys: usize,
    /// Copies of each key.
    pub replication: u8,
    /// What is done in each pass. What cannot be done here is left out.
    pub steps: Vec<Step>,
    /// How long values are, in bytes: at least as long as what makes them recognisable, 24 bytes.
    pub value_bytes: Range<usize>,
    /// What each node may fetch in a second when slots move, as on its command line; nothing for what it does by itself.
    pub handoff_rate: Option<String>,
}

impl Default for Churn {
    fn default() -> Self {
        Self {
            until: Until::Lasted(Duration::from_secs(180)),
            seed: 1,
            callers: 64,
            rate: None,
            keys: 50_000,
            replication: 2,
            steps: Step::ALL.to_vec(),
            value_bytes: value::VALUE_BYTES,
            handoff_rate: None,
        }
    }
}

/// When it is over: looked at after each step.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So much time has passed.
    Lasted(Duration),
    /// So many writes were acknowledged.
    Wrote(u64),
    /// So many passes were made.
    Passed(u64),
}

/// Changes a cluster again and again under a verifying load. No acknowledged write may be lost, whatever is done; and of what
/// an operator does on purpose no client may notice anything.
pub async fn churn(stage: &Stage, plan: &Churn) -> Report {
    stage
        .play("churn", async |report| {
            let replication = Some(plan.replication);
            let memory = format!("{}MiB", MEMORY_MIB + ((4 * plan.keys * plan.value_bytes.end) >> 20));
            let handoff_rate = plan.handoff_rate.clone();
            let fleet_plan = FleetPlan { spare: SPARE, memory, replication, handoff_rate, ..stage.plan() };
            let steps = possible(stage, plan);
            let mut fleet = Fleet::prepare(&fleet_plan).await?;
            for index in 0..stage.nodes {
                fleet.on_stop(index, steps::at_first_stop(&steps));
                fleet.launch(index)?;
            }
            let played = Box::pin(play(stage, plan, &steps, &mut fleet, report)).await;
            if played.is_err() || !report.is_good() {
                report.logs = Some(fleet.keep().display().to_string());
            }
            played
        })
        .await
}

async fn play(stage: &Stage, plan: &Churn, steps: &[Step], fleet: &mut Fleet, report: &mut Report) -> Result<()> {
    let mut observer = Observer::connect(fleet).await?;
    let ledgers = plan.callers + 2 * sides::CALLERS;
    let books = Arc::new(Books::new(ledgers, plan.keys / plan.callers, &plan.value_bytes, plan.seed));
    let sides = if steps.contains(&Step::Partition) {
        // After the founders come the place of the node that joins, and those of the two clients.
        let places = [stage.nodes + 1, stage.nodes + 2];
        Some(Sides::connect(fleet, places, plan.callers).await?)
    } else {
        None
    };
    let cluster = Cluster::new(fleet, &mut observer, plan, steps, books.started());
    let nodes: Vec<_> = (0..stage.nodes).collect();
    let administrator = cluster.fleet.administrator(&nodes, WATCH_TIMEOUT).await?;
    let _watch = moving::watch(administrator, Arc::clone(&books));
    let rows = BTreeMap::new();
    let mut run = Run { cluster, books, sides, rows, passes: 0, progress: stage.progress("churn", plan.total()), plan };
    let played = Box::pin(run.all(steps)).await;
    let rows = std::mem::take(&mut run.rows);
    let (fullest, moved, timeline) =
        (run.cluster.fullest, run.cluster.moved, std::mem::take(&mut run.cluster.timeline));
    drop(run);
    rows::report(report, plan, &rows);
    if played.is_err() || !report.is_good() {
        report.notes.extend(timeline);
    }
    report.figure("fullest_node_percent", (fullest * 1000.0).round() / 10.0);
    if let Some((share, ideal)) = moved {
        report.figure("moved_at_the_last_join_percent", (share * 100.0).round() / 100.0);
        report.figure("moved_if_the_ring_were_ideal_percent", (ideal * 100.0).round() / 100.0);
    }
    if fullest > FULL {
        report
            .violations
            .push("a node was so full that it may have evicted keys: what was not found may be that".into());
    }
    report.figure("answers_checked", observer.observations());
    report.violations.extend(observer.take_violations());
    played
}

/// The steps that can be done: with one copy of each key only those that lose none, and cuts where links can be cut.
fn possible(stage: &Stage, plan: &Churn) -> Vec<Step> {
    let can_cut = stage.links != LinkKind::Direct;
    let is_possible =
        |step: &&Step| (plan.replication > 1 || step.keeps_single_copies()) && (can_cut || **step != Step::Partition);
    plan.steps.iter().filter(is_possible).copied().collect()
}

impl Churn {
    /// What progress is measured by.
    fn total(&self) -> usize {
        let total = match self.until {
            Until::Lasted(duration) => duration.as_secs(),
            Until::Wrote(writes) => writes,
            Until::Passed(passes) => passes,
        };
        usize::try_from(total).unwrap_or(usize::MAX)
    }
}

/// What a row of the table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Every key is written for the first time.
    Fill,
    /// A change.
    Step(Step),
    /// Everything is read once more, from all owners.
    End,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Fill => "first writes",
            Self::Step(step) => step.name(),
            Self::End => "at the end, level all",
        }
    }

    fn is_planned(self) -> bool {
        match self {
            Self::Fill | Self::End => true,
            Self::Step(step) => step.is_planned(),
        }
    }
}

/// What came of all steps of one kind.
#[derive(Debug, Default)]
struct Row {
    took: Vec<Duration>,
    tally: Tally,
}

struct Run<'a> {
    cluster: Cluster<'a>,
    books: Arc<Books>,
    sides: Option<Sides>,
    rows: BTreeMap<Phase, Row>,
    /// Passes through all steps that were made.
    passes: u64,
    progress: Progress,
    plan: &'a Churn,
}

impl Run<'_> {
    async fn all(&mut self, steps: &[Step]) -> Result<()> {
        self.cluster.settle(|_| Ok(())).await.context("at the start")?;
        let mut crew = Crew::start(&self.books, self.callers().await?, self.plan.rate);
        let begun = Instant::now();
        let filled = crew.filled(SETTLE).await;
        self.ends(Phase::Fill, begun.elapsed(), ReadLevel::One).await?;
        filled?;
        'over: while !self.is_over() {
            for step in steps {
                crew.check()?;
                let begun = Instant::now();
                let done =
                    self.step(*step).await.with_context(|| format!("{} in pass {}", step.name(), self.passes + 1));
                // Whatever became of it, what was found counts.
                let ended = self.ends(Phase::Step(*step), begun.elapsed(), ReadLevel::One).await;
                done.and(ended)?;
                if self.is_over() {
                    break 'over;
                }
            }
            self.passes += 1;
        }
        crew.end().await?;
        let begun = Instant::now();
        self.cluster.settle(|_| Ok(())).await.context("at the end")?;
        self.ends(Phase::End, begun.elapsed(), ReadLevel::All).await
    }

    async fn callers(&self) -> Result<Vec<Caller>> {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::connect(self.cluster.fleet.client_config()?).await?);
        }
        let caller = |ledger: usize| Caller { ledger, client: clients[ledger % CLIENTS].new_session(), level: None };
        Ok((0..self.plan.callers).map(caller).collect())
    }

    /// How far it has come, in what it is [measured](Churn::total) by.
    fn done(&self) -> u64 {
        match self.plan.until {
            Until::Lasted(_) => self.books.now().as_secs(),
            Until::Wrote(_) => self.rows.values().map(|row| row.tally.writes).sum(),
            Until::Passed(_) => self.passes,
        }
    }

    fn is_over(&self) -> bool {
        self.done() >= self.plan.total() as u64
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        self.progress.note(step.name());
        self.cluster.log(format!("{} begins", step.name()));
        match step {
            Step::Join => Box::pin(self.cluster.join()).await,
            Step::Drain => Box::pin(self.cluster.drain()).await,
            Step::Kill => Box::pin(self.cluster.kill()).await,
            Step::RollLeaving | Step::RollStaying => Box::pin(self.cluster.roll(step)).await,
            Step::Copies => Box::pin(self.cluster.change_copies()).await,
            Step::Weight => Box::pin(self.cluster.change_weight()).await,
            Step::Partition => match &self.sides {
                Some(sides) => Box::pin(sides.part(&mut self.cluster, &self.books)).await,
                None => Ok(()),
            },
            Step::Idle => {
                let fleet = &mut *self.cluster.fleet;
                wait::throughout(IDLE, PERIOD, async || fleet.check_running()).await
            }
            Step::Meddle => meddle::meddle(self.cluster.fleet, &self.books).await,
        }
    }

    /// Verifies everything at `level`, and puts down what was counted.
    async fn ends(&mut self, phase: Phase, took: Duration, level: ReadLevel) -> Result<()> {
        let verifier = Verifier::connect(self.cluster.fleet, &self.books).await?;
        let verified = verifier.run(level).await;
        let row = self.rows.entry(phase).or_default();
        row.took.push(took);
        let tally = self.books.take().during(&format!("{} {}", phase.name(), row.took.len()));
        let (seconds, writes, failures) = (took.as_secs_f64(), tally.writes, tally.failures());
        let bad: u64 = [Wrong::Nothing, Wrong::Stale, Wrong::Resurrected, Wrong::NeverWritten]
            .into_iter()
            .map(|wrong| tally.count(wrong))
            .sum();
        row.tally.add(&tally);
        let name = phase.name();
        let (misses, gap_ms) = (tally.misses + tally.misses_at_rest, tally.gap.as_millis());
        let text = format!(
            "{name}: {seconds:.1} s, {writes} writes, {failures} client errors, {bad} values wrong, {misses} misses, longest \
             gap {gap_ms} ms"
        );
        self.progress.reach(self.done(), &text);
        verified
    }
}
