//! What `quoit-bench` takes on its command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, ValueHint};
use quoit_client::{KEY_BYTES_MAX, ReadLevel, SetOptions, WriteLevel};

use crate::{
    load::Arrivals,
    workload::{KEY_BYTES_MIN, Mode, NoSizes, Sizes, VALUE_BYTES_MIN},
};

/// The command line.
#[derive(Args, Clone, Debug)]
pub struct Bench {
    /// What callers do
    #[arg(long, value_enum, default_value_t = Mode::Get, help_heading = "Requests")]
    pub(super) op: Mode,
    /// The share of requests that write in a mix, as in 10% or 0.1
    #[arg(long, default_value = "10%", value_parser = share, value_name = "SHARE", help_heading = "Requests")]
    pub(super) writes: f64,
    /// Keys that each caller reads or writes at once, with one call [default: 16 for get-many, else 1]
    #[arg(long, value_parser = at_least_one, value_name = "N", help_heading = "Requests")]
    pub(super) batch: Option<usize>,
    /// Callers at once, each with one request under way; several numbers are measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [64], value_parser = at_least_one, help_heading = "Requests")]
    pub(super) callers: Vec<usize>,
    /// Clients, each with connections of its own, that the callers share
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N", help_heading = "Requests")]
    pub(super) connections: usize,
    /// Requests due per second, whether answers come or not; latency counts from then [default: a closed loop]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, help_heading = "Requests")]
    pub(super) rate: Option<f64>,
    /// With --rate: requests come as those of many independent users do, not evenly
    #[arg(long, requires = "rate", help_heading = "Requests")]
    pub(super) poisson: bool,
    /// How long a request may take
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "DURATION", help_heading = "Requests")]
    pub(super) timeout: Duration,

    /// Different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    #[arg(help_heading = "Keys and values")]
    pub(super) keys: u32,
    /// Bytes of keys: 16, 8..64 (evenly), log:8..1000 (by magnitude), or 16x9+64x1 (length x weight)
    #[arg(long, default_value = "16", value_parser = key_sizes, value_name = "SIZES", help_heading = "Keys and values")]
    pub(super) key_size: Sizes,
    /// Bytes of values, likewise, at least 16; several are measured one after the other
    #[arg(long, alias = "value", value_delimiter = ',', default_value = "100", value_parser = value_sizes)]
    #[arg(value_name = "SIZES", help_heading = "Keys and values")]
    pub(super) value_size: Vec<Sizes>,
    /// Exponent of Zipf's law, by which keys are popular; 0 makes all alike
    #[arg(long, default_value_t = 0.99, value_name = "EXPONENT", help_heading = "Keys and values")]
    pub(super) skew: f64,
    /// Short for --skew 0
    #[arg(long, conflicts_with = "skew", help_heading = "Keys and values")]
    pub(super) uniform: bool,
    /// How long keys live [default: 1h in a running cluster, else for ever]
    #[arg(long, value_parser = duration, value_name = "DURATION", help_heading = "Keys and values")]
    pub(super) ttl: Option<Duration>,

    /// Nodes to start on this machine, each a process
    #[arg(long, default_value_t = 1, conflicts_with = "nodes", value_parser = at_least_one, value_name = "N")]
    #[arg(help_heading = "Cluster")]
    pub(super) local: usize,
    /// Nodes of a running cluster to connect through, instead
    #[arg(long, visible_alias = "seeds", env = "QUOIT_NODES", value_name = "HOST:PORT,…", value_delimiter = ',')]
    #[arg(help_heading = "Cluster")]
    pub(super) nodes: Option<Vec<String>>,
    /// Folder with ca.crt, tls.crt and tls.key, for a running cluster
    #[arg(long, visible_alias = "identity", env = "QUOIT_CERTS", value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(default_value = "certs/client", help_heading = "Cluster")]
    pub(super) certs: PathBuf,
    /// Copies of each key in local nodes [default: 2, if there are so many]
    #[arg(long, conflicts_with = "nodes", value_name = "N", help_heading = "Cluster")]
    pub(super) replication: Option<u8>,
    /// How many copies a write waits for: any, one, two, quorum or all [default: two]
    #[arg(long, value_name = "LEVEL", help_heading = "Cluster")]
    pub(super) write_level: Option<WriteLevel>,
    /// How many copies a read asks: one, quorum or all [default: one]
    #[arg(long, value_name = "LEVEL", help_heading = "Cluster")]
    pub(super) read_level: Option<ReadLevel>,
    /// Memory of each local node, in bytes [default: twice what all keys take]
    #[arg(long, value_name = "BYTES", conflicts_with = "nodes", help_heading = "Cluster")]
    pub(super) memory: Option<usize>,
    /// Threads for requests of each local node; 0 for as many as `quoit node` has
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Cluster")]
    pub(super) server_threads: usize,
    /// How long clients and local nodes look for what comes next before they sleep; 0 for never
    #[arg(long, value_parser = duration, default_value = "100us", value_name = "DURATION", help_heading = "Cluster")]
    pub(super) busy_poll: Duration,
    /// Measure a bare yardstick beside it, in turn, which is asked for one key at a time
    #[arg(long, conflicts_with_all = ["nodes", "batch"], help_heading = "Cluster")]
    pub(super) floor: bool,

    /// How long each measurement takes
    #[arg(long, alias = "seconds", value_parser = duration, default_value = "3s", value_name = "DURATION")]
    #[arg(help_heading = "Measurement")]
    pub(super) duration: Duration,
    /// Ends each measurement after so many requests instead
    #[arg(long, conflicts_with = "duration", value_parser = at_least_one, value_name = "N")]
    #[arg(help_heading = "Measurement")]
    pub(super) operations: Option<usize>,
    /// How long the same goes on before, without being measured [default: a tenth]
    #[arg(long, value_parser = duration, value_name = "DURATION", help_heading = "Measurement")]
    pub(super) warm_up: Option<Duration>,
    /// How often each measurement is made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    #[arg(help_heading = "Measurement")]
    pub(super) rounds: u32,
    /// Worker threads of the callers: 1 for a single-threaded runtime, 0 for one on each CPU
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Measurement")]
    pub(super) threads: usize,
    /// Keys may be absent because memory was short: count them as misses, not as lost
    #[arg(long, help_heading = "Measurement")]
    pub(super) evicts: bool,
    /// Claim this share of writes without making them, to see that the report calls them lost
    #[arg(long, default_value = "0", value_parser = share, value_name = "SHARE", help_heading = "Measurement")]
    pub(super) drop: f64,

    /// Format of the result
    #[arg(short, long, value_enum, default_value_t = Format::Table, help_heading = "Output")]
    pub(super) output: Format,
    /// Short for -o json
    #[arg(long, conflicts_with = "output", help_heading = "Output")]
    pub(super) json: bool,
    /// Draw the latencies even if the output is not a terminal
    #[arg(long, help_heading = "Output")]
    pub(super) plot: bool,
    /// Show no progress
    #[arg(short, long, help_heading = "Output")]
    pub(super) quiet: bool,
}

