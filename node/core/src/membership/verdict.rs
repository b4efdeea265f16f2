//! From the suspicions of single voters to the word of a majority.

use std::collections::{BTreeMap, BTreeSet};

use quoit_proto_types::{Member, Ordinal, View, view::Liveness};

use crate::{
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// What the voters said in their last heartbeats.
#[derive(Debug, Default)]
pub(super) struct Opinions(BTreeMap<Ordinal, (Timestamp, Opinion)>);

/// What one voter said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Opinion {
    /// Members that are up, and that it does not hear.
    pub(super) suspects: BTreeSet<Ordinal>,
    /// Members that are down, and that it has heard for long enough.
    pub(super) returned: BTreeSet<Ordinal>,
}

impl Opinion {
    /// Of lists.
    pub(super) fn new(suspects: Vec<Ordinal>, returned: Vec<Ordinal>) -> Self {
        Self { suspects: suspects.into_iter().collect(), returned: returned.into_iter().collect() }
    }
}

/// Members whose state a majority of the voters sees otherwise than the view has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) down: BTreeSet<Ordinal>,
    pub(super) up: BTreeSet<Ordinal>,
}

impl Opinions {
    /// `voter` thinks this. Whether that is news.
    pub(super) fn note(&mut self, now: Timestamp, voter: Ordinal, opinion: Opinion) -> bool {
        let news = self.0.get(&voter).map(|(_, known)| known) != Some(&opinion);
        self.0.insert(voter, (now, opinion));
        news
    }

    /// Goes on from `old` to `view`. What was said of an earlier life or state of a member counts no more.
    pub(super) fn enter(&mut self, old: &View, view: &View) {
        self.0.retain(|voter, _| view.is_voter(*voter));
        let changed = |member: &&Member| {
            let before = old.member(member.ordinal);
            before.is_none_or(|old| (old.live, old.boot) != (member.live, member.boot))
        };
        for member in view.members().iter().filter(changed) {
            for (_, opinion) in self.0.values_mut() {
                opinion.suspects.remove(&member.ordinal);
                opinion.returned.remove(&member.ordinal);
            }
        }
    }

    /// What a majority of the voters of `view` says. A voter that was not heard lately says nothing.
    pub(super) fn verdict(&self, now: Timestamp, view: &View, timing: Timing, planted: Planted) -> Verdict {
        let fresh = |at: &Timestamp| at.saturating_add(timing.suspect) > now;
        let said: Vec<(&Ordinal, &Opinion)> =
            self.0.iter().filter(|(_, (at, _))| fresh(at)).map(|(voter, (_, opinion))| (voter, opinion)).collect();
        let enough = if planted.is(Bug::DownByOneVoter) { 1 } else { view.quorum() };
        let mut verdict = Verdict::default();
        for Member { ordinal, live, .. } in view.members() {
            let against = said.iter().filter(|(_, opinion)| opinion.suspects.contains(ordinal)).count();
            // A voter that is heard says of itself that it is back: of two, the other cannot say it alone.
            let back =
                |(voter, opinion): &&(&Ordinal, &Opinion)| *voter == ordinal || opinion.returned.contains(ordinal);
            let in_favour = said.iter().filter(back).count();
            match live {
                Liveness::Up if against >= enough => verdict.down.insert(*ordinal),
                Liveness::Down if in_favour >= view.quorum() => verdict.up.insert(*ordinal),
                Liveness::Up | Liveness::Down => false,
            };
        }
        verdict
    }
}
