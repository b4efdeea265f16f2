//! The answers to many requests of one caller, who is woken once for all of them.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use super::lane::{Outcome, Unanswered};

/// Where the answers gather.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    gathered: Mutex<Gathered>,
    /// Told when nothing is left to wait for.
    complete: Notify,
    /// Nobody waits any more. Relaxed: who does not hear of it in time does needless work, no more.
    is_given_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Gathered {
    /// In the order in which the requests were sent.
    outcomes: Vec<Option<Outcome>>,
    /// How many are missing.
    left: usize,
}

/// Where one answer belongs.
#[derive(Debug)]
pub(super) struct Place {
    gathering: Arc<Gathering>,
    index: usize,
    is_filled: bool,
}

/// Waits for the answers. Dropped, it discards them.
#[derive(Debug, Default)]
pub(crate) struct Answers(Arc<Gathering>);

impl Answers {
    /// Of about so many.
    pub(super) fn with_capacity(requests: usize) -> Self {
        let answers = Self::default();
        answers.0.lock().outcomes.reserve(requests);
        answers
    }

    /// The place of the next request.
    pub(super) fn place(&self) -> Place {
        let mut gathered = self.0.lock();
        let index = gathered.outcomes.len();
        gathered.outcomes.push(None);
        gathered.left += 1;
        Place { gathering: Arc::clone(&self.0), index, is_filled: false }
    }

    /// Returns when every request has its answer, with the answers in the order of the requests.
    pub(crate) async fn all(self) -> Vec<Outcome> {
        loop {
            {
                let mut gathered = self.0.lock();
                if gathered.left == 0 {
                    return std::mem::take(&mut gathered.outcomes).into_iter().flatten().collect();
                }
            }
            // The last place leaves a permit, so none is missed that is filled right here.
            self.0.complete.notified().await;
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }
}

impl Place {
    /// Whether nobody waits any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.gathering.is_given_up.load(Ordering::Relaxed)
    }

    pub(super) fn fill(mut self, outcome: Outcome) {
        self.put(outcome);
    }

    fn put(&mut self, outcome: Outcome) {
        self.is_filled = true;
        let mut gathered = self.gathering.lock();
        gathered.outcomes[self.index] = Some(outcome);
        gathered.left -= 1;
        if gathered.left == 0 {
            drop(gathered);
            self.gathering.complete.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_filled {
            self.put(Err(Unanswered::Lost("the lane ended".into())));
        }
    }
}

impl Gathering {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing is left half-done by a panic: what may panic comes first.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_requests_and_one_that_is_lost_is_told() {
        let answers = Answers::default();
        let places: Vec<Place> = (0..3).map(|_| answers.place()).collect();
        let mut waiting = pin!(answers.all());
        let [first, second, third] = places.try_into().unwrap();
        third.fill(Err(Unanswered::Timeout));
        drop(second);
        assert!(waiting.as_mut().now_or_never().is_none());
        first.fill(Err(Unanswered::Timeout));
        let outcomes = waiting.await;
        assert!(matches!(outcomes[..], [Err(Unanswered::Timeout), Err(Unanswered::Lost(_)), Err(Unanswered::Timeout)]));
    }

    #[tokio::test]
    async fn of_no_requests_there_are_no_answers_and_nobody_waits_for_what_is_dropped() {
        assert!(Answers::default().all().await.is_empty());
        let answers = Answers::default();
        let place = answers.place();
        assert!(!place.is_given_up());
        drop(answers);
        assert!(place.is_given_up());
        place.fill(Err(Unanswered::Timeout));
    }
}
