//! The clock that stamps.

use std::{collections::BTreeSet, thread};

use quoit_proto_types::Hlc;

use crate::{
    replication::{ClockSkew, HlcClock},
    time::Wall,
};

const NOON: Wall = Wall::from_millis(1_763_726_400_000);

fn later(ms: u64) -> Wall {
    Wall::from_millis(NOON.as_millis() + ms)
}

fn hlc(ms_after_noon: u64) -> Hlc {
    Hlc::from_millis(later(ms_after_noon).as_millis())
}

#[test]
fn moments_go_with_the_wall_clock_and_count_while_it_stands() {
    let clock = HlcClock::new();
    let stamps = [NOON, NOON, later(7), NOON].map(|wall| clock.stamp(wall, Hlc::MIN).unwrap());
    assert_eq!(stamps, [hlc(0), hlc(0).next(), hlc(7), hlc(7).next()]);
}

#[test]
fn moments_come_after_what_a_client_and_a_peer_have_seen() {
    let clock = HlcClock::new();
    assert_eq!(clock.stamp(NOON, hlc(500)), Ok(hlc(500).next()));
    assert_eq!(clock.observe(NOON, hlc(400)), Ok(()));
    assert_eq!(clock.stamp(NOON, Hlc::MIN), Ok(hlc(500).next().next()), "an older one changes nothing");
    clock.observe(later(10), hlc(510)).unwrap();
    assert_eq!(clock.stamp(later(10), Hlc::MIN), Ok(hlc(510).next()));
}

#[test]
fn a_moment_far_ahead_is_refused_and_forgotten() {
    let clock = HlcClock::new();
    assert_eq!(clock.stamp(NOON, hlc(501)), Err(ClockSkew { ahead_ms: 501 }));
    assert_eq!(clock.observe(NOON, hlc(86_400_000)), Err(ClockSkew { ahead_ms: 86_400_000 }));
    assert_eq!(clock.stamp(NOON, Hlc::MIN), Ok(hlc(0)));
}

#[test]
fn a_wall_clock_that_jumps_back_stops_the_clock_until_it_has_caught_up() {
    let clock = HlcClock::new();
    clock.stamp(later(3_600_000), Hlc::MIN).unwrap();
    assert_eq!(clock.stamp(NOON, Hlc::MIN), Err(ClockSkew { ahead_ms: 3_600_000 }));
    assert_eq!(clock.stamp(later(3_599_500), Hlc::MIN), Ok(hlc(3_600_000).next()));
}

#[test]
fn a_millisecond_whose_counter_is_used_up_is_followed_by_the_next() {
    let clock = HlcClock::new();
    let last = Hlc::new(hlc(1).value() - 1);
    clock.observe(NOON, last).unwrap();
    assert_eq!(clock.stamp(NOON, Hlc::MIN), Ok(hlc(1)));
}

#[test]
fn moments_given_out_at_once_are_distinct_and_rise_for_each_thread() {
    const EACH: u32 = 20_000;
    let clock = HlcClock::new();
    let take = || (0..EACH).map(|i| clock.stamp(later(u64::from(i / 1000)), Hlc::MIN).unwrap()).collect::<Vec<_>>();
    let taken = thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(take));
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(taken.iter().all(|stamps| stamps.is_sorted_by(|a, b| a < b)));
    let distinct: BTreeSet<_> = taken.iter().flatten().collect();
    assert_eq!(u32::try_from(distinct.len()), Ok(4 * EACH));
}
