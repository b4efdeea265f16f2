//! What nodes bring about together.

use std::{num::NonZeroU64, time::Duration};

use quoit_proto_types::{
    Hlc, SlotIndex, SlotSet, Stamp,
    message::transfer::{BlockEntry, EntryBlockWriter, TransferReply, TransferRequest},
    view::Liveness,
};

use super::super::UpkeepConfig;
use super::stage::{FAIR, FOUL, Stage, Weather, ordinal, slot_of, slots, version};
use crate::{planted::data::DataPlanted, routing::Standing, store::Record};

pub(super) const SEEDS: u64 = 12;
const MINUTE: Duration = Duration::from_secs(60);

/// No repair and no collection, so that only what is looked at happens.
pub(super) fn quiet() -> UpkeepConfig {
    let never = Duration::from_secs(1_000_000);
    UpkeepConfig { repair_period: never, round_interval: never, ..UpkeepConfig::default() }
}

/// Repair and collection in seconds.
pub(super) fn brisk() -> UpkeepConfig {
    UpkeepConfig {
        repair_period: Duration::from_secs(3),
        round_interval: Duration::from_secs(2),
        gc_grace: Duration::from_secs(10),
        hint_age: Duration::from_secs(5),
        ..UpkeepConfig::default()
    }
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// A node joins two that differ: when it says that it is synced, it has the latest of everything.
pub(super) fn handoff(seed: u64, weather: Weather, planted: DataPlanted) -> Result<(), String> {
    let mut stage = Stage::new(seed, 3, &[1, 2], 2, UpkeepConfig { planted, ..quiet() });
    let latest = stage.diverge(300, 600);
    stage.weather = weather;
    stage.begin(&[1, 2, 3]);
    stage.install_everywhere();
    expect(stage.run_until(MINUTE * 5, |stage| stage.node(3).is_synced()), "it is never synced")?;
    for (key, stamp) in latest {
        if stage.node(3).standing(&key) == Standing::Pending {
            expect(stage.read(3, &key) == Some(stamp), "an entry is missing")?;
        }
    }
    Ok(())
}

/// An owner that has not installed the joint view yet takes a write while the others give their part.
pub(super) fn late_owner(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let mut stage = Stage::new(seed, 3, &[1, 2], 2, UpkeepConfig { planted, ..quiet() });
    stage.diverge(50, 100);
    stage.begin(&[2, 3]);
    [2, 3].into_iter().for_each(|index| stage.install(index));
    stage.run(MINUTE);
    let keys: Vec<Vec<u8>> = (0..50).map(|i| format!("late{i}").into_bytes()).collect();
    for key in &keys {
        expect(stage.write(&[1], key, Stamp::value(version(5000, 1), 0), b"late")[0].is_ok(), "the write is refused")?;
    }
    stage.install(1);
    expect(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()), "it is never synced")?;
    for key in keys.iter().filter(|key| stage.node(3).standing(key) == Standing::Pending) {
        expect(stage.read(3, key).is_some(), "a write of the view before is missing")?;
    }
    Ok(())
}

/// Two of three nodes, which own some slots together, have clocks that are ahead by more than the grace: the third one, whose
/// writes they would refuse, owns other slots with each of them.
pub(super) fn two_clocks_ahead(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let mut stage = Stage::new(seed, 3, &[1, 2, 3], 2, UpkeepConfig { planted, ..brisk() });
    stage.ahead = [1, 2].map(|index| (index, MINUTE * 60)).into();
    stage.run(MINUTE);
    let present = Hlc::from_millis(stage.wall().as_millis());
    let is_past = |index| slots().slots().all(|slot| stage.node(index).store.floor(slot) < present);
    expect([1, 2, 3].into_iter().all(is_past), "what is written now would be refused")?;
    stage.ahead.clear();
    let collects =
        |stage: &Stage| slots().slots().all(|slot| stage.node(3).store.floor(slot) > Hlc::MIN || !owns(stage, slot));
    expect(stage.run_until(MINUTE, collects), "nothing is collected although all clocks agree")
}

fn owns(stage: &Stage, slot: SlotIndex) -> bool {
    stage.node(3).routing.as_ref().unwrap().standing(slot) == Standing::Owner
}

