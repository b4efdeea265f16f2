//! `quoit transfer`: hands the coordinator's office over.

use clap::Args;
use quoit_client::{Label, View};
use quoit_proto_types::message::membership::Command;

use super::{
    args::GlobalArgs,
    error::CliError,
    follow::{Progress, carry_out},
    output::Output,
};

#[derive(Args, Debug)]
#[command(after_help = "\
No key moves and no request fails. Before a coordinator is stopped this spares the second in
which its silence is noticed; a node that is told to stop does it by itself.
Exit codes: 0 done; 3 not yet; 5 refused.")]
pub(crate) struct TransferArgs {
    /// The voter that is to coordinate [default: the highest in rank after the present one]
    node: Option<Label>,
}

pub(crate) async fn run(args: TransferArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let command = Command::Transfer { to: args.node.clone() };
    carry_out(&command, "transfer", global, output, |before, view| handed_over(args.node.as_ref(), before, view)).await
}

/// Whether `view` has the coordinator that was asked for, or another one than `before`.
fn handed_over(to: Option<&Label>, before: &View, view: &View) -> Progress {
    let coordinator = |view: &View| view.member(view.fields().coordinator).map(|member| member.name.clone());
    let (old, new) = (coordinator(before), coordinator(view));
    let name = new.as_ref().map(ToString::to_string).unwrap_or_default();
    let epoch = view.epoch().value();
    let done = to.map_or(new != old, |to| new.as_ref() == Some(to));
    if done {
        Progress::Done(format!("{name} coordinates, with epoch {epoch}"))
    } else {
        Progress::Pending(format!("epoch {epoch}: {name} still coordinates"))
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::Ordinal;

    use super::*;
    use crate::cli::stage::{self, label};

    #[test]
    fn it_is_done_when_the_view_names_another() {
        let before = stage::view(|_| {});
        let after = stage::view(|fields| fields.coordinator = Ordinal::new(2));
        let done = |to: Option<&str>, view: &View| {
            let to = to.map(label);
            matches!(handed_over(to.as_ref(), &before, view), Progress::Done(_))
        };
        assert!(!done(None, &before) && done(None, &after));
        assert!(done(Some("n2"), &after) && !done(Some("n3"), &after));
        assert!(done(Some("n1"), &before), "it coordinates already");
    }
}
