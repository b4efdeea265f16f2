//! Compares what the owners of a slot hold, pair by pair, and fetches what another has later.
//!
//! Each owner only fetches; the other one does the same, so both end with the same. A pair compares once in a while, and at
//! once when one of the two was out of reach, or when it is known that a write has missed somebody. What is fetched goes
//! through the store as repair: it waits for a round of collection, and inserts nothing where something would have to leave
//! for it.
//!
//! Slots that are being handed over to this process are no business of repair.

use std::{collections::BTreeMap, time::Duration};

use quoit_proto_types::{Ordinal, SlotSet, limits, message::transfer::TransferReply, version::Hlc};
use rand::{RngExt, rngs::StdRng};

use super::{
    config::{REPAIRS_MAX, RETRY},
    exchange::{Answer, Ask, Job},
    handoff::{Waits, bytes_of},
    merge::{Merge, Progress},
    scene::Scene,
};
use crate::{planted::data::DataBug, routing::Standing, store::Origin, time::Timestamp};

/// After so many answers were lost in a row, a pair waits for its next turn.
const LOSSES_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Repair {
    period: Duration,
    /// How old a tombstone gets at least before it is collected.
    grace: Duration,
    pairs: BTreeMap<Ordinal, Pair>,
    jobs_begun: Job,
    bytes: u64,
    passes: u64,
}

/// What there is to do with one other owner.
#[derive(Debug)]
struct Pair {
    /// When everything is compared again.
    due: Timestamp,
    /// What is left to compare.
    left: Option<SlotSet>,
    merge: Option<(Merge, Waits)>,
    /// Names it.
    job: Job,
    losses: u32,
}

impl Repair {
    pub(super) fn new(period: Duration, grace: Duration) -> Self {
        Self { period, grace, pairs: BTreeMap::new(), jobs_begun: 0, bytes: 0, passes: 0 }
    }

    /// Goes by `scene`'s view. `returned` says who came back into reach since the last one.
    pub(super) fn install(&mut self, scene: &Scene<'_>, rng: &mut StdRng, moved: bool, returned: &[Ordinal]) {
        if moved {
            self.pairs.values_mut().for_each(|pair| (pair.merge, pair.left) = (None, None));
        }
        let ring = &scene.routing.view().fields().ring;
        let others: Vec<Ordinal> = match scene.routing.is_owner() {
            true => ring.iter().map(|owner| owner.ordinal).filter(|owner| scene.is_source(*owner)).collect(),
            false => Vec::new(),
        };
        self.pairs.retain(|other, _| others.binary_search(other).is_ok());
        for other in others {
            let due = jittered(scene.now, self.period, rng);
            let pair =
                self.pairs.entry(other).or_insert_with(|| Pair { due, left: None, merge: None, job: 0, losses: 0 });
            if returned.contains(&other) || returned.iter().any(|one| scene.routing.me() == Some(*one)) {
                pair.due = scene.now;
            }
        }
    }

    /// Compares `slots` with all of their other owners at once.
    pub(super) fn mark_dirty(&mut self, scene: &Scene<'_>, slots: &SlotSet) {
        for slot in slots.iter() {
            if scene.routing.standing(slot) != Standing::Owner {
                continue;
            }
            for owner in scene.routing.owners(slot).now {
                if let Some(pair) = self.pairs.get_mut(owner) {
                    pair.left.get_or_insert_with(|| SlotSet::none(slots.slots())).insert(slot);
                }
            }
        }
    }

    /// Begins with the pairs whose turn it is.
    pub(super) fn handle_timeout(&mut self, scene: &Scene<'_>, rng: &mut StdRng) {
        for (other, pair) in self.pairs.iter_mut().filter(|(_, pair)| pair.due <= scene.now) {
            let shared = |slot| {
                let owners = scene.routing.owners(slot);
                owners.now.contains(other) && scene.routing.standing(slot) == Standing::Owner
            };
            pair.left = Some(SlotSet::of(scene.routing.slots(), shared));
            pair.due = jittered(scene.now, self.period, rng);
            pair.losses = 0;
            self.passes += 1;
        }
    }

