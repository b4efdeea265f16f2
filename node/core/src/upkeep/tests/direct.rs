//! What one node answers, and what it does with hints and its pace.

use std::time::Duration;

use quoit_proto_types::{
    ErrorCode, Fence, SlotSet, Stamp,
    message::transfer::{BlockEntry, Cursor, EntryBlock, EntryBlockWriter, TransferReply, TransferRequest},
    version::Hlc,
    view::Liveness,
};

use super::super::{Hints, Kept, UpkeepConfig};
use super::stage::{BEGINNING_MS, Stage, ordinal, slot_of, slots, version};
use super::together::{brisk, quiet};
use crate::{
    planted::data::DataPlanted,
    replication::{HlcClock, Replica},
    store::Record,
};

/// Tombstones may be collected at any age.
fn sealing() -> UpkeepConfig {
    UpkeepConfig { gc_grace: Duration::ZERO, ..quiet() }
}

fn all() -> SlotSet {
    SlotSet::of(slots(), |_| true)
}

fn until(ms: u64) -> Hlc {
    Hlc::from_millis(BEGINNING_MS + ms)
}

/// What node 1 answers node 2 under `fence`.
fn ask(stage: &mut Stage, fence: u64, request: &TransferRequest, block: &EntryBlock) -> TransferReply {
    let (now, wall) = (stage.now, stage.wall());
    let node = stage.nodes.get_mut(&1).unwrap();
    node.upkeep.answer(now, wall, &node.store, Some(ordinal(2)), Fence::new(fence), request, block).0
}

fn offer(key: &[u8], stamp: Stamp) -> EntryBlock {
    let mut block = EntryBlockWriter::default();
    block.push(&BlockEntry { stamp, key, value: b"offered" });
    block.finish()
}

fn seal(ms: u64, round: u64) -> TransferRequest {
    TransferRequest::Seal { slots: all(), until: until(ms), round }
}

fn purge(ms: u64, round: u64) -> TransferRequest {
    TransferRequest::Purge { slots: all(), until: until(ms), round }
}

/// Two owners that hold everything.
fn pair() -> Stage {
    Stage::new(1, 3, &[1, 2], 2, sealing())
}

#[test]
fn another_fence_is_answered_with_not_now() {
    let mut stage = pair();
    let requests = [
        TransferRequest::Summarise { slots: all() },
        TransferRequest::Pull { slots: all(), from: Cursor::default() },
        TransferRequest::List { slots: all(), from: Cursor::default() },
        TransferRequest::Fetch { handles: Vec::new() },
        TransferRequest::Merged { slots: all() },
        TransferRequest::Offer,
        seal(1, 1),
        purge(1, 1),
    ];
    for request in &requests {
        for fence in [0, 2] {
            assert_eq!(ask(&mut stage, fence, request, &EntryBlock::default()), TransferReply::NotNow, "{request:?}");
        }
    }
    let answered =
        requests.iter().filter(|request| ask(&mut stage, 1, request, &EntryBlock::default()) != TransferReply::NotNow);
    assert_eq!(answered.count(), 8);
}

#[test]
fn offers_are_taken_above_the_floor_and_where_they_are_later() {
    let mut stage = pair();
    let slot = slot_of(b"absent");
    stage.node(1).store.raise_floor(slot, until(5));
    let mut taken = |key: &[u8], ms: u64| {
        let reply = ask(&mut stage, 1, &TransferRequest::Offer, &offer(key, Stamp::value(version(ms, 3), 0)));
        let TransferReply::Offered { taken } = reply else { panic!("{reply:?}") };
        taken
    };
    assert_eq!([5, 6, 6, 5, 7].map(|ms| taken(b"absent", ms)), [0, 1, 0, 0, 1]);
}

