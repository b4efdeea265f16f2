//! The parent machine: routes questions and answers between its children and the driver.

use std::{collections::VecDeque, num::NonZeroU64, sync::Arc, time::Duration};

use quoit_proto_types::{
    Fence, Ordinal, SlotSet, Stamp, limits,
    message::transfer::{EntryBlock, TransferReply, TransferRequest},
};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    collector::Collector,
    config::{HINTS_TICK, LISTED_BYTES, REPAIR_SHARE, UpkeepConfig},
    exchange::{Answer, Ask, Asker, ExchangeId, Exchanges},
    governor::{Governor, Wakeup},
    handoff::Handoff,
    hints::{Hints, Replay},
    pace::{Bucket, Rate},
    progress::{HandoffProgress, Progress, SourceProgress, remaining},
    releases::Releases,
    repair::Repair,
    scene::Scene,
    serving::Serving,
};
use crate::{
    routing::{Routing, Standing},
    store::{Record, Store},
    time::{Timestamp, Wall},
};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask another node, under the fence of the installed view, and tell [`Upkeep::handle_reply`] what it answered.
    Ask {
        /// Pairs the answer with it.
        id: ExchangeId,
        /// Whom.
        to: Ordinal,
        /// What.
        request: TransferRequest,
        /// The entries behind it.
        block: EntryBlock,
    },
    /// Write an entry to another node as a request that is being coordinated would, and tell
    /// [`Upkeep::handle_put_reply`] whether it was stored.
    Put {
        /// Pairs the answer with it.
        id: ExchangeId,
        /// To whom.
        to: Ordinal,
        /// What is known of the entry.
        stamp: Stamp,
        /// Its key and value.
        record: Record,
    },
    /// Tell the coordinator how many slots are missing here of those this process is to own.
    Synced {
        /// Under which fence.
        fence: Fence,
        /// How many.
        left: usize,
    },
    /// Remove the entries of these slots from the store and reset them, unless this process has come to own them since.
    Drop {
        /// Which.
        slots: SlotSet,
    },
}

/// Everything that a process does with its data in the background.
#[derive(Debug)]
pub struct Upkeep {
    config: UpkeepConfig,
    rng: StdRng,
    routing: Option<Arc<Routing>>,
    paused: bool,
    governor: Governor,
    bucket: Bucket,
    repair_bucket: Bucket,
    /// What others may fetch here.
    given: Bucket,
    /// How long all of it may take, in microseconds.
    work: Bucket,
    rate: Rate,
    exchanges: Exchanges,
    handoff: Handoff,
    repair: Repair,
    releases: Releases,
    collector: Collector,
    replay: Replay,
    serving: Serving,
    hints_at: Timestamp,
    wake: Option<Timestamp>,
    outputs: VecDeque<Output>,
}

/// The slots that this process comes to fetch when `after` is installed, which begin without a floor (PROTOCOL, T5).
pub fn newly_pending(before: Option<&Routing>, after: &Routing) -> SlotSet {
    let goes_on = |slot| {
        let same = before.filter(|before| before.fence() == after.fence() && before.slots() == after.slots());
        same.is_some_and(|before| before.standing(slot) == Standing::Pending)
    };
    SlotSet::of(after.slots(), |slot| after.standing(slot) == Standing::Pending && !goes_on(slot))
}

/// Those of the slots that are [`newly_pending`] which must be empty.
///
/// Not those that nobody in reach owns, of which it may have something left that it could bring to no owner, as it gave them up
/// when the last one had just died: to empty them would be to lose it (simulator seed 22175). Any other new owner would be
/// offered the same and take it (PROTOCOL 11.5).
pub fn starts_empty(pending: &SlotSet, after: &Routing) -> SlotSet {
    SlotSet::of(after.slots(), |slot| pending.contains(slot) && after.is_in_reach(slot))
}