impl Bench {
    pub(super) fn arrivals(&self) -> Option<Arrivals> {
        self.rate.map(|rate| Arrivals { rate, poisson: self.poisson })
    }

    pub(super) fn set_options(&self) -> SetOptions {
        let ttl = self.ttl.or(self.nodes.as_ref().map(|_| TTL_AFAR));
        ttl.map_or(SetOptions::new(), |ttl| SetOptions::new().ttl(ttl))
    }
}

/// How to write what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
}

/// A number from 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// As in `1.5s`, or in seconds if there is no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}

fn key_sizes(text: &str) -> Result<Sizes, String> {
    sizes(text, KEY_BYTES_MIN, KEY_BYTES_MAX)
}

fn value_sizes(text: &str) -> Result<Sizes, String> {
    sizes(text, VALUE_BYTES_MIN, usize::MAX)
}

fn sizes(text: &str, least: usize, most: usize) -> Result<Sizes, String> {
    let sizes: Sizes = text.parse().map_err(|error: NoSizes| error.to_string())?;
    match sizes {
        sizes if sizes.min() < least => Err(format!("at least {least} bytes")),
        sizes if sizes.max() > most => Err(format!("at most {most} bytes")),
        sizes => Ok(sizes),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    let share = share.map_err(|error| error.to_string())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("from 0 to 100 %, as in 1% or 0.01".into()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "requests per second, as in 20000".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("more than 0".into()) }
}

/// Keys of a run must not stay in somebody's cluster for ever.
const TTL_AFAR: Duration = Duration::from_secs(3600);
