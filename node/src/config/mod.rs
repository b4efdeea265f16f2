//! A node's settings, validated. Whoever holds a [`Config`] need not check it again.

use std::{fmt, net::SocketAddr, num::NonZeroU64, path::PathBuf, time::Duration};

use quoit_client::{
    CertificateFiles,
    busy_poll::{BUSY_POLL, BUSY_POLL_MAX},
    packets::PacketBytes,
};
use quoit_core::{store::EvictionPolicy, upkeep::UpkeepConfig};
use quoit_proto_types::{
    Label, SlotCount, limits,
    view::{Address, OUT_AFTER_S_DEFAULT, REPLICATION_DEFAULT, RingAlgorithm, TimingProfile, VNODES_DEFAULT},
};

mod file;
mod layer;
mod layers;
mod sample;
mod units;

pub(crate) use file::ConfigFile;
pub(crate) use layer::{Layer, LogFormat};
pub(crate) use layers::{Effective, LoadError, Origin, Sources};
pub(crate) use sample::sample;
pub(crate) use units::{Copies, Pace, Size, Span};

/// Where a node listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7750);

/// Memory for entries unless told otherwise, in bytes.
pub const MEMORY_BYTES_DEFAULT: usize = 512 * 1024 * 1024;

/// How long a stop may take unless told otherwise.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// What comes before a stop unless told otherwise.
pub const ON_STOP_DEFAULT: OnStop = OnStop::Drain;

/// Bytes per second that a node fetches when keys move to it, unless told otherwise.
pub const HANDOFF_RATE_DEFAULT: u64 = 64 * 1024 * 1024;

/// How long deletions are remembered at least, unless told otherwise.
pub const GC_GRACE_DEFAULT: Duration = Duration::from_secs(3600);

/// Memory for writes that are kept for others, unless told otherwise, in bytes.
pub const HINT_MEMORY_BYTES_DEFAULT: usize = 256 * 1024 * 1024;

/// Of the memory for hints, each node they are kept for may have one of so many parts.
const HINT_TARGETS: u64 = 4;

/// The shortest and the longest that deletions can be set to be remembered.
const GC_GRACE_MIN: Duration = Duration::from_secs(60);
const GC_GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Connections of clients a node takes unless told otherwise.
pub const CLIENTS_MAX_DEFAULT: usize = 4096;

/// How long a member may be down before it loses its place, unless told otherwise.
pub const OUT_AFTER_DEFAULT: Duration = Duration::from_secs(OUT_AFTER_S_DEFAULT as u64);

/// The longest that a member can be set to keep its place while it is down.
const OUT_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a node does before it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// It hands its slots over and leaves the cluster.
    Drain,
    /// It stays a member, and is missed until it is started again.
    Stay,
}

