//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at a state that is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Looks with `probe` until it finds something; what it says while it has not is told if it never does.
///
/// # Errors
/// `limit` has passed, or the probe itself fails.
pub async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probe().await? {
            Ok(found) => return Ok(found),
            Err(why) if started.elapsed() > limit => {
                bail!("waited {:.1} s in vain for {what}: {why}", limit.as_secs_f64());
            }
            Err(_) => {}
        }
    }
}

/// Lets `duration` pass, doing something at each tick of `period`.
///
/// # Errors
/// What `act` returns.
pub(super) async fn throughout(
    duration: Duration,
    period: Duration,
    mut act: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while started.elapsed() < duration {
        ticks.tick().await;
        act().await?;
    }
    Ok(())
}
