use super::*;

/// Asserts `holds` of every profile.
#[track_caller]
fn check(what: &str, holds: impl Fn(&Timing) -> bool) {
    for profile in TimingProfile::ALL {
        assert!(holds(&Timing::of(profile)), "{profile}: {what}");
    }
}

#[test]
fn losing_three_heartbeats_in_a_row_is_no_reason_to_suspect() {
    check("four heartbeats are less than the silence that counts", |t| t.heartbeat * 4 < t.suspect);
    check("a round trip is tried several times before it is too old", |t| t.heartbeat * 4 < t.quorum_fresh);
}

#[test]
fn a_voter_doubts_itself_before_it_suspects_another() {
    check("it notices that it was late before silence counts", |t| t.late < t.suspect);
    check("an ordinary wake-up is not late", |t| t.heartbeat <= t.late);
}

#[test]
fn one_candidacy_ends_before_the_next_begins() {
    check("two voters who are next to each other do not meet", |t| t.jitter < t.stagger);
    check("an answer takes less than a turn", |t| t.answer < t.stagger);
    check("superiors answer before one is waited for", |t| t.answer < t.yielding);
    check("a superior is waited for less long than it is ignored", |t| t.yielding < t.ignore);
    check("a majority is waited for longer than a superior", |t| t.answer < t.candidacy);
    check("a candidacy ends before the next silence", |t| t.candidacy < t.suspect);
    check("a round may fail before the next attempt", |t| t.answer < t.backoff);
}

/// A superior that is waited for takes a pre-vote and two phases, each of which is a round trip and a disk write; these are
/// far shorter than the phase's deadline, which is for answers that do not come.
#[test]
fn a_superior_has_the_time_to_take_office() {
    check("a pre-vote and two round trips", |t| t.answer * 3 < t.yielding);
    check("a round trip", |t| t.answer < t.phase);
}

#[test]
fn what_costs_more_waits_longer() {
    check("up again is slower than down", |t| t.suspect <= t.stable);
    check("a voter that restarts is not replaced", |t| t.suspect * 5 <= t.voter_replace);
    check("a change of the ring waits longer than its batch", |t| t.batch < t.patience);
    check("a join is asked for again within its batch", |t| t.rejoin <= t.batch);
}

#[test]
fn slower_profiles_wait_longer() {
    let [fast, lan, wan] = TimingProfile::ALL.map(Timing::of);
    let waits = |t: &Timing| {
        [
            t.heartbeat,
            t.suspect,
            t.quorum_fresh,
            t.stagger,
            t.jitter,
            t.answer,
            t.candidacy,
            t.yielding,
            t.phase,
            t.backoff,
            t.late,
        ]
    };
    for ((fast, lan), wan) in waits(&fast).into_iter().zip(waits(&lan)).zip(waits(&wan)) {
        assert!(fast <= lan && lan < wan, "{fast:?} {lan:?} {wan:?}");
    }
}

/// What the documentation promises: 100 ms and 500 ms, 200 ms and 1 s, 500 ms and 3 s.
#[test]
fn heartbeats_and_suspicion_are_those_of_the_profile() {
    let found = TimingProfile::ALL.map(|profile| (Timing::of(profile).heartbeat, Timing::of(profile).suspect));
    let ms = Duration::from_millis;
    assert_eq!(found, [(ms(100), ms(500)), (ms(200), ms(1_000)), (ms(500), ms(3_000))]);
}
