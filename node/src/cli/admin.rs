//! Asking nodes as an administrator.

use std::time::{Duration, SystemTime};

use quoit_client::{Client, Epoch, Label, RequestError, View};
use quoit_proto_types::{
    message::{
        admin::{AdminReply, AdminRequest, NodeStatus},
        membership::{Command, CommandAnswer},
    },
    view::{Intent, Liveness, Member, ViewRecord},
};
use tokio::time::timeout;

use super::{
    args::GlobalArgs,
    connect::{Purpose, connect},
    error::{CliError, Exit},
    keys::brief,
};

/// How long one of several nodes may take: a silent one must not hold up the answers of the others.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// Nodes that are asked for the same thing, one after the other, until one answers: as many as vote.
const NODES_ASKED: usize = 7;

/// Connects as an administrator, makes the call, and takes leave of the nodes.
pub(crate) async fn administering(
    global: &GlobalArgs,
    call: impl AsyncFnOnce(&Client) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let client = connect(global, Purpose::Administration).await?.client;
    let done = call(&client).await;
    client.close().await;
    done
}

/// How `node` stands.
///
/// # Errors
/// Why it did not say, in words.
pub(crate) async fn status(client: &Client, node: &Label, limit: Duration) -> Result<NodeStatus, String> {
    match timeout(limit, client.admin(node, AdminRequest::Status)).await {
        Ok(Ok(AdminReply::Status(status))) => Ok(*status),
        Ok(Ok(_)) => Err("it answered something else than was asked".into()),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(_) => Err(format!("no answer within {}", brief(limit))),
    }
}

/// The view of `epoch` as `node` remembers it.
///
/// # Errors
/// The node did not answer.
pub(crate) async fn view_at(client: &Client, node: &Label, epoch: Epoch) -> Result<Option<View>, CliError> {
    let answer = ask(client, node, AdminRequest::ViewAt { epoch }).await?;
    if let AdminReply::ViewAt(view) = answer { Ok(view) } else { Err(answered_otherwise(node)) }
}

/// The latest views that `node` has seen, the latest last.
///
/// # Errors
/// The node did not answer.
pub(crate) async fn view_log(client: &Client, node: &Label, limit: u32) -> Result<Vec<ViewRecord>, CliError> {
    let answer = ask(client, node, AdminRequest::ViewLog { limit }).await?;
    if let AdminReply::ViewLog(records) = answer { Ok(records) } else { Err(answered_otherwise(node)) }
}

/// Makes a new cluster of `survivor` alone, and returns its first epoch.
///
/// # Errors
/// It did not answer, or refused.
pub(crate) async fn recover(client: &Client, survivor: &Label) -> Result<Epoch, CliError> {
    let request = AdminRequest::Recover { survivor: survivor.clone() };
    match client.admin(survivor, request).await? {
        AdminReply::Recovered { epoch } => Ok(epoch),
        AdminReply::NotRecovered { reason } => {
            Err(CliError::new(Exit::Cluster, format!("{survivor} refused to recover")).why(printable(&reason)))
        }
        AdminReply::Status(_)
        | AdminReply::ViewLog(_)
        | AdminReply::ViewAt(_)
        | AdminReply::Command(_)
        | AdminReply::Handoff(_) => Err(answered_otherwise(survivor)),
    }
}

/// Passes `command` to the coordinator through whichever node answers. Another node is tried only if the one before cannot
/// have passed it on.
///
/// # Errors
/// No node answered.
pub(crate) async fn command(client: &Client, command: &Command) -> Result<CommandAnswer, CliError> {
    let mut last = None;
    for node in in_order(&client.view()) {
        match client.admin(&node, AdminRequest::Command(command.clone())).await {
            // Another one may know of a coordinator.
            Ok(AdminReply::Command(CommandAnswer::NoCoordinator)) => last = Some(Ok(CommandAnswer::NoCoordinator)),
            Ok(AdminReply::Command(answer)) => return Ok(answer),
            Ok(_) => return Err(answered_otherwise(&node)),
            Err(error) if error.has_no_side_effects() => last = last.or(Some(Err(error.into()))),
            Err(error) => return Err(error.into()),
        }
    }
    last.unwrap_or_else(|| Err(CliError::new(Exit::Unreachable, "the view has no members to ask")))
}

