//! `quoit handoff`: keys on their way to new owners, and how fast they may travel.

use std::{num::NonZeroU64, time::Duration};

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use quoit_client::{AdminReply, AdminRequest, Client, HandoffStatus, Label, UpkeepStatus};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    admin::{self, NODE_TIMEOUT, administering},
    args::GlobalArgs,
    error::{CliError, Exit},
    follow::Latest,
    keys::brief,
    output::{Format, Output, aligned},
    status::watching,
};
use crate::config::Pace;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
One line for each node that takes slots from others. Without a ring change under way there is none.
A pace and a pause count until the node is started again.
Exit codes: 0 done; 1 a node did not do it; 3 no node answers.")]
pub(crate) struct HandoffArgs {
    #[command(subcommand)]
    action: Option<HandoffAction>,
    /// Show it again every so many seconds, until Ctrl-C [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

/// What to do about handoff.
#[derive(Debug, Subcommand)]
enum HandoffAction {
    /// Let each node fetch so many bytes per second
    Pace {
        /// As in 64MiB, or `unlimited`
        rate: Pace,
        #[command(flatten)]
        on: OnNode,
    },
    /// Fetch nothing until told to go on; no ring change ends meanwhile
    Pause(OnNode),
    /// Go on after a pause
    Resume(OnNode),
}

/// Whom to tell.
#[derive(Args, Debug)]
struct OnNode {
    /// This node only [default: all]
    #[arg(long)]
    node: Option<Label>,
}

/// What a node does with its data in the background, or why it did not say.
type Answer = (Label, Result<UpkeepStatus, String>);

pub(crate) async fn run(args: HandoffArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    administering(global, async |client| match (args.action, args.watch) {
        (None, None) => {
            let answers = ask(client, None, &AdminRequest::Handoff).await?;
            Ok(write(&answers, output)?)
        }
        (None, Some(seconds)) => {
            let draw = async || Ok(text(&ask(client, None, &AdminRequest::Handoff).await?));
            let write = async || Ok(write(&ask(client, None, &AdminRequest::Handoff).await?, output)?);
            watching(Duration::from_secs(seconds), output, draw, write).await
        }
        (Some(HandoffAction::Pace { rate: Pace(bytes_per_s), on }), _) => {
            tell(client, on.node, &AdminRequest::HandoffPace { bytes_per_s }, output).await
        }
        (Some(HandoffAction::Pause(on)), _) => tell(client, on.node, &AdminRequest::HandoffPause, output).await,
        (Some(HandoffAction::Resume(on)), _) => tell(client, on.node, &AdminRequest::HandoffResume, output).await,
    })
    .await
}

/// Tells one node or all, and shows what is so from here on.
async fn tell(client: &Client, node: Option<Label>, request: &AdminRequest, output: &Output) -> Result<(), CliError> {
    let answers = ask(client, node, request).await?;
    let row = |(node, answer): &Answer| match answer {
        Ok(upkeep) => vec![json!(node), pace(upkeep.pace), json!(upkeep.is_paused), Value::Null],
        Err(why) => vec![json!(node), Value::Null, Value::Null, json!(why)],
    };
    output.table(&["node", "pace", "paused", "why"], &answers.iter().map(row).collect::<Vec<_>>())?;
    let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).map(|(node, _)| node.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(CliError::new(Exit::No, format!("not done by {}", failed.join(", ")))
        .advice("the same again when they answer; quoit status shows who does"))
}

/// Asks one node, or all members of the latest view.
async fn ask(client: &Client, node: Option<Label>, request: &AdminRequest) -> Result<Vec<Answer>, CliError> {
    let mut latest = Latest::of(client);
    latest.refresh(client).await;
    let members = latest.view().members().iter().filter(|member| admin::is_reached_by_name(latest.view(), member));
    let nodes = node.map_or_else(|| members.map(|member| member.name.clone()).collect(), |node| vec![node]);
    let answers = join_all(nodes.into_iter().map(async |node| {
        let answer = match timeout(NODE_TIMEOUT, client.admin(&node, request.clone())).await {
            Ok(Ok(AdminReply::Handoff(Some(upkeep)))) => Ok(*upkeep),
            Ok(Ok(AdminReply::Handoff(None))) => Err("it has no view, or is overloaded".into()),
            Ok(Ok(_)) => Err("it answered something else than was asked".into()),
            Ok(Err(error)) => Err(admin::with_causes(&error)),
            Err(_) => Err(format!("no answer within {}", brief(NODE_TIMEOUT))),
        };
        (node, answer)
    }))
    .await;
    match answers.iter().find_map(|(_, answer)| answer.as_ref().err()) {
        Some(why) if answers.iter().all(|(_, answer)| answer.is_err()) => {
            Err(CliError::new(Exit::Unreachable, "no node answers").why(why).advice("quoit status"))
        }
        Some(_) | None => Ok(answers),
    }
}

/// What a program reads of each node.
const COLUMNS: [&str; 13] = [
    "to",
    "from",
    "slots",
    "slots_left",
    "slots_skipped",
    "bytes",
    "bytes_per_second",
    "lasts_ms",
    "remaining_ms",
    "pace_bytes_per_second",
    "limit_bytes_per_second",
    "paused",
    "why",
];

fn cells((node, answer): &Answer) -> Vec<Value> {
    let upkeep = answer.as_ref().ok();
    let takes = upkeep.and_then(|upkeep| upkeep.takes.as_ref());
    let from = |takes: &HandoffStatus| takes.with.iter().map(|peer| peer.name.to_string()).collect::<Vec<_>>();
    vec![
        json!(node),
        json!(takes.map(from)),
        json!(takes.map(|takes| takes.slots)),
        json!(takes.map(|takes| takes.slots_left)),
        json!(takes.map(|takes| takes.slots_skipped)),
        json!(takes.map(|takes| takes.bytes)),
        json!(takes.map(|takes| takes.bytes_per_s)),
        json!(takes.map(|takes| takes.lasts_ms)),
        json!(takes.and_then(|takes| takes.remaining_ms)),
        json!(upkeep.and_then(|upkeep| upkeep.pace)),
        json!(upkeep.and_then(|upkeep| upkeep.limit)),
        json!(upkeep.map(|upkeep| upkeep.is_paused)),
        json!(answer.as_ref().err()),
    ]
}

fn write(answers: &[Answer], output: &Output) -> std::io::Result<()> {
    match output.format() {
        Format::Table => output.line(text(answers)),
        Format::Json | Format::Jsonl | Format::Csv | Format::Raw => {
            output.table(&COLUMNS, &answers.iter().map(cells).collect::<Vec<_>>())
        }
    }
}

/// The nodes that take slots, and what holds them up.
fn text(answers: &[Answer]) -> String {
    let taking = answers.iter().filter_map(|(node, answer)| {
        let upkeep = answer.as_ref().ok()?;
        Some((node, upkeep.takes.as_ref()?, upkeep))
    });
    let rows: Vec<_> = taking.map(|(node, takes, upkeep)| row(node, takes, upkeep)).collect();
    let mut lines = Vec::new();
    if rows.is_empty() {
        lines.push("no keys are on their way".to_owned());
    } else {
        lines.push(aligned(&["from", "to", "slots", "left", "bytes", "rate", "remaining", "limit"], &rows));
    }
    let named = |is: &dyn Fn(&UpkeepStatus) -> bool| {
        let nodes = answers.iter().filter(|(_, answer)| answer.as_ref().is_ok_and(is)).map(|(node, _)| node.as_str());
        Some(nodes.collect::<Vec<_>>().join(", ")).filter(|nodes| !nodes.is_empty())
    };
    if let Some(paused) = named(&|upkeep| upkeep.is_paused) {
        lines.push(format!("paused: {paused}; quoit handoff resume"));
    }
    let silent: Vec<_> = answers.iter().filter_map(|(node, answer)| Some((node, answer.as_ref().err()?))).collect();
    lines.extend(silent.iter().map(|(node, why)| format!("{node}: {}", admin::printable(why))));
    lines.join("\n")
}

fn row(node: &Label, takes: &HandoffStatus, upkeep: &UpkeepStatus) -> Vec<Value> {
    let from = takes.with.iter().map(|peer| format!("{} ({} left)", peer.name, peer.slots_left));
    let remaining = match (upkeep.is_paused, takes.remaining_ms) {
        (true, _) => "paused".into(),
        (false, Some(ms)) => brief(Duration::from_millis(ms)),
        (false, None) => "?".into(),
    };
    vec![
        json!(from.collect::<Vec<_>>().join(", ")),
        json!(node),
        json!(takes.slots),
        json!(takes.slots_left),
        json!(ByteSize(takes.bytes).to_string()),
        json!(format!("{}/s", ByteSize(takes.bytes_per_s))),
        json!(remaining),
        limit(upkeep),
    ]
}

/// What it fetches at most at this moment, and why that is less than the pace.
fn limit(upkeep: &UpkeepStatus) -> Value {
    let limit = upkeep.limit.map_or(0, NonZeroU64::get);
    if upkeep.limit == upkeep.pace { pace(upkeep.pace) } else { json!(format!("{}/s, for requests", ByteSize(limit))) }
}

fn pace(pace: Option<NonZeroU64>) -> Value {
    json!(pace.map_or_else(|| Pace(None).to_string(), |_| format!("{}/s", Pace(pace))))
}

/// One line on the keys on their way to `node`.
pub(crate) fn line(node: &Label, upkeep: &UpkeepStatus) -> Option<String> {
    let takes = upkeep.takes.as_ref()?;
    let from: Vec<_> = takes.with.iter().map(|peer| peer.name.as_str()).collect();
    let from = if from.is_empty() { String::new() } else { format!(" from {}", from.join(", ")) };
    let (done, all) = (takes.slots.saturating_sub(takes.slots_left), takes.slots);
    let how = match (upkeep.is_paused, takes.remaining_ms) {
        (true, _) => "paused".into(),
        (false, Some(ms)) => format!("{} left", brief(Duration::from_millis(ms))),
        (false, None) => "no telling how long".into(),
    };
    let (bytes, rate) = (ByteSize(takes.bytes), ByteSize(takes.bytes_per_s));
    Some(format!("{node} has {done} of {all} slots{from}, {bytes} at {rate}/s, {how}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use quoit_client::HandoffPeer;

    use super::*;
    use crate::cli::stage::label;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: HandoffArgs,
    }

    fn peer(name: &str, slots_left: u32) -> HandoffPeer {
        HandoffPeer { name: label(name), slots_left }
    }

    fn taking() -> UpkeepStatus {
        let takes = HandoffStatus {
            with: vec![peer("n1", 100), peer("n2", 20)],
            slots: 4096,
            slots_left: 120,
            slots_skipped: 0,
            bytes: 35 << 20,
            bytes_per_s: 12 << 20,
            lasts_ms: 9000,
            remaining_ms: Some(14_000),
        };
        let pace = NonZeroU64::new(64 << 20);
        UpkeepStatus { takes: Some(takes), pace, limit: pace, ..UpkeepStatus::default() }
    }

    #[test]
    fn there_is_a_line_for_each_node_that_takes_slots() {
        let idle = (label("n1"), Ok(UpkeepStatus::default()));
        assert_eq!(text(std::slice::from_ref(&idle)), "no keys are on their way");
        let silent = (label("n5"), Err("timed\nout".to_owned()));
        let told = text(&[idle, (label("n4"), Ok(taking())), silent]);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(lines[0].starts_with("FROM") && lines[0].ends_with("LIMIT"), "{told}");
        assert!(lines[1].starts_with("n1 (100 left), n2 (20 left)  n4"), "{told}");
        for word in ["4096", "120", "35.0 MiB", "12.0 MiB/s", "14s", "64MiB/s"] {
            assert!(lines[1].contains(word), "{word} in {told}");
        }
        assert_eq!(lines[2], "n5: timed out");
        let held_back = UpkeepStatus { limit: NonZeroU64::new(48 << 20), ..taking() };
        assert!(text(&[(label("n4"), Ok(held_back))]).ends_with("48.0 MiB/s, for requests"));
        let paused = UpkeepStatus { is_paused: true, ..taking() };
        let told = text(&[(label("n4"), Ok(paused))]);
        assert!(told.ends_with("paused: n4; quoit handoff resume") && told.contains(" paused "), "{told}");
    }

    #[test]
    fn programs_are_told_the_same() {
        let cells = cells(&(label("n4"), Ok(taking())));
        let object: Value = COLUMNS.map(str::to_owned).into_iter().zip(cells).collect();
        assert_eq!(object["from"], json!(["n1", "n2"]));
        assert_eq!((&object["slots_left"], &object["remaining_ms"]), (&json!(120), &json!(14_000)));
        assert_eq!((&object["pace_bytes_per_second"], &object["paused"]), (&json!(64 << 20), &json!(false)));
        assert_eq!(object["limit_bytes_per_second"], json!(64 << 20));
    }

    #[test]
    fn status_has_one_line_on_it() {
        assert_eq!(
            line(&label("n4"), &taking()).unwrap(),
            "n4 has 3976 of 4096 slots from n1, n2, 35.0 MiB at 12.0 MiB/s, 14s left"
        );
        assert_eq!(line(&label("n4"), &UpkeepStatus::default()), None);
    }

    #[test]
    fn paces_are_sizes_or_none() {
        let accepted = |words: &[&str]| Line::try_parse_from([&["handoff"], words].concat()).is_ok();
        for words in [&["pace", "64MiB"][..], &["pace", "unlimited", "--node", "n1"], &["pause"], &["resume"], &[]] {
            assert!(accepted(words), "{words:?}");
        }
        for words in [&["pace"][..], &["pace", "0"], &["pace", "fast"], &["pause", "n1"], &["--watch=0"]] {
            assert!(!accepted(words), "{words:?}");
        }
    }
}
