//! `quoit recover`: makes a new cluster of one survivor, for when a majority of the voters is lost for good.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use quoit_client::{Client, Epoch, Label, View};
use quoit_proto_types::view::Liveness;
use serde_json::json;

use self::assess::{Assessment, Plan, list};
use super::{
    admin::{self, administering},
    args::GlobalArgs,
    error::{CliError, Exit},
    follow::{Latest, Progress, say},
    keys::brief,
    output::Output,
    status::Survey,
};

mod assess;

#[derive(Args, Debug)]
#[command(after_help = "\
Without a majority of its voters a cluster serves keys, and admits and removes nobody: so it
can never be divided into two. Where that majority is lost for good, this makes a new cluster
of the survivor that knows most, which the others that are left join. All entries are
forgotten.

Every member is asked first, and what may be lost is told, before anything is done. It is
refused while the old cluster may be alive.
Exit codes: 0 done; 1 refused as not needed or not wise; 3 a member does not answer, or has
not joined yet; 5 refused by the survivor.")]
pub(crate) struct RecoverArgs {
    /// Recover from one survivor: the one that knows most, or this one
    #[arg(long, required = true, num_args = 0..=1, value_name = "NODE")]
    from_survivor: Option<Option<Label>>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Do it although a majority of the voters answers, or from a survivor that knows less than another
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: RecoverArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| {
        let survey = Survey::take(client, global.timeout()).await;
        let assessment = Assessment::of(&survey);
        tell(&assessment.told())?;
        let wanted = args.from_survivor.as_ref().and_then(Option::as_ref);
        let plan = assessment.plan(wanted, args.force)?;
        tell(&plan.warning())?;
        if !args.yes {
            confirm(&survey.view.fields().cluster).await?;
        }
        let epoch = admin::recover(client, &plan.survivor).await?;
        output.note(format_args!("{} began a new cluster with epoch {}", plan.survivor, epoch.value()));
        gather(client, &plan, epoch, &assessment, global, output).await
    })
    .await
}

/// Waits until the others have joined.
async fn gather(
    client: &Client,
    plan: &Plan,
    epoch: Epoch,
    assessment: &Assessment,
    global: &GlobalArgs,
    output: &Output,
) -> Result<(), CliError> {
    let mut latest = Latest::of_node(client, plan.survivor.clone());
    let limit = global.change_timeout();
    let followed = latest.follow(client, (limit, None), output, |view| joined(plan, epoch, view)).await;
    let members = latest.view().members().iter().map(|member| member.name.as_str()).collect::<Vec<_>>();
    let document = json!({
        "recovered": plan.survivor,
        "first_epoch": epoch.value(),
        "epoch": latest.view().epoch().value(),
        "members": members,
        "done": followed.is_ok(),
        "asked": assessment.document(),
    });
    match followed {
        Ok(text) => Ok(say(output, &text, &document)?),
        Err(text) => Err(CliError::new(
            Exit::Unreachable,
            format!("recovered, but not all have joined after {}: {text}", brief(limit)),
        )
        .why("a member joins when it hears of the new cluster from one of its seeds")
        .advice("quoit status --watch; restart the members that do not join, with a seed that has")),
    }
}

/// Whether all that answered are members of the new cluster.
fn joined(plan: &Plan, first: Epoch, view: &View) -> Progress {
    if view.epoch() < first {
        return Progress::Pending(format!("waiting for epoch {}", first.value()));
    }
    let is_up = |name: &Label| view.member_named(name).is_some_and(|member| member.live == Liveness::Up);
    let missing: Vec<_> = plan.others.iter().filter(|name| !is_up(name)).cloned().collect();
    let (epoch, all) = (view.epoch().value(), plan.others.len() + 1);
    if missing.is_empty() {
        Progress::Done(format!("recovered: epoch {epoch}, {all} of {all} members"))
    } else {
        let there = all - missing.len();
        Progress::Pending(format!("epoch {epoch}: {there} of {all} members, not yet {}", list(&missing)))
    }
}

/// Asks for the cluster's name, which nobody types by mistake.
async fn confirm(cluster: &Label) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("this must be confirmed, and standard input is no terminal")
            .advice("again with --yes, having read the above"));
    }
    let mut err = anstream::stderr();
    write!(err, "\nType the cluster's name ({cluster}) to go on: ")?;
    err.flush()?;
    let typed = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let typed = typed.await.map_err(io::Error::other)??;
    if typed.trim() == cluster.as_str() {
        return Ok(());
    }
    Err(CliError::new(Exit::No, "not confirmed: nothing was done"))
}

/// Tells what must be known before it is done, also to who asked for quiet.
fn tell(text: &str) -> io::Result<()> {
    writeln!(anstream::stderr().lock(), "{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stage::{self, label};

    #[test]
    fn it_is_done_when_all_that_answered_have_joined() {
        let plan =
            Plan { survivor: label("n2"), epoch: Epoch::new(5), others: vec![label("n3")], silent: vec![label("n1")] };
        let first = Epoch::new(1_000_005);
        let view = |epoch, members: &[u32]| {
            stage::view(|fields| {
                fields.epoch = Epoch::new(epoch);
                fields.members = members.iter().map(|index| stage::member(*index)).collect();
                fields.voters = vec![fields.members[0].ordinal];
                fields.coordinator = fields.members[0].ordinal;
                fields.ring = vec![stage::owner(2)];
            })
        };
        let check = |view: &View, expected: Progress| assert_eq!(joined(&plan, first, view), expected);
        check(&view(5, &[2, 3]), Progress::Pending("waiting for epoch 1000005".into()));
        check(&view(1_000_005, &[2]), Progress::Pending("epoch 1000005: 1 of 2 members, not yet n3".into()));
        check(&view(1_000_006, &[2, 3]), Progress::Done("recovered: epoch 1000006, 2 of 2 members".into()));
    }
}
