//! What the checks of the data are shown of the processes, and when.

use std::time::Duration;

use quoit_core::time::Timestamp;
use quoit_proto_types::view::ViewHash;

use crate::{
    invariants::{Violation, data::Side},
    sim::{Cluster, Event, Host},
};

/// How often the copies of each write are counted.
const LOOKED_EACH: Duration = Duration::from_millis(500);
/// How long the data may take to settle in a cluster that has: some rounds of repair, a transition that gives slots back, and
/// the offers after it.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

/// The data of all processes that are up.
pub(super) fn sides(hosts: &[Host]) -> Vec<Side<'_>> {
    let processes = hosts.iter().filter_map(|host| host.process.as_ref());
    processes.filter_map(|process| Some(Side { actor: &process.actor, data: process.data.as_deref()? })).collect()
}

impl Cluster {
    /// Counts copies, and does so again later.
    pub(in crate::sim) fn look_at_data(&mut self) -> Result<(), Violation> {
        self.note_wall();
        let Some(world) = &mut self.data else { return Ok(()) };
        self.queue.after(LOOKED_EACH, Event::LookAtData);
        world.checks.look(self.invariants.ledger(), &sides(&self.hosts))
    }

    /// Tells the checks what time of day it is for whoever is furthest ahead: to somebody, what expires then has expired.
    pub(super) fn note_wall(&mut self) {
        let now = self.now();
        let clocks = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let walls = clocks.filter_map(|process| Some(process.data.as_ref()?.wall(process.local(now))));
        let wall = walls.max().unwrap_or_default();
        if let Some(world) = &mut self.data {
            world.checks.note_wall(wall);
        }
    }

    /// A process is about to end, and its memory with it.
    pub(in crate::sim) fn lose_data(&mut self, host: usize) -> Result<(), Violation> {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let serial = process.actor.serial;
        self.note_wall();
        let Some(world) = &mut self.data else { return Ok(()) };
        let sides = sides(&self.hosts);
        world.checks.look(self.invariants.ledger(), &sides)?;
        world.checks.ended(serial, &sides);
        Ok(())
    }

    /// A view was decided.
    pub(in crate::sim) fn decided(&mut self, hash: ViewHash) -> Result<(), Violation> {
        let Some(world) = &mut self.data else { return Ok(()) };
        world.checks.decided(self.invariants.ledger(), hash, &sides(&self.hosts))
    }

    /// Whether nothing is left to be done about the data either. `since` is when the cluster without its data had settled.
    ///
    /// # Errors
    /// [`Violation`] if something is lost, or left to be done for too long.
    pub(in crate::sim) fn data_settled(&mut self, since: Timestamp) -> Result<bool, Violation> {
        self.note_wall();
        let now = self.now();
        let locals: Vec<_> = self.hosts.iter().map(|host| host.process.as_ref().map(|p| p.local(now))).collect();
        let in_reach = self.in_reach();
        let Some(world) = &mut self.data else { return Ok(true) };
        let sides = sides(&self.hosts);
        // Who finds nobody has nobody to bring anything to.
        let found: Vec<_> = sides.iter().filter(|side| in_reach.contains(&side.actor.host)).copied().collect();
        let local = |side: &Side<'_>| locals[side.actor.host].unwrap_or_default();
        let lasts = now.checked_duration_since(since).unwrap_or_default();
        match world.checks.unsettled(self.invariants.ledger(), &found, local) {
            Some(what) if lasts > SETTLED_WITHIN => {
                Err(Violation::new("the data settles", format!("{what}, {lasts:?} after the cluster has settled")))
            }
            Some(_) => Ok(false),
            None => world.checks.judge(self.invariants.ledger(), &sides).map(|()| true),
        }
    }
}