    /// The next question, if there is one at this moment. `pages` says whether it may be one for entries.
    pub(super) fn next_ask(&mut self, scene: &Scene<'_>, pages: bool) -> Option<(Job, Ask, bool)> {
        let busy = self.pairs.values().filter(|pair| pair.merge.is_some()).count();
        if pages && busy < REPAIRS_MAX {
            self.begin(scene, REPAIRS_MAX - busy);
        }
        for (other, pair) in &mut self.pairs {
            let Some((merge, waits)) = &mut pair.merge else { continue };
            if waits.is_due(scene.now) && (pages || !merge.is_page()) {
                *waits = Waits::Answer;
                return Some((pair.job, Ask::new(*other, merge.request()), merge.is_page()));
            }
        }
        None
    }

    fn begin(&mut self, scene: &Scene<'_>, count: usize) {
        let grace = u64::try_from(self.grace.as_millis() / 2).unwrap_or(u64::MAX);
        let floors_until = Hlc::from_millis(scene.wall.as_millis().saturating_sub(grace));
        let ignored = scene.planted.is(DataBug::RepairDuringRound);
        let origin = if ignored { Origin::Handoff } else { Origin::Repair };
        let idle = |pair: &&mut Pair| pair.merge.is_none() && pair.left.is_some();
        for pair in self.pairs.values_mut().filter(idle).take(count) {
            let Some(left) = pair.left.as_mut().filter(|left| !left.is_empty()) else {
                pair.left = None;
                continue;
            };
            let slots = left.take(limits::TRANSFER_SLOTS_MAX);
            self.jobs_begun += 1;
            pair.job = self.jobs_begun;
            pair.merge = Some((Merge::repairing(slots, origin, floors_until), Waits::Until(scene.now)));
        }
    }

    /// Takes an answer of `other`, or the news that there is none.
    pub(super) fn take(&mut self, scene: &Scene<'_>, job: Job, other: Ordinal, answer: Answer) {
        let Some(pair) = self.pairs.get_mut(&other).filter(|pair| pair.job == job) else { return };
        let Some((merge, waits)) = &mut pair.merge else { return };
        let progress = match answer {
            None | Some((TransferReply::NotNow, _)) => Progress::Later,
            Some((reply, block)) => {
                self.bytes += bytes_of(&block);
                merge.take(scene, reply, &block)
            }
        };
        match progress {
            Progress::Next => (*waits, pair.losses) = (Waits::Until(scene.now), 0),
            Progress::Done => (pair.merge, pair.losses) = (None, 0),
            Progress::Later if pair.losses < LOSSES_MAX => {
                pair.losses += 1;
                *waits = Waits::Until(scene.now.saturating_add(RETRY * pair.losses));
            }
            Progress::Later => (pair.merge, pair.left) = (None, None),
        }
    }

    /// When there is something to do, if not at this moment.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let wake = |pair: &Pair| {
            let merge = pair.merge.as_ref().map(|(_, waits)| waits.wake());
            let begin = pair.left.as_ref().filter(|left| !left.is_empty()).map(|_| Timestamp::default());
            let next = merge.unwrap_or(begin);
            Some(next.map_or(pair.due, |next| next.min(pair.due)))
        };
        self.pairs.values().filter_map(wake).min()
    }

    /// Slots that are to be compared, over all pairs.
    pub(super) fn left(&self) -> usize {
        let compared = |pair: &Pair| pair.merge.as_ref().map_or(0, |(merge, _)| merge.slots().len());
        self.pairs.values().map(|pair| compared(pair) + pair.left.as_ref().map_or(0, SlotSet::len)).sum()
    }

    /// How often a pair has begun to compare everything, and how many bytes were fetched.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.passes, self.bytes)
    }
}

/// A period from `now`, or up to a quarter less or more, so that nodes that began together do not go on together.
fn jittered(now: Timestamp, period: Duration, rng: &mut StdRng) -> Timestamp {
    now.saturating_add(period.mul_f64(rng.random_range(0.75..1.25)))
}
