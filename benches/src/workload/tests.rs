use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use super::*;

fn workload(mode: Mode, value_bytes: usize) -> Workload {
    Workload::new(WorkloadPlan { skew: 0.99, ..WorkloadPlan::new(mode, 1000, value_bytes) }).unwrap()
}

#[test]
fn only_the_value_of_the_key_passes() {
    for bytes in [16, 17, 23, 100, 1024] {
        let workload = workload(Mode::Get, bytes);
        assert_eq!((workload.ledger().begin(7), workload.ledger().begin(8)), (1, 1));
        let (mut value, mut of_another) = (Vec::new(), Vec::new());
        workload.value(7, 1, &mut value);
        workload.value(8, 1, &mut of_another);
        assert_eq!(value.len(), bytes);
        let judge = |found: &[u8]| workload.judge(7, 1, Some(found));
        assert_eq!(judge(&value), Verdict::Right);
        assert_eq!(judge(&of_another), Verdict::Wrong);
        assert_eq!(judge(&value[1..]), Verdict::Corrupt);
        assert_eq!(judge(&[&value[..], b"x"].concat()), Verdict::Corrupt);
        for at in 0..bytes {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            assert_eq!(judge(&flipped), Verdict::Corrupt, "byte {at} of {bytes}");
        }
    }
}

#[test]
fn a_value_is_the_same_whatever_stood_in_its_place() {
    for bytes in [16, 17, 23, 24, 100] {
        let of_length = workload(Mode::Set, bytes);
        let (mut fresh, mut dirty) = (Vec::new(), vec![0xff; 200]);
        of_length.value(7, 3, &mut fresh);
        of_length.value(7, 3, &mut dirty);
        assert_eq!(fresh, dirty);
        // Those of this and of a longer value are alike, but for the checksum.
        let mut longer = Vec::new();
        workload(Mode::Set, 200).value(7, 3, &mut longer);
        assert_eq!(fresh[8..], longer[8..bytes]);
    }
}

#[test]
fn a_read_may_find_no_less_than_what_was_acknowledged_before_it() {
    let workload = workload(Mode::Mix, 16);
    let (ledger, mut value) = (workload.ledger(), Vec::new());
    let mut judge = |floor, version| {
        workload.value(5, version, &mut value);
        workload.judge(5, floor, Some(&value))
    };
    assert_eq!(workload.judge(5, ledger.floor(5), None), Verdict::Miss);
    ledger.begin(5);
    assert_eq!(judge(ledger.floor(5), 1), Verdict::Right, "a write under way may be seen");
    assert_eq!(judge(ledger.floor(5), 2), Verdict::Wrong, "nobody wrote it");
    ledger.acknowledge(5);
    assert_eq!(workload.judge(5, ledger.floor(5), None), Verdict::Missing);
    // Two at once: either may be the last one.
    ledger.begin(5);
    ledger.begin(5);
    ledger.acknowledge(5);
    assert_eq!(judge(ledger.floor(5), 1), Verdict::Right, "one of them may not have been made yet");
    ledger.acknowledge(5);
    assert_eq!(judge(ledger.floor(5), 1), Verdict::Stale);
    assert_eq!(judge(ledger.floor(5), 2), Verdict::Right);
    assert_eq!(judge(ledger.floor(5), 3), Verdict::Right);
    // One of unknown outcome: whatever comes after it may be undone by it.
    ledger.begin(5);
    ledger.begin(5);
    ledger.acknowledge(5);
    assert_eq!(judge(ledger.floor(5), 3), Verdict::Right);
}

