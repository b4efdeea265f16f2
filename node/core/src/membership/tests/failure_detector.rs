//! From silence to suspicion.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{
    Boot, Instance, Ordinal, View,
    view::{Liveness, TimingProfile},
};

use super::views::{LAN, after, cases, millis, of, ordinals, view};
use crate::{membership::failure_detector::FailureDetector, planted::Planted, timing::Timing};

/// The voter `n1`, which watches the others.
struct Observer {
    detector: FailureDetector,
    view: View,
    now: u64,
}

impl Observer {
    fn new(timing: Timing, view: View) -> Self {
        let mut detector = FailureDetector::new(timing, Planted::NOTHING);
        detector.enter(millis(0), &view, Ordinal::new(1));
        Self { detector, view, now: 0 }
    }

    fn hear(&mut self, heard: &[u32]) {
        for index in heard {
            let member = self.view.member(Ordinal::new(*index)).unwrap();
            self.detector.heard(millis(self.now), member.ordinal, (member.instance, member.boot));
        }
    }

    fn tick(&mut self, connected: bool) -> Option<usize> {
        self.detector.tick(millis(self.now), connected)
    }

    /// `time` milliseconds pass, in which `heard` are heard each 200 ms.
    fn pass(&mut self, time: u64, heard: &[u32]) {
        let end = self.now + time;
        while self.now < end {
            self.now += 200.min(end - self.now);
            self.hear(heard);
            self.tick(true);
        }
    }

    fn enter(&mut self, change: impl FnOnce(&mut quoit_proto_types::view::ViewFields)) {
        self.view = after(&self.view, change);
        self.detector.enter(millis(self.now), &self.view, Ordinal::new(1));
    }

    /// Hears `index`, which is down, until it suspects it no more. How long that took.
    fn until_trusted(&mut self, index: u32) -> u64 {
        let begin = self.now;
        self.hear(&[index]);
        while self.detector.suspects(Ordinal::new(index)) {
            assert!(self.now < begin + 1_000_000, "it is never trusted");
            self.pass(200, &[2, 3, index]);
        }
        self.now - begin
    }
}

/// Asserts whom the observer suspects.
#[track_caller]
fn check(what: &str, observer: &Observer, suspected: &[u32]) {
    let known = ordinals(suspected);
    assert!((0..10).map(Ordinal::new).all(|o| observer.detector.suspects(o) == known.contains(&o)), "{what}");
}

#[test]
fn silence_is_suspicious_after_the_time_of_the_profile() {
    for profile in TimingProfile::ALL {
        let timing = Timing::of(profile);
        let suspect = u64::try_from(timing.suspect.as_millis()).unwrap();
        let mut observer = Observer::new(timing, view(4, |_| ()));
        observer.now = suspect - 1;
        assert_eq!(observer.tick(true), None);
        check("not yet", &observer, &[]);
        observer.hear(&[2, 3]);
        observer.now += 1;
        assert_eq!(observer.tick(true), None);
        check("one is silent", &observer, &[4]);
        observer.hear(&[4]);
        assert_eq!(observer.tick(true), None);
        check("it is heard", &observer, &[]);
    }
}

#[test]
fn another_life_of_a_member_does_not_speak_for_it() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    observer.now = 1_000;
    observer.hear(&[2, 3]);
    let (ordinal, instance) = (Ordinal::new(4), Instance::from_random(4));
    observer.detector.heard(millis(1_000), ordinal, (instance, Boot::new(2)));
    observer.detector.heard(millis(1_000), ordinal, (Instance::from_random(5), Boot::new(1)));
    observer.detector.heard(millis(1_000), Ordinal::new(9), (instance, Boot::new(1)));
    observer.tick(true);
    check("another boot, another disk, a stranger", &observer, &[4]);
    observer.enter(|fields| of(fields, 4).boot = Boot::new(2));
    check("the view has the new life", &observer, &[]);
    observer.now += 999;
    observer.hear(&[2, 3]);
    observer.tick(true);
    check("which gets its time", &observer, &[]);
    observer.now += 1;
    observer.tick(true);
    check("and no more", &observer, &[4]);
}

#[test]
fn only_members_are_watched_and_not_oneself() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    observer.pass(1_000, &[2, 3]);
    check("n4 is silent, and n1 does not hear itself", &observer, &[4]);
    observer.enter(|fields| {
        fields.members.pop();
        fields.ring.pop();
        fields.voters.pop();
    });
    check("n4 is gone", &observer, &[]);
    observer.pass(2_000, &[2, 3]);
    check("for good", &observer, &[]);
}

#[test]
fn who_comes_to_vote_hears_everybody_from_then_on() {
    let mut observer = Observer::new(LAN, view(4, |fields| fields.voters = vec![Ordinal::new(2)]));
    observer.pass(900, &[]);
    observer.enter(|fields| fields.voters = vec![Ordinal::new(1), Ordinal::new(2)]);
    observer.pass(900, &[2, 3]);
    check("the time begins with the vote", &observer, &[]);
    observer.pass(200, &[2, 3]);
    check("and ends", &observer, &[4]);
}

