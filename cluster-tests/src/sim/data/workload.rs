//! Clients: each asks whichever node is up for something about a few keys, waits for the answer, and goes on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use quoit_core::{
    replication::{ClientOperation, ClientReply},
    routing::Routing,
    store::{Expiry, Record},
    time::Timestamp,
};
use quoit_proto_types::{ErrorCode, Hlc, ReadLevel, Stamp, Version, WriteLevel};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::DataOptions;
use crate::{
    invariants::{
        Violation,
        data::{DataChecks, Done, Written},
    },
    sim::{Cluster, Event},
};

/// A client waits so long for an answer.
const DEADLINE: Duration = Duration::from_secs(1);
/// A write that is too old is stamped anew so many times.
const STAMPED_ANEW_MAX: u32 = 3;
/// A write that one node cannot get far enough is carried on by so many others.
const CARRIED_ON_MAX: u32 = 3;

/// The clients of a run, and what must hold of the data.
#[derive(Debug)]
pub struct DataWorld {
    /// What clients do.
    pub options: DataOptions,
    /// The clients.
    pub sessions: Vec<Session>,
    /// What must hold.
    pub checks: DataChecks,
    /// What is asked and not answered.
    pub(super) operations: BTreeMap<u64, Operation>,
    begun: u64,
    /// Whether clients ask for nothing for a while.
    pub(in crate::sim) rests: bool,
    /// A host that no client asks.
    pub(in crate::sim) shunned: Option<usize>,
    rng: StdRng,
}

/// A client.
#[derive(Debug, Default)]
pub struct Session {
    /// Where it asked last.
    host: Option<usize>,
    /// The latest moment that it has seen, which it tells whomever it asks.
    after: Hlc,
    /// What it has seen of each key.
    seen: BTreeMap<Bytes, Version>,
    /// What it waits for, and until when.
    busy: Option<(u64, Timestamp)>,
}

/// What a client asked.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    session: usize,
    key: Bytes,
    what: What,
    anew: u32,
    carried_on: u32,
}

/// What a client wants.
#[derive(Clone, Copy, Debug)]
enum What {
    Get(ReadLevel, Option<Version>),
    Set(WriteLevel, Expiry),
    Delete(WriteLevel),
    Touch(WriteLevel, Expiry),
}

impl DataWorld {
    /// Clients that have asked for nothing yet.
    pub fn new(options: DataOptions, seed: u64) -> Self {
        Self {
            sessions: (0..options.sessions).map(|_| Session::default()).collect(),
            checks: DataChecks::default(),
            operations: BTreeMap::new(),
            begun: 0,
            rests: false,
            shunned: None,
            rng: StdRng::seed_from_u64(seed),
            options,
        }
    }

    /// Whether what a client waits for is read of one owner.
    pub(super) fn reads_plainly(&self, session: usize) -> bool {
        let waits_for = self.sessions[session].busy.and_then(|(token, _)| self.operations.get(&token));
        let is_plain = |what| matches!(what, What::Get(ReadLevel::One, _) | What::Touch(..));
        waits_for.is_some_and(|operation| is_plain(operation.what))
    }

    fn draw(&mut self, session: usize) -> Operation {
        let rng = &mut self.rng;
        let key = Bytes::from(format!("k{}", rng.random_range(0..self.options.keys)));
        let expiry = |rng: &mut StdRng| match rng.random_bool(0.4) {
            true => Expiry::After(rng.random_range(Duration::from_millis(20)..=self.options.lives)),
            false => Expiry::Never,
        };
        let level = |rng: &mut StdRng| match rng.random_bool(0.4) {
            true => WriteLevel::Two,
            false => *WriteLevel::ALL.choose(rng).unwrap_or(&WriteLevel::Two),
        };
        let what = match rng.random_range(0..100) {
            0..45 => What::Set(level(rng), expiry(rng)),
            45..60 => What::Delete(level(rng)),
            60..72 => What::Touch(level(rng), expiry(rng)),
            _ => {
                let least = self.sessions[session].seen.get(&key).copied().filter(|_| rng.random_bool(0.5));
                What::Get(*ReadLevel::ALL.choose(rng).unwrap_or(&ReadLevel::One), least)
            }
        };
        Operation { session, key, what, anew: 0, carried_on: 0 }
    }
}

