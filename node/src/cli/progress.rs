//! How far a long command has come: a bar for a person, a line every few seconds for a log.

use std::{
    fmt::Display,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{keys::brief, output::Output};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of one phase of a command, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    /// How far there is to go, in the unit of the positions; unknown for a pipe.
    total: Option<u64>,
    started: Instant,
    surface: Surface,
}

#[derive(Debug)]
enum Surface {
    Bar(ProgressBar),
    Lines { output: Output, last: Instant },
    Nothing,
}

impl Progress {
    pub(crate) fn new(output: &Output, what: &'static str, total: Option<u64>) -> Self {
        let surface = if output.is_quiet() {
            Surface::Nothing
        } else if io::stderr().is_terminal() {
            Surface::Bar(bar(what, total))
        } else {
            Surface::Lines { output: *output, last: Instant::now() }
        };
        Self { what, total, started: Instant::now(), surface }
    }

    /// Shows that `done` records are done with so many `errors`, and that the work stands at `position`.
    pub(crate) fn update(&mut self, position: u64, done: u64, errors: u64) {
        self.show(position, |elapsed| told(done, errors, elapsed));
    }

    /// Shows that `done` of something that cannot fail are done.
    pub(crate) fn advance(&mut self, done: u64, unit: &str) {
        self.show(done, |elapsed| format!("{} {unit}, {}/s", HumanCount(done), HumanCount(rate(done, elapsed))));
    }

    fn show(&mut self, position: u64, told: impl Fn(Duration) -> String) {
        match &mut self.surface {
            Surface::Nothing => {}
            Surface::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(told(self.started.elapsed()));
            }
            Surface::Lines { output, last } => {
                if last.elapsed() < LINE_INTERVAL {
                    return;
                }
                *last = Instant::now();
                let elapsed = self.started.elapsed();
                let told = told(elapsed);
                match self.total.map(|total| remaining(position, total, elapsed)) {
                    Some((percent, left)) => output.note(format!("{}: {percent} %, {told}, {left} left", self.what)),
                    None => output.note(format!("{}: {told}", self.what)),
                }
            }
        }
    }

    /// Writes a remark beside the bar.
    pub(crate) fn note(&self, output: &Output, note: impl Display) {
        match &self.surface {
            Surface::Bar(bar) => bar.suspend(|| output.note(note)),
            Surface::Lines { .. } | Surface::Nothing => output.note(note),
        }
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Surface::Bar(bar) = &self.surface {
            bar.finish_and_clear();
        }
    }
}

/// How many a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "shown to people"
)]
pub(crate) fn rate(done: u64, elapsed: Duration) -> u64 {
    (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{prefix} {bar:24} {percent:>3} %  {msg}  {eta} left",
        None => "{prefix} {spinner}  {msg}  {elapsed}",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the templates above are well-formed"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn told(done: u64, errors: u64, elapsed: Duration) -> String {
    let (count, rate) = (HumanCount(done), HumanCount(rate(done, elapsed)));
    format!("{count} records, {rate}/s, {errors} errors")
}

/// Percent done, and the time left at the pace so far.
fn remaining(position: u64, total: u64, elapsed: Duration) -> (u64, String) {
    let percent = (position.saturating_mul(100)).checked_div(total).unwrap_or(100).min(100);
    let left = total.saturating_sub(position);
    let left = elapsed.as_millis().saturating_mul(u128::from(left)).checked_div(u128::from(position));
    let left = left.and_then(|ms| u64::try_from(ms).ok()).map(|ms| Duration::from_secs(ms.div_ceil(1000)));
    (percent, left.map_or("unknown time".into(), brief))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_pace() {
        let check = |position, total, seconds, expected: (u64, &str)| {
            let (percent, left) = remaining(position, total, Duration::from_secs(seconds));
            assert_eq!((percent, left.as_str()), expected);
        };
        check(25, 100, 10, (25, "30s"));
        check(100, 100, 10, (100, "0ms"));
        check(0, 100, 10, (0, "unknown time"));
        check(0, 0, 0, (100, "unknown time"));
    }

    #[test]
    fn rates_are_a_second() {
        assert_eq!(rate(500, Duration::from_millis(250)), 2000);
        assert_eq!(rate(0, Duration::ZERO), 0);
    }
}
