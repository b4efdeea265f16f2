//! Reads while the ring stands still.

use quoit_proto_types::{
    ErrorCode::{Busy, NodeBehind, NotReady},
    ReadLevel::{All, One, Quorum},
};

use super::stage::{Layout, Stage, expiring, refused, tombstone, value};
use crate::replication::ReplicaReply::{Absent, Unreachable};

fn three() -> Stage {
    Stage::new(&Layout::of(&[1, 2, 3]))
}

#[test]
fn an_owner_asks_itself_first_and_others_the_first_that_is_up() {
    assert_eq!(three().get(One), "get 1");
    assert_eq!(Stage::new(&Layout::of(&[1, 2, 3]).me(3)).get(One), "get 3");
    assert_eq!(Stage::new(&Layout::of(&[1, 2, 3]).me(4)).get(One), "get 1");
    assert_eq!(Stage::new(&Layout::of(&[1, 2, 3]).me(4).down(&[1])).get(One), "get 2");
}

#[test]
fn an_owner_that_has_restarted_is_not_asked() {
    let mut layout = Layout::of(&[1, 2, 3]).me(4);
    layout.restarted = vec![1];
    assert_eq!(Stage::new(&layout).get(One), "get 2");
    assert_eq!(Stage::new(&layout.me(1)).get(One), "get 2", "not even if it is this process");
}

#[test]
fn a_value_is_a_value_and_a_tombstone_is_an_answer() {
    for (reply, said) in [
        (value(4), "=> 4"),
        (tombstone(4), "=> miss"),
        (expiring(4, 1_000_000), "=> miss"),
        (expiring(4, 1_000_001), "=> 4"),
    ] {
        let mut stage = three();
        stage.get(One);
        assert_eq!(stage.reply(1, reply), said);
        assert!(stage.coordinator.is_empty());
    }
}

#[test]
fn the_time_to_live_is_that_of_the_entry() {
    let mut stage = three();
    assert_eq!(stage.time_to_live(One), "get 1");
    assert_eq!(stage.reply(1, expiring(4, 1_234_567)), "=> until 1234567");
}

#[test]
fn a_miss_at_one_owner_asks_one_more() {
    let mut stage = three();
    stage.get(One);
    assert_eq!(stage.reply(1, Absent), "get 2");
    assert_eq!(stage.reply(2, value(4)), "=> 4");
    stage.get(One);
    stage.reply(1, Absent);
    assert_eq!(stage.reply(2, Absent), "=> miss");
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).down(&[2, 3]));
    stage.get(One);
    assert_eq!(stage.reply(1, Absent), "=> miss", "there is nobody else");
}

#[test]
fn a_failure_after_a_miss_asks_the_next() {
    let mut stage = three();
    stage.get(One);
    assert_eq!(stage.reply(1, Absent), "get 2");
    assert_eq!(stage.reply(2, Unreachable), "get 3");
    assert_eq!(stage.reply(3, Unreachable), "=> miss", "one owner did answer");
}

#[test]
fn a_failure_is_no_miss() {
    let mut stage = three();
    stage.get(One);
    assert_eq!(stage.reply(1, Unreachable), "get 2");
    assert_eq!(stage.reply(2, refused(NotReady)), "get 3");
    assert_eq!(stage.reply(3, refused(Busy)), "get 4, get 5");
    assert_eq!(stage.reply(4, Absent), "");
    assert_eq!(stage.reply(5, Absent), "=> Unavailable 2");
}

#[test]
fn hints_are_read_when_no_owner_answers() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).members(6).down(&[1, 2]).me(6));
    assert_eq!(stage.get(One), "get 3, get 4");
    assert_eq!(stage.reply(3, Unreachable), "get 5", "two are to answer");
    assert_eq!(stage.reply(4, Absent), "");
    assert_eq!(stage.reply(5, value(4)), "=> 4");
}

#[test]
fn a_slow_owner_is_hedged() {
    let mut stage = three();
    stage.get(One);
    assert_eq!(stage.at(4), "");
    assert_eq!(stage.at(5), "get 2");
    assert_eq!(stage.reply(2, value(4)), "=> 4");
    stage.get(One);
    stage.at(11);
    assert_eq!(stage.reply(1, value(5)), "", "it is the answer to the first question");
    assert_eq!(stage.reply(1, value(5)), "=> 5", "the first may still be the faster one");
}

#[test]
fn silent_owners_are_waited_for_and_then_hints_are_read() {
    let mut stage = three();
    stage.get(One);
    assert_eq!(stage.at(11), "get 2, get 3");
    assert_eq!(stage.at(59), "");
    assert_eq!(stage.at(61), "get 4, get 5");
    assert_eq!(stage.reply(4, Absent), "");
    assert_eq!(stage.reply(5, Absent), "", "an owner may answer yet");
    assert_eq!(stage.reply(2, value(4)), "=> 4");
    stage.get(One);
    assert_eq!(stage.at(1060), "get 2, get 3, get 4, get 5");
    assert_eq!(stage.at(1061), "=> Unavailable 0", "whoever says nothing has not said that there is nothing");
}

