//! What a process has for its data.

use std::{collections::BTreeMap, sync::Arc};

use quoit_core::{
    planted::data::DataPlanted,
    replication::{Coordinator, HlcClock, OperationId, Replica},
    routing::{Routing, Standing},
    store::{EvictionPolicy, Store, StoreConfig},
    time::{Timestamp, Wall},
    upkeep::{ExchangeId, Hints, Upkeep, UpkeepConfig},
};
use quoit_proto_types::{Ordinal, SlotSet};

/// Enough that nothing is evicted: what is missing was lost.
pub(in crate::sim) const MEMORY_BYTES: usize = 4 << 20;
/// Few shards, as there are few keys.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// The data of one process, and what its driver keeps for it.
#[derive(Debug)]
pub struct DataSide {
    /// Its entries.
    pub store: Store,
    /// Stamps its writes.
    pub clock: HlcClock,
    /// What it keeps for others.
    pub hints: Hints,
    /// What it does in the background.
    pub upkeep: Upkeep,
    /// What it goes by.
    pub routing: Option<Arc<Routing>>,
    /// The operations of each client session.
    pub coordinators: BTreeMap<usize, Coordinator<u64>>,
    /// What was asked and not answered: over which connection, and who waits.
    pub waiting: BTreeMap<u64, (u64, Waiting)>,
    /// The simulation's time for which a wake is scheduled.
    pub armed: Option<Timestamp>,
    /// The time of day when its clock showed 0, in milliseconds since 1970.
    pub started_at_ms: u64,
    planted: DataPlanted,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    /// An operation of a session.
    Operation {
        /// The session.
        session: usize,
        /// The operation.
        operation: OperationId,
        /// Who was asked.
        to: Ordinal,
    },
    /// The upkeep, for what it asked.
    Transfer(ExchangeId),
    /// The upkeep, for a hint.
    Hint(ExchangeId),
}

impl DataSide {
    /// That of a process that starts: empty, with room for so many bytes.
    pub fn new(
        seed: u64,
        config: UpkeepConfig,
        memory_limit_bytes: usize,
        started_at_ms: u64,
        planted: DataPlanted,
    ) -> Self {
        let store = Store::new(StoreConfig {
            memory_limit_bytes,
            value_bytes_max: VALUE_BYTES_MAX,
            policy: EvictionPolicy::default(),
            seed,
            planted,
        });
        let upkeep = Upkeep::new(seed, UpkeepConfig { planted, ..config });
        Self {
            store,
            clock: HlcClock::new(),
            hints: upkeep.hints(),
            upkeep,
            routing: None,
            coordinators: BTreeMap::new(),
            waiting: BTreeMap::new(),
            armed: None,
            started_at_ms,
            planted,
        }
    }

    /// Whether there is room for everything, so that what is missing was lost. Else it evicts, as a full cache does.
    pub fn has_room(&self) -> bool {
        self.store.memory_limit_bytes() >= MEMORY_BYTES
    }

    /// Its wall clock when its own clock shows `local`.
    pub fn wall(&self, local: Timestamp) -> Wall {
        Wall::from_millis(self.started_at_ms + local.as_micros() / 1000)
    }

    /// When its own clock shows what its wall clock shows at `wall`.
    pub fn local(&self, wall: Wall) -> Timestamp {
        Timestamp::from_micros(wall.as_millis().saturating_sub(self.started_at_ms).saturating_mul(1000))
    }

    /// By what it answers others.
    pub fn replica<'a>(&'a self, routing: &'a Routing, local: Timestamp) -> Replica<'a> {
        let Self { store, hints, clock, .. } = self;
        Replica { store, routing, hints, clock, now: local, wall: self.wall(local), planted: self.planted }
    }

    /// The operations of `session`.
    pub fn coordinator(&mut self, session: usize) -> &mut Coordinator<u64> {
        let planted = self.planted;
        self.coordinators.entry(session).or_insert_with(|| Coordinator::new(planted))
    }

    /// Lets go of `slots`, but for those that this process owns.
    pub fn drop_slots(&self, slots: &SlotSet) {
        let Some(routing) = &self.routing else { return };
        let gone =
            SlotSet::of(slots.slots(), |slot| slots.contains(slot) && routing.standing(slot) == Standing::Stranger);
        self.empty(&gone);
    }

    /// Removes all that is held of `slots`.
    pub fn empty(&self, slots: &SlotSet) {
        if slots.is_empty() {
            return;
        }
        for shard in 0..self.store.shards_count() {
            self.store.retain_slots(shard, |slot| !slots.contains(slot));
        }
        self.store.reset_slots(slots);
    }
}
