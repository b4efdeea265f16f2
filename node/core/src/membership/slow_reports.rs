//! From the slowness that single members see to the word of a majority.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quoit_proto_types::{Member, Ordinal, View, view::Liveness};

use crate::{
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// A member becomes slow, or quick again, no more often than this: each time costs a view.
const CHANGES_EACH: Duration = Duration::from_secs(10);

/// Whom the members called slow in their last heartbeats.
#[derive(Debug, Default)]
pub(super) struct SlowReports {
    /// By who says so. Who calls nobody slow is not in it.
    said: BTreeMap<Ordinal, (Timestamp, BTreeSet<Ordinal>)>,
    /// When a member became slow or quick again.
    changed: BTreeMap<Ordinal, Timestamp>,
}

/// Members whose pace a majority of those who measure it sees otherwise than the view has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paces {
    pub(super) slow: BTreeSet<Ordinal>,
    pub(super) quick: BTreeSet<Ordinal>,
}

impl SlowReports {
    /// `member` calls these slow. Whether that is news.
    pub(super) fn note(&mut self, now: Timestamp, member: Ordinal, slow: Vec<Ordinal>) -> bool {
        if slow.is_empty() {
            return self.said.remove(&member).is_some();
        }
        let slow: BTreeSet<Ordinal> = slow.into_iter().collect();
        let news = self.said.get(&member).map(|(_, known)| known) != Some(&slow);
        self.said.insert(member, (now, slow));
        news
    }

    /// Goes on from `old` to `view`. What was said of an earlier life of a member counts no more.
    pub(super) fn enter(&mut self, now: Timestamp, old: &View, view: &View) {
        self.said.retain(|member, _| view.member(*member).is_some());
        self.changed.retain(|member, _| view.member(*member).is_some());
        for member in view.members() {
            let before = old.member(member.ordinal);
            if before.is_none_or(|old| old.boot != member.boot) {
                for (_, slow) in self.said.values_mut() {
                    slow.remove(&member.ordinal);
                }
            }
            if before.is_some_and(|old| old.degraded != member.degraded) {
                self.changed.insert(member.ordinal, now);
            }
        }
    }

    /// What a majority of the members of `view` that are up says, each of the others. A member that was not heard lately
    /// says nothing.
    ///
    /// All members measure the voters, and nobody measures anybody else. It takes two to begin with, unless there are only
    /// two: what one sees may be its own fault, or that of a link.
    pub(super) fn paces(&self, now: Timestamp, view: &View, timing: Timing, planted: Planted) -> Paces {
        let mut paces = Paces::default();
        if self.said.is_empty() && !view.members().iter().any(|member| member.degraded) {
            return paces;
        }
        let up = |member: &&Member| member.live == Liveness::Up;
        let measure = view.members().iter().filter(up).count().saturating_sub(1);
        let majority = measure / 2 + 1;
        let fewest = if view.members().len() == 2 || planted.is(Bug::SlowByOneMember) { 1 } else { 2 };
        let enough = if planted.is(Bug::SlowByOneMember) { 1 } else { majority.max(fewest) };
        let is_heard = |member: &Ordinal, at: &Timestamp| {
            let fresh = at.saturating_add(timing.suspect) > now;
            fresh && view.member(*member).as_ref().is_some_and(up)
        };
        for member in view.members().iter().filter(up).filter(|member| self.may_change(now, member.ordinal)) {
            let says = |(by, (at, slow)): &(&Ordinal, &(Timestamp, BTreeSet<Ordinal>))| {
                **by != member.ordinal && slow.contains(&member.ordinal) && is_heard(by, at)
            };
            let against = self.said.iter().filter(says).count();
            match member.degraded {
                false if against >= enough => paces.slow.insert(member.ordinal),
                true if against < enough.min(majority) => paces.quick.insert(member.ordinal),
                false | true => false,
            };
        }
        paces
    }

    fn may_change(&self, now: Timestamp, member: Ordinal) -> bool {
        self.changed.get(&member).is_none_or(|at| at.saturating_add(CHANGES_EACH) <= now)
    }
}
