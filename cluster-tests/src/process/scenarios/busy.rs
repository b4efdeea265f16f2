//! Every CPU is kept busy by others.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{PERIOD, SETTLE, Stage, count_changes};
use crate::process::{Load, Report, Settled, wait};

/// The argument with which a program of this crate does nothing but work until its standard input ends.
pub const SPIN: &str = "spin";

/// Keeps every CPU busy for `duration` with processes of ordinary priority. Nobody may be elected or found down.
pub async fn busy(stage: &Stage, duration: Duration) -> Report {
    stage
        .play_with_cluster("busy", async |fleet, observer, report| {
            let mut progress = stage.progress("busy", usize::try_from(duration.as_secs())?);
            let load = Load::start(fleet).await?;
            let before = Settled::wait(fleet, observer, SETTLE).await?;
            let cpus = thread::available_parallelism()?.get();
            let spinners = (0..cpus).map(|_| Spinner::start()).collect::<Result<Vec<_>>>()?;
            wait::throughout(duration, 10 * PERIOD, async || {
                observer.round(&fleet.living()).await;
                progress.step(&format!("{cpus} CPUs busy"));
                fleet.check_running()
            })
            .await?;
            drop(spinners);
            Settled::wait(fleet, observer, SETTLE).await?;
            report.figure("busy_s", duration.as_secs());
            report.figure("busy_cpus", cpus);
            let (elections, downs) = count_changes(observer, before.view.epoch().value(), report);
            let count = load.take();
            report.load(&count);
            ensure!(elections + downs == 0, "{elections} elections and {downs} members found down, all of them alive");
            Ok(())
        })
        .await
}

/// A process that keeps one CPU busy. It ends with this one, whatever becomes of it.
#[derive(Debug)]
struct Spinner(Child);

impl Spinner {
    fn start() -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = Command::new(own);
        command.arg(SPIN).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("cannot start a process that keeps a CPU busy")?))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
