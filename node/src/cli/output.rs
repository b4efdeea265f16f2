//! Writing answers: data to standard output in the format that was asked for, everything else to standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::args::GlobalArgs;

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // For people. (Not documentation comments: clap would give each a paragraph in every command's help.)
    Table,
    // One JSON document.
    Json,
    // One JSON document for each row.
    Jsonl,
    // Comma-separated values with a heading.
    Csv,
    // The bytes of values and nothing else.
    Raw,
}

/// Where answers go, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    chosen: Option<Format>,
    terminal: bool,
    quiet: bool,
}

impl Output {
    /// As the command line asks for, on this process's standard output.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        let chosen = if global.json { Some(Format::Json) } else { global.output };
        Self { chosen, terminal: io::stdout().is_terminal(), quiet: global.quiet }
    }

    /// The format, where tables are the default.
    pub(crate) fn format(&self) -> Format {
        self.chosen.unwrap_or(Format::Table)
    }

    /// The format, if one was asked for.
    pub(crate) fn chosen(&self) -> Option<Format> {
        self.chosen
    }

    /// Whether a person reads along.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether only what was asked for should be said.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes bytes as they are, colour codes included.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Writes a line of data.
    pub(crate) fn line(&self, line: impl Display) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Writes one JSON document: indented, or on one line with `jsonl`.
    pub(crate) fn json(&self, document: &impl Serialize) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        if self.chosen == Some(Format::Jsonl) {
            serde_json::to_writer(&mut out, document)?;
        } else {
            serde_json::to_writer_pretty(&mut out, document)?;
        }
        writeln!(out)?;
        out.flush()
    }

    /// Writes rows in whichever format was asked for. `columns` are the names of JSON fields; people read them in capitals,
    /// and find numbers aligned to the right.
    pub(crate) fn table(&self, columns: &[&str], rows: &[Vec<Value>]) -> io::Result<()> {
        let object = |row: &Vec<Value>| {
            let fields = columns.iter().map(|&name| name.to_owned()).zip(row.iter().cloned());
            Value::Object(fields.collect())
        };
        match self.format() {
            Format::Table => self.line(aligned(columns, rows)),
            Format::Json => self.json(&rows.iter().map(object).collect::<Vec<_>>()),
            Format::Jsonl => rows.iter().try_for_each(|row| self.json(&object(row))),
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(Vec::new());
                csv.write_record(columns)?;
                rows.iter().try_for_each(|row| csv.write_record(row.iter().map(plain)))?;
                self.bytes(&csv.into_inner().map_err(csv::IntoInnerError::into_error)?)
            }
            Format::Raw => rows.iter().try_for_each(|row| {
                let cells: Vec<_> = row.iter().map(plain).collect();
                self.line(cells.join("\t"))
            }),
        }
    }

    /// Writes a remark for people to standard error, unless they asked for quiet.
    pub(crate) fn note(&self, note: impl Display) {
        if !self.quiet {
            // Nobody is left to be told that standard error is gone.
            let _ = writeln!(anstream::stderr().lock(), "{note}");
        }
    }
}

/// Columns two spaces apart, without borders, so that other tools can cut them.
pub(crate) fn aligned(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|name| name.replace('_', " ").to_uppercase()));
    table.add_rows(rows.iter().map(|row| row.iter().map(cell)));
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        let mut cells = rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.is_null()).peekable();
        if cells.peek().is_some() && cells.all(Value::is_number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A value as people read it: something stands in every cell.
fn cell(value: &Value) -> String {
    let text = match value.as_bool() {
        Some(true) => "yes".into(),
        Some(false) => "no".into(),
        None => plain(value),
    };
    if text.is_empty() { "-".into() } else { text }
}

/// A value as programs read it: strings without their quotes, lists as flags take them, nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
