//! Writes while the ring stands still.

use quoit_proto_types::{
    ErrorCode::{ClockSkew, NodeBehind, NotReady, TooOld, ValueTooLarge},
    Hlc, Stamp,
    WriteLevel::{All, Any, One, Quorum, Two},
};

use super::stage::{Layout, Stage, expiring, refused, stored, tombstone, value, version};
use crate::{
    planted::data::{DataBug, DataPlanted},
    replication::ReplicaReply::{Absent, Entry, Stored, Unreachable},
};

fn three() -> Stage {
    Stage::new(&Layout::of(&[1, 2, 3]))
}

#[test]
fn a_write_goes_to_all_owners_at_once_and_is_answered_at_its_level() {
    for (level, answered_by) in [(Any, 1), (One, 1), (Two, 2), (Quorum, 2), (All, 3)] {
        let mut stage = three();
        assert_eq!(stage.set(level), "put 1 7=7, put 2 7=7, put 3 7=7");
        for node in 1..=3 {
            let said = stage.reply(node, stored());
            assert_eq!(said, if node == answered_by { "=> done 7" } else { "" }, "{level}, {node}");
        }
        assert!(stage.coordinator.is_empty());
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_held() {
    assert!(!three().set(Any).contains("done"));
    let mut hasty = Stage::planted(&Layout::of(&[1, 2, 3]), DataPlanted::some(DataBug::AckBeforeStored));
    assert!(hasty.set(All).contains("done"));
}

#[test]
fn a_key_existed_if_any_owner_says_so() {
    let mut stage = three();
    assert_eq!(stage.delete(Two), "put 1 7=, put 2 7=, put 3 7=");
    assert_eq!(stage.reply(2, Stored { was_live: true }), "");
    assert_eq!(stage.reply(1, stored()), "=> done 7 again");
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).down(&[3]));
    assert_eq!(stage.delete(Two), "put 1 7=, put 2 7=, put 4 for 3 7=");
    assert_eq!(stage.reply(4, Stored { was_live: true }), "", "a substitute does not know");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

#[test]
fn an_owner_that_is_down_gets_a_hint_at_once() {
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).down(&[2]));
    assert_eq!(stage.set(One), "put 1 7=7, put 3 7=7, put 4 for 2 7=7");
    assert_eq!(stage.reply(4, stored()), "", "a substitute is no owner");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

/// At the beginning of a partition, before connections break (found by `processes churn`: one owner was brought the entry
/// later, the other was not, and nobody knew).
#[test]
fn one_substitute_keeps_it_for_all_owners_that_stay_silent() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).members(3).me(3));
    assert_eq!(stage.set(Any), "put 1 7=7, put 2 7=7");
    assert_eq!(stage.reply(1, Unreachable), "put 3 for 1 7=7");
    assert_eq!(stage.reply(3, stored()), "=> done 7");
    assert_eq!(stage.at(999), "");
    assert_eq!(stage.at(1001), "tell put 3 for 2 7=7");
}

/// After a partition a node goes by the view of the others, which says that it is down, and has not reached all of them yet
/// (found by `processes churn`: what one owner alone had was lost when that one was restarted as planned).
#[test]
fn who_is_said_to_be_down_keeps_hints_itself() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).members(3).down(&[3]).me(3));
    assert_eq!(stage.set(Any), "put 1 7=7, put 2 7=7");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
    assert_eq!(stage.reply(2, Unreachable), "put 3 for 2 7=7");
}

#[test]
fn substitutes_count_for_two_and_not_for_quorum() {
    let layout = Layout::of(&[1, 2, 3]);
    for (level, planted, said) in [
        (Two, DataPlanted::NOTHING, "=> done 7"),
        (Quorum, DataPlanted::NOTHING, "=> unfinished 7 2"),
        (Quorum, DataPlanted::some(DataBug::SubstituteCountsForQuorum), "=> done 7"),
    ] {
        let mut stage = Stage::planted(&layout, planted);
        stage.set(level);
        assert_eq!(stage.reply(3, Unreachable), "put 4 for 3 7=7");
        assert_eq!(stage.reply(1, stored()), "");
        let mut last = stage.reply(4, stored());
        if level == Quorum && last.is_empty() {
            last = stage.reply(2, Unreachable);
        }
        assert_eq!(last, said, "{level}");
    }
}

