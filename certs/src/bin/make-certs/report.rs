//! `list` and `check`, for people and as JSON.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use anstyle::Style;
use quoit_certs::{Certificate, Entry, Report, Severity, rfc3339};
use serde::Serialize;

use crate::print::{self, BAD, FAINT, GOOD, Row, WARNING};

pub(crate) fn list_text(entries: &[Entry], now: SystemTime, out: &mut impl Write) -> anyhow::Result<()> {
    let headings = ["FOLDER", "ROLE", "NAMES", "DAYS LEFT", "SHA-256 FINGERPRINT"];
    let mut rows = vec![Row { style: Style::new(), cells: headings.map(str::to_owned).to_vec() }];
    for entry in entries {
        let mut cells = vec![print::folder(&entry.folder)];
        let style = match &entry.certificate {
            Ok(certificate) => {
                let days = certificate.days_left(now);
                let role = role(certificate, entry.is_authority());
                let names = if entry.is_authority() { String::new() } else { print::names(certificate) };
                cells.extend([role, names, days.to_string(), certificate.fingerprint()]);
                if days < 0 { BAD } else { Style::new() }
            }
            Err(_) => {
                cells.extend(["unreadable".to_owned(), "see check".to_owned()]);
                BAD
            }
        };
        rows.push(Row { style, cells });
    }
    Ok(print::rows(out, &rows)?)
}

pub(crate) fn list_json(entries: &[Entry], now: SystemTime, out: &mut impl Write) -> anyhow::Result<()> {
    let listed: Vec<_> = entries.iter().map(|entry| Listed::new(entry, now)).collect();
    json(&listed, out)
}

pub(crate) fn check_text(reports: &[Report], now: SystemTime, out: &mut impl Write) -> anyhow::Result<()> {
    let rows: Vec<_> = reports.iter().map(|report| check_row(report, now)).collect();
    // Aligned as one table, then cut into lines for the findings to go between.
    let mut table = Vec::new();
    print::rows(&mut table, &rows)?;
    for (line, report) in String::from_utf8_lossy(&table).lines().zip(reports) {
        writeln!(out, "{line}")?;
        for finding in &report.findings {
            writeln!(out, "  {}", reason(&finding.problem))?;
            writeln!(out, "    {FAINT}try:{FAINT:#} {}", finding.remedy)?;
        }
    }
    Ok(())
}

pub(crate) fn check_json(reports: &[Report], out: &mut impl Write) -> anyhow::Result<()> {
    let checked: Vec<_> = reports.iter().map(Checked::new).collect();
    json(&checked, out)
}

fn check_row(report: &Report, now: SystemTime) -> Row {
    let (style, word) = match report.severity() {
        None => (GOOD, "ok"),
        Some(Severity::Warning) => (WARNING, "warning"),
        Some(Severity::Failure) => (BAD, "wrong"),
    };
    let mut cells = vec![word.to_owned(), print::folder(&report.folder)];
    if let Some(certificate) = &report.certificate {
        cells.push(if report.is_authority() { "authority".to_owned() } else { print::names(certificate) });
        cells.push(print::validity(certificate, now));
    }
    Row { style, cells }
}

#[derive(Serialize)]
struct Listed<'a> {
    folder: &'a Path,
    role: String,
    identity: Option<String>,
    hosts: Vec<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    days_left: Option<i64>,
    fingerprint_sha256: Option<String>,
    error: Option<String>,
}

impl<'a> Listed<'a> {
    fn new(entry: &'a Entry, now: SystemTime) -> Self {
        let certificate = entry.certificate.as_ref().ok();
        Self {
            folder: &entry.folder,
            role: certificate.map_or_else(|| "unknown".to_owned(), |it| role(it, entry.is_authority())),
            identity: certificate.and_then(|it| it.identity().ok()).map(|identity| identity.to_string()),
            hosts: certificate.map(Certificate::hosts).unwrap_or_default(),
            not_before: certificate.map(|it| rfc3339(it.not_before())),
            not_after: certificate.map(|it| rfc3339(it.not_after())),
            days_left: certificate.map(|it| it.days_left(now)),
            fingerprint_sha256: certificate.map(Certificate::fingerprint),
            error: entry.certificate.as_ref().err().map(|error| reason(error)),
        }
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    folder: &'a Path,
    identity: Option<String>,
    result: &'static str,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    severity: &'static str,
    what: String,
    remedy: String,
}

impl<'a> Checked<'a> {
    fn new(report: &'a Report) -> Self {
        let identity = report.certificate.as_ref().and_then(|certificate| certificate.identity().ok());
        let findings = report.findings.iter().map(|finding| Found {
            severity: severity(Some(finding.problem.severity())),
            what: reason(&finding.problem),
            remedy: finding.remedy.clone(),
        });
        Self {
            folder: &report.folder,
            identity: identity.map(|identity| identity.to_string()),
            result: severity(report.severity()),
            findings: findings.collect(),
        }
    }
}

fn severity(severity: Option<Severity>) -> &'static str {
    match severity {
        None => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Failure) => "wrong",
    }
}

fn role(certificate: &Certificate, authority: bool) -> String {
    if authority {
        return "authority".to_owned();
    }
    certificate.identity().map_or_else(|_| "none".to_owned(), |identity| identity.role().to_string())
}

/// Writes an error with all its causes on one line.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn json(value: &impl Serialize, out: &mut impl Write) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(value)?)?)
}
