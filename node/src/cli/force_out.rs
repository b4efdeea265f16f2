//! `quoit force-out`: removes a node that is down.

use clap::Args;
use quoit_client::Label;
use quoit_proto_types::message::membership::Command;

use super::{
    args::GlobalArgs,
    error::CliError,
    follow::{carry_out, removal},
    output::Output,
};

#[derive(Args, Debug)]
#[command(after_help = "\
For a node that is down and will not come back: others take its keys over at once, without
their values, and not only when it has been down for out_after. If it is started again all
the same, it joins as a new member. A node that is up is drained instead.
Exit codes: 0 removed; 3 not yet, and it goes on; 5 refused.")]
pub(crate) struct ForceOutArgs {
    /// The node
    node: Label,
}

pub(crate) async fn run(args: ForceOutArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let command = Command::ForceOut { name: args.node.clone() };
    carry_out(&command, "force-out", global, output, |before, view| removal(&args.node, before, view)).await
}
