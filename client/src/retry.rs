//! When to repeat a request, decided apart from any IO.

use std::time::Duration;

use quoit_proto_types::{Epoch, ErrorCode, RetryClass};

use crate::error::RequestError;

/// Longest pause between two tries.
const DELAY_MAX: Duration = Duration::from_millis(100);

/// Refusals for reasons of the member that was asked. One that is busy is not among them: its load would only be added to that
/// of the others, and come back to it from them.
const ELSEWHERE: [ErrorCode; 5] =
    [ErrorCode::NotReady, ErrorCode::NodeBehind, ErrorCode::Unavailable, ErrorCode::ShuttingDown, ErrorCode::Internal];

/// How often a request is tried before its error is handed to the caller. The deadline bounds all tries together.
///
/// Only a request that certainly changed nothing is repeated, a write as well as a read: a write that was repeated is another
/// one, with a later version, and could undo somebody else's. A member that began a write and cannot reach enough others
/// says so after a quarter of the time, and as what it began it; other members then carry on the same write, which undoes
/// nothing.
///
/// A member that cannot carry a request out is no reason to wait while there are others, as any of them can: they are asked at
/// once, the other owners of the key first, up to four in a row, which together count as one try. A read that is not answered
/// within a quarter of its time is sent to another member as well, and the first answer counts.
///
/// What passes by itself is waited for until the deadline, with pauses that grow to 0.1 s: a busy node, one that is not
/// ready because it starts, one whose view is behind while a ring changes. `attempts_max` counts for the rest, such as nodes
/// that cannot be reached, or too few copies of a key within reach.
///
/// A node that refuses because the client's view is old redirects it: the client fetches that node's view, and repeats
/// the request by it at once. It does so **at most once for each view**: refused again while it goes by the same view,
/// the request waits like any other, and is not redirected again before a later view is there. So a request costs at most
/// one redirect more than there are views installed while it runs, and no two nodes can send it to and fro.
///
/// ```
/// use {quoit_client::{ClientConfig, RetryPolicy}, std::time::Duration};
///
/// let patient = RetryPolicy { attempts_max: 8, ..RetryPolicy::default() };
/// assert_eq!(patient.first_delay, Duration::from_millis(5));
/// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.retry(patient);
/// # Ok::<(), quoit_client::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first one included. What passes by itself is tried until the deadline all the same, unless this
    /// is 1.
    pub attempts_max: u32,
    /// Pause before the second try; doubles with each further one, and is spread by a random half.
    pub first_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 4, first_delay: Duration::from_millis(5) }
    }
}

impl RetryPolicy {
    /// Every error goes straight to the caller.
    ///
    /// ```
    /// assert_eq!(quoit_client::RetryPolicy::NEVER.attempts_max, 1);
    /// ```
    pub const NEVER: Self = Self { attempts_max: 1, first_delay: Duration::ZERO };

    /// Whether another member may do what the one that was asked last could not, at once. It must certainly have done nothing.
    pub(crate) fn goes_elsewhere(&self, error: &RequestError) -> bool {
        if self.attempts_max <= 1 || !error.has_no_side_effects() {
            return false;
        }
        match error {
            RequestError::Unavailable { .. } | RequestError::Timeout { .. } | RequestError::ConnectionLost { .. } => {
                true
            }
            RequestError::Refused { refusal, .. } => ELSEWHERE.contains(&refusal.code),
            // The same wherever it is asked for, or no fault of a member's.
            RequestError::KeyInvalid { .. }
            | RequestError::ValueTooLarge { .. }
            | RequestError::Busy { .. }
            | RequestError::NoOwner { .. }
            | RequestError::NoSuchMember { .. }
            | RequestError::Protocol { .. }
            | RequestError::Closed => false,
        }
    }

