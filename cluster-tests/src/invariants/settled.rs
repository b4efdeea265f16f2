//! L1: when the faults are over and a majority of the voters is up, there is one coordinator, all who live share one view,
//! which shows each of them up and in the ring, and nothing is left to be done.

use std::{fmt, sync::Arc};

use quoit_core::cluster::{Standing, WaitingChange};
use quoit_proto_types::{
    View,
    limits::VOTERS_MAX,
    message::admin::ElectionRole,
    view::{Intent, Liveness},
};

use super::Ledger;
use crate::sim::Actor;

/// A living process, to be judged.
#[derive(Clone, Debug)]
pub struct Settlement<'a> {
    /// Which.
    pub actor: &'a Actor,
    /// The view it goes by.
    pub view: Option<&'a Arc<View>>,
    /// Its role.
    pub role: ElectionRole,
    /// Where it stands.
    pub standing: Standing,
    /// What it says the next ring change waits for.
    pub waiting: Option<WaitingChange>,
}

/// What is not settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// A majority of the voters is gone, so nothing can be asked.
    Frozen,
    /// This.
    NotYet(String),
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen => f.write_str("a majority of the voters is gone"),
            Self::NotYet(what) => f.write_str(what),
        }
    }
}

/// Whether `living`, who are all that is up, have settled.
///
/// # Errors
/// What is missing.
pub fn check(ledger: &Ledger, living: &[Settlement<'_>]) -> Result<(), Unsettled> {
    if living.is_empty() {
        return Err(Unsettled::Frozen);
    }
    // What was decided last may not be known to any of the living: then they need the voters of the view before it.
    let known = living.iter().filter_map(|one| one.view).max_by_key(|view| view.epoch());
    for latest in ledger.latest().into_iter().chain(known) {
        let fields = latest.fields();
        let voters = fields.voters.iter().filter_map(|voter| latest.member(*voter));
        let up = voters.filter(|voter| living.iter().any(|one| one.actor.instance == voter.instance)).count();
        if up < latest.quorum() {
            return Err(Unsettled::Frozen);
        }
    }
    settled(living).map_err(Unsettled::NotYet)
}

fn settled(living: &[Settlement<'_>]) -> Result<(), String> {
    let [first, rest @ ..] = living else { return Ok(()) };
    let view = first.view.ok_or_else(|| format!("{} has no view, {:?}", first.actor, first.standing))?;
    for one in rest {
        if one.view != Some(view) {
            let epoch = one.view.map(|view| view.epoch()).unwrap_or_default();
            return Err(format!("{} has {epoch}, {} has {}: {:?}", one.actor, first.actor, view.epoch(), one.standing));
        }
    }
    let fields = view.fields();
    let waits = living.iter().any(|one| one.waiting.as_ref().is_some_and(|waiting| is_true(view, waiting)));
    for Settlement { actor, standing, .. } in living {
        let member = view.member_of_instance(actor.instance).filter(|member| member.boot == actor.boot);
        let Some(member) = member else {
            return Err(format!("{actor} is no member of {}: {standing:?}", view.epoch()));
        };
        let holds = fields.ring.iter().any(|owner| (owner.ordinal, owner.boot) == (member.ordinal, actor.boot));
        match (member.live, member.intent) {
            (Liveness::Down, _) => return Err(format!("{actor} is down in {}", view.epoch())),
            (Liveness::Up, Intent::Leave | Intent::Lost) if !waits => {
                return Err(format!("{actor} has not left in {}", view.epoch()));
            }
            (Liveness::Up, Intent::Stay) if !holds && member.vnodes > 0 && !waits => {
                return Err(format!("{actor} is not in the ring of {}", view.epoch()));
            }
            (Liveness::Up, Intent::Stay | Intent::Leave | Intent::Lost) => {}
        }
    }
    if fields.target.is_some() {
        return Err(format!("the ring change of {} is under way", view.fence()));
    }
    let may_vote = view.members().iter().filter(|m| m.intent == Intent::Stay && m.live == Liveness::Up).count();
    if fields.voters.len() < may_vote.min(VOTERS_MAX) {
        return Err(format!("only {} vote in {}", fields.voters.len(), view.epoch()));
    }
    let coordinators: Vec<_> = living.iter().filter(|one| one.role == ElectionRole::Coordinator).collect();
    match coordinators[..] {
        [one] if view.member(fields.coordinator).is_some_and(|m| m.instance == one.actor.instance) => Ok(()),
        [one] => Err(format!("{} is the coordinator, but {} names another", one.actor, view.epoch())),
        [] => Err(format!("nobody is the coordinator in {}", view.epoch())),
        [one, other, ..] => Err(format!("{} and {} are coordinators", one.actor, other.actor)),
    }
}

/// Whether a ring change has to wait, as is said: for members that are down, or for somebody to whom slots could go.
fn is_true(view: &View, waiting: &WaitingChange) -> bool {
    let down = |name| view.member_named(name).is_some_and(|member| member.live == Liveness::Down);
    match waiting {
        WaitingChange::Down(names) => !names.is_empty() && names.iter().all(down),
        WaitingChange::NobodyElse(_) => {
            view.members().iter().all(|member| member.intent != Intent::Stay || member.vnodes == 0)
        }
    }
}
