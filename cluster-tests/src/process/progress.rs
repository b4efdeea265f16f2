//! How far a scenario has come: a bar for a person, lines for a log.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress on standard error.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    surface: Surface,
}

#[derive(Debug)]
enum Surface {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Progress of `what` towards `total` steps.
    pub fn new(what: &'static str, total: u64) -> Self {
        let surface = if io::stderr().is_terminal() { Surface::Bar(bar(what, total)) } else { Surface::Lines };
        Self { what, total, done: 0, surface }
    }

    /// Progress that nobody sees.
    pub fn silent() -> Self {
        Self { what: "", total: 0, done: 0, surface: Surface::Nothing }
    }

    /// Says what goes on.
    pub fn note(&self, text: &str) {
        match &self.surface {
            Surface::Bar(bar) => bar.set_message(text.to_owned()),
            Surface::Lines => {
                // Nobody is left to be told that standard error is gone.
                let _ = writeln!(io::stderr(), "{} {}/{}: {text}", self.what, self.done, self.total);
            }
            Surface::Nothing => {}
        }
    }

    /// One more step is done.
    pub fn step(&mut self, text: &str) {
        self.reach(self.done + 1, text);
    }

    /// So many are.
    pub fn reach(&mut self, done: u64, text: &str) {
        self.done = done.min(self.total);
        if let Surface::Bar(bar) = &self.surface {
            bar.set_position(self.done);
        }
        self.note(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Surface::Bar(bar) = &self.surface {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{prefix} {bar:24} {pos}/{len}  {msg}  {elapsed}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("the template above is well-formed"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