    /// What to do after the last of the tries that `tried` tells of failed with `error`. `jitter` is drawn from 0 to 1.
    ///
    /// Only a request that certainly changed nothing is repeated: repeating a write whose fate is unknown could undo
    /// somebody else's later one.
    pub(crate) fn decide(&self, tried: Tried, error: &RequestError, jitter: f64) -> Decision {
        if self.attempts_max <= 1 || !error.is_retryable() || !error.has_no_side_effects() {
            return Decision::GiveUp;
        }
        let cause = Cause::of(error);
        if matches!(cause, Cause::OldView | Cause::NoOwner) && tried.refreshed != Some(tried.epoch) {
            return Decision::Refresh;
        }
        let asked_to_wait = match cause {
            Cause::Busy(wait) => wait,
            Cause::OldView | Cause::Passing => Duration::ZERO,
            Cause::NoOwner | Cause::Lasting if tried.attempt >= self.attempts_max => return Decision::GiveUp,
            Cause::NoOwner | Cause::Lasting => Duration::ZERO,
        };
        let doubled = self.first_delay.saturating_mul(1 << (tried.attempt.max(1) - 1).min(16)).min(DELAY_MAX);
        let pause = doubled.max(asked_to_wait.min(DELAY_MAX));
        Decision::Wait(pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0)))
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    /// The number of the last try, from 1.
    pub(crate) attempt: u32,
    /// The view it went by.
    pub(crate) epoch: Epoch,
    /// The view it went by when a newer one was last asked for.
    pub(crate) refreshed: Option<Epoch>,
}

/// What to do with a failed request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Hand the error to the caller.
    GiveUp,
    /// Fetch the view, then repeat.
    Refresh,
    /// Repeat after a pause.
    Wait(Duration),
}

/// What an error that may be retried comes from.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// The request went by an old view.
    OldView,
    /// The view names no owner.
    NoOwner,
    /// A queue is full, and the node may have said for how long.
    Busy(Duration),
    /// It passes by itself, as a start or a ring change goes on.
    Passing,
    /// It may last.
    Lasting,
}

