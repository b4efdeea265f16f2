//! What the driver of one process does for its data: installs views, carries requests, answers them, keeps deadlines.

use std::{sync::Arc, time::Duration};

use quoit_core::{
    replication::{self, ReplicaReply, ReplicaRequest},
    routing::Routing,
    time::Timestamp,
    upkeep::{self, newly_pending, starts_empty},
};
use quoit_proto_types::{
    Fence, Ordinal, View,
    message::transfer::{EntryBlock, TransferReply, TransferRequest},
};
use rand::RngExt;

use super::{DataBody, DataFrame, DataSide, Waiting, judge::sides};
use crate::{
    invariants::{
        Violation,
        data::{Acted, Side, slot_of},
    },
    sim::{Actor, Cluster, Event},
};

/// How many expired entries a driver removes in one go.
const EXPIRED_AT_ONCE: usize = 64;

/// What the outputs of a process's data come to.
enum Wanted {
    Upkeep(upkeep::Output),
    Coordinator(usize, replication::Output<u64>),
}

impl Cluster {
    /// The data of the process `serial` on `host`, with its own time.
    pub(in crate::sim) fn side(&mut self, host: usize, serial: u32) -> Option<(&mut DataSide, Timestamp)> {
        let now = self.now();
        let process = self.process(host, serial)?;
        let local = process.local(now);
        Some((process.data.as_deref_mut()?, local))
    }

    /// The data goes by another view.
    pub(in crate::sim) fn install_data(
        &mut self,
        host: usize,
        actor: &Actor,
        view: &Arc<View>,
    ) -> Result<(), Violation> {
        let routing = Arc::new(Routing::new(Arc::clone(view), actor.instance, actor.boot));
        let data = self.hosts[host].process.as_ref().and_then(|process| process.data.as_deref());
        if let (Some(world), Some(data)) = (&mut self.data, data) {
            world.checks.leaves(&Side { actor, data }, &sides(&self.hosts), &routing);
        }
        let Some((side, local)) = self.side(host, actor.serial) else { return Ok(()) };
        let wall = side.wall(local);
        side.store.prepare(routing.slots());
        (0..side.store.shards_count()).for_each(|shard| side.store.seal(shard, routing.fence()));
        let pending = newly_pending(side.routing.as_deref(), &routing);
        side.empty(&starts_empty(&pending, &routing));
        side.store.reset_slots(&pending);
        side.routing = Some(Arc::clone(&routing));
        side.upkeep.install(local, wall, &routing, &side.store);
        for coordinator in side.coordinators.values_mut() {
            coordinator.handle_install(local, &routing);
        }
        if let Some(world) = &mut self.data {
            let process = self.hosts[host].process.as_ref();
            world.checks.installed(self.queue.now(), actor, &routing, process.and_then(|p| p.data.as_deref()))?;
        }
        self.carry_out_data(host, actor.serial)
    }

    /// A deadline of the data is reached.
    pub(in crate::sim) fn wake_data(&mut self, host: usize, serial: u32) -> Result<(), Violation> {
        let now = self.now();
        let Some((side, local)) = self.side(host, serial) else { return Ok(()) };
        if side.armed.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        let wall = side.wall(local);
        side.store.expire(wall, EXPIRED_AT_ONCE);
        if side.upkeep.poll_timeout().is_some_and(|at| at <= local) {
            side.upkeep.handle_timeout(local, wall, &side.store);
        }
        if let Some(routing) = side.routing.clone() {
            for coordinator in side.coordinators.values_mut() {
                coordinator.handle_timeout(local, &routing);
            }
        }
        self.summary.steps += 1;
        self.carry_out_data(host, serial)
    }

    /// Carries out what the data of a process wants, and sees to its next deadline.
    pub(in crate::sim) fn carry_out_data(&mut self, host: usize, serial: u32) -> Result<(), Violation> {
        loop {
            let Some((side, _)) = self.side(host, serial) else { return Ok(()) };
            let of_session = |(session, coordinator): (&usize, &mut replication::Coordinator<u64>)| {
                Some(Wanted::Coordinator(*session, coordinator.poll_output()?))
            };
            let wanted = side.upkeep.poll_output().map(Wanted::Upkeep);
            let Some(wanted) = wanted.or_else(|| side.coordinators.iter_mut().find_map(of_session)) else { break };
            if self.options.crash_at_output > 0.0 && self.rng.random_bool(self.options.crash_at_output / 10.0) {
                self.summary.fault("crash at a data output");
                return self.crash(host);
            }
            match wanted {
                Wanted::Upkeep(output) => self.execute_upkeep(host, serial, output)?,
                Wanted::Coordinator(session, output) => self.execute_operation(host, serial, session, output)?,
            }
        }
        self.arm_data(host, serial);
        Ok(())
    }

