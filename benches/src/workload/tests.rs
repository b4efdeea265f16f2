use std::collections::BTreeSet;

use super::*;

fn workload(mode: Mode, value_bytes: usize) -> Workload {
    Workload::new(mode, 1000, value_bytes, 0.99).unwrap()
}

#[test]
fn only_the_value_of_the_key_passes() {
    for bytes in [1, 7, 8, 100, 1024] {
        let workload = workload(Mode::Get, bytes);
        let (mut value, mut of_another) = (Vec::new(), Vec::new());
        workload.fill(&key(7), &mut value);
        workload.fill(&key(8), &mut of_another);
        assert!(workload.is_value(&key(7), &value));
        assert!(!workload.is_value(&key(7), &of_another));
        assert!(!workload.is_value(&key(7), &value[1..]));
        assert!(!workload.is_value(&key(7), &[&value[..], b"x"].concat()));
        for at in 0..bytes {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            assert!(!workload.is_value(&key(7), &flipped), "byte {at} of {bytes}");
        }
    }
}

#[test]
fn keys_differ() {
    let keys: BTreeSet<_> = workload(Mode::Get, 1).keys().collect();
    assert_eq!(keys.len(), 1000);
}

#[test]
fn every_step_is_about_a_key_that_exists_and_popular_ones_come_often() {
    let workload = workload(Mode::Get, 1);
    let keys: BTreeSet<_> = workload.keys().collect();
    let steps: Vec<_> = (0..64).flat_map(|caller| (0..1000).map(move |turn| (caller, turn))).collect();
    let mut hottest = 0;
    for (caller, turn) in &steps {
        let Step::Get(asked) = workload.step(*caller, *turn) else { panic!("a set among gets") };
        assert!(keys.contains(&asked));
        hottest += usize::from(asked == key(0));
    }
    assert!(hottest > steps.len() / 20, "{hottest} of {}", steps.len());
}

#[test]
fn one_step_in_ten_of_a_mix_writes() {
    let workload = workload(Mode::Mix, 1);
    let sets = (0..1000).filter(|turn| matches!(workload.step(3, *turn), Step::Set(_))).count();
    assert_eq!(sets, 100);
}
