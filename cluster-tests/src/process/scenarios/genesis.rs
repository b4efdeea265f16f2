//! Founders that start at the same time.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use quoit_client::ClusterId;
use rand::seq::SliceRandom;

use super::{SETTLE, Stage};
use crate::process::{Fleet, Observer, Report, Settled};

/// Starts all founders, with nothing on their disks, at the same time in a random order; they must form one cluster. So
/// for `rounds` rounds.
pub async fn genesis(stage: &Stage, rounds: usize) -> Report {
    stage
        .play("genesis", async |report| {
            let mut progress = stage.progress("genesis", rounds);
            let (mut times, mut clusters) = (Vec::new(), BTreeSet::new());
            for _ in 0..rounds {
                let mut fleet = Fleet::prepare(&stage.plan()).await?;
                match form(&mut fleet, report).await {
                    Ok((took, id)) => {
                        times.push(took);
                        clusters.insert(id);
                        progress.step(&format!("formed after {} ms", took.as_millis()));
                    }
                    Err(error) => {
                        report.logs = Some(fleet.keep().display().to_string());
                        return Err(error.context(format!("round {}", times.len() + 1)));
                    }
                }
            }
            report.figure("rounds", times.len());
            report.figure("clusters", clusters.len());
            report.quantiles(["formed_p50_ms", "formed_p99_ms", "formed_max_ms"], &times);
            ensure!(clusters.len() == times.len(), "two rounds made clusters of one id");
            Ok(())
        })
        .await
}

/// Starts all founders, and waits until all are in one cluster. How long that took, and its id.
async fn form(fleet: &mut Fleet, report: &mut Report) -> Result<(Duration, ClusterId)> {
    let mut order: Vec<_> = (0..fleet.nodes().len()).collect();
    order.shuffle(&mut rand::rng());
    let started = Instant::now();
    order.iter().try_for_each(|index| fleet.launch(*index))?;
    // Each is asked by a client that knows of no other node, so that two clusters would be seen.
    let connected = order.iter().map(async |index| {
        let client = fleet.administrator(&[*index], Duration::from_secs(1)).await;
        client.with_context(|| format!("{} is in no cluster", fleet.nodes()[*index].name()))
    });
    let clients = try_join_all(connected).await?;
    let took = started.elapsed();
    let ids: BTreeSet<_> = clients.iter().map(|client| client.view().fields().cluster_id).collect();
    ensure!(ids.len() == 1, "{} clusters were formed: {ids:?}", ids.len());
    let id = ids.first().copied().context("there are founders")?;
    let mut observer = Observer::connect(fleet).await?;
    let settled = Settled::wait(fleet, &mut observer, SETTLE).await?;
    report.violations.extend(observer.take_violations());
    ensure!(settled.view.fields().cluster_id == id, "the cluster became another");
    Ok((took, id))
}
