//! An open loop: requests are due when they are, whether answers come or not.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Exp1};
use rustix::thread::set_current_timer_slack;
use tokio::sync::Semaphore;

use super::Until;

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrivals {
    /// Requests per second.
    pub rate: f64,
    /// Whether they come as they like, as those of many independent users do (a Poisson process), not evenly.
    pub poisson: bool,
}

/// When each request is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    period_s: f64,
    /// Where each of so many requests is, in periods, if they do not come evenly.
    places: Vec<f64>,
    requests: usize,
    /// Who has not asked by then does not ask.
    end: Instant,
}

impl Schedule {
    /// The schedule of a run that begins at `start`.
    pub fn new(arrivals: Arrivals, start: Instant, until: Until) -> Self {
        let period_s = 1.0 / arrivals.rate;
        let requests = match until {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as many as fit")]
            Until::Elapsed(duration) => (duration.as_secs_f64() * arrivals.rate) as usize,
            Until::Requests(requests) => requests,
        };
        let places = if arrivals.poisson { poisson_places() } else { Vec::new() };
        let lasts = Duration::from_secs_f64(requests as f64 * period_s);
        Self { start, period_s, places, requests, end: start + lasts + GRACE }
    }

    /// When the request of this number is due.
    pub fn due(&self, index: usize) -> Instant {
        let periods = match self.places.len() {
            0 => index as f64,
            count => (index / count * count) as f64 + self.places[index % count],
        };
        self.start + Duration::from_secs_f64(periods * self.period_s)
    }

    /// How many requests are due by `now`.
    fn due_by(&self, now: Instant, mut from: usize) -> usize {
        while from < self.requests && self.due(from) <= now {
            from += 1;
        }
        from
    }
}

/// Places of arrivals with exponential gaps, stretched so that they take as many periods as there are.
fn poisson_places() -> Vec<f64> {
    let mut rng = SmallRng::seed_from_u64(SEED);
    let mut at = 0.0;
    let mut place = || {
        let gap: f64 = Exp1.sample(&mut rng);
        at += gap;
        at
    };
    let mut places: Vec<f64> = (0..PLACES).map(|_| place()).collect();
    let stretch = PLACES as f64 / at;
    places.iter_mut().for_each(|place| *place *= stretch);
    places
}

/// Lets callers go when requests are due.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    due: Semaphore,
    taken: AtomicUsize,
}

impl Pacer {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, due: Semaphore::new(0), taken: AtomicUsize::new(0) }
    }

    /// Waits for a request that is due, and says its number and when that was; nothing after the last.
    pub(super) async fn next(&self) -> Option<(usize, Instant)> {
        self.due.acquire().await.ok()?.forget();
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        let in_time = index < self.schedule.requests && Instant::now() < self.schedule.end;
        in_time.then(|| (index, self.schedule.due(index)))
    }

    /// Requests that nobody made.
    pub(super) fn unstarted(&self) -> u64 {
        // Every caller takes one more, to see that it is the last or too late.
        self.schedule.requests.saturating_sub(self.taken.load(Ordering::Relaxed)) as u64
    }

    /// Makes requests due in their time. To be run on a thread of its own: the runtime's timers are a millisecond coarse, which
    /// is longer than most requests take.
    pub(super) fn run(&self, callers: usize) {
        // Without it the system rounds every nap up by 50 µs, which then shows in the latencies, and nothing worse.
        let _ = set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
        let mut released = 0;
        while released < self.schedule.requests && !self.due.is_closed() {
            let now = Instant::now();
            let due = self.schedule.due_by(now, released);
            self.due.add_permits(due - released);
            released = due;
            if due < self.schedule.requests {
                let wait = self.schedule.due(due).saturating_duration_since(now);
                // In pieces, so that an abandoned run ends soon.
                thread::sleep(wait.clamp(NAP_MIN, NAP_MAX));
            }
        }
        // So that every caller finds that there is no more.
        self.due.add_permits(callers);
    }

    /// Ends it early.
    pub(super) fn abandon(&self) {
        self.due.close();
    }
}

/// How long after the last request was due one may still be made.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the schedule: more often would be a process of its own, less often would show in the latencies.
const NAP_MIN: Duration = Duration::from_micros(20);
const NAP_MAX: Duration = Duration::from_millis(100);
const TIMER_SLACK_NS: u64 = 1;
/// Arrivals before their pattern repeats.
const PLACES: usize = 1 << 16;
const SEED: u64 = 2;