#[test]
fn a_failed_owner_gets_a_hint_after_the_answer_too() {
    let mut stage = three();
    stage.set(One);
    assert_eq!(stage.reply(1, stored()), "=> done 7");
    assert_eq!(stage.reply(2, stored()), "");
    assert_eq!(stage.reply(3, refused(NotReady)), "put 4 for 3 7=7");
    assert_eq!(stage.reply(4, Unreachable), "put 5 for 3 7=7");
    assert_eq!(stage.reply(5, stored()), "");
    assert!(stage.coordinator.is_empty());
}

#[test]
fn a_silent_owner_gets_a_substitute_only_while_the_level_is_not_reached() {
    let mut stage = three();
    stage.set(Two);
    assert_eq!(stage.reply(1, stored()), "");
    assert_eq!(stage.at(49), "");
    assert_eq!(stage.at(50), "put 4 for 2 7=7, put 5 for 3 7=7");
    assert_eq!(stage.reply(4, stored()), "=> done 7");
    assert_eq!(stage.at(999), "");

    let mut stage = three();
    stage.set(One);
    assert_eq!(stage.reply(1, stored()), "=> done 7");
    assert_eq!(stage.at(999), "");
    assert_eq!(stage.at(1000), "tell put 4 for 2 7=7, tell put 5 for 3 7=7", "nobody knows whether they have it");
    assert!(stage.coordinator.is_empty());
}

#[test]
fn an_owner_that_was_slow_counts_when_it_answers() {
    let mut stage = three();
    stage.set(All);
    stage.at(50);
    assert_eq!(stage.reply(1, stored()) + &stage.reply(2, stored()), "");
    assert_eq!(stage.reply(3, stored()), "=> done 7");
}

#[test]
fn a_substitute_is_used_once_and_the_next_one_takes_its_place() {
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).down(&[3]));
    assert_eq!(stage.set(Two), "put 1 7=7, put 2 7=7, put 4 for 3 7=7");
    assert_eq!(stage.reply(4, Unreachable), "put 5 for 3 7=7");
    assert_eq!(stage.reply(2, Unreachable), "", "there is nobody left");
    assert_eq!(stage.reply(5, stored()), "");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

#[test]
fn a_node_that_goes_down_is_not_waited_for() {
    let mut stage = three();
    stage.set(Two);
    stage.reply(1, stored());
    assert_eq!(stage.install(&Layout::of(&[1, 2, 3]).down(&[2])), "put 4 for 2 7=7");
    assert_eq!(stage.reply(4, stored()), "=> done 7");
}

#[test]
fn what_cannot_be_reached_is_given_back_before_anybody_is_asked() {
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).down(&[2, 3]));
    assert_eq!(stage.set(Quorum), "=> unfinished 7 0");
    assert!(stage.coordinator.is_empty());
    let mut alone = Stage::new(&Layout::of(&[1, 2]).members(2).down(&[2]));
    assert_eq!(alone.set(Two), "=> unfinished 7 0");
    assert_eq!(alone.set(One), "put 1 7=7");
}

#[test]
fn what_cannot_be_reached_any_more_is_given_back_at_once() {
    let mut stage = three();
    stage.set(All);
    assert_eq!(stage.reply(1, stored()), "");
    assert_eq!(stage.reply(2, Unreachable), "=> unfinished 7 1");
    assert!(stage.coordinator.is_empty());
}

