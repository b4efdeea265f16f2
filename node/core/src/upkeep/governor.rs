//! Holds transfers back when they would make requests late.
//!
//! A node cannot see what its clients wait for, but it sees how late it gets to what it wanted to do by a certain time:
//! whatever keeps its processors from that keeps them from requests as well. So the driver tells how late wake-ups are, and
//! while entries are moved, and requests served, that is compared with what is usual when none are. It is a delay that is
//! steered by, as in LEDBAT (RFC 6817), and the rate follows by small steps up and large ones down (Chiu and Jain, 1989).
//!
//! The pace that an operator sets is the most that is ever moved; without a pace nothing is held back.
//!
//! Bytes are not all that entries cost: small ones take a node's time. So the driver tells how long it was at it, too, and
//! while requests are served that is [a share](WORK_SHARE) of one processor at most. Pace and share are held back together.
//!
//! **Known limit.** What is late elsewhere, in the network or at the client, does not show. The pace and the low priority of
//! the streams are what helps there.

use std::{num::NonZeroU64, time::Duration};

/// Wake-ups that one decision goes by: of so many the slowest but two is looked at, so that two outliers decide nothing.
const SAMPLES: usize = 16;
const OUTLIERS: usize = 2;
/// How late a wake-up may always be: less than this cannot be told from the grain of timers.
const LATE_MIN: Duration = Duration::from_millis(2);
/// All of pace and share, in the unit in which they are held back.
const WHOLE: u64 = 1_024;
/// They are held back to this part at most. A ring change makes requests late by itself, as each write goes to more
/// nodes while it lasts: to move next to nothing would only make it last.
const PART_MIN: u64 = WHOLE / 4;
/// How much more is moved after each decision that nothing is late.
const STEP: u64 = WHOLE / 32;

/// How long the driver may be at background work while requests are served, in microseconds of each second: a quarter of one
/// processor. Time goes by faster for who must share his processor, so where there are few it is less work.
pub(super) const WORK_SHARE: NonZeroU64 = NonZeroU64::new(250_000).expect("it is not zero");

/// What the driver has seen since it last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// How late the runtime woke a task that had asked to be.
    pub late: Duration,
    /// Whether requests were served meanwhile. With none, nobody is kept waiting.
    pub serves: bool,
}

/// Decides how much may be moved.
#[derive(Debug)]
pub(super) struct Governor {
    /// The most that may be moved, in bytes per second; nothing for as much as there is.
    pace: Option<NonZeroU64>,
    /// The part of pace and share that may be used, for the sake of requests.
    part: u64,
    /// How late wake-ups are while nothing is moved.
    usual: Duration,
    samples: Vec<Duration>,
    /// Whether requests were served, and entries moved, since the last decision.
    serves: bool,
    moves: bool,
    /// Whether requests were served before the last decision.
    protects: bool,
}

impl Governor {
    pub(super) fn new(pace: Option<NonZeroU64>) -> Self {
        let (usual, samples) = (Duration::ZERO, Vec::with_capacity(SAMPLES));
        Self { pace, part: WHOLE, usual, samples, serves: false, moves: false, protects: false }
    }

    /// Sets the most that may be moved, and begins with all of it.
    pub(super) fn set_pace(&mut self, pace: Option<NonZeroU64>) {
        (self.pace, self.part) = (pace, WHOLE);
    }

    /// What may be moved, in bytes per second; nothing for as much as there is.
    pub(super) fn limit(&self) -> Option<NonZeroU64> {
        self.pace.map(|pace| self.part_of(pace))
    }

    /// How long background work may take, in microseconds of each second; nothing for as long as it takes.
    pub(super) fn work_limit(&self) -> Option<NonZeroU64> {
        (self.protects && self.pace.is_some()).then(|| self.part_of(WORK_SHARE))
    }

