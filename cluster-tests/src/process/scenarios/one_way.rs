//! Links that carry datagrams one way only.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{ELECTION, PERIOD, SETTLE, Stage, count_changes, others};
use crate::process::{Fleet, Load, LoadCount, Observer, Report, Settled, wait, wait_for};

/// What does not get through.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// What the coordinator sends.
    Mute,
    /// What is sent to the coordinator.
    Deaf,
    /// What the coordinator sends to one of the others.
    OneLink,
}

/// Cuts the coordinator off, one way: none hears it, then it hears none; each time the others elect one of them, once.
/// Then one single link one way, which must change nothing: a majority hears everybody. Each cut lasts for `lasting` once its
/// effect, if any, is there.
pub async fn one_way(stage: &Stage, lasting: Duration) -> Report {
    stage
        .play_with_cluster("one-way", async |fleet, observer, report| {
            let mut progress = stage.progress("one-way", 3);
            let load = Load::start(fleet).await?;
            let mut count = LoadCount::default();
            let first = Settled::wait(fleet, observer, SETTLE).await?;
            for cut in [Cut::Mute, Cut::Deaf, Cut::OneLink] {
                let done = cut_once(fleet, observer, cut, lasting).await;
                done.with_context(|| format!("{cut:?}"))?;
                count.add(&load.take());
                progress.step(&format!("{cut:?} healed, {} failed requests", count.failed));
            }
            count_changes(observer, first.view.epoch().value(), report);
            report.load(&count);
            Ok(())
        })
        .await
}

async fn cut_once(fleet: &mut Fleet, observer: &mut Observer, cut: Cut, lasting: Duration) -> Result<()> {
    let before = Settled::wait(fleet, observer, SETTLE).await?;
    let (coordinator, epoch) = (fleet.index(&before.coordinator)?, before.view.epoch().value());
    let others = others(fleet, coordinator);
    match cut {
        Cut::Mute => fleet.cut(others.iter().map(|other| (coordinator, *other)))?,
        Cut::Deaf => fleet.cut(others.iter().map(|other| (*other, coordinator)))?,
        Cut::OneLink => fleet.cut(others.iter().take(1).map(|other| (coordinator, *other)))?,
    }
    let expected = match cut {
        Cut::Mute | Cut::Deaf => Some(successor(fleet, observer, &others, epoch).await?),
        Cut::OneLink => None,
    };
    let holder = expected.clone().unwrap_or_else(|| before.coordinator.clone());
    wait::throughout(lasting, PERIOD, async || {
        fleet.check_running()?;
        let round = observer.round(&fleet.living()).await;
        let latest = round.coordinators().max_by_key(|status| status.epoch).map(|status| status.name.clone());
        ensure!(latest.as_ref() == Some(&holder), "{holder} lost the office to {latest:?}");
        if expected.is_none() {
            let now = round.epoch();
            ensure!(now == epoch, "one link cut one way took the cluster from epoch {epoch} to {now}");
        }
        Ok(())
    })
    .await?;
    fleet.cut([])?;
    let after = Settled::wait(fleet, observer, SETTLE).await.context("after it was healed")?;
    ensure!(after.coordinator == holder, "{} took the office from {holder} when it was healed", after.coordinator);
    Ok(())
}

/// Waits until one of the others presides over a later view.
async fn successor(
    fleet: &mut Fleet,
    observer: &mut Observer,
    others: &[usize],
    epoch: u64,
) -> Result<quoit_client::Label> {
    let others = super::some(fleet, others)?;
    wait_for("a coordinator among the others", 2 * ELECTION, async || {
        fleet.check_running()?;
        let round = observer.round(&others).await;
        let later = round.epoch() > epoch;
        Ok(crate::process::settled::agreed(&round)
            .and_then(|name| if later { Ok(name) } else { Err("there is no later view".into()) }))
    })
    .await
}
