//! One ring change after the other, with writes all the time: no acknowledged write is lost (PROTOCOL, A4).

use std::{collections::BTreeMap, time::Duration};

use quoit_proto_types::{EntryKind, Fence, Ordinal, Stamp, Version, version::Hlc};
use rand::RngExt;

use super::{
    stage::{BEGINNING_MS, FOUL, Stage, slot_of, version},
    together::quiet,
};
use crate::{planted::data::DataPlanted, routing::Standing, upkeep::UpkeepConfig};

const NODES: u32 = 4;
const MINUTE: Duration = Duration::from_secs(60);

/// A cluster whose ring changes, and what was acknowledged.
struct Run {
    stage: Stage,
    acknowledged: BTreeMap<Vec<u8>, Stamp>,
    written: u64,
}

impl Run {
    fn new(seed: u64, planted: DataPlanted) -> Self {
        let config = UpkeepConfig { planted, repair_period: Duration::from_secs(20), ..quiet() };
        let mut stage = Stage::new(seed, NODES, &[1, 2], 2, config);
        stage.weather = FOUL;
        Self { stage, acknowledged: BTreeMap::new(), written: 0 }
    }

    fn any(&mut self) -> u32 {
        self.stage.rng.random_range(1..=NODES)
    }

    /// Some writes at level ONE, each by a node of its own view: one owner of each set is enough.
    fn write(&mut self) {
        for _ in 0..self.stage.rng.random_range(1..20) {
            let key = format!("key{}", self.stage.rng.random_range(0..200)).into_bytes();
            let by = self.any();
            let routing = self.stage.node(by).routing.clone().unwrap();
            let owners = routing.owners(slot_of(&key));
            self.written += 1;
            let stamped = Version { hlc: Hlc::from_millis(BEGINNING_MS + self.written), ..version(0, by) };
            let stamp =
                if self.stage.rng.random_bool(0.1) { Stamp::tombstone(stamped) } else { Stamp::value(stamped, 0) };
            let mut stored = Vec::new();
            for owner in owners.all() {
                let at = owner.value();
                let same = self.stage.node(at).routing.as_ref().unwrap().fence() == routing.fence();
                if same && self.stage.rng.random_bool(0.6) && self.stage.write(&[at], &key, stamp, b"value")[0].is_ok()
                {
                    stored.push(owner);
                }
            }
            let meets = |set: &[_]| set.iter().any(|owner| stored.contains(owner));
            if meets(owners.now) && owners.then.is_none_or(meets) {
                self.acknowledged.insert(key, stamp);
            }
        }
    }

    /// The view goes to everybody, or to all but those who need not know, in any order, while writes go on.
    fn spread(&mut self, needed: &[u32]) {
        let mut left: Vec<u32> = (1..=NODES).collect();
        while !left.is_empty() {
            let index = left.swap_remove(self.stage.rng.random_range(0..left.len()));
            if needed.contains(&index) || self.stage.rng.random_bool(0.7) {
                self.stage.install(index);
            }
            self.write();
            let pause = self.stage.rng.random_range(0..50);
            self.stage.run(Duration::from_millis(pause));
        }
    }

    /// Whether the target may be put in force.
    fn is_ready(stage: &Stage, fence: Fence) -> bool {
        let fields = stage.view.fields();
        let at = |ordinal: Ordinal| stage.node(ordinal.value());
        let installed = |ordinal| at(ordinal).routing.as_ref().unwrap().fence() == fence;
        fields.ring.iter().all(|owner| installed(owner.ordinal))
            && fields.target.as_ref().unwrap().iter().all(|owner| at(owner.ordinal).synced == Some((fence, 0)))
    }

    fn change_ring(&mut self) -> Result<(), String> {
        let mut target: Vec<u32> = (1..=NODES).filter(|_| self.stage.rng.random_bool(0.6)).collect();
        let ring: Vec<u32> = self.stage.view.fields().ring.iter().map(|owner| owner.ordinal.value()).collect();
        if target.len() < 2 || target == ring {
            target = (1..=NODES).filter(|index| !ring.contains(index)).chain(ring.iter().copied()).take(3).collect();
            target.sort_unstable();
        }
        self.stage.begin(&target);
        let needed: Vec<u32> = target.iter().chain(&ring).copied().collect();
        self.spread(&needed);
        if self.stage.rng.random_bool(0.25) {
            self.stage.change(|fields| fields.target = None);
            self.spread(&ring);
            return Ok(());
        }
        let fence = self.stage.view.fence();
        for _ in 0..1000 {
            if self.stage.run_until(Duration::from_millis(200), |stage| Self::is_ready(stage, fence)) {
                self.stage.finish();
                self.spread(&target);
                return Ok(());
            }
            self.write();
        }
        Err("a ring change never ends".to_owned())
    }

    /// Everybody hears of the last view; then every owner of a key must have what was acknowledged, or something later.
    fn check(mut self) -> Result<(), String> {
        self.stage.install_everywhere();
        let is_settled = |stage: &Stage| {
            let is_free = |index: u32| stage.node(index).upkeep.progress(stage.now).offers_left == 0;
            stage.is_converged() && (1..=NODES).all(is_free)
        };
        if !self.stage.run_until(MINUTE * 30, is_settled) {
            return Err("the owners never agree".to_owned());
        }
        for (key, acknowledged) in &self.acknowledged {
            for index in 1..=NODES {
                let found = self.stage.read(index, key);
                match self.stage.node(index).standing(key) {
                    Standing::Stranger if found.is_some() => return Err("a stranger keeps an entry".to_owned()),
                    Standing::Stranger => {}
                    Standing::Pending => return Err("a slot is pending".to_owned()),
                    Standing::Owner if found.is_some_and(|found| found.version >= acknowledged.version) => {}
                    Standing::Owner => return Err(format!("{:?} is lost at {index}", acknowledged.version)),
                }
            }
        }
        let values = self.acknowledged.values().filter(|stamp| stamp.kind == EntryKind::Value);
        if values.count() > 50 { Ok(()) } else { Err("too little was acknowledged to tell".to_owned()) }
    }
}

pub(super) fn changes(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let mut run = Run::new(seed, planted);
    for _ in 0..8 {
        run.write();
        run.change_ring()?;
    }
    run.check()
}

#[test]
fn no_acknowledged_write_is_lost_by_planned_changes() {
    for seed in 0..8 {
        changes(seed, DataPlanted::NOTHING).map_err(|error| format!("seed {seed}: {error}")).unwrap();
    }
}