#[test]
fn an_offer_waits_for_the_round() {
    let mut stage = pair();
    let offered = offer(b"key", Stamp::value(version(1, 3), 0));
    assert!(matches!(ask(&mut stage, 1, &seal(5, 1), &EntryBlock::default()), TransferReply::Sealed(_)));
    assert_eq!(ask(&mut stage, 1, &TransferRequest::Offer, &offered), TransferReply::NotNow);
    stage.run(Duration::from_secs(40));
    assert_eq!(ask(&mut stage, 1, &TransferRequest::Offer, &offered), TransferReply::Offered { taken: 1 });
}

#[test]
fn a_purge_counts_in_its_own_round_only() {
    let mut stage = pair();
    let none = EntryBlock::default();
    stage.write(&[1], b"key", Stamp::tombstone(version(1, 1)), b"");
    assert_eq!(ask(&mut stage, 1, &purge(5, 1), &none), TransferReply::NotNow, "nothing was sealed");
    assert!(matches!(ask(&mut stage, 1, &seal(5, 2), &none), TransferReply::Sealed(_)));
    assert_eq!(ask(&mut stage, 1, &purge(5, 1), &none), TransferReply::NotNow, "an older round");
    assert_eq!(ask(&mut stage, 1, &purge(6, 2), &none), TransferReply::NotNow, "another moment");
    assert_eq!(ask(&mut stage, 1, &seal(5, 1), &none), TransferReply::NotNow, "an older seal");
    assert_eq!(stage.node(1).entries(), 1);
    assert_eq!(ask(&mut stage, 1, &purge(5, 2), &none), TransferReply::Noted);
    assert_eq!(stage.node(1).entries(), 0);
    assert_eq!(ask(&mut stage, 1, &purge(5, 2), &none), TransferReply::NotNow, "the round is over");
}

#[test]
fn a_round_ends_with_a_timeout_or_another_fence() {
    let mut stage = pair();
    let none = EntryBlock::default();
    let old = |stage: &mut Stage, key: &[u8]| stage.write(&[1], key, Stamp::value(version(1, 1), 0), b"")[0].is_ok();
    ask(&mut stage, 1, &seal(5, 1), &none);
    assert!(!old(&mut stage, b"a"), "it takes no writes up to then");
    stage.run(Duration::from_secs(40));
    assert!(old(&mut stage, b"a"));
    assert_eq!(ask(&mut stage, 1, &purge(5, 1), &none), TransferReply::NotNow);
    ask(&mut stage, 1, &seal(5, 2), &none);
    stage.begin(&[1, 2, 3]);
    stage.install(1);
    assert!(old(&mut stage, b"b"));
    assert_eq!(ask(&mut stage, 2, &purge(5, 2), &none), TransferReply::NotNow);
    assert_eq!(ask(&mut stage, 2, &seal(5, 3), &none), TransferReply::NotNow, "a ring change is under way");
}

#[test]
fn a_moment_is_vouched_for_when_it_lies_in_the_past() {
    let config = UpkeepConfig { gc_grace: Duration::from_secs(100), hint_age: Duration::from_secs(20), ..quiet() };
    let mut stage = Stage::new(1, 3, &[1, 2], 2, config);
    let wall = stage.wall().as_millis();
    let mut says = |slots: SlotSet, ago_ms: u64, round| {
        let request = TransferRequest::Seal { slots, until: Hlc::from_millis(wall - ago_ms), round };
        ask(&mut stage, 1, &request, &EntryBlock::default()) != TransferReply::NotNow
    };
    // Clocks may differ by half a second. An owner gives a tombstone its grace, a witness what hints may take.
    assert_eq!([99_600, 99_400].map(|ago| says(all(), ago, ago)), [true, false]);
    assert_eq!([39_600, 39_400].map(|ago| says(SlotSet::none(slots()), ago, 1)), [true, false]);
}

