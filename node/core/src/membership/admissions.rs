//! Nodes that knock: those who want to be members, and those who are and have restarted.

use std::{collections::BTreeMap, time::Duration};

use quoit_proto_types::{
    Label, Member, View, limits,
    message::{
        membership::{Applicant, JoinAnswer},
        session::VERSIONS,
    },
    view::{Intent, Liveness},
};

use crate::{
    planted::{Bug, Planted},
    time::Timestamp,
};

/// A join that nobody repeats is forgotten after this time.
const JOIN_LASTS: Duration = Duration::from_secs(10);
/// Joins that wait at once; an honest cluster has as many as it has nodes that start together.
const JOINS_MAX: usize = 1024;

/// The joins that wait at the coordinator.
#[derive(Debug, Default)]
pub(super) struct Admissions(BTreeMap<Label, Waiting>);

#[derive(Debug)]
struct Waiting {
    applicant: Applicant,
    /// Who passed the join on.
    via: Label,
    until: Timestamp,
    /// Whether it was reached where it says it is.
    reached: bool,
}

/// What to do about a join.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// It is in the view as it says.
    IsIn,
    /// It waits for the next view.
    Queued,
    /// It waits until it has been reached; try that.
    Reach,
    /// It waits already.
    Waits,
    /// It is refused.
    Refused(JoinAnswer),
    /// It is an earlier process of a member.
    Outdated,
}

impl Admissions {
    /// `applicant` knocks, by way of the member `via` or itself.
    pub(super) fn knock(
        &mut self,
        now: Timestamp,
        view: &View,
        (applicant, via): (&Applicant, &Label),
        planted: Planted,
    ) -> Knock {
        let known = view.member_named(&applicant.name);
        let same = known.filter(|member| member.instance == applicant.instance);
        if let Some(member) = same {
            if member.boot > applicant.boot {
                return Knock::Outdated;
            }
            if is_same(member, applicant) && member.intent != Intent::Lost {
                return Knock::IsIn;
            }
        } else if let Some(other) = known
            && other.intent == Intent::Stay
            && other.live == Liveness::Up
            && !planted.is(Bug::NameStolen)
        {
            return Knock::Refused(JoinAnswer::NameInUse { address: Some(other.address.clone()) });
        }
        if let Some(reason) = overfull(view, applicant) {
            return Knock::Refused(JoinAnswer::Full { reason });
        }
        let until = now.saturating_add(JOIN_LASTS);
        if let Some(waiting) = self.0.get_mut(&applicant.name).filter(|waiting| waiting.applicant == *applicant) {
            (waiting.until, waiting.via) = (until, via.clone());
            return Knock::Waits;
        }
        if self.0.len() >= JOINS_MAX {
            return Knock::Refused(JoinAnswer::Full { reason: format!("{JOINS_MAX} nodes wait to join already") });
        }
        // Where a member was reached before needs no other proof.
        let reached = same.is_some_and(|member| member.address == applicant.address);
        self.0
            .insert(applicant.name.clone(), Waiting { applicant: applicant.clone(), via: via.clone(), until, reached });
        if reached { Knock::Queued } else { Knock::Reach }
    }

    /// The applicant was reached, or was not. If not, it and who is to tell it. What came of an earlier knock under its name
    /// counts no more.
    pub(super) fn reached(&mut self, applicant: &Applicant, yes: bool) -> Option<(Applicant, Label)> {
        let name = &applicant.name;
        self.0.get(name).filter(|waiting| waiting.applicant == *applicant)?;
        if yes {
            self.0.get_mut(name)?.reached = true;
            None
        } else {
            self.0.remove(name).map(|waiting| (waiting.applicant, waiting.via))
        }
    }

    /// Those to admit into the view after `view`. Forgets who is in, or did not repeat its wish.
    pub(super) fn ready(&mut self, now: Timestamp, view: &View) -> Vec<Applicant> {
        self.0.retain(|name, waiting| {
            let member = view.member_named(name);
            let is_in = member.is_some_and(|member| {
                let same = member.instance == waiting.applicant.instance && member.intent != Intent::Lost;
                same && is_same(member, &waiting.applicant)
            });
            waiting.until > now && !is_in
        });
        self.0.values().filter(|waiting| waiting.reached).map(|waiting| waiting.applicant.clone()).collect()
    }

    /// Forgets all: another node coordinates.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether the view has a member as it describes itself.
///
/// Its weight is not asked for: that of one life changes only because an administrator wants it so.
pub(super) fn is_same(member: &Member, applicant: &Applicant) -> bool {
    let of_member = (member.boot, &member.address, &member.zone, member.priority, member.versions);
    let of_applicant = (applicant.boot, &applicant.address, &applicant.zone, applicant.priority, applicant.versions);
    of_member == of_applicant
}

/// Which limit of a view the applicant would break.
fn overfull(view: &View, applicant: &Applicant) -> Option<String> {
    let others = || view.members().iter().filter(|member| member.name != applicant.name);
    let vnodes: u64 = others().map(|member| u64::from(member.vnodes)).sum();
    if others().count() >= limits::MEMBERS_MAX {
        return Some(format!("it has {} members, the most there may be", limits::MEMBERS_MAX));
    }
    if applicant.versions.negotiate(VERSIONS).is_err() {
        return Some(format!("it speaks protocol versions {}, this cluster {VERSIONS}", applicant.versions));
    }
    if applicant.vnodes > limits::VNODES_MAX {
        return Some(format!("{} vnodes are more than {}", applicant.vnodes, limits::VNODES_MAX));
    }
    let tokens_max = view.fields().config.ring_algorithm.tokens_max();
    if vnodes + u64::from(applicant.vnodes) > u64::from(tokens_max) {
        return Some(format!("all vnodes together would be more than {tokens_max}"));
    }
    None
}
