//! How many operations there may be.

use quoit_proto_types::{ReadLevel, WriteLevel};

use super::stage::{Layout, Stage, stored, value};
use crate::replication::OPERATIONS_MAX;

#[test]
fn one_operation_too_many_is_refused() {
    let mut stage = Stage::new(&Layout::of(&[1]));
    for _ in 0..OPERATIONS_MAX {
        assert_eq!(stage.get(ReadLevel::One), "get 1");
    }
    assert_eq!(stage.get(ReadLevel::One), "=> Busy 10");
    assert_eq!(stage.reply(1, value(4)), "=> 4");
    assert_eq!(stage.get(ReadLevel::One), "get 1");
}

#[test]
fn operations_that_are_answered_make_room_and_leave_hints() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]));
    for _ in 0..OPERATIONS_MAX {
        stage.set(WriteLevel::One);
        assert_eq!(stage.reply(1, stored()), "=> done 7");
    }
    let said = stage.get(ReadLevel::One);
    assert_eq!(said.matches("tell put 3 for 2 7=7").count(), OPERATIONS_MAX);
    assert!(said.ends_with("get 1"));
    assert_eq!(stage.coordinator.len(), 1);
}

#[test]
fn replies_to_what_is_over_are_dropped() {
    let mut stage = Stage::new(&Layout::of(&[1, 2]));
    stage.get(ReadLevel::One);
    let first = stage.asked(1)[0];
    assert_eq!(stage.reply(1, value(4)), "=> 4");
    stage.get(ReadLevel::One);
    assert_eq!(stage.reply_to(first, 1, value(4)), "", "the place has another operation");
    assert_eq!(stage.reply(1, value(5)), "=> 5");
    assert_eq!(stage.reply_to(first, 1, value(4)), "");
}

#[test]
fn what_is_too_late_is_not_begun() {
    let mut stage = Stage::new(&Layout::of(&[1]));
    stage.deadline_ms = 0;
    assert_eq!(stage.set(WriteLevel::One), "=> DeadlinePassed 0");
    stage.deadline_ms = 1;
    assert_eq!(stage.set(WriteLevel::One), "put 1 7=7");
}