    fn arm_data(&mut self, host: usize, serial: u32) {
        let now = self.now();
        let Some((side, _)) = self.side(host, serial) else { return };
        let expiry = side.store.next_deadline().map(|wall| side.local(wall));
        let operations = side.coordinators.values().filter_map(replication::Coordinator::poll_timeout);
        let deadline = operations.chain(side.upkeep.poll_timeout()).chain(expiry).min();
        let Some(process) = self.process(host, serial) else { return };
        // A deadline that is past and was not met waits for something else: no more often than each millisecond.
        let soon = now.saturating_add(Duration::from_millis(1));
        let at = deadline.map(|at| process.clock.when(at).max(soon));
        let Some(side) = process.data.as_deref_mut() else { return };
        let changed = side.armed != at;
        side.armed = at;
        if let Some(at) = at.filter(|_| changed) {
            self.queue.at(at, Event::WakeData(host, serial));
        }
    }

    fn execute_upkeep(&mut self, host: usize, serial: u32, output: upkeep::Output) -> Result<(), Violation> {
        let Some(fence) = self.fence(host, serial) else { return Ok(()) };
        match output {
            upkeep::Output::Ask { id, to, request, block } => {
                self.note(host, || format!("asks {to} under {fence}: {request:?}"));
                let body = DataBody::Transfer(fence, request, block);
                if !self.ask_peer(host, serial, to, Waiting::Transfer(id), body)
                    && let Some((side, local)) = self.side(host, serial)
                {
                    let wall = side.wall(local);
                    side.upkeep.handle_reply(local, wall, &side.store, id, None);
                }
            }
            upkeep::Output::Put { id, to, stamp, record } => {
                self.note(host, || format!("brings {to} a hint under {fence}: {}", stamp.version));
                let request = ReplicaRequest::Put { stamp, hint_for: None, record };
                if !self.ask_peer(host, serial, to, Waiting::Hint(id), DataBody::Replica(fence, request))
                    && let Some((side, local)) = self.side(host, serial)
                {
                    let wall = side.wall(local);
                    side.upkeep.handle_put_reply(local, wall, &side.store, id, false);
                }
            }
            upkeep::Output::Synced { fence, left } => {
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                self.queue.after(Duration::ZERO, Event::Synced(host, serial, fence, left));
            }
            upkeep::Output::Drop { slots } => {
                self.note(host, || format!("lets go of {} slots", slots.len()));
                if let Some((side, _)) = self.side(host, serial) {
                    side.drop_slots(&slots);
                }
            }
        }
        Ok(())
    }

    fn execute_operation(
        &mut self,
        host: usize,
        serial: u32,
        session: usize,
        output: replication::Output<u64>,
    ) -> Result<(), Violation> {
        match output {
            replication::Output::Ask { operation, to, fence, request } => {
                self.note(host, || format!("asks {to} for {session}/{operation} under {fence}: {request:?}"));
                self.check_reader(host, serial, session, to, &request)?;
                let waiting = |to| Waiting::Operation { session, operation, to };
                let Some(reply) = self.ask_replica(host, serial, to, fence, request, waiting)? else { return Ok(()) };
                self.end_ask(host, serial, session, (operation, to), reply);
                Ok(())
            }
            replication::Output::Tell { to, fence, request } => {
                self.note(host, || format!("tells {to} under {fence}: {request:?}"));
                if self.ordinal(host, serial) == Some(to) {
                    self.serve_replica(host, serial, fence, request).map(drop)
                } else {
                    self.tell(host, serial, to, DataBody::Replica(fence, request));
                    Ok(())
                }
            }
            replication::Output::Answer { token, reply } => self.answered(host, serial, token, &reply),
        }
    }