    fn part_of(&self, whole: NonZeroU64) -> NonZeroU64 {
        let part = u128::from(whole.get()) * u128::from(self.part) / u128::from(WHOLE);
        u64::try_from(part).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN)
    }

    /// Whether requests are served that could be kept waiting.
    pub(super) fn protects(&self) -> bool {
        self.protects
    }

    /// Entries are moved.
    pub(super) fn moves(&mut self) {
        self.moves = true;
    }

    /// Takes in how late a wake-up was, and says whether a limit is another one for it.
    pub(super) fn observe(&mut self, wakeup: Wakeup) -> bool {
        self.serves |= wakeup.serves;
        self.samples.push(wakeup.late);
        if self.samples.len() < SAMPLES {
            return false;
        }
        self.samples.sort_unstable();
        let late = self.samples[SAMPLES - 1 - OUTLIERS];
        self.samples.clear();
        let (serves, moves) = (std::mem::take(&mut self.serves), std::mem::take(&mut self.moves));
        let before = (self.limit(), self.work_limit());
        self.protects = serves;
        match (moves, serves) {
            (false, _) => {
                // While it is held back, nothing may be moved for that alone, in the midst of a ring change.
                if self.part == WHOLE {
                    self.usual = if self.usual.is_zero() { late } else { (self.usual * 3 + late) / 4 };
                }
                // What held it back has passed, or was something else.
                self.part = (self.part + STEP).min(WHOLE);
            }
            (true, false) => self.part = WHOLE,
            (true, true) => self.steer(late),
        }
        (self.limit(), self.work_limit()) != before
    }

    fn steer(&mut self, late: Duration) {
        let is_late = late > LATE_MIN.max(self.usual * 3 / 2);
        let part = if is_late { self.part / 4 * 3 } else { self.part + STEP };
        self.part = part.clamp(PART_MIN, WHOLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: u64 = 64 << 20;

    fn governor() -> Governor {
        Governor::new(NonZeroU64::new(PACE))
    }

    /// One decision, by wake-ups that are all as late.
    fn decide(governor: &mut Governor, late_ms: u64, moves: bool, serves: bool) -> u64 {
        if moves {
            governor.moves();
        }
        for _ in 0..SAMPLES {
            governor.observe(Wakeup { late: Duration::from_millis(late_ms), serves });
        }
        governor.limit().unwrap().get()
    }

    #[test]
    fn what_makes_requests_late_is_held_back_and_let_go_again() {
        let mut governor = governor();
        assert_eq!(decide(&mut governor, 1, false, true), PACE);
        assert_eq!(decide(&mut governor, 1, true, true), PACE);
        let held = decide(&mut governor, 9, true, true);
        assert_eq!(held, PACE / 4 * 3);
        assert_eq!(decide(&mut governor, 1, true, true), held + PACE / WHOLE * STEP);
        for _ in 0..50 {
            decide(&mut governor, 1, true, true);
        }
        assert_eq!(governor.limit().unwrap().get(), PACE);
    }

    #[test]
    fn something_is_moved_however_late_requests_are() {
        let mut governor = governor();
        for _ in 0..100 {
            decide(&mut governor, 500, true, true);
        }
        assert_eq!(governor.limit().unwrap().get(), PACE / WHOLE * PART_MIN);
        assert_eq!(governor.work_limit().unwrap().get(), WORK_SHARE.get() * PART_MIN / WHOLE);
    }

    #[test]
    fn a_node_that_is_always_late_is_not_blamed_on_transfers() {
        let mut governor = governor();
        for _ in 0..30 {
            decide(&mut governor, 8, false, true);
        }
        assert_eq!(decide(&mut governor, 10, true, true), PACE);
        assert!(decide(&mut governor, 13, true, true) < PACE);
    }

    #[test]
    fn what_was_held_back_is_let_go_while_nothing_is_moved() {
        let mut governor = governor();
        for _ in 0..20 {
            decide(&mut governor, 500, true, true);
        }
        let held = governor.limit().unwrap().get();
        assert_eq!(decide(&mut governor, 500, false, true), held + PACE / WHOLE * STEP);
        for _ in 0..40 {
            decide(&mut governor, 500, false, true);
        }
        assert_eq!((governor.limit().unwrap().get(), governor.work_limit()), (PACE, Some(WORK_SHARE)));
    }

    #[test]
    fn nobody_is_protected_where_nobody_asks() {
        let mut governor = governor();
        assert_eq!(decide(&mut governor, 1, true, true), PACE);
        assert_eq!(governor.work_limit(), Some(WORK_SHARE));
        assert!(decide(&mut governor, 9, true, true) < PACE);
        assert!(governor.work_limit().unwrap() < WORK_SHARE);
        assert_eq!(decide(&mut governor, 9, true, false), PACE);
        assert_eq!(governor.work_limit(), None);
    }

    #[test]
    fn two_outliers_decide_nothing() {
        let mut governor = governor();
        governor.moves();
        for index in 0..SAMPLES {
            let late = Duration::from_millis(if index < OUTLIERS { 900 } else { 1 });
            governor.observe(Wakeup { late, serves: true });
        }
        assert_eq!(governor.limit().unwrap().get(), PACE);
    }

    #[test]
    fn without_a_pace_nothing_is_held_back() {
        let mut governor = Governor::new(None);
        governor.moves();
        for _ in 0..SAMPLES {
            governor.observe(Wakeup { late: Duration::from_secs(1), serves: true });
        }
        assert_eq!((governor.limit(), governor.work_limit()), (None, None));
    }
}
