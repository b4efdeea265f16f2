use super::{sample::Moved, *};

fn question(nodes: u32, vnodes: &[u32]) -> Question {
    let slots = SlotCount::DEFAULT;
    let mut keys = KeyCounts::new(slots);
    (0..10_000).for_each(|index| keys.count(slots, format!("key:{index}").as_bytes()));
    Question {
        placements: vec![Placement::Hashed],
        nodes: vec![nodes],
        vnodes: vnodes.to_vec(),
        rings: 60,
        seed: 1,
        copies: 2,
        slots,
        weights: vec![1.0],
        zones: 0,
        keys,
        losses: vec![2, 3],
    }
}

#[test]
fn a_hashed_ring_is_as_fair_as_it_is_known_to_be() {
    let cells = compute(&question(10, &[1, 16, 100, 700]), || {});
    let max = |index: usize| cells[index].figure(|sample| sample.arc.primary.max).mean;
    // The largest of ten exponential parts is the tenth harmonic number, 2.93, on average.
    for (index, expected, error) in [(0, 2.93, 0.25), (2, 1.16, 0.02), (3, 1.06, 0.008)] {
        assert!((max(index) - expected).abs() < error, "{}, not {expected}", max(index));
    }
    // A node's share is a sum of v exponential parts: its deviation is 1/√v of its mean.
    for cell in &cells[1..] {
        let cv = cell.figure(|sample| sample.arc.primary.cv).mean;
        let expected = 1.0 / f64::from(cell.vnodes).sqrt();
        assert!((cv / expected - 1.0).abs() < 0.12, "{} vnodes: {cv}, not {expected}", cell.vnodes);
    }
}

#[test]
fn slots_follow_arcs_and_keys_follow_slots() {
    let cells = compute(&question(5, &[64]), || {});
    for sample in &cells[0].samples {
        // Evaluated at 2^14 points, no node's share of a circle with 320 tokens is off by more than a hundredth.
        assert!((sample.arc.primary.max - sample.slot.primary.max).abs() < 0.04, "{sample:?}");
        assert!((sample.arc.copies.max - sample.slot.copies.max).abs() < 0.03, "{sample:?}");
        // A fifth of 10,000 keys: a standard deviation is 2 %.
        assert!((sample.keys.primary.max - sample.slot.primary.max).abs() < 0.10, "{sample:?}");
        let mean: f64 = sample.nodes.iter().map(|node| node.primary).sum::<f64>() / 5.0;
        assert!((mean - 1.0).abs() < 1e-9);
    }
    // Slots fall by whole arcs, which no test of single ones takes for even.
    let p = cells[0].figure(|sample| sample.chi_slots.p);
    assert!(p.p95 < 1e-3 && p.p5 < 1e-9, "{p:?}");
}

#[test]
fn who_joins_takes_its_share_and_who_leaves_gives_what_it_had() {
    let cells = compute(&question(10, &[128]), || {});
    let cell = &cells[0];
    let join = cell.figure(|sample| sample.join.share / sample.join.ideal).mean;
    assert!((join - 1.0).abs() < 0.03, "{join}");
    assert!((cell.samples[0].join.ideal - 1.0 / 11.0).abs() < 1e-9);
    for sample in &cell.samples {
        assert!((sample.leave.share - sample.leave.ideal).abs() < 1e-12, "{sample:?}");
    }
    let two = compute(&Question { copies: 3, ..question(3, &[16]) }, || {});
    assert!(two[0].samples.iter().all(|sample| sample.leave == Moved { share: 0.0, ideal: 0.0 }));
}

#[test]
fn a_balanced_ring_is_even_with_few_vnodes_and_moves_no_more_than_a_tenth_too_much() {
    let balanced = Question { placements: vec![Placement::Balanced], rings: 2, ..question(10, &[16, 2000]) };
    let cells = compute(&balanced, || {});
    assert_eq!(cells.len(), 1, "2000 vnodes of each are more than there are slots");
    for sample in &cells[0].samples {
        assert!(sample.slot.copies.max < 1.05 && sample.slot.primary.max < 1.25, "{sample:?}");
        assert!(sample.join.share <= 1.1 * sample.join.ideal, "{sample:?}");
        assert!(sample.leave.share <= 1.1 * sample.leave.ideal, "{sample:?}");
    }
}

#[test]
fn the_same_question_has_the_same_answer() {
    let question = Question { weights: vec![1.0, 2.0], zones: 2, ..question(4, &[8, 32]) };
    let samples = |question: &Question| compute(question, || {}).into_iter().flat_map(|cell| cell.samples);
    let once: Vec<_> = samples(&question).collect();
    assert_eq!(once.len(), 120);
    assert!(once.iter().eq(&samples(&question).collect::<Vec<_>>()));
    let other: Vec<_> = samples(&Question { seed: 2, ..question }).collect();
    assert_ne!(once, other);
}

#[test]
fn weights_and_zones_are_fair_where_each_node_has_what_it_should() {
    let weighed = Question { weights: vec![1.0, 3.0], copies: 1, ..question(4, &[256]) };
    let max = compute(&weighed, || {})[0].figure(|sample| sample.arc.primary.max).mean;
    assert!((1.0..1.12).contains(&max), "{max}");
    let zoned = Question { zones: 3, copies: 3, ..question(9, &[256]) };
    let cells = compute(&zoned, || {});
    assert!(cells[0].figure(|sample| sample.slot.copies.max).mean < 1.15);
    // All owners of a slot are lost together only if one of each zone is.
    let chance = cells[0].figure(|sample| sample.lost[1].unwrap()).mean;
    assert!((chance - 27.0 / 84.0).abs() < 0.01, "{chance}");
}
