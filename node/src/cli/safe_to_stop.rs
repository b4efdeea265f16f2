//! `quoit safe-to-stop`: whether a node can be stopped without anything being lost.

use clap::Args;
use quoit_client::{Label, Liveness, Member, Ordinal, View};
use serde_json::json;

use super::{
    admin::administering,
    args::GlobalArgs,
    copies::{Copies, lives},
    error::{CliError, Exit},
    output::{Format, Output},
    status::Survey,
};

#[derive(Args, Debug)]
#[command(after_help = "\
Yes means: stopped and started again, as for an upgrade, it takes nothing with it. Everything it
holds has another copy on a node that is up, no keys are being moved, and a majority of the voters
is left. Its own copies are gone when it stops: wait until it says yes of the next node as well.
To stop a node for good, quoit drain.
Exit codes: 0 yes; 1 no; 3 no node answers; 5 there is no such member.")]
pub(crate) struct SafeToStopArgs {
    /// The node
    node: Label,
}

pub(crate) async fn run(args: SafeToStopArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| {
        let survey = Survey::take(client, global.timeout()).await;
        let Some(member) = survey.view.member_named(&args.node) else {
            return Err(CliError::new(Exit::Cluster, format!("there is no member called {}", args.node))
                .advice("quoit status, which lists the members"));
        };
        let reasons = reasons(&survey, member);
        let safe = reasons.is_empty();
        match output.format() {
            Format::Json | Format::Jsonl => {
                let epoch = survey.view.epoch().value();
                output.json(&json!({ "node": args.node, "safe": safe, "reasons": reasons, "epoch": epoch }))?;
            }
            Format::Table | Format::Csv | Format::Raw => output.line(text(&args.node, &reasons))?,
        }
        if safe { Ok(()) } else { Err(CliError::no()) }
    })
    .await
}

fn text(node: &Label, reasons: &[String]) -> String {
    match reasons {
        [] => format!("yes: {node} can be stopped"),
        reasons => {
            let lines: Vec<_> = reasons.iter().map(|reason| format!("  {reason}")).collect();
            format!("no: {node} should not be stopped\n{}", lines.join("\n"))
        }
    }
}

/// Why `member` should not be stopped.
fn reasons(survey: &Survey, member: &Member) -> Vec<String> {
    let view = &survey.view;
    if member.live == Liveness::Down {
        // There is nothing that stopping it would change.
        return Vec::new();
    }
    let mut reasons = Vec::new();
    reasons.extend(alone(view, member, |owner| survey.view.member(owner).is_some_and(|owner| is_there(survey, owner))));
    if view.fields().target.is_some() {
        reasons.push("a ring change is under way: it would take longer, or begin anew".into());
    }
    reasons.extend(quorum(survey, member));
    let hints = survey.status(member).and_then(|status| status.upkeep.as_ref()).map_or(0, |it| it.hints.entries);
    if hints > 0 {
        reasons.push(format!("it keeps {hints} entries for owners out of reach, which would be one copy short"));
    }
    reasons
}

/// Whether an owner answers, in the life that the view knows: one that was started again just now holds nothing, and the
/// view does not say so yet.
fn is_there(survey: &Survey, owner: &Member) -> bool {
    survey.status(owner).is_some_and(|status| status.boot == owner.boot)
}

/// What `member` alone holds, of the owners of whom `is_there` says that they are.
fn alone(view: &View, member: &Member, is_there: impl Fn(Ordinal) -> bool) -> Option<String> {
    let copies = Copies::held_by(view, |owner| lives(view, owner) && (owner == member.ordinal || is_there(owner)));
    let alone = copies.held_alone_by(member.ordinal);
    if alone == 0 {
        return None;
    }
    let why = match copies.in_force {
        ..=1 => "there is one copy of each key: quoit replication 2 makes two",
        _ => "the other owners are down, do not answer, or hold nothing yet",
    };
    Some(format!("it holds the only living copy of {alone} of {} slots; {why}", copies.slots))
}

