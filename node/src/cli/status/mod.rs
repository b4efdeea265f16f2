//! `quoit status`: how every member does, and what to do about what is wrong.

use std::{fmt::Write as _, time::Duration};

use anstyle::{AnsiColor, Style};
use clap::Args;
use quoit_proto_types::Ordinal;
use serde_json::{Value, json};

use self::{
    rows::Row,
    warnings::{Severity, Warning},
};
use super::{
    admin::{administering, ago, moment},
    args::GlobalArgs,
    copies::{Copies, waiting},
    error::CliError,
    handoff,
    output::{Format, Output},
    replication,
};

mod rows;
mod screen;
mod survey;
mod warnings;

pub(crate) use screen::watching;
pub(crate) use survey::Survey;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CAUTION: Style = AnsiColor::Yellow.on_default();

#[derive(Args, Debug)]
#[command(after_help = "\
STATE: up; behind (has an earlier view); restarting; unreachable (from here); leaving;
       down (a majority of the voters does not hear it).
ROLE:  coordinator; voter; member; witness (holds no keys).
SHARE: the part of all slots that it holds as primary. How many copies there are stands above.

Every member is asked; one that is silent for 2s is unreachable.
Exit codes: 0 also where something is wrong, with --check 1 then; 3 no node answers.")]
pub(crate) struct StatusArgs {
    /// Show it again every so many seconds, until Ctrl-C [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600), conflicts_with = "check")]
    watch: Option<u64>,
    /// Say in one line whether anything is degraded, and exit with 1 if so: for scripts and probes
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(args: StatusArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| {
        let report = async || Report::of(Survey::take(client, global.timeout()).await);
        match args.watch {
            Some(seconds) => {
                let draw = async || Ok(report().await.text());
                let write = async || Ok(report().await.write(output)?);
                watching(Duration::from_secs(seconds), output, draw, write).await
            }
            None if args.check => check(&report().await, output),
            None => Ok(report().await.write(output)?),
        }
    })
    .await
}

fn check(report: &Report, output: &Output) -> Result<(), CliError> {
    let (healthy, line) = warnings::verdict(&report.survey, &report.rows, &report.warnings);
    match output.format() {
        Format::Json | Format::Jsonl => {
            let degraded = report.warnings.iter().filter(|warning| warning.severity == Severity::Degraded);
            let problems: Vec<_> = degraded.map(|warning| &warning.what).collect();
            output.json(
                &json!({ "healthy": healthy, "epoch": report.survey.view.epoch().value(), "problems": problems }),
            )?;
        }
        Format::Table | Format::Csv | Format::Raw => output.line(line)?,
    }
    if healthy { Ok(()) } else { Err(CliError::no()) }
}

/// Everything that is shown.
#[derive(Debug)]
struct Report {
    survey: Survey,
    rows: Vec<Row>,
    warnings: Vec<Warning>,
}

impl Report {
    fn of(survey: Survey) -> Self {
        let rows = rows::rows(&survey);
        let warnings = warnings::warnings(&survey, &rows);
        Self { survey, rows, warnings }
    }

    fn write(&self, output: &Output) -> std::io::Result<()> {
        match output.format() {
            Format::Table => output.line(self.text()),
            Format::Json | Format::Jsonl => output.json(&self.document()),
            Format::Csv | Format::Raw => output.table(&rows::COLUMNS, &self.cells()),
        }
    }

    fn cells(&self) -> Vec<Vec<Value>> {
        let members = self.survey.view.members();
        let why = |row: &Row| {
            let named = members.iter().filter(|member| member.name.as_str() == row.name);
            named.filter_map(|member| self.survey.answers.get(&member.ordinal)?.as_ref().err()).next()
        };
        self.rows.iter().map(|row| rows::cells(row, why(row).map(String::as_str))).collect()
    }

