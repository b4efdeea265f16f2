//! What is wrong, and what to do about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quoit_client::Member;
use quoit_proto_types::view::{Intent, Liveness};

use super::{
    rows::{Row, State, days_left},
    survey::Survey,
};
use crate::cli::{
    admin::{ago, moment, printable},
    copies::Copies,
    keys::brief,
};

/// A certificate that is valid for fewer days than this should have been renewed.
const CERTIFICATE_DAYS_MIN: i64 = 14;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Something does not work, or soon will not.
    Degraded,
    /// Worth knowing, and no fault.
    Note,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) severity: Severity,
    pub(crate) what: String,
    /// A command, or a sentence.
    pub(crate) advice: Option<String>,
}

fn degraded(what: String, advice: impl Into<String>) -> Warning {
    Warning { severity: Severity::Degraded, what, advice: Some(advice.into()) }
}

fn note(what: String, advice: impl Into<String>) -> Warning {
    Warning { severity: Severity::Note, what, advice: Some(advice.into()) }
}

/// Everything that is wrong, the worst first.
pub(crate) fn warnings(survey: &Survey, rows: &[Row]) -> Vec<Warning> {
    let mut found = Vec::new();
    found.extend(quorum(survey));
    for member in survey.view.members() {
        found.extend(member_state(survey, rows, member));
        found.extend(cut_off(survey, member));
        found.extend(certificate(survey, member));
        found.extend(alarms(survey, rows, member));
    }
    found.extend(copies(survey));
    found.extend(ring_change(survey));
    found.extend(voters(survey));
    found.extend(zones(survey));
    found.extend(versions(survey));
    found.sort_by_key(|warning| warning.severity);
    found
}

/// The state of the cluster in one line, and whether nothing is degraded.
pub(crate) fn verdict(survey: &Survey, rows: &[Row], warnings: &[Warning]) -> (bool, String) {
    let degraded = warnings.iter().filter(|warning| warning.severity == Severity::Degraded);
    // What follows from each is for those who read all of it.
    let problems: Vec<_> = degraded.map(|warning| warning.what.split("; ").next().unwrap_or_default()).collect();
    if !problems.is_empty() {
        return (false, format!("degraded: {}", problems.join("; ")));
    }
    let (all, epoch) = (rows.len(), survey.view.epoch().value());
    let up = rows.iter().filter(|row| row.state == State::Up).count();
    let coordinator = survey.coordinator().map(|name| format!(", coordinator {name}")).unwrap_or_default();
    (true, format!("ok: {up} of {all} members up, epoch {epoch}{coordinator}"))
}

fn quorum(survey: &Survey) -> Option<Warning> {
    const FROZEN: &str = "members are neither admitted nor removed, keys are served as before";
    let silent = || {
        let voters = survey.view.members().iter().filter(|member| survey.view.is_voter(member.ordinal));
        let silent = voters.filter(|member| survey.status(member).is_none()).map(|member| member.name.as_str());
        silent.collect::<Vec<_>>().join(", ")
    };
    let lost = "if a majority of them is lost for good, quoit recover --from-survivor";
    match survey.quorum() {
        None => Some(degraded(
            format!("no voter answers here, so nobody knows of a quorum: {FROZEN}"),
            format!("start or connect {}; {lost}", silent()),
        )),
        Some(quorum) if quorum.heard < quorum.needed => Some(degraded(
            format!("no quorum: {} of the voters heard, {} are needed; {FROZEN}", quorum.heard, quorum.needed),
            match silent() {
                silent if silent.is_empty() => "connect the voters with each other: each must reach a majority".into(),
                silent => format!("start or connect {silent}; {lost}"),
            },
        )),
        Some(_) if survey.coordinator().is_none() => Some(degraded(
            format!("no coordinator: {FROZEN}"),
            "again: a majority of the voters is connected and elects one within seconds",
        )),
        Some(_) => None,
    }
}

