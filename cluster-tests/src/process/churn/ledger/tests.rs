use quoit_client::{Boot, Hlc, Ordinal};

use super::{super::value::VALUE_BYTES, *};

const KEY: usize = 3;
const TTL: Duration = Duration::from_secs(10);

/// A ledger under test, with the version of each write as a coordinator would give it.
struct Book(Ledger);

fn at(seconds: u64) -> During {
    let moment = Duration::from_secs(seconds);
    During { began: moment, ended: moment }
}

fn version(number: u64) -> Version {
    Version { hlc: Hlc::new(number), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

impl Book {
    fn new() -> Self {
        Self(Ledger::new(1, 5, VALUE_BYTES))
    }

    fn done(&mut self, deed: Deed, second: u64) -> Vec<u8> {
        let (number, value) = self.0.begin(KEY);
        self.0.acknowledged(KEY, deed, at(second), version(number));
        value
    }

    fn failed(&mut self, deed: Deed, effect: Effect) -> Vec<u8> {
        let (_, value) = self.0.begin(KEY);
        self.0.failed(KEY, deed, at(1), effect);
        value
    }

    fn check_at(&self, second: u64, found: Option<&[u8]>, expected: Option<Wrong>) {
        let number = found.and_then(Stamp::of_value).map_or(0, |stamp| stamp.number);
        let sight = Sight { found: found.map(|value| (value, version(number))), during: at(second) };
        let judged = self.0.judge(KEY, &sight).map_err(|finding| finding.wrong);
        assert_eq!(judged.err(), expected, "{found:?}");
    }

    fn check(&self, found: Option<&[u8]>, expected: Option<Wrong>) {
        self.check_at(2, found, expected);
    }

    fn resolve(&mut self, found: Option<&[u8]>) {
        let number = found.and_then(Stamp::of_value).map_or(0, |stamp| stamp.number);
        self.0.resolve(KEY, &Sight { found: found.map(|value| (value, version(number))), during: at(2) });
    }
}

#[test]
fn a_key_that_was_never_written_is_absent() {
    let book = Book::new();
    book.check(None, None);
    let stamp = Stamp { caller: 1, key: 3, number: 1 };
    book.check(Some(&stamp.to_value(&VALUE_BYTES)), Some(Wrong::NeverWritten));
}

#[test]
fn an_acknowledged_value_that_is_gone_is_lost() {
    let mut book = Book::new();
    let value = book.done(Deed::Set, 1);
    book.check(Some(&value), None);
    book.check(None, Some(Wrong::Nothing));
}

#[test]
fn an_earlier_value_is_stale() {
    let mut book = Book::new();
    let first = book.done(Deed::Set, 1);
    let second = book.done(Deed::Set, 1);
    book.check(Some(&first), Some(Wrong::Stale));
    book.check(Some(&second), None);
}

#[test]
fn a_value_after_its_deletion_is_resurrected() {
    let mut book = Book::new();
    let value = book.done(Deed::Set, 1);
    book.done(Deed::Delete, 1);
    book.check(Some(&value), Some(Wrong::Resurrected));
    book.check(None, None);
}

#[test]
fn a_value_ends_with_its_time_to_live() {
    let mut book = Book::new();
    let older = book.done(Deed::Set, 1);
    let value = book.done(Deed::SetFor(TTL), 1);
    book.check_at(2, Some(&value), None);
    book.check_at(2, None, Some(Wrong::Nothing));
    book.check_at(2, Some(&older), Some(Wrong::Stale));
    // Around its end it may be there or not; what was there before may not.
    for found in [None, Some(&value[..])] {
        book.check_at(11, found, None);
    }
    book.check_at(11, Some(&older), Some(Wrong::Resurrected));
    book.check_at(13, None, None);
    book.check_at(13, Some(&value), Some(Wrong::Resurrected));
    book.check_at(13, Some(&older), Some(Wrong::Resurrected));
}

#[test]
fn what_was_never_written_to_a_key_is_wrong() {
    let mut book = Book::new();
    let value = book.done(Deed::Set, 1);
    let of_another_key = Stamp { caller: 1, key: 4, number: 1 }.to_value(&VALUE_BYTES);
    let of_another_caller = Stamp { caller: 2, key: 3, number: 1 }.to_value(&VALUE_BYTES);
    let of_the_future = Stamp { caller: 1, key: 3, number: 2 }.to_value(&VALUE_BYTES);
    let cut = &value[..value.len() - 1];
    for found in [&of_another_key[..], &of_another_caller, &of_the_future, cut, b""] {
        book.check(Some(found), Some(Wrong::NeverWritten));
    }
}

#[test]
fn a_value_of_another_version_is_wrong() {
    let mut book = Book::new();
    let value = book.done(Deed::Set, 1);
    let sight = Sight { found: Some((&value, version(9))), during: at(2) };
    assert_eq!(book.0.judge(KEY, &sight).unwrap_err().wrong, Wrong::NeverWritten);
}

#[test]
fn a_write_whose_outcome_is_unknown_may_show_or_not() {
    let mut book = Book::new();
    let older = book.done(Deed::Set, 1);
    let first = book.done(Deed::Set, 1);
    let second = book.failed(Deed::Set, Effect::Unknown);
    assert!(!book.0.is_clear(KEY));
    book.check(Some(&first), None);
    book.check(Some(&second), None);
    book.check(None, Some(Wrong::Nothing));
    book.check(Some(&older), Some(Wrong::Stale));
}

#[test]
fn a_deletion_whose_outcome_is_unknown_may_have_deleted() {
    let mut book = Book::new();
    let value = book.done(Deed::Set, 1);
    book.failed(Deed::Delete, Effect::Unknown);
    book.check(Some(&value), None);
    book.check(None, None);
}

#[test]
fn a_write_that_was_said_to_have_done_nothing_may_not_show() {
    let mut book = Book::new();
    let first = book.done(Deed::Set, 1);
    let second = book.failed(Deed::Set, Effect::None);
    assert!(book.0.is_clear(KEY));
    book.check(Some(&first), None);
    book.check(Some(&second), Some(Wrong::NeverWritten));
}

#[test]
fn what_all_owners_agree_on_settles_a_doubt() {
    let mut book = Book::new();
    let first = book.done(Deed::Set, 1);
    let second = book.failed(Deed::Set, Effect::Unknown);
    book.resolve(Some(&second));
    assert!(book.0.is_clear(KEY));
    book.check(Some(&second), None);
    book.check(Some(&first), Some(Wrong::Stale));

    book.failed(Deed::Delete, Effect::Unknown);
    book.resolve(None);
    book.check(None, None);
    book.check(Some(&second), Some(Wrong::Resurrected));
    let third = book.done(Deed::Set, 2);
    book.check(Some(&third), None);
    book.check(Some(&second), Some(Wrong::Stale));
}

#[test]
fn a_value_that_was_found_by_surprise_is_told_once_and_may_go_again() {
    let mut book = Book::new();
    let first = book.done(Deed::Set, 1);
    book.done(Deed::Delete, 1);
    book.check(Some(&first), Some(Wrong::Resurrected));
    book.resolve(Some(&first));
    book.check(Some(&first), None);
    book.check(None, None);
}

#[test]
fn a_finding_says_what_was_expected_and_what_was_found() {
    let mut book = Book::new();
    book.done(Deed::Set, 1);
    let finding = book.0.judge(KEY, &Sight { found: None, during: at(2) }).unwrap_err();
    for word in [book.0.key(KEY).as_str(), "found nothing", "set 1", "version"] {
        assert!(finding.words.contains(word), "{}", finding.words);
    }
}
