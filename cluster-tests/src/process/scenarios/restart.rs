//! Every node is stopped in good order and started again, one after the other.

use anyhow::{Context, ensure};
use quoit_client::Label;

use super::{SETTLE, STOP, Stage, count_changes};
use crate::process::{Load, LoadCount, Report, Settled};

/// Restarts each node under load: it must end with exit code 0 and be back before the next one's turn, and no request for
/// the keys of the others may fail.
pub async fn restart(stage: &Stage) -> Report {
    stage
        .play_with_cluster("restart", async |fleet, observer, report| {
            let load = Load::start(fleet).await?;
            let mut count = LoadCount::default();
            let mut progress = stage.progress("restart", fleet.nodes().len());
            let first = Settled::wait(fleet, observer, SETTLE).await?;
            let (mut times, mut failed_at_returned) = (Vec::new(), 0);
            for index in 0..fleet.nodes().len() {
                let name: Label = fleet.nodes()[index].name().clone();
                let started = std::time::Instant::now();
                load.down(name.as_str());
                fleet.terminate(index)?;
                let status = fleet.ended(index, STOP).await?;
                ensure!(status.success(), "{name} ended with {status} when it was told to stop");
                fleet.launch(index)?;
                observer.reconnect(fleet).await?;
                let settled = Settled::wait(fleet, observer, SETTLE).await;
                settled.with_context(|| format!("after {name} was restarted"))?;
                failed_at_returned += load.up_again(name.as_str(), SETTLE).await?.1;
                count.add(&load.take());
                times.push(started.elapsed());
                progress.step(&format!("{name} is back, {} failed requests", count.failed));
            }
            report.figure("restarts", times.len());
            report.quantiles(["restart_p50_ms", "restart_p99_ms", "restart_max_ms"], &times);
            report.figure("requests_failed_at_the_returned_node", failed_at_returned);
            count_changes(observer, first.view.epoch().value(), report);
            report.load(&count);
            Ok(())
        })
        .await
}