#[test]
fn a_pending_owner_gives_nothing_away() {
    let mut stage = Stage::new(1, 2, &[2], 1, sealing());
    stage.begin(&[1, 2]);
    stage.install(1);
    let pull = TransferRequest::Pull { slots: all(), from: Cursor::default() };
    assert_eq!(ask(&mut stage, 2, &pull, &EntryBlock::default()), TransferReply::NotNow);
    let summarise = TransferRequest::Summarise { slots: all() };
    assert_eq!(ask(&mut stage, 2, &summarise, &EntryBlock::default()), TransferReply::NotNow);
}

/// What an owner has said in a round must stay so while the round lasts.
pub(super) fn repair_during_round(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let config =
        UpkeepConfig { planted, gc_grace: Duration::ZERO, round_interval: Duration::from_secs(100_000), ..brisk() };
    let mut stage = Stage::new(seed, 2, &[1, 2], 2, config);
    stage.write(&[2], b"key", Stamp::value(version(1, 1), 0), b"value");
    let said = ask(&mut stage, 1, &seal(5, 1), &EntryBlock::default());
    stage.run(Duration::from_secs(15));
    let says = TransferReply::Sealed(stage.node(1).store.digests_until(&all(), until(5)));
    if said != says {
        return Err("it holds something else than it said".to_owned());
    }
    stage.run(Duration::from_secs(60));
    if stage.is_converged() { Ok(()) } else { Err("it is never repaired".to_owned()) }
}

#[test]
fn repair_waits_for_the_round() {
    repair_during_round(1, DataPlanted::NOTHING).unwrap();
}

/// A hint that is too old is not read, nor brought to anybody.
pub(super) fn aged_hint(seed: u64, planted: DataPlanted) -> Result<(), String> {
    let config = UpkeepConfig { planted, hint_age: Duration::from_secs(5), ..quiet() };
    let mut stage = Stage::new(seed, 3, &[1, 2], 2, config);
    stage.set_live(2, Liveness::Down);
    stage.install_everywhere();
    let hints = stage.node(3).upkeep.hints();
    let stamp = Stamp::value(version(1, 1), 0);
    hints.keep(stage.now, ordinal(2), slot_of(b"key"), stamp, Record::new(b"key", b"value"));
    stage.run(Duration::from_secs(4));
    assert_eq!(hints.find(b"key").map(|(stamp, _)| stamp), Some(stamp));
    stage.run(Duration::from_secs(10));
    let stats = hints.stats();
    if hints.find(b"key").is_none() && (stats.dropped, stats.dirty_slots, stats.bytes) == (1, 1, 0) {
        return Ok(());
    }
    Err("an old hint is there still".to_owned())
}

#[test]
fn hints_grow_old() {
    aged_hint(1, DataPlanted::NOTHING).unwrap();
}

/// What was written long ago and is carried on now would come to its owners after they collected what is that old.
#[test]
fn what_is_old_does_not_become_a_hint() {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, UpkeepConfig { hint_age: Duration::from_secs(5), ..quiet() });
    stage.run(Duration::from_secs(9));
    let (now, wall, clock) = (stage.now, stage.wall(), HlcClock::new());
    let node = stage.node(3);
    let (routing, hints) = (node.routing.clone().unwrap(), node.upkeep.hints());
    let (store, planted) = (&node.store, DataPlanted::NOTHING);
    let replica = Replica { store, routing: &routing, hints: &hints, clock: &clock, now, wall, planted };
    let keep = |key: &[u8], stamp| {
        let kept = replica.put(routing.fence(), stamp, Some(ordinal(2)), Record::new(key, b"value"));
        kept.map_err(|refusal| (refusal.code, refusal.argument))
    };
    let until = Hlc::from_millis(wall.as_millis() - 5_000);
    let old = Stamp::value(version(1, 1), 0);
    assert_eq!(keep(b"old", old), Err((ErrorCode::TooOld, until.value())), "its writer is to stamp it anew");
    assert_eq!(hints.stats().entries, 0);
    // A change of expiry is as old as itself.
    assert_eq!(keep(b"touched", Stamp { touched: until.next(), ..old }), Ok(false));
    assert_eq!(keep(b"new", Stamp::value(version(9_000, 1), 0)), Ok(false));
}

