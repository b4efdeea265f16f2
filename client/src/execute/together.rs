//! Many requests at once, to one member: they leave in one piece, their answers wake the caller once, and only what fails
//! goes its own way.

use futures_util::{
    future::join,
    stream::{FuturesUnordered, StreamExt},
};
use quoit_proto_types::HashPoint;

use super::{Failure, Route, Time, check_value, header, not_queued};
use crate::{
    connection::{Answers, NotQueued},
    core::Core,
    error::RequestError,
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

/// What became of a request, and by which index the caller knows it.
pub(crate) type Indexed = (usize, Result<Reply, RequestError>);

impl Core {
    /// Carries out requests about keys that all have the same primary; what became of them is in no order.
    pub(crate) async fn execute_together(&self, many: Vec<OneOfMany<'_>>) -> Vec<Indexed> {
        let time = self.time();
        let primary = many.first().filter(|_| !self.is_closed()).and_then(|first| self.route_to_primary(first.point));
        let Some(route) = primary else {
            return self.execute_apart(many).await;
        };
        let Some(connection) = route.connection.clone() else {
            return self.execute_apart(many).await;
        };
        // What is too large goes the way on which that is found out and told.
        let goes_along =
            |one: &OneOfMany<'_>| !one.request.is_large() && check_value(&connection, &one.request).is_ok();
        let (along, apart): (Vec<_>, Vec<_>) =
            if many.iter().all(goes_along) { (many, Vec::new()) } else { many.into_iter().partition(goes_along) };
        let patience = time.patience(route.members > 1);
        let requests = along.iter().map(|one| one.request);
        let sent =
            connection.start_all(requests, |request| header(&route, request, time), |request| patience.of(request));
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
    ) -> Vec<Indexed> {
        let outcomes = answers.all().await;
        let (mut done, mut failed) = (Vec::with_capacity(many.len()), Vec::new());
        let unsent = many[outcomes.len()..].iter();
        for (one, outcome) in many.iter().zip(outcomes) {
            match self.judge(route, &one.request, outcome, time) {
                Ok(reply) => done.push((one.index, Ok(reply))),
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
                    (one.index, self.persist(one.point, &one.request, tried, time).await)
                })
                .collect();
            done.extend(Box::pin(persisting.collect::<Vec<_>>()).await);
        }
        done
    }

    /// The same, each for itself.
    async fn execute_apart(&self, many: Vec<OneOfMany<'_>>) -> Vec<Indexed> {
        let calls: FuturesUnordered<_> =
            many.iter().map(async |one| (one.index, self.execute(one.point, &one.request).await)).collect();
        calls.collect().await
    }

    /// The primary of what is at `point`, if it can be asked at once.
    fn route_to_primary(&self, point: HashPoint) -> Option<Route> {
        self.route(point, &[]).ok().filter(|route| self.topology().ring.primary_of(point) == Some(route.ordinal))
    }
}
