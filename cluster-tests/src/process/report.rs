//! What came of a scenario, for people and for programs.

use std::{fmt::Write, time::Duration};

use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::LoadCount;

/// Violations that are told of one kind; the rest are counted.
const TOLD_MAX: usize = 20;

/// What came of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its name.
    pub scenario: &'static str,
    /// What connected the nodes.
    pub links: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What was counted and measured.
    pub figures: Vec<(&'static str, Value)>,
    /// The same of each kind of step, where there are several.
    pub steps: Vec<StepFigures>,
    /// What should not have been.
    pub violations: Vec<String>,
    /// More on what was found, in words.
    pub notes: Vec<String>,
    /// All of it in one line, which is the last.
    pub last_word: Option<String>,
    /// Why it was not run.
    pub skipped: Option<String>,
    /// Where the logs of its nodes are, if something went wrong.
    pub logs: Option<String>,
}

/// What was counted and measured of one kind of step. All of a report have the same figures.
#[derive(Clone, Debug)]
pub struct StepFigures {
    /// Which.
    pub step: &'static str,
    /// By name.
    pub figures: Vec<(&'static str, Value)>,
}

impl Report {
    /// Adds a figure.
    pub fn figure(&mut self, name: &'static str, value: impl Into<Value>) {
        self.figures.push((name, value.into()));
    }

    /// Adds the figures of a load, and its failures.
    pub fn load(&mut self, count: &LoadCount) {
        self.figure("requests", count.answered + count.failed);
        self.figure("requests_failed_for_living_owners", count.failed);
        self.figure("values_lost_by_living_owners", count.lost);
        let (ring_change, down) = (count.across_ring_change, count.across_down);
        self.figure("requests_across_a_ring_change", ring_change.attempted);
        self.figure("requests_failed_across_a_ring_change", ring_change.failed);
        self.figure("requests_as_their_owner_went_down", down.attempted);
        self.figure("requests_failed_as_their_owner_went_down", down.failed);
        self.figure("request_p99_ms", tenths(count.p99_ms()));
        self.figure("request_max_ms", tenths(count.slowest_ms()));
        if count.answered == 0 {
            self.violations.push("no living owner answered a request: the load shows nothing".into());
        }
        if count.failed + count.lost > 0 {
            let (failed, lost) = (count.failed, count.lost);
            let told = count.told.join("; ");
            self.violations.push(format!("{failed} requests failed and {lost} values were lost: {told}"));
        }
    }

    /// Adds p50, p99 and maximum of durations. There are at least some.
    pub fn quantiles(&mut self, names: [&'static str; 3], durations: &[Duration]) {
        let mut sorted = durations.to_vec();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        for (name, percent) in names.into_iter().zip([50, 99, 100]) {
            // The smallest duration that so many percent do not exceed.
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1).min(last);
            let ms = sorted.get(rank).map(|duration| tenths(duration.as_secs_f64() * 1e3));
            self.figure(name, ms);
        }
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    fn verdict(&self) -> &'static str {
        match (&self.skipped, self.is_good()) {
            (Some(_), _) => "SKIPPED",
            (None, true) => "ok",
            (None, false) => "VIOLATED",
        }
    }
}

/// Rounded to a tenth, which is all that such figures are worth.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The reports as a table, and below it what was wrong.
pub fn to_table(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SCENARIO", "RESULT", "FIGURE", "VALUE"]);
    for report in reports {
        let seconds = format!("{:.1} s", report.took.as_secs_f64());
        table.add_row([report.scenario, report.verdict(), "took", &seconds]);
        table.add_row(["", "", "links", report.links]);
        for (name, value) in &report.figures {
            table.add_row(["", "", &name.replace('_', " "), &plain(value)]);
        }
    }
    let mut text = plain_table(table);
    for report in reports {
        text += &steps(report);
        if let Some(why) = &report.skipped {
            let _ = writeln!(text, "SKIPPED: {}: {why}", report.scenario);
        }
        for violation in report.violations.iter().take(TOLD_MAX) {
            let _ = writeln!(text, "VIOLATED: {}: {violation}", report.scenario);
        }
        if let Some(more) = report.violations.len().checked_sub(TOLD_MAX + 1) {
            let _ = writeln!(text, "VIOLATED: {}: {} more", report.scenario, more + 1);
        }
        for note in &report.notes {
            let _ = writeln!(text, "{}: {note}", report.scenario);
        }
        if let Some(logs) = &report.logs {
            let _ = writeln!(text, "logs of {}: {logs}", report.scenario);
        }
    }
    for last_word in reports.iter().filter_map(|report| report.last_word.as_ref()) {
        let _ = writeln!(text, "{last_word}");
    }
    text
}

/// A table of the steps, if there are any.
fn steps(report: &Report) -> String {
    let Some(first) = report.steps.first() else { return String::new() };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let names = first.figures.iter().map(|(name, _)| name.replace('_', " ").to_uppercase());
    table.set_header(std::iter::once("STEP".to_owned()).chain(names));
    for row in &report.steps {
        let values = row.figures.iter().map(|(_, value)| plain(value));
        table.add_row(std::iter::once(row.step.to_owned()).chain(values));
    }
    format!("\n{}\n", plain_table(table))
}

fn plain_table(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// The reports as one document.
pub fn to_json(reports: &[Report]) -> Value {
    let map = |figures: &[(&'static str, Value)]| -> Map<_, _> {
        figures.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let step = |row: &StepFigures| {
        let mut step = map(&row.figures);
        step.insert("step".into(), row.step.into());
        Value::Object(step)
    };
    let object = |report: &Report| {
        json!({
            "scenario": report.scenario,
            "result": report.verdict(),
            "links": report.links,
            "took_s": tenths(report.took.as_secs_f64()),
            "figures": map(&report.figures),
            "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
            "violations": report.violations,
            "notes": report.notes,
            "last_word": report.last_word,
            "skipped": report.skipped,
            "logs": report.logs,
        })
    };
    Value::Array(reports.iter().map(object).collect())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
