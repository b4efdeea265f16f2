//! How long it takes to find a key's owners, measured on this machine.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use quoit_proto_types::{HashPoint, KeyspaceId, Ring};
use serde::Serialize;

use crate::fairness::{Cell, Question};

/// Keys that are looked up.
const KEYS: u32 = 20_000;
/// The best of so many rounds: what else the machine does only ever adds.
const ROUNDS: u32 = 3;

/// What lookups take, in nanoseconds, and a ring, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Lookup {
    /// From the table of slots, as nodes and clients do it.
    pub(super) table_ns: f64,
    /// By search among the tokens, as it is done without slots.
    pub(super) search_ns: f64,
    /// From members to a table of slots.
    pub(super) build_us: f64,
}

impl Lookup {
    /// Those of the first ring of `cell`.
    pub(super) fn measured(question: &Question, cell: &Cell) -> Self {
        let key = |index: u32| HashPoint::of_key(KeyspaceId::DEFAULT, &index.to_le_bytes());
        let points: Vec<HashPoint> = (0..KEYS).map(key).collect();
        let began = Instant::now();
        let circle = cell.first.circle(question);
        let ring = Ring::of(&circle, question.slots, question.copies);
        let build = began.elapsed();
        Self {
            table_ns: each_ns(&points, |point| ring.primary(question.slots.slot_of(point))),
            search_ns: each_ns(&points, |point| circle.walk(point).next()),
            build_us: build.as_secs_f64() * 1e6,
        }
    }
}

fn each_ns<T>(points: &[HashPoint], find: impl Fn(HashPoint) -> T) -> f64 {
    let round = || {
        let began = Instant::now();
        for point in points {
            black_box(find(black_box(*point)));
        }
        began.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or(Duration::ZERO);
    best.as_secs_f64() * 1e9 / f64::from(KEYS)
}
