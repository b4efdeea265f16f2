//! The settings as one source gives them: a file, or the environment and flags.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueEnum, ValueHint};
use quoit_core::store::EvictionPolicy;
use quoit_proto_types::{
    Label, SlotCount,
    view::{Address, RingAlgorithm, TimingProfile},
};
use serde::{Deserialize, Serialize};

use super::{
    OnStop, Settings,
    units::{Copies, Pace, Size, Span},
};

/// Settings, each given or left open. A field's name is the key in a file; flag and variable are the same name in their
/// own spelling, so that one knows all three by knowing one.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Settings")]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    /// Read from the global flag of this name.
    #[arg(skip)]
    pub(crate) certs: Option<PathBuf>,

    /// UDP address to listen on [default: 127.0.0.1:7750]
    ///
    /// Clients and nodes use the same one. With 0.0.0.0 or [::], set `advertise` as well.
    #[arg(long, env = "QUOIT_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where others reach this node [default: as `listen`]
    ///
    /// Needed behind address translation, and where the node listens on every address.
    #[arg(long, env = "QUOIT_ADVERTISE", value_name = "HOST:PORT")]
    pub(crate) advertise: Option<Address>,

    /// Where the cluster's first nodes are, the same list on each [default: this node alone]
    ///
    /// A node that finds itself behind one of these addresses is a founder. The founders form the cluster once all of them
    /// are there, whichever starts first.
    #[arg(long, env = "QUOIT_SEEDS", value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) seeds: Option<Vec<Address>>,

    /// Names of the founders, where addresses do not tell [default: those found behind `seeds`]
    ///
    /// For seeds that are DNS names whose addresses change.
    #[arg(long, env = "QUOIT_FOUNDERS", value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) founders: Option<Vec<Label>>,

    /// Failure domain this node stands in, such as a rack [default: none]
    #[arg(long, env = "QUOIT_ZONE", value_name = "NAME")]
    pub(crate) zone: Option<Label>,

    /// Folder of what must outlive the process [default: $XDG_STATE_HOME/quoit/CLUSTER/NAME]
    ///
    /// Who the node is, what it has promised and its last view: some kilobytes, and no entries. A node that loses it comes
    /// back as a new member. It belongs to one node alone and must never be copied or brought back from a backup. Under
    /// systemd the default is $STATE_DIRECTORY; where XDG_STATE_HOME is not set, ~/.local/state stands for it.
    #[arg(long, env = "QUOIT_DATA", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,

    /// Place in the election before seniority counts [default: 0]
    ///
    /// The highest of those that vote and are connected coordinates. It takes over at the next election and does not cause
    /// one.
    #[arg(long, env = "QUOIT_PRIORITY", value_name = "N")]
    pub(crate) priority: Option<u8>,

    /// How soon silence counts, the same on all founders [default: lan]
    #[arg(long, env = "QUOIT_TIMING", value_name = "PROFILE", value_enum)]
    pub(crate) timing: Option<Timing>,

    /// How long a node may be down before others take its keys over, the same on all founders [default: 10m]
    ///
    /// 1s to 30days, in whole seconds. Until then requests for its keys fail; from then on others hold them, at first
    /// without values. Less ends the failures sooner, more spares ring changes where nodes are away for a while.
    #[arg(long, env = "QUOIT_OUT_AFTER", value_name = "DURATION")]
    pub(crate) out_after: Option<Span>,

    /// Copies of each key, each on another node, 1 to 7 or `all`; the same on all founders [default: 2]
    ///
    /// 2 survive the loss of any one node, 3 of any two, 1 of none; each costs its share of the memory. The founders agree on
    /// it when they form the cluster: later it is changed by `quoit replication N`, and what stands here is passed over.
    #[arg(long, env = "QUOIT_REPLICATION", value_name = "N")]
    pub(crate) replication: Option<Copies>,

    /// Points of this node on the ring [default: 128]
    ///
    /// More spread keys more evenly and make each change of the cluster dearer; twice as many take twice the share. A node
    /// with 0 holds no keys.
    #[arg(long, env = "QUOIT_VNODES", value_name = "N")]
    pub(crate) vnodes: Option<u32>,

    /// Slots of the cluster as a power of two, 4 to 20 [default: 14]
    ///
    /// Keys move between nodes by whole slots. All founders must say the same, and it stays for the life of the cluster.
    /// 2^14 do for tens of nodes; more cost memory on each node and client.
    #[arg(long, env = "QUOIT_SLOTS_LOG2", value_name = "N", value_parser = slot_count)]
    pub(crate) slots_log2: Option<SlotCount>,

    /// How the ring is laid out, the same on all founders [default: hashed]
    ///
    /// Hashed, each node's points follow from its name, and shares differ as chance has it. Balanced, the coordinator picks
    /// them so that shares are even, and 16 vnodes do as well as 1000. It stays for the life of the cluster.
    #[arg(long, env = "QUOIT_RING", value_name = "LAYOUT", value_enum)]
    pub(crate) ring: Option<RingLayout>,

    /// Memory for keys and values, overhead included [default: 512MiB]
    ///
    /// Entries are evicted to stay within it. The process takes more: up to 15 % for the allocator, and some 50 KiB for each
    /// busy connection.
    #[arg(long, env = "QUOIT_MEMORY", value_name = "SIZE")]
    pub(crate) memory: Option<Size>,

    /// Longest value, at most 16MiB [default: 1MiB]
    ///
    /// `memory` must hold 16 of them. Larger ones leave fewer shards, which are locked for longer.
    #[arg(long, env = "QUOIT_MAX_VALUE", value_name = "SIZE")]
    pub(crate) max_value: Option<Size>,

    /// What leaves first when memory is full [default: slru]
    #[arg(long, env = "QUOIT_EVICTION", value_name = "POLICY", value_enum)]
    pub(crate) eviction: Option<Eviction>,

    /// Connections of clients at once [default: 4096]
    ///
    /// One more is refused. Each costs some 50 KiB when busy.
    #[arg(long, env = "QUOIT_CLIENTS_MAX", value_name = "N")]
    pub(crate) clients_max: Option<usize>,

    /// Bytes per second that this node fetches when keys move to it, and that others fetch here, or `unlimited` [default: 64MiB]
    ///
    /// It is less while requests would be late for it, as many small entries make them, but under `unlimited`. A quarter of it serves to compare and mend copies.
    /// More ends a change of the cluster sooner, and makes requests beside it slower. `quoit handoff pace` changes it while the
    /// node runs.
    #[arg(long, env = "QUOIT_HANDOFF_RATE", value_name = "SIZE")]
    pub(crate) handoff_rate: Option<Pace>,

    /// How long a deletion is remembered at least, 1m to 30days [default: 1h]
    ///
    /// What a node wrote that was removed from the cluster counts when it returns within this time. More remembers for
    /// longer, and costs memory for each key that was deleted or has expired, up to an eighth of `memory`.
    #[arg(long, env = "QUOIT_GC_GRACE", value_name = "DURATION")]
    pub(crate) gc_grace: Option<Span>,

    /// Memory for writes that are kept for nodes out of reach, beside `memory` [default: 256MiB]
    ///
    /// A quarter of it for each of those nodes, and none for longer than 10 min. What does not fit is brought to them by
    /// comparing copies, which takes longer.
    #[arg(long, env = "QUOIT_HINT_MEMORY", value_name = "SIZE")]
    pub(crate) hint_memory: Option<Size>,

    /// What a node does before it stops [default: drain]
    #[arg(long, env = "QUOIT_ON_STOP", value_name = "WHAT", value_enum)]
    pub(crate) on_stop: Option<Stop>,

    /// How long a stop may take, at most 1h [default: 30s]
    ///
    /// Keys are handed over and requests under way finish within it. Give it what lies on a node, divided by `handoff_rate`,
    /// and give whoever stops the node (systemd, Kubernetes) more than that. A second signal stops at once.
    #[arg(long, env = "QUOIT_DRAIN_TIMEOUT", value_name = "DURATION")]
    pub(crate) drain_timeout: Option<Span>,

    /// How long a thread looks for what comes next before it sleeps, at most 1ms [default: 100us]
    ///
    /// Where requests follow each other closely it answers sooner, and mostly at less cost, as to wake a processor takes longer
    /// than to answer. The node learns whether it pays, and leaves it where it does not, or where others want the processor.
    /// 0s turns it off.
    #[arg(long, env = "QUOIT_BUSY_POLL", value_name = "DURATION")]
    pub(crate) busy_poll: Option<Span>,

    /// Largest packet to look for between machines, in bytes of UDP payload, 1200 to 16000 [default: 1452]
    ///
    /// What comes through is found out for each connection. Where the network has jumbo frames, their size less 48 (8952 of
    /// 9000) spares much of the work, once all nodes and clients say so; elsewhere it only makes them look in vain. Within a
    /// machine, packets are larger in any case.
    #[arg(long, env = "QUOIT_MAX_MTU", value_name = "BYTES")]
    pub(crate) max_mtu: Option<u16>,

    /// Threads that carry out requests [default: one for each CPU but one, which the kernel and all else have]
    ///
    /// Connections are spread over them, and each stays on its own. Each thread reads a UDP socket, all at the address the node
    /// listens on; with several the node dials others from a port that the kernel chooses. Two more threads do everything that
    /// is no request.
    #[arg(long, env = "QUOIT_THREADS", value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// What to log, as in `info` or `warn,quoit=debug` [default: info]
    ///
    /// RUST_LOG serves where this is not set.
    #[arg(long, env = "QUOIT_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// How to log to standard error [default: auto]
    #[arg(long, env = "QUOIT_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

