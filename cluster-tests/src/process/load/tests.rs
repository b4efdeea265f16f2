use serde_json::json;

use super::*;
use crate::process::Report;

const LIVING: Owner = Owner { is_down: false, lives: 0 };
const DOWN: Owner = Owner { is_down: true, lives: 0 };
const STARTED_AGAIN: Owner = Owner { is_down: false, lives: 1 };

#[test]
fn a_living_owner_answers_for_a_request_unless_the_key_became_anothers() {
    assert_eq!(Meanwhile::of(LIVING, LIVING, true), Meanwhile::Same);
    assert_eq!(Meanwhile::of(LIVING, LIVING, false), Meanwhile::RingChange);
    for is in [DOWN, STARTED_AGAIN] {
        assert_eq!([true, false].map(|owns| Meanwhile::of(LIVING, is, owns)), [Meanwhile::Down; 2], "{is:?}");
    }
}

#[test]
fn what_is_counted_apart_is_in_the_report_and_breaks_nothing() {
    let mut count = LoadCount { answered: 9, ..LoadCount::default() };
    assert_eq!(count.apart(Meanwhile::Same), None);
    count.apart(Meanwhile::RingChange).unwrap().add(Attempts { attempted: 4, failed: 1 });
    count.apart(Meanwhile::Down).unwrap().add(Attempts { attempted: 3, failed: 2 });
    let mut sum = count.clone();
    sum.add(&count);

    let mut report = Report::default();
    report.load(&sum);
    assert!(report.is_good(), "{:?}", report.violations);
    let figure = |name| report.figures.iter().find(|(figure, _)| *figure == name).map(|(_, value)| value.clone());
    for (name, expected) in [
        ("requests", 18),
        ("requests_failed_for_living_owners", 0),
        ("requests_across_a_ring_change", 8),
        ("requests_failed_across_a_ring_change", 2),
        ("requests_as_their_owner_went_down", 6),
        ("requests_failed_as_their_owner_went_down", 4),
    ] {
        assert_eq!(figure(name), Some(json!(expected)), "{name}");
    }
}

#[test]
fn a_load_of_which_nothing_was_answered_is_a_violation() {
    let mut count = LoadCount::default();
    count.apart(Meanwhile::RingChange).unwrap().add(Attempts { attempted: 4, failed: 0 });
    let mut report = Report::default();
    report.load(&count);
    assert!(!report.is_good());
}
