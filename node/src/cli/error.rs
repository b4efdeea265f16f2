//! Errors as the user reads them, and their exit codes.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use quoit_client::{AddressError, ConnectError, CredentialsError, DialError, ErrorCode, RequestError};

use crate::{
    DataError, StartError,
    config::{InvalidConfig, LoadError},
};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// Why a command ended without doing what was asked: what, why, what to try, and the exit code.
#[derive(Debug)]
pub(crate) struct CliError {
    what: String,
    why: Vec<String>,
    advice: Option<String>,
    exit: Exit,
}

/// The exit codes but 0. Scripts tell by them what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Whoever read the output has read enough: no failure.
    Quiet = 0,
    /// The answer is no; of a node: it failed.
    No = 1,
    /// The command line, a setting or a file cannot be used.
    Usage = 2,
    /// No node could be reached, or none answered in time.
    Unreachable = 3,
    /// TLS, or rights.
    Denied = 4,
    /// The cluster answered with an error.
    Cluster = 5,
    /// The user interrupted it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl CliError {
    /// An error that says `what` went wrong.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { what, why: Vec::new(), advice: None, exit }
    }

    /// The answer is no, and standard output has said so already.
    pub(crate) fn no() -> Self {
        Self::new(Exit::No, "")
    }

    /// The command line or a file cannot be used.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds a cause.
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Says what to do about it, as a command if there is one.
    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// What it is to a script.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The exit code that stands for it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit.into()
    }

    /// Writes `error:`, `why:` and `try:`, or nothing if there is nothing to say.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.what.is_empty() {
            return Ok(());
        }
        writeln!(out, "{ERROR}error:{ERROR:#} {}", self.what)?;
        for why in &self.why {
            writeln!(out, "  {FAINT}why:{FAINT:#} {}", why.trim_end().replace('\n', "\n       "))?;
        }
        if let Some(advice) = &self.advice {
            writeln!(out, "  {FAINT}try:{FAINT:#} {advice}")?;
        }
        Ok(())
    }

    /// What `error` says, with its causes below it.
    fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut cli = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            cli = cli.why(error.to_string());
            cause = error.source();
        }
        cli
    }
}

impl From<io::Error> for CliError {
    /// Of standard input or output; errors of files say which file they are about.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Quiet, "");
        }
        Self::new(Exit::No, "standard input or output failed").why(error.to_string())
    }
}

impl From<CredentialsError> for CliError {
    fn from(error: CredentialsError) -> Self {
        Self::from(&error)
    }
}

impl From<&CredentialsError> for CliError {
    fn from(error: &CredentialsError) -> Self {
        // What is missing was named wrongly; what is there and of no use is a matter of certificates.
        let missing = matches!(error, CredentialsError::Unreadable { .. });
        let exit = if missing { Exit::Usage } else { Exit::Denied };
        Self::of(exit, error).advice(error.advice())
    }
}

impl From<DialError> for CliError {
    fn from(error: DialError) -> Self {
        Self::of(exit_of_dial(&error), &error).advice(error.advice())
    }
}

impl From<AddressError> for CliError {
    fn from(error: AddressError) -> Self {
        Self::of(Exit::Usage, &error)
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Credentials(error) => Self::from(error.as_ref()),
            ConnectError::NoSeeds => Self::of(Exit::Usage, &error).advice("--nodes HOST:PORT"),
            ConnectError::Unreachable { attempts } => unreachable(attempts),
            ConnectError::NotFormed { .. } => {
                Self::of(Exit::Cluster, &error).advice("start the nodes it waits for, or give it longer: --timeout 1m")
            }
            ConnectError::Socket(_) | _ => Self::of(Exit::Unreachable, &error),
        }
    }
}

impl From<RequestError> for CliError {
    fn from(error: RequestError) -> Self {
        let cli = Self::of(exit_of_request(&error), &error);
        match advice_on_request(&error) {
            Some(advice) => cli.advice(advice),
            None => cli,
        }
    }
}

impl From<InvalidConfig> for CliError {
    fn from(error: InvalidConfig) -> Self {
        LoadError::from(error).into()
    }
}

