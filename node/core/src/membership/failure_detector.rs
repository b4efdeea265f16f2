//! From silence to suspicion: what one voter thinks of each member.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quoit_proto_types::{Boot, Instance, Ordinal, View, limits::SUSPECTS_MAX, view::Liveness};

use crate::{
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// Flaps count for this long.
const FLAPS_REMEMBERED: Duration = Duration::from_secs(600);
/// The wait for stability doubles with each flap, this many times: from 3 s to 96 s.
const FLAP_DOUBLINGS: usize = 5;

/// Watches every other member of a view.
///
/// A member is suspected when nothing was heard of it, in the life that the view names, for the profile's time. One that is
/// down must be heard without a gap for a while before it is not suspected any more; each flap doubles that while (Lifeguard,
/// 2017, does the like). An observer that was late itself, or to whom more than half of the members fell silent at once,
/// doubts itself first.
#[derive(Debug)]
pub(super) struct FailureDetector {
    timing: Timing,
    planted: Planted,
    watched: BTreeMap<Ordinal, Watch>,
    /// Until when those who fell silent are not doubted once more.
    doubted_until: Timestamp,
    /// Whether anybody sends heartbeats here: only voters get them.
    votes: bool,
}

#[derive(Debug)]
struct Watch {
    life: (Instance, Boot),
    heard: Timestamp,
    live: Liveness,
    /// Since when it has been heard without a gap, while it is down.
    steady_since: Option<Timestamp>,
    flaps: VecDeque<Timestamp>,
    suspected: bool,
}

impl FailureDetector {
    /// Watches nobody yet.
    pub(super) fn new(timing: Timing, planted: Planted) -> Self {
        Self { timing, planted, watched: BTreeMap::new(), doubted_until: Timestamp::default(), votes: false }
    }

    /// Watches the members of `view` but `me`.
    pub(super) fn enter(&mut self, now: Timestamp, view: &View, me: Ordinal) {
        self.watched.retain(|ordinal, _| view.member(*ordinal).is_some());
        if !std::mem::replace(&mut self.votes, view.is_voter(me)) {
            self.watched.values_mut().for_each(|watch| (watch.heard, watch.suspected) = (now, false));
        }
        for member in view.members().iter().filter(|member| member.ordinal != me) {
            let life = (member.instance, member.boot);
            let watch = self.watched.entry(member.ordinal).or_insert_with(|| Watch {
                life,
                heard: now,
                live: member.live,
                steady_since: None,
                flaps: VecDeque::new(),
                suspected: false,
            });
            if watch.life != life {
                (watch.life, watch.heard, watch.suspected) = (life, now, false);
            }
            match (watch.live, member.live) {
                (Liveness::Down, Liveness::Up) => {
                    watch.flaps.push_back(now);
                    (watch.heard, watch.suspected, watch.steady_since) = (now, false, None);
                }
                (Liveness::Up, Liveness::Down) => (watch.suspected, watch.steady_since) = (true, None),
                (Liveness::Up, Liveness::Up) | (Liveness::Down, Liveness::Down) => {}
            }
            watch.live = member.live;
        }
    }

    /// A heartbeat came from the process `life` of `ordinal`.
    pub(super) fn heard(&mut self, now: Timestamp, ordinal: Ordinal, life: (Instance, Boot)) {
        let Some(watch) = self.watched.get_mut(&ordinal).filter(|watch| watch.life == life) else { return };
        let gap = now.checked_duration_since(watch.heard).unwrap_or_default();
        watch.heard = now;
        if watch.live == Liveness::Down && (watch.steady_since.is_none() || gap >= self.timing.suspect) {
            watch.steady_since = Some(now);
        }
    }

    /// This node was late by so much that it heard nobody: everybody gets a new chance.
    pub(super) fn handle_late(&mut self, now: Timestamp) {
        if self.planted.is(Bug::NoSelfDoubt) {
            return;
        }
        for watch in self.watched.values_mut().filter(|watch| watch.live == Liveness::Up) {
            (watch.heard, watch.suspected) = (now, false);
        }
    }

    /// Looks at all of them. Returns how many fell silent, when this node begins to doubt itself for that; it believes
    /// them to be gone only if they still are after another window, and `connected` to a majority of the voters.
    pub(super) fn tick(&mut self, now: Timestamp, connected: bool) -> Option<usize> {
        let timing = self.timing;
        let is_silent = |watch: &Watch| watch.heard.saturating_add(timing.suspect) <= now;
        let up = || self.watched.values().filter(|watch| watch.live == Liveness::Up);
        let newly_silent = up().filter(|watch| is_silent(watch) && !watch.suspected).count();
        let many = newly_silent > 1 && newly_silent * 2 > up().count();
        let doubts = many && (now >= self.doubted_until || !connected) && !self.planted.is(Bug::NoSelfDoubt);
        let first = now >= self.doubted_until;
        if doubts {
            self.doubted_until = now.saturating_add(timing.suspect * 2);
        }
        for watch in self.watched.values_mut() {
            while watch.flaps.front().is_some_and(|flap| flap.saturating_add(FLAPS_REMEMBERED) <= now) {
                watch.flaps.pop_front();
            }
            match watch.live {
                Liveness::Up if doubts && is_silent(watch) && !watch.suspected => watch.heard = now,
                Liveness::Up => watch.suspected = is_silent(watch),
                Liveness::Down => {
                    let doublings = watch.flaps.len().min(FLAP_DOUBLINGS);
                    let steady = timing.stable * 2_u32.pow(u32::try_from(doublings).unwrap_or(0));
                    let steady = if self.planted.is(Bug::UpAtOnce) { Duration::ZERO } else { steady };
                    let back = watch.steady_since.is_some_and(|since| since.saturating_add(steady) <= now);
                    watch.suspected = is_silent(watch) || !back;
                }
            }
        }
        (doubts && first).then_some(newly_silent)
    }

    /// Whether `ordinal` is suspected, or down and not yet steady.
    pub(super) fn suspects(&self, ordinal: Ordinal) -> bool {
        self.watched.get(&ordinal).is_some_and(|watch| watch.suspected)
    }

    /// The first of those who are up and suspected, in order.
    pub(super) fn suspected(&self) -> Vec<Ordinal> {
        self.those(|watch| watch.live == Liveness::Up && watch.suspected)
    }

    /// The first of those who are down and steady again, in order.
    pub(super) fn returned(&self) -> Vec<Ordinal> {
        self.those(|watch| watch.live == Liveness::Down && !watch.suspected)
    }

    fn those(&self, are: impl Fn(&Watch) -> bool) -> Vec<Ordinal> {
        let found = self.watched.iter().filter(|(_, watch)| are(watch)).map(|(ordinal, _)| *ordinal);
        found.take(SUSPECTS_MAX).collect()
    }
}