fn member_state(survey: &Survey, rows: &[Row], member: &Member) -> Option<Warning> {
    let name = &member.name;
    let going = match member.intent {
        Intent::Stay => None,
        Intent::Leave => Some(format!("{name} is leaving, as an administrator wants")),
        Intent::Lost => Some(format!("{name} is given up: it was down for too long, or came back without its disk")),
    };
    if let Some(what) = going {
        return Some(note(what, "nothing: it is removed when others have its slots; quoit view log shows it"));
    }
    if member.live == Liveness::Down {
        return Some(down(survey, member));
    }
    let row = rows.iter().find(|row| row.name == name.as_str() && row.state != State::Leaving)?;
    let address = &member.address;
    match row.state {
        State::Unreachable => {
            let why = survey.answers.get(&member.ordinal).and_then(|answer| answer.as_ref().err());
            let why = why.map_or_else(|| "it was not asked".into(), |why| printable(why));
            let what = format!("{name} does not answer here ({why}); the voters have not called it down");
            Some(degraded(what, format!("check that {address}/udp can be reached from here, then again")))
        }
        State::Behind => {
            let (has, latest) = (row.epoch.unwrap_or_default(), survey.view.epoch().value());
            let what = format!("{name} is behind: it has epoch {has}, others {latest}");
            Some(degraded(what, "again; if it stays so, check that it reaches the voters, and its log"))
        }
        State::Restarting => {
            let standing = survey.status(member).map(|status| printable(&status.standing)).unwrap_or_default();
            let what = format!("{name} was started again and is not back in the view yet ({standing})");
            Some(degraded(what, "again in some seconds; it needs a coordinator, see above"))
        }
        State::Slow => {
            let what =
                format!("{name} is slow: a majority of the members waits over ten times longer for it than for others");
            let advice = format!(
                "look for what else its machine does (processor, memory, disk) and at its network; it is well a minute after \
                 its answers are; quoit drain {name} if they stay late"
            );
            Some(degraded(what, advice))
        }
        State::Up | State::Leaving | State::Down => None,
    }
}

fn down(survey: &Survey, member: &Member) -> Warning {
    let name = &member.name;
    let since = survey
        .down_since(member)
        .map(|(epoch, ms)| format!(" since {} (epoch {}, {})", moment(ms), epoch.value(), ago(ms, survey.now_ms)));
    let since = since.unwrap_or_default();
    if survey.status(member).is_some() {
        let what = format!("{name} is down for the voters{since}, and answers here");
        return degraded(
            what,
            format!("again in some seconds; if it stays so, check {}/udp from the voters", member.address),
        );
    }
    let out_after = brief(Duration::from_secs(survey.view.fields().config.out_after_s.into()));
    let keys = match (member.vnodes, survey.view.fields().copies) {
        (0, _) => String::new(),
        (_, 1) => format!(
            "; requests for its keys fail until it is back, or until others take them {out_after} after it fell silent"
        ),
        (_, _) => format!("; others have copies of its keys, and make new ones {out_after} after it fell silent"),
    };
    degraded(
        format!("{name} is down{since}{keys}"),
        format!("start it, or quoit force-out {name} if it will not come back"),
    )
}

/// A member that does not hear the voters, while others do.
fn cut_off(survey: &Survey, member: &Member) -> Option<Warning> {
    let status = survey.status(member)?;
    let needed = survey.quorum().filter(|quorum| quorum.heard >= quorum.needed)?.needed;
    let member_of_all = member.live == Liveness::Up && member.intent == Intent::Stay;
    if !member_of_all || status.quorum.needed == 0 || status.quorum.heard >= needed {
        return None;
    }
    let what = format!("{} hears {} of the voters only, {needed} are needed", member.name, status.quorum.heard);
    Some(degraded(what, "check that it and the voters reach each other over UDP"))
}

fn certificate(survey: &Survey, member: &Member) -> Option<Warning> {
    let status = survey.status(member)?;
    let days = days_left(status.certificate_not_after_s, survey.now_ms);
    if days >= CERTIFICATE_DAYS_MIN {
        return None;
    }
    let name = &member.name;
    let day = moment(u64::try_from(status.certificate_not_after_s).unwrap_or_default().saturating_mul(1000));
    let day = day.split('T').next().unwrap_or_default();
    let what = match days {
        ..0 => format!("the certificate of {name} ended on {day}: nobody who connects anew accepts it"),
        0 => format!("the certificate of {name} ends today, {day}"),
        1 => format!("the certificate of {name} ends in 1 day, on {day}"),
        2.. => format!("the certificate of {name} ends in {days} days, on {day}"),
    };
    Some(degraded(what, format!("make-certs renew {name}, then copy its folder to the node, which reads it by itself")))
}