    fn document(&self) -> Value {
        let (view, fields) = (&self.survey.view, self.survey.view.fields());
        let object = |cells: Vec<Value>| -> Value { rows::COLUMNS.map(str::to_owned).into_iter().zip(cells).collect() };
        let warnings = self.warnings.iter().map(|warning| {
            let severity = if warning.severity == Severity::Degraded { "degraded" } else { "note" };
            json!({ "severity": severity, "what": warning.what, "try": warning.advice })
        });
        json!({
            "healthy": self.healthy(),
            "cluster": fields.cluster,
            "cluster_id": fields.cluster_id.to_string(),
            "epoch": view.epoch().value(),
            "hash": view.hash().to_string(),
            "since": moment(fields.proposed_at_ms),
            "fence": view.fence().value(),
            "coordinator": self.survey.coordinator(),
            "voters": self.voters(),
            "quorum": self.survey.quorum().map(|quorum| json!({ "heard": quorum.heard, "needed": quorum.needed })),
            "ring_change": fields.target.is_some(),
            "copies": replication::document(view),
            "handoff": self.handoff(),
            "members": self.cells().into_iter().map(object).collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let (view, fields) = (&self.survey.view, self.survey.view.fields());
        let (when, passed) = (moment(fields.proposed_at_ms), ago(fields.proposed_at_ms, self.survey.now_ms));
        let coordinator = self.survey.coordinator().map_or_else(|| format!("{BAD}none{BAD:#}"), ToString::to_string);
        let quorum = match self.survey.quorum() {
            Some(quorum) => {
                format!("{} of {} voters heard, {} needed", quorum.heard, fields.voters.len(), quorum.needed)
            }
            None => "unknown: no voter answers".into(),
        };
        let health = if self.healthy() { format!("{GOOD}ok{GOOD:#}") } else { format!("{BAD}degraded{BAD:#}") };
        let mut text = format!(
            "cluster      {BOLD}{}{BOLD:#}, {health}\n\
             view         epoch {}, hash {}, since {when} ({passed})\n\
             coordinator  {coordinator}\n\
             voters       {}\n\
             quorum       {quorum}\n\
             copies       {}{}\n\n{}",
            fields.cluster,
            view.epoch().value(),
            view.hash(),
            self.voters().join(", "),
            Copies::of(view).text(),
            self.movement(),
            rows::table(&self.rows, view.epoch().value()),
        );
        for (index, warning) in self.warnings.iter().enumerate() {
            let (style, kind) = match warning.severity {
                Severity::Degraded => (BAD, "warning:"),
                Severity::Note => (CAUTION, "note:"),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "{}\n{style}{kind}{style:#} {}", if index == 0 { "\n" } else { "" }, warning.what);
            if let Some(advice) = &warning.advice {
                let _ = write!(text, "\n  {FAINT}try:{FAINT:#} {advice}");
            }
        }
        text
    }

    /// What is on its way to whom, and what waits to begin: a line for each, in front of which there is a line break.
    fn movement(&self) -> String {
        let handoff = self.handoff().into_iter().map(|line| ("handoff", line));
        let waiting = waiting(&self.survey.view).into_iter().map(|line| ("waiting", line));
        handoff.chain(waiting).map(|(what, line)| format!("\n{what:<12} {line}")).collect()
    }

    fn handoff(&self) -> Vec<String> {
        let lines = self.survey.statuses().filter_map(|(member, status)| {
            let upkeep = status.upkeep.as_ref()?;
            handoff::line(&member.name, upkeep)
        });
        lines.collect()
    }

    fn healthy(&self) -> bool {
        self.warnings.iter().all(|warning| warning.severity != Severity::Degraded)
    }

    /// The voters by name.
    fn voters(&self) -> Vec<&str> {
        let view = &self.survey.view;
        let name = |ordinal: &Ordinal| view.member(*ordinal).map(|member| member.name.as_str());
        view.fields().voters.iter().filter_map(name).collect()
    }
}

#[cfg(test)]
mod tests;
