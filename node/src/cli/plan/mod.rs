//! `quoit plan`: what a change of the running cluster would move, and what speaks against it; and `quoit apply`, which
//! carries it out if nothing has changed since.

use clap::{Args, Subcommand, ValueHint};
use quoit_client::{Client, Label, View};
use quoit_core::placement::moves::Wish;
use quoit_proto_types::{
    limits::VNODES_MAX,
    message::membership::{Command, CommandAnswer},
};
use serde_json::json;

use self::{forecast::Forecast, id::PlanId};
use super::{
    admin::{self, administering},
    args::GlobalArgs,
    error::{CliError, Exit},
    follow::{Latest, Progress, carry_out_from, refusal, removal, say},
    keys::brief,
    output::{Format, Output},
    replication::{copied, weighed},
    status::Survey,
};
use crate::config;

mod forecast;
mod id;
mod text;

/// What to think through.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "\
Nothing is changed. Bytes are of memory, estimated from what each node holds; shares are of the ring
and exact. The last line names the plan for quoit apply.
Exit codes: 0 it can be done; 1 something speaks against it; 2 usage; 3 no node answers.")]
pub(crate) enum PlanCommand {
    /// A node joins
    Add {
        /// Its name, its vnodes (128 unless told otherwise) and its zone
        #[arg(value_name = "NODE[:WEIGHT[:ZONE]]", value_parser = id::added)]
        node: Wish,
    },
    /// A member leaves
    Remove {
        /// The member
        node: Label,
    },
    /// A member gets another share
    Weight {
        /// The member
        node: Label,
        /// Its points on the ring
        #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(VNODES_MAX)))]
        vnodes: u32,
    },
    /// Another number of copies of each key
    Replication {
        /// 1 to 7, or `all` for one on every node
        copies: config::Copies,
    },
    /// All members that have a share get so many points on the ring
    Vnodes {
        /// Points on the ring
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(VNODES_MAX)))]
        vnodes: u32,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "\
A plan whose view is not the latest any more is refused: make it again. A node that is to join must
be started by you; this waits until it has its slots, at most --timeout.
Exit codes: 0 done; 1 the plan is stale, or something speaks against it; 3 not yet, and it goes on; 5 refused.")]
pub(crate) struct ApplyArgs {
    /// The plan's name, as quoit plan prints it
    #[arg(value_name = "PLAN-ID", value_hint = ValueHint::Other)]
    plan: PlanId,
    /// Do it although something speaks against it
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(command: PlanCommand, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let wish = match command {
        PlanCommand::Add { node } => node,
        PlanCommand::Remove { node } => Wish::Remove { name: node },
        PlanCommand::Weight { node, vnodes } => Wish::Weight { name: node, vnodes },
        PlanCommand::Replication { copies: config::Copies(copies) } => Wish::Copies(copies),
        PlanCommand::Vnodes { vnodes } => Wish::Vnodes(vnodes),
    };
    administering(global, async |client| {
        let forecast = forecast(&Survey::take(client, global.timeout()).await, wish)?;
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&forecast.document())?,
            Format::Table | Format::Csv | Format::Raw => output.line(forecast.text())?,
        }
        if forecast.refusals.is_empty() { Ok(()) } else { Err(CliError::no()) }
    })
    .await
}

pub(crate) async fn apply(args: ApplyArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| {
        let survey = Survey::take(client, global.timeout()).await;
        fresh(&args.plan, &survey.view)?;
        let wish = &args.plan.wish;
        let forecast = forecast(&survey, wish.clone())?;
        if let Some(why) = forecast.refusals.first().filter(|_| !args.force) {
            return Err(CliError::new(Exit::No, "this should not be done")
                .why(why)
                .advice("--force, to do it all the same"));
        }
        let mut latest = Latest::of(client);
        latest.refresh(client).await;
        // No command says for which view it is meant, so the last look comes right before it.
        fresh(&args.plan, latest.view())?;
        carried_out(client, &mut latest, wish, global, output).await
    })
    .await
}

fn forecast(survey: &Survey, wish: Wish) -> Result<Forecast, CliError> {
    Forecast::of(survey, wish).map_err(|error| {
        CliError::new(Exit::No, "that cannot be done")
            .why(error.to_string())
            .advice("quoit status, which lists the members")
    })
}

fn fresh(plan: &PlanId, view: &View) -> Result<(), CliError> {
    if plan.is_of(view) {
        return Ok(());
    }
    let (then, now) = (plan.epoch(), view.epoch().value());
    Err(CliError::new(Exit::No, "the cluster is not the one that was planned for")
        .why(format!("the plan is for a view of epoch {then}, and the latest is another, of epoch {now}"))
        .advice(format!("quoit plan again; quoit view diff {then} {now} shows what changed")))
}