#[test]
fn a_write_is_given_back_while_there_is_time_to_carry_it_on() {
    let mut stage = three();
    stage.set(Quorum);
    stage.reply(2, stored());
    assert_eq!(stage.at(249), "put 4 for 1 7=7, put 5 for 3 7=7");
    assert_eq!(stage.at(250), "=> unfinished 7 1");
    assert_eq!(stage.reply(4, stored()) + &stage.reply(5, stored()), "");
    assert_eq!(stage.at(1000), "", "those who keep it for them have it");
    assert!(stage.coordinator.is_empty());
}

#[test]
fn a_write_that_was_given_back_leaves_hints_for_those_that_stay_silent() {
    let mut stage = three();
    stage.deadline_ms = 100;
    stage.set(Quorum);
    stage.reply(2, stored());
    assert_eq!(stage.at(25), "=> unfinished 7 1");
    assert_eq!(stage.at(100), "tell put 4 for 1 7=7, tell put 5 for 3 7=7");
    assert!(stage.coordinator.is_empty());
}

#[test]
fn a_touch_that_is_stuck_waits_for_its_deadline() {
    let mut stage = three();
    stage.touch(Quorum, 9, 0);
    stage.reply(1, value(4));
    stage.reply(1, stored());
    assert_eq!(stage.at(999), "put 4 for 2 4+9=4, put 5 for 3 4+9=4", "nobody else could carry it on");
    assert_eq!(stage.at(1000), "=> Unavailable 1");
}

#[test]
fn two_copies_of_one_are_one() {
    let mut stage = Stage::new(&Layout::of(&[1]));
    assert_eq!(stage.set(Two), "put 1 7=7");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

#[test]
fn any_node_will_do_for_any() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).down(&[1, 2]).me(3));
    assert_eq!(stage.set(Any), "put 3 for 1 7=7, put 4 for 2 7=7");
    assert_eq!(stage.reply(4, stored()), "=> done 7");
}

#[test]
fn one_substitute_keeps_it_for_all_owners_if_there_is_no_other() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]).members(3).down(&[1, 2]).me(3));
    assert_eq!(stage.set(Any), "put 3 for 1 7=7");
    assert_eq!(stage.reply(3, stored()), "=> done 7, tell put 3 for 2 7=7");
    assert!(stage.coordinator.is_empty());
    // An owner that has it brings it to the other one.
    let mut stage = Stage::new(&Layout::of(&[1, 2, 3]).members(3).down(&[2, 3]));
    assert_eq!(stage.set(Any), "put 1 7=7");
    assert_eq!(stage.reply(1, stored()), "=> done 7");
}

#[test]
fn what_a_clock_or_a_floor_forbids_is_told_and_nobody_stands_in() {
    for (code, said) in [(ClockSkew, "=> ClockSkew 0"), (TooOld, "=> TooOld 0")] {
        let mut stage = three();
        stage.set(Quorum);
        assert_eq!(stage.reply(2, refused(code)), "");
        assert_eq!(stage.reply(1, stored()), "");
        assert_eq!(stage.reply(3, refused(code)), said);
    }
    let mut stage = three();
    stage.set(Quorum);
    stage.reply(2, refused(ClockSkew));
    stage.reply(1, stored());
    assert_eq!(stage.reply(3, stored()), "=> done 7", "one clock does not matter while there are enough");
}

