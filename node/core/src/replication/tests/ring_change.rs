//! What a ring change does to operations.

use quoit_proto_types::{
    ErrorCode::{NodeBehind, StaleView},
    ReadLevel, WriteLevel,
};

use super::stage::{Layout, Stage, refused, stored, value};
use crate::{
    planted::data::{DataBug, DataPlanted},
    replication::ReplicaReply::{Absent, Unreachable},
};

/// Member 3 is being replaced by member 4; 5 and 6 own nothing.
fn joint() -> Layout {
    Layout::of(&[1, 2, 3]).joint(&[1, 2, 4]).members(6)
}

#[test]
fn writes_need_their_level_over_both_sets() {
    let disjoint = Layout::of(&[1, 2]).joint(&[3, 4]).members(6);
    for (planted, acks, said) in [
        (DataPlanted::NOTHING, [1, 2, 3], ["", "", ""]),
        (DataPlanted::NOTHING, [3, 4, 1], ["", "", ""]),
        (DataPlanted::some(DataBug::JointWithoutNew), [1, 2, 3], ["", "=> done 7", ""]),
        (DataPlanted::some(DataBug::JointWithoutOld), [3, 4, 1], ["", "=> done 7", ""]),
    ] {
        let mut stage = Stage::planted(&disjoint, planted);
        assert_eq!(stage.set(WriteLevel::Two), "put 1 7=7, put 2 7=7, put 3 7=7, put 4 7=7");
        assert_eq!(acks.map(|node| stage.reply(node, stored())), said);
        let last = stage.reply(if acks[2] == 3 { 4 } else { 2 }, stored());
        assert_eq!(last.is_empty(), !said[1].is_empty());
    }
}

#[test]
fn a_node_counts_for_each_set_it_owns_in() {
    let mut stage = Stage::new(&joint());
    stage.set(WriteLevel::Quorum);
    stage.reply(3, stored());
    stage.reply(4, stored());
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

#[test]
fn a_substitute_counts_for_the_sets_of_the_owner_it_stands_in_for() {
    let mut stage = Stage::new(&joint().down(&[2, 3]));
    assert_eq!(stage.set(WriteLevel::Two), "put 1 7=7, put 4 7=7, put 5 for 2 7=7, put 6 for 3 7=7");
    stage.reply(1, stored());
    assert_eq!(stage.reply(6, stored()), "", "3 is about to own nothing");
    assert_eq!(stage.reply(5, stored()), "=> done 7");
}

#[test]
fn an_owner_that_restarted_stands_in_for_its_former_life() {
    let mut layout = Layout::of(&[1, 2]).joint(&[1, 2]).members(2);
    layout.restarted = vec![2];
    layout.then = Some(vec![(1, 1), (2, 2)]);
    let mut stage = Stage::new(&layout);
    assert_eq!(stage.set(WriteLevel::Two), "put 1 7=7, put 2 7=7");
    stage.reply(2, stored());
    assert_eq!(stage.reply(1, stored()), "=> done 7");
    assert_eq!(stage.set(WriteLevel::Quorum), "=> unfinished 7 0");
}

#[test]
fn plain_reads_ask_owners_in_force_only() {
    assert_eq!(Stage::new(&joint().me(4)).get(ReadLevel::One), "get 1");
    let anyone = DataPlanted::some(DataBug::AnyReplicaReadsInJoint);
    assert_eq!(Stage::planted(&joint().me(4), anyone).get(ReadLevel::One), "get 4");
    let mut stage = Stage::new(&joint());
    stage.get(ReadLevel::One);
    stage.reply(1, Unreachable);
    stage.reply(2, Unreachable);
    assert_eq!(stage.reply(3, Unreachable), "get 5, get 6");
}

#[test]
fn quorum_reads_ask_both_sets() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).joint(&[3, 4]).members(6));
    assert_eq!(stage.get(ReadLevel::Quorum), "get 1, get 2, get 3, get 4");
    stage.reply(1, value(3));
    assert_eq!(stage.reply(2, value(4)), "");
    stage.reply(3, Absent);
    assert_eq!(stage.reply(4, Absent), "=> 4, tell put 1 4=4, tell put 3 4=4, tell put 4 4=4");
}