#[test]
fn an_owner_that_is_behind_is_passed_over_and_asked_again() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]));
    stage.get(One);
    assert_eq!(stage.reply(1, refused(NodeBehind)), "get 2");
    assert_eq!(stage.reply(2, refused(NodeBehind)), "");
    assert_eq!(stage.at(10), "get 1");
    assert_eq!(stage.reply(1, value(4)), "=> 4");
}

#[test]
fn what_is_older_than_the_client_has_seen_is_not_good_enough() {
    let mut stage = three();
    assert_eq!(stage.get_at_least(One, 5), "get 1");
    assert_eq!(stage.reply(1, value(4)), "get 2, get 3");
    assert_eq!(stage.reply(2, Absent), "");
    assert_eq!(stage.reply(3, value(5)), "=> 5");
    stage.get_at_least(One, 5);
    stage.reply(1, Absent);
    assert_eq!(stage.reply(2, tombstone(6)), "=> miss");
}

#[test]
fn what_the_client_has_written_may_still_be_kept_for_the_owners() {
    let mut stage = three();
    let asked_owners = |stage: &mut Stage| {
        stage.get_at_least(One, 5);
        stage.reply(1, Absent);
        stage.reply(2, Absent);
        stage.reply(3, Absent)
    };
    assert_eq!(asked_owners(&mut stage), "get 4, get 5");
    assert_eq!(stage.reply(4, value(5)), "=> 5");
    assert_eq!(stage.reply(5, Absent), "");
    asked_owners(&mut stage);
    stage.reply(4, Absent);
    assert_eq!(stage.reply(5, Absent), "=> miss", "the owners have answered");
}

#[test]
fn who_kept_it_in_a_partition_is_asked_before_it_is_found_to_be_up() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).members(4).down(&[3]));
    stage.get_at_least(One, 5);
    stage.reply(1, Absent);
    assert_eq!(stage.reply(2, Absent), "get 4, get 3");
    stage.reply(4, Absent);
    assert_eq!(stage.reply(3, value(5)), "=> 5");
}

#[test]
fn if_nobody_has_it_the_newest_is_marked_stale() {
    let mut stage = three();
    stage.get_at_least(One, 5);
    stage.reply(1, value(3));
    stage.reply(2, value(4));
    assert_eq!(stage.reply(3, Unreachable), "get 4, get 5");
    assert_eq!(stage.reply(4, Absent), "");
    assert_eq!(stage.reply(5, Unreachable), "=> 4 stale");
    stage.get_at_least(One, 5);
    stage.reply(1, value(3));
    assert_eq!(stage.at(49), "");
    assert_eq!(stage.at(50), "get 4, get 5", "silence is waited out, but not for ever");
    stage.reply(4, Absent);
    assert_eq!(stage.reply(5, Absent), "=> 3 stale");
    let mut stage = three();
    stage.get_at_least(Quorum, 5);
    stage.reply(1, value(3));
    assert_eq!(stage.reply(2, value(4)), "", "the third may have it");
    assert_eq!(stage.reply(3, value(2)), "=> 4 stale, tell put 1 4=4, tell put 3 4=4");
}

#[test]
fn a_quorum_answers_with_the_newest_and_repairs_the_others() {
    let mut stage = three();
    assert_eq!(stage.get(Quorum), "get 1, get 2, get 3");
    assert_eq!(stage.reply(1, value(3)), "");
    assert_eq!(stage.reply(3, value(4)), "=> 4, tell put 1 4=4");
    assert_eq!(stage.reply(2, Absent), "tell put 2 4=4");
    assert!(stage.coordinator.is_empty());
}

#[test]
fn a_later_answer_that_is_newer_repairs_those_that_were_asked_before() {
    let mut stage = three();
    stage.get(Quorum);
    stage.reply(1, value(4));
    assert_eq!(stage.reply(2, value(4)), "=> 4");
    assert_eq!(stage.reply(3, tombstone(6)), "tell put 1 6=, tell put 2 6=");
}

#[test]
fn a_quorum_of_misses_is_a_miss_and_a_deletion_wins_over_older_values() {
    let mut stage = three();
    stage.get(Quorum);
    stage.reply(1, Absent);
    assert_eq!(stage.reply(2, Absent), "=> miss");
    let mut stage = three();
    stage.get(All);
    stage.reply(1, value(4));
    stage.reply(2, tombstone(5));
    assert_eq!(stage.reply(3, Absent), "=> miss, tell put 1 5=, tell put 3 5=");
}

#[test]
fn too_few_owners_for_the_level_are_an_error() {
    let mut stage = three();
    stage.get(Quorum);
    assert_eq!(stage.reply(1, value(4)), "");
    assert_eq!(stage.reply(2, Unreachable), "");
    assert_eq!(stage.reply(3, refused(Busy)), "=> Unavailable 1");
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).down(&[3]));
    assert_eq!(stage.get(All), "=> Unavailable 0");
    let mut stage = three();
    stage.get(All);
    stage.reply(1, value(4));
    stage.reply(2, value(4));
    assert_eq!(stage.at(1000), "=> Unavailable 2");
}
