//! From the suspicions of single voters to the word of a majority.

use std::collections::{BTreeMap, BTreeSet};

use quoit_proto_types::{Member, Ordinal, View, limits, view::Liveness};

use crate::{
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// What the voters said in their last heartbeats.
#[derive(Debug, Default)]
pub(super) struct Opinions(BTreeMap<Ordinal, (Timestamp, BTreeSet<Ordinal>)>);

/// Members whose state a majority of the voters sees otherwise than the view has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) down: BTreeSet<Ordinal>,
    pub(super) up: BTreeSet<Ordinal>,
}

impl Opinions {
    /// `voter` suspects exactly `suspects`. Whether that is news.
    pub(super) fn note(&mut self, now: Timestamp, voter: Ordinal, suspects: impl Iterator<Item = Ordinal>) -> bool {
        let suspects: BTreeSet<Ordinal> = suspects.collect();
        let known = self.0.get(&voter).map(|(_, known)| known);
        let news = known != Some(&suspects);
        self.0.insert(voter, (now, suspects));
        news
    }

    /// Goes on from `old` to `view`. What was said of an earlier life of a member that is up in a new one counts no more.
    pub(super) fn enter(&mut self, old: &View, view: &View) {
        self.0.retain(|voter, _| view.is_voter(*voter));
        let began = |member: &&Member| {
            let before = old.member(member.ordinal);
            member.live == Liveness::Up && before.is_none_or(|old| (old.live, old.boot) != (member.live, member.boot))
        };
        for member in view.members().iter().filter(began) {
            for (_, suspects) in self.0.values_mut() {
                suspects.remove(&member.ordinal);
            }
        }
    }

    /// What a majority of the voters of `view` says. A voter that was not heard lately says nothing.
    pub(super) fn verdict(&self, now: Timestamp, view: &View, timing: Timing, planted: Planted) -> Verdict {
        let fresh = |(at, _): &&(Timestamp, BTreeSet<Ordinal>)| at.saturating_add(timing.suspect) > now;
        let said: Vec<_> = self.0.values().filter(fresh).map(|(_, suspects)| suspects).collect();
        // A list that is full may leave somebody out, which is no word in their favour.
        let clear = |suspects: &&&BTreeSet<Ordinal>| suspects.len() < limits::SUSPECTS_MAX;
        let mut verdict = Verdict::default();
        for member in view.members() {
            let against = said.iter().filter(|suspects| suspects.contains(&member.ordinal)).count();
            let in_favour = said.iter().filter(clear).filter(|suspects| !suspects.contains(&member.ordinal)).count();
            let enough = if planted.is(Bug::DownByOneVoter) { 1 } else { view.quorum() };
            match member.live {
                Liveness::Up if against >= enough => verdict.down.insert(member.ordinal),
                Liveness::Down if in_favour >= view.quorum() => verdict.up.insert(member.ordinal),
                Liveness::Up | Liveness::Down => false,
            };
        }
        verdict
    }
}
