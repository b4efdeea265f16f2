//! The serving side: what a node does with what another one, or itself, asks of it for a request that is being coordinated.
//!
//! | asked | under another fence | owner, in force or to be | neither |
//! |---|---|---|---|
//! | `Put` as an owner | refused | merged | refused |
//! | `Put` to be kept for another | refused | kept as a hint | kept as a hint |
//! | `Get` | refused | what the store has | what the hints have |
//!
//! The fence is compared first (PROTOCOL, T1), and once more by the shard under its lock, so that nothing is taken in or told
//! that goes by a view which the process has just left. Whether a process owns a slot depends on its life: one that restarted
//! owns nothing until a ring names its new life.

use quoit_proto_types::{ErrorCode, Fence, HashPoint, KeyspaceId, Ordinal, SlotIndex, Stamp, message::client::Refusal};

use super::{
    clock::HlcClock,
    message::{ReplicaReply, ReplicaRequest},
};
use crate::{
    planted::data::{DataBug, DataPlanted},
    routing::{Routing, Standing},
    store::{Applied, ApplyError, Entry, FenceMoved, Origin, Record, Store},
    time::{Timestamp, Wall},
    upkeep::{Hints, Kept},
};

/// How long a node is told to wait that has no room for a hint: others may have.
const HINTS_FULL_PAUSE_MS: u64 = 1000;

/// What a node answers by, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'a> {
    /// Its entries.
    pub store: &'a Store,
    /// The view that it goes by.
    pub routing: &'a Routing,
    /// What it keeps for others.
    pub hints: &'a Hints,
    /// Its clock, which takes note of every version that it accepts.
    pub clock: &'a HlcClock,
    /// The moment.
    pub now: Timestamp,
    /// The moment by the wall clock.
    pub wall: Wall,
    /// For tests.
    pub planted: DataPlanted,
}

impl Replica<'_> {
    /// Answers `request`, which was asked under `fence`.
    pub fn answer(&self, fence: Fence, request: ReplicaRequest) -> ReplicaReply {
        let fence = if self.planted.is(DataBug::FenceIgnored) { self.routing.fence() } else { fence };
        if let Err(refusal) = self.routing.admit(fence) {
            return ReplicaReply::Refused(refusal);
        }
        match request {
            ReplicaRequest::Put { stamp, hint_for, record } => self.put(fence, stamp, hint_for, record),
            ReplicaRequest::Get { key } => self.get(fence, &key),
        }
    }

    fn put(&self, fence: Fence, stamp: Stamp, hint_for: Option<Ordinal>, record: Record) -> ReplicaReply {
        let slot = self.slot_of(record.key());
        // A version or a change of expiry from far ahead is refused before anybody holds it (PROTOCOL 9.1).
        let seen = self.clock.observe(self.wall, stamp.version.hlc.max(stamp.touched));
        if let Err(skew) = seen
            && !self.planted.is(DataBug::SkewIgnored)
        {
            return ReplicaReply::Refused(skew.into());
        }
        if let Some(owner) = hint_for {
            return match self.hints.keep(self.now, owner, slot, stamp, record) {
                Kept::Kept => ReplicaReply::Stored { was_live: false },
                Kept::Full => ReplicaReply::Refused(Refusal::new(ErrorCode::Busy, HINTS_FULL_PAUSE_MS)),
            };
        }
        if self.routing.standing(slot) == Standing::Stranger {
            return ReplicaReply::Refused(self.not_owner(slot));
        }
        match self.store.apply(self.wall, fence, Origin::Write, stamp, record) {
            Ok(Applied::Stored { was_live } | Applied::Known { was_live }) => ReplicaReply::Stored { was_live },
            Ok(Applied::Dropped) => ReplicaReply::Refused(Refusal::new(ErrorCode::TooOld, 0)),
            Err(error) => ReplicaReply::Refused(self.refusal(fence, error)),
        }
    }

    fn get(&self, fence: Fence, key: &[u8]) -> ReplicaReply {
        if self.routing.standing(self.slot_of(key)) == Standing::Stranger {
            let found = self.hints.find(key);
            let entry = |(stamp, record): (Stamp, Record)| ReplicaReply::Entry {
                stamp,
                value: bytes::Bytes::copy_from_slice(record.value()),
            };
            return found.map_or(ReplicaReply::Absent, entry);
        }
        let entry = |entry: &Entry| ReplicaReply::Entry { stamp: entry.stamp(), value: entry.to_bytes() };
        match self.store.get_with(self.wall, fence, key, |found| found.map(entry)) {
            Ok(found) => found.unwrap_or(ReplicaReply::Absent),
            Err(moved) => ReplicaReply::Refused(self.moved(fence, moved)),
        }
    }

    fn slot_of(&self, key: &[u8]) -> SlotIndex {
        self.routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key))
    }

    fn not_owner(&self, slot: SlotIndex) -> Refusal {
        let owner = self.routing.owners(slot).now.first();
        Refusal::new(ErrorCode::NotOwner, owner.map_or(0, |owner| u64::from(owner.value())))
    }

    /// The store is sealed for a view that the process is about to go by, or was sealed just now.
    fn moved(&self, fence: Fence, moved: FenceMoved) -> Refusal {
        let code = if moved.at > fence { ErrorCode::StaleView } else { ErrorCode::NodeBehind };
        Refusal::new(code, self.routing.epoch().value())
    }

    fn refusal(&self, fence: Fence, error: ApplyError) -> Refusal {
        match error {
            ApplyError::FenceMoved(moved) => self.moved(fence, moved),
            ApplyError::TooLarge(_) => Refusal::new(ErrorCode::ValueTooLarge, self.store.memory_limit_bytes() as u64),
            // The writer goes on from there.
            ApplyError::TooOld { until } => Refusal::new(ErrorCode::TooOld, until.value()),
            ApplyError::HeldBack { .. } | ApplyError::NoRoom => Refusal::new(ErrorCode::Busy, HINTS_FULL_PAUSE_MS),
        }
    }
}
