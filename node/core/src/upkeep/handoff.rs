//! Fetches the slots that this process is to own from those who own them.
//!
//! A slot is synced when everything was merged that *every living* owner in force holds of it, so that even a write that one
//! owner alone has acknowledged is carried over (PROTOCOL, T3). The requests carry the fence of the joint view, so whoever
//! answers has installed it and acknowledges nothing any more that goes by the view before (T2). Whichever source has time
//! for a slot first gives all of it; the others then give what differs.
//!
//! An owner that is not living in the view is passed over, and counted: it was not told that its entries are here, so it
//! offers them before it drops them (PROTOCOL 11.5). A slot none of whose owners lives is synced as it is.
//!
//! The slots must be empty at the beginning (T5), but for [what nobody in reach owns](super::starts_empty). That is up to the
//! driver, as is to leave nothing here under another fence: a new one begins anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quoit_proto_types::{
    Fence, Ordinal, SlotSet,
    message::transfer::{EntryBlock, TransferReply},
};

use super::{
    config::{BATCH_SLOTS, PULLS_PER_PEER, RETRY},
    exchange::{Answer, Ask, Job},
    merge::{Merge, Progress},
    scene::{Scene, both},
};
use crate::{planted::data::DataBug, routing::Standing, time::Timestamp};

#[derive(Debug, Default)]
pub(super) struct Handoff {
    transition: Option<Transition>,
    jobs_begun: Job,
}

/// The handoff under one fence.
#[derive(Debug)]
pub(super) struct Transition {
    fence: Fence,
    began: Timestamp,
    /// What this process is to own.
    pending: SlotSet,
    /// What of it is not synced.
    left: SlotSet,
    /// Slots that no source has begun to give.
    fresh: SlotSet,
    /// Slots that a source is giving.
    busy: SlotSet,
    sources: BTreeMap<Ordinal, Source>,
    jobs: BTreeMap<Job, Running>,
    /// Slots that go on without one of their owners.
    skipped: SlotSet,
    bytes: u64,
    /// The last word to the coordinator.
    reported: Option<usize>,
}

#[derive(Debug)]
struct Source {
    /// Slots of which not everything that it holds is here.
    remaining: SlotSet,
    /// After it did not answer, nothing else is asked of it until then.
    rests_until: Timestamp,
}

/// A batch of slots that one source is giving.
#[derive(Debug)]
struct Running {
    source: Ordinal,
    merge: Merge,
    waits: Waits,
}

/// What a piece of work waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// To be asked, from then on.
    Until(Timestamp),
    /// For the answer.
    Answer,
}

impl Waits {
    pub(super) fn is_due(self, now: Timestamp) -> bool {
        matches!(self, Self::Until(at) if at <= now)
    }

    pub(super) fn wake(self) -> Option<Timestamp> {
        match self {
            Self::Until(at) => Some(at),
            Self::Answer => None,
        }
    }
}

impl Handoff {
    /// Goes by `scene`'s view.
    pub(super) fn install(&mut self, scene: &Scene<'_>) {
        let fence = scene.routing.fence();
        if !scene.routing.is_to_own() {
            self.transition = None;
            return;
        }
        match self.transition.as_mut().filter(|transition| transition.fence == fence) {
            Some(transition) => transition.follow(scene),
            None => self.transition = Some(Transition::new(scene)),
        }
    }

    /// How many slots are missing, if that is news.
    pub(super) fn report(&mut self, scene: &Scene<'_>) -> Option<(Fence, usize)> {
        let transition = self.transition.as_mut()?;
        let left = if scene.planted.is(DataBug::SyncedTooEarly) { &transition.fresh } else { &transition.left };
        let left = left.len();
        (transition.reported.replace(left) != Some(left)).then_some((transition.fence, left))
    }

    /// The next question, if there is one at this moment. `pages` says whether it may be one for entries.
    pub(super) fn next_ask(&mut self, scene: &Scene<'_>, pages: bool) -> Option<(Job, Ask, bool)> {
        let transition = self.transition.as_mut()?;
        if pages {
            transition.begin_jobs(scene, &mut self.jobs_begun);
        }
        let fit = |running: &Running| running.waits.is_due(scene.now) && (pages || !running.merge.is_page());
        let (job, running) = transition.jobs.iter_mut().find(|(_, running)| fit(running))?;
        running.waits = Waits::Answer;
        Some((*job, Ask::new(running.source, running.merge.request()), running.merge.is_page()))
    }

    /// Takes an answer, or the news that there is none.
    pub(super) fn take(&mut self, scene: &Scene<'_>, job: Job, answer: Answer) {
        let Some(transition) = &mut self.transition else { return };
        let Some(running) = transition.jobs.get_mut(&job) else { return };
        let source = running.source;
        let progress = match answer {
            Some((reply, block)) => {
                transition.bytes += bytes_of(&block);
                let behind = reply == TransferReply::NotNow;
                let progress = running.merge.take(scene, reply, &block);
                if behind { None } else { Some(progress) }
            }
            None => None,
        };
        match progress {
            Some(Progress::Next) => running.waits = Waits::Until(scene.now),
            Some(Progress::Done) => transition.finish(scene, job),
            Some(Progress::Later) | None => {
                let then = scene.now.saturating_add(RETRY);
                running.waits = Waits::Until(then);
                if let Some(source) = transition.sources.get_mut(&source) {
                    source.rests_until = then;
                }
            }
        }
    }

    /// When there is something to ask, if not at this moment.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let transition = self.transition.as_ref()?;
        let jobs = transition.jobs.values().filter_map(|running| running.waits.wake());
        let idle = |(ordinal, source): (&Ordinal, &Source)| {
            transition.has_work(*ordinal, source).then_some(source.rests_until)
        };
        jobs.chain(transition.sources.iter().filter_map(idle)).min()
    }

    pub(super) fn transition(&self) -> Option<&Transition> {
        self.transition.as_ref()
    }
}

