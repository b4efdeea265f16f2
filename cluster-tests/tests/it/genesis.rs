//! Founders form one view, in simulation. `SIM_SEED` replays one seed and prints all that happens; `SIM_SEEDS` sets how
//! many are run.

use std::{env, ops::Range};

use quoit_cluster_tests::sim::{self, Mutant, Summary};

/// The seeds to run: `many` unless the environment says otherwise.
fn seeds(many: u64) -> Range<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(many),
    }
}

#[test]
fn founders_form_one_view_whatever_happens() {
    let seeds = seeds(2_000);
    let replay = seeds.end - seeds.start == 1;
    let mut met = [("superseded", 0), ("formed anew", 0), ("crashed", 0), ("proposed again", 0), ("undisturbed", 0)];
    for seed in seeds {
        let run = sim::run(seed, Mutant::None).unwrap_or_else(|failure| panic!("{failure}"));
        if replay {
            println!("{}", sim::trace(seed, Mutant::None).join("\n"));
        }
        let Summary { views, superseded, crashes, adopted, .. } = run;
        assert!(crashes > 0 || (views, superseded) == (1, 0), "seed {seed}: all form, unless one restarts: {run:?}");
        let now = [superseded > 0, views > 1, crashes > 0, adopted > 0, crashes == 0];
        met.iter_mut().zip(now).for_each(|((_, count), now)| *count += usize::from(now));
    }
    // A simulator that never gets into trouble proves nothing.
    assert!(replay || met.iter().all(|(_, count)| *count > 0), "{met:?}");
    println!("{met:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let first = sim::trace(seed, Mutant::None);
        assert!(!first.is_empty());
        assert_eq!(first, sim::trace(seed, Mutant::None), "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for mutant in Mutant::ALL {
        let found = (0..5_000).find_map(|seed| sim::run(seed, mutant).err());
        let failure = found.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        println!("{mutant:?}: seed {}: {}", failure.seed, failure.violation);
    }
}
