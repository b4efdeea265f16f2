//! The serving side: what a node does with what another one, or itself, asks of it for a request that is being coordinated.
//!
//! | asked | under another fence | owner, in force or to be | neither |
//! |---|---|---|---|
//! | `Put` as an owner | refused | merged | refused |
//! | `Put` to be kept for another | refused | kept as a hint, unless it is old | kept as a hint, unless it is old |
//! | `Get` | refused | what the store has | what the hints have; refused if an earlier life of it owns the slot |
//!
//! The fence is compared first (PROTOCOL, T1), and once more by the shard under its lock, so that nothing is taken in or told
//! that goes by a view which the process has just left. Whether a process owns a slot depends on its life: one that restarted
//! owns nothing until a ring names its new life. Others may not know of the restart yet and ask it as an owner: what it does
//! not have says nothing then, so it refuses, and one that is not admitted yet refuses everything.

use bytes::Bytes;
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

/// What a node knows of a key.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// As an owner.
    Stored(&'a Entry),
    /// As one that keeps it for an owner.
    Hint(Stamp, &'a Record),
}

impl Found<'_> {
    /// What is known of the entry.
    pub fn stamp(self) -> Stamp {
        match self {
            Self::Stored(entry) => entry.stamp(),
            Self::Hint(stamp, _) => stamp,
        }
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Stored(entry) => entry.value(),
            Self::Hint(_, record) => record.value(),
        }
    }

    /// Its value, to be kept.
    pub fn to_bytes(self) -> Bytes {
        match self {
            Self::Stored(entry) => entry.to_bytes(),
            Self::Hint(_, record) => Bytes::copy_from_slice(record.value()),
        }
    }
}

impl Replica<'_> {
    /// Answers `request`, which was asked under `fence`.
    pub fn answer(&self, fence: Fence, request: ReplicaRequest) -> ReplicaReply {
        let reply = match request {
            ReplicaRequest::Put { stamp, hint_for, record } => {
                let stored = self.put(fence, stamp, hint_for, record);
                stored.map(|was_live| ReplicaReply::Stored { was_live })
            }
            ReplicaRequest::Get { key } => self.look(fence, &key, |found| match found {
                Some(found) => ReplicaReply::Entry { stamp: found.stamp(), value: found.to_bytes() },
                None => ReplicaReply::Absent,
            }),
        };
        reply.unwrap_or_else(ReplicaReply::Refused)
    }

    /// Merges an entry, or keeps it for `hint_for`, and says whether the key had a value before.
    ///
    /// # Errors
    /// Why it is not held. Nothing was done.
    pub fn put(&self, fence: Fence, stamp: Stamp, hint_for: Option<Ordinal>, record: Record) -> Result<bool, Refusal> {
        let fence = self.admit(fence)?;
        let slot = self.slot_of(record.key());
        // A version or a change of expiry from far ahead is refused before anybody holds it (PROTOCOL 9.1).
        let seen = self.clock.observe(self.wall, stamp.moment());
        if let Err(skew) = seen
            && !self.planted.is(DataBug::SkewIgnored)
        {
            return Err(skew.into());
        }
        if let Some(owner) = hint_for {
            // Nobody could be given it any more. The writer is told, and stamps it anew.
            let until = self.hints.too_old(self.wall);
            if stamp.moment() <= until {
                return Err(Refusal::new(ErrorCode::TooOld, until.value()));
            }
            return match self.hints.keep(self.now, owner, slot, stamp, record) {
                Kept::Kept => Ok(false),
                Kept::Full | Kept::Aging => Err(Refusal::new(ErrorCode::Busy, HINTS_FULL_PAUSE_MS)),
            };
        }
        if self.routing.standing(slot) == Standing::Stranger {
            return Err(self.not_owner(slot));
        }
        match self.store.apply(self.wall, fence, Origin::Write, stamp, record) {
            Ok(Applied::Stored { was_live } | Applied::Known { was_live }) => Ok(was_live),
            // What the store drops was deleted: a write is to be told so.
            Ok(Applied::Dropped) => Err(Refusal::new(ErrorCode::TooOld, 0)),
            Err(error) => Err(refusal(self.routing, fence, error)),
        }
    }

    /// Calls `read` with what is known of `key`, in the store or in the hints if this process is no owner; under a lock, so
    /// `read` must be short.
    ///
    /// # Errors
    /// Why it is not told; `read` was not called.
    pub fn look<R>(&self, fence: Fence, key: &[u8], read: impl FnOnce(Option<Found<'_>>) -> R) -> Result<R, Refusal> {
        let fence = self.admit(fence)?;
        let slot = self.slot_of(key);
        if self.routing.standing(slot) == Standing::Stranger {
            if self.routing.me().is_some_and(|me| self.routing.owners(slot).contains(me)) {
                return Err(self.not_owner(slot));
            }
            let hint = self.hints.find(key);
            return Ok(read(hint.as_ref().map(|(stamp, record)| Found::Hint(*stamp, record))));
        }
        let stored = |entry: Option<&Entry>| read(entry.map(Found::Stored));
        self.store.get_with(self.wall, fence, key, stored).map_err(|at| moved(self.routing, fence, at))
    }

    fn admit(&self, fence: Fence) -> Result<Fence, Refusal> {
        let fence = if self.planted.is(DataBug::FenceIgnored) { self.routing.fence() } else { fence };
        self.routing.admit(fence)?;
        if self.routing.me().is_none() {
            return Err(Refusal::new(ErrorCode::NotReady, 0));
        }
        Ok(fence)
    }

    fn slot_of(&self, key: &[u8]) -> SlotIndex {
        self.routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key))
    }

    fn not_owner(&self, slot: SlotIndex) -> Refusal {
        let owner = self.routing.owners(slot).now.first();
        Refusal::new(ErrorCode::NotOwner, owner.map_or(0, |owner| u64::from(owner.value())))
    }
}

/// Why the store did not take a write that was asked under `fence`.
pub fn refusal(routing: &Routing, fence: Fence, error: ApplyError) -> Refusal {
    match error {
        ApplyError::FenceMoved(fence_moved) => moved(routing, fence, fence_moved),
        ApplyError::TooLarge(large) => Refusal::new(ErrorCode::ValueTooLarge, large.memory_limit_bytes as u64),
        // The writer goes on from there.
        ApplyError::TooOld { until } => Refusal::new(ErrorCode::TooOld, until.value()),
        // Writes are refused for neither.
        ApplyError::HeldBack { .. } | ApplyError::NoRoom => Refusal::new(ErrorCode::Busy, HINTS_FULL_PAUSE_MS),
    }
}

/// The store is sealed for a view that the process is about to go by, or was sealed just now.
fn moved(routing: &Routing, fence: Fence, moved: FenceMoved) -> Refusal {
    let code = if moved.at > fence { ErrorCode::StaleView } else { ErrorCode::NodeBehind };
    Refusal::new(code, routing.epoch().value())
}
