//! What a seed does to the data path.

use std::{ops::RangeInclusive, time::Duration};

use quoit_core::upkeep::UpkeepConfig;
use quoit_proto_types::SlotCount;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::super::{DiskOptions, Options, Plague};

/// The data of one run, and what clients do with it.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// How many slots there are.
    pub slots: SlotCount,
    /// How many copies of each are wanted at first.
    pub copies: u8,
    /// How many clients there are.
    pub sessions: usize,
    /// How many keys there are. Few, so that they are contended for.
    pub keys: usize,
    /// How long a client waits between two operations.
    pub think: RangeInclusive<Duration>,
    /// For how long what expires lives at most.
    pub lives: Duration,
    /// What is done in the background, and how soon.
    pub upkeep: UpkeepConfig,
    /// Changes of membership that an operator plans, and how often. They come beside the plagues.
    pub churn: Vec<(Plague, usize)>,
}

impl DataOptions {
    /// Data without clients.
    pub fn calm(copies: u8) -> Self {
        Self {
            slots: SlotCount::from_log2(5).expect("from 4 to 20"),
            copies,
            sessions: 0,
            keys: 8,
            think: Duration::from_millis(5)..=Duration::from_millis(50),
            lives: Duration::from_secs(5),
            upkeep: brisk(Duration::from_secs(3), Duration::from_secs(30)),
            churn: Vec::new(),
        }
    }

    /// Draws the data of a run of `seed`, and changes `options` to what suits it. What the seed draws for the control plane
    /// stays as it is, but in planned runs: those have changes of membership and no other faults than packets that are lost
    /// or late, and so the strictest promises.
    pub fn draw(seed: u64, options: &mut Options) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ DATA_SEED);
        let planned = rng.random_bool(0.3);
        options.skew = Duration::from_millis([0, 0, 100, 200, 3_000][rng.random_range(0..5)]);
        options.others = options.others.max(rng.random_range(0..=3));
        options.faults_until = options.faults_until.max(Duration::from_secs(10));
        if planned {
            options.plagues.clear();
            (options.crash_at_output, options.crash_at_install) = (0.0, 0.0);
            options.disk = DiskOptions::good();
            (options.stays_down, options.superior_dies) = (0.0, false);
            (options.skew, options.drift) = (Duration::ZERO, 0);
        }
        // Repair that is rarer than collection is slow to find what is missing. Nothing may come back for that.
        let period = Duration::from_secs([2, 4, 8, 30][rng.random_range(0..4)]);
        let grace = Duration::from_secs([12, 25, 60][rng.random_range(0..3)]);
        let least = if planned { 1 } else { 0 };
        let kinds = [Plague::Join, Plague::Drain, Plague::Return, Plague::Copies, Plague::Weight];
        let churn = kinds.into_iter().filter(|_| rng.random_bool(0.6)).map(|kind| (kind, 0)).collect::<Vec<_>>();
        let churn = churn.into_iter().map(|(kind, _)| (kind, rng.random_range(least..=4))).collect();
        Self {
            slots: SlotCount::from_log2(rng.random_range(4..=6)).expect("from 4 to 20"),
            copies: [1, 2, 2, 2, 3, 3, 3][rng.random_range(0..7)],
            sessions: rng.random_range(1..=5),
            keys: [2, 6, 24][rng.random_range(0..3)],
            think: Duration::from_millis(1)..=Duration::from_millis([40, 150, 600][rng.random_range(0..3)]),
            lives: Duration::from_millis([300, 3_000, 20_000][rng.random_range(0..3)]),
            upkeep: brisk(period, grace),
            churn,
        }
    }
}

/// Keeps what is drawn for the data apart from what is drawn for the control plane.
const DATA_SEED: u64 = u64::from_be_bytes(*b"quoitsim");

/// Tombstones are collected no more seldom than that.
const ROUNDS_EACH: Duration = Duration::from_secs(4);

/// Everything in seconds, so that a run of a minute sees all of it. The ratios are those of the defaults: a hint gets as old
/// as a sixth of the grace.
fn brisk(period: Duration, grace: Duration) -> UpkeepConfig {
    UpkeepConfig {
        repair_period: period,
        round_interval: period.min(ROUNDS_EACH),
        gc_grace: grace,
        hint_age: grace / 6,
        source_patience: Duration::from_secs(2),
        ..UpkeepConfig::default()
    }
}
