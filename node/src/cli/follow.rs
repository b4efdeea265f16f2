//! Giving the coordinator a command, and following the views until they show the outcome.

use std::time::Duration;

use futures_util::future::join_all;
use quoit_client::{Client, Label, View};
use quoit_proto_types::{
    message::membership::{Command, CommandAnswer},
    view::Intent,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    admin::{self, NODE_TIMEOUT},
    args::GlobalArgs,
    error::{CliError, Exit},
    keys::brief,
    output::{Format, Output},
    safe_to_stop,
};

/// How often the nodes are asked for their view.
const INTERVAL: Duration = Duration::from_millis(250);

/// What a view says about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is carried out: in words.
    Done(String),
    /// It is not yet: how far it is.
    Pending(String),
}

/// The latest view that is known of.
#[derive(Debug)]
pub(crate) struct Latest {
    view: View,
    /// The only node to ask; without one, those that know most.
    node: Option<Label>,
}

impl Latest {
    /// Starts with what the client goes by.
    pub(crate) fn of(client: &Client) -> Self {
        Self { view: client.view().clone(), node: None }
    }

    /// Starts with the same, and asks nobody but `node`.
    pub(crate) fn of_node(client: &Client, node: Label) -> Self {
        Self { node: Some(node), ..Self::of(client) }
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Asks for a later view. If nobody answers it stays as it is.
    pub(crate) async fn refresh(&mut self, client: &Client) {
        let known = client.view();
        if self.node.is_none() && known.epoch() > self.view.epoch() {
            self.view = known.clone();
        }
        let nodes = self.node.as_ref().map_or_else(|| admin::up_in_order(&self.view), |node| vec![node.clone()]);
        let ask = |node| async move { (admin::status(client, node, NODE_TIMEOUT).await, node) };
        let answers = join_all(nodes.iter().map(ask)).await;
        let epochs = answers.into_iter().filter_map(|(status, node)| Some((status.ok()?.epoch, node)));
        if let Some((epoch, node)) = epochs.max().filter(|(epoch, _)| *epoch > self.view.epoch())
            && let Ok(Some(view)) = admin::view_at(client, node, epoch).await
        {
            self.view = view;
        }
    }

    /// Asks until `judge` finds it done, and tells every step. Takes `limit` at most. An `order` that can be given twice is
    /// given again to each later coordinator: one that dies takes with it what it had only accepted.
    ///
    /// # Errors
    /// How far it is.
    pub(crate) async fn follow(
        &mut self,
        client: &Client,
        (limit, order): (Duration, Option<&Command>),
        output: &Output,
        judge: impl Fn(&View) -> Progress,
    ) -> Result<String, String> {
        let mut told = String::new();
        let mut coordinator = self.view.fields().coordinator;
        let waited = timeout(limit, async {
            loop {
                match judge(&self.view) {
                    Progress::Done(text) => return text,
                    Progress::Pending(text) if text != told => {
                        output.note(&text);
                        told = text;
                    }
                    Progress::Pending(_) => {}
                }
                let presides = self.view.fields().coordinator;
                if std::mem::replace(&mut coordinator, presides) != presides
                    && let Some(order) = order.filter(|order| is_missing(order, &self.view))
                {
                    // A refusal needs no word of its own: what is judged are views.
                    let _ = admin::command(client, order).await;
                }
                sleep(INTERVAL).await;
                self.refresh(client).await;
            }
        });
        waited.await.map_err(|_| match judge(&self.view) {
            Progress::Done(text) | Progress::Pending(text) => text,
        })
    }
}

/// Gives `command`, and follows the views until `judge`, which gets the latest view before the command and a later one,
/// finds it done. `what` names the command in the answer for programs.
///
/// # Errors
/// No node answered, the coordinator refused, or time is up.
pub(crate) async fn carry_out(
    command: &Command,
    what: &str,
    global: &GlobalArgs,
    output: &Output,
    judge: impl Fn(&View, &View) -> Progress,
) -> Result<(), CliError> {
    admin::administering(global, async |client| {
        let mut latest = Latest::of(client);
        latest.refresh(client).await;
        carry_out_from(client, &mut latest, command, (what, global), output, judge).await
    })
    .await
}

/// The same, from a view on that is known already.
///
/// # Errors
/// As above.
pub(crate) async fn carry_out_from(
    client: &Client,
    latest: &mut Latest,
    command: &Command,
    (what, global): (&str, &GlobalArgs),
    output: &Output,
    judge: impl Fn(&View, &View) -> Progress,
) -> Result<(), CliError> {
    let before = latest.view().clone();
    let answer = admin::command(client, command).await?;
    let CommandAnswer::Accepted { epoch: accepted } = answer else { return Err(refusal(command, &answer)) };
    let limit = global.change_timeout();
    let followed = latest.follow(client, (limit, Some(command)), output, |view| judge(&before, view)).await;
    let epoch = latest.view().epoch().value();
    match followed {
        Ok(text) => Ok(say(output, &text, &json!({ "done": what, "epoch": epoch }))?),
        Err(text) => Err(CliError::new(Exit::Unreachable, format!("not done after {}: {text}", brief(limit)))
            .why(format!("the coordinator accepted it at epoch {}; it goes on without this command", accepted.value()))
            .advice("quoit status --watch, which shows how it goes on; or wait for longer: --timeout 5m")),
    }
}

/// Whether `view` does not show yet what was ordered, and ordering it again would change nothing else.
fn is_missing(order: &Command, view: &View) -> bool {
    match order {
        Command::Drain { name } | Command::ForceOut { name } => {
            view.member_named(name).is_some_and(|member| member.intent == Intent::Stay)
        }
        Command::SetCopies { copies } => view.fields().config.replication != *copies,
        Command::SetWeight { name, vnodes } => view.member_named(name).is_some_and(|member| member.vnodes != *vnodes),
        Command::Transfer { .. } => false,
    }
}

/// Writes the outcome.
pub(crate) fn say(output: &Output, text: &str, document: &Value) -> std::io::Result<()> {
    match output.format() {
        Format::Json | Format::Jsonl => output.json(document),
        Format::Table | Format::Csv | Format::Raw => output.line(text),
    }
}

/// Why the coordinator did not accept it, and what to do instead.
pub(crate) fn refusal(command: &Command, answer: &CommandAnswer) -> CliError {
    let refused = |what: String| CliError::new(Exit::Cluster, what);
    match answer {
        CommandAnswer::NoCoordinator => refused("no node knows a coordinator, so nothing can be decided".into())
            .why("a majority of the voters must be up and connected with each other")
            .advice(
                "quoit status, which shows who is missing; if they are lost for good, quoit recover --from-survivor",
            ),
        CommandAnswer::NoSuchMember { name } => {
            refused(format!("there is no member called {name}")).advice("quoit status, which lists the members")
        }
        CommandAnswer::LastOne { name } => {
            refused(format!("{name} is needed: without it nobody would hold keys, or vote"))
                .advice("add another node first; to end the cluster, stop its nodes")
        }
        CommandAnswer::IsUp { name } => refused(format!("{name} is up, and only who is down is removed by force"))
            .advice(format!("quoit drain {name}, which lets it give up its keys in good order")),
        CommandAnswer::CannotPreside { name } => {
            refused(format!("{name} cannot coordinate: it does not vote, or is not heard"))
                .advice("quoit transfer, which picks the next in rank; quoit status shows who votes")
        }
        CommandAnswer::OutOfRange { reason } => refused("there can be no such number".into())
            .why(admin::printable(reason))
            .advice("one within these limits"),
        CommandAnswer::Accepted { epoch } => refused(format!("{command:?} was accepted at epoch {}", epoch.value())),
    }
}

/// How far the removal of the member `name`, as `before` knew it, is in `view`.
pub(crate) fn removal(name: &Label, before: &View, view: &View) -> Progress {
    let epoch = view.epoch().value();
    let member = match before.member_named(name) {
        Some(known) => view.member(known.ordinal),
        None => view.member_named(name),
    };
    match member {
        None => Progress::Done(format!("{name} is no member any more, since epoch {epoch} at the latest")),
        Some(member) if member.intent == Intent::Stay => {
            Progress::Pending(format!("epoch {epoch}: accepted, and waits for the next view"))
        }
        Some(_) if view.fields().target.is_some() => {
            let alone = safe_to_stop::while_draining(view, name).map(|alone| format!("; {alone}")).unwrap_or_default();
            Progress::Pending(format!("epoch {epoch}: others take over what {name} holds{alone}"))
        }
        Some(_) => Progress::Pending(format!("epoch {epoch}: {name} is to leave, and is not yet removed")),
    }
}

#[cfg(test)]
mod tests {
    use quoit_client::Epoch;

