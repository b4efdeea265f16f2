//! A part of the terminal that is drawn again and again, and given back as it was.

use std::{
    io::{self, Write},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::FAINT;
use crate::cli::{
    admin::{moment, now_ms},
    error::{CliError, Exit},
    output::{Format, Output},
};

/// The other screen, without a cursor, and without wrapping, so that a line stays a line.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Shows something again each `every`, until it is interrupted: on a terminal as `draw` has it, on a screen of its own, and
/// elsewhere by `write`, one after the other.
pub(crate) async fn watching(
    every: Duration,
    output: &Output,
    draw: impl AsyncFn() -> Result<String, CliError>,
    write: impl AsyncFn() -> Result<(), CliError>,
) -> Result<(), CliError> {
    // Ends this function, not the process, so that the terminal is given back.
    let mut terminate = signal(SignalKind::terminate())?;
    let screen = if output.is_terminal() && output.format() == Format::Table { Some(Screen::enter()?) } else { None };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let show = async {
        loop {
            ticks.tick().await;
            match &screen {
                Some(screen) => {
                    let (text, now) = (draw().await?, moment(now_ms()));
                    let seconds = every.as_secs();
                    screen.draw(&format!("{text}\n\n{FAINT}{now}, every {seconds}s; Ctrl-C ends it{FAINT:#}"))?;
                }
                None => {
                    write().await?;
                    if output.format() == Format::Table {
                        output.line("")?;
                    }
                }
            }
        }
    };
    tokio::select! {
        shown = show => shown,
        _ = terminate.recv() => Err(CliError::new(Exit::Interrupted, "")),
    }
}

/// The terminal's other screen; dropping it goes back to the first.
#[derive(Debug)]
pub(super) struct Screen;

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        write(ENTER)?;
        Ok(Self)
    }

    /// Replaces what is shown.
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        let plain;
        let text = if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
            plain = strip_str(text).to_string();
            &plain
        } else {
            text
        };
        write(frame(text).as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = write(LEAVE);
    }
}

/// Each line at its own row, the rest of it cleared. Rows below the last one count as that one, so that nothing scrolls.
fn frame(text: &str) -> String {
    let lines = text.lines().enumerate().map(|(row, line)| format!("\x1b[{};1H{line}\x1b[K", row + 1));
    lines.collect::<String>() + "\x1b[J"
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_placed_and_cleared() {
        assert_eq!(frame("a\nb"), "\x1b[1;1Ha\x1b[K\x1b[2;1Hb\x1b[K\x1b[J");
    }
}
