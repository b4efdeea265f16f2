//! The nodes are cut into two sides, and joined again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quoit_client::{Label, Liveness, View};

use super::{ELECTION, PERIOD, SETTLE, Stage, count_changes, others, some};
use crate::process::{Fleet, Load, LoadCount, Observer, Report, Settled, observer::has_quorum, wait, wait_for};

/// Cuts the nodes into a majority and a minority, first with the coordinator in the minority, then in the majority. The
/// majority finds the others down and presides; the minority decides nothing; both answer for the keys they own. They
/// stay apart for `lasting` after that. Joined again, they agree on one view in which all are up.
pub async fn partition(stage: &Stage, lasting: Duration) -> Report {
    stage
        .play_with_cluster("partition", async |fleet, observer, report| {
            let mut progress = stage.progress("partition", 4);
            let load = Load::start(fleet).await?;
            let mut count = LoadCount::default();
            let first = Settled::wait(fleet, observer, SETTLE).await?;
            for in_minority in [true, false] {
                let whose = if in_minority { "the minority" } else { "the majority" };
                let before = Settled::wait(fleet, observer, SETTLE).await?;
                let sides = Sides::of(fleet, &before.coordinator, in_minority)?;
                fleet.cut(sides.between())?;
                let apart = apart(fleet, observer, &sides, &before, lasting).await;
                apart.with_context(|| format!("with the coordinator in {whose}"))?;
                progress.step(&format!("the majority presides, the coordinator was in {whose}"));
                fleet.cut([])?;
                let after = Settled::wait(fleet, observer, SETTLE).await.context("after it was healed")?;
                ensure!(
                    sides.majority.contains(&fleet.index(&after.coordinator)?),
                    "{} of the minority took the office when it came back",
                    after.coordinator
                );
                count.add(&load.take());
                progress.step(&format!("healed, {} failed requests", count.failed));
            }
            count_changes(observer, first.view.epoch().value(), report);
            report.load(&count);
            Ok(())
        })
        .await
}

struct Sides {
    majority: Vec<usize>,
    minority: Vec<usize>,
}

impl Sides {
    fn of(fleet: &Fleet, coordinator: &Label, in_minority: bool) -> Result<Self> {
        let coordinator = fleet.index(coordinator)?;
        let mut order = vec![coordinator];
        order.extend(others(fleet, coordinator));
        if !in_minority {
            order.rotate_left(1);
        }
        let majority = order.split_off(order.len().saturating_sub(1) / 2);
        Ok(Self { minority: order, majority })
    }

    /// Every pair across, in both directions.
    fn between(&self) -> Vec<(usize, usize)> {
        let pairs = self.majority.iter().flat_map(|a| self.minority.iter().map(move |b| (*a, *b)));
        pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
    }
}

async fn apart(
    fleet: &mut Fleet,
    observer: &mut Observer,
    sides: &Sides,
    before: &Settled,
    lasting: Duration,
) -> Result<()> {
    let (majority, minority) = (some(fleet, &sides.majority)?, some(fleet, &sides.minority)?);
    let names: Vec<_> = minority.iter().map(|(name, _)| name.clone()).collect();
    wait_for("the majority to find the others down", 2 * ELECTION, async || {
        fleet.check_running()?;
        let round = observer.round(&majority).await;
        let coordinator = match crate::process::settled::agreed(&round) {
            Ok(coordinator) => coordinator,
            Err(why) => return Ok(Err(why)),
        };
        let view = observer.view_at(&coordinator, quoit_client::Epoch::new(round.epoch())).await.ok().flatten();
        Ok(view.ok_or_else(|| "no view".to_owned()).and_then(|view| are_down(&view, &names)))
    })
    .await?;
    let epoch = before.view.epoch().value();
    wait::throughout(lasting, PERIOD, async || {
        fleet.check_running()?;
        let round = observer.round(&majority).await;
        ensure!(round.coordinators().count() == 1, "the majority has no coordinator");
        // What was decided before the cut may still have been under way; nothing else may reach the minority.
        let round = observer.round(&minority).await;
        for status in round.statuses() {
            let now = status.epoch.value();
            ensure!(now <= epoch, "{} of the minority went from epoch {epoch} to {now}", status.name);
        }
        Ok(())
    })
    .await?;
    let round = observer.round(&minority).await;
    for (name, answer) in &round.answers {
        let status = answer.as_ref().map_err(|error| anyhow::anyhow!("{name} of the minority: {error}"))?;
        ensure!(!has_quorum(status), "{name} of the minority claims to hear a majority");
    }
    Ok(())
}

fn are_down(view: &View, names: &[Label]) -> Result<(), String> {
    let live = |name: &Label| view.member_named(name).map(|member| member.live);
    match names.iter().find(|name| live(name) == Some(Liveness::Up)) {
        Some(name) => Err(format!("{name} is still up")),
        None => Ok(()),
    }
}
