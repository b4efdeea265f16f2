//! Reads records from CSV, TSV or JSON lines, one at a time, whatever the size of the input.

use std::{
    io::{self, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use clap::ValueEnum;
use quoit_client::KEY_BYTES_MAX;

use self::{delimited::Delimited, json_lines::JsonLines};

mod delimited;
mod json_lines;

/// No record is longer: room for the longest value with quotes and escapes. It bounds what an open quote can swallow.
const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How records are written in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// Comma-separated values with a heading; RFC 4180 quotes
    Csv,
    /// Tab-separated values with a heading; quotes mean nothing
    Tsv,
    /// One JSON object a line
    Jsonl,
}

impl InputFormat {
    /// What a file name's extension stands for.
    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// Which parts of a record become key and value.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) key: String,
    /// The whole record, as JSON, if there is none.
    pub(super) value: Option<String>,
    pub(super) prefix: String,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    /// The line it starts on, from 1.
    pub(super) line: u64,
}

/// A record that cannot be loaded. The ones after it can.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct BadRecord {
    pub(super) line: u64,
    pub(super) reason: String,
}

/// Why an input cannot be read (on).
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// There is nothing in it, not even a heading.
    #[error("the input is empty: it should start with a line that names the columns")]
    Empty,
    /// The heading has no such column.
    #[error("there is no column `{name}`")]
    NoColumn { name: String, columns: Vec<String> },
    /// A record does not end, most likely because of a quote.
    #[error("line {line}: a record of more than {} MiB: is a quote left open?", RECORD_BYTES_MAX >> 20)]
    Endless { line: u64 },
    /// Reading failed.
    #[error("reading failed")]
    Read(#[source] io::Error),
}

/// The records of an input in their order.
pub(super) struct Source {
    format: Reader,
    prefix: String,
    meter: Arc<Meter>,
}

enum Reader {
    Delimited(Delimited<Input>),
    JsonLines(JsonLines<BufReader<Input>>),
}

type Input = Metered<Box<dyn Read + Send>>;

impl Source {
    /// Reads the heading, if the format has one.
    pub(super) fn open(
        input: Box<dyn Read + Send>,
        format: InputFormat,
        columns: Columns,
    ) -> Result<Self, SourceError> {
        let meter = Arc::new(Meter::default());
        meter.grant();
        let input = Metered { input, meter: Arc::clone(&meter) };
        let Columns { key, value, prefix } = columns;
        let format = match format {
            InputFormat::Csv => Reader::Delimited(Delimited::open(input, b',', &key, value.as_deref())?),
            InputFormat::Tsv => Reader::Delimited(Delimited::open(input, b'\t', &key, value.as_deref())?),
            InputFormat::Jsonl => Reader::JsonLines(JsonLines::new(BufReader::new(input), key, value)),
        };
        Ok(Self { format, prefix, meter })
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Result<Record, BadRecord>>, SourceError> {
        self.meter.grant();
        let record = match &mut self.format {
            Reader::Delimited(reader) => reader.next()?,
            Reader::JsonLines(reader) => reader.next()?,
        };
        Ok(record.map(|record| record.and_then(|record| self.finish(record))))
    }

    /// Bytes read from the input so far.
    pub(super) fn position(&self) -> u64 {
        self.meter.read.load(Ordering::Relaxed)
    }

    fn finish(&self, mut record: Record) -> Result<Record, BadRecord> {
        if !self.prefix.is_empty() {
            record.key = [self.prefix.as_bytes(), &record.key].concat().into();
        }
        let bytes = record.key.len();
        if (1..=KEY_BYTES_MAX).contains(&bytes) {
            return Ok(record);
        }
        let reason = match bytes {
            0 => "the key is empty".to_owned(),
            _ => format!("a key of {bytes} bytes: keys have at most {KEY_BYTES_MAX}"),
        };
        Err(BadRecord { line: record.line, reason })
    }
}

/// Counts what is read, and how much more may be until the current record must have ended.
#[derive(Debug, Default)]
struct Meter {
    read: AtomicU64,
    limit: AtomicU64,
}

impl Meter {
    fn grant(&self) {
        self.limit.store(self.read.load(Ordering::Relaxed) + RECORD_BYTES_MAX, Ordering::Relaxed);
    }
}

struct Metered<R> {
    input: R,
    meter: Arc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.read.load(Ordering::Relaxed) > self.meter.limit.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.input.read(buffer)?;
        self.meter.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// What a failed read at `line` means.
fn read_error(error: io::Error, line: u64) -> SourceError {
    if error.kind() == io::ErrorKind::FileTooLarge { SourceError::Endless { line } } else { SourceError::Read(error) }
}

#[cfg(test)]
mod tests;