#[test]
fn one_that_is_down_is_heard_for_a_while_before_it_is_trusted() {
    let down = || Observer::new(LAN, view(4, |fields| of(fields, 4).live = Liveness::Down));
    let mut observer = down();
    observer.pass(200, &[2, 3]);
    check("nothing is heard", &observer, &[4]);
    observer.pass(3_000, &[2, 3, 4]);
    check("heard for 2.8 s", &observer, &[4]);
    observer.pass(200, &[2, 3, 4]);
    check("heard for 3 s", &observer, &[]);
    let mut observer = down();
    observer.pass(2_000, &[2, 3, 4]);
    observer.pass(1_000, &[2, 3]);
    observer.pass(3_000, &[2, 3, 4]);
    check("after a gap it begins anew", &observer, &[4]);
    observer.pass(200, &[2, 3, 4]);
    check("and ends", &observer, &[]);
    let mut observer = down();
    observer.pass(2_000, &[2, 3, 4]);
    observer.pass(600, &[2, 3]);
    observer.pass(800, &[2, 3, 4]);
    check("three heartbeats were lost, which is no gap", &observer, &[]);
    observer.pass(1_000, &[2, 3]);
    check("silent again", &observer, &[4]);
}

#[test]
fn each_flap_doubles_the_wait_five_times_and_ten_minutes_forget_it() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    let mut flap = |pause: u64| {
        observer.pass(pause, &[2, 3, 4]);
        observer.pass(1_000, &[2, 3]);
        check("silent", &observer, &[4]);
        observer.enter(|fields| of(fields, 4).live = Liveness::Down);
        let waited = observer.until_trusted(4);
        observer.enter(|fields| of(fields, 4).live = Liveness::Up);
        check("up", &observer, &[]);
        waited
    };
    let waits: Vec<u64> = (0..7).map(|_| flap(200)).collect();
    assert_eq!(waits, [3, 6, 12, 24, 48, 96, 96].map(|seconds| seconds * 1_000));
    assert_eq!(flap(600_000), 3_000);
}

#[test]
fn when_more_than_half_fall_silent_the_observer_doubts_itself_first() {
    let mut observer = Observer::new(LAN, view(6, |_| ()));
    observer.now = 999;
    observer.hear(&[2, 3]);
    observer.now = 1_000;
    assert_eq!(observer.tick(true), Some(3), "three of five");
    check("it waits", &observer, &[]);
    observer.pass(999, &[2, 3]);
    check("for another window", &observer, &[]);
    observer.now += 1;
    assert_eq!(observer.tick(true), None);
    check("after which they are gone", &observer, &[4, 5, 6]);

    let mut observer = Observer::new(LAN, view(6, |_| ()));
    observer.now = 1_000;
    observer.hear(&[2, 3, 4]);
    assert_eq!(observer.tick(true), None, "two of five");
    check("they are gone", &observer, &[5, 6]);

    let mut observer = Observer::new(LAN, view(5, |_| ()));
    observer.now = 1_000;
    observer.hear(&[2, 3]);
    assert_eq!(observer.tick(true), None, "two of four are not more than half");
    check("they are gone", &observer, &[4, 5]);

    let mut observer = Observer::new(LAN, view(2, |_| ()));
    observer.now = 1_000;
    assert_eq!(observer.tick(true), None, "the only other one says nothing about the observer");
    check("it is gone", &observer, &[2]);
}

#[test]
fn an_observer_that_is_cut_off_blames_nobody_and_says_so_once() {
    let mut observer = Observer::new(LAN, view(6, |_| ()));
    let doubts: Vec<usize> = (0..100)
        .filter_map(|_| {
            observer.now += 200;
            let doubt = observer.tick(false);
            check("cut off", &observer, &[]);
            doubt
        })
        .collect();
    assert_eq!(doubts, [5]);
    observer.pass(200, &[2, 3, 4]);
    check("back", &observer, &[]);
    observer.pass(1_000, &[2, 3, 4]);
    check("two are gone", &observer, &[5, 6]);
}

#[test]
fn an_observer_that_slept_gives_everybody_another_chance_but_those_who_are_down() {
    let mut observer = Observer::new(LAN, view(5, |fields| of(fields, 5).live = Liveness::Down));
    observer.pass(1_000, &[2, 3]);
    check("n4 is silent, n5 is down", &observer, &[4, 5]);
    observer.now += 60_000;
    observer.detector.handle_late(millis(observer.now));
    check("late", &observer, &[5]);
    assert_eq!(observer.tick(true), None);
    check("it has nothing against n2 and n3", &observer, &[5]);
    observer.pass(1_000, &[2, 3, 5]);
    check("n4 had its chance", &observer, &[4, 5]);
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn who_was_heard_lately_is_not_suspected_and_who_stays_silent_is(
        steps in vec((1..400_u64, vec(2..6_u32, 0..5), prop::bool::weighted(0.1)), 1..60),
    ) {
        let mut observer = Observer::new(LAN, view(5, |_| ()));
        let mut heard = [0_u64; 6];
        for (pause, speakers, late) in steps {
            observer.now += pause;
            observer.hear(&speakers);
            for speaker in speakers {
                heard[usize::try_from(speaker).unwrap()] = observer.now;
            }
            if late {
                observer.detector.handle_late(millis(observer.now));
            }
            observer.tick(true);
            for ordinal in observer.detector.suspected() {
                let silence = observer.now - heard[usize::try_from(ordinal.value()).unwrap()];
                prop_assert!(Duration::from_millis(silence) >= LAN.suspect, "{ordinal} after {silence} ms");
            }
        }
        // Two windows, should it doubt itself in the first one.
        observer.pass(2_400, &[2]);
        check("the others are silent for good", &observer, &[3, 4, 5]);
    }
}
