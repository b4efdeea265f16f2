//! The answers to many requests of one caller, which wait for each other in one place and wake the caller once.

use tokio::sync::oneshot;

use super::lane::{Outcome, Unanswered};

/// Requests that go to a node together: enough to fill packets.
pub(crate) const TOGETHER_MAX: usize = u128::BITS as usize;

/// What has been answered so far.
#[derive(Debug)]
pub(super) struct Gathering {
    /// In the order in which the requests were sent. What is not there yet is as it is if it never comes.
    outcomes: Vec<Outcome>,
    /// The places of those that are there, a bit for each.
    there: u128,
    caller: Caller,
}

/// Who waits.
#[derive(Debug)]
enum Caller {
    /// For all answers.
    ForAll(oneshot::Sender<Vec<Outcome>>),
    /// For each answer that is late; nobody for one that has been told.
    ForEach(Vec<Option<oneshot::Sender<Outcome>>>),
}

/// Waits for the answers. Dropped, it discards them.
#[derive(Debug)]
pub(crate) struct Answers {
    receiver: oneshot::Receiver<Vec<Outcome>>,
    requests: usize,
}

impl Answers {
    /// Returns when every request has its answer, or is told that it is late, with that in the order of the requests.
    pub(crate) async fn all(self) -> Vec<Outcome> {
        let lost = |_| (0..self.requests).map(|_| Err(Unanswered::Lost("the lane ended".into()))).collect();
        self.receiver.await.unwrap_or_else(lost)
    }

    /// Of no requests.
    pub(super) fn none() -> Self {
        // Nobody is to tell what there is not.
        Self { receiver: oneshot::channel().1, requests: 0 }
    }
}

impl Gathering {
    /// Of so many requests, at most [`TOGETHER_MAX`].
    pub(super) fn of(requests: usize) -> (Self, Answers) {
        let (sender, receiver) = oneshot::channel();
        let outcomes = none_yet(requests);
        (Self { outcomes, there: 0, caller: Caller::ForAll(sender) }, Answers { receiver, requests })
    }

    /// How many are missing.
    pub(super) fn missing(&self) -> usize {
        self.outcomes.len() - self.there.count_ones() as usize
    }

    /// Whether the answer for `place` is missing.
    pub(super) fn lacks(&self, place: u8) -> bool {
        usize::from(place) < self.outcomes.len() && self.there & bit(place) == 0
    }

    /// Puts the answer for `place` there, if it is missing.
    pub(super) fn put(&mut self, place: u8, outcome: Outcome) {
        if !self.lacks(place) {
            return;
        }
        self.there |= bit(place);
        match &mut self.caller {
            Caller::ForAll(_) => self.outcomes[usize::from(place)] = outcome,
            Caller::ForEach(senders) => {
                // The caller may have gone: then nobody wants it.
                senders[usize::from(place)].take().map(|sender| sender.send(outcome));
            }
        }
    }

    /// Puts an outcome wherever one is missing.
    pub(super) fn put_rest(&mut self, outcome: impl Fn() -> Outcome) {
        for place in (0..).take(self.outcomes.len()) {
            self.put(place, outcome());
        }
    }

    /// Tells the caller of all answers, of which none is missing.
    pub(super) fn tell(self) {
        if let Caller::ForAll(sender) = self.caller {
            drop(sender.send(self.outcomes));
        }
    }

    /// Tells the caller of all answers that are there, and that the rest is late, and where each of those will come from.
    pub(super) fn turn_late(&mut self) {
        let all = 0..u8::try_from(self.outcomes.len()).unwrap_or(u8::MAX);
        let (senders, late): (Vec<_>, Vec<_>) =
            all.map(|place| self.lacks(place).then(oneshot::channel).unzip()).unzip();
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for (outcome, answer) in outcomes.iter_mut().zip(late) {
            if let Some(answer) = answer {
                *outcome = Err(Unanswered::Late(answer));
            }
        }
        self.outcomes = none_yet(outcomes.len());
        if let Caller::ForAll(sender) = std::mem::replace(&mut self.caller, Caller::ForEach(senders)) {
            drop(sender.send(outcomes));
        }
    }

    /// Gives up the late answers that nobody waits for any more, and says how many they were.
    pub(super) fn forget_given_up(&mut self) -> usize {
        let before = self.there;
        if let Caller::ForEach(senders) = &mut self.caller {
            for (place, sender) in (0..).zip(senders) {
                if sender.take_if(|sender| sender.is_closed()).is_some() {
                    self.there |= bit(place);
                }
            }
        }
        (self.there & !before).count_ones() as usize
    }

    /// Whether nobody waits any more.
    pub(super) fn is_given_up(&self) -> bool {
        match &self.caller {
            Caller::ForAll(sender) => sender.is_closed(),
            Caller::ForEach(senders) => senders.iter().flatten().all(oneshot::Sender::is_closed),
        }
    }
}

/// The outcomes of so many requests, none of which is there.
fn none_yet(requests: usize) -> Vec<Outcome> {
    (0..requests).map(|_| Err(Unanswered::Timeout)).collect()
}

fn bit(place: u8) -> u128 {
    1 << place
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::{super::lane::Answer, *};

    fn lost() -> Outcome {
        Err(Unanswered::Lost("it is".into()))
    }

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_requests() {
        let (mut gathering, answers) = Gathering::of(3);
        let mut waiting = pin!(answers.all());
        gathering.put(2, Err(Unanswered::Timeout));
        gathering.put(0, Err(Unanswered::Timeout));
        // What has its answer keeps it, and beyond the last there is none.
        gathering.put(0, lost());
        gathering.put(3, lost());
        assert!(gathering.missing() == 1 && gathering.lacks(1) && !gathering.lacks(2) && !gathering.lacks(3));
        assert!(waiting.as_mut().now_or_never().is_none());
        gathering.put_rest(lost);
        assert_eq!(gathering.missing(), 0);
        gathering.tell();
        let outcomes = waiting.await;
        assert!(matches!(outcomes[..], [Err(Unanswered::Timeout), Err(Unanswered::Lost(_)), Err(Unanswered::Timeout)]));
    }

    #[tokio::test]
    async fn who_hears_that_some_are_late_gets_them_one_by_one() {
        let (mut gathering, answers) = Gathering::of(3);
        gathering.put(1, lost());
        gathering.turn_late();
        let [Err(Unanswered::Late(first)), Err(Unanswered::Lost(_)), Err(Unanswered::Late(third))]: [Outcome; 3] =
            answers.all().await.try_into().unwrap()
        else {
            panic!("two are late");
        };
        assert_eq!(gathering.missing(), 2);
        gathering.put(2, lost());
        assert!(matches!(third.await, Ok(Err(Unanswered::Lost(_)))));
        assert!(!gathering.is_given_up() && gathering.forget_given_up() == 0);
        drop::<Answer>(first);
        assert!(gathering.is_given_up());
        assert_eq!((gathering.forget_given_up(), gathering.missing()), (1, 0));
        gathering.put(0, lost());
        gathering.tell();
    }

    #[tokio::test]
    async fn of_no_requests_there_are_no_answers_and_of_a_lane_that_ends_there_are_lost_ones() {
        assert!(Answers::none().all().await.is_empty());
        let (ended, answers) = Gathering::of(2);
        drop(ended);
        assert!(matches!(answers.all().await[..], [Err(Unanswered::Lost(_)), Err(Unanswered::Lost(_))]));
        let (gathering, answers) = Gathering::of(TOGETHER_MAX);
        assert!(!gathering.is_given_up() && gathering.lacks(127));
        drop(answers);
        assert!(gathering.is_given_up());
    }
}
