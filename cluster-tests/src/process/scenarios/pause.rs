//! The coordinator is stopped between two instructions, and goes on much later.

use std::time::Duration;

use anyhow::ensure;

use super::{PERIOD, SETTLE, Stage, count_changes, elected};
use crate::process::{Load, Report, Settled, wait};

/// Stops the coordinator with SIGSTOP, until another has held the office for `stopped`. The first, once it goes on, publishes
/// nothing more, follows, and does not take the office back while it is watched, for half as long.
pub async fn pause(stage: &Stage, stopped: Duration) -> Report {
    stage
        .play_with_cluster("pause", async |fleet, observer, report| {
            let mut progress = stage.progress("pause", 3);
            let load = Load::start(fleet).await?;
            let before = Settled::wait(fleet, observer, SETTLE).await?;
            let (paused, epoch) = (before.coordinator.clone(), before.view.epoch().value());
            let index = fleet.index(&paused)?;
            load.down(paused.as_str());
            fleet.pause(index)?;
            let living = fleet.living();
            let successor = elected(fleet, observer, &living).await?;
            progress.step(&format!("{successor} presides while {paused} is stopped"));
            wait::throughout(stopped, PERIOD, async || {
                observer.round(&living).await;
                fleet.check_running()
            })
            .await?;

            fleet.resume(index)?;
            let after = Settled::wait(fleet, observer, SETTLE).await?;
            load.up(paused.as_str());
            progress.step(&format!("{paused} follows {}", after.coordinator));
            ensure!(after.coordinator == successor, "{} took the office from {successor}", after.coordinator);
            wait::throughout(stopped / 2, PERIOD, async || {
                let round = observer.round(&fleet.living()).await;
                let others: Vec<_> = round.coordinators().filter(|status| status.name != successor).collect();
                ensure!(others.is_empty(), "{} took the office back from {successor}", others[0].name);
                fleet.check_running()
            })
            .await?;
            progress.step("done");
            let by = observer.records_after(epoch).filter(|record| record.coordinator == paused);
            let late: Vec<_> = by.map(|record| record.epoch.value()).collect();
            ensure!(late.is_empty(), "{paused} published epochs {late:?} after it had been stopped");
            let (elections, _) = count_changes(observer, epoch, report);
            ensure!(elections == 1, "{elections} elections for one pause");
            report.load(&load.take());
            Ok(())
        })
        .await
}
