//! Offers what is held here of some slots to one of their owners, question by question.
//!
//! ```text
//!  Summarise ──► List… (all that the owner has) ──► Offer… (what it lacks) ─┐
//!      │           ▲  (differing)                                           ├──► done
//!      │           └────────────────────────────────────────────────────────┤
//!      └─────────────────────── (equal digests) ────────────────────────────┘
//! ```
//!
//! The owner takes what is later than its own, and what is absent there and above its floor.

use std::collections::BTreeMap;

use quoit_proto_types::{
    SlotSet,
    limits::{TRANSFER_HANDLES_MAX, TRANSFER_PAGE_BYTES},
    message::transfer::{Cursor, EntryBlock, Handle, Known, SlotSummary, TransferReply, TransferRequest},
    version::Rank,
};

use super::{
    merge::Progress,
    scene::{Scene, strike_off},
};

#[derive(Debug)]
pub(super) struct Offer {
    slots: SlotSet,
    step: Step,
    /// Slots that are to be compared entry by entry.
    differing: SlotSet,
    /// Those of them that are being compared.
    page: SlotSet,
    theirs: BTreeMap<u128, Rank>,
    offered: u64,
}

#[derive(Debug)]
enum Step {
    Summarise,
    List(Cursor),
    /// What they lack, the first page of it, and where the walk through the own entries goes on.
    Offer(Vec<Known>, EntryBlock, Option<Cursor>),
}

impl Offer {
    pub(super) fn new(slots: SlotSet) -> Self {
        let none = SlotSet::none(slots.slots());
        let theirs = BTreeMap::new();
        Self { step: Step::Summarise, differing: none.clone(), page: none, theirs, offered: 0, slots }
    }

    pub(super) fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// How many entries the owner took.
    pub(super) fn offered(&self) -> u64 {
        self.offered
    }

    /// The next question, and the entries behind it.
    pub(super) fn request(&self) -> (TransferRequest, EntryBlock) {
        match &self.step {
            Step::Summarise => (TransferRequest::Summarise { slots: self.slots.clone() }, EntryBlock::default()),
            Step::List(from) => {
                (TransferRequest::List { slots: self.page.clone(), from: *from }, EntryBlock::default())
            }
            Step::Offer(_, block, _) => (TransferRequest::Offer, block.clone()),
        }
    }

    /// Takes the answer to it. One that does not fit changes nothing.
    pub(super) fn take(&mut self, scene: &Scene<'_>, reply: TransferReply) -> Progress {
        match (&mut self.step, reply) {
            (Step::Summarise, TransferReply::Summaries(theirs)) if theirs.len() == self.slots.len() => {
                self.compare(scene, &theirs);
                self.next_page(scene)
            }
            (Step::List(from), TransferReply::Versions { known, next }) => {
                if next.is_some_and(|next| next <= *from) {
                    return Progress::Later;
                }
                self.theirs.extend(known.iter().map(|known| (known.key, known.stamp.rank())));
                match next {
                    Some(next) => self.step = Step::List(next),
                    None => return self.walk(scene, Vec::new(), Some(Cursor::default())),
                }
                Progress::Next
            }
            (Step::Offer(lacking, block, next), TransferReply::Offered { taken }) => {
                self.offered += u64::from(taken);
                strike_off(lacking, block);
                let (lacking, next) = (std::mem::take(lacking), *next);
                self.walk(scene, lacking, next)
            }
            (Step::Summarise | Step::List(_) | Step::Offer(..), _) => Progress::Later,
        }
    }

    fn compare(&mut self, scene: &Scene<'_>, theirs: &[SlotSummary]) {
        for (slot, theirs) in self.slots.iter().zip(theirs) {
            let mine = scene.store.summary(slot);
            if mine.entries > 0 && mine.digest != theirs.digest {
                self.differing.insert(slot);
            }
        }
    }

    fn next_page(&mut self, scene: &Scene<'_>) -> Progress {
        self.theirs.clear();
        if self.differing.is_empty() {
            return Progress::Done;
        }
        self.page = scene.comparable(&mut self.differing);
        self.step = Step::List(Cursor::default());
        Progress::Next
    }

    /// Goes on through the own entries until there is something to offer.
    fn walk(&mut self, scene: &Scene<'_>, mut lacking: Vec<Known>, mut next: Option<Cursor>) -> Progress {
        loop {
            let handles: Vec<Handle> = lacking.iter().map(|known| known.handle).collect();
            let block = scene.store.fetch(&handles, TRANSFER_PAGE_BYTES);
            if !block.is_empty() {
                self.step = Step::Offer(lacking, block, next);
                return Progress::Next;
            }
            let Some(from) = next else { return self.next_page(scene) };
            let (known, then) = scene.store.list(&self.page, from, TRANSFER_HANDLES_MAX);
            let lacks = |known: &Known| self.theirs.get(&known.key).is_none_or(|theirs| known.stamp.rank() > *theirs);
            lacking = known.into_iter().filter(lacks).collect();
            next = then;
        }
    }
}