#[test]
fn nothing_is_collected_up_to_what_is_yet_to_come_for_somebody() {
    (0..SEEDS).for_each(|seed| two_clocks_ahead(seed, DataPlanted::NOTHING).unwrap());
}

/// A key that was deleted where two of three owners heard of it does not come back when the tombstones are collected.
pub(super) fn collection(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let config = UpkeepConfig { planted, repair_period: Duration::from_secs(20), ..brisk() };
    let mut stage = Stage::new(seed, 3, &[1, 2, 3], 3, config);
    let keys: Vec<Vec<u8>> = (0..40).map(|i| format!("key{i}").into_bytes()).collect();
    for (key, missing) in keys.iter().zip([1, 2, 3].into_iter().cycle()) {
        let others: Vec<u32> = [1, 2, 3].into_iter().filter(|index| *index != missing).collect();
        stage.write(&[1, 2, 3], key, Stamp::value(version(1, 1), 0), b"value");
        stage.write(&others, key, Stamp::tombstone(version(2, 1)), b"");
    }
    let is_clean = |stage: &Stage| [1, 2, 3].iter().all(|index| stage.node(*index).entries() == 0);
    let done = stage.run_until(MINUTE * 2, is_clean);
    stage.run(MINUTE);
    for key in &keys {
        for index in [1, 2, 3] {
            let found = stage.read(index, key);
            let is_dead = found.is_none_or(|stamp| stamp.is_absent_at(stage.wall().as_millis()));
            expect(is_dead, "a deleted key is alive")?;
        }
    }
    expect(done, "tombstones are left")
}

/// An owner that was out of reach during a ring change has writes that nobody else has.
pub(super) fn missed_change(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let mut stage = Stage::new(seed, 3, &[1, 2], 1, UpkeepConfig { planted, ..quiet() });
    let latest = stage.diverge(200, 200);
    stage.weather = Weather { cut_off: Some(1), ..FAIR };
    stage.set_live(1, Liveness::Down);
    [2, 3].into_iter().for_each(|index| stage.install(index));
    stage.begin(&[2, 3]);
    [2, 3].into_iter().for_each(|index| stage.install(index));
    expect(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()), "it is never synced")?;
    stage.finish();
    [2, 3].into_iter().for_each(|index| stage.install(index));
    stage.run(MINUTE);
    stage.set_live(1, Liveness::Up);
    stage.weather = FOUL;
    stage.install_everywhere();
    let empty = |stage: &Stage| stage.node(1).entries() == 0;
    expect(stage.run_until(MINUTE * 3, empty), "the slots are never let go")?;
    for (key, stamp) in latest {
        let owner = stage.node(2).routing.as_ref().unwrap().owners(slot_of(&key)).now[0].value();
        expect(stage.read(owner, &key) == Some(stamp), "a write is lost")?;
    }
    Ok(())
}

#[test]
fn a_pending_owner_has_everything_when_it_is_synced() {
    for seed in 0..SEEDS {
        handoff(seed, FAIR, DataPlanted::NOTHING).unwrap();
        handoff(seed, FOUL, DataPlanted::NOTHING).unwrap();
    }
}

#[test]
fn a_slow_source_is_waited_for() {
    handoff(3, Weather { slow: Some(2), ..FAIR }, DataPlanted::NOTHING).unwrap();
}

#[test]
fn nothing_is_fetched_from_an_owner_that_can_still_take_writes_of_the_view_before() {
    (0..SEEDS).for_each(|seed| late_owner(seed, DataPlanted::NOTHING).unwrap());
}

#[test]
fn a_source_that_is_down_is_passed_over_and_counted() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    stage.diverge(50, 100);
    stage.weather = Weather { cut_off: Some(2), ..FAIR };
    stage.begin(&[1, 2, 3]);
    [1, 3].into_iter().for_each(|index| stage.install(index));
    stage.run(MINUTE);
    assert!(!stage.node(3).is_synced());
    stage.set_live(2, Liveness::Down);
    [1, 3].into_iter().for_each(|index| stage.install(index));
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    let progress = stage.node(3).upkeep.progress(stage.now).handoff.unwrap();
    assert_eq!((progress.slots_left, progress.slots_skipped), (0, progress.slots));
    assert!(progress.slots > 0 && progress.bytes > 0);
}

