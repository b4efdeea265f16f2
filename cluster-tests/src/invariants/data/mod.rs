//! What must hold of the data, whatever happens. One property per file; what they share is the ledger of all writes.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use quoit_core::{
    replication::{ClientReply, ReplicaReply, ReplicaRequest},
    routing::{Routing, Standing},
    time::{Timestamp, Wall},
};
use quoit_proto_types::{
    Fence, HashPoint, Hlc, KeyspaceId, Ordinal, ReadLevel, SlotIndex, Stamp, Version,
    view::{Owner, ViewHash},
};

use super::{Ledger, Violation};
use crate::sim::{Actor, DataSide};

mod acknowledged_is_held;
mod homes;
mod ledger;
mod new_owners_hold_all;
mod nothing_is_lost;
mod own_fence_only;
mod owners_agree;
mod quorum_reads;
mod same_epoch_same_owners;
mod slots_shrink_by_one;

use ledger::Writes;
pub use ledger::{Totals, Written};

/// The order in which entries of one key replace one another.
pub type Rank = (Version, Hlc);

/// That of an entry.
pub fn rank(stamp: &Stamp) -> Rank {
    (stamp.version, stamp.touched)
}

/// The data of one process that is up.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Which process.
    pub actor: &'a Actor,
    /// Its data.
    pub data: &'a DataSide,
}

impl<'a> Side<'a> {
    /// What it goes by.
    pub fn routing(&self) -> Option<&'a Arc<Routing>> {
        self.data.routing.as_ref()
    }

    /// What it holds of a key. Nothing changes by looking.
    pub fn entry(&self, key: &[u8]) -> Option<Stamp> {
        let fence = self.routing()?.fence();
        let stamp = |entry: Option<&quoit_core::store::Entry>| entry.map(quoit_core::store::Entry::stamp);
        self.data.store.peek_with(Wall::MIN, fence, key, stamp).ok().flatten()
    }

    /// Up to where its slot of a key has been collected, if it owns that.
    pub fn floor(&self, key: &[u8]) -> Hlc {
        let Some(routing) = self.routing() else { return Hlc::MIN };
        let slot = slot_of(routing, key);
        if routing.standing(slot) == Standing::Owner { self.data.store.floor(slot) } else { Hlc::MIN }
    }

    /// Whether it holds this entry of a key or a later one, for itself or for others, or knows that it was collected.
    pub fn covers(&self, key: &[u8], least: Rank) -> bool {
        self.has(key, least) || !self.keeps_for(key, least).is_empty()
    }

    /// The same for itself alone.
    fn has(&self, key: &[u8], least: Rank) -> bool {
        match self.entry(key) {
            Some(stamp) => rank(&stamp) >= least,
            None => self.floor(key) >= least.0.hlc,
        }
    }

    /// For whom it keeps this entry of a key, or a later one.
    fn keeps_for(&self, key: &[u8], least: Rank) -> BTreeSet<(Ordinal, Rank)> {
        let kept = self.data.hints.kept_for(key).into_iter().map(|(owner, stamp)| (owner, rank(&stamp)));
        kept.filter(|(_, rank)| *rank >= least).collect()
    }

    /// Whether it is `owner`, by the view of `routing`.
    pub fn is(&self, routing: &Routing, owner: Owner) -> bool {
        let member = routing.view().member(owner.ordinal);
        member.is_some_and(|member| member.instance == self.actor.instance) && owner.boot == self.actor.boot
    }
}

/// The slot of a key.
pub fn slot_of(routing: &Routing, key: &[u8]) -> SlotIndex {
    routing.slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, key))
}

/// A process answered a part of a client's request.
#[derive(Clone, Copy, Debug)]
pub struct Acted<'a> {
    /// Which process.
    pub actor: &'a Actor,
    /// What it goes by.
    pub routing: &'a Routing,
    /// The fence of the request.
    pub fence: Fence,
    /// Its wall clock.
    pub wall: Wall,
    /// What was asked.
    pub request: &'a ReplicaRequest,
    /// What it answered.
    pub reply: &'a ReplicaReply,
}

impl Acted<'_> {
    /// The member that answered, if it owns the slot of `key` and goes on to: a hint that it has taken in is forgotten.
    fn keeper(&self, key: &[u8]) -> Option<Ordinal> {
        let slot = slot_of(self.routing, key);
        let then = self.routing.owners(slot).then;
        let stays = |me: &Ordinal| then.is_none_or(|then| then.contains(me));
        self.routing.me().filter(stays).filter(|_| self.routing.standing(slot) == Standing::Owner)
    }

    /// Whether it did what was asked.
    pub fn has_acted(&self) -> bool {
        match self.reply {
            ReplicaReply::Stored { .. } | ReplicaReply::Entry { .. } | ReplicaReply::Absent => true,
            ReplicaReply::Refused(_) | ReplicaReply::Unreachable => false,
        }
    }
}

/// A client's operation was carried out.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// Which.
    pub token: u64,
    /// Who coordinated it.
    pub by: &'a Actor,
    /// What that one goes by.
    pub routing: &'a Routing,
    /// What the client was told.
    pub reply: &'a ClientReply,
    /// What it asked for at least.
    pub at_least: Option<Version>,
}

