use rand::SeedableRng;

use super::*;
use crate::topology::tests::view;

fn seeds(hosts: &[&str]) -> Vec<Address> {
    hosts.iter().map(|host| format!("{host}:7750").parse().unwrap()).collect()
}

fn in_turn(seeds: &[Address], random: u64) -> Vec<Address> {
    addresses(&view(1, 5), seeds, &mut SmallRng::seed_from_u64(random))
}

#[test]
fn every_seed_and_every_member_is_tried_once() {
    let mut found = in_turn(&seeds(&["one", "10.0.0.2", "two"]), 7);
    found.sort();
    assert_eq!(found, seeds(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "one", "two"]));
}

#[test]
fn members_are_tried_soon_though_every_seed_is_gone_and_the_other_way_round() {
    let gone = seeds(&["a", "b", "c", "d", "e"]);
    for random in 0..20 {
        let first: Vec<_> = in_turn(&gone, random).into_iter().take(2).collect();
        assert_eq!(first.iter().filter(|address| gone.contains(address)).count(), 1, "{first:?}");
    }
}

#[test]
fn clients_do_not_all_dial_the_same_node_first() {
    let firsts: BTreeSet<_> = (0..50).map(|random| in_turn(&seeds(&["a", "b", "c"]), random)[..2].to_vec()).collect();
    assert!(firsts.len() >= 6, "{firsts:?}");
}

#[test]
fn a_round_has_time_for_the_last_address() {
    let dial = Duration::from_secs(3);
    assert!(round(1000, dial) >= STAGGER * 999 + dial);
}