#[test]
fn a_source_that_comes_back_in_time_gives_what_it_has() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    let latest = stage.diverge(100, 200);
    stage.weather = Weather { cut_off: Some(2), slow: Some(1), lost: 0 };
    stage.begin(&[1, 2, 3]);
    stage.install_everywhere();
    stage.run(Duration::from_millis(200));
    for live in [Liveness::Down, Liveness::Up] {
        stage.set_live(2, live);
        stage.install_everywhere();
    }
    stage.weather = FAIR;
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    let pending = latest.iter().filter(|(key, _)| stage.node(3).standing(key) == Standing::Pending);
    assert!(pending.into_iter().all(|(key, stamp)| stage.read(3, key) == Some(*stamp)));
}

#[test]
fn who_is_named_by_the_target_and_gains_nothing_says_so_at_once() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    stage.begin(&[1, 2, 3]);
    stage.install_everywhere();
    assert!(stage.node(1).is_synced() && stage.node(2).is_synced() && !stage.node(3).is_synced());
}

#[test]
fn another_fence_begins_anew() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    let latest = stage.diverge(100, 200);
    stage.weather = FOUL;
    for _ in 0..5 {
        stage.begin(&[1, 2, 3]);
        stage.install_everywhere();
        stage.run(Duration::from_millis(100));
        stage.change(|fields| fields.target = None);
        stage.install_everywhere();
        assert_eq!(stage.node(3).entries(), 0, "an owner-to-be that is none keeps nothing");
    }
    stage.begin(&[1, 2, 3]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    let pending = latest.iter().filter(|(key, _)| stage.node(3).standing(key) == Standing::Pending);
    assert!(pending.into_iter().all(|(key, stamp)| stage.read(3, key) == Some(*stamp)));
}

#[test]
fn handoff_goes_no_faster_than_its_pace_and_can_be_held() {
    let pace = NonZeroU64::new(1 << 20);
    let mut stage = Stage::new(1, 2, &[1], 1, UpkeepConfig { pace, ..quiet() });
    for key in 0..200_u32 {
        stage.write(&[1], &key.to_be_bytes(), Stamp::value(version(1, 1), 0), &[7; 32 << 10]);
    }
    stage.begin(&[2]);
    stage.install_everywhere();
    let began = stage.now;
    stage.run(Duration::from_secs(2));
    stage.nodes.get_mut(&2).unwrap().upkeep.pause();
    stage.run(Duration::from_secs(1));
    let held = stage.node(2).entries();
    stage.run(MINUTE);
    assert_eq!(stage.node(2).entries(), held, "it goes on while it is held");
    let progress = stage.node(2).upkeep.progress(stage.now);
    assert!(progress.paused && progress.handoff.unwrap().bytes >= 1 << 20);
    let (now, wall) = (stage.now, stage.wall());
    let node = stage.nodes.get_mut(&2).unwrap();
    node.upkeep.resume(now, wall, &node.store);
    assert!(stage.run_until(MINUTE, |stage| stage.node(2).is_synced()));
    let moved = stage.now.checked_duration_since(began).unwrap() - MINUTE - Duration::from_secs(1);
    assert!((5..9).contains(&moved.as_secs()), "6.4 MB at 1 MiB/s took {moved:?}");
}

#[test]
fn slots_that_were_merged_are_dropped_once_all_owners_have_the_same() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    let latest = stage.diverge(100, 200);
    stage.begin(&[2, 3]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    // The new owner was out of reach for this one, and whoever acknowledged it gives the slot up.
    let late = Stamp::value(version(9000, 1), 0);
    stage.write(&[1], b"late", late, b"value");
    stage.finish();
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(1).entries() == 0));
    assert_eq!(stage.node(1).dropped.len(), slots().count() as usize);
    assert_eq!(stage.node(1).upkeep.progress(stage.now).unoffered_slots, 0);
    for index in [2, 3] {
        assert_eq!(stage.read(index, b"late"), Some(late));
        assert!(latest.iter().all(|(key, stamp)| stage.read(index, key) == Some(*stamp)));
    }
}