impl Cluster {
    /// A client does something, and looks again later.
    pub(in crate::sim) fn on_session(&mut self, session: usize) -> Result<(), Violation> {
        let now = self.now();
        if self.healed.is_some() {
            return Ok(());
        }
        let Some(world) = &mut self.data else { return Ok(()) };
        let think = world.rng.random_range(world.options.think.clone());
        self.queue.after(think, Event::Session(session));
        if world.rests || world.sessions[session].busy.is_some_and(|(_, until)| now < until) {
            return Ok(());
        }
        let goes_elsewhere = world.rng.random_bool(0.2);
        let last = world.sessions[session].host.filter(|_| !goes_elsewhere);
        let Some(host) = last.filter(|host| self.serves(*host)).or_else(|| self.any_that_serves()) else {
            return Ok(());
        };
        let Some(world) = &mut self.data else { return Ok(()) };
        world.sessions[session].host = Some(host);
        let operation = world.draw(session);
        self.begin(host, operation)
    }

    fn serves(&self, host: usize) -> bool {
        if self.data.as_ref().is_some_and(|world| world.shunned == Some(host)) {
            return false;
        }
        let process = self.hosts[host].process.as_ref().filter(|process| process.is_awake());
        let side = process.and_then(|process| process.data.as_deref());
        side.and_then(|side| side.routing.as_ref()).is_some_and(|routing| routing.me().is_some())
    }

    fn any_that_serves(&mut self) -> Option<usize> {
        let serving: Vec<usize> = (0..self.hosts.len()).filter(|host| self.serves(*host)).collect();
        serving.choose(&mut self.data.as_mut()?.rng).copied()
    }

    /// Lets the node of `host` coordinate an operation.
    fn begin(&mut self, host: usize, operation: Operation) -> Result<(), Violation> {
        let Some(serial) = self.serial(host) else { return Ok(()) };
        let after = self.data.as_ref().map_or(Hlc::MIN, |world| world.sessions[operation.session].after);
        let Some((side, local)) = self.side(host, serial) else { return Ok(()) };
        let (wall, Some(routing)) = (side.wall(local), side.routing.clone()) else { return Ok(()) };
        let Some(version) = version(&routing, self.actors[serial as usize].boot, || {
            let (side, _) = self.side(host, serial)?;
            side.clock.stamp(wall, after).ok()
        }) else {
            self.summary.fault("clock refused");
            return Ok(());
        };
        let Some(world) = &mut self.data else { return Ok(()) };
        world.begun += 1;
        let (token, key) = (world.begun, operation.key.clone());
        let request = match operation.what {
            What::Get(level, at_least) => {
                world.checks.read_begins(token, &key, level);
                ClientOperation::Get { level, at_least, wall, key }
            }
            What::Set(level, expiry) => {
                let stamp = Stamp::value(version, expiry.expires_at_ms(wall));
                let record = Record::new(&key, &token.to_be_bytes());
                world.checks.write_begins(Written::set(token, &key, level, stamp), &self.actors[serial as usize])?;
                ClientOperation::Set { level, stamp, record }
            }
            What::Delete(level) => {
                let stamp = Stamp::tombstone(version);
                world.checks.write_begins(Written::set(token, &key, level, stamp), &self.actors[serial as usize])?;
                ClientOperation::Delete { level, stamp, key }
            }
            What::Touch(level, expiry) => {
                let (touched, expires_at_ms) = (version.hlc, expiry.expires_at_ms(wall));
                let written = Written::touch(token, &key, level, touched);
                world.checks.write_begins(written, &self.actors[serial as usize])?;
                ClientOperation::Touch { level, touched, expires_at_ms, wall, key }
            }
        };
        self.ask_for(host, serial, token, operation, request)
    }

    /// Another node carries on a write that was begun as `stamp`.
    fn carry_on(&mut self, token: u64, operation: Operation, stamp: Stamp) -> Result<(), Violation> {
        let Some(host) = self.any_that_serves() else { return Ok(()) };
        let Some(serial) = self.serial(host) else { return Ok(()) };
        let key = operation.key.clone();
        let request = match operation.what {
            What::Set(level, _) => {
                ClientOperation::Set { level, stamp, record: Record::new(&key, &token.to_be_bytes()) }
            }
            What::Delete(level) => ClientOperation::Delete { level, stamp, key },
            What::Get(..) | What::Touch(..) => {
                return Err(Violation::new("only writes are unfinished", format!("{token} is none")));
            }
        };
        self.summary.fault("write carried on");
        let operation = Operation { carried_on: operation.carried_on + 1, ..operation };
        self.ask_for(host, serial, token, operation, request)
    }