/// An eviction policy by its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Eviction {
    /// Segmented: what was read once leaves before what was read twice
    Slru,
    /// The least recently used first
    Lru,
}

/// What comes before the end, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stop {
    /// Hand its keys over to others and leave the cluster. No key is lost that way, also of one copy
    Drain,
    /// Stay a member, for a node that is started again soon: its keys have their other copies meanwhile, if there are any,
    /// and it fetches them anew
    Stay,
}

impl From<OnStop> for Stop {
    fn from(on_stop: OnStop) -> Self {
        match on_stop {
            OnStop::Drain => Self::Drain,
            OnStop::Stay => Self::Stay,
        }
    }
}

impl From<Stop> for OnStop {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Drain => Self::Drain,
            Stop::Stay => Self::Stay,
        }
    }
}

/// A timing profile by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Timing {
    /// Within a rack: a heartbeat each 100 ms, suspicion after 500 ms
    Fast,
    /// Within a site: 200 ms and 1 s
    Lan,
    /// Between sites: 500 ms and 3 s
    Wan,
}

impl From<TimingProfile> for Timing {
    fn from(profile: TimingProfile) -> Self {
        match profile {
            TimingProfile::Fast => Self::Fast,
            TimingProfile::Lan => Self::Lan,
            TimingProfile::Wan => Self::Wan,
        }
    }
}

