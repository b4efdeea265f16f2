//! Merges what another node holds of some slots into the own store, question by question.
//!
//! ```text
//!  pulling ──► Pull… ──► Summarise ──────────────────────────────► floors ──► (Merged) ──► done
//!  comparing ──────────► Summarise ──► List… ──► Fetch… ─┐           ▲
//!                            │           ▲  (differing)  │           │
//!                            │           └───────────────┴───────────┤
//!                            └──────────────── (equal digests) ──────┘
//! ```
//!
//! **Floors.** The other side's floor says that what is absent *there* and not later was deleted. So it is adopted when all
//! of its entries are here, and not before: they would be refused. From then on it holds for the entries of every further
//! source (PROTOCOL, T7).
//!
//! Every question may be repeated, so a lost answer costs the question only.

use std::collections::BTreeMap;

use quoit_proto_types::{
    SlotIndex, SlotSet,
    limits::TRANSFER_HANDLES_MAX,
    message::transfer::{Cursor, EntryBlock, Known, SlotSummary, TransferReply, TransferRequest},
    version::{Hlc, Rank},
};

use super::scene::{Scene, strike_off};
use crate::store::Origin;

/// The walk through one source's part of some slots.
#[derive(Debug)]
pub(super) struct Merge {
    slots: SlotSet,
    origin: Origin,
    /// Whether the source waits to hear that all it had is here.
    tells: bool,
    step: Step,
    /// Whether everything was pulled, so that there is nothing to compare.
    pulled: bool,
    floors: Vec<(SlotIndex, Hlc)>,
    floors_until: Option<Hlc>,
    /// Slots that are to be compared entry by entry.
    differing: SlotSet,
    /// Those of them that are being compared.
    page: SlotSet,
    mine: BTreeMap<u128, Rank>,
    /// The lowest floor of them here: what is absent and not later would be refused.
    absent_until: Hlc,
}

#[derive(Debug)]
enum Step {
    Pull(Cursor),
    Summarise,
    List(Cursor),
    /// What to fetch, and where the list goes on.
    Fetch(Vec<Known>, Option<Cursor>),
    Tell,
}

/// What an answer led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is a next question.
    Next,
    /// The question must be repeated, after a while.
    Later,
    /// All is merged.
    Done,
}

impl Merge {
    /// Of slots of which nothing is held yet: the source is told when all is here.
    pub(super) fn pulling(slots: SlotSet) -> Self {
        Self { step: Step::Pull(Cursor::default()), tells: true, ..Self::new(slots, Origin::Handoff) }
    }

    /// Of slots that another source was merged of: the source is told when all is here.
    pub(super) fn completing(slots: SlotSet) -> Self {
        Self { tells: true, ..Self::new(slots, Origin::Handoff) }
    }

    /// Of slots that both own. Floors up to `floors_until` only are adopted: a later one is not from a collection but from
    /// a lack of room, and would keep out what a third owner still has.
    pub(super) fn repairing(slots: SlotSet, origin: Origin, floors_until: Hlc) -> Self {
        Self { floors_until: Some(floors_until), ..Self::new(slots, origin) }
    }

    fn new(slots: SlotSet, origin: Origin) -> Self {
        let none = SlotSet::none(slots.slots());
        Self {
            origin,
            tells: false,
            step: Step::Summarise,
            pulled: false,
            floors: Vec::new(),
            floors_until: None,
            absent_until: Hlc::MIN,
            differing: none.clone(),
            page: none,
            mine: BTreeMap::new(),
            slots,
        }
    }

    pub(super) fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// Whether entries come back for the next question.
    pub(super) fn is_page(&self) -> bool {
        matches!(self.step, Step::Pull(_) | Step::Fetch(..))
    }