/// Two owners, of whom 2 is down, and the hints of node 3, which get five seconds old.
fn keeper() -> (Stage, Hints) {
    let mut stage = Stage::new(1, 3, &[1, 2], 2, UpkeepConfig { hint_age: Duration::from_secs(5), ..quiet() });
    stage.set_live(2, Liveness::Down);
    stage.install_everywhere();
    let hints = stage.node(3).upkeep.hints();
    (stage, hints)
}

#[test]
fn a_hint_that_is_kept_again_begins_to_age_anew() {
    let (mut stage, hints) = keeper();
    let stamp = Stamp::value(version(1, 1), 0);
    for _ in 0..3 {
        let kept = hints.keep(stage.now, ordinal(2), slot_of(b"key"), stamp, Record::new(b"key", b"value"));
        assert_eq!((kept, hints.stats().entries), (Kept::Kept, 1));
        stage.run(Duration::from_secs(4));
        assert!(hints.find(b"key").is_some());
    }
    stage.run(Duration::from_secs(4));
    assert!(hints.find(b"key").is_none());
}

#[test]
fn a_later_hint_ages_anew_with_an_earlier_one_that_is_no_younger() {
    let (mut stage, hints) = keeper();
    let (earlier, later) = (Stamp::value(version(1, 1), 0), Stamp::value(version(2, 1), 0));
    let keep = |now, stamp| hints.keep(now, ordinal(2), slot_of(b"key"), stamp, Record::new(b"key", b"value"));
    assert_eq!(keep(stage.now, later), Kept::Kept);
    stage.run(Duration::from_secs(4));
    assert_eq!(keep(stage.now, earlier), Kept::Kept);
    stage.run(Duration::from_secs(4));
    assert_eq!(hints.find(b"key").map(|(stamp, _)| stamp), Some(later));
    // Its expiry was changed after the later one was written: that one is dropped before this would be.
    let touched = Stamp { touched: version(3, 1).hlc, ..earlier };
    assert_eq!(keep(stage.now, touched), Kept::Aging);
    assert_eq!(hints.stats().entries, 1);
}

/// Whether these two have the entry of `key`.
fn have(stage: &Stage, owners: [u32; 2]) -> [bool; 2] {
    owners.map(|owner| stage.read(owner, b"key") == Some(Stamp::value(version(1, 1), 0)))
}

/// Node 3 keeps an entry of `key` for node 4, which owns nothing; the owners are 1 and 2.
fn orphaned(live: Liveness) -> (Stage, Hints) {
    let mut stage = Stage::new(1, 4, &[1, 2], 2, quiet());
    stage.set_live(2, live);
    stage.install_everywhere();
    let (hints, stamp) = (stage.node(3).upkeep.hints(), Stamp::value(version(1, 1), 0));
    hints.keep(stage.now, ordinal(4), slot_of(b"key"), stamp, Record::new(b"key", b"value"));
    (stage, hints)
}

#[test]
fn a_hint_for_one_who_owns_the_slot_no_more_is_forgotten_when_all_have_it_who_do() {
    let (mut stage, hints) = orphaned(Liveness::Up);
    stage.weather.cut_off = Some(2);
    stage.run(Duration::from_secs(5));
    assert_eq!(have(&stage, [1, 2]), [true, false]);
    assert_eq!(hints.stats().entries, 1, "if 1 ended now, nobody would have it");
    stage.weather = super::stage::FAIR;
    stage.run(Duration::from_secs(5));
    assert_eq!(have(&stage, [1, 2]), [true; 2]);
    assert_eq!((hints.stats().entries, hints.stats().delivered), (0, 1));
}

#[test]
fn one_owner_that_is_cut_off_keeps_no_other_from_it() {
    let (mut stage, hints) = orphaned(Liveness::Up);
    stage.weather.cut_off = Some(1);
    stage.run(Duration::from_secs(60));
    assert_eq!(have(&stage, [1, 2]), [false, true]);
    assert_eq!(hints.stats().entries, 1);
}

