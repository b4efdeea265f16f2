//! Keeps a thread awake for a moment after each datagram, where the next one comes so soon that to sleep costs more.
//!
//! A thread that has nothing to do lets its processor sleep, and to wake that takes some microseconds, or some ten where it is
//! a virtual one: more than to answer a request. So Linux looks for a moment before a processor sleeps (haltpoll), or a socket's
//! reader does (`net.core.busy_poll`), and the same is done here, for the whole runtime of a socket: one task that yields until
//! something has come, for [`BUSY_POLL`] at most unless the user says otherwise. What else is to do on the thread goes first. Of
//! a runtime with several threads it is one that looks, and what comes may have to wake another all the same: there it helps, and
//! less.
//!
//! Whether it pays is learned, as KVM does for what its guests wait for: where it was in vain more than once in three times, it
//! is left for so long that it costs next to nothing. So it is, and for longer and longer, where the thread has to wait for its
//! processor: then somebody else has use for that, maybe who is waited for.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now, time::sleep};
use tokio_util::task::AbortOnDropHandle;

/// How long is looked, by default: what a processor takes to answer some hundred requests, which is what both sides of a busy
/// connection wait for. (Linux looks for 200 µs before a virtual processor sleeps.) What takes longer to come is waited for
/// asleep: that adds little to it.
pub const BUSY_POLL: Duration = Duration::from_micros(100);
/// The most that may be asked for.
pub const BUSY_POLL_MAX: Duration = Duration::from_millis(1);

/// How often it is asked how long the thread has waited for a processor, and the part of the time that is too much: where
/// more threads want to run than there are processors, it is a quarter or more, and next to nothing elsewhere. What takes the
/// processor for a millisecond, once, is not enough: that happens everywhere, several times a second.
const ASKED_EACH: Duration = Duration::from_millis(20);
const CROWDED_PART: u32 = 10;
/// Where the system does not say that: so long between two looks, and the thread counts as having waited.
const AWAY: Duration = Duration::from_micros(500);
/// So often it may be in vain in a row, once it has paid for long enough.
const CREDIT_MAX: u32 = 8;
/// What being in vain costs, in times that it paid.
const VAIN: u32 = 2;
/// Where it is in vain it is left for so many times as long as was looked: so it takes a hundredth of the time.
const REST_OF_VAIN: u32 = 100;
/// How long it is left where others want the processor, at least and at most: longer each time, unless it had gone well for twice
/// as long; and then no shorter before it has for four times as long. That leaves them nearly all.
const REST_MIN: Duration = Duration::from_millis(10);
const REST_MAX: Duration = Duration::from_secs(1);
const WELL: u32 = 2;
const BETTER: u32 = 4;

/// The looking, for one socket, or for several of one runtime: is told of what is sent and comes.
#[derive(Debug)]
pub struct BusyPoll {
    signs: Arc<Signs>,
    /// Ends with this.
    _task: AbortOnDropHandle<()>,
}

impl BusyPoll {
    /// Has the runtime that calls this stay awake for up to `limit` after each datagram; nothing if that is zero.
    pub fn start(limit: Duration) -> Option<Arc<Self>> {
        let signs = Arc::<Signs>::default();
        let begin = || tokio::spawn(run(Arc::clone(&signs), limit.min(BUSY_POLL_MAX)));
        let task = (!limit.is_zero()).then(begin)?;
        Some(Arc::new(Self { signs, _task: AbortOnDropHandle::new(task) }))
    }

    /// Something is sent.
    pub(crate) fn sent(&self) {
        self.signs.note(&self.signs.sent);
    }

    /// Something has come.
    pub(crate) fn came(&self) {
        self.signs.note(&self.signs.came);
    }
}

/// What has been sent and has come. Relaxed: a sign that is seen late costs a look.
#[derive(Debug, Default)]
struct Signs {
    sent: AtomicU64,
    came: AtomicU64,
    /// Whether the task waits to be told of the next one.
    is_waiting: AtomicBool,
    told: Notify,
}

/// Says whether to look on, by what came of it before.
#[derive(Debug)]
struct Judge {
    limit: Duration,
    credit: u32,
    /// How long it was left the last time that others wanted the processor.
    rest: Duration,
    /// When it first looked after that. What has passed since counts as well spent, though part of it was waited.
    rested: Option<Instant>,
    /// When something was last sent or came.
    since: Instant,
    looked: Instant,
    /// How long it was away between two looks, in all.
    away: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Look,
    /// Look again once something is sent or comes.
    Wait,
    /// The same, but not before this has passed.
    Rest(Duration),
}

async fn run(signs: Arc<Signs>, limit: Duration) {
    let mut judge = Judge::new(limit, Instant::now());
    let mut waits = None;
    loop {
        signs.wait().await;
        judge.begin(Instant::now());
        let (mut sent, mut came) = signs.counts();
        let next = loop {
            yield_now().await;
            let (now, counts) = (Instant::now(), signs.counts());
            let next = judge.look(now, counts.0 != sent, counts.1 != came);
            if Waits::are_long(&mut waits, now, judge.away) {
                break judge.give_way(now);
            }
            (sent, came) = counts;
            if next != Next::Look {
                break next;
            }
        };
        if let Next::Rest(rest) = next {
            sleep(rest).await;
        }
    }
}