/// A node's settings, as they were asked for. Every field but the first has a default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificate, key and trusted authority. The node's name is the one in its certificate.
    pub certs: CertificateFiles,
    /// The UDP address to listen on. Default 127.0.0.1:7750; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where others reach this node, if not at `listen`. Needed behind address translation, and with `0.0.0.0`.
    pub advertise: Option<Address>,
    /// Where the founders are reached. A node that is itself behind one of them is a founder. Default: where this node is
    /// reached, which makes it a cluster of one.
    pub seeds: Vec<Address>,
    /// The founders' names, where addresses do not tell. Default: the names found behind the seeds.
    pub founders: Vec<Label>,
    /// The failure domain this node stands in. Default none.
    pub zone: Option<Label>,
    /// The folder of what must outlive the process: who the node is, what it has promised, its last view. Default none:
    /// nothing is kept, and each start makes a new member that must be admitted again. No two processes may share one.
    pub data: Option<PathBuf>,
    /// Its place in the election before seniority counts: the higher goes first. Default 0. Raised where coordinators are
    /// wanted; lowering it elsewhere does the same. A change costs no election.
    pub priority: u8,
    /// How soon silence counts, which all founders must agree on. Default lan. Shorter waits notice a dead node sooner, cost
    /// more datagrams, and take a slow network for a dead one more often.
    pub timing: TimingProfile,
    /// How long a member may be down before it loses its place on the ring, in whole seconds, which all founders must agree
    /// on. Default 10 min. Less refills a lost cache sooner; more spares two ring changes where nodes come back.
    pub out_after: Duration,
    /// Copies of each key: 1 to [`limits::REPLICATION_MAX`], or [`limits::REPLICATION_ALL`]. All founders must agree on it; once
    /// the cluster is formed, a command changes it. Default 2. More survive more losses, and each costs its share of the
    /// memory of all.
    pub replication: u8,
    /// Points on the ring. Default 128. More balances better and costs memory for the ring; 0 owns nothing.
    pub vnodes: u32,
    /// Slots of the cluster, which all founders must agree on. Default 2^14.
    pub slots: SlotCount,
    /// How the ring is laid out, which all founders must agree on. Default hashed.
    pub ring: RingAlgorithm,
    /// Resident memory the entries may take, in bytes. Default 512 MiB.
    pub memory_bytes: usize,
    /// Longest value, in bytes. Default 1 MiB, at most 16 MiB. Larger values make shards fewer and locks busier.
    pub value_bytes_max: usize,
    /// What leaves first when memory is full. Default segmented LRU.
    pub eviction: EvictionPolicy,
    /// Connections of clients at once. Default 4,096; each costs some 50 KiB when busy.
    pub clients_max: usize,
    /// Bytes per second that handoff may fetch, or as many as there are; repair goes by a quarter of it. Default 64 MiB. More
    /// ends a ring change sooner and makes the requests beside it slower.
    pub handoff_rate: Option<NonZeroU64>,
    /// How long tombstones are kept at least. Default 1 h. More lets a node that was removed return later without losing
    /// what it had taken, and costs memory for tombstones.
    pub gc_grace: Duration,
    /// Memory for entries kept for owners out of reach, in bytes; a quarter of it for each. Default 256 MiB. With less, more is
    /// left to repair.
    pub hint_memory_bytes: usize,
    /// What comes before a stop by a signal. Default to drain, which loses no key; to stay is cheaper where the node is soon
    /// back and its keys have other copies.
    pub on_stop: OnStop,
    /// How long a stop may take. Default 30 s.
    pub drain_timeout: Duration,
    /// How long a thread looks for what comes next before it sleeps, where that pays. Default 100 µs, at most 1 ms; zero for
    /// never. A network that is given to the node is left as it is.
    pub busy_poll: Duration,
    /// The largest packets that are looked for between machines. Default 1,452 bytes of UDP payload, which Ethernet carries.
    /// Within a machine they are larger in any case.
    pub max_mtu: u16,
    /// Seeds everything random in the node. Default: drawn by the operating system.
    pub random_seed: Option<u64>,
}

impl Settings {
    /// The defaults, with the identity in `certs`.
    pub fn new(certs: impl Into<CertificateFiles>) -> Self {
        Self {
            certs: certs.into(),
            listen: LISTEN_DEFAULT,
            advertise: None,
            seeds: Vec::new(),
            founders: Vec::new(),
            zone: None,
            data: None,
            priority: 0,
            timing: TimingProfile::default(),
            out_after: OUT_AFTER_DEFAULT,
            replication: REPLICATION_DEFAULT,
            vnodes: VNODES_DEFAULT,
            slots: SlotCount::DEFAULT,
            ring: RingAlgorithm::default(),
            memory_bytes: MEMORY_BYTES_DEFAULT,
            value_bytes_max: limits::VALUE_BYTES_DEFAULT,
            eviction: EvictionPolicy::default(),
            clients_max: CLIENTS_MAX_DEFAULT,
            handoff_rate: NonZeroU64::new(HANDOFF_RATE_DEFAULT),
            gc_grace: GC_GRACE_DEFAULT,
            hint_memory_bytes: HINT_MEMORY_BYTES_DEFAULT,
            on_stop: ON_STOP_DEFAULT,
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
            busy_poll: BUSY_POLL,
            max_mtu: PacketBytes::default().get(),
            random_seed: None,
        }
    }
}

