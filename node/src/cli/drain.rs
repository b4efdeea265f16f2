//! `quoit drain`: lets a node give up its keys and leave.

use clap::Args;
use quoit_client::Label;
use quoit_proto_types::message::membership::Command;

use super::{
    args::GlobalArgs,
    error::{CliError, Exit},
    follow::{carry_out, removal},
    output::Output,
};

#[derive(Args, Debug)]
#[command(after_help = "\
It waits until the node is no member any more, at most --timeout. The node's process then ends
by itself. Stopped before that, it takes with it what nobody else has; quoit safe-to-stop says
whether there is such a thing. To stop a node for a while only, no drain is needed.
Exit codes: 0 it has left; 3 not yet, and it goes on; 5 refused.")]
pub(crate) struct DrainArgs {
    /// The node
    node: Label,
}

pub(crate) async fn run(args: DrainArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let command = Command::Drain { name: args.node.clone() };
    let done = carry_out(&command, "drain", global, output, |before, view| removal(&args.node, before, view)).await;
    done.map_err(|error| match error.exit() {
        Exit::Unreachable => {
            error.why(format!("until it has left it may hold what nobody else has: quoit safe-to-stop {}", args.node))
        }
        Exit::Quiet | Exit::No | Exit::Usage | Exit::Denied | Exit::Cluster | Exit::Interrupted => error,
    })
}
