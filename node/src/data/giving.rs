//! What others fetch of the slots that this process owns, while a ring change is under way.
//!
//! It is for who watches only: what may be let go is for the machine to say.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::{
    routing::{Routing, Standing},
    time::Timestamp,
};
use quoit_proto_types::{
    Ordinal, SlotIndex, SlotSet,
    message::transfer::{TransferReply, TransferRequest},
};

/// How long the bytes are counted for which tell the rate.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The slots of one ring change that others come to own, of those that this process owns.
#[derive(Debug)]
pub(crate) struct Giving {
    began: Timestamp,
    slots: usize,
    /// What each of those who take has not merged.
    left: BTreeMap<Ordinal, SlotSet>,
    bytes: u64,
    /// Bytes of the window that began then, and of the one before.
    window: Timestamp,
    window_bytes: u64,
    bytes_per_s: u64,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivingProgress {
    /// Who takes, and what each has not merged.
    pub(crate) to: BTreeMap<Ordinal, SlotSet>,
    /// Slots that somebody comes to own.
    pub(crate) slots: usize,
    /// Slots of them that somebody has not merged.
    pub(crate) slots_left: usize,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_s: u64,
    pub(crate) lasts: Duration,
}

impl GivingProgress {
    /// Whether `to` takes `slot` and has merged what is here of it.
    pub(crate) fn has_merged(&self, to: Ordinal, slot: SlotIndex) -> bool {
        self.to.get(&to).is_some_and(|left| !left.contains(slot))
    }

    /// How long it will take, if it goes on like this. Nothing if there is no telling.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let done = u32::try_from(self.slots - self.slots_left).ok().filter(|done| *done > 0)?;
        self.lasts.checked_mul(u32::try_from(self.slots_left).ok()?).map(|all| all / done)
    }
}

impl Giving {
    /// What `routing` has others fetch here, if anything.
    pub(crate) fn of(now: Timestamp, routing: &Routing) -> Option<Self> {
        routing.target()?;
        let mut left: BTreeMap<Ordinal, SlotSet> = BTreeMap::new();
        let mut all = SlotSet::none(routing.slots());
        for slot in routing.slots().slots().filter(|slot| routing.standing(*slot) == Standing::Owner) {
            let owners = routing.owners(slot);
            let gaining = owners.then.unwrap_or_default().iter().filter(|owner| !owners.now.contains(owner));
            for owner in gaining {
                left.entry(*owner).or_insert_with(|| SlotSet::none(routing.slots())).insert(slot);
                all.insert(slot);
            }
        }
        let slots = all.len();
        let giving = Self { began: now, slots, left, bytes: 0, window: now, window_bytes: 0, bytes_per_s: 0 };
        (slots > 0).then_some(giving)
    }

    /// `from` was answered with `reply` and so many bytes of entries.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        from: Ordinal,
        request: &TransferRequest,
        reply: &TransferReply,
        bytes: usize,
    ) {
        let Some(left) = self.left.get_mut(&from) else { return };
        if let (TransferRequest::Merged { slots }, TransferReply::Noted) = (request, reply) {
            left.subtract(slots);
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes += bytes;
        let passed = now.checked_duration_since(self.window).unwrap_or_default();
        if passed >= RATE_WINDOW {
            let per_second = u128::from(self.window_bytes) * 1_000_000 / passed.as_micros().max(1);
            self.bytes_per_s = u64::try_from(per_second).unwrap_or(u64::MAX);
            (self.window, self.window_bytes) = (now, 0);
        }
        self.window_bytes += bytes;
    }

    /// How far it has come.
    pub(crate) fn progress(&self, now: Timestamp) -> GivingProgress {
        let mut missing: Option<SlotSet> = None;
        for left in self.left.values() {
            missing.get_or_insert_with(|| SlotSet::none(left.slots())).extend(left);
        }
        let is_still = now.checked_duration_since(self.window).unwrap_or_default() >= RATE_WINDOW * 3;
        GivingProgress {
            to: self.left.clone(),
            slots: self.slots,
            slots_left: missing.map_or(0, |missing| missing.len()),
            bytes: self.bytes,
            bytes_per_s: if is_still { 0 } else { self.bytes_per_s },
            lasts: now.checked_duration_since(self.began).unwrap_or_default(),
        }
    }
}
