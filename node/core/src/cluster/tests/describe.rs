//! Views and messages in few words.

use std::fmt::Write;

use quoit_proto_types::{
    Ballot, Ordinal, View,
    message::{
        election::ElectionMessage,
        heartbeat::{Heartbeat, Office},
        membership::{Applicant, CommandAnswer, MembershipMessage},
        peer::PeerMessage,
    },
    view::{Intent, Liveness, Owner},
};

/// A view, whole. `n2-` is down, `n2!` leaves, `n2?` is lost, `n2/4` has another ordinal than its name suggests, `n2.3` is
/// in its third life, `n2=0` has so many vnodes where others have 8, `n2=8>4` is to have 4 and has 8 in the ring in force. Copies
/// are told if there are not as many as are wanted.
pub(super) fn view(view: &View) -> String {
    let fields = view.fields();
    let mut text = format!("e{} coordinator {}", view.epoch().value(), name(view, fields.coordinator));
    let voters: Vec<String> = fields.voters.iter().map(|voter| name(view, *voter)).collect();
    let members: Vec<String> = view.members().iter().map(|member| self::member(view, member.ordinal)).collect();
    write!(text, " voters {} members {} ring {}", voters.join(" "), members.join(" "), owners(view, &fields.ring))
        .unwrap();
    if let Some(target) = &fields.target {
        write!(text, " target {}", owners(view, target)).unwrap();
    }
    if fields.copies != fields.config.replication {
        write!(text, " copies {} of {}", fields.copies, fields.config.replication).unwrap();
    }
    let changes: Vec<String> = fields.changes.iter().map(ToString::to_string).collect();
    write!(text, " fence {}: {}", fields.fence.value(), changes.join(", ")).unwrap();
    text
}

fn name(view: &View, ordinal: Ordinal) -> String {
    let name = view.member(ordinal).map_or_else(|| "?".to_owned(), |member| member.name.to_string());
    if name == format!("n{ordinal}") { name } else { format!("{name}/{ordinal}") }
}

fn member(view: &View, ordinal: Ordinal) -> String {
    let member = view.member(ordinal).unwrap();
    let mut text = life(view, Owner { ordinal, boot: member.boot });
    let (_, placed) = member.placed();
    if member.vnodes != placed {
        write!(text, "={placed}>{}", member.vnodes).unwrap();
    } else if member.vnodes != super::stage::VNODES {
        write!(text, "={}", member.vnodes).unwrap();
    }
    text.push_str(match member.live {
        Liveness::Up => "",
        Liveness::Down => "-",
    });
    text.push_str(match member.intent {
        Intent::Stay => "",
        Intent::Leave => "!",
        Intent::Lost => "?",
    });
    text
}

fn life(view: &View, owner: Owner) -> String {
    let name = name(view, owner.ordinal);
    if owner.boot.value() == 1 { name } else { format!("{name}.{}", owner.boot) }
}

fn owners(view: &View, owners: &[Owner]) -> String {
    let owners: Vec<String> = owners.iter().map(|owner| life(view, *owner)).collect();
    if owners.is_empty() { "nobody".to_owned() } else { owners.join(" ") }
}

/// A ballot without the boot in it.
pub(super) fn number(ballot: Ballot) -> String {
    format!("{}.{}", ballot.term, ballot.ordinal)
}

/// What changes make a view another.
fn brief(view: &View) -> String {
    let changes: Vec<String> = view.fields().changes.iter().map(ToString::to_string).collect();
    format!("e{} ({})", view.epoch().value(), changes.join(", "))
}

pub(super) fn message(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Genesis(message) => {
            let text = format!("{message:?}");
            text.split([' ', '(']).next().unwrap_or_default().to_owned()
        }
        PeerMessage::Election(message) => election(message),
        PeerMessage::Membership(message) => membership(message),
    }
}