#[test]
fn a_hint_is_given_to_an_owner_to_be_and_kept_until_it_owns() {
    let mut stage = Stage::new(1, 3, &[1], 1, quiet());
    stage.begin(&[2]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(2).is_synced()));
    let (hints, stamp) = (stage.node(3).upkeep.hints(), Stamp::value(version(9000, 1), 0));
    hints.keep(stage.now, ordinal(2), slot_of(b"key"), stamp, Record::new(b"key", b"value"));
    assert!(stage.run_until(MINUTE, |stage| stage.read(2, b"key") == Some(stamp)));
    stage.run(MINUTE);
    assert_eq!(hints.stats().entries, 1, "the change may yet be given up");
    stage.finish();
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |_| hints.stats().entries == 0));
    assert_eq!(hints.stats().delivered, 1);
}

#[test]
fn slots_that_nobody_gains_are_offered_before_they_are_dropped() {
    let mut stage = Stage::new(1, 3, &[1, 2, 3], 3, quiet());
    let latest = stage.diverge(100, 200);
    stage.change(|fields| fields.target = Some(fields.ring[1..].to_vec()));
    stage.install_everywhere();
    stage.finish();
    stage.weather = FOUL;
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE * 3, |stage| stage.node(1).entries() == 0));
    let (mut mine, mut taken) = (0, 0);
    for (key, stamp) in latest {
        let held = [2, 3].map(|index| stage.read(index, &key));
        taken += usize::from(held.contains(&Some(stamp)));
        mine += 1;
    }
    assert_eq!(taken, mine);
}

#[test]
fn who_missed_a_ring_change_offers_what_it_has() {
    (0..SEEDS).for_each(|seed| missed_change(seed, DataPlanted::NOTHING).unwrap());
}

/// The only new owner dies before it could be offered what this one had left, which is to own the slots again then.
#[test]
fn what_is_left_of_slots_that_nobody_in_reach_owns_is_kept() {
    let mut stage = Stage::new(1, 2, &[1], 1, quiet());
    let stamp = Stamp::value(version(1, 1), 0);
    stage.write(&[1], b"key", stamp, b"value");
    stage.begin(&[2]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(2).is_synced()));
    stage.weather = Weather { cut_off: Some(2), ..FAIR };
    stage.finish();
    stage.install(1);
    stage.set_live(2, Liveness::Down);
    stage.install(1);
    // For longer than it would be offered to owners in reach.
    stage.run(MINUTE * 25);
    // A change that comes to nothing takes nothing away either.
    for is_given_up in [true, false] {
        stage.begin(&[1]);
        stage.install(1);
        assert!(stage.run_until(MINUTE, |stage| stage.node(1).is_synced()));
        if is_given_up {
            stage.change(|fields| fields.target = None);
        } else {
            stage.finish();
        }
        stage.install(1);
        stage.run(MINUTE);
        assert_eq!(stage.read(1, b"key"), Some(stamp), "given up: {is_given_up}");
    }
    assert_eq!(stage.node(1).upkeep.progress(stage.now).unoffered_slots, 0);
}

#[test]
fn owners_end_with_the_same() {
    for seed in 0..SEEDS {
        let mut stage = Stage::new(seed, 3, &[1, 2, 3], 3, UpkeepConfig { round_interval: MINUTE * 100, ..brisk() });
        let latest = stage.diverge(300, 900);
        stage.weather = FOUL;
        assert!(stage.run_until(MINUTE * 5, Stage::is_converged), "seed {seed}");
        let agreed = |index: u32| latest.iter().all(|(key, stamp)| stage.read(index, key) == Some(*stamp));
        assert!([1, 2, 3].into_iter().all(agreed), "seed {seed}");
    }
}

#[test]
fn an_owner_that_comes_back_is_repaired_at_once() {
    let mut stage = Stage::new(1, 3, &[1, 2, 3], 3, UpkeepConfig { repair_period: MINUTE * 60, ..quiet() });
    stage.set_live(3, Liveness::Down);
    stage.install_everywhere();
    stage.write(&[1, 2], b"key", Stamp::value(version(1, 1), 0), b"value");
    stage.run(MINUTE);
    assert!(!stage.is_converged());
    stage.set_live(3, Liveness::Up);
    stage.install_everywhere();
    assert!(stage.run_until(Duration::from_secs(2), Stage::is_converged));
}

