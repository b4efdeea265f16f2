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
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use quoit_client::{Client, Found, GetOptions, ReadLevel, SetOptions, TimeToLive, WriteLevel, WriteOptions};
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
    #[command(flatten)]
    write: WriteArgs,
}

/// How writes are acknowledged, and what is said of them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WriteArgs {
    /// How many copies to wait for: any, one, two, quorum or all [default: two]
    #[arg(long, value_name = "LEVEL", value_parser = write_level(), hide_possible_values = true)]
    level: Option<WriteLevel>,
    /// Say which version it got
    #[arg(long)]
    with_version: bool,
}

/// How keys are read, and what is said of them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ReadArgs {
    /// Whose answer to wait for: one, quorum or all owners' [default: one]
    #[arg(long, value_name = "LEVEL", value_parser = read_level(), hide_possible_values = true)]
    level: Option<ReadLevel>,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// The keys; with standard output no terminal, their values follow each other without anything between
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
    #[command(flatten)]
    read: ReadArgs,
    /// A line for each key: its version, a tab, and its value in printable form
    #[arg(long)]
    with_version: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DelArgs {
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TtlArgs {
    /// The key
    key: OsString,
    #[command(flatten)]
    read: ReadArgs,
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
    #[command(flatten)]
    write: WriteArgs,
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
        let options = self.write.level.map_or(options, |level| options.level(level));
        let version = client.set_with(self.key.as_bytes(), &value, options).await?;
        match output.chosen() {
            Some(Format::Json | Format::Jsonl) => output.json(&json!({
                "key": self.key.to_string_lossy(),
                "bytes": value.len(),
                "ttl_ms": self.ttl.map(milliseconds),
                "version": version.to_string(),
            }))?,
            _ if self.write.with_version => output.line(version)?,
            chosen if speaks(chosen, output) => output.line("OK")?,
            _ => {}
        }
        Ok(())
    }
}

impl GetArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let answers = client.get_many_with(self.keys.iter().map(|key| key.as_bytes()), self.read.options()).await;
        let answers = answers.into_iter().collect::<Result<Vec<Option<Found>>, _>>()?;
        match output.chosen() {
            Some(Format::Json) if answers.len() == 1 => {
                output.json(&show::object(&self.keys[0].to_string_lossy(), answers[0].as_ref()))?
            }
            Some(Format::Json | Format::Jsonl | Format::Csv) => output.table(&show::COLUMNS, &self.rows(&answers))?,
            _ if self.with_version => {
                answers.iter().try_for_each(|found| output.line(show::with_version(found.as_ref())))?
            }
            Some(Format::Table) => write_printable(&answers, output)?,
            None if output.is_terminal() => write_printable(&answers, output)?,
            None | Some(Format::Raw) => answers.iter().flatten().try_for_each(|found| output.bytes(&found.value))?,
        }
        if answers.iter().all(Option::is_some) { Ok(()) } else { Err(CliError::no()) }
    }

    fn rows(&self, answers: &[Option<Found>]) -> Vec<Vec<Value>> {
        let rows = self.keys.iter().zip(answers);
        rows.map(|(key, found)| show::row(&key.to_string_lossy(), found.as_ref())).collect()
    }
}

impl DelArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let keys = self.keys.iter().map(|key| key.as_bytes());
        let answers = client.delete_many_with(keys, self.write.options()).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let deleted = answers.iter().filter(|written| written.existed).count();
        let versions: Vec<_> = answers.iter().map(|written| written.version.to_string()).collect();
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&json!({ "deleted": deleted, "versions": versions }))?,
            _ if self.write.with_version => versions.iter().try_for_each(|version| output.line(version))?,
            Format::Table | Format::Csv | Format::Raw => output.line(deleted)?,
        }
        if deleted > 0 { Ok(()) } else { Err(CliError::no()) }
    }
}

impl TtlArgs {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let ttl = client.ttl_with(self.key.as_bytes(), self.read.options()).await?;
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
        let version = client.touch_with(self.key.as_bytes(), self.ttl, self.write.options()).await?;
        let exists = version.is_some();
        match output.chosen() {
            Some(Format::Json | Format::Jsonl) => {
                let (key, left) = (self.key.to_string_lossy(), self.ttl.filter(|_| exists).map(milliseconds));
                let version = version.map(|version| version.to_string());
                output.json(&json!({ "key": key, "exists": exists, "ttl_ms": left, "version": version }))?;
            }
            _ if !exists => output.line(NO_SUCH_KEY)?,
            _ if self.write.with_version => version.iter().try_for_each(|version| output.line(version))?,
            chosen if speaks(chosen, output) => output.line("OK")?,
            _ => {}
        }
        if exists { Ok(()) } else { Err(CliError::no()) }
    }
}

impl WriteArgs {
    fn options(self) -> WriteOptions {
        self.level.map_or(WriteOptions::new(), |level| WriteOptions::new().level(level))
    }
}

impl ReadArgs {
    fn options(self) -> GetOptions {
        self.level.map_or(GetOptions::new(), |level| GetOptions::new().level(level))
    }
}

/// Reads the level of a write. Shells complete it.
pub(crate) fn write_level() -> impl TypedValueParser<Value = WriteLevel> {
    PossibleValuesParser::new(WriteLevel::ALL.map(WriteLevel::name)).try_map(|level| level.parse::<WriteLevel>())
}

fn read_level() -> impl TypedValueParser<Value = ReadLevel> {
    PossibleValuesParser::new(ReadLevel::ALL.map(ReadLevel::name)).try_map(|level| level.parse::<ReadLevel>())
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

fn write_printable(answers: &[Option<Found>], output: &Output) -> io::Result<()> {
    let value = |found: &Option<Found>| show::printable(found.as_ref().map(|found| &*found.value));
    answers.iter().try_for_each(|found| output.line(value(found)))
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