/// How long a thread had waited for a processor, in all its life, at some moment.
#[derive(Clone, Copy, Debug)]
struct Waits {
    thread: ThreadId,
    at: Instant,
    /// As the system counts it, if it does.
    waited: Option<Duration>,
    /// As it looks from here.
    away: Duration,
}

impl Waits {
    /// Those of this thread, as Linux counts them, and `away`.
    fn now(at: Instant, away: Duration) -> Self {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self { thread: thread::current().id(), at, waited: waited(&text), away }
    }

    /// Whether the thread has waited for too much of the time since `before`, which moves on now and then.
    fn are_long(before: &mut Option<Self>, now: Instant, away: Duration) -> bool {
        if before.is_some_and(|before| now.saturating_duration_since(before.at) < ASKED_EACH) {
            return false;
        }
        let later = Self::now(now, away);
        before.replace(later).is_some_and(|earlier| later.is_long_since(earlier))
    }

    fn is_long_since(self, earlier: Self) -> bool {
        let counted = self.waited.zip(earlier.waited).map(|(now, then)| now.saturating_sub(then));
        let waited = counted.unwrap_or_else(|| self.away.saturating_sub(earlier.away));
        let passed = self.at.saturating_duration_since(earlier.at);
        self.thread == earlier.thread && waited * CROWDED_PART > passed
    }
}

/// How long a thread has waited, by its `schedstat`: nanoseconds on a processor, and waiting for one. A kernel that does not
/// count them says that the first are none.
fn waited(schedstat: &str) -> Option<Duration> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    let (ran_ns, waited_ns): (u64, u64) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (ran_ns > 0).then_some(Duration::from_nanos(waited_ns))
}

impl Judge {
    fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, credit: 1, rest: REST_MIN / 2, rested: None, since: now, looked: now, away: Duration::ZERO }
    }

    /// Something has been sent or has come, after a pause.
    fn begin(&mut self, now: Instant) {
        (self.since, self.looked) = (now, now);
        self.rested.get_or_insert(now);
    }

    /// Looks, and sees whether something was sent, or has come, since the last look.
    fn look(&mut self, now: Instant, sent: bool, came: bool) -> Next {
        let pause = now.saturating_duration_since(self.looked);
        self.looked = now;
        if pause > AWAY {
            // Meanwhile nobody looked whether something came.
            self.away += pause;
            self.since += pause;
        }
        if came {
            self.credit = (self.credit + 1).min(CREDIT_MAX * VAIN);
        }
        if came || sent {
            self.since = now;
        }
        if now.saturating_duration_since(self.since) <= self.limit {
            return Next::Look;
        }
        self.credit = self.credit.saturating_sub(VAIN);
        if self.credit > 0 {
            return Next::Wait;
        }
        self.credit = 1;
        Next::Rest(self.limit * REST_OF_VAIN)
    }

    /// Leaves the processor to others for a while.
    fn give_way(&mut self, now: Instant) -> Next {
        let went_well = self.rested.take().map(|rested| now.saturating_duration_since(rested)).unwrap_or_default();
        if went_well < self.rest * WELL {
            self.rest *= 2;
        } else if went_well >= self.rest * BETTER {
            self.rest /= 2;
        }
        self.rest = self.rest.clamp(REST_MIN, REST_MAX);
        self.credit = 1;
        Next::Rest(self.rest)
    }
}

