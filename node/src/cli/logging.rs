//! Log lines on standard error.

use std::{env, fmt, io, time::SystemTime};

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

use super::{args::GlobalArgs, error::CliError};
use crate::config::LogFormat;

/// Sets up the log of a command that works on its own behalf: what matters to its user, or more with `--verbose`.
///
/// # Errors
/// A filter in the environment that cannot be read.
pub(crate) fn init_command(global: &GlobalArgs) -> Result<(), CliError> {
    let filter = match verbosity(global) {
        Some(filter) => filter.to_owned(),
        None => env::var("QUOIT_LOG").or_else(|_| env::var("RUST_LOG")).unwrap_or_else(|_| "error".into()),
    };
    init(&filter, LogFormat::Auto)
}

/// Sets up the log of a node: `--verbose` and `--quiet`, else `setting`, else RUST_LOG, else `info`.
///
/// # Errors
/// A filter in the environment that cannot be read.
pub(crate) fn init_node(global: &GlobalArgs, setting: Option<&str>, format: LogFormat) -> Result<(), CliError> {
    let filter = match verbosity(global).or(setting) {
        Some(filter) => filter.to_owned(),
        None => env::var("RUST_LOG").unwrap_or_else(|_| "info".into()),
    };
    init(&filter, format)
}

/// What a person who reads along sees, rather than what a program reads.
pub(crate) fn is_for_people(format: LogFormat) -> bool {
    format != LogFormat::Json && !is_journald()
}

fn init(filter: &str, format: LogFormat) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        CliError::usage(format!("the log filter `{filter}` cannot be used"))
            .why(error.to_string())
            .advice("QUOIT_LOG=info, or QUOIT_LOG=warn,quoit=debug")
    })?;
    let terminal = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Fails where a log is set up already, which then serves as well.
    let _ = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Auto if is_journald() => lines.with_ansi(false).without_time().with_target(false).try_init(),
        LogFormat::Auto if terminal => lines.with_timer(TimeOfDay).with_target(false).try_init(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(false).with_target(false).try_init(),
    };
    Ok(())
}

fn verbosity(global: &GlobalArgs) -> Option<&'static str> {
    match (global.quiet, global.verbose) {
        (_, 2..) => Some("info,quoit=trace"),
        (_, 1) => Some("warn,quoit=debug"),
        (true, 0) => Some("error"),
        (false, 0) => None,
    }
}

/// Whether standard error goes straight to the journal, which adds time and level itself.
///
/// The variable alone does not tell: what a service starts inherits it, wherever its output goes.
fn is_journald() -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|stream| standard_error().is_some_and(|id| id == stream))
}

#[cfg(target_os = "linux")]
fn standard_error() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata("/proc/self/fd/2").ok()?;
    Some(format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(target_os = "linux"))]
fn standard_error() -> Option<String> {
    None
}

/// Hours to milliseconds, in UTC: at a terminal the day is known.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        out.write_str(now.get(11..23).unwrap_or(&now))
    }
}
