//! One line of the shell as a command: the same arguments as on the command line, and `ttl 60s` or `level all` without dashes.

use clap::{Parser, error::ErrorKind};

use crate::cli::{
    error::CliError,
    explain::ExplainArgs,
    keys::{DelArgs, GetArgs, SetArgs, TouchArgs, TtlArgs},
    load::LoadArgs,
};

/// What can be typed: the name, what follows it, and from which word on `ttl` and `level` are options rather than a key or a value.
pub(super) const COMMANDS: [Usage; 9] = [
    Usage { name: "set", rest: "KEY VALUE [ttl 60s] [level all]", options_from: Some(3) },
    Usage { name: "get", rest: "KEY…", options_from: None },
    Usage { name: "del", rest: "KEY…", options_from: None },
    Usage { name: "ttl", rest: "KEY", options_from: None },
    Usage { name: "touch", rest: "KEY ttl 60s|no-ttl [level all]", options_from: Some(2) },
    Usage { name: "explain", rest: "KEY", options_from: None },
    Usage { name: "load", rest: "FILE --key COLUMN", options_from: None },
    Usage { name: "help", rest: "[COMMAND]", options_from: None },
    Usage { name: "quit", rest: "", options_from: None },
];

/// How a command is typed.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) name: &'static str,
    pub(super) rest: &'static str,
    options_from: Option<usize>,
}

#[derive(Debug, Parser)]
#[command(multicall = true, disable_version_flag = true, subcommand_required = true, arg_required_else_help = true)]
#[command(help_template = "{subcommands}\n\nQuote what has spaces: set greeting 'hello world' ttl 60s")]
#[command(subcommand_help_heading = "Commands")]
struct Line {
    #[command(subcommand)]
    command: ShellCommand,
}

#[derive(Debug, Parser)]
pub(super) enum ShellCommand {
    /// Write a key: set KEY VALUE [ttl 60s]
    Set(SetArgs),
    /// Read keys
    Get(GetArgs),
    /// Remove keys, and say how many there were
    Del(DelArgs),
    /// Show how long a key lives
    Ttl(TtlArgs),
    /// Give a key a new time to live: touch KEY ttl 60s, or touch KEY no-ttl
    Touch(TouchArgs),
    /// Show where a key is and why
    Explain(ExplainArgs),
    /// Write many keys from a file of CSV, TSV or JSON lines
    Load(LoadArgs),
    /// Leave, as Ctrl-D does
    #[command(alias = "exit")]
    Quit,
}

/// Why a line is no command.
#[derive(Debug)]
pub(super) enum Misread {
    /// It asks for help, which this is.
    Help(String),
    /// It cannot be understood.
    Error(CliError),
}

/// Reads a line; `None` if it is blank or a comment.
pub(super) fn read(line: &str) -> Result<Option<ShellCommand>, Misread> {
    let words = shlex::split(line).ok_or_else(|| {
        let error = CliError::usage("a quote is left open, or the line ends in a backslash");
        Misread::Error(error.advice(r#"'it is', or "it's", or it\'s"#))
    })?;
    let Some(name) = words.first() else {
        return Ok(None);
    };
    if !COMMANDS.iter().any(|usage| usage.name == name) && name != "exit" {
        let names: Vec<_> = COMMANDS.iter().map(|usage| usage.name).collect();
        let error = CliError::usage(format!("there is no command `{name}`")).advice(names.join(", "));
        return Err(Misread::Error(error));
    }
    let command = Line::try_parse_from(with_dashes(words)).map_err(explain)?.command;
    if command.reads_standard_input() {
        let error = CliError::usage("`-` stands for standard input, which the shell itself reads");
        return Err(Misread::Error(error.advice("the same command outside of the shell")));
    }
    Ok(Some(command))
}

impl ShellCommand {
    fn reads_standard_input(&self) -> bool {
        match self {
            Self::Set(args) => args.reads_standard_input(),
            Self::Load(args) => args.reads_standard_input(),
            Self::Get(_) | Self::Del(_) | Self::Ttl(_) | Self::Touch(_) | Self::Explain(_) | Self::Quit => false,
        }
    }
}

/// Makes the options that may be typed as plain words into what clap knows as options.
fn with_dashes(mut words: Vec<String>) -> Vec<String> {
    let usage = COMMANDS.iter().find(|usage| words.first().is_some_and(|word| word == usage.name));
    let options = usage.and_then(|usage| words.get_mut(usage.options_from?..));
    for word in options.unwrap_or_default() {
        if ["ttl", "no-ttl", "level"].contains(&word.as_str()) {
            word.insert_str(0, "--");
        }
    }
    words
}

/// What clap says, in the form of every other error.
fn explain(error: clap::Error) -> Misread {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        return Misread::Help(error.render().ansi().to_string());
    }
    let (what, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
    let what = what.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let usage = usage.lines().find_map(|line| line.strip_prefix("Usage: "));
    let error = CliError::usage(what);
    Misread::Error(match usage {
        Some(usage) => error.advice(usage.trim()),
        None => error,
    })
}
