//! What each verb does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::CommandFactory as _;
use quoit_certs::{DirError, Report, Role, Severity, check_all, check_folder, list};

use crate::args::{Cli, Verb};
use crate::report;
use crate::workshop::{Workshop, renew};

/// What a command that ran has to say by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
}

impl Answer {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Yes => ExitCode::SUCCESS,
            Self::No => ExitCode::from(1),
        }
    }
}

/// Runs a command line at a time, with the answer to `out` and the rest to standard error.
pub(crate) fn run(cli: Cli, now: SystemTime, out: &mut impl Write) -> anyhow::Result<Answer> {
    let root = cli.out;
    let Some(verb) = cli.verb else {
        Workshop::create(&root, cli.terms, now)?.set(cli.names, &cli.hosts, out)?;
        return Ok(Answer::Yes);
    };
    match verb {
        Verb::Init { terms } => Workshop::create(&root, terms, now)?.init(out)?,
        Verb::Node { name, mut hosts, more_hosts, terms } => {
            hosts.extend(more_hosts);
            Workshop::open(&root, terms, now)?.one(Role::Node, name, &hosts, out)?;
        }
        Verb::Client { name, terms } => Workshop::open(&root, terms, now)?.one(Role::Client, name, &[], out)?,
        Verb::Admin { name, terms } => Workshop::open(&root, terms, now)?.one(Role::Admin, name, &[], out)?,
        Verb::List { json: false } => report::list_text(&list(&root)?, now, out)?,
        Verb::List { json: true } => report::list_json(&list(&root)?, now, out)?,
        Verb::Check { folders, json } => {
            let reports = check(&root, &folders, now)?;
            if json {
                report::check_json(&reports, out)?;
            } else {
                report::check_text(&reports, now, out)?;
            }
            let wrong = reports.iter().any(|report| report.severity() == Some(Severity::Failure));
            return Ok(if wrong { Answer::No } else { Answer::Yes });
        }
        Verb::Renew { names, days } => renew(&root, names, days, now, out)?,
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "make-certs", out);
        }
        Verb::Man { dir: None } => clap_mangen::Man::new(Cli::command()).render(out)?,
        Verb::Man { dir: Some(dir) } => manuals(&dir)?,
    }
    Ok(Answer::Yes)
}

/// Checks all folders of a root, or the ones given by name or by path.
fn check(root: &Path, folders: &[PathBuf], now: SystemTime) -> Result<Vec<Report>, DirError> {
    if folders.is_empty() {
        return check_all(root, now);
    }
    let check = |folder: &PathBuf| {
        let named = root.join(folder);
        check_folder(if named.is_dir() { &named } else { folder }, now)
    };
    folders.iter().map(check).collect()
}

fn manuals(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot write the manual pages into {}", dir.display());
    std::fs::create_dir_all(dir).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(failed)
}
