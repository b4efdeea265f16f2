//! Random orders, losses and view changes: every operation is answered once, in time, and what it says is true.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::{collection::vec, prelude::*};

use super::world::{Tape, World};
use crate::planted::data::{DataBug, DataPlanted};

/// Owners before and after: one joins, one is replaced, all are replaced, and one leaves.
const CHANGES: [(&[u32], &[u32]); 6] = [
    (&[1], &[1, 2]),
    (&[1, 2, 3], &[1, 2, 4]),
    (&[1, 2], &[3, 4]),
    (&[1, 2, 3], &[1, 2]),
    (&[2], &[3]),
    (&[1, 2, 3], &[4, 5, 6]),
];

fn run(change: usize, me: u32, planted: DataPlanted, tape: &[u32]) -> usize {
    let (now, then) = CHANGES[change];
    let mut world = World::new(now, then, me, planted);
    world.run(&mut Tape(tape));
    world.successes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_is_answered_once_and_truly(
        change in 0..CHANGES.len(),
        me in 1..=6_u32,
        tape in vec(any::<u32>(), 100..2000),
    ) {
        run(change, me, DataPlanted::NOTHING, &tape);
    }
}

/// The numbers of a fixed generator (xorshift, Marsaglia, 2003).
fn numbers(seed: u32) -> Vec<u32> {
    let mut state = seed * 2_654_435 + 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state >> 3
    };
    (0..2000).map(step).collect()
}

#[test]
fn most_operations_come_to_what_was_wanted() {
    let successes: usize = (0..20).map(|seed| run(1, 1, DataPlanted::NOTHING, &numbers(seed))).sum();
    assert!(
        successes > 400,
        "{successes} of the 20 worlds' operations, some 1,500, which shows that they do something"
    );
}

#[test]
fn planted_bugs_are_found() {
    let bugs = [
        DataBug::AckBeforeStored,
        DataBug::SubstituteCountsForQuorum,
        DataBug::JointWithoutNew,
        DataBug::JointWithoutOld,
        DataBug::AnyReplicaReadsInJoint,
        DataBug::RetryRestamps,
    ];
    for bug in bugs {
        let fails = |seed: u32| {
            let change = seed as usize % CHANGES.len();
            let world = || run(change, seed % 6 + 1, DataPlanted::some(bug), &numbers(seed));
            catch_unwind(AssertUnwindSafe(world)).is_err()
        };
        assert!((0..120).any(fails), "{bug:?}");
    }
}
