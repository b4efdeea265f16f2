//! One JSON object a line.

use std::io::BufRead;

use bytes::Bytes;
use serde_json::{Map, Number, Value};

use super::{BadRecord, Record, SourceError, read_error};

/// Integers beyond it are not exact once JSON has been read: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Names shown to someone who asked for a wrong one.
const NAMES_SHOWN: usize = 20;

pub(super) struct JsonLines<R> {
    input: R,
    text: Vec<u8>,
    line: u64,
    key: String,
    value: Option<String>,
}

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(input: R, key: String, value: Option<String>) -> Self {
        Self { input, text: Vec::new(), line: 0, key, value }
    }

    pub(super) fn next(&mut self) -> Result<Option<Result<Record, BadRecord>>, SourceError> {
        loop {
            self.line += 1;
            self.text.clear();
            let count = self.input.read_until(b'\n', &mut self.text).map_err(|error| read_error(error, self.line))?;
            if count == 0 {
                return Ok(None);
            }
            let text = self.text.trim_ascii();
            let text = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.line == 1).unwrap_or(text);
            if !text.is_empty() {
                let record = self.record(text).map_err(|reason| BadRecord { line: self.line, reason });
                return Ok(Some(record));
            }
        }
    }

    fn record(&self, text: &[u8]) -> Result<Record, String> {
        let fields = match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => fields,
            Ok(Value::Array(_)) => {
                return Err("an array: put each object on a line of its own, as `jq -c '.[]'` does".into());
            }
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Err("not an object".into());
            }
            Err(error) => return Err(format!("not JSON, at column {}", error.column())),
        };
        let key = match field(&fields, &self.key)? {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            Value::Number(_) => {
                return Err(format!("`{}` is no whole number of 64 bits: quote it to make it a key", self.key));
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(format!("`{}` is neither a string nor a number", self.key));
            }
        };
        let value = match &self.value {
            // The line as it stands: nothing is lost in another's idea of JSON.
            None => Bytes::copy_from_slice(text),
            Some(name) => match field(&fields, name)? {
                Value::String(text) => text.clone().into(),
                Value::Number(number) if inexact(number) => {
                    return Err(format!(
                        "`{name}` has more digits than JSON numbers keep: quote it, or leave out --value"
                    ));
                }
                other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    other.to_string().into()
                }
            },
        };
        Ok(Record { key: key.into(), value, line: self.line })
    }
}

fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a Value, String> {
    fields.get(name).ok_or_else(|| {
        let names: Vec<&str> = fields.keys().map(String::as_str).take(NAMES_SHOWN).collect();
        format!("there is no field `{name}`; the fields are {}", names.join(", "))
    })
}

fn inexact(number: &Number) -> bool {
    number.is_f64() && number.as_f64().is_none_or(|number| number.abs() >= EXACT_MAX)
}
