//! Hosts and the processes on them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use quoit_core::{
    cluster::{Cluster as Machine, Life},
    meta::Meta,
    time::Timestamp,
};
use quoit_proto_types::{Boot, Epoch, Instance, Label, Nonce, view::Address, view::ViewHash};

use super::{Clock, DataSide, Disk, Event};

/// One process under one name, among all that a run starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Its number in the run.
    pub serial: u32,
    /// Its host.
    pub host: usize,
    /// Its name.
    pub name: Label,
    /// Its voting state.
    pub instance: Instance,
    /// Its memory.
    pub boot: Boot,
    /// The process.
    pub nonce: Nonce,
}

impl Actor {
    /// What peers are told of it.
    pub fn life(&self) -> Life {
        Life { instance: self.instance, boot: self.boot, nonce: self.nonce }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.serial)
    }
}

/// A place where processes of one name run, one after the other.
#[derive(Debug)]
pub struct Host {
    /// The number of its name.
    pub name: usize,
    /// Where it is dialled.
    pub address: Address,
    /// The weight of its processes on the ring.
    pub vnodes: u32,
    /// Their place in the election.
    pub priority: u8,
    /// Its disk.
    pub disk: Disk,
    /// The process that runs there.
    pub process: Option<Process>,
    /// By how many milliseconds its time of day is ahead, having an hour subtracted.
    pub skew_ms: u64,
    /// How many bytes of entries its processes hold at most.
    pub memory_bytes: usize,
    /// Whether a process is to run there when all is well.
    pub wanted: bool,
    /// The last instance there, for a driver that guesses.
    pub last_instance: Option<Instance>,
}

/// A process and what its driver keeps for it.
#[derive(Debug)]
pub struct Process {
    /// Which.
    pub actor: Actor,
    /// The machine under test.
    pub machine: Machine,
    /// Its clock.
    pub clock: Clock,
    /// The simulation's time for which a wake is scheduled.
    pub armed: Option<Timestamp>,
    /// Since when it is stopped, and what waits for it.
    pub paused: Option<(Timestamp, VecDeque<Event>)>,
    /// Its open connections, by the number of the peer's name.
    pub peers: BTreeMap<usize, BTreeSet<u64>>,
    /// Attempts to connect, by host.
    pub dials: BTreeMap<usize, Dial>,
    /// Whether a look at what to dial is scheduled.
    pub dialling: bool,
    /// The hosts that its view's members are dialled at.
    pub targets: Vec<usize>,
    /// The view it goes by.
    pub installed: Option<(Epoch, ViewHash)>,
    /// Whether the rows it took are counted.
    pub counted: bool,
    /// What is safe on its disk.
    pub durable: Meta,
    /// Its data, if the run has any.
    pub data: Option<Box<DataSide>>,
}

/// The attempts to connect with one host.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// The connection that is being made.
    pub under_way: Option<u64>,
    /// How often it failed since the last success.
    pub failures: u32,
    /// Not again before this.
    pub not_before: Timestamp,
}

impl Process {
    /// Its idea of the time.
    pub fn local(&self, now: Timestamp) -> Timestamp {
        self.clock.read(now)
    }

    /// Whether it has a connection with that name.
    pub fn is_connected(&self, name: usize) -> bool {
        self.peers.get(&name).is_some_and(|connections| !connections.is_empty())
    }

    /// Whether it runs and handles what arrives.
    pub fn is_awake(&self) -> bool {
        self.paused.is_none()
    }
}