/// Whether too few voters would be left.
fn quorum(survey: &Survey, member: &Member) -> Option<String> {
    let view = &survey.view;
    if !view.is_voter(member.ordinal) || view.members().len() == 1 {
        return None;
    }
    let is_left = |voter: &&Member| {
        let answers = survey.answers.get(&voter.ordinal).is_none_or(Result::is_ok);
        view.is_voter(voter.ordinal) && voter.ordinal != member.ordinal && voter.live == Liveness::Up && answers
    };
    let left = view.members().iter().filter(is_left).count();
    let (voters, needed) = (view.fields().voters.len(), view.quorum());
    (left < needed).then(|| {
        format!("{left} of {voters} voters would be left, and {needed} are needed to admit, remove or replace anybody")
    })
}

/// What to bear in mind while `name` is drained: it must not be stopped before it is through, if others need what it has.
pub(crate) fn while_draining(view: &View, name: &Label) -> Option<String> {
    let member = view.member_named(name).filter(|member| lives(view, member.ordinal))?;
    alone(view, member, |_| true).map(|alone| format!("do not stop {name} before: {alone}"))
}

#[cfg(test)]
mod tests {
    use quoit_client::{Ordinal, ViewFields};

    use quoit_proto_types::Boot;

    use super::*;
    use crate::cli::stage::{self, label};

    /// Why `n2` should not be stopped, if all that are up answer.
    fn told(change: impl FnOnce(&mut ViewFields), answers: impl FnOnce(&mut Survey)) -> String {
        let view = stage::view(|fields| {
            (fields.copies, fields.config.replication) = (2, 2);
            change(fields);
        });
        let all = view.members().iter().map(|member| (member.ordinal, Ok(stage::status(&view, member)))).collect();
        let mut survey = Survey { view, answers: all, log: Vec::new(), now_ms: stage::PROPOSED_AT_MS };
        answers(&mut survey);
        let member = survey.view.member_named(&label("n2")).unwrap();
        text(&member.name, &reasons(&survey, member))
    }

    #[test]
    fn a_node_whose_keys_others_hold_can_be_stopped() {
        assert_eq!(told(|_| {}, |_| {}), "yes: n2 can be stopped");
        assert_eq!(told(|fields| fields.members[1].live = Liveness::Down, |_| {}), "yes: n2 can be stopped");
    }

    #[test]
    fn reasons_are_told() {
        let check = |told: String, words: &[&str]| {
            assert!(told.starts_with("no: n2 should not be stopped\n  "), "{told}");
            assert_eq!(told.lines().count(), words.len() + 1, "{told}");
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
        };
        check(told(|fields| fields.copies = 1, |_| {}), &["the only living copy of "]);
        let down = |fields: &mut ViewFields| fields.members[2].live = Liveness::Down;
        check(told(down, |_| {}), &["the other owners are down", "1 of 3 voters would be left, and 2 are needed"]);
        let silent = |survey: &mut Survey| drop(survey.answers.insert(Ordinal::new(3), Err("timed out".into())));
        check(told(|_| {}, silent), &["the other owners are down, do not answer", "1 of 3 voters would be left"]);
        let back = |survey: &mut Survey| {
            survey.answers.get_mut(&Ordinal::new(3)).unwrap().as_mut().unwrap().boot = Boot::new(2);
        };
        check(told(|_| {}, back), &["or hold nothing yet"]);
        check(told(|fields| fields.target = Some([1, 2].map(stage::owner).to_vec()), |_| {}), &["a ring change"]);
        let keeps = |survey: &mut Survey| {
            let status = survey.answers.get_mut(&Ordinal::new(2)).unwrap().as_mut().unwrap();
            status.upkeep.as_mut().unwrap().hints.entries = 7;
        };
        check(told(|_| {}, keeps), &["it keeps 7 entries"]);
    }

    #[test]
    fn draining_says_what_must_not_be_stopped() {
        let view = stage::view(|fields| fields.copies = 1);
        let told = while_draining(&view, &label("n2")).unwrap();
        assert!(told.starts_with("do not stop n2 before: it holds the only living copy of "), "{told}");
        assert_eq!(while_draining(&stage::view(|fields| fields.copies = 2), &label("n2")), None);
        assert_eq!(while_draining(&view, &label("n9")), None);
    }
}