#[test]
fn keys_differ_from_each_other_and_from_those_of_another_run() {
    let mut key = Vec::new();
    for sizes in [Sizes::Fixed(8), Sizes::Fixed(16), Sizes::Fixed(40), Sizes::Uniform(8, 64)] {
        let keys = Keys::new(sizes.clone(), 0);
        let mut write = |keys: &Keys, index| {
            keys.write(index, &mut key);
            assert!(key.iter().all(u8::is_ascii_hexdigit));
            assert_eq!(key.len(), sizes.of(u64::from(index)));
            key.clone()
        };
        let mut all: BTreeSet<_> = (0..1000).map(|index| write(&keys, index)).collect();
        assert_eq!(all.len(), 1000, "{sizes}");
        if sizes.min() >= 16 {
            let others = Keys::new(sizes.clone(), 9);
            all.extend((0..1000).map(|index| write(&others, index)));
            assert_eq!(all.len(), 2000, "{sizes}");
        }
    }
}

#[test]
fn every_step_is_about_a_key_that_exists_and_popular_ones_come_often() {
    let workload = workload(Mode::Get, 16);
    let mut hottest = 0;
    for caller in 0..64 {
        for turn in 0..1000 {
            let Step::Get(asked) = workload.step(caller, turn) else { panic!("a set among gets") };
            assert!(asked < 1000);
            hottest += usize::from(asked == 0);
        }
    }
    assert!(hottest > 64_000 / 20, "{hottest}");
}

#[test]
fn without_skew_every_key_comes_about_as_often_as_the_next() {
    let workload = Workload::new(WorkloadPlan::new(Mode::Get, 10, 16)).unwrap();
    let mut counts = [0; 10];
    for turn in 0..10_000 {
        let Step::Get(asked) = workload.step(0, turn) else { panic!("a set among gets") };
        counts[asked as usize] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

#[test]
fn a_mix_writes_and_drops_as_often_as_it_is_told() {
    let plan = WorkloadPlan { writes: 0.3, dropped: 0.5, ..WorkloadPlan::new(Mode::Mix, 1000, 16) };
    let workload = Workload::new(plan).unwrap();
    let (mut sets, mut pretended) = (0, 0);
    for turn in 0..10_000 {
        match workload.step(3, turn) {
            Step::Set(_) => sets += 1,
            Step::Pretend(_) => pretended += 1,
            Step::Get(_) => {}
        }
    }
    assert!((1300..1700).contains(&sets) && (1300..1700).contains(&pretended), "{sets} and {pretended}");
}

#[test]
fn lengths_are_read_as_they_are_written_and_stay_within() {
    let check = |text: &str, expected: Sizes| {
        let sizes: Sizes = text.parse().unwrap();
        assert_eq!(sizes, expected);
        let all: Vec<usize> = (0..1000).map(|number| sizes.of(number)).collect();
        assert!(all.iter().all(|size| (sizes.min()..=sizes.max()).contains(size)), "{text}");
        assert!(all.contains(&sizes.max()) || sizes.max() > 1000, "{text}");
    };
    check("100", Sizes::Fixed(100));
    check("16..32", Sizes::Uniform(16, 32));
    check("log:16..65536", Sizes::LogUniform(16, 65536));
    check("100x90+1000x10", Sizes::Weighted(vec![(100, 90), (1000, 10)]));
    for wrong in ["", "0", "x", "9..3", "log:5", "100x", "x3", "100x0", "-1", "a..b"] {
        assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
    }
}

#[test]
fn no_read_is_blamed_however_many_threads_write_at_once() {
    const ROUNDS: u32 = 20_000;
    let (ledger, register) = (Ledger::new(1), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let version = ledger.begin(0);
                    register.store(version, Ordering::SeqCst);
                    ledger.acknowledge(0);
                    let floor = ledger.floor(0);
                    let read = register.load(Ordering::SeqCst);
                    assert_eq!(ledger.judge(0, floor, read), Verdict::Right, "{read}, at least {floor}");
                }
            });
        }
    });
    // A write that meets no other is the least that may be read.
    let last = ledger.begin(0);
    ledger.acknowledge(0);
    assert_eq!((last, ledger.floor(0)), (4 * ROUNDS + 1, last));
}
