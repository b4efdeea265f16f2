//! From round trips to slowness.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{
    Boot, Ordinal, View,
    view::{Liveness, TimingProfile, ViewFields},
};

use super::views::{LAN, after, cases, millis, of, view};
use crate::{membership::slowness::Slowness, timing::Timing};

/// The member `n1`, which asks the voters each 200 ms.
struct Observer {
    slowness: Slowness,
    view: View,
    now: u64,
}

impl Observer {
    fn new(timing: Timing, view: View) -> Self {
        let mut slowness = Slowness::new(timing);
        slowness.enter(&view, Ordinal::new(1));
        Self { slowness, view, now: 0 }
    }

    fn enter(&mut self, change: impl FnOnce(&mut ViewFields)) {
        self.view = after(&self.view, change);
        self.slowness.enter(&self.view, Ordinal::new(1));
    }

    /// So many seconds pass, in which `n2`, `n3` and so on take so many milliseconds to answer, for each round anew.
    fn pass(&mut self, seconds: u64, mut trips: impl FnMut(u64) -> Vec<u64>) {
        for round in 0..seconds * 5 {
            self.now += 200;
            for (peer, trip) in (2..).zip(trips(round)) {
                self.slowness.observe(millis(self.now), Ordinal::new(peer), Duration::from_millis(trip));
            }
            self.slowness.tick(millis(self.now));
        }
    }
}

/// Asserts whom the observer finds slow.
#[track_caller]
fn check(what: &str, observer: &Observer, slow: &[u32]) {
    let slow: Vec<Ordinal> = slow.iter().copied().map(Ordinal::new).collect();
    assert_eq!(observer.slowness.slow(), slow, "{what}");
}

#[test]
fn ten_times_slower_than_the_others_is_slow() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    observer.pass(20, |_| vec![10, 10, 100]);
    check("ten times", &observer, &[]);
    observer.pass(4, |_| vec![10, 10, 101]);
    check("more, for 4 s", &observer, &[]);
    observer.pass(1, |_| vec![10, 10, 101]);
    check("more, for 5 s", &observer, &[4]);
    let mut pair = Observer::new(LAN, view(3, |_| ()));
    pair.pass(10, |_| vec![1, 300]);
    check("of two, the quicker one is as usual", &pair, &[3]);
}

#[test]
fn the_slowest_hundredth_is_enough() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    observer.pass(120, |round| vec![1, 1, if round % 50 == 0 { 300 } else { 1 }]);
    check("two in a hundred", &observer, &[4]);
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    observer.pass(120, |round| vec![1, 1, if round % 120 == 0 { 300 } else { 1 }]);
    check("less than one in a hundred", &observer, &[]);
}

#[test]
fn little_is_never_slow() {
    for (profile, floor) in [(TimingProfile::Lan, 50), (TimingProfile::Fast, 50), (TimingProfile::Wan, 300)] {
        let mut observer = Observer::new(Timing::of(profile), view(4, |_| ()));
        observer.pass(60, |_| vec![0, 0, floor]);
        check("as much as makes no difference", &observer, &[]);
        observer.pass(5, |_| vec![0, 0, floor + 1]);
        check("more", &observer, &[4]);
    }
}

#[test]
fn one_pause_is_no_slowness() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    let pause = |round: u64| vec![1, 1, if (100..105).contains(&round) { 900 } else { 1 }];
    observer.pass(40, pause);
    check("a pause of a second", &observer, &[]);
}

#[test]
fn few_answers_say_nothing() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    // One answer in a second.
    observer.pass(19, |round| if round % 5 == 0 { vec![1, 1, 300] } else { vec![1, 1] });
    check("19 answers", &observer, &[]);
    observer.pass(1, |round| if round % 5 == 0 { vec![1, 1, 300] } else { vec![1, 1] });
    check("20 answers", &observer, &[4]);
}

#[test]
fn it_is_quick_again_at_half_of_what_is_slow() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    observer.pass(60, |_| vec![10, 10, 200]);
    check("slow", &observer, &[4]);
    observer.pass(120, |_| vec![10, 10, 51]);
    check("not that slow", &observer, &[4]);
    observer.pass(59, |_| vec![10, 10, 50]);
    check("quick for less than a minute", &observer, &[4]);
    observer.pass(2, |_| vec![10, 10, 50]);
    check("quick for a minute", &observer, &[]);
}

