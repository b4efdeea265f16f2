//! `quoit set`, `get`, `del`, `ttl` and `touch`: one key, or a few, and the answer.
//!
//! Keys and values are bytes. What `get` writes depends on who reads it: exactly the bytes if standard output is no
//! terminal, a printable form for a person, and with `--output json` an object whose `encoding` says whether `value` is
//! text or base64 (`utf-8`, `base64`, or null for an absent key).

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use quoit_client::{Client, SetOptions, TimeToLive};
use serde_json::{Value, json};

use super::{
    args::GlobalArgs,
    connect::{Purpose, connect},
    error::CliError,
    output::{Format, Output},
};

mod show;

pub(crate) use show::brief;

/// More than any cluster takes as one value: where reading standard input stops.
const STDIN_BYTES_MAX: usize = 16 * 1024 * 1024 + 1;

const NO_SUCH_KEY: &str = "no such key";

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The key: 1 to 1024 bytes
    key: OsString,
    /// The value; `-` reads all of standard input, the last newline included
    #[arg(required_unless_present = "stdin", allow_negative_numbers = true)]
    value: Option<OsString>,
    /// Read the value from standard input
    #[arg(long, conflicts_with = "value")]
    stdin: bool,
    /// How long the key lives, as in 90s or 1h 30m; without it, until deleted or evicted
    #[arg(long, value_name = "DURATION", value_parser = time_to_live)]
    ttl: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// The keys; with standard output no terminal, their values follow each other without anything between
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct DelArgs {
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct TtlArgs {
    /// The key
    key: OsString,
}

#[derive(Args, Debug)]
pub(crate) struct TouchArgs {
    /// The key
    key: OsString,
    /// How long it lives from now on, as in 90s or 1h 30m
    #[arg(long, value_name = "DURATION", value_parser = time_to_live, required_unless_present = "no_ttl")]
    ttl: Option<Duration>,
    /// It lives until deleted or evicted
    #[arg(long, conflicts_with = "ttl")]
    no_ttl: bool,
}

pub(crate) async fn set(args: SetArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    connected(global, async |client| args.run(client, output).await).await
}

pub(crate) async fn get(args: GetArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    connected(global, async |client| args.run(client, output).await).await
}

pub(crate) async fn del(args: DelArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    connected(global, async |client| args.run(client, output).await).await
}

pub(crate) async fn ttl(args: TtlArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    connected(global, async |client| args.run(client, output).await).await
}

pub(crate) async fn touch(args: TouchArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    connected(global, async |client| args.run(client, output).await).await
}

/// Connects, makes the call, and takes leave of the nodes.
pub(crate) async fn connected(
    global: &GlobalArgs,
    call: impl AsyncFnOnce(&Client) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let client = connect(global, Purpose::Keys).await?.client;
    let done = call(&client).await;
    client.close().await;
    done
}

impl SetArgs {
    /// Whether it needs standard input for itself.
    pub(crate) fn reads_standard_input(&self) -> bool {
        self.value.as_ref().is_none_or(|value| value == "-")
    }

    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let value = match self.value {
            Some(value) if value != "-" => Bytes::copy_from_slice(value.as_bytes()),
            _ => standard_input().await?,
        };
        let options = self.ttl.map_or(SetOptions::new(), |ttl| SetOptions::new().ttl(ttl));
        client.set_with(self.key.as_bytes(), &value, options).await?;
        match output.chosen() {
            Some(Format::Json | Format::Jsonl) => output.json(&json!({
                "key": self.key.to_string_lossy(),
                "bytes": value.len(),
                "ttl_ms": self.ttl.map(milliseconds),
            }))?,
            chosen if speaks(chosen, output) => output.line("OK")?,
            _ => {}
        }
        Ok(())
    }
}