    use super::*;
    use crate::cli::stage::{self, label};

    fn refused(answer: &CommandAnswer) -> (std::process::ExitCode, String) {
        let error = refusal(&Command::Drain { name: label("n2") }, answer);
        let mut told = Vec::new();
        error.write(&mut told).unwrap();
        (error.exit_code(), anstream::adapter::strip_str(&String::from_utf8(told).unwrap()).to_string())
    }

    #[test]
    fn refusals_say_what_to_do() {
        let check = |answer: CommandAnswer, words: &str| {
            let (exit, told) = refused(&answer);
            assert_eq!(exit, 5.into());
            assert!(told.contains(words) && told.contains("try: "), "{told}");
        };
        let name = label("n2");
        check(CommandAnswer::NoCoordinator, "quoit recover --from-survivor");
        check(CommandAnswer::NoSuchMember { name: name.clone() }, "no member called n2");
        check(CommandAnswer::LastOne { name: name.clone() }, "n2 is needed");
        check(CommandAnswer::IsUp { name: name.clone() }, "quoit drain n2");
        check(CommandAnswer::CannotPreside { name }, "quoit transfer");
        check(CommandAnswer::OutOfRange { reason: "7 copies at most".into() }, "why: 7 copies at most");
    }

    #[test]
    fn a_removal_is_followed_to_the_view_without_the_member() {
        let before = stage::view(|_| {});
        let check = |view: &View, expected: &str| {
            let found = removal(&label("n2"), &before, view);
            let (Progress::Done(text) | Progress::Pending(text)) = &found;
            assert!(text.contains(expected), "{text}");
            assert_eq!(matches!(found, Progress::Done(_)), expected.starts_with("no member"), "{text}");
        };
        check(&before, "waits for the next view");
        check(&stage::view(|fields| fields.members[1].intent = Intent::Leave), "n2 is to leave");
        let moving = stage::view(|fields| {
            fields.members[1].intent = Intent::Leave;
            fields.target = Some([1, 3].map(stage::owner).to_vec());
        });
        check(&moving, "others take over");
        let gone = stage::view(|fields| {
            fields.epoch = Epoch::new(7);
            fields.members.remove(1);
            fields.voters.remove(1);
            fields.ring.remove(1);
        });
        check(&gone, "no member any more, since epoch 7");
    }
}