#[test]
fn a_write_that_bounces_waits_for_the_view_and_goes_on_as_the_same_write() {
    for (planted, put) in [(DataPlanted::NOTHING, "7=7"), (DataPlanted::some(DataBug::RetryRestamps), "8=7")] {
        let mut stage = Stage::planted(&Layout::of(&[1, 2, 3]).members(6), planted);
        stage.set(WriteLevel::Quorum);
        assert_eq!(stage.reply(1, stored()), "");
        assert_eq!(stage.reply(2, refused(StaleView)), "");
        assert_eq!(stage.install(&joint()), format!("put 1 {put}, put 2 {put}, put 3 {put}, put 4 {put}"));
    }
}

#[test]
fn acknowledgements_of_two_fences_never_add_up() {
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).members(6));
    stage.set(WriteLevel::Quorum);
    stage.reply(1, stored());
    stage.install(&joint());
    assert_eq!(stage.asked(2).len(), 2);
    assert_eq!(stage.reply(2, stored()), "", "to the first attempt");
    assert_eq!(stage.reply(2, stored()), "");
    assert_eq!(stage.reply(4, stored()), "");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

#[test]
fn enough_acknowledgements_of_one_fence_are_enough_though_another_owner_moved_on() {
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).members(6));
    stage.set(WriteLevel::Quorum);
    stage.reply(2, refused(StaleView));
    stage.reply(1, stored());
    assert_eq!(stage.reply(3, stored()), "=> done 7");
    assert_eq!(stage.install(&joint()), "put 1 7=7, put 2 7=7, put 3 7=7, put 4 7=7", "2 lacks it");
    for node in [1, 2, 3, 4] {
        assert_eq!(stage.reply(node, stored()), "");
    }
    assert!(stage.coordinator.is_empty());
}

#[test]
fn a_write_that_bounces_for_ever_is_given_back() {
    let mut stage = Stage::new(&Layout::of(&[1]).members(1));
    stage.set(WriteLevel::One);
    assert_eq!(stage.reply(1, refused(StaleView)), "");
    assert_eq!(stage.at(249), "");
    assert_eq!(stage.at(250), "=> unfinished 7 0");
}

#[test]
fn a_pending_node_that_is_behind_is_waited_for() {
    let mut stage = Stage::new(&joint());
    stage.set(WriteLevel::All);
    for node in [1, 2, 3] {
        stage.reply(node, stored());
    }
    stage.reply(4, refused(NodeBehind));
    assert_eq!(stage.at(10), "put 4 7=7");
    assert_eq!(stage.reply(4, stored()), "=> done 7");
}

#[test]
fn a_read_goes_on_under_the_new_view() {
    let mut stage = Stage::new(&Layout::of(&[1]).members(3).me(2));
    assert_eq!(stage.get(ReadLevel::One), "get 1");
    assert_eq!(stage.reply(1, refused(StaleView)), "");
    let finished = Layout::of(&[1]).joint(&[3]).finished().members(3).me(2);
    assert_eq!(stage.install(&finished), "get 3");
    assert_eq!(stage.reply(3, value(4)), "=> 4");
}

#[test]
fn a_touch_that_has_read_writes_under_the_new_view() {
    let mut stage = Stage::new(&Layout::of(&[1]).members(3));
    stage.touch(WriteLevel::One, 9, 0);
    assert_eq!(stage.reply(1, value(4)), "put 1 4+9=4");
    assert_eq!(stage.reply(1, refused(StaleView)), "");
    let finished = Layout::of(&[1]).joint(&[3]).finished().members(3);
    assert_eq!(stage.install(&finished), "put 3 4+9=4");
    assert_eq!(stage.reply(3, stored()), "=> done 4 again");
}
