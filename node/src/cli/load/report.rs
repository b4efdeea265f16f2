//! What a load came to.

use std::{fmt::Write as _, io, time::Duration};

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::{failures::Failures, verify::Verdict, writer::Tally};
use crate::cli::{
    error::{CliError, Exit},
    output::{Format, Output},
    progress::rate,
};

/// The figures of a load.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) tally: Tally,
    pub(super) skipped: u64,
    /// Without verification.
    pub(super) elapsed: Duration,
    pub(super) verdict: Option<Verdict>,
}

impl Report {
    pub(super) fn write(&self, output: &Output) -> io::Result<()> {
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&self.document()),
            Format::Table | Format::Csv | Format::Raw => output.line(self.text().trim_end()),
        }
    }

    /// Whether every record is where it should be.
    pub(super) fn result(&self) -> Result<(), CliError> {
        let failed = self.tally.failures.count();
        if self.tally.hopeless {
            let what = format!("gave up: the cluster takes nothing, {} failed", counted(failed));
            return Err(CliError::new(Exit::Cluster, what).why(first_example(&self.tally.failures)));
        }
        if failed > 0 {
            let what = format!("{} not loaded", counted(failed));
            return Err(CliError::new(Exit::Cluster, what).why(first_example(&self.tally.failures)));
        }
        match &self.verdict {
            Some(verdict) if !verdict.is_clean() => Err(verdict.error()),
            _ => Ok(()),
        }
    }

    fn text(&self) -> String {
        let Tally { records, bytes, failures, .. } = &self.tally;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<10} {value}");
        };
        line("records", HumanCount(*records).to_string());
        line("bytes", format!("{} of keys and values", HumanBytes(*bytes)));
        line("seconds", format!("{:.2}", self.elapsed.as_secs_f64()));
        line("rate", format!("{} records/s", HumanCount(rate(*records, self.elapsed))));
        line("skipped", HumanCount(self.skipped).to_string());
        line("errors", HumanCount(failures.count()).to_string());
        for (kind, failure) in failures.iter() {
            line(
                "",
                format!("{} {kind}, first on line {}: {}", HumanCount(failure.count), failure.line, failure.example),
            );
        }
        if let Some(verdict) = &self.verdict {
            let Verdict { same, missing, different, failures, .. } = verdict;
            let (same, missing, different) = (HumanCount(*same), HumanCount(*missing), HumanCount(*different));
            let unread = HumanCount(failures.count());
            line(
                "verified",
                format!("{same} keys as written, {different} different, {missing} missing, {unread} unread"),
            );
        }
        text
    }

    fn document(&self) -> Value {
        let Tally { records, bytes, failures, .. } = &self.tally;
        json!({
            "records": records,
            "bytes": bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "records_per_second": rate(*records, self.elapsed),
            "skipped": self.skipped,
            "errors": by_kind(failures),
            "verified": self.verdict.as_ref().map(|verdict| json!({
                "same": verdict.same,
                "different": verdict.different,
                "missing": verdict.missing,
                "errors": by_kind(&verdict.failures),
            })),
        })
    }
}

impl Verdict {
    fn error(&self) -> CliError {
        let mut error = CliError::new(Exit::Cluster, "not every record reads back as it was written");
        if let Some(line) = self.first_line {
            error = error.why(format!("the first one is on line {line}"));
        }
        if self.failures.count() > 0 {
            error = error.why(first_example(&self.failures));
        }
        if self.missing > 0 {
            error = error.why("missing keys were evicted for lack of memory, expired, or deleted by somebody else");
        }
        error
    }
}

/// `1 record`, `2 records`.
pub(super) fn counted(records: u64) -> String {
    let noun = if records == 1 { "record" } else { "records" };
    format!("{} {noun}", HumanCount(records))
}

fn first_example(failures: &Failures) -> String {
    let first = failures.iter().min_by_key(|(_, failure)| failure.line);
    first.map_or_else(String::new, |(_, failure)| format!("line {}: {}", failure.line, failure.example))
}

fn by_kind(failures: &Failures) -> Value {
    failures.iter().map(|(kind, failure)| (kind.to_owned(), Value::from(failure.count))).collect()
}