    /// The next question.
    pub(super) fn request(&self) -> TransferRequest {
        match &self.step {
            Step::Pull(from) => TransferRequest::Pull { slots: self.slots.clone(), from: *from },
            Step::Summarise => TransferRequest::Summarise { slots: self.slots.clone() },
            Step::List(from) => TransferRequest::List { slots: self.page.clone(), from: *from },
            Step::Fetch(wanted, _) => {
                let handles = wanted.iter().take(TRANSFER_HANDLES_MAX).map(|wanted| wanted.handle);
                TransferRequest::Fetch { handles: handles.collect() }
            }
            Step::Tell => TransferRequest::Merged { slots: self.slots.clone() },
        }
    }

    /// Takes the answer to it. One that does not fit changes nothing.
    pub(super) fn take(&mut self, scene: &Scene<'_>, reply: TransferReply, block: &EntryBlock) -> Progress {
        match (&mut self.step, reply) {
            (Step::Pull(from), TransferReply::Entries { next }) => {
                // A cursor that stands still would be asked for without end.
                if scene.import(self.origin, block).failed || next.is_some_and(|next| next <= *from) {
                    return Progress::Later;
                }
                self.pulled = next.is_none();
                self.step = next.map_or(Step::Summarise, Step::Pull);
                Progress::Next
            }
            (Step::Summarise, TransferReply::Summaries(theirs)) if theirs.len() == self.slots.len() => {
                self.compare(scene, &theirs);
                self.next_page(scene)
            }
            (Step::List(from), TransferReply::Versions { known, next }) => {
                if next.is_some_and(|next| next <= *from) {
                    return Progress::Later;
                }
                let wanted = self.wanted(&known);
                self.fetch(scene, wanted, next)
            }
            (Step::Fetch(wanted, next), TransferReply::Entries { .. }) => {
                if scene.import(self.origin, block).failed {
                    return Progress::Later;
                }
                strike_off(wanted, block);
                let (wanted, next) = (std::mem::take(wanted), *next);
                self.fetch(scene, wanted, next)
            }
            (Step::Tell, TransferReply::Noted) => Progress::Done,
            (Step::Pull(_) | Step::Summarise | Step::List(_) | Step::Fetch(..) | Step::Tell, _) => Progress::Later,
        }
    }

    fn compare(&mut self, scene: &Scene<'_>, theirs: &[SlotSummary]) {
        self.floors = self.slots.iter().zip(theirs).map(|(slot, theirs)| (slot, theirs.floor)).collect();
        if self.pulled {
            return;
        }
        for (slot, theirs) in self.slots.iter().zip(theirs) {
            if theirs.digest != scene.store.summary(slot).digest {
                self.differing.insert(slot);
            }
        }
    }

    fn next_page(&mut self, scene: &Scene<'_>) -> Progress {
        if self.differing.is_empty() {
            self.mine.clear();
            let slots = self.slots.slots();
            let floors = std::mem::take(&mut self.floors).into_iter();
            match self.floors_until {
                Some(until) => scene.adopt_floors(slots, floors.filter(|(_, floor)| *floor <= until)),
                None => scene.adopt_floors(slots, floors),
            }
            self.step = Step::Tell;
            return if self.tells { Progress::Next } else { Progress::Done };
        }
        self.page = scene.comparable(&mut self.differing);
        self.mine = scene.ranks(&self.page);
        self.absent_until = self.page.iter().map(|slot| scene.store.floor(slot)).min().unwrap_or_default();
        self.step = Step::List(Cursor::default());
        Progress::Next
    }

    /// Which of `known` are absent here, or later than here.
    fn wanted(&self, known: &[Known]) -> Vec<Known> {
        let is_wanted = |known: &&Known| match self.mine.get(&known.key) {
            Some(mine) => known.stamp.rank() > *mine,
            None => known.stamp.version.hlc > self.absent_until,
        };
        known.iter().filter(is_wanted).copied().collect()
    }

    fn fetch(&mut self, scene: &Scene<'_>, wanted: Vec<Known>, next: Option<Cursor>) -> Progress {
        match next {
            _ if !wanted.is_empty() => self.step = Step::Fetch(wanted, next),
            Some(next) => self.step = Step::List(next),
            None => return self.next_page(scene),
        }
        Progress::Next
    }
}
