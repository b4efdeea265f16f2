//! When to repeat a request, decided apart from any IO.

use std::time::Duration;

use quoit_proto_types::{ErrorCode, RetryClass, message::client::Refusal};

use crate::error::RequestError;

/// Longest pause between two tries.
const DELAY_MAX: Duration = Duration::from_millis(100);

/// How often a request is tried before its error is handed to the caller. The deadline bounds all tries together.
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
    /// Tries in all, the first one included. A busy node is asked until the deadline all the same, unless this is 1.
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

    /// What to do after try number `attempt` (from 1) failed with `error`. `jitter` is drawn from 0 to 1.
    ///
    /// Only a request that certainly changed nothing is repeated: repeating a write whose fate is unknown could undo
    /// somebody else's later one.
    pub(crate) fn decide(&self, attempt: u32, error: &RequestError, jitter: f64) -> Decision {
        if self.attempts_max <= 1 || !error.is_retryable() || !error.has_no_side_effects() {
            return Decision::GiveUp;
        }
        let asked_to_wait = if let RequestError::Refused { refusal, .. } = error {
            (refusal.code == ErrorCode::Busy).then(|| Duration::from_millis(refusal.argument))
        } else {
            matches!(error, RequestError::Busy { .. }).then_some(Duration::ZERO)
        };
        if attempt >= self.attempts_max && asked_to_wait.is_none() {
            return Decision::GiveUp;
        }
        let stale = |refusal: &Refusal| refusal.code.retry_class() == RetryClass::AfterRefresh;
        if matches!(error, RequestError::NoOwner { .. })
            || matches!(error, RequestError::Refused { refusal, .. } if stale(refusal))
        {
            return Decision::Refresh;
        }
        let doubled = self.first_delay.saturating_mul(1 << (attempt - 1).min(16)).min(DELAY_MAX);
        let pause = doubled.max(asked_to_wait.unwrap_or_default().min(DELAY_MAX));
        Decision::Wait(pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0)))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Effect;

    fn check(attempt: u32, error: &RequestError, expected: Decision) {
        assert_eq!(RetryPolicy::default().decide(attempt, error, 0.5), expected, "{error}");
    }

    fn refused(code: ErrorCode) -> RequestError {
        RequestError::Refused { node: "n1".into(), refusal: Refusal::new(code, 0) }
    }

    fn timeout(effect: Effect) -> RequestError {
        RequestError::Timeout { node: "n1".into(), waited: Duration::from_secs(1), effect }
    }

    #[test]
    fn a_stale_view_is_fetched_and_a_busy_node_is_given_time() {
        check(1, &refused(ErrorCode::StaleView), Decision::Refresh);
        check(1, &refused(ErrorCode::Busy), Decision::Wait(Duration::from_millis(5)));
        check(3, &refused(ErrorCode::Busy), Decision::Wait(Duration::from_millis(20)));
    }

    #[test]
    fn a_write_of_unknown_fate_is_never_repeated() {
        check(1, &timeout(Effect::Unknown), Decision::GiveUp);
        check(1, &timeout(Effect::None), Decision::Wait(Duration::from_millis(5)));
    }

    #[test]
    fn what_cannot_succeed_is_not_repeated_and_tries_are_bounded() {
        check(1, &refused(ErrorCode::ValueTooLarge), Decision::GiveUp);
        check(4, &refused(ErrorCode::NotReady), Decision::GiveUp);
        check(40, &refused(ErrorCode::Busy), Decision::Wait(DELAY_MAX));
        assert_eq!(RetryPolicy::NEVER.decide(1, &refused(ErrorCode::Busy), 0.5), Decision::GiveUp);
    }
}