#[test]
fn who_finds_most_of_them_slow_doubts_itself() {
    // The quicker half tells what is usual.
    let mut observer = Observer::new(LAN, view(5, |_| ()));
    observer.pass(20, |_| vec![1, 1, 300, 300]);
    check("two of four", &observer, &[4, 5]);
    observer.pass(60, |round| if round % 2 == 0 { vec![1, 300, 300, 300] } else { vec![1, 1, 300, 300] });
    check("three of four, and it is none of them", &observer, &[]);
    let mut sick = Observer::new(LAN, view(5, |_| ()));
    sick.pass(60, |_| vec![300, 300, 300, 300]);
    check("all of them, always", &sick, &[]);
    let mut pair = Observer::new(LAN, view(2, |_| ()));
    pair.pass(60, |round| vec![if round % 5 == 0 { 300 } else { 1 }]);
    check("there is only one", &pair, &[2]);
}

#[test]
fn only_voters_that_are_up_are_measured_and_each_process_for_itself() {
    let slow = |_| vec![1, 1, 300];
    let mut observer = Observer::new(LAN, view(4, |fields| fields.voters.truncate(3)));
    observer.pass(60, slow);
    check("it does not vote", &observer, &[]);
    observer.enter(|fields| fields.voters.push(Ordinal::new(4)));
    observer.pass(10, slow);
    check("it votes", &observer, &[4]);
    observer.enter(|_| ());
    check("another view", &observer, &[4]);
    observer.enter(|fields| of(fields, 4).boot = Boot::new(2));
    check("another process", &observer, &[]);
    observer.pass(10, slow);
    check("it is no better", &observer, &[4]);
    observer.enter(|fields| of(fields, 4).live = Liveness::Down);
    check("down", &observer, &[]);
}

#[test]
fn an_answer_counts_once_and_only_if_it_was_asked_for() {
    let mut observer = Observer::new(LAN, view(4, |_| ()));
    let answers = |observer: &mut Observer, asks: bool, late: bool| {
        for second in 1..60 {
            let asked = millis(observer.now);
            observer.now += 1_000;
            let quick = asked.saturating_add(Duration::from_millis(1));
            for peer in [2, 3, 4].map(Ordinal::new) {
                if asks {
                    observer.slowness.ask(asked, peer);
                }
                observer.slowness.answer(quick, peer, asked);
            }
            if late {
                // As when the network delivers an answer for the second time.
                observer.slowness.answer(millis(observer.now), Ordinal::new(4), asked);
            }
            if second % 10 == 0 {
                observer.slowness.handle_late();
            }
            observer.slowness.tick(millis(observer.now));
        }
    };
    answers(&mut observer, true, true);
    check("doubled", &observer, &[]);
    answers(&mut observer, false, true);
    check("never asked", &observer, &[]);
    for late in [false, true] {
        let mut observer = Observer::new(LAN, view(4, |_| ()));
        for _ in 0..60 {
            let asked = millis(observer.now);
            observer.now += 1_000;
            for (peer, trip) in [(2, 1), (3, 1), (4, 900)] {
                observer.slowness.ask(asked, Ordinal::new(peer));
                if late && peer == 4 {
                    observer.slowness.handle_late();
                }
                let answered = asked.saturating_add(Duration::from_millis(trip));
                observer.slowness.answer(answered, Ordinal::new(peer), asked);
            }
            observer.slowness.tick(millis(observer.now));
        }
        check("who was late itself does not know how long it took", &observer, if late { &[] } else { &[4] });
    }
}

proptest! {
    #![proptest_config(cases(128))]

    /// At most half of them is slow, and nobody who is as quick as the quickest half.
    #[test]
    fn most_are_never_slow(trips in vec(0..2_000_u64, 1..6)) {
        let count = u32::try_from(trips.len()).unwrap();
        let mut observer = Observer::new(LAN, view(count + 1, |_| ()));
        observer.pass(61, |_| trips.clone());
        let slow = observer.slowness.slow();
        prop_assert!(slow.len() * 2 <= trips.len(), "{slow:?}");
        let mut sorted = trips.clone();
        sorted.sort_unstable();
        let usual = sorted[(sorted.len() - 1) / 2];
        for (peer, trip) in (2..).zip(&trips) {
            prop_assert_eq!(slow.contains(&Ordinal::new(peer)), *trip > (usual * 10).max(50));
        }
    }
}