#[test]
fn dirty_slots_are_repaired_at_once() {
    let mut stage = Stage::new(1, 2, &[1, 2], 2, quiet());
    stage.write(&[1], b"key", Stamp::value(version(1, 1), 0), b"value");
    let (now, wall) = (stage.now, stage.wall());
    let node = stage.nodes.get_mut(&2).unwrap();
    let dirty = SlotSet::of(slots(), |slot| slot == slot_of(b"key"));
    node.upkeep.mark_dirty(now, wall, &node.store, &dirty);
    // Nothing is due but that.
    stage.install(2);
    assert!(stage.run_until(Duration::from_secs(2), Stage::is_converged));
}

#[test]
fn what_was_deleted_and_collected_stays_deleted() {
    (0..SEEDS).for_each(|seed| collection(seed, DataPlanted::NOTHING).unwrap());
}

#[test]
fn tombstones_are_collected_in_foul_weather_too() {
    let mut stage = Stage::new(1, 3, &[1, 2, 3], 3, brisk());
    stage.weather = FOUL;
    let latest = stage.diverge(100, 400);
    let values = latest.values().filter(|stamp| !stamp.is_absent_at(0)).count();
    let is_clean = |stage: &Stage| [1, 2, 3].iter().all(|index| stage.node(*index).entries() as usize == values);
    assert!(stage.run_until(MINUTE * 10, is_clean));
    assert!(stage.node(1).upkeep.progress(stage.now).rounds > 0);
    stage.run(MINUTE);
    assert!(is_clean(&stage) && stage.is_converged());
}

#[test]
fn nothing_is_collected_while_an_owner_is_down() {
    let mut stage = Stage::new(1, 3, &[1, 2, 3], 3, brisk());
    stage.write(&[1, 2, 3], b"key", Stamp::tombstone(version(1, 1)), b"");
    stage.set_live(3, Liveness::Down);
    stage.install_everywhere();
    stage.run(MINUTE);
    assert!([1, 2, 3].iter().all(|index| stage.node(*index).entries() == 1));
}

#[test]
fn hints_go_to_their_owner_when_it_lives_again() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    stage.set_live(2, Liveness::Down);
    stage.install_everywhere();
    let hints = stage.node(3).upkeep.hints();
    for key in 0..300_u32 {
        let (key, stamp) = (key.to_be_bytes(), Stamp::value(version(1, 1), 0));
        hints.keep(stage.now, ordinal(2), slot_of(&key), stamp, Record::new(&key, b"value"));
    }
    stage.run(MINUTE);
    assert_eq!((hints.stats().entries, stage.node(2).entries()), (300, 0));
    stage.weather = FOUL;
    stage.set_live(2, Liveness::Up);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE * 5, |_| hints.stats().entries == 0));
    assert_eq!((hints.stats().delivered, hints.stats().bytes, stage.node(2).entries()), (300, 0, 300));
}

#[test]
fn hints_for_a_node_that_lost_its_place_go_to_a_present_owner() {
    let mut stage = Stage::new(1, 3, &[1, 2], 1, quiet());
    stage.set_live(2, Liveness::Down);
    stage.install_everywhere();
    let hints = stage.node(3).upkeep.hints();
    let keys: Vec<[u8; 4]> = (0..100_u32).map(u32::to_be_bytes).collect();
    let theirs = |key: &&[u8; 4]| stage.node(1).routing.as_ref().unwrap().owners(slot_of(*key)).contains(ordinal(2));
    let theirs: Vec<_> = keys.iter().filter(theirs).collect();
    for key in &theirs {
        let record = Record::new(*key, b"value");
        hints.keep(stage.now, ordinal(2), slot_of(*key), Stamp::value(version(1, 1), 0), record);
    }
    stage.begin(&[1]);
    stage.install_everywhere();
    stage.finish();
    stage.install_everywhere();
    stage.change(|fields| fields.members.retain(|member| member.ordinal != ordinal(2)));
    [1, 3].into_iter().for_each(|index| stage.install(index));
    stage.run(MINUTE);
    assert!(!theirs.is_empty() && theirs.iter().all(|key| stage.read(1, *key).is_some()));
}