/// Every check of a run.
#[derive(Debug, Default)]
pub struct DataChecks {
    writes: Writes,
    owners: same_epoch_same_owners::SameEpochSameOwners,
    fences: own_fence_only::OwnFenceOnly,
    handoffs: new_owners_hold_all::NewOwnersHoldAll,
    reads: quorum_reads::QuorumReads,
    /// How often one of them was asked.
    pub checks: u64,
}

impl DataChecks {
    /// A process goes by another view; `data` is its data.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn installed(
        &mut self,
        now: Timestamp,
        actor: &Actor,
        routing: &Routing,
        data: Option<&DataSide>,
    ) -> Result<(), Violation> {
        let _ = now;
        self.checks += 2;
        self.owners.observe(routing)?;
        if let Some(data) = data {
            self.handoffs.installed(&Side { actor, data }, routing);
        }
        Ok(())
    }

    /// A process, one of `sides`, is about to go on to another view, `next`. What it was fetching starts empty again, or is let go of, unless
    /// nobody in reach owns it.
    pub fn leaves(&mut self, side: &Side<'_>, sides: &[Side<'_>], next: &Routing) {
        let Some(before) = side.routing().filter(|before| before.fence() != next.fence()) else { return };
        let is_given_up = |key: &[u8]| {
            let slot = slot_of(before, key);
            let goes = match next.standing(slot) {
                Standing::Owner => false,
                Standing::Pending => next.is_in_reach(slot),
                Standing::Stranger => before.is_in_reach(slot) && next.is_in_reach(slot),
            };
            before.standing(slot) == Standing::Pending && goes
        };
        self.writes.gave_up(side, is_given_up);
        let is_emptied = |key: &[u8]| {
            let slot = slot_of(before, key);
            let comes = before.standing(slot) == Standing::Stranger && next.standing(slot) == Standing::Pending;
            comes && next.is_in_reach(slot)
        };
        self.writes.emptied(side, sides, is_emptied);
    }

    /// A process answered a part of a client's request.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn acted(&mut self, acted: &Acted<'_>) -> Result<(), Violation> {
        self.checks += 1;
        if let ReplicaRequest::Put { stamp, hint_for, record } = acted.request
            && acted.has_acted()
        {
            self.writes.taken_in(record.key(), stamp);
            if let Some(owner) = acted.keeper(record.key()).filter(|_| hint_for.is_none()) {
                self.writes.owned(record.key(), stamp, owner);
            }
        }
        self.fences.observe(acted)
    }

    /// A view was decided.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn decided(&mut self, ledger: &Ledger, hash: ViewHash, sides: &[Side<'_>]) -> Result<(), Violation> {
        let Some(view) = ledger.view(hash) else { return Ok(()) };
        self.checks += 3;
        slots_shrink_by_one::check(view)?;
        self.reads.decided(view);
        self.fences.decided(ledger, view);
        self.handoffs.decided(ledger, view, sides)
    }

    /// A client reads.
    pub fn read_begins(&mut self, token: u64, key: &Bytes, level: ReadLevel) {
        self.reads.begins(token, key, level, &self.writes);
    }

    /// A client writes, by way of the process `by`.
    ///
    /// # Errors
    /// [`Violation`] if the version was given out before.
    pub fn write_begins(&mut self, written: Written, by: &Actor) -> Result<(), Violation> {
        self.checks += 1;
        self.writes.begins(written, by)
    }

    /// A client was told that its operation was carried out.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn done(&mut self, now: Timestamp, done: &Done<'_>, sides: &[Side<'_>]) -> Result<(), Violation> {
        let _ = now;
        self.checks += 2;
        match done.reply {
            ClientReply::Done(written) => {
                let rank = self.writes.acknowledged(done.token, written.version, sides)?;
                acknowledged_is_held::check(&self.writes, done, rank, sides)
            }
            ClientReply::Value { .. } | ClientReply::TimeToLive { .. } | ClientReply::Miss => {
                self.reads.done(done, &self.writes)
            }
            ClientReply::Refused(_) | ClientReply::Unfinished { .. } => Ok(()),
        }
    }

    /// Some wall clock shows this.
    pub fn note_wall(&mut self, wall: Wall) {
        self.writes.note_wall(wall);
    }

    /// Counts the copies of what was acknowledged.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn look(&mut self, ledger: &Ledger, sides: &[Side<'_>]) -> Result<(), Violation> {
        self.writes.look(ledger, sides);
        Ok(())
    }

    /// The process `serial`, one of `sides`, ends.
    pub fn ended(&mut self, serial: u32, sides: &[Side<'_>]) {
        self.writes.ended(serial, sides);
        self.reads.ended();
    }

    /// The clock of some process jumps ahead.
    pub fn jumped(&mut self) {
        self.writes.jumped();
    }

    /// What is left to be done, if anything.
    pub fn unsettled(
        &mut self,
        ledger: &Ledger,
        sides: &[Side<'_>],
        local: impl Fn(&Side<'_>) -> Timestamp,
    ) -> Option<String> {
        self.checks += 1;
        owners_agree::unsettled(ledger, sides, local)
    }

    /// Whether everything is there that must be.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn judge(&mut self, ledger: &Ledger, sides: &[Side<'_>]) -> Result<(), Violation> {
        self.writes.look(ledger, sides);
        self.checks += 1;
        nothing_is_lost::check(&self.writes, sides)
    }

    /// What the clients did, in numbers.
    pub fn totals(&self) -> Totals {
        self.writes.totals()
    }
}
