//! One log line for each refused peer, and no more than a log can bear.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quoit_core::time::Timestamp;
use tracing::warn;

use crate::clock::Clock;

/// Lines per second for one cause; what is above is counted and told with the next line.
const LINES_PER_SECOND: u32 = 10;
/// Bytes of a reason that are logged, before they are escaped.
const REASON_BYTES_MAX: usize = 400;

/// Logs refusals.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    clock: Clock,
    causes: Mutex<BTreeMap<&'static str, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Timestamp,
    lines: u32,
    suppressed: u64,
}

impl RefusalLog {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, causes: Mutex::default() }
    }

    /// Says that `remote` was refused, under the stable name `cause`, and why in plain words, which may quote the peer.
    pub(crate) fn refused(&self, remote: SocketAddr, cause: &'static str, reason: &str) {
        if let Some(suppressed) = self.admit(cause, self.clock.now()) {
            let reason = printable(reason);
            warn!(event = "refused", %remote, cause, suppressed, "{reason}");
        }
    }

    /// How many lines were suppressed before this one; `None` if this one is suppressed too.
    fn admit(&self, cause: &'static str, now: Timestamp) -> Option<u64> {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { since: now, lines: 0, suppressed: 0 };
        let window = causes.entry(cause).or_insert(fresh);
        if now >= window.since.saturating_add(Duration::from_secs(1)) {
            (window.since, window.lines) = (now, 0);
        }
        if window.lines == LINES_PER_SECOND {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// `text` as one line of ASCII that is not too long: what a peer says must not look like another line of the log, nor
/// steer the terminal it is read on.
fn printable(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(REASON_BYTES_MAX)];
    let mut shown = String::with_capacity(cut.len());
    for c in cut.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    if cut.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_stays_one_short_line() {
        assert_eq!(printable("plain \"words\", 100 %"), "plain \"words\", 100 %");
        assert_eq!(printable("a\nERROR forged\u{1b}[2J\u{202e}"), "a\\nERROR forged\\u{1b}[2J\\u{202e}");
        let long = printable(&"\u{e9}".repeat(10_000));
        assert!(long.ends_with("...") && long.len() <= REASON_BYTES_MAX * 6, "{}", long.len());
    }

    #[tokio::test]
    async fn a_flood_is_counted_instead_of_logged() {
        let log = RefusalLog::new(Clock::start());
        let at = |ms: u64| Timestamp::from_micros(ms * 1000);
        let lines = (0..1000).filter(|_| log.admit("unknown authority", at(5)).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(log.admit("expired", at(5)), Some(0), "another cause has its own allowance");
        assert_eq!(log.admit("unknown authority", at(1006)), Some(990));
        assert_eq!(log.admit("unknown authority", at(1007)), Some(0));
    }
}