impl Signs {
    fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.came.load(Ordering::Relaxed))
    }

    /// Returns once something is sent or comes.
    async fn wait(&self) {
        self.is_waiting.store(true, Ordering::Relaxed);
        self.told.notified().await;
    }

    fn note(&self, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
        if self.is_waiting.load(Ordering::Relaxed) && self.is_waiting.swap(false, Ordering::Relaxed) {
            self.told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);

    /// A judge, and the hour by which it is asked.
    struct Stage {
        judge: Judge,
        now: Instant,
    }

    impl Stage {
        fn new() -> Self {
            let now = Instant::now();
            Self { judge: Judge::new(LIMIT, now), now }
        }

        fn look(&mut self, after_us: u64, sent: bool, came: bool) -> Next {
            self.now += Duration::from_micros(after_us);
            self.judge.look(self.now, sent, came)
        }

        /// Looks until there is something else to do.
        fn in_vain(&mut self) -> Next {
            self.judge.begin(self.now);
            (0..100).map(|_| self.look(10, false, false)).find(|next| *next != Next::Look).unwrap()
        }
    }

    #[test]
    fn it_looks_on_while_something_comes_in_time_and_for_the_limit_after() {
        let mut stage = Stage::new();
        for _ in 0..100 {
            assert_eq!(stage.look(40, false, true), Next::Look);
        }
        assert_eq!(stage.look(50, false, false), Next::Look);
        assert_eq!(stage.look(1, false, false), Next::Wait);
        // What is sent makes an answer due, and alone it does not pay.
        stage.judge.begin(stage.now);
        assert_eq!(stage.look(49, true, false), Next::Look);
        assert_eq!(stage.look(49, false, false), Next::Look);
        assert_eq!(stage.look(2, false, false), Next::Wait);
    }

    #[test]
    fn where_it_never_pays_it_takes_a_hundredth_of_the_time() {
        let mut stage = Stage::new();
        for _ in 0..9 {
            assert_eq!(stage.in_vain(), Next::Rest(LIMIT * 100));
        }
    }

    #[test]
    fn it_goes_on_where_it_pays_two_times_in_three() {
        let mut stage = Stage::new();
        let mut rests = 0;
        for _ in 0..1000 {
            for _ in 0..3 {
                stage.look(10, false, true);
            }
            rests += usize::from(stage.in_vain() != Next::Wait);
        }
        assert_eq!(rests, 0);
    }

    #[test]
    fn it_is_left_for_longer_and_longer_where_others_want_the_processor() {
        let mut stage = Stage::new();
        let mut rest_after = |well_ms: u64| {
            stage.judge.begin(stage.now);
            assert!((0..well_ms * 25).all(|_| stage.look(40, false, true) == Next::Look));
            match stage.judge.give_way(stage.now) {
                Next::Rest(rest) => rest.as_millis(),
                next @ (Next::Look | Next::Wait) => panic!("{next:?}"),
            }
        };
        assert_eq!([5; 9].map(&mut rest_after), [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!([2000, 4000, 4000].map(&mut rest_after), [1000, 500, 250]);
        assert_eq!([600; 5].map(&mut rest_after), [250, 250, 250, 250, 250]);
        assert_eq!([60; 9].map(&mut rest_after), [500, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000]);
    }

    #[test]
    fn a_pause_is_no_reason_to_leave_it_and_is_counted() {
        let mut stage = Stage::new();
        assert_eq!(stage.look(3_000, true, true), Next::Look);
        assert_eq!(stage.look(400, true, true), Next::Look);
        assert_eq!(stage.look(3_000, false, false), Next::Look);
        assert_eq!(stage.judge.away, Duration::from_millis(6));
    }

    #[test]
    fn a_thread_waits_long_if_it_is_for_more_than_a_tenth_of_the_time() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let waits = |at_ms, waited, away| Waits { thread: thread::current().id(), at: now + ms(at_ms), waited, away };
        let before = waits(0, Some(ms(70)), ms(70));
        assert!(!waits(10, Some(ms(71)), ms(79)).is_long_since(before));
        assert!(waits(10, Some(ms(72)), ms(70)).is_long_since(before));
        // The system does not say, or did not before.
        assert!(!waits(10, None, ms(71)).is_long_since(before));
        assert!(waits(10, None, ms(72)).is_long_since(before));
        let elsewhere = thread::spawn(|| thread::current().id()).join().unwrap();
        assert!(!waits(10, Some(ms(72)), ms(70)).is_long_since(Waits { thread: elsewhere, ..before }));
    }

    #[test]
    fn a_kernel_that_does_not_count_says_nothing() {
        assert_eq!(waited("8123 70 12\n"), Some(Duration::from_nanos(70)));
        assert_eq!(["0 0 0\n", "", "8123", "x y z"].map(waited), [None; 4]);
    }

    #[test]
    fn what_the_kernel_counts_is_looked_at_now_and_then() {
        let now = Instant::now();
        let mut waits = None;
        assert!(!Waits::are_long(&mut waits, now, Duration::ZERO));
        assert!(!Waits::are_long(&mut waits, now + ASKED_EACH / 2, Duration::ZERO));
        assert_eq!(waits.map(|it| it.at), Some(now));
        Waits::are_long(&mut waits, now + ASKED_EACH, Duration::ZERO);
        assert_eq!(waits.map(|it| it.at), Some(now + ASKED_EACH));
    }

    /// Whether the task waits to be told, within a time that is more than enough.
    async fn waits(signs: &Signs) -> bool {
        let waits = async {
            while !signs.is_waiting.load(Ordering::Relaxed) {
                yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waits).await.is_ok()
    }

    #[tokio::test]
    async fn the_task_looks_when_something_comes_waits_again_and_ends_with_the_socket() {
        let polling = BusyPoll::start(BUSY_POLL).unwrap();
        let ended = polling._task.abort_handle();
        assert!(waits(&polling.signs).await);
        polling.sent();
        assert!(!polling.signs.is_waiting.load(Ordering::Relaxed), "it was told");
        polling.came();
        assert_eq!(polling.signs.counts(), (1, 1));
        assert!(waits(&polling.signs).await);
        drop(polling);
        while !ended.is_finished() {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_time_is_no_task() {
        assert!(BusyPoll::start(Duration::ZERO).is_none());
        assert!(BusyPoll::start(BUSY_POLL).is_some());
    }
}
