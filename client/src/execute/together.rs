//! Many requests at once, to one member: they leave in one piece, their answers wake the caller once, and only what fails
//! goes its own way.

use futures_util::{
    future::join,
    stream::{FuturesUnordered, StreamExt},
};
use quoit_proto_types::{HashPoint, Hlc};

use super::{Failure, Route, Time, check_value, not_queued, outgoing};
use crate::{
    connection::{Answers, NotQueued},
    core::Core,
    error::{Effect, RequestError},
    request::{Reply, Request},
};

/// One of many requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OneOfMany<'r> {
    /// By which the caller knows it.
    pub(crate) index: usize,
    pub(crate) point: HashPoint,
    pub(crate) request: Request<'r>,
}

/// What became of one of many requests.
#[derive(Debug)]
pub(crate) struct OneDone {
    /// By which the caller knows it.
    pub(crate) index: usize,
    /// Of a write: what it was to be later than.
    pub(crate) after: Hlc,
    pub(crate) reply: Result<Reply, RequestError>,
}

impl OneOfMany<'_> {
    fn done(&self, reply: Result<Reply, RequestError>) -> OneDone {
        OneDone { index: self.index, after: self.request.after(), reply }
    }
}

impl Core {
    /// Carries out requests about keys that all have the same primary; what became of them is in no order.
    pub(crate) async fn execute_together(&self, many: Vec<OneOfMany<'_>>) -> Vec<OneDone> {
        let time = self.time();
        let topology = self.topology();
        let first = many.first().filter(|_| !self.is_closed());
        let route = first.and_then(|first| Route::to_primary(&topology, first.point));
        let Some((route, connection)) = route.and_then(|route| Some((route.clone(), route.connection?))) else {
            return self.execute_apart(many).await;
        };
        // What is too large goes the way on which that is found out and told.
        let goes_along =
            |one: &OneOfMany<'_>| !one.request.is_large() && check_value(&connection, &one.request).is_ok();
        let (along, apart): (Vec<_>, Vec<_>) =
            if many.iter().all(goes_along) { (many, Vec::new()) } else { many.into_iter().partition(goes_along) };
        let patience = time.patience(route.members > 1);
        let all = along.iter().map(|one| outgoing(&route, &one.request, patience, time));
        let may_pass = along.iter().all(|one| one.request.effect_if_unanswered() == Effect::None);
        let sent = connection.start_all(all, may_pass);
        let answered = self.answered_together(&route, &along, sent, time);
        if apart.is_empty() {
            return answered.await;
        }
        let (mut done, apart) = join(answered, Box::pin(self.execute_apart(apart))).await;
        done.extend(apart);
        done
    }

    /// Waits for the answers of the member at `route`, and carries on with what it did not do.
    async fn answered_together(
        &self,
        route: &Route,
        many: &[OneOfMany<'_>],
        (answers, why): (Answers, Option<NotQueued>),
        time: Time,
    ) -> Vec<OneDone> {
        let outcomes = answers.all().await;
        let (mut done, mut failed) = (Vec::with_capacity(many.len()), Vec::new());
        let unsent = many[outcomes.len()..].iter();
        for (one, outcome) in many.iter().zip(outcomes) {
            match self.judge(route, &one.request, outcome, time) {
                Ok(reply) => done.push(one.done(Ok(reply))),
                Err(failure) => failed.push((one, failure)),
            }
        }
        if let Some(why) = why {
            failed.extend(unsent.map(|one| (one, Failure::Failed(not_queued(route, why.clone())))));
        }
        if !failed.is_empty() {
            let persisting: FuturesUnordered<_> = failed
                .into_iter()
                .map(async |(one, failure)| {
                    let tried = (Ok(route.clone()), failure);
                    one.done(self.persist(one.point, &one.request, tried, time).await)
                })
                .collect();
            done.extend(Box::pin(persisting.collect::<Vec<_>>()).await);
        }
        done
    }

    /// The same, each for itself.
    async fn execute_apart(&self, many: Vec<OneOfMany<'_>>) -> Vec<OneDone> {
        let calls: FuturesUnordered<_> =
            many.iter().map(async |one| one.done(self.execute(one.point, &one.request).await)).collect();
        calls.collect().await
    }
}