fn alarms(survey: &Survey, rows: &[Row], member: &Member) -> Vec<Warning> {
    let alarms = survey.status(member).map(|status| status.alarms.as_slice()).unwrap_or_default();
    let warning = |alarm: &String| {
        let what = format!("{}: {}", member.name, printable(alarm));
        // An alarm says itself what to do.
        Warning { severity: Severity::Degraded, what, advice: None }
    };
    alarms.iter().filter(|alarm| !is_told_already(rows, alarm)).map(warning).collect()
}

/// Whether a warning above says the same as this alarm, of the whole cluster rather than of one member.
fn is_told_already(rows: &[Row], alarm: &str) -> bool {
    let is_reached = |row: &Row| matches!(row.state, State::Up | State::Slow);
    let has_warning = |name: &str| rows.iter().any(|row| row.name == name && !is_reached(row));
    if alarm.starts_with("no connection with ") {
        return alarm.rsplit_once(": ").is_some_and(|(_, names)| names.split(", ").all(has_warning));
    }
    alarm.starts_with("the certificate of ") || alarm.starts_with("no quorum: ")
}

/// Slots of which no copy is left. Where merely some are missing, the line on copies says so.
fn copies(survey: &Survey) -> Option<Warning> {
    let copies = Copies::of(&survey.view);
    // With one copy of each key, whoever is down is told with what that means.
    if copies.orphaned == 0 || copies.in_force == 1 {
        return None;
    }
    let what = format!("no owner of {} of {} slots is up: requests for their keys fail", copies.orphaned, copies.slots);
    Some(degraded(what, "start the owners that are down: what they hold is lost when others take over"))
}

fn ring_change(survey: &Survey) -> Option<Warning> {
    let fields = survey.view.fields();
    let target = fields.target.as_ref()?;
    let owners: Vec<_> = target.iter().filter_map(|owner| survey.view.member(owner.ordinal)).collect();
    let owners: Vec<_> = owners.iter().map(|member| member.name.as_str()).collect();
    let what = format!("a ring change is under way since epoch {}, to {}", fields.fence.value(), owners.join(", "));
    Some(note(what, "nothing: it ends by itself; quoit handoff --watch shows when"))
}

fn voters(survey: &Survey) -> Option<Warning> {
    const WITNESS: &str = "add a node, or a witness, which votes and holds no keys: quoit node --vnodes 0";
    let voters = survey.view.fields().voters.len();
    let staying = survey.view.members().iter().filter(|member| member.intent == Intent::Stay).count();
    match voters {
        2 if staying == 2 => Some(note(
            "two nodes tolerate no failure: without either one, members are neither admitted nor removed".into(),
            WITNESS,
        )),
        2 | 4 | 6 => {
            let what = format!("{voters} voters tolerate no more failures than {} would", voters - 1);
            Some(note(what, WITNESS))
        }
        _ => None,
    }
}

fn zones(survey: &Survey) -> Option<Warning> {
    let staying = survey.view.members().iter().filter(|member| member.intent == Intent::Stay);
    let (placed, elsewhere): (Vec<_>, Vec<_>) = staying.partition(|member| member.zone.is_some());
    let zones: BTreeSet<_> = placed.iter().filter_map(|member| member.zone.as_ref()).collect();
    if !placed.is_empty() && !elsewhere.is_empty() {
        let names: Vec<_> = elsewhere.iter().map(|member| member.name.as_str()).collect();
        let what = format!("{} without a zone, unlike the others", are(&names));
        return Some(note(what, "give each node the failure domain it stands in: quoit node --zone NAME"));
    }
    let zone = zones.first().filter(|_| zones.len() == 1 && placed.len() >= 2)?;
    let what = format!("all members stand in one zone, {zone}: one failure can take them all");
    Some(note(what, "place nodes in other failure domains: quoit node --zone NAME"))
}

fn versions(survey: &Survey) -> Option<Warning> {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (member, status) in survey.statuses() {
        by_version.entry(&status.version).or_default().push(member.name.as_str());
    }
    if by_version.len() < 2 {
        return None;
    }
    let told = by_version.iter().map(|(version, names)| format!("{} by {}", printable(version), names.join(", ")));
    let told: Vec<_> = told.collect();
    Some(note(
        format!("several versions are run: {}", told.join("; ")),
        "end the upgrade: restart the older ones, one by one",
    ))
}

fn are(names: &[&str]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}