    fn ask_for(
        &mut self,
        host: usize,
        serial: u32,
        token: u64,
        operation: Operation,
        request: ClientOperation,
    ) -> Result<(), Violation> {
        let (now, session) = (self.now(), operation.session);
        let Some(world) = &mut self.data else { return Ok(()) };
        world.sessions[session].busy = Some((token, now.saturating_add(DEADLINE * 2)));
        self.trace.note(now, &"client", || format!("{session} asks host {host} for {token}: {request:?}"));
        world.operations.insert(token, operation);
        let Some((side, local)) = self.side(host, serial) else { return Ok(()) };
        let Some(routing) = side.routing.clone() else { return Ok(()) };
        side.coordinator(session).begin(local, &routing, token, local.saturating_add(DEADLINE), request);
        self.carry_out_data(host, serial)
    }

    /// A node answers a client.
    pub(super) fn answered(
        &mut self,
        host: usize,
        serial: u32,
        token: u64,
        reply: &ClientReply,
    ) -> Result<(), Violation> {
        let now = self.now();
        self.note_wall();
        self.trace.note(now, &"client", || format!("hears of {token} from host {host}: {reply:?}"));
        let Some(world) = &mut self.data else { return Ok(()) };
        let Some(operation) = world.operations.remove(&token) else { return Ok(()) };
        let session = &mut world.sessions[operation.session];
        session.busy.take_if(|(busy, _)| *busy == token);
        let seen = match reply {
            ClientReply::Value { stamp, .. } | ClientReply::TimeToLive { stamp, .. } => Some(stamp.version),
            ClientReply::Done(written) => Some(written.version),
            ClientReply::Miss | ClientReply::Unfinished { .. } | ClientReply::Refused(_) => None,
        };
        if let Some(version) = seen {
            session.after = session.after.max(version.hlc);
            let known = session.seen.entry(operation.key.clone()).or_insert(version);
            *known = version.max(*known);
        }
        if let ClientReply::Unfinished { stamp, .. } = reply {
            self.summary.fault("write unfinished");
            let goes_on = operation.carried_on < CARRIED_ON_MAX && world.rng.random_bool(0.7);
            return if goes_on { self.carry_on(token, operation, *stamp) } else { Ok(()) };
        }
        if let ClientReply::Refused(refusal) = reply {
            self.summary.fault(refused(refusal.code));
            if refusal.code == ErrorCode::TooOld && operation.anew < STAMPED_ANEW_MAX {
                session.after = session.after.max(Hlc::new(refusal.argument));
                return self.begin(host, Operation { anew: operation.anew + 1, ..operation });
            }
            return Ok(());
        }
        let routing = self.hosts[host].process.as_ref().and_then(|process| process.data.as_ref()?.routing.clone());
        let Some(routing) = routing else { return Ok(()) };
        let at_least = match operation.what {
            What::Get(_, at_least) => at_least,
            What::Set(..) | What::Delete(_) | What::Touch(..) => None,
        };
        let done = Done { token, by: &self.actors[serial as usize], routing: &routing, reply, at_least };
        let sides = super::judge::sides(&self.hosts);
        world.checks.done(now, &done, &sides)?;
        self.summary.operations += 1;
        Ok(())
    }
}

fn version(
    routing: &Arc<Routing>,
    boot: quoit_proto_types::Boot,
    stamp: impl FnOnce() -> Option<Hlc>,
) -> Option<Version> {
    let ordinal = routing.me()?;
    Some(Version { hlc: stamp()?, ordinal, boot })
}

/// A refusal, as reports call it.
fn refused(code: ErrorCode) -> &'static str {
    if code == ErrorCode::Unavailable {
        "refused: unavailable"
    } else if code == ErrorCode::ClockSkew {
        "refused: clock skew"
    } else if code == ErrorCode::TooOld {
        "refused: too old"
    } else {
        "refused: other"
    }
}
