//! Records with a heading: CSV and TSV.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use bytes::Bytes;
use csv::{ByteRecord, ErrorKind};
use serde::Serializer as _;

use super::{BadRecord, Record, SourceError, read_error};

pub(super) struct Delimited<R> {
    reader: csv::Reader<Lines<R>>,
    /// Kept from record to record, with the memory it has.
    record: ByteRecord,
    names: Vec<String>,
    key: usize,
    value: Option<usize>,
}

impl<R: Read> Delimited<R> {
    pub(super) fn open(input: R, delimiter: u8, key: &str, value: Option<&str>) -> Result<Self, SourceError> {
        let mut builder = csv::ReaderBuilder::new();
        // In tab-separated values a quote is a character like any other (IANA text/tab-separated-values).
        builder.delimiter(delimiter).quoting(delimiter == b',').buffer_capacity(1 << 16);
        let mut reader = builder.from_reader(Lines::new(input));
        let heading = match reader.byte_headers() {
            Ok(heading) => heading,
            Err(error) => return Err(fatal(error, 1)),
        };
        let names: Vec<String> = heading.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if names.is_empty() {
            return Err(SourceError::Empty);
        }
        let find = |wanted: &str| {
            names
                .iter()
                .position(|name| name == wanted)
                .ok_or_else(|| SourceError::NoColumn { name: wanted.to_owned(), columns: names.clone() })
        };
        let (key, value) = (find(key)?, value.map(find).transpose()?);
        Ok(Self { reader, record: ByteRecord::new(), names, key, value })
    }

    pub(super) fn next(&mut self) -> Result<Option<Result<Record, BadRecord>>, SourceError> {
        let read = self.reader.read_byte_record(&mut self.record);
        let line = self.line();
        match read {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => {
                let ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() else {
                    return Err(fatal(error, line));
                };
                let reason = format!("the heading names {expected_len} fields, and here are {len}");
                return Ok(Some(Err(BadRecord { line, reason })));
            }
        }
        let value = match self.value {
            Some(column) => Bytes::copy_from_slice(&self.record[column]),
            None => match self.as_json() {
                Ok(json) => json.into(),
                Err(reason) => return Ok(Some(Err(BadRecord { line, reason }))),
            },
        };
        Ok(Some(Ok(Record { key: Bytes::copy_from_slice(&self.record[self.key]), value, line })))
    }

    /// The line on which the record just read starts: the one it ends on, less the line breaks in its fields.
    fn line(&mut self) -> u64 {
        let end = self.reader.position().byte();
        let within: usize = self.record.iter().map(line_breaks).sum();
        self.reader.get_mut().line_at(end).saturating_sub(within as u64)
    }

    /// The record as an object, its fields in the order of the columns.
    fn as_json(&self) -> Result<Vec<u8>, String> {
        let mut fields = Vec::with_capacity(self.names.len());
        for (name, field) in self.names.iter().zip(&self.record) {
            let text = str::from_utf8(field).map_err(|_| {
                format!("column `{name}` is not UTF-8, so the record cannot be JSON: load one column with --value")
            })?;
            fields.push((name, text));
        }
        let mut json = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut json);
        serializer.collect_map(fields).map_err(|error| error.to_string())?;
        Ok(json)
    }
}

fn fatal(error: csv::Error, line: u64) -> SourceError {
    let told = error.to_string();
    if let ErrorKind::Io(error) = error.into_kind() {
        read_error(error, line)
    } else {
        SourceError::Read(io::Error::other(told))
    }
}

/// Remembers where the lines of an input end. The csv crate's own count leaves out line breaks within quotes.
struct Lines<R> {
    input: R,
    read: u64,
    /// Offsets of line breaks read but not passed yet: at most a buffer's or a record's.
    ahead: VecDeque<u64>,
    passed: u64,
}

impl<R> Lines<R> {
    fn new(input: R) -> Self {
        Self { input, read: 0, ahead: VecDeque::new(), passed: 0 }
    }

    /// The line, from 1, of what ends at the offset `end`. A line break right before it belongs to its line.
    fn line_at(&mut self, end: u64) -> u64 {
        while self.ahead.front().is_some_and(|offset| offset + 1 < end) {
            self.ahead.pop_front();
            self.passed += 1;
        }
        self.passed + 1
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let offsets = self.read..;
        self.ahead.extend(offsets.zip(&buffer[..count]).filter(|(_, byte)| **byte == b'\n').map(|(offset, _)| offset));
        self.read += count as u64;
        Ok(count)
    }
}

fn line_breaks(field: &[u8]) -> usize {
    field.iter().filter(|byte| **byte == b'\n').count()
}
