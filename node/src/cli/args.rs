//! The command line as clap reads it.

use std::{fmt::Write, path::PathBuf, time::Duration};

use anstyle::Style;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use quoit_client::Address;

use super::{
    completions, config, context, demo, dev, drain, explain, fairness, force_out, handoff, keys, load, node,
    output::Format, plan, recover, replication, safe_to_stop, status, transfer, view,
};
use crate::config::{Sources, Span};

const HEADING: Style = Style::new().bold().underline();
const NAME: Style = Style::new().bold();

/// How long to wait for an answer, unless told otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a change of the cluster, unless told otherwise: elections, batches and admissions take seconds.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The commands as `quoit --help` groups them.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Try it", &["demo", "dev"]),
    ("Keys", &["set", "get", "del", "ttl", "touch", "explain", "load"]),
    (
        "Cluster, for administrators",
        &[
            "status",
            "view",
            "replication",
            "weight",
            "handoff",
            "safe-to-stop",
            "drain",
            "force-out",
            "transfer",
            "recover",
        ],
    ),
    ("Planning", &["fairness", "plan", "apply"]),
    ("Nodes", &["node", "config"]),
    ("This command line", &["context", "completions", "man", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  quoit demo                                    three nodes, 25,000 records, and what came of it
  quoit                                         a shell, with history and completion
  quoit set greeting hello --ttl 5m
  quoit get greeting                            the bytes alone, if the output is not a terminal
  quoit load cities.csv --key id                many keys from a file, or from standard input
  quoit node --certs certs/n1                   a cluster of one, on 127.0.0.1:7750
  quoit status --watch                          members, coordinator, quorum, and what to do
  quoit safe-to-stop n2 && systemctl stop quoit whether anything would be lost, before it is
  quoit view diff 4 9                           who changed what, when and why
  quoit context add prod --nodes a:7750 --certs ~/prod/client

Options come from the command line, else from their variable, else from the context.
Exit codes: 0 done; 1 the answer is no; 2 usage or configuration; 3 no node reached in time;
4 refused for certificates or rights; 5 the cluster answered with an error; 130 interrupted.";

/// A distributed in-memory cache: run a node of it, or read and write keys
#[derive(Debug, Parser)]
#[command(name = "quoit", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// None: the shell.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// Parses the command line; ends the process with help or a usage error if that is what it asks for.
    pub fn from_command_line() -> Self {
        let matches = documented().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.global.sources = Sources::of(&matches);
        cli
    }
}

/// The whole command, with its subcommands in groups.
pub(super) fn documented() -> clap::Command {
    let mut command = Cli::command();
    // Adds `help`.
    command.build();
    let mut groups = String::new();
    for (group, names) in GROUPS {
        // Writing to a string cannot fail.
        let _ = writeln!(groups, "\n{HEADING}{group}:{HEADING:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(groups, "  {NAME}{name:<12}{NAME:#} {about}");
        }
    }
    let head = "{about-with-newline}\n{usage-heading} {usage}\n";
    let template = format!("{head}{groups}\n{HEADING}Options:{HEADING:#}\n{{options}}{{after-help}}");
    without_values(Cli::command()).help_template(template)
}

/// Names variables without what they hold here, so that help is the same everywhere.
fn without_values(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(without_values)
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct GlobalArgs {
    /// Nodes to connect through; one that answers is enough [default: 127.0.0.1:7750]
    #[arg(long, global = true, env = "QUOIT_NODES", value_name = "HOST:PORT,…", value_delimiter = ',')]
    #[arg(help_heading = "Connection")]
    pub(crate) nodes: Option<Vec<Address>>,

    /// Folder with ca.crt, tls.crt and tls.key [default: certs/client, or certs/admin]
    #[arg(long, global = true, env = "QUOIT_CERTS", value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(help_heading = "Connection")]
    pub(crate) certs: Option<PathBuf>,

    /// Saved nodes and certificates, see `quoit context`
    #[arg(long, global = true, env = "QUOIT_CONTEXT", value_name = "NAME", help_heading = "Connection")]
    pub(crate) context: Option<String>,

    /// How long to wait for an answer, or for a change of the cluster [default: 5s; 30s for a change]
    #[arg(long, global = true, env = "QUOIT_TIMEOUT", value_name = "DURATION", help_heading = "Connection")]
    #[arg(value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// How to write answers: table, json, jsonl, csv or raw [default: table]
    #[arg(long, short, global = true, env = "QUOIT_OUTPUT", value_enum, value_name = "FORMAT")]
    #[arg(help_heading = "Output", hide_possible_values = true)]
    pub(crate) output: Option<Format>,

    /// The same as --output json
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// Say only what was asked for
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Log what happens, twice for more
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,

    /// Which of all arguments the environment gave.
    #[arg(skip)]
    pub(crate) sources: Sources,
}

impl GlobalArgs {
    /// How long to wait for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(ANSWER_TIMEOUT)
    }

    /// How long to wait until the cluster has changed as it was told to.
    pub(crate) fn change_timeout(&self) -> Duration {
        self.timeout.unwrap_or(CHANGE_TIMEOUT)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0)
}

/// The subcommands, each with the arguments that its module declares.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a key
    Set(keys::SetArgs),
    /// Read a key
    Get(keys::GetArgs),
    /// Remove keys
    Del(keys::DelArgs),
    /// Show how long a key lives
    Ttl(keys::TtlArgs),
    /// Give a key a new time to live
    Touch(keys::TouchArgs),
    /// Show where a key is and why
    Explain(explain::ExplainArgs),
    /// Show how evenly rings of vnodes spread keys, over many rings or in the running cluster
    Fairness(Box<fairness::FairnessArgs>),
    /// Show what a change of the running cluster would move, and what speaks against it
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Carry out a plan, if the cluster is still the one that was planned for
    Apply(plan::ApplyArgs),
    /// Write many keys from CSV, TSV or JSON lines
    Load(load::LoadArgs),
    /// Show the whole thing at work in this process, then end
    Demo(demo::DemoArgs),
    /// Run three nodes with throwaway certificates, and a shell
    Dev(dev::DevArgs),
    /// Show every member, coordinator and quorum, and what is wrong
    Status(status::StatusArgs),
    /// Show the views of the cluster: the latest, the past, and what changed
    #[command(subcommand)]
    View(view::ViewCommand),
    /// Show how many copies there are of each key, or have so many
    Replication(replication::ReplicationArgs),
    /// Give a node another share of the keys
    Weight(replication::WeightArgs),
    /// Show keys on their way to new owners, and set their pace
    Handoff(handoff::HandoffArgs),
    /// Say whether a node can be stopped without anything being lost
    SafeToStop(safe_to_stop::SafeToStopArgs),
    /// Let a node give up its keys and leave
    Drain(drain::DrainArgs),
    /// Remove a node that is down
    ForceOut(force_out::ForceOutArgs),
    /// Hand the coordinator's office to another voter
    Transfer(transfer::TransferArgs),
    /// Make a new cluster of one survivor, when a majority of the voters is lost for good
    Recover(recover::RecoverArgs),
    /// Run a node
    Node(Box<node::NodeArgs>),
    /// Check, show or write a node's configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Save nodes and certificates under a name
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Write the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Write the manual page, or all of them into a folder
    Man(completions::ManArgs),
}

#[cfg(test)]
mod tests;
