//! A node's settings, validated. Whoever holds a [`Config`] need not check it again.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use quoit_client::CertificateFiles;
use quoit_core::store::EvictionPolicy;
use quoit_proto_types::{
    Label, SlotCount, limits,
    view::{Address, OUT_AFTER_S_DEFAULT, TimingProfile, VNODES_DEFAULT},
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
pub(crate) use units::{Size, Span};

/// Where a node listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7750);

/// Memory for entries unless told otherwise, in bytes.
pub const MEMORY_BYTES_DEFAULT: usize = 512 * 1024 * 1024;

/// How long a stop may take unless told otherwise.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Connections of clients a node takes unless told otherwise.
pub const CLIENTS_MAX_DEFAULT: usize = 4096;

/// How long a member may be down before it loses its place, unless told otherwise.
pub const OUT_AFTER_DEFAULT: Duration = Duration::from_secs(OUT_AFTER_S_DEFAULT as u64);

/// The longest that a member can be set to keep its place while it is down.
const OUT_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

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
    /// Points on the ring. Default 128. More balances better and costs memory for the ring; 0 owns nothing.
    pub vnodes: u32,
    /// Slots of the cluster, which all founders must agree on. Default 2^14.
    pub slots: SlotCount,
    /// Resident memory the entries may take, in bytes. Default 512 MiB.
    pub memory_bytes: usize,
    /// Longest value, in bytes. Default 1 MiB, at most 16 MiB. Larger values make shards fewer and locks busier.
    pub value_bytes_max: usize,
    /// What leaves first when memory is full. Default segmented LRU.
    pub eviction: EvictionPolicy,
    /// Connections of clients at once. Default 4,096; each costs some 50 KiB when busy.
    pub clients_max: usize,
    /// How long a stop may take. Default 30 s.
    pub drain_timeout: Duration,
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
            vnodes: VNODES_DEFAULT,
            slots: SlotCount::DEFAULT,
            memory_bytes: MEMORY_BYTES_DEFAULT,
            value_bytes_max: limits::VALUE_BYTES_DEFAULT,
            eviction: EvictionPolicy::default(),
            clients_max: CLIENTS_MAX_DEFAULT,
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
            random_seed: None,
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
        let whole = settings.out_after.subsec_nanos() == 0;
        if !whole || !(Duration::from_secs(1)..=OUT_AFTER_MAX).contains(&settings.out_after) {
            return broken("out_after", "1 second to 30 days, in whole seconds".into());
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
