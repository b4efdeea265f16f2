//! `quoit drain`: lets a node give up its keys and leave.

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
It waits until the node is no member any more, at most --timeout. The node's process then ends
by itself.
Exit codes: 0 it has left; 3 not yet, and it goes on; 5 refused.")]
pub(crate) struct DrainArgs {
    /// The node
    node: Label,
}

pub(crate) async fn run(args: DrainArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let command = Command::Drain { name: args.node.clone() };
    carry_out(&command, "drain", global, output, |before, view| removal(&args.node, before, view)).await
}