#[test]
fn a_hint_for_one_who_is_down_and_owns_nothing_goes_to_the_owners_all_the_same() {
    let (mut stage, hints) = orphaned(Liveness::Up);
    stage.set_live(4, Liveness::Down);
    stage.install_everywhere();
    stage.run(Duration::from_secs(5));
    assert_eq!(have(&stage, [1, 2]), [true; 2]);
    assert_eq!(hints.stats().entries, 0);
}

#[test]
fn what_waits_for_an_owner_that_is_down_holds_up_nothing_and_goes_to_it_when_it_is_up() {
    let (mut stage, hints) = orphaned(Liveness::Down);
    let stamp = Stamp::value(version(1, 1), 0);
    let keys: Vec<[u8; 4]> = (0_u32..200).map(u32::to_be_bytes).collect();
    for key in &keys {
        hints.keep(stage.now, ordinal(4), slot_of(key), stamp, Record::new(key, b"value"));
    }
    stage.run(Duration::from_secs(20));
    let has_all = |stage: &Stage, owner| keys.iter().all(|key| stage.read(owner, key) == Some(stamp));
    assert!(has_all(&stage, 1) && !has_all(&stage, 2));
    assert_eq!((hints.stats().entries, hints.stats().delivered), (201, 0));
    stage.set_live(2, Liveness::Up);
    stage.install_everywhere();
    stage.run(Duration::from_secs(20));
    assert!(has_all(&stage, 2));
    assert_eq!((hints.stats().entries, hints.stats().delivered), (0, 201));
}

#[test]
fn a_hint_for_one_who_owns_the_slot_no_more_waits_for_an_owner_that_is_down() {
    let (mut stage, hints) = orphaned(Liveness::Down);
    stage.run(Duration::from_secs(5));
    assert_eq!(have(&stage, [1, 2]), [true, false]);
    assert_eq!(hints.stats().entries, 1);
    // Another one comes in its place.
    stage.begin(&[1, 3]);
    stage.install_everywhere();
    stage.run(Duration::from_secs(5));
    stage.finish();
    stage.install_everywhere();
    stage.run(Duration::from_secs(5));
    assert_eq!(have(&stage, [1, 3]), [true; 2]);
    assert_eq!(hints.stats().entries, 0);
}

#[test]
fn hints_are_bounded_for_each_node_and_in_all() {
    let config = UpkeepConfig { hint_target_bytes: 2000, hint_bytes: 3000, ..quiet() };
    let mut stage = Stage::new(1, 4, &[1, 2], 2, config);
    for index in [1, 2] {
        stage.set_live(index, Liveness::Down);
    }
    stage.install_everywhere();
    let hints = stage.node(3).upkeep.hints();
    let stamp = Stamp::value(version(1, 1), 0);
    let keep = |target: u32, count: u32| {
        let keep = |key: u32| {
            let key = key.to_be_bytes();
            hints.keep(stage.now, ordinal(target), slot_of(&key), stamp, Record::new(&key, &[7; 236])) == Kept::Kept
        };
        (0..count).filter(|key| keep(*key)).count()
    };
    assert_eq!([keep(1, 9), keep(1, 9), keep(2, 9)], [4, 4, 2]);
    let stats = hints.stats();
    assert_eq!((stats.entries, stats.bytes, stats.dropped), (6, 3000, 5 + 5 + 7));
    // A later entry of a key takes the place of the earlier one, and an earlier one changes nothing.
    let later = Stamp::value(version(9, 1), 0);
    for (stamp, found) in [(later, later), (stamp, later)] {
        hints.keep(stage.now, ordinal(1), slot_of(&[0; 4]), stamp, Record::new(&[0; 4], b""));
        assert_eq!(hints.find(&[0; 4]).unwrap().0, found);
    }
    assert_eq!(hints.stats().entries, 6);
}
