//! The coordinator is killed, again and again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{SETTLE, Stage, next_view};
use crate::process::{Fleet, Load, LoadCount, Observer, Report, Settled, wait_for};
use quoit_client::{Label, Liveness};

/// What the slowest but one in a hundred may take, with the profile `lan`.
const TARGET: Duration = Duration::from_millis(1500);
/// With fewer kills than this, one slow one is more than one in a hundred.
const KILLS_FOR_TARGET: usize = 100;

/// Kills the coordinator `kills` times with SIGKILL; each time another must publish a view, and no request for the keys of
/// those that live may fail. Measures the time from the kill to that view.
pub async fn failover(stage: &Stage, kills: usize) -> Report {
    stage
        .play_with_cluster("failover", async |fleet, observer, report| {
            let load = Load::start(fleet).await?;
            let mut tally = Tally::default();
            let mut progress = stage.progress("failover", kills);
            for _ in 0..kills {
                let done = kill_once(fleet, observer, &load, &mut tally).await;
                done.with_context(|| format!("kill {}", tally.count() + 1))?;
                progress.step(&tally.last());
            }
            tally.report(report);
            Ok(())
        })
        .await
}

#[derive(Debug, Default)]
struct Tally {
    views: Vec<Duration>,
    downs: Vec<Duration>,
    returns: Vec<Duration>,
    reconnects: Vec<Duration>,
    failed_at_returned: u64,
    load: LoadCount,
    failing_kills: usize,
}

impl Tally {
    fn count(&self) -> usize {
        self.views.len()
    }

    fn last(&self) -> String {
        let ms = |durations: &[Duration]| durations.last().copied().unwrap_or_default().as_millis();
        let failed = self.load.failed;
        format!("next view {} ms, back {} ms, {failed} failed requests", ms(&self.views), ms(&self.returns))
    }

    fn report(&self, report: &mut Report) {
        report.figure("kills", self.count());
        report.quantiles(["next_view_p50_ms", "next_view_p99_ms", "next_view_max_ms"], &self.views);
        report.quantiles(["found_down_p50_ms", "found_down_p99_ms", "found_down_max_ms"], &self.downs);
        report.quantiles(["all_up_p50_ms", "all_up_p99_ms", "all_up_max_ms"], &self.returns);
        report.quantiles(["client_back_p50_ms", "client_back_p99_ms", "client_back_max_ms"], &self.reconnects);
        report.figure("requests_failed_at_the_returned_node", self.failed_at_returned);
        report.figure("kills_with_failed_requests", self.failing_kills);
        report.load(&self.load);
        let slow = self.views.iter().filter(|view| **view > TARGET).count();
        report.figure("slower_than_1500_ms", slow);
        if self.count() >= KILLS_FOR_TARGET && slow * 100 > self.count() {
            report.violations.push(format!("{slow} of {} views took longer than 1500 ms", self.count()));
        }
    }
}

async fn kill_once(fleet: &mut Fleet, observer: &mut Observer, load: &Load, tally: &mut Tally) -> Result<()> {
    let settled = Settled::wait(fleet, observer, SETTLE).await?;
    let victim = fleet.index(&settled.coordinator)?;
    let name = settled.coordinator.clone();
    // Counted apart: what fails while nobody is killed.
    tally.load.add(&load.take());

    load.down(name.as_str());
    let killed = Instant::now();
    fleet.kill(victim)?;
    let (at, _) = next_view(fleet, observer, settled.view.epoch().value()).await?;
    tally.views.push(at.duration_since(killed));
    tally.downs.push(found_down(fleet, observer, &name).await?.duration_since(killed));

    let restarted = Instant::now();
    fleet.launch(victim)?;
    // With connections of its own to the new process: how long a client takes to notice it is measured below.
    observer.reconnect(fleet).await?;
    Settled::wait(fleet, observer, SETTLE).await.with_context(|| format!("after {name} was started again"))?;
    tally.returns.push(restarted.elapsed());
    let (took, failed) = load.up_again(name.as_str(), SETTLE).await?;
    tally.reconnects.push(took);
    tally.failed_at_returned += failed;
    let count = load.take();
    tally.failing_kills += usize::from(count.failed + count.lost > 0);
    tally.load.add(&count);
    Ok(())
}

/// The moment at which a view says that a member is down.
async fn found_down(fleet: &mut Fleet, observer: &mut Observer, name: &Label) -> Result<Instant> {
    let living = fleet.living();
    wait_for(&format!("{name} to be found down"), super::ELECTION, async || {
        let round = observer.round(&living).await;
        let latest = round.statuses().max_by_key(|status| status.epoch);
        let Some(latest) = latest else { return Ok(Err("nobody answers".into())) };
        let view = observer.view_at(&latest.name, latest.epoch).await.ok().flatten();
        let member = view.as_ref().and_then(|view| view.member_named(name));
        let is_down = member.is_none_or(|member| member.live == Liveness::Down);
        Ok(if view.is_some() && is_down { Ok(round.at) } else { Err(format!("it is up at {}", latest.name)) })
    })
    .await
}