/// What `ask` gets from the first node that has it; `None` if none of those that answered does.
///
/// # Errors
/// No node answered.
pub(crate) async fn first<T>(
    client: &Client,
    mut ask: impl AsyncFnMut(&Label) -> Result<Option<T>, CliError>,
) -> Result<Option<T>, CliError> {
    let (mut answered, mut failed) = (false, None);
    for node in in_order(&client.view()) {
        match ask(&node).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => answered = true,
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if !answered => Err(error),
        Some(_) | None => Ok(None),
    }
}

async fn ask(client: &Client, node: &Label, request: AdminRequest) -> Result<AdminReply, CliError> {
    match timeout(NODE_TIMEOUT, client.admin(node, request)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let what = format!("{node} did not answer within {}", brief(NODE_TIMEOUT));
            Err(CliError::new(Exit::Unreachable, what).advice("quoit status, which shows who answers"))
        }
    }
}

/// The members that can be asked for what all know: the coordinator, the other voters, the others; the down ones last.
pub(crate) fn in_order(view: &View) -> Vec<Label> {
    let rank = |member: &Member| {
        let up = member.live == Liveness::Up && member.intent == Intent::Stay;
        (!up, member.ordinal != view.fields().coordinator, !view.is_voter(member.ordinal), member.ordinal)
    };
    let mut members: Vec<_> = view.members().iter().filter(|member| is_reached_by_name(view, member)).collect();
    members.sort_by_key(|member| rank(member));
    members.into_iter().map(|member| member.name.clone()).take(NODES_ASKED).collect()
}

/// The same without those that are down or going, who would only be waited for; with them if there is nobody else.
pub(crate) fn up_in_order(view: &View) -> Vec<Label> {
    let mut nodes = in_order(view);
    let is_up = |member: &Member| member.live == Liveness::Up && member.intent == Intent::Stay;
    if view.members().iter().any(is_up) {
        nodes.retain(|name| view.member_named(name).is_some_and(is_up));
    }
    nodes
}

/// Whether its name leads to this member. A member that came back without its disk leaves another of its name behind.
pub(crate) fn is_reached_by_name(view: &View, member: &Member) -> bool {
    view.member_named(&member.name).is_some_and(|found| found.ordinal == member.ordinal)
}

/// The time of day, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment in UTC to the second, as in `2026-11-20T12:00:00Z`.
pub(crate) fn moment(ms: u64) -> String {
    // The year 9999, after which there is no such text.
    const LAST_MS: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).to_string()
}

/// How long before `now_ms` a moment was, in words. Clocks differ, so that it may not have come yet.
pub(crate) fn ago(ms: u64, now_ms: u64) -> String {
    match now_ms.checked_sub(ms) {
        Some(..1000) => "just now".into(),
        Some(passed) => format!("{} ago", brief(Duration::from_secs(passed / 1000))),
        None => "by a clock ahead of this one".into(),
    }
}

/// A sentence of a node without characters that could move the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn answered_otherwise(node: &Label) -> CliError {
    CliError::new(Exit::Cluster, format!("{node} answered something else than was asked"))
        .advice("quoit status, which shows the versions of nodes that differ")
}

/// An error with what caused it, in one line.
pub(crate) fn with_causes(error: &RequestError) -> String {
    printable(&error.with_causes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stage;

    #[test]
    fn those_who_know_most_are_asked_first() {
        let view = stage::view(|fields| {
            fields.coordinator = fields.members[2].ordinal;
            fields.voters.remove(1);
            fields.members[0].live = Liveness::Down;
        });
        let names: Vec<_> = in_order(&view).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["n3", "n2", "n1"]);
        assert_eq!(up_in_order(&view), [stage::label("n3"), stage::label("n2")]);
    }

    #[test]
    fn moments_are_utc_and_never_fail() {
        assert_eq!(moment(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert!(moment(u64::MAX).starts_with("9999-12-31"));
        assert_eq!((ago(1_000, 61_000).as_str(), ago(1_000, 1_999).as_str()), ("1m ago", "just now"));
        assert_eq!(ago(2, 1), "by a clock ahead of this one");
    }
}
