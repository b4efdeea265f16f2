//! The share of every member if all were as even as weights, zones and copies allow.
//!
//! A node holds at most one copy of a slot, and a zone at most one while there are as many zones as copies. So a weight
//! counts only as far as there is something to hold: what one cannot take goes to the others, in proportion to their weights.

use std::collections::BTreeMap;

/// How often the level is halved in on: more than a `f64` has digits.
const HALVINGS: usize = 64;

/// How many copies of a slot each member holds on average, of `copies` that there are of each: one number for each of
/// `members`, which are weights and zones, in their order. A zone is any number that its members share.
///
/// With fewer members of weight than `copies`, each of them holds one copy of every slot.
pub fn copies_held(members: &[(f64, usize)], copies: usize) -> Vec<f64> {
    let mut zones: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, (weight, zone)) in members.iter().enumerate() {
        if *weight > 0.0 {
            zones.entry(*zone).or_default().push(index);
        }
    }
    let placed: usize = zones.values().map(Vec::len).sum();
    let copies = copies.min(placed);
    let weight = |index: &usize| members[*index].0;
    let demands: Vec<_> = zones.values().map(|zone| zone.iter().map(weight).sum::<f64>()).collect();
    let bounds: Vec<_> =
        zones.values().map(|zone| if copies <= zones.len() { (0.0, 1.0) } else { (1.0, real(zone.len())) }).collect();
    let quotas = filled(&demands, &bounds, real(copies));
    let mut held = vec![0.0; members.len()];
    for (zone, quota) in zones.values().zip(quotas) {
        let demands: Vec<_> = zone.iter().map(weight).collect();
        let shares = filled(&demands, &vec![(0.0, 1.0); zone.len()], quota);
        zone.iter().zip(shares).for_each(|(index, share)| held[*index] = share);
    }
    held
}

/// `total` in proportion to `demands`, each part within its bounds.
fn filled(demands: &[f64], bounds: &[(f64, f64)], total: f64) -> Vec<f64> {
    let at = |level: f64| -> Vec<f64> {
        demands.iter().zip(bounds).map(|(demand, (least, most))| (demand * level).clamp(*least, *most)).collect()
    };
    let least = demands.iter().copied().fold(f64::INFINITY, f64::min);
    // At this level every part is as large as it may be.
    let most = bounds.iter().map(|(_, most)| *most).fold(0.0, f64::max);
    let (mut low, mut high) = (0.0, most / least.max(f64::MIN_POSITIVE));
    for _ in 0..HALVINGS {
        let middle = low + (high - low) / 2.0;
        if at(middle).iter().sum::<f64>() < total { low = middle } else { high = middle }
    }
    at(high)
}

#[expect(clippy::cast_precision_loss, reason = "counts of nodes")]
fn real(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn check(members: &[(f64, usize)], copies: usize, expected: &[f64]) {
        let held = copies_held(members, copies);
        let near = |(held, expected): (&f64, &f64)| (held - expected).abs() < 1e-9;
        assert!(held.len() == expected.len() && held.iter().zip(expected).all(near), "{held:?}, not {expected:?}");
    }

    #[test]
    fn shares_follow_weights_as_far_as_there_is_something_to_hold() {
        check(&[(1.0, 0), (1.0, 1), (2.0, 2)], 1, &[0.25, 0.25, 0.5]);
        check(&[(1.0, 0), (1.0, 1), (8.0, 2)], 2, &[0.5, 0.5, 1.0]);
        check(&[(1.0, 0), (0.0, 1), (1.0, 2)], 3, &[1.0, 0.0, 1.0]);
        check(&[(0.0, 0)], 2, &[0.0]);
        check(&[], 2, &[]);
    }

    #[test]
    fn every_zone_holds_one_copy_while_there_are_enough() {
        // Three zones and three copies: a zone with one node alone makes it hold everything.
        check(&[(1.0, 0), (1.0, 0), (1.0, 1), (1.0, 2)], 3, &[0.5, 0.5, 1.0, 1.0]);
        check(&[(1.0, 0), (1.0, 0), (1.0, 1), (1.0, 1)], 2, &[0.5; 4]);
        // Two zones and three copies: each zone has one at least.
        check(&[(1.0, 0), (1.0, 1), (1.0, 1), (1.0, 1)], 3, &[1.0, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
    }

    proptest! {
        #[test]
        fn nobody_holds_two_copies_and_all_are_held(
            members in vec((0_u32..9, 0_usize..4), 1..12),
            copies in 1_usize..5,
        ) {
            let members: Vec<_> = members.into_iter().map(|(weight, zone)| (f64::from(weight), zone)).collect();
            let held = copies_held(&members, copies);
            let placed = members.iter().filter(|(weight, _)| *weight > 0.0).count();
            let total: f64 = held.iter().sum();
            prop_assert!((total - real(copies.min(placed))).abs() < 1e-6, "{held:?}");
            prop_assert!(held.iter().all(|share| (0.0..=1.0 + 1e-9).contains(share)), "{held:?}");
        }
    }
}
