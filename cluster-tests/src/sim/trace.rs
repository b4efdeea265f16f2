//! What happened in a run: for people to read, and as a number to compare.

use quoit_core::time::Timestamp;

/// What is noted of a run.
#[derive(Debug, Default)]
pub struct Trace {
    /// The lines so far, if somebody wants to read them.
    lines: Option<Vec<String>>,
    /// FNV-1a of all that was digested.
    digest: u64,
}

impl Trace {
    /// A trace without lines: a digest only.
    pub fn off() -> Self {
        Self { lines: None, digest: 0xcbf2_9ce4_8422_2325 }
    }

    /// A trace with lines.
    pub fn on() -> Self {
        Self { lines: Some(Vec::new()), ..Self::off() }
    }

    /// Appends a line. `line` is not called if nobody reads it.
    pub fn note(&mut self, now: Timestamp, who: &dyn std::fmt::Display, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now} {who} {}", line()));
        }
    }

    /// Lets the digest depend on `number`.
    pub fn digest(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The digest of the whole run: two runs that differ anywhere differ here.
    pub fn value(&self) -> u64 {
        self.digest
    }

    /// The lines.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
