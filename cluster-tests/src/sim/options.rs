//! What a seed does to the cluster.

use std::{ops::RangeInclusive, time::Duration};

use quoit_proto_types::view::{RingAlgorithm, TimingProfile};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{DataOptions, DiskOptions, NetworkOptions, Plague};

/// The faults of one run. Each run has some of them only, so that no fault hides what another would show.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many founders there are.
    pub founders: usize,
    /// How many hosts beside them may join.
    pub others: usize,
    /// How many of the founders own nothing.
    pub witnesses: usize,
    /// The waits of the machines.
    pub timing: TimingProfile,
    /// How the ring is laid out.
    pub ring: RingAlgorithm,
    /// After how long a member that is down loses its place.
    pub out_after: Duration,
    /// Everybody starts the first time within this time.
    pub started_within: Duration,
    /// The faults end after this time.
    pub faults_until: Duration,
    /// The network.
    pub network: NetworkOptions,
    /// The disks.
    pub disk: DiskOptions,
    /// How many parts in a million clocks run fast or slow at most.
    pub drift: u32,
    /// By how much the time of day is wrong at most.
    pub skew: Duration,
    /// How likely a process crashes before it carries out an output.
    pub crash_at_output: f64,
    /// How likely a process crashes as soon as it has installed a view, so that nobody hears of it.
    pub crash_at_install: f64,
    /// For how long a crashed process is down.
    pub down: RangeInclusive<Duration>,
    /// How long a new owner takes to hold its slots.
    pub sync: RangeInclusive<Duration>,
    /// What befalls the cluster, and how often.
    pub plagues: Vec<(Plague, usize)>,
    /// How likely a host that is down when the faults end stays down, as far as a majority of the voters is up.
    pub stays_down: f64,
    /// Whether the coordinator dies when the faults end, and then the first who says that it goes before another: both for
    /// good, as far as a majority of the voters is up.
    pub superior_dies: bool,
    /// Whether a process dials every member, or voters only: enough, and bearable in a large cluster.
    pub dials_all: bool,
    /// Whether processes hold and lose connections as they would: without, all are connected at once and for good.
    pub prefers_one_connection: f64,
    /// The data and its clients, if there are any.
    pub data: Option<DataOptions>,
}

impl Options {
    /// A cluster of `founders` without faults.
    pub fn calm(founders: usize) -> Self {
        Self {
            founders,
            others: 0,
            witnesses: 0,
            timing: TimingProfile::Lan,
            ring: RingAlgorithm::default(),
            out_after: Duration::from_secs(600),
            started_within: Duration::from_millis(50),
            faults_until: Duration::ZERO,
            network: NetworkOptions::good(),
            disk: DiskOptions::good(),
            drift: 0,
            skew: Duration::ZERO,
            crash_at_output: 0.0,
            crash_at_install: 0.0,
            down: Duration::from_millis(100)..=Duration::from_secs(1),
            sync: Duration::ZERO..=Duration::from_millis(100),
            plagues: Vec::new(),
            stays_down: 0.0,
            superior_dies: false,
            dials_all: true,
            prefers_one_connection: 1.0,
            data: None,
        }
    }

    /// Draws the faults of a run, of a cluster of so many founders if that is given.
    pub fn draw(rng: &mut StdRng, founders: Option<usize>) -> Self {
        let founders = founders.unwrap_or([1, 2, 3, 3, 3, 4, 5, 5, 7][rng.random_range(0..9)]);
        let profile = [TimingProfile::Lan, TimingProfile::Lan, TimingProfile::Fast, TimingProfile::Wan];
        let faults_until = Duration::from_secs([4, 15, 30, 60][rng.random_range(0..4)]);
        Self {
            founders,
            others: [0, 0, 1, 2, 3][rng.random_range(0..5)],
            witnesses: if founders > 1 && rng.random_bool(0.15) { 1 } else { 0 },
            timing: profile[rng.random_range(0..4)],
            ring: RingAlgorithm::default(),
            out_after: Duration::from_secs([5, 20, 600][rng.random_range(0..3)]),
            started_within: Duration::from_millis([0, 50, 2_000][rng.random_range(0..3)]),
            faults_until,
            network: draw_network(rng),
            disk: draw_disk(rng),
            drift: [0, 0, 100, 20_000][rng.random_range(0..4)],
            skew: Duration::from_secs([0, 1, 3_600][rng.random_range(0..3)]),
            crash_at_output: sometimes(rng, 0.2, 0.005),
            crash_at_install: sometimes(rng, 0.2, 0.3),
            down: Duration::from_millis(1)..=Duration::from_millis([20, 1_000, 5_000, 20_000][rng.random_range(0..4)]),
            sync: Duration::ZERO..=Duration::from_millis([0, 100, 3_000][rng.random_range(0..3)]),
            plagues: draw_plagues(rng, faults_until),
            stays_down: sometimes(rng, 0.3, 1.0),
            superior_dies: rng.random_bool(0.2),
            dials_all: true,
            prefers_one_connection: [0.0, 0.9, 1.0][rng.random_range(0..3)],
            data: None,
        }
    }

    /// Faults end: what is left is a network of ordinary delays, and good disks.
    pub fn heal(&mut self) {
        (self.crash_at_output, self.crash_at_install) = (0.0, 0.0);
        self.disk = DiskOptions::good();
    }
}

fn draw_network(rng: &mut StdRng) -> NetworkOptions {
    let longest = [1, 5, 30, 150][rng.random_range(0..4)];
    let lossy = [0.02, 0.3][rng.random_range(0..2)];
    NetworkOptions {
        delay: Duration::from_micros(100)..=Duration::from_millis(longest),
        tail: sometimes(rng, 0.4, 0.05),
        tail_most: Duration::from_millis([100, 2_000, 60_000][rng.random_range(0..3)]),
        loss: sometimes(rng, 0.5, lossy),
        duplicate: sometimes(rng, 0.4, 0.3),
        breaks: true,
    }
}

fn draw_disk(rng: &mut StdRng) -> DiskOptions {
    let longest = [1, 5, 50][rng.random_range(0..3)];
    DiskOptions {
        write: Duration::from_micros(100)..=Duration::from_millis(longest),
        slow: sometimes(rng, 0.3, 0.05),
        torn: sometimes(rng, 0.5, 1.0),
        rot: sometimes(rng, 0.3, 0.5),
    }
}

fn draw_plagues(rng: &mut StdRng, during: Duration) -> Vec<(Plague, usize)> {
    let kinds = rng.random_range(0..=5_usize);
    let drawn: Vec<Plague> = Plague::ALL.sample(rng, kinds).copied().collect();
    let tens = 1.0 + during.as_secs_f64() / 10.0;
    let mut times = |plague: Plague| {
        let most = [1.0, 2.0, 4.0][rng.random_range(0..3)] * tens;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let most = most as usize;
        (plague, rng.random_range(1..=most.max(1)))
    };
    drawn.into_iter().map(&mut times).collect()
}

/// A number up to `most`, with this probability; else 0.
fn sometimes(rng: &mut StdRng, probability: f64, most: f64) -> f64 {
    if rng.random_bool(probability) { rng.random_range(0.0..most) } else { 0.0 }
}