async fn carried_out(
    client: &Client,
    latest: &mut Latest,
    wish: &Wish,
    global: &GlobalArgs,
    output: &Output,
) -> Result<(), CliError> {
    match wish {
        Wish::Add { name, vnodes, zone } => {
            let zone = zone.as_ref().map(|zone| format!(" --zone {zone}")).unwrap_or_default();
            output.note(format!("start it now: quoit node --certs certs/{name} --vnodes {vnodes}{zone} --seeds …"));
            let limit = global.change_timeout();
            let judge = |view: &View| joined(name, *vnodes, view);
            match latest.follow(client, (limit, None), output, judge).await {
                Ok(text) => Ok(say(output, &text, &json!({ "done": "add", "epoch": latest.view().epoch().value() }))?),
                Err(text) => Err(CliError::new(Exit::Unreachable, format!("not done after {}: {text}", brief(limit)))
                    .advice("quoit status --watch, which shows how it goes on")),
            }
        }
        Wish::Remove { name } => {
            let command = Command::Drain { name: name.clone() };
            carry_out_from(client, latest, &command, ("drain", global), output, |before, view| {
                removal(name, before, view)
            })
            .await
        }
        Wish::Weight { name, vnodes } => {
            let command = Command::SetWeight { name: name.clone(), vnodes: *vnodes };
            carry_out_from(client, latest, &command, ("weight", global), output, |_, view| weighed(name, *vnodes, view))
                .await
        }
        Wish::Copies(copies) => {
            let command = Command::SetCopies { copies: *copies };
            carry_out_from(client, latest, &command, ("replication", global), output, |_, view| copied(*copies, view))
                .await
        }
        Wish::Vnodes(vnodes) => reweighed(client, latest, *vnodes, global, output).await,
    }
}

/// Gives everybody that has a weight this one.
async fn reweighed(
    client: &Client,
    latest: &mut Latest,
    vnodes: u32,
    global: &GlobalArgs,
    output: &Output,
) -> Result<(), CliError> {
    let others = latest.view().members().iter().filter(|member| member.vnodes > 0 && member.vnodes != vnodes);
    let mut names: Vec<Label> = others.map(|member| member.name.clone()).collect();
    let Some(last) = names.pop() else {
        return Ok(say(output, &format!("all have {vnodes} vnodes"), &json!({ "done": "vnodes" }))?);
    };
    for name in &names {
        let command = Command::SetWeight { name: name.clone(), vnodes };
        let answer = admin::command(client, &command).await?;
        if !matches!(answer, CommandAnswer::Accepted { .. }) {
            return Err(refusal(&command, &answer));
        }
    }
    names.push(last.clone());
    let command = Command::SetWeight { name: last, vnodes };
    carry_out_from(client, latest, &command, ("vnodes", global), output, |_, view| {
        let pending =
            names.iter().map(|name| weighed(name, vnodes, view)).find(|it| matches!(it, Progress::Pending(_)));
        pending.unwrap_or_else(|| Progress::Done(format!("all have {vnodes} vnodes")))
    })
    .await
}

/// Whether the member `name` has joined and has its slots.
fn joined(name: &Label, vnodes: u32, view: &View) -> Progress {
    let (fields, epoch) = (view.fields(), view.epoch().value());
    let Some(member) = view.member_named(name) else {
        return Progress::Pending(format!("epoch {epoch}: waiting for {name} to join"));
    };
    if fields.target.is_some() || !fields.ring.iter().any(|owner| owner.ordinal == member.ordinal) {
        return Progress::Pending(format!("epoch {epoch}: {name} has joined, and takes its slots"));
    }
    let found = member.vnodes;
    let other = if found == vnodes { String::new() } else { format!(", {found} and not {vnodes} vnodes") };
    Progress::Done(format!("{name} has its slots{other}, since epoch {epoch} at the latest"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stage::{self, label};

    #[test]
    fn a_stale_plan_is_refused() {
        let plan = PlanId::new(Wish::Remove { name: label("n3") }, &stage::view(|_| {}));
        assert!(fresh(&plan, &stage::view(|_| {})).is_ok());
        let error = fresh(&plan, &stage::view(|fields| fields.members[0].degraded = true)).unwrap_err();
        assert_eq!(error.exit(), Exit::No);
    }

    #[test]
    fn a_join_is_followed_until_the_slots_are_there() {
        let told = |change: fn(&mut quoit_client::ViewFields)| match joined(&label("n4"), 128, &stage::view(change)) {
            Progress::Done(text) => format!("done: {text}"),
            Progress::Pending(text) => text,
        };
        assert!(told(|_| {}).contains("waiting for n4 to join"));
        assert!(told(|fields| fields.members.push(stage::member(4))).contains("takes its slots"));
        let whole = |fields: &mut quoit_client::ViewFields| {
            fields.members.push(stage::member(4));
            fields.members[3].vnodes = 64;
            fields.ring.push(stage::owner(4));
        };
        assert!(told(whole).starts_with("done: n4 has its slots, 64 and not 128 vnodes"), "{}", told(whole));
    }
}