#[test]
fn a_hint_that_comes_during_a_ring_change_is_not_lost_with_an_owner_that_leaves() {
    let mut stage = Stage::new(1, 4, &[1, 2], 2, quiet());
    stage.begin(&[2, 3]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    let hints = stage.node(4).upkeep.hints();
    let stamp = Stamp::value(version(1, 1), 0);
    hints.keep(stage.now, ordinal(1), slot_of(b"key"), stamp, Record::new(b"key", b"value"));
    stage.run(MINUTE);
    stage.finish();
    stage.install_everywhere();
    stage.run(MINUTE);
    assert!([2, 3].iter().any(|index| stage.read(*index, b"key") == Some(stamp)));
}

#[test]
fn what_was_offered_after_a_slot_was_merged_is_offered_on() {
    let mut stage = Stage::new(1, 4, &[1, 2], 2, quiet());
    stage.begin(&[2, 3]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    let stamp = Stamp::value(version(1, 4), 0);
    let mut block = EntryBlockWriter::default();
    block.push(&BlockEntry { stamp, key: b"key", value: b"offered" });
    let (now, wall, fence) = (stage.now, stage.wall(), stage.view.fence());
    let node = stage.nodes.get_mut(&1).unwrap();
    let offer = TransferRequest::Offer;
    let (reply, _) = node.upkeep.answer(now, wall, &node.store, Some(ordinal(4)), fence, &offer, &block.finish());
    assert_eq!(reply, TransferReply::Offered { taken: 1 });
    stage.finish();
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(1).entries() == 0));
    assert!([2, 3].iter().all(|index| stage.read(*index, b"key") == Some(stamp)));
}

#[test]
fn a_floor_counts_for_further_sources_and_not_for_the_one_it_comes_from() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, quiet());
    let [old, deleted] = [version(1, 1), version(2, 1)].map(|version| Stamp::value(version, 0));
    stage.write(&[1, 2], b"held by both", old, b"value");
    stage.write(&[2], b"collected at the first", deleted, b"value");
    for slot in slots().slots() {
        stage.node(1).store.raise_floor(slot, version(5, 1).hlc);
    }
    stage.begin(&[3]);
    stage.install_everywhere();
    assert!(stage.run_until(MINUTE, |stage| stage.node(3).is_synced()));
    assert_eq!(stage.read(3, b"held by both"), Some(old));
    assert_eq!(stage.read(3, b"collected at the first"), None);
    assert!(slots().slots().all(|slot| stage.node(3).store.floor(slot) == version(5, 1).hlc));
}

#[test]
fn who_missed_views_compares_everything() {
    let mut stage = Stage::new(1, 2, &[1, 2], 2, quiet());
    stage.write(&[1], b"key", Stamp::value(version(1, 1), 0), b"value");
    stage.set_live(2, Liveness::Down);
    stage.install(1);
    stage.set_live(2, Liveness::Up);
    stage.install(2);
    assert!(stage.run_until(Duration::from_secs(2), Stage::is_converged));
}

/// A moment says nothing of who gave it, so two nodes may give two changes of an expiry the same one.
#[test]
fn owners_that_took_different_touches_of_one_moment_come_to_agree() {
    let mut stage = Stage::new(1, 3, &[1, 2, 3], 3, brisk());
    let now_ms = stage.wall().as_millis();
    let touch = |expires_at_ms| Stamp { touched: version(2, 1).hlc, ..Stamp::value(version(1, 1), expires_at_ms) };
    let cases: [(&[u8], _, _); 4] = [
        (b"longer", touch(now_ms + 500_000), touch(now_ms + 900_000)),
        (b"never", touch(now_ms + 500_000), touch(0)),
        (b"alive", touch(now_ms + 1_000), touch(now_ms + 900_000)),
        (b"both over", touch(now_ms + 1_000), touch(now_ms + 2_000)),
    ];
    for (key, less, more) in cases {
        stage.write(&[1, 2], key, less, b"value");
        stage.write(&[3], key, more, b"value");
        // In whatever order they meet.
        stage.write(&[2], key, more, b"value");
    }
    assert!(!stage.is_converged(), "owners can tell that they differ");
    assert!(stage.run_until(Duration::from_secs(30), Stage::is_converged));
    for (key, _, more) in &cases[..3] {
        assert!([1, 2, 3].iter().all(|index| stage.read(*index, key) == Some(*more)), "the longer one stays");
    }
    let is_over = |stage: &Stage| [1, 2, 3].iter().all(|index| stage.read(*index, b"both over").is_none());
    assert!(stage.run_until(MINUTE, is_over), "what is left of the other is collected");
}