impl GetArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let answers = client.get_many(self.keys.iter().map(|key| key.as_bytes())).await;
        let values = answers.into_iter().collect::<Result<Vec<Option<Bytes>>, _>>()?;
        match output.chosen() {
            Some(Format::Json) if values.len() == 1 => {
                output.json(&show::object(&self.keys[0].to_string_lossy(), values[0].as_deref()))?
            }
            Some(Format::Json | Format::Jsonl | Format::Csv) => output.table(&show::COLUMNS, &self.rows(&values))?,
            Some(Format::Table) => write_printable(&values, output)?,
            None if output.is_terminal() => write_printable(&values, output)?,
            None | Some(Format::Raw) => values.iter().flatten().try_for_each(|value| output.bytes(value))?,
        }
        if values.iter().all(Option::is_some) { Ok(()) } else { Err(CliError::no()) }
    }

    fn rows(&self, values: &[Option<Bytes>]) -> Vec<Vec<Value>> {
        let rows = self.keys.iter().zip(values);
        rows.map(|(key, value)| show::row(&key.to_string_lossy(), value.as_deref())).collect()
    }
}

impl DelArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let answers = client.delete_many(self.keys.iter().map(|key| key.as_bytes())).await;
        let deleted = answers.into_iter().collect::<Result<Vec<bool>, _>>()?.into_iter().filter(|was| *was).count();
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&json!({ "deleted": deleted }))?,
            Format::Table | Format::Csv | Format::Raw => output.line(deleted)?,
        }
        if deleted > 0 { Ok(()) } else { Err(CliError::no()) }
    }
}

impl TtlArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let ttl = client.ttl(self.key.as_bytes()).await?;
        let (text, left) = match ttl {
            TimeToLive::NoSuchKey => (NO_SUCH_KEY.to_owned(), None),
            TimeToLive::Forever => ("no expiry".to_owned(), None),
            TimeToLive::Expires(left) => (brief(left), Some(milliseconds(left))),
        };
        let exists = ttl != TimeToLive::NoSuchKey;
        match output.format() {
            Format::Json | Format::Jsonl => {
                let key = self.key.to_string_lossy();
                output.json(&json!({ "key": key, "exists": exists, "ttl_ms": left }))?;
            }
            Format::Table | Format::Csv | Format::Raw => output.line(text)?,
        }
        if exists { Ok(()) } else { Err(CliError::no()) }
    }
}

impl TouchArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let exists = client.touch(self.key.as_bytes(), self.ttl).await?;
        match output.chosen() {
            Some(Format::Json | Format::Jsonl) => {
                let (key, left) = (self.key.to_string_lossy(), self.ttl.filter(|_| exists).map(milliseconds));
                output.json(&json!({ "key": key, "exists": exists, "ttl_ms": left }))?;
            }
            _ if !exists => output.line(NO_SUCH_KEY)?,
            chosen if speaks(chosen, output) => output.line("OK")?,
            _ => {}
        }
        if exists { Ok(()) } else { Err(CliError::no()) }
    }
}

/// Reads a time to live of at least a millisecond.
pub(crate) fn time_to_live(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < Duration::from_millis(1) { Err("the shortest is 1ms".into()) } else { Ok(ttl) }
}

/// Whether success is worth a word: to a person, unless asked to be quiet.
fn speaks(chosen: Option<Format>, output: &Output) -> bool {
    !output.is_quiet() && (chosen == Some(Format::Table) || chosen.is_none() && output.is_terminal())
}

fn write_printable(values: &[Option<Bytes>], output: &Output) -> io::Result<()> {
    values.iter().try_for_each(|value| output.line(show::printable(value.as_deref())))
}

/// Reads standard input to its end, off the threads that the connections need.
async fn standard_input() -> Result<Bytes, CliError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut value = Vec::new();
        io::stdin().lock().take(STDIN_BYTES_MAX as u64).read_to_end(&mut value).map(|_| value)
    });
    let value = read.await.map_err(io::Error::other)??;
    if value.len() == STDIN_BYTES_MAX {
        return Err(CliError::usage("standard input is longer than 16 MiB, the longest value any cluster takes"));
    }
    Ok(value.into())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