impl From<Timing> for TimingProfile {
    fn from(timing: Timing) -> Self {
        match timing {
            Timing::Fast => Self::Fast,
            Timing::Lan => Self::Lan,
            Timing::Wan => Self::Wan,
        }
    }
}

/// A ring algorithm by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RingLayout {
    /// Points follow from names; with 128 a node has a tenth too much or too little
    Hashed,
    /// The coordinator picks points, and shares are even
    Balanced,
}

impl From<RingAlgorithm> for RingLayout {
    fn from(algorithm: RingAlgorithm) -> Self {
        match algorithm {
            RingAlgorithm::Hashed => Self::Hashed,
            RingAlgorithm::Balanced => Self::Balanced,
        }
    }
}

impl From<RingLayout> for RingAlgorithm {
    fn from(layout: RingLayout) -> Self {
        match layout {
            RingLayout::Hashed => Self::Hashed,
            RingLayout::Balanced => Self::Balanced,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people, with colour on a terminal; without time under journald, which adds its own
    #[default]
    Auto,
    /// For people, without colour
    Text,
    /// One JSON document for each line
    Json,
}

impl Layer {
    /// Every setting that has a default.
    pub(crate) fn defaults() -> Self {
        let settings = Settings::new("");
        Self {
            certs: None,
            listen: Some(settings.listen),
            advertise: settings.advertise,
            seeds: Some(settings.seeds),
            founders: Some(settings.founders),
            zone: settings.zone,
            data: settings.data,
            priority: Some(settings.priority),
            timing: Some(settings.timing.into()),
            out_after: Some(Span(settings.out_after)),
            replication: Some(Copies(settings.replication)),
            vnodes: Some(settings.vnodes),
            slots_log2: Some(settings.slots),
            ring: Some(settings.ring.into()),
            memory: Some(Size(settings.memory_bytes)),
            max_value: Some(Size(settings.value_bytes_max)),
            eviction: Some(match settings.eviction {
                EvictionPolicy::SegmentedLru => Eviction::Slru,
                EvictionPolicy::Lru => Eviction::Lru,
            }),
            clients_max: Some(settings.clients_max),
            handoff_rate: Some(Pace(settings.handoff_rate)),
            gc_grace: Some(Span(settings.gc_grace)),
            hint_memory: Some(Size(settings.hint_memory_bytes)),
            on_stop: Some(settings.on_stop.into()),
            drain_timeout: Some(Span(settings.drain_timeout)),
            busy_poll: Some(Span(settings.busy_poll)),
            max_mtu: Some(settings.max_mtu),
            threads: None,
            log: Some("info".into()),
            log_format: Some(LogFormat::default()),
        }
    }

    /// The settings of a node whose certificates are in `certs`, with defaults for what is left open.
    pub(super) fn settings(self, certs: PathBuf) -> Settings {
        let default = Settings::new(certs);
        Settings {
            listen: self.listen.unwrap_or(default.listen),
            advertise: self.advertise,
            seeds: self.seeds.unwrap_or(default.seeds),
            founders: self.founders.unwrap_or(default.founders),
            zone: self.zone,
            data: self.data,
            priority: self.priority.unwrap_or(default.priority),
            timing: self.timing.map_or(default.timing, Into::into),
            out_after: self.out_after.map_or(default.out_after, |span| span.0),
            replication: self.replication.map_or(default.replication, |copies| copies.0),
            vnodes: self.vnodes.unwrap_or(default.vnodes),
            slots: self.slots_log2.unwrap_or(default.slots),
            ring: self.ring.map_or(default.ring, Into::into),
            memory_bytes: self.memory.map_or(default.memory_bytes, |size| size.0),
            value_bytes_max: self.max_value.map_or(default.value_bytes_max, |size| size.0),
            eviction: self.eviction.map_or(default.eviction, |policy| match policy {
                Eviction::Slru => EvictionPolicy::SegmentedLru,
                Eviction::Lru => EvictionPolicy::Lru,
            }),
            clients_max: self.clients_max.unwrap_or(default.clients_max),
            handoff_rate: self.handoff_rate.map_or(default.handoff_rate, |pace| pace.0),
            gc_grace: self.gc_grace.map_or(default.gc_grace, |span| span.0),
            hint_memory_bytes: self.hint_memory.map_or(default.hint_memory_bytes, |size| size.0),
            on_stop: self.on_stop.map_or(default.on_stop, Into::into),
            drain_timeout: self.drain_timeout.map_or(default.drain_timeout, |span| span.0),
            busy_poll: self.busy_poll.map_or(default.busy_poll, |span| span.0),
            max_mtu: self.max_mtu.unwrap_or(default.max_mtu),
            certs: default.certs,
            random_seed: default.random_seed,
        }
    }
}

fn slot_count(text: &str) -> Result<SlotCount, String> {
    let log2 = text.parse::<u8>().ok();
    log2.and_then(SlotCount::from_log2).ok_or_else(|| "a number from 4 to 20 is needed".into())
}
