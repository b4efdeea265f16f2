//! How far a run has come: a line that changes for a person, a line for each step for a log. On standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The steps of a run, of which one is under way.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    steps: usize,
    step: usize,
    started: Instant,
}

impl Progress {
    /// The progress of so many steps.
    pub fn new(steps: usize, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
            let template = "{elapsed:>5} {bar:20} {pos}/{len}  {prefix}  {msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, quiet, steps, step: 0, started: Instant::now() }
    }

    /// The next step begins. What it returns counts requests, and is watched until the step after.
    pub fn step(&mut self, what: impl Display) -> Arc<AtomicU64> {
        let done = Arc::new(AtomicU64::new(0));
        self.step += 1;
        if let Some(bar) = &self.bar {
            bar.set_position((self.step - 1).min(self.steps) as u64);
            bar.set_prefix(what.to_string());
            bar.set_message("");
            watch(bar.clone(), Arc::clone(&done));
        } else if !self.quiet {
            let (step, steps, seconds) = (self.step, self.steps.max(self.step), self.started.elapsed().as_secs());
            // Nothing is left to do about a standard error that cannot be written.
            let _ = writeln!(io::stderr(), "{seconds:>5} s  {step}/{steps}  {what}");
        }
        done
    }

    /// Writes a remark beside it.
    pub fn note(&self, note: impl Display) {
        let write = || {
            let _ = writeln!(io::stderr(), "{note}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how many requests there were and how many a second there are, as long as anybody else holds their count.
fn watch(bar: ProgressBar, done: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let (mut last, mut then) = (0, Instant::now());
        while Arc::strong_count(&done) > 1 && !bar.is_finished() {
            std::thread::sleep(TICK);
            let (now, seconds) = (done.load(Ordering::Relaxed), then.elapsed().as_secs_f64());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown to people")]
            let rate = (now.saturating_sub(last) as f64 / seconds) as u64;
            (last, then) = (now, Instant::now());
            bar.set_message(format!("{} requests, {}/s", HumanCount(now), HumanCount(rate)));
        }
    });
}

const TICK: Duration = Duration::from_millis(250);
