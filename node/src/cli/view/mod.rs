//! `quoit view`: the latest view, those of the past, and what changed between them.

use clap::Subcommand;
use quoit_client::{Client, Epoch, View};

use super::{
    admin::{self, administering},
    args::GlobalArgs,
    error::{CliError, Exit},
    follow::Latest,
    output::Output,
};

mod diff;
mod log;
mod show;

/// What to show of the views.
#[derive(Debug, Subcommand)]
pub(crate) enum ViewCommand {
    /// Show one view: the latest, or that of an epoch
    Show(show::ShowArgs),
    /// List the latest views: when, by whom, and what changed
    Log(log::LogArgs),
    /// Show what changed from one epoch to another, who wanted it, when and why
    Diff(diff::DiffArgs),
}

pub(crate) async fn run(command: ViewCommand, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| match command {
        ViewCommand::Show(args) => args.run(client, output).await,
        ViewCommand::Log(args) => args.run(client, output).await,
        ViewCommand::Diff(args) => args.run(client, output).await,
    })
    .await
}

/// The view of `epoch`, from whoever remembers it.
///
/// # Errors
/// Nobody answers, or nobody remembers it.
async fn view_of(client: &Client, epoch: Epoch) -> Result<View, CliError> {
    let found = admin::first(client, async |node| admin::view_at(client, node, epoch).await).await?;
    if let Some(view) = found {
        return Ok(view);
    }
    let mut latest = Latest::of(client);
    latest.refresh(client).await;
    let (wanted, has) = (epoch.value(), latest.view().epoch().value());
    let why = if wanted > has {
        format!("the latest is epoch {has}")
    } else {
        "nodes keep some hundreds of the latest views since they were started, and none from before a recovery".into()
    };
    Err(CliError::new(Exit::No, format!("no node that answers has the view of epoch {wanted}"))
        .why(why)
        .advice("quoit view log, which tells of more views what changed"))
}

fn epoch(text: &str) -> Result<Epoch, String> {
    match text.trim_start_matches('e').parse() {
        Ok(0) | Err(_) => Err("an epoch is a number from 1".into()),
        Ok(epoch) => Ok(Epoch::new(epoch)),
    }
}