fn election(message: &ElectionMessage) -> String {
    match message {
        ElectionMessage::Elect { epoch, transferred: None, .. } => format!("Elect in {epoch}"),
        ElectionMessage::Elect { epoch, transferred: Some(ballot), .. } => {
            format!("Elect in {epoch}, handed over by {}", number(*ballot))
        }
        ElectionMessage::Grant { .. } => "Grant".to_owned(),
        ElectionMessage::Higher { .. } => "Higher".to_owned(),
        ElectionMessage::Alive { ballot, .. } => format!("Alive {}", number(*ballot)),
        ElectionMessage::Newer { epoch } => format!("Newer {epoch}"),
        ElectionMessage::Prepare { epoch, ballot } => format!("Prepare {} in {epoch}", number(*ballot)),
        ElectionMessage::Promise { ballot, accepted: None, .. } => format!("Promise {}", number(*ballot)),
        ElectionMessage::Promise { ballot, accepted: Some((old, view)), .. } => {
            format!("Promise {}, accepted {} in {}", number(*ballot), brief(view), number(*old))
        }
        ElectionMessage::Propose { ballot, view, .. } => format!("Propose {} {}", number(*ballot), brief(view)),
        ElectionMessage::Accepted { ballot, .. } => format!("Accepted {}", number(*ballot)),
        ElectionMessage::Reject { ballot, seen, .. } => format!("Reject {}, seen {}", number(*ballot), number(*seen)),
        ElectionMessage::Transfer { epoch, ballot } => format!("Transfer {} in {epoch}", number(*ballot)),
    }
}

fn membership(message: &MembershipMessage) -> String {
    match message {
        MembershipMessage::Commit { ballot, view } => {
            format!("Commit e{} by {}", view.epoch().value(), number(*ballot))
        }
        MembershipMessage::CommitDelta { ballot, delta } => {
            format!("CommitDelta e{} to e{} by {}", delta.base_epoch.value(), delta.epoch.value(), number(*ballot))
        }
        MembershipMessage::Installed { epoch, promised } => {
            format!("Installed {epoch}, promised {}", number(*promised))
        }
        MembershipMessage::ViewGet { epoch } => format!("ViewGet, has {epoch}"),
        MembershipMessage::Join { applicant, .. } => format!("Join {}", process(applicant)),
        MembershipMessage::ForwardedJoin(applicant) => format!("ForwardedJoin {}", process(applicant)),
        MembershipMessage::JoinAnswer { applicant, answer } => format!("JoinAnswer to {applicant}: {answer}"),
        MembershipMessage::Synced { fence, left } => format!("Synced {fence}, {left} left"),
        MembershipMessage::Command { command, by, .. } => format!("Command of {by}: {command:?}"),
        MembershipMessage::CommandAnswer { answer, .. } => format!("CommandAnswer {}", self::answer(answer)),
    }
}

fn process(applicant: &Applicant) -> String {
    let instance = super::stage::instance_number(applicant.instance);
    format!("{}#{instance}.{}", applicant.name, applicant.boot)
}

pub(super) fn answer(answer: &CommandAnswer) -> String {
    match answer {
        CommandAnswer::Accepted { epoch } => format!("accepted in {epoch}"),
        CommandAnswer::NoCoordinator => "no coordinator".to_owned(),
        CommandAnswer::NoSuchMember { name } => format!("no member {name}"),
        CommandAnswer::LastOne { name } => format!("{name} is needed"),
        CommandAnswer::IsUp { name } => format!("{name} is up"),
        CommandAnswer::CannotPreside { name } => format!("{name} cannot preside"),
        CommandAnswer::OutOfRange { reason } => format!("out of range: {reason}"),
    }
}

pub(super) fn beat(heartbeat: &Heartbeat) -> String {
    match heartbeat {
        Heartbeat::Ping(ping) => {
            let office = match ping.office {
                Office::None => "",
                Office::Presiding => ", presiding",
                Office::Yielding => ", yielding",
            };
            let suspects: Vec<String> = ping.suspects.iter().map(ToString::to_string).collect();
            let suspects =
                if suspects.is_empty() { String::new() } else { format!(", suspects {}", suspects.join(" ")) };
            let slow: Vec<String> = ping.slow.iter().map(ToString::to_string).collect();
            let slow = if slow.is_empty() { String::new() } else { format!(", finds {} slow", slow.join(" ")) };
            format!("Ping {} {}{office}{suspects}{slow}", ping.epoch, number(ping.ballot))
        }
        Heartbeat::Pong { epoch, .. } => format!("Pong {epoch}"),
    }
}
