//! Each planted bug is seen by the test that is there for it.

#![cfg(debug_assertions)]

use super::{
    changes::changes,
    direct::{aged_hint, repair_during_round},
    stage::{FAIR, FOUL},
    together::{SEEDS, collection, handoff, late_owner, missed_change, two_clocks_ahead},
};
use crate::planted::data::{DataBug, DataPlanted};

#[track_caller]
fn is_seen(bug: DataBug, test: impl Fn(u64, DataPlanted) -> Result<(), String>) {
    assert!((0..SEEDS).all(|seed| test(seed, DataPlanted::NOTHING).is_ok()));
    assert!((0..SEEDS).any(|seed| test(seed, DataPlanted::some(bug)).is_err()), "{bug:?} is not seen");
}

#[test]
fn one_source_only() {
    is_seen(DataBug::OneSourceOnly, |seed, planted| handoff(seed, FAIR, planted));
}

#[test]
fn synced_too_early() {
    is_seen(DataBug::SyncedTooEarly, |seed, planted| handoff(seed, FOUL, planted));
}

#[test]
fn scan_before_seal() {
    is_seen(DataBug::ScanBeforeSeal, late_owner);
}

#[test]
fn purge_on_majority() {
    is_seen(DataBug::PurgeOnMajority, collection);
}

#[test]
fn collects_by_own_clock() {
    is_seen(DataBug::CollectsByOwnClock, two_clocks_ahead);
}

#[test]
fn drops_without_offer() {
    is_seen(DataBug::DropsWithoutOffer, missed_change);
}

#[test]
fn repair_goes_on_during_a_round() {
    is_seen(DataBug::RepairDuringRound, repair_during_round);
}

#[test]
fn hints_outlive_a_collection() {
    is_seen(DataBug::HintAfterCollection, aged_hint);
}

#[test]
fn ring_changes_see_them_too() {
    for bug in [DataBug::OneSourceOnly, DataBug::SyncedTooEarly] {
        let seen = (0..SEEDS).any(|seed| changes(seed, DataPlanted::some(bug)).is_err());
        assert!(seen, "{bug:?} is not seen");
    }
}