impl From<LoadError> for CliError {
    fn from(error: LoadError) -> Self {
        let cli = Self::of(Exit::Usage, &error);
        match error {
            LoadError::Unreadable { .. } => cli.advice("quoit config sample > node.toml, for a file to start from"),
            LoadError::Syntax { .. } | LoadError::Invalid { .. } => {
                cli.advice("quoit config sample, which explains every setting")
            }
            LoadError::NoCertificates => cli
                .why("neither --certs, nor QUOIT_CERTS, nor `certs` in a file")
                .advice("make-certs, then quoit node --certs certs/n1"),
        }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let exit = match error {
            StartError::Credentials(_) | StartError::CertificateDates { .. } => Exit::Usage,
            StartError::Data(DataError::Layout { .. } | DataError::Folder { .. }) => Exit::Usage,
            StartError::Bind { .. }
            | StartError::Endpoint(_)
            | StartError::Data(DataError::InUse { .. } | DataError::Write { .. })
            | StartError::DataTask { .. } => Exit::No,
        };
        Self::of(exit, &error).advice(error.advice())
    }
}

fn unreachable(attempts: &[(quoit_client::Address, DialError)]) -> CliError {
    let seeds: Vec<_> = attempts.iter().map(|(seed, _)| seed.to_string()).collect();
    // What a person must put right comes before a node that is merely down.
    let worst = attempts.iter().rev().map(|(_, error)| error).max_by_key(|error| exit_of_dial(error) as u8);
    let exit = worst.map_or(Exit::Unreachable, exit_of_dial);
    let mut cli = CliError::new(exit, format!("cannot connect to any of {}", seeds.join(", ")));
    for (_, error) in attempts {
        cli = cli.why(error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")));
    }
    match worst {
        Some(error) => cli.advice(error.advice()),
        None => cli,
    }
}

fn exit_of_dial(error: &DialError) -> Exit {
    if error.is_about_identity() {
        Exit::Denied
    } else if matches!(error, DialError::SessionRefused { .. }) {
        Exit::Cluster
    } else {
        Exit::Unreachable
    }
}

fn exit_of_request(error: &RequestError) -> Exit {
    const RIGHTS: [ErrorCode; 3] = [ErrorCode::WrongRole, ErrorCode::WrongCluster, ErrorCode::BadIdentity];
    match error {
        RequestError::KeyInvalid { .. } => Exit::Usage,
        RequestError::Unavailable { source, .. } => exit_of_dial(source),
        RequestError::Timeout { .. } | RequestError::ConnectionLost { .. } | RequestError::Closed => Exit::Unreachable,
        RequestError::Refused { refusal, .. } if RIGHTS.contains(&refusal.code) => Exit::Denied,
        RequestError::ValueTooLarge { .. }
        | RequestError::Busy { .. }
        | RequestError::Refused { .. }
        | RequestError::NoOwner { .. }
        | RequestError::Protocol { .. }
        | _ => Exit::Cluster,
    }
}

fn advice_on_request(error: &RequestError) -> Option<String> {
    Some(match error {
        RequestError::Unavailable { source, .. } => source.advice(),
        RequestError::Timeout { .. } => "again, or give it longer: --timeout 30s".into(),
        RequestError::ValueTooLarge { .. } => "raise max_value on every node: quoit config sample".into(),
        RequestError::Busy { .. } | RequestError::ConnectionLost { .. } => "again, a little later".into(),
        RequestError::NoOwner { .. } => "give a node vnodes, so that it owns keys: quoit weight NODE 128".into(),
        RequestError::Refused { refusal, .. } => return advice_on_refusal(refusal.code).map(Into::into),
        RequestError::KeyInvalid { .. } | RequestError::Protocol { .. } | RequestError::Closed | _ => return None,
    })
}

fn advice_on_refusal(code: ErrorCode) -> Option<&'static str> {
    const ADVICE: [(ErrorCode, &str); 3] = [
        (ErrorCode::Unavailable, "--level one, or quoit status, which shows who is down"),
        (ErrorCode::ClockSkew, "set the clocks of the nodes right"),
        (ErrorCode::TooOld, "again: it is stamped anew"),
    ];
    ADVICE.into_iter().find(|(known, _)| *known == code).map(|(_, advice)| advice)
}

#[cfg(test)]
mod tests;
