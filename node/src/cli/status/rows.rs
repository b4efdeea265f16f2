//! What is shown of each member.

use std::{fmt, time::Duration};

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;
use quoit_client::{Member, View};
use quoit_proto_types::{
    message::admin::ElectionRole,
    view::{Intent, Liveness},
};
use serde_json::{Value, json};

use super::survey::Survey;
use crate::cli::{admin, keys::brief, output::aligned};

/// A member as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) role: MemberRole,
    address: String,
    zone: Option<String>,
    vnodes: u32,
    /// The part of all slots that it owns as primary, in percent.
    share: f64,
    entries: Option<u64>,
    memory: Option<(u64, u64)>,
    uptime_ms: Option<u64>,
    pub(crate) certificate_days: Option<i64>,
    pub(crate) epoch: Option<u64>,
    version: Option<String>,
    clients: Option<u32>,
}

/// How a member does, the worst that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// All is well.
    Up,
    /// It answers, but late, as a majority of the members says.
    Slow,
    /// It has an earlier view than others.
    Behind,
    /// It runs again and is not yet an owner in this life.
    Restarting,
    /// The voters hear it, and it does not answer here.
    Unreachable,
    /// It gives up its slots, and is removed then.
    Leaving,
    /// A majority of the voters does not hear it.
    Down,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Slow => "slow",
            Self::Behind => "behind",
            Self::Restarting => "restarting",
            Self::Unreachable => "unreachable",
            Self::Leaving => "leaving",
            Self::Down => "down",
        })
    }
}

impl State {
    fn style(self) -> Style {
        match self {
            Self::Up => Style::new(),
            Self::Slow | Self::Behind | Self::Restarting | Self::Leaving => AnsiColor::Yellow.on_default(),
            Self::Unreachable | Self::Down => AnsiColor::Red.on_default(),
        }
    }
}

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberRole {
    /// It publishes views.
    Coordinator,
    /// It votes and owns keys.
    Voter,
    /// It owns keys.
    Member,
    /// It owns no keys.
    Witness,
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Coordinator => "coordinator",
            Self::Voter => "voter",
            Self::Member => "member",
            Self::Witness => "witness",
        })
    }
}

/// A row for each member, in the order of their names.
pub(crate) fn rows(survey: &Survey) -> Vec<Row> {
    let view = &survey.view;
    let ring = view.ring();
    let slots = f64::from(ring.slots().count());
    let coordinator = survey.coordinator();
    let row = |member: &Member| {
        let status = survey.status(member);
        #[expect(clippy::cast_precision_loss, reason = "there are at most 2^20 slots")]
        let share = ring.primary_slots(member.ordinal) as f64 * 100.0 / slots;
        Row {
            name: member.name.to_string(),
            state: state(survey, member),
            role: match () {
                () if coordinator == Some(&member.name) && member.intent == Intent::Stay => MemberRole::Coordinator,
                () if member.vnodes == 0 => MemberRole::Witness,
                () if view.is_voter(member.ordinal) => MemberRole::Voter,
                () => MemberRole::Member,
            },
            address: member.address.to_string(),
            zone: member.zone.as_ref().map(ToString::to_string),
            vnodes: member.vnodes,
            share: (share * 10.0).round() / 10.0,
            entries: status.map(|status| status.entries),
            memory: status.map(|status| (status.bytes, status.bytes_max)),
            uptime_ms: status.map(|status| status.uptime_ms),
            certificate_days: status.map(|status| days_left(status.certificate_not_after_s, survey.now_ms)),
            epoch: status.map(|status| status.epoch.value()),
            version: status.map(|status| admin::printable(&status.version)),
            clients: status.map(|status| status.clients),
        }
    };
    let mut rows: Vec<Row> = view.members().iter().map(row).collect();
    rows.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
    rows
}

/// Whole days until a moment in seconds since 1970; negative when it has passed.
pub(crate) fn days_left(not_after_s: i64, now_ms: u64) -> i64 {
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    not_after_s.saturating_sub(now_s).div_euclid(86_400)
}

fn state(survey: &Survey, member: &Member) -> State {
    if member.intent != Intent::Stay {
        return State::Leaving;
    }
    if member.live == Liveness::Down {
        return State::Down;
    }
    match survey.status(member) {
        None => State::Unreachable,
        Some(status) if status.role == ElectionRole::Outside || owns_in_another_life(&survey.view, member) => {
            State::Restarting
        }
        Some(status) if status.epoch < survey.view.epoch() => State::Behind,
        Some(_) if member.degraded => State::Slow,
        Some(_) => State::Up,
    }
}

/// Whether the ring in force knows it from before its last start.
fn owns_in_another_life(view: &View, member: &Member) -> bool {
    view.fields().ring.iter().any(|owner| owner.ordinal == member.ordinal && owner.boot != member.boot)
}

/// Sorts `n2` before `n10`.
fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

/// What a program reads of a member.
pub(super) const COLUMNS: [&str; 16] = [
    "name",
    "state",
    "role",
    "address",
    "zone",
    "vnodes",
    "share_percent",
    "entries",
    "memory_bytes",
    "memory_bytes_max",
    "uptime_ms",
    "certificate_days",
    "epoch",
    "version",
    "clients",
    "why",
];

/// The cells of [`COLUMNS`].
pub(super) fn cells(row: &Row, why: Option<&str>) -> Vec<Value> {
    let (bytes, bytes_max) = row.memory.unzip();
    vec![
        json!(row.name),
        json!(row.state.to_string()),
        json!(row.role.to_string()),
        json!(row.address),
        json!(row.zone),
        json!(row.vnodes),
        json!(row.share),
        json!(row.entries),
        json!(bytes),
        json!(bytes_max),
        json!(row.uptime_ms),
        json!(row.certificate_days),
        json!(row.epoch),
        json!(row.version),
        json!(row.clients),
        json!(why),
    ]
}

/// The members as people read them: what is the same for all, or for none, has no column.
pub(super) fn table(rows: &[Row], epoch: u64) -> String {
    let differ = rows.iter().any(|row| row.epoch.is_some_and(|found| found != epoch));
    let zones = rows.iter().any(|row| row.zone.is_some());
    let mut columns = vec!["node", "state", "role", "address"];
    columns.extend(zones.then_some("zone"));
    columns.extend(["vnodes", "share_%", "entries", "memory", "uptime", "cert_days"]);
    columns.extend(differ.then_some("epoch"));
    let cells = |row: &Row| {
        let memory = row.memory.map(|(used, max)| format!("{} / {}", ByteSize(used), ByteSize(max)));
        let mut cells =
            vec![json!(row.name), json!(row.state.to_string()), json!(row.role.to_string()), json!(row.address)];
        cells.extend(zones.then(|| json!(row.zone)));
        cells.extend([
            json!(row.vnodes),
            json!(row.share),
            json!(row.entries),
            json!(memory),
            json!(row.uptime_ms.map(|ms| brief(Duration::from_millis(ms)))),
            json!(row.certificate_days),
        ]);
        cells.extend(differ.then(|| json!(row.epoch)));
        cells
    };
    let text = aligned(&columns, &rows.iter().map(cells).collect::<Vec<_>>());
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default().to_owned();
    let painted = lines.zip(rows).map(|(line, row)| {
        let style = row.state.style();
        format!("{style}{line}{style:#}")
    });
    [head].into_iter().chain(painted).collect::<Vec<_>>().join("\n")
}