impl Transition {
    fn new(scene: &Scene<'_>) -> Self {
        let pending = scene.routing.slots_with(Standing::Pending);
        let none = SlotSet::none(pending.slots());
        let mut transition = Self {
            fence: scene.routing.fence(),
            began: scene.now,
            left: none.clone(),
            fresh: none.clone(),
            busy: none.clone(),
            sources: BTreeMap::new(),
            jobs: BTreeMap::new(),
            skipped: none,
            bytes: 0,
            reported: None,
            pending,
        };
        for slot in transition.pending.iter().collect::<Vec<_>>() {
            for owner in scene.routing.owners(slot).now {
                if scene.is_source(*owner) {
                    transition.source(*owner).remaining.insert(slot);
                    transition.fresh.insert(slot);
                } else {
                    transition.skipped.insert(slot);
                }
            }
        }
        transition.settle();
        transition
    }

    fn source(&mut self, owner: Ordinal) -> &mut Source {
        let none = SlotSet::none(self.pending.slots());
        let source = || Source { remaining: none, rests_until: Timestamp::default() };
        self.sources.entry(owner).or_insert_with(source)
    }

    /// Goes by another view of the same fence: owners may have gone down or come back. One that is back is asked for what
    /// is not synced without it; the rest it is repaired with, or offers.
    fn follow(&mut self, scene: &Scene<'_>) {
        for owner in self.sources.keys().copied().collect::<Vec<_>>() {
            if !scene.is_source(owner) {
                self.skip(owner);
            }
        }
        let known: BTreeSet<Ordinal> = self.sources.keys().copied().collect();
        let is_back = |owner: &&Ordinal| scene.is_source(**owner) && !known.contains(owner);
        for slot in self.left.iter().collect::<Vec<_>>() {
            for owner in scene.routing.owners(slot).now.iter().filter(is_back) {
                self.source(*owner).remaining.insert(slot);
            }
        }
        self.settle();
    }

    /// Goes on without `owner`.
    fn skip(&mut self, owner: Ordinal) {
        let Some(source) = self.sources.remove(&owner) else { return };
        self.skipped.extend(&source.remaining);
        let theirs = |running: &Running| running.source == owner;
        let jobs: Vec<Job> = self.jobs.iter().filter(|(_, running)| theirs(running)).map(|(job, _)| *job).collect();
        for running in jobs.into_iter().filter_map(|job| self.jobs.remove(&job)) {
            // What it has given so far is merged like anything else, and the next source gives what differs.
            self.busy.subtract(running.merge.slots());
        }
    }

    fn has_work(&self, ordinal: Ordinal, source: &Source) -> bool {
        let running = self.jobs.values().filter(|running| running.source == ordinal).count();
        let mut open = source.remaining.clone();
        open.subtract(&self.busy);
        running < PULLS_PER_PEER && !open.is_empty()
    }

    /// Gives every source that has time a batch.
    fn begin_jobs(&mut self, scene: &Scene<'_>, jobs_begun: &mut Job) {
        let sources: Vec<Ordinal> = self.sources.keys().copied().collect();
        for owner in sources {
            let Some(source) = self.sources.get(&owner).filter(|source| source.rests_until <= scene.now) else {
                continue;
            };
            if !self.has_work(owner, source) {
                continue;
            }
            let mut open = source.remaining.clone();
            open.subtract(&self.busy);
            let mut fresh = both(&open, &self.fresh);
            let merge = if fresh.is_empty() {
                Merge::completing(open.take(BATCH_SLOTS))
            } else {
                Merge::pulling(fresh.take(BATCH_SLOTS))
            };
            self.fresh.subtract(merge.slots());
            self.busy.extend(merge.slots());
            *jobs_begun += 1;
            self.jobs.insert(*jobs_begun, Running { source: owner, merge, waits: Waits::Until(scene.now) });
        }
    }

    fn finish(&mut self, scene: &Scene<'_>, job: Job) {
        let Some(Running { source, merge, .. }) = self.jobs.remove(&job) else { return };
        self.busy.subtract(merge.slots());
        let one_is_enough = scene.planted.is(DataBug::OneSourceOnly);
        let done = self.sources.iter_mut().filter(|(owner, _)| one_is_enough || **owner == source);
        done.for_each(|(_, source)| source.remaining.subtract(merge.slots()));
        self.settle();
    }

    fn settle(&mut self) {
        let mut left = SlotSet::none(self.pending.slots());
        self.sources.values().for_each(|source| left.extend(&source.remaining));
        // A slot whose last source went away while it gave is done when it is free.
        left.extend(&self.busy);
        self.fresh = both(&self.fresh, &left);
        self.left = left;
    }

    /// Since when it has been under way.
    pub(super) fn lasts(&self, now: Timestamp) -> Duration {
        now.checked_duration_since(self.began).unwrap_or_default()
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    /// How many slots are to be owned, and how many of them are not synced.
    pub(super) fn slots(&self) -> (usize, usize) {
        (self.pending.len(), self.left.len())
    }

    /// How many slots each source has still to give.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Ordinal, usize)> + '_ {
        self.sources.iter().map(|(owner, source)| (*owner, source.remaining.len()))
    }

    /// How many slots go on without one of their owners.
    pub(super) fn skipped(&self) -> usize {
        self.skipped.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// How long a block is.
pub(super) fn bytes_of(block: &EntryBlock) -> u64 {
    u64::try_from(block.as_bytes().len()).unwrap_or(u64::MAX)
}
