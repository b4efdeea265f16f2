//! The command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use quoit_certs::{AUTHORITY_FOLDER, Days, Host, Label};

const EXAMPLES: &str = "\
Examples:
  make-certs                           authority, nodes n1 n2 n3, a client and an admin, in ./certs
  make-certs a b c --cluster prod      the same with other names
  make-certs node n4 n4.example.com    one node more, with a further host name
  make-certs check                     what is wrong, and what to do about it
  make-certs renew                     new dates for every identity; names and keys stay

A node may be named like a verb: make-certs node list. Nothing is overwritten without --force.
Exit codes: 0 done, 1 check found something wrong, 2 usage, or files that cannot be used.";

/// Makes certificates for a Quoit cluster: an authority, and nodes, clients and admins that trust each other by it
#[derive(Debug, Parser)]
#[command(name = "make-certs", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,

    /// Names of the nodes [default: n1 n2 n3]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<Label>,

    /// Folder of the certificates, one folder in it for each
    #[arg(long, short, global = true, env = "QUOIT_CERTS_DIR", default_value = "certs", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) terms: Terms,

    /// Further host names or addresses of every node (comma-separated or repeated)
    #[arg(long = "host", id = "host", value_name = "HOST", value_delimiter = ',')]
    #[arg(value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<Host>,
}

/// What all commands that issue have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct Terms {
    /// Cluster the identities belong to [default: the authority's, or `local` for a new one]
    #[arg(long, env = "QUOIT_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<Label>,

    /// Days until it expires, at most 7300 [default: 365, for an authority 3650]
    #[arg(long, value_name = "DAYS")]
    pub(crate) days: Option<Days>,

    /// Replace what is there, keys included; the authority only with `init`
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the authority only
    Init {
        #[command(flatten)]
        terms: Terms,
    },
    /// Issue a node
    Node {
        /// Name of the node
        name: Label,
        /// Further host names or addresses of the node; Quoit itself needs none
        #[arg(value_name = "HOST", value_hint = ValueHint::Hostname)]
        hosts: Vec<Host>,
        /// The same as an option (comma-separated or repeated)
        #[arg(long = "host", id = "host", value_name = "HOST", value_delimiter = ',')]
        more_hosts: Vec<Host>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Issue a client, which reads and writes keys
    Client {
        /// Name of the client
        name: Label,
        #[command(flatten)]
        terms: Terms,
    },
    /// Issue an admin, who asks for status and runs the cluster
    Admin {
        /// Name of the admin
        name: Label,
        #[command(flatten)]
        terms: Terms,
    },
    /// List what is there: role, identity, days left, SHA-256 fingerprint
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Check chain, key, role names, dates and permissions; exit code 1 if something is wrong
    Check {
        /// Names, or paths of folders anywhere [default: all]
        #[arg(value_name = "NAME", value_hint = ValueHint::DirPath)]
        folders: Vec<PathBuf>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Renew dates, with the same names, hosts and key; running nodes need no restart
    Renew {
        /// Names [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Days until it expires [default: 365]
        #[arg(long, value_name = "DAYS")]
        days: Option<Days>,
    },
    /// Write the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page, or all of them into a folder
    Man {
        /// Folder for this page and one for each verb
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

impl Cli {
    /// Parses the command line; ends the process with help or a usage error if that is what it asks for.
    pub(crate) fn from_command_line() -> Self {
        let matches = Self::command().get_matches();
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if let Some(mistake) = cli.mistake(&matches) {
            Self::command().error(ErrorKind::ArgumentConflict, mistake).exit();
        }
        cli
    }

    /// Finds what is right word by word and wrong as a whole.
    fn mistake(&self, matches: &ArgMatches) -> Option<String> {
        let command = Self::command();
        let mut taken = BTreeSet::from([AUTHORITY_FOLDER, "client", "admin"]);
        for name in self.names.iter().map(Label::as_str) {
            // Likelier a verb in the wrong place than a name.
            if command.find_subcommand(name).is_some() {
                return Some(format!("{name} is a verb; a node of that name is made with `make-certs node {name}`"));
            }
            if !taken.insert(name) {
                return Some(format!("two folders would be called {name}; ca, client and admin are always taken"));
            }
        }
        // Behind a verb these are the verb's own; before it nobody would read them.
        let verb = matches.subcommand_name()?;
        if let Some(name) = self.names.first() {
            return Some(format!("the verb {verb} comes first, before {name}"));
        }
        ["cluster", "days", "force", "host"]
            .into_iter()
            .find(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
            .map(|id| format!("--{id} goes behind the verb {verb}, if that takes it"))
    }
}