    /// A plain read goes to owners in force: one that is to own may not hold everything yet.
    fn check_reader(
        &mut self,
        host: usize,
        serial: u32,
        session: usize,
        to: Ordinal,
        request: &ReplicaRequest,
    ) -> Result<(), Violation> {
        let ReplicaRequest::Get { key } = request else { return Ok(()) };
        let is_plain = self.data.as_ref().is_some_and(|world| world.reads_plainly(session));
        let Some((side, _)) = self.side(host, serial).filter(|_| is_plain) else { return Ok(()) };
        let Some(routing) = &side.routing else { return Ok(()) };
        let owners = routing.owners(slot_of(routing, key));
        if owners.contains(to) && !owners.now.contains(&to) {
            let what = format!("{to} is asked for {key:?} under {}, which it is yet to own", routing.fence());
            return Err(Violation::new("plain reads go to owners in force", what));
        }
        Ok(())
    }

    /// Asks a node, which may be this one. Returns the answer if it is known at once.
    fn ask_replica(
        &mut self,
        host: usize,
        serial: u32,
        to: Ordinal,
        fence: Fence,
        request: ReplicaRequest,
        waiting: impl FnOnce(Ordinal) -> Waiting,
    ) -> Result<Option<ReplicaReply>, Violation> {
        if self.ordinal(host, serial) == Some(to) {
            return self.serve_replica(host, serial, fence, request).map(Some);
        }
        let sent = self.ask_peer(host, serial, to, waiting(to), DataBody::Replica(fence, request));
        Ok((!sent).then_some(ReplicaReply::Unreachable))
    }

    fn end_ask(
        &mut self,
        host: usize,
        serial: u32,
        session: usize,
        (operation, from): (replication::OperationId, Ordinal),
        reply: ReplicaReply,
    ) {
        let Some((side, local)) = self.side(host, serial) else { return };
        let Some(routing) = side.routing.clone() else { return };
        side.coordinator(session).handle_reply(local, &routing, operation, from, reply);
    }

    /// The process answers a part of a client's request.
    fn serve_replica(
        &mut self,
        host: usize,
        serial: u32,
        fence: Fence,
        request: ReplicaRequest,
    ) -> Result<ReplicaReply, Violation> {
        let Some((side, local)) = self.side(host, serial) else { return Ok(ReplicaReply::Unreachable) };
        let Some(routing) = side.routing.clone() else { return Ok(ReplicaReply::Unreachable) };
        let asked = request.clone();
        let replica = side.replica(&routing, local);
        let (reply, wall) = (replica.answer(fence, request), replica.wall);
        self.summary.steps += 1;
        if let Some(world) = &mut self.data {
            let actor = &self.actors[serial as usize];
            let acted = Acted { actor, routing: &routing, fence, wall, request: &asked, reply: &reply };
            world.checks.acted(&acted)?;
        }
        Ok(reply)
    }

    /// The process answers a question of another one's background.
    fn serve_transfer(
        &mut self,
        host: usize,
        serial: u32,
        from: &Actor,
        (fence, request, block): (Fence, TransferRequest, EntryBlock),
    ) -> (TransferReply, EntryBlock) {
        let not_now = (TransferReply::NotNow, EntryBlock::default());
        let Some((side, local)) = self.side(host, serial) else { return not_now };
        let Some(routing) = side.routing.clone() else { return not_now };
        let member = routing.view().member_of_instance(from.instance).filter(|member| member.boot == from.boot);
        let from = member.map(|member| member.ordinal);
        let wall = side.wall(local);
        self.summary.steps += 1;
        let Some((side, local)) = self.side(host, serial) else { return not_now };
        side.upkeep.answer(local, wall, &side.store, from, fence, &request, &block)
    }

    /// Something arrived from the process `peer`.
    pub(in crate::sim) fn on_data(
        &mut self,
        (id, end): (u64, usize),
        (host, serial, peer): (usize, u32, u32),
        frame: DataFrame,
    ) -> Result<(), Violation> {
        self.trace.digest(self.now().as_micros() ^ u64::from(serial));
        let DataFrame { exchange, body } = frame;
        let answer = match body {
            DataBody::Replica(fence, request) => {
                self.note(host, || format!("is asked by {peer} under {fence}: {request:?}"));
                let reply = self.serve_replica(host, serial, fence, request)?;
                self.note(host, || format!("answers {peer}: {reply:?}"));
                DataBody::ReplicaReply(reply)
            }
            DataBody::Transfer(fence, request, block) => {
                let from = self.actors[peer as usize].clone();
                self.note(host, || format!("is asked by {from} under {fence}: {request:?}"));
                let (reply, block) = self.serve_transfer(host, serial, &from, (fence, request, block));
                self.note(host, || format!("answers {from}: {reply:?} and {} bytes", block.as_bytes().len()));
                DataBody::TransferReply(reply, block)
            }
            reply @ (DataBody::ReplicaReply(_) | DataBody::TransferReply(..)) => {
                self.end_exchange(host, serial, exchange, Some(reply));
                return self.carry_out_data(host, serial);
            }
        };
        if exchange != 0 {
            let frame = Box::new(DataFrame { exchange, body: answer });
            self.network.send_data((id, end), frame, 0, &mut self.queue);
        }
        self.carry_out_data(host, serial)
    }

