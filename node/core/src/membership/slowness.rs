//! From round trips to slowness: what one member thinks of those who answer it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quoit_proto_types::{Boot, Ordinal, View, limits::SLOW_MAX, view::Liveness};

use crate::{time::Timestamp, timing::Timing};

/// Samples count for this long. What was slow for a moment is forgotten after it; so is the slowness of one that is quick.
const WINDOW: Duration = Duration::from_secs(60);
/// Most samples of one peer that are kept: those of a window at the shortest heartbeat, but for a few. Whoever measures more
/// often must thin them out, or the window is shorter.
const SAMPLES_MAX: usize = 512;
/// With fewer samples nothing is said of a peer.
const SAMPLES_MIN: usize = 20;
/// Questions to one peer that may still be answered: those of ten seconds.
const ASKED_MAX: usize = 100;
/// A peer is slow if the slowest of so many in a hundred samples are.
const PERCENTILE: usize = 99;
/// So many times slower than usual is slow.
const TIMES_SLOWER: u32 = 10;
/// Slow samples came in so many different seconds, at least. One pause makes several at once, and is no slowness.
const SECONDS_MIN: usize = 5;
/// How often it is thought about.
const JUDGED_EACH: Duration = Duration::from_secs(1);

/// Measures how long peers take to answer.
///
/// A peer is slow when the 99th percentile of its round trips in the last minute exceeds ten times what is usual, and not
/// for a few moments only. Usual is the median of the peers' medians, so that each counts once, however often it answers; of
/// two, it is the quicker one's. A peer is quick again when its percentile is half of that. An observer that finds most of
/// its peers slow doubts itself, and says nothing.
///
/// Measured are the voters: they are the ones who are asked at every heartbeat. Other members are asked by nobody, so that
/// nothing is known of them until there are other round trips to learn from; those go to [`observe`](Self::observe).
#[derive(Debug)]
pub(super) struct Slowness {
    timing: Timing,
    peers: BTreeMap<Ordinal, Peer>,
    next: Timestamp,
}

#[derive(Debug)]
struct Peer {
    boot: Boot,
    /// The moments of questions that were not answered yet.
    asked: VecDeque<Timestamp>,
    /// When each answer came, and how long it took.
    samples: VecDeque<(Timestamp, Duration)>,
    slow: bool,
}

impl Slowness {
    /// Measures nobody yet.
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, peers: BTreeMap::new(), next: Timestamp::default() }
    }

    /// Measures the voters of `view` that are up, but `me`. A process that follows another begins anew.
    pub(super) fn enter(&mut self, view: &View, me: Ordinal) {
        let voters = view.fields().voters.iter().filter_map(|voter| view.member(*voter));
        let up = voters.filter(|member| member.live == Liveness::Up && member.ordinal != me);
        let mut known = std::mem::take(&mut self.peers);
        for member in up {
            let peer = known.remove(&member.ordinal).filter(|peer| peer.boot == member.boot);
            self.peers.insert(member.ordinal, peer.unwrap_or_else(|| Peer::new(member.boot)));
        }
    }

    /// `peer` is asked now, and will repeat this moment in its answer.
    pub(super) fn ask(&mut self, now: Timestamp, peer: Ordinal) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        if peer.asked.len() >= ASKED_MAX {
            peer.asked.pop_front();
        }
        peer.asked.push_back(now);
    }

    /// `peer` answers what it was asked at `asked`. What it was never asked, or has answered before, says nothing: a network
    /// may deliver an answer once more, at any time.
    pub(super) fn answer(&mut self, now: Timestamp, peer: Ordinal, asked: Timestamp) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        let Some(place) = known.asked.iter().position(|at| *at == asked) else { return };
        known.asked.remove(place);
        if let Some(trip) = now.checked_duration_since(asked) {
            self.observe(now, peer, trip);
        }
    }

    /// A round trip with `peer` took so long.
    pub(super) fn observe(&mut self, now: Timestamp, peer: Ordinal, trip: Duration) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        if peer.samples.len() >= SAMPLES_MAX {
            peer.samples.pop_front();
        }
        peer.samples.push_back((now, trip));
    }

    /// This node was late itself: how long it waited for answers says nothing.
    pub(super) fn handle_late(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.asked.clear());
    }

    /// Thinks about all of them, if it is time.
    pub(super) fn tick(&mut self, now: Timestamp) {
        if self.next > now {
            return;
        }
        self.next = now.saturating_add(JUDGED_EACH);
        for peer in self.peers.values_mut() {
            while peer.samples.front().is_some_and(|(at, _)| at.saturating_add(WINDOW) <= now) {
                peer.samples.pop_front();
            }
        }
        let floor = self.timing.slow;
        if self.peers.values().all(|peer| !peer.slow && peer.samples.iter().all(|(_, trip)| *trip <= floor)) {
            // As nearly always. Sorting is for the other times.
            return;
        }
        let mut medians: Vec<Duration> = self.peers.values().filter_map(|peer| peer.percentile(50)).collect();
        medians.sort_unstable();
        let usual = medians.get(medians.len().saturating_sub(1) / 2).copied().unwrap_or_default();
        let limit = usual.saturating_mul(TIMES_SLOWER).max(floor);
        self.peers.values_mut().for_each(|peer| peer.slow = peer.is_slow(limit));
    }

    /// The first of those who are slow, in order.
    pub(super) fn slow(&self) -> Vec<Ordinal> {
        let slow: Vec<Ordinal> = self.peers.iter().filter(|(_, peer)| peer.slow).map(|(ordinal, _)| *ordinal).collect();
        let measured = self.peers.values().filter(|peer| peer.samples.len() >= SAMPLES_MIN).count();
        // Of two members, each has only the other to compare with itself.
        if slow.len() > 1 && slow.len() * 2 > measured {
            return Vec::new();
        }
        slow.into_iter().take(SLOW_MAX).collect()
    }
}

impl Peer {
    fn new(boot: Boot) -> Self {
        Self { boot, asked: VecDeque::new(), samples: VecDeque::new(), slow: false }
    }

    /// How long so many in a hundred of its answers take at most (nearest rank); `None` for too few answers.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        if self.samples.len() < SAMPLES_MIN {
            return None;
        }
        let mut trips: Vec<Duration> = self.samples.iter().map(|(_, trip)| *trip).collect();
        let rank = (trips.len() * percent).div_ceil(100).max(1);
        Some(*trips.select_nth_unstable(rank - 1).1)
    }

    fn is_slow(&self, limit: Duration) -> bool {
        let Some(trip) = self.percentile(PERCENTILE) else { return false };
        if self.slow {
            return trip > limit / 2;
        }
        let late = self.samples.iter().filter(|(_, trip)| *trip > limit);
        let mut seconds: Vec<u64> = late.map(|(at, _)| at.as_micros() / 1_000_000).collect();
        // They are in the order in which they came.
        seconds.dedup();
        trip > limit && seconds.len() >= SECONDS_MIN
    }
}