impl Settings {
    /// Those of the background work.
    pub(crate) fn upkeep(&self) -> UpkeepConfig {
        let default = UpkeepConfig::default();
        let hint_bytes = u64::try_from(self.hint_memory_bytes).unwrap_or(u64::MAX);
        UpkeepConfig {
            pace: self.handoff_rate,
            gc_grace: self.gc_grace,
            // No hint may outlive the tombstone of what it would write.
            hint_age: default.hint_age.min(self.gc_grace / 4),
            hint_bytes,
            hint_target_bytes: hint_bytes / HINT_TARGETS,
            ..default
        }
    }
}

/// Valid settings.
#[derive(Clone, Debug)]
pub struct Config(Settings);

impl Config {
    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0
    }
}

impl TryFrom<Settings> for Config {
    type Error = InvalidConfig;

    /// Checks each value, and those that depend on each other.
    fn try_from(settings: Settings) -> Result<Self, InvalidConfig> {
        let broken = |key, why: String| Err(InvalidConfig { key, why });
        if settings.vnodes > limits::VNODES_MAX {
            return broken("vnodes", format!("at most {}", limits::VNODES_MAX));
        }
        if !(1..=limits::VALUE_BYTES_MAX).contains(&settings.value_bytes_max) {
            return broken("max_value", format!("1 B to {} MiB", limits::VALUE_BYTES_MAX >> 20));
        }
        let memory_min = 16 * settings.value_bytes_max;
        if settings.memory_bytes < memory_min {
            let why = format!("at least 16 times max_value, {} MiB here", memory_min.div_ceil(1 << 20));
            return broken("memory", why);
        }
        if settings.advertise.is_none() && settings.listen.ip().is_unspecified() {
            let why = "needed when listen is a wildcard: others must know where to reach this node";
            return broken("advertise", why.into());
        }
        if settings.drain_timeout > Duration::from_secs(3600) {
            return broken("drain_timeout", "at most 1 hour".into());
        }
        if settings.busy_poll > BUSY_POLL_MAX {
            return broken("busy_poll", "at most 1 ms".into());
        }
        if PacketBytes::new(settings.max_mtu).is_none() {
            let (least, most) = (PacketBytes::RANGE.start(), PacketBytes::RANGE.end());
            return broken("max_mtu", format!("{least} to {most} bytes"));
        }
        let whole = settings.out_after.subsec_nanos() == 0;
        if !whole || !(Duration::from_secs(1)..=OUT_AFTER_MAX).contains(&settings.out_after) {
            return broken("out_after", "1 second to 30 days, in whole seconds".into());
        }
        let is_number = (1..=limits::REPLICATION_MAX).contains(&settings.replication);
        if !is_number && settings.replication != limits::REPLICATION_ALL {
            return broken("replication", format!("1 to {}, or all", limits::REPLICATION_MAX));
        }
        if !(GC_GRACE_MIN..=GC_GRACE_MAX).contains(&settings.gc_grace) {
            return broken("gc_grace", "1 minute to 30 days".into());
        }
        if settings.data.as_ref().is_some_and(|data| data.as_os_str().is_empty()) {
            return broken("data", "a folder is needed".into());
        }
        if settings.clients_max == 0 {
            return broken("clients_max", "at least 1".into());
        }
        Ok(Self(settings))
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    /// The setting, as it is called in a configuration file.
    pub key: &'static str,
    /// What is allowed.
    pub why: String,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "setting `{}`: {}", self.key, self.why)
    }
}

impl std::error::Error for InvalidConfig {}

#[cfg(test)]
mod tests;