    /// What was asked is answered, or never will be.
    fn end_exchange(&mut self, host: usize, serial: u32, exchange: u64, answer: Option<DataBody>) {
        let Some((side, local)) = self.side(host, serial) else { return };
        let Some((_, waiting)) = side.waiting.remove(&exchange) else { return };
        let wall = side.wall(local);
        let replica = |answer| match answer {
            Some(DataBody::ReplicaReply(reply)) => reply,
            Some(DataBody::Replica(..) | DataBody::Transfer(..) | DataBody::TransferReply(..)) | None => {
                ReplicaReply::Unreachable
            }
        };
        match waiting {
            Waiting::Operation { session, operation, to } => {
                self.end_ask(host, serial, session, (operation, to), replica(answer));
            }
            Waiting::Transfer(id) => {
                let answer = match answer {
                    Some(DataBody::TransferReply(reply, block)) => Some((reply, block)),
                    Some(DataBody::Replica(..) | DataBody::Transfer(..) | DataBody::ReplicaReply(_)) | None => None,
                };
                side.upkeep.handle_reply(local, wall, &side.store, id, answer);
            }
            Waiting::Hint(id) => {
                let stored = matches!(replica(answer), ReplicaReply::Stored { .. });
                side.upkeep.handle_put_reply(local, wall, &side.store, id, stored);
            }
        }
    }

    /// A connection is gone: whoever waits for answers over it waits in vain.
    pub(in crate::sim) fn lose_answers(&mut self, host: usize, serial: u32, id: u64) -> Result<(), Violation> {
        let Some((side, _)) = self.side(host, serial) else { return Ok(()) };
        let over = side.waiting.iter().filter(|(_, (connection, _))| *connection == id);
        let lost: Vec<u64> = over.map(|(exchange, _)| *exchange).collect();
        lost.into_iter().for_each(|exchange| self.end_exchange(host, serial, exchange, None));
        self.carry_out_data(host, serial)
    }

    /// Sends a request and notes who waits for its answer. Returns whether it could be sent.
    fn ask_peer(&mut self, host: usize, serial: u32, to: Ordinal, waiting: Waiting, body: DataBody) -> bool {
        let Some((id, end)) = self.way_to(host, serial, to) else { return false };
        let exchange = self.network.fresh_id();
        if let Some((side, _)) = self.side(host, serial) {
            side.waiting.insert(exchange, (id, waiting));
        }
        self.network.send_data((id, end), Box::new(DataFrame { exchange, body }), 0, &mut self.queue);
        true
    }

    fn tell(&mut self, host: usize, serial: u32, to: Ordinal, body: DataBody) {
        if let Some((id, end)) = self.way_to(host, serial, to) {
            self.network.send_data((id, end), Box::new(DataFrame { exchange: 0, body }), 0, &mut self.queue);
        }
    }

    /// The connection over which a process reaches the member `to`, and its end of it.
    fn way_to(&mut self, host: usize, serial: u32, to: Ordinal) -> Option<(u64, usize)> {
        let (side, _) = self.side(host, serial)?;
        let member = side.routing.as_ref()?.view().member(to)?;
        let (name, instance) = (member.name.clone(), member.instance);
        let (id, end) = self.connection_to(host, &name)?;
        // Another instance under the same name is another member: what it holds, it holds for itself.
        let peer = self.network.connection(id)?.ends[1 - end].serial?;
        (self.actors[peer as usize].instance == instance).then_some((id, end))
    }

    fn fence(&mut self, host: usize, serial: u32) -> Option<Fence> {
        self.side(host, serial)?.0.routing.as_ref().map(|routing| routing.fence())
    }

    fn ordinal(&mut self, host: usize, serial: u32) -> Option<Ordinal> {
        self.side(host, serial)?.0.routing.as_ref()?.me()
    }
}