impl Upkeep {
    /// Does nothing yet. What is to be spread over time is spread by `seed`.
    pub fn new(seed: u64, config: UpkeepConfig) -> Self {
        let hints = Hints::new(config);
        Self {
            rng: StdRng::seed_from_u64(seed),
            routing: None,
            paused: false,
            governor: Governor::new(config.pace),
            bucket: Bucket::new(config.pace),
            repair_bucket: Bucket::new(share(config.pace)),
            given: Bucket::new(config.pace),
            work: Bucket::new(None),
            rate: Rate::default(),
            exchanges: Exchanges::new(config.source_patience),
            handoff: Handoff::default(),
            repair: Repair::new(config.repair_period, config.gc_grace),
            releases: Releases::default(),
            collector: Collector::new(config.round_interval, config.gc_grace),
            replay: Replay::new(hints),
            serving: Serving::new(config.gc_grace, config.hint_age),
            hints_at: Timestamp::default(),
            wake: None,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// The hints of this process, for those who serve requests.
    pub fn hints(&self) -> Hints {
        self.replay.hints().clone()
    }

    /// Goes by another view. The shards must have its fence, and the slots of [`starts_empty`] be empty.
    pub fn install(&mut self, now: Timestamp, wall: Wall, routing: &Arc<Routing>, store: &Store) {
        let before = self.routing.replace(Arc::clone(routing));
        let before = before.as_deref();
        let moved = before.is_none_or(|before| before.fence() != routing.fence());
        let scene = Scene { now, wall, store, routing, planted: self.config.planted };
        if moved {
            self.exchanges.clear();
        }
        let merged = self.serving.install(store, moved);
        let dropped = self.releases.install(&scene, before, &merged);
        if !dropped.is_empty() {
            self.outputs.push_back(Output::Drop { slots: dropped });
        }
        self.handoff.install(&scene);
        let returned = returned(before, routing);
        self.repair.install(&scene, &mut self.rng, moved, &returned);
        self.collector.install(&scene, &mut self.rng, moved);
        self.go_on(&scene);
    }

    /// Takes the answer to a question, or the news that it was lost. One that comes too late is ignored.
    pub fn handle_reply(
        &mut self,
        now: Timestamp,
        wall: Wall,
        store: &Store,
        id: ExchangeId,
        answer: Option<(TransferReply, EntryBlock)>,
    ) {
        let Some(routing) = self.routing.clone() else { return };
        let scene = Scene { now, wall, store, routing: &routing, planted: self.config.planted };
        self.end(&scene, id, answer);
        self.go_on(&scene);
    }

    /// Hears whether a write was stored.
    pub fn handle_put_reply(&mut self, now: Timestamp, wall: Wall, store: &Store, id: ExchangeId, stored: bool) {
        self.replay.confirm(now, id, stored);
        self.wake_up(now, wall, store);
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) is reached.
    pub fn handle_timeout(&mut self, now: Timestamp, wall: Wall, store: &Store) {
        let Some(routing) = self.routing.clone() else { return };
        let scene = Scene { now, wall, store, routing: &routing, planted: self.config.planted };
        while let Some(late) = self.exchanges.late(now) {
            self.end(&scene, late, None);
        }
        self.go_on(&scene);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.wake
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Answers what `from` asked under `fence`. One that is no member any more, or not in this life, may offer what it has
    /// left, and look for what of it is missing.
    #[expect(clippy::too_many_arguments, reason = "a question has these parts, and the moment two")]
    pub fn answer(
        &mut self,
        now: Timestamp,
        wall: Wall,
        store: &Store,
        from: Option<Ordinal>,
        fence: Fence,
        request: &TransferRequest,
        block: &EntryBlock,
    ) -> (TransferReply, EntryBlock) {
        let Some(routing) = self.routing.clone() else { return (TransferReply::NotNow, EntryBlock::default()) };
        let scene = Scene { now, wall, store, routing: &routing, planted: self.config.planted };
        let answer = self.serving.answer(&scene, from, fence, request, block);
        let bytes = answer.1.as_bytes().len();
        if bytes > 0 {
            self.governor.moves();
            self.given.spend(bytes);
        }
        self.wake = earlier(earlier(self.wake, self.serving.wake()), self.given_at(now));
        answer
    }

    /// Compares `slots` with their other owners soon: a write of them has missed somebody.
    pub fn mark_dirty(&mut self, now: Timestamp, wall: Wall, store: &Store, slots: &SlotSet) {
        let Some(routing) = self.routing.clone() else { return };
        let scene = Scene { now, wall, store, routing: &routing, planted: self.config.planted };
        self.repair.mark_dirty(&scene, slots);
        self.go_on(&scene);
    }

    /// Whether a question may be answered at this moment, for the pace at which others fetch here. When it may again is a
    /// [timeout](Self::poll_timeout).
    pub fn may_answer(&mut self, now: Timestamp) -> bool {
        self.given.allows(now) && self.work.allows(now)
    }

    /// Changes how many bytes per second are fetched here, and by others from here, at most; nothing for as many as there are.
    pub fn set_pace(&mut self, now: Timestamp, wall: Wall, store: &Store, pace: Option<NonZeroU64>) {
        self.config.pace = pace;
        self.governor.set_pace(pace);
        self.keep_to_limit(now, wall, store);
    }

    /// Takes in how late a wake-up was, by which it is decided how much of the pace is used.
    pub fn observe(&mut self, now: Timestamp, wall: Wall, store: &Store, wakeup: Wakeup) {
        if self.governor.observe(wakeup) {
            self.keep_to_limit(now, wall, store);
        }
    }

    /// Whether requests are served that could be kept waiting by what this machine does.
    pub fn has_company(&self) -> bool {
        self.governor.protects()
    }

    /// Takes in how long the driver was busy with what this machine does.
    pub fn worked(&mut self, lasted: Duration) {
        self.work.spend(usize::try_from(lasted.as_micros()).unwrap_or(usize::MAX));
    }

    fn keep_to_limit(&mut self, now: Timestamp, wall: Wall, store: &Store) {
        let limit = self.governor.limit();
        self.bucket.set_rate(now, limit);
        self.repair_bucket.set_rate(now, share(limit));
        self.given.set_rate(now, limit);
        self.work.set_rate(now, self.governor.work_limit());
        self.wake_up(now, wall, store);
    }

    /// Fetches nothing until [`resume`](Self::resume). What has been asked for is taken.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Fetches again.
    pub fn resume(&mut self, now: Timestamp, wall: Wall, store: &Store) {
        self.paused = false;
        self.wake_up(now, wall, store);
    }

    /// How far everything has come.
    pub fn progress(&self, now: Timestamp) -> Progress {
        let (offers_taken, unoffered_slots) = self.releases.totals();
        let (repair_passes, repair_bytes) = self.repair.totals();
        let (rounds, collected_until) = self.collector.totals();
        Progress {
            handoff: self.handoff_progress(now),
            pace: self.config.pace,
            limit: self.governor.limit(),
            paused: self.paused,
            offers_left: self.routing.as_deref().map_or(0, |routing| self.releases.left(routing)),
            offers_taken,
            unoffered_slots,
            repairs_left: self.repair.left(),
            repair_passes,
            repair_bytes,
            under_replicated_slots: self.routing.as_deref().map_or(0, under_replicated),
            hints: self.replay.hints().stats(),
            rounds,
            collected_until,
        }
    }

    fn handoff_progress(&self, now: Timestamp) -> Option<HandoffProgress> {
        let transition = self.handoff.transition()?;
        let (slots, slots_left) = transition.slots();
        let lasts = transition.lasts(now);
        Some(HandoffProgress {
            fence: transition.fence(),
            sources: transition.sources().map(|(from, slots_left)| SourceProgress { from, slots_left }).collect(),
            slots,
            slots_left,
            slots_skipped: transition.skipped(),
            bytes: transition.bytes(),
            rate: self.rate.per_second(now),
            lasts,
            remaining: remaining(slots, slots_left, lasts),
        })
    }

    fn wake_up(&mut self, now: Timestamp, wall: Wall, store: &Store) {
        let Some(routing) = self.routing.clone() else { return };
        let scene = Scene { now, wall, store, routing: &routing, planted: self.config.planted };
        self.go_on(&scene);
    }

    /// Brings an answer to whoever asked.
    fn end(&mut self, scene: &Scene<'_>, id: ExchangeId, answer: Answer) {
        let Some(open) = self.exchanges.end(id) else { return };
        let bytes = answer.as_ref().map_or(0, |(_, block)| block.as_bytes().len());
        if let Some((TransferReply::Versions { known, .. }, _)) = &answer {
            // What it costs is to go through the store, at both ends, more than the way between them.
            self.repair_bucket.spend(known.len() * LISTED_BYTES);
            self.governor.moves();
        }
        if open.is_page {
            let bucket =
                if matches!(open.asker, Asker::Handoff(_)) { &mut self.bucket } else { &mut self.repair_bucket };
            if bytes > 0 {
                self.governor.moves();
            }
            bucket.refund(limits::TRANSFER_PAGE_BYTES);
            bucket.spend(bytes);
            self.rate.note(scene.now, bytes);
        }
        self.hand_over(scene, open.asker, answer);
    }

    fn hand_over(&mut self, scene: &Scene<'_>, asker: Asker, answer: Answer) {
        match asker {
            Asker::Handoff(job) => self.handoff.take(scene, job, answer),
            Asker::Releases(job) => self.releases.take(scene, job, answer),
            Asker::Repair(job, other) => self.repair.take(scene, job, other, answer),
            Asker::Collector(round, owner) => {
                let differing = self.collector.take(scene, round, owner, answer);
                differing.into_iter().for_each(|slots| self.repair.mark_dirty(scene, &slots));
            }
        }
    }

    /// Does all that there is to do at this moment, and notes when there will be more.
    fn go_on(&mut self, scene: &Scene<'_>) {
        self.serving.leave_late_rounds(scene);
        self.repair.handle_timeout(scene, &mut self.rng);
        let differing = self.collector.handle_timeout(scene);
        differing.into_iter().for_each(|slots| self.repair.mark_dirty(scene, &slots));
        self.collect(scene);
        self.fetch(scene);
        // Who is no member any more has little time left, and nothing else to do.
        let leaves = scene.routing.me().is_none();
        while leaves || self.repair_bucket.allows(scene.now) && self.work.allows(scene.now) {
            let Some((job, ask)) = self.releases.next_ask(scene) else { break };
            self.ask(scene.now, Asker::Releases(job), ask, false);
        }
        let done = self.releases.done(scene);
        self.outputs.extend(done.map(|slots| Output::Drop { slots }));
        self.replay_hints(scene);
        let report = self.handoff.report(scene);
        self.outputs.extend(report.map(|(fence, left)| Output::Synced { fence, left }));
        self.plan_wake(scene.now);
    }

    fn collect(&mut self, scene: &Scene<'_>) {
        while let Some((round, ask)) = self.collector.next_ask() {
            let asker = Asker::Collector(round, ask.to);
            if scene.routing.me() != Some(ask.to) {
                self.ask(scene.now, asker, ask, false);
                continue;
            }
            let fence = scene.routing.fence();
            let answer = self.serving.answer(scene, Some(ask.to), fence, &ask.request, &ask.block);
            self.hand_over(scene, asker, Some(answer));
        }
    }

    /// Asks for entries, as far as the pace and the bytes on their way allow, and for what is needed to know which.
    fn fetch(&mut self, scene: &Scene<'_>) {
        loop {
            let pages = self.may_fetch(scene.now) && self.bucket.allows(scene.now);
            let Some((job, ask, is_page)) = self.handoff.next_ask(scene, pages) else { break };
            if is_page {
                self.bucket.spend(limits::TRANSFER_PAGE_BYTES);
            }
            self.ask(scene.now, Asker::Handoff(job), ask, is_page);
        }
        loop {
            let pages = self.may_fetch(scene.now) && self.repair_bucket.allows(scene.now);
            let Some((job, ask, is_page)) = self.repair.next_ask(scene, pages) else { break };
            if is_page {
                self.repair_bucket.spend(limits::TRANSFER_PAGE_BYTES);
            }
            self.ask(scene.now, Asker::Repair(job, ask.to), ask, is_page);
        }
    }

    /// Whether there is room and time for a page of entries.
    fn may_fetch(&mut self, now: Timestamp) -> bool {
        !self.paused && self.exchanges.has_room() && self.work.allows(now)
    }

    fn replay_hints(&mut self, scene: &Scene<'_>) {
        if self.hints_at <= scene.now {
            self.replay.handle_timeout(scene);
            self.hints_at = scene.now.saturating_add(HINTS_TICK);
        }
        while !self.paused && self.repair_bucket.allows(scene.now) {
            let Some(put) = self.replay.next_put(scene) else { break };
            self.repair_bucket.spend(put.record.key().len() + put.record.value().len());
            let id = self.exchanges.name();
            self.replay.sent(scene.now, id, &put);
            self.outputs.push_back(Output::Put { id, to: put.to, stamp: put.stamp, record: put.record });
        }
    }

    fn ask(&mut self, now: Timestamp, asker: Asker, ask: Ask, is_page: bool) {
        let id = self.exchanges.begin(now, asker, is_page);
        self.outputs.push_back(Output::Ask { id, to: ask.to, request: ask.request, block: ask.block });
    }

    /// When others may fetch here again, if they may not now.
    fn given_at(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.given.ready_at().max(self.work.ready_at())).filter(|ready| *ready > now)
    }

    /// What is due and was not done waits for the pace, or for an answer that makes room: that one wakes the machine itself.
    fn plan_wake(&mut self, now: Timestamp) {
        let paced = |wake: Option<Timestamp>, bucket: &Bucket| {
            let wake = wake.filter(|_| !self.paused)?;
            let paced = if wake > now { wake } else { bucket.ready_at().max(self.work.ready_at()) };
            (paced > now).then_some(paced)
        };
        let leaves = self.routing.as_ref().is_none_or(|routing| routing.me().is_none());
        let paced_until = if leaves { now } else { self.repair_bucket.ready_at().max(self.work.ready_at()) };
        let timers = [
            paced(self.handoff.wake(), &self.bucket),
            paced(self.repair.wake(), &self.repair_bucket),
            self.releases.wake().map(|wake| wake.max(paced_until)),
            self.collector.wake(),
            self.serving.wake(),
            self.exchanges.deadline(),
            self.given_at(now),
            Some(self.hints_at),
        ];
        self.wake = timers.into_iter().flatten().min();
    }
}

fn share(pace: Option<NonZeroU64>) -> Option<NonZeroU64> {
    pace.map(|pace| NonZeroU64::new(pace.get() / REPAIR_SHARE).unwrap_or(NonZeroU64::MIN))
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// Who has come back into reach between two views. After views that were missed it may be anybody.
fn returned(before: Option<&Routing>, after: &Routing) -> Vec<Ordinal> {
    let Some(before) = before else { return Vec::new() };
    let is_next = after.view().fields().previous == before.hash();
    let was_up = |ordinal: Ordinal| is_next && (before.view().member(ordinal).is_none() || before.is_up(ordinal));
    let members = after.view().members().iter().map(|member| member.ordinal);
    members.filter(|ordinal| after.is_up(*ordinal) && !was_up(*ordinal)).collect()
}

/// How many slots of this process have an owner that does not live.
fn under_replicated(routing: &Routing) -> usize {
    let lacks = |slot| {
        routing.standing(slot) == Standing::Owner && !routing.owners(slot).now.iter().all(|owner| routing.lives(*owner))
    };
    SlotSet::of(routing.slots(), lacks).len()
}