/// What is kept for an owner that is too small could never be delivered, and would be gone when it is old. So nobody stands
/// in for it: the other owners are enough, or the write fails.
#[test]
fn an_owner_that_is_too_small_counts_for_nothing() {
    let mut stage = three();
    stage.set(Two);
    assert_eq!(stage.reply(1, refused(ValueTooLarge)), "");
    assert_eq!(stage.reply(2, stored()), "");
    assert_eq!(stage.reply(3, stored()), "=> done 7");
    assert!(stage.coordinator.is_empty());
    // One of the others is out of reach: it gets a hint, and that is a copy.
    let mut stage = three();
    stage.set(Two);
    stage.reply(1, refused(ValueTooLarge));
    assert_eq!(stage.reply(3, Unreachable), "put 4 for 3 7=7");
    assert_eq!(stage.reply(2, stored()), "");
    assert_eq!(stage.reply(4, stored()), "=> done 7");
    // One copy is not enough, in whichever order they answer.
    for hasty in [1, 2] {
        let mut stage = Stage::new(&Layout::of(&[1, 2]));
        assert_eq!(stage.set(Two), "put 1 7=7, put 2 7=7");
        let mut said = String::new();
        for node in [hasty, 3 - hasty] {
            said += &stage.reply(node, if node == 1 { refused(ValueTooLarge) } else { stored() });
        }
        assert_eq!(said, "=> ValueTooLarge 0");
        assert!(stage.coordinator.is_empty());
    }
    // Nor is it under a ring change, if one that is to own is too small.
    let mut stage = Stage::new(&Layout::of(&[1, 2]).joint(&[2, 3]));
    assert_eq!(stage.set(Two), "put 1 7=7, put 2 7=7, put 3 7=7");
    assert_eq!([1, 2].map(|node| stage.reply(node, stored())), ["", ""]);
    assert_eq!(stage.reply(3, refused(ValueTooLarge)), "=> ValueTooLarge 0");
}

#[test]
fn a_node_that_is_behind_is_asked_again_after_a_pause() {
    let mut stage = three();
    stage.set(Quorum);
    stage.reply(1, stored());
    assert_eq!(stage.reply(2, refused(NodeBehind)), "");
    assert_eq!(stage.at(9), "");
    assert_eq!(stage.at(10), "put 2 7=7");
    assert_eq!(stage.reply(2, refused(NodeBehind)), "");
    assert_eq!(stage.at(20), "put 2 7=7");
    assert_eq!(stage.reply(2, stored()), "=> done 7");
}

#[test]
fn a_node_that_stays_behind_is_replaced_like_a_silent_one() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]));
    stage.set(Two);
    stage.reply(1, stored());
    for pause in 1..5 {
        stage.reply(2, refused(NodeBehind));
        assert_eq!(stage.at(pause * 10), "put 2 7=7");
    }
    stage.reply(2, refused(NodeBehind));
    assert_eq!(stage.at(50), "put 2 7=7, put 3 for 2 7=7");
    assert_eq!(stage.reply(3, stored()), "=> done 7");
}

#[test]
fn a_touch_keeps_version_and_value() {
    let mut stage = three();
    assert_eq!(stage.touch(Two, 9, 2_000_000), "get 1");
    let put = "4+9=4 until 2000000";
    assert_eq!(stage.reply(1, value(4)), format!("put 1 {put}, put 2 {put}, put 3 {put}"));
    assert_eq!(stage.reply(3, stored()), "");
    assert_eq!(stage.reply(1, stored()), "=> done 4 again");
}

#[test]
fn a_touch_is_later_than_the_one_before_whatever_the_clocks_say() {
    let mut stage = three();
    stage.touch(Two, 9, 0);
    let before = Stamp { touched: Hlc::new(20), ..Stamp::value(version(4), 0) };
    let said = stage.reply(1, Entry { stamp: before, value: "4".into() });
    assert_eq!(said, "put 1 4+21=4, put 2 4+21=4, put 3 4+21=4");
}

#[test]
fn a_touch_misses_what_is_not_there() {
    for (first, then) in [(tombstone(4), None), (expiring(4, 1_000_000), None), (Absent, Some(Absent))] {
        let mut stage = three();
        stage.touch(One, 9, 0);
        let mut said = stage.reply(1, first);
        if let Some(second) = then {
            assert_eq!(said, "get 2");
            said = stage.reply(2, second);
        }
        assert_eq!(said, "=> miss");
    }
}

#[test]
fn an_answer_to_something_else_is_a_failure() {
    let mut stage = three();
    stage.set(All);
    assert_eq!(stage.reply(1, Absent), "=> unfinished 7 0");
    stage.get(quoit_proto_types::ReadLevel::One);
    assert_eq!(stage.asked(1).len(), 1);
    assert_eq!(stage.reply(1, stored()), "get 2");
}