impl Cause {
    fn of(error: &RequestError) -> Self {
        if let RequestError::Refused { refusal, .. } = error {
            let is = |codes: &[ErrorCode]| codes.contains(&refusal.code);
            return if refusal.code.retry_class() == RetryClass::AfterRefresh {
                Self::OldView
            } else if is(&[ErrorCode::Busy]) {
                Self::Busy(Duration::from_millis(refusal.argument))
            } else if is(&[ErrorCode::NotReady, ErrorCode::NodeBehind]) {
                Self::Passing
            } else {
                Self::Lasting
            };
        }
        if matches!(error, RequestError::NoOwner { .. }) {
            Self::NoOwner
        } else if matches!(error, RequestError::Busy { .. }) {
            Self::Busy(Duration::ZERO)
        } else {
            Self::Lasting
        }
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::message::client::Refusal;

    use super::*;
    use crate::error::Effect;

    fn tried(attempt: u32) -> Tried {
        Tried { attempt, epoch: Epoch::new(7), refreshed: None }
    }

    fn check(tried: Tried, error: &RequestError, expected: Decision) {
        assert_eq!(RetryPolicy::default().decide(tried, error, 0.5), expected, "{error}");
    }

    fn refused(code: ErrorCode) -> RequestError {
        RequestError::Refused { node: "n1".into(), refusal: Refusal::new(code, 0).into(), effect: Effect::None }
    }

    fn timeout(effect: Effect) -> RequestError {
        RequestError::Timeout { node: "n1".into(), waited: Duration::from_secs(1), effect }
    }

    #[test]
    fn a_stale_view_is_fetched_and_a_busy_node_is_given_time() {
        check(tried(1), &refused(ErrorCode::StaleView), Decision::Refresh);
        check(tried(1), &refused(ErrorCode::NotOwner), Decision::Refresh);
        check(tried(1), &refused(ErrorCode::Busy), Decision::Wait(Duration::from_millis(5)));
        check(tried(3), &refused(ErrorCode::Busy), Decision::Wait(Duration::from_millis(20)));
    }

    #[test]
    fn a_request_is_redirected_once_for_each_view() {
        for code in [ErrorCode::StaleView, ErrorCode::NotOwner] {
            let (mut redirects, mut now) = (0, tried(1));
            // Two nodes that send it to and fro for ever, while the view changes three times.
            for attempt in 1..=40 {
                now = Tried { attempt, epoch: Epoch::new(7 + u64::from(attempt / 10).min(3)), ..now };
                match RetryPolicy::default().decide(now, &refused(code), 0.5) {
                    Decision::Refresh => {
                        redirects += 1;
                        now.refreshed = Some(now.epoch);
                    }
                    Decision::Wait(pause) => assert!(pause >= Duration::from_millis(5), "{pause:?}"),
                    Decision::GiveUp => panic!("{code} passes once the ring has changed"),
                }
            }
            assert_eq!(redirects, 1 + 3);
        }
    }

    #[test]
    fn a_cluster_started_anew_may_redirect_to_an_earlier_epoch() {
        let now = Tried { refreshed: Some(Epoch::new(9)), ..tried(2) };
        check(now, &refused(ErrorCode::StaleView), Decision::Refresh);
    }

    #[test]
    fn what_passes_by_itself_is_waited_for_until_the_deadline() {
        for code in [ErrorCode::Busy, ErrorCode::NotReady, ErrorCode::NodeBehind] {
            check(tried(1), &refused(code), Decision::Wait(Duration::from_millis(5)));
            check(tried(40), &refused(code), Decision::Wait(DELAY_MAX));
        }
        let now = Tried { refreshed: Some(Epoch::new(7)), ..tried(40) };
        check(now, &refused(ErrorCode::NotOwner), Decision::Wait(DELAY_MAX));
        check(now, &refused(ErrorCode::StaleView), Decision::Wait(DELAY_MAX));
    }

    #[test]
    fn a_write_of_unknown_fate_is_never_repeated() {
        check(tried(1), &timeout(Effect::Unknown), Decision::GiveUp);
        check(tried(1), &timeout(Effect::None), Decision::Wait(Duration::from_millis(5)));
    }

    #[test]
    fn another_member_is_asked_for_what_one_certainly_did_not_do() {
        let elsewhere = |error: &RequestError| RetryPolicy::default().goes_elsewhere(error);
        for code in ELSEWHERE {
            assert!(elsewhere(&refused(code)), "{code}");
            assert!(!RetryPolicy::NEVER.goes_elsewhere(&refused(code)), "{code}");
        }
        for code in [ErrorCode::Busy, ErrorCode::StaleView, ErrorCode::ValueTooLarge, ErrorCode::WrongRole] {
            assert!(!elsewhere(&refused(code)), "{code}");
        }
        assert!(elsewhere(&timeout(Effect::None)) && !elsewhere(&timeout(Effect::Unknown)));
        assert!(!elsewhere(&RequestError::Closed));
    }

    #[test]
    fn a_write_that_some_may_hold_is_left_alone() {
        for code in [ErrorCode::Unavailable, ErrorCode::ClockSkew, ErrorCode::TooOld] {
            let refusal = Refusal::new(code, 1).into();
            let error = RequestError::Refused { node: "n1".into(), refusal, effect: Effect::Unknown };
            assert!(error.is_retryable() && !error.has_no_side_effects());
            assert!(!RetryPolicy::default().goes_elsewhere(&error));
            check(tried(1), &error, Decision::GiveUp);
            check(tried(1), &refused(code), Decision::Wait(Duration::from_millis(5)));
            check(tried(4), &refused(code), Decision::GiveUp);
        }
    }

    #[test]
    fn what_cannot_succeed_is_not_repeated_and_tries_are_bounded() {
        check(tried(1), &refused(ErrorCode::ValueTooLarge), Decision::GiveUp);
        check(tried(1), &refused(ErrorCode::WrongRole), Decision::GiveUp);
        check(tried(4), &refused(ErrorCode::Internal), Decision::GiveUp);
        check(tried(4), &timeout(Effect::None), Decision::GiveUp);
        let none = Tried { refreshed: Some(Epoch::new(7)), ..tried(4) };
        check(none, &RequestError::NoOwner { epoch: 7 }, Decision::GiveUp);
        assert_eq!(RetryPolicy::NEVER.decide(tried(1), &refused(ErrorCode::Busy), 0.5), Decision::GiveUp);
        assert_eq!(RetryPolicy::NEVER.decide(tried(1), &refused(ErrorCode::StaleView), 0.5), Decision::GiveUp);
    }
}
