//! What is done to a fleet, and what must hold meanwhile and afterwards. Each makes one [`Report`].

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quoit_client::Label;

use super::{Fleet, FleetPlan, LinkKind, Observer, Program, Progress, Report, Settled, settled};

mod busy;
mod failover;
mod genesis;
mod one_way;
mod partition;
mod pause;
mod restart;
mod slow_reader;

pub use busy::{SPIN, busy};
pub use failover::failover;
pub use genesis::genesis;
pub use one_way::one_way;
pub use partition::partition;
pub use pause::pause;
pub use restart::restart;
pub use slow_reader::slow_reader;

/// How long a cluster may take to settle. A flapping node is let in again after 96 s at most.
pub(super) const SETTLE: Duration = Duration::from_secs(150);
/// How long an election may take before it counts as failed. The figure it must reach is far below.
pub(super) const ELECTION: Duration = Duration::from_secs(15);
/// How long a process may take to stop in good order.
pub(super) const STOP: Duration = Duration::from_secs(40);
/// Between two rounds of questions where no moment is to be measured.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// What scenarios are played on.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What the nodes run.
    pub program: Program,
    /// How many nodes found the cluster.
    pub nodes: usize,
    /// What connects them.
    pub links: LinkKind,
    /// Threads for requests of each node, as in [`FleetPlan::threads`].
    pub threads: Option<usize>,
    /// Whether progress is shown.
    pub shown: bool,
}

impl Stage {
    /// The fleet that plays on it.
    #[must_use]
    pub fn plan(&self) -> FleetPlan {
        FleetPlan { threads: self.threads, ..FleetPlan::new(self.program.clone(), self.nodes, self.links) }
    }

    pub(super) fn progress(&self, what: &'static str, total: usize) -> Progress {
        if self.shown { Progress::new(what, total as u64) } else { Progress::silent() }
    }

    /// Runs `body`; what it fails with is a violation too.
    pub(super) async fn play(
        &self,
        scenario: &'static str,
        body: impl AsyncFnOnce(&mut Report) -> Result<()>,
    ) -> Report {
        let mut report = Report { scenario, links: self.links.name(), ..Report::default() };
        let started = Instant::now();
        if let Err(error) = body(&mut report).await {
            report.violations.push(format!("{error:#}"));
        }
        report.took = started.elapsed();
        report
    }

    /// The same with a cluster that has settled.
    async fn play_with_cluster(
        &self,
        scenario: &'static str,
        body: impl AsyncFnOnce(&mut Fleet, &mut Observer, &mut Report) -> Result<()>,
    ) -> Report {
        self.play(scenario, async |report| {
            let mut fleet = Fleet::start(&self.plan()).await?;
            let played = play_on(&mut fleet, report, body).await;
            if played.is_err() || !report.is_good() {
                report.logs = Some(fleet.keep().display().to_string());
            }
            played
        })
        .await
    }
}

async fn play_on(
    fleet: &mut Fleet,
    report: &mut Report,
    body: impl AsyncFnOnce(&mut Fleet, &mut Observer, &mut Report) -> Result<()>,
) -> Result<()> {
    let mut observer = Observer::connect(fleet).await?;
    let played = match Settled::wait(fleet, &mut observer, SETTLE).await {
        Ok(_) => body(fleet, &mut observer, report).await,
        Err(error) => Err(error.context("at the start")),
    };
    report.figure("answers_checked", observer.observations());
    report.violations.extend(observer.take_violations());
    played
}

/// Waits until one of the nodes that live has a later view than `epoch`; the moment, and the view.
async fn next_view(fleet: &mut Fleet, observer: &mut Observer, epoch: u64) -> Result<(Instant, u64)> {
    let living = fleet.living();
    super::wait_for("the next view", ELECTION, async || {
        fleet.check_running()?;
        let round = observer.round(&living).await;
        let found = round.epoch();
        Ok(if found > epoch { Ok((round.at, found)) } else { Err(format!("still at epoch {found}")) })
    })
    .await
}

/// Waits until those of `nodes` that are asked agree on a coordinator among them.
async fn elected(fleet: &mut Fleet, observer: &mut Observer, nodes: &[(Label, u32)]) -> Result<Label> {
    super::wait_for("a coordinator", ELECTION, async || {
        fleet.check_running()?;
        Ok(settled::agreed(&observer.round(nodes).await))
    })
    .await
}

/// Counts the elections after `epoch`, and the members found down.
fn count_changes(observer: &Observer, epoch: u64, report: &mut Report) -> (usize, usize) {
    let records: Vec<_> = observer.records_after(epoch).collect();
    let changes = || records.iter().flat_map(|record| &record.changes);
    let elections = changes().filter(|change| matches!(change, quoit_client::Change::Elected(_))).count();
    let downs = changes().filter(|change| matches!(change, quoit_client::Change::Down(_))).count();
    report.figure("views", records.len());
    report.figure("elections", elections);
    report.figure("found_down", downs);
    (elections, downs)
}

/// The founders but one.
fn others(fleet: &Fleet, index: usize) -> Vec<usize> {
    (0..fleet.nodes().len()).filter(|other| *other != index).collect()
}

/// Names and starts of some nodes, as an observer wants them.
pub(super) fn some(fleet: &Fleet, indices: &[usize]) -> Result<Vec<(Label, u32)>> {
    let node = |index: &usize| fleet.nodes().get(*index).map(|node| (node.name().clone(), node.starts()));
    indices.iter().map(|index| node(index).context("there is no such node")).collect()
}
