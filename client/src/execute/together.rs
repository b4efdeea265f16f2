//! Many requests at once, to one member: they leave in one piece, their answers wake the caller once, and only what fails
//! goes its own way.
//!
//! A request is made where it is written, and its reply read where it is wanted: what would stand between them is moved from
//! place to place instead, which for a key of many takes longer than anything else that is done here.

use bytes::BytesMut;
use futures_util::{
    future::join,
    stream::{FuturesUnordered, StreamExt},
};
use quoit_proto_types::HashPoint;

use super::{Failure, Route, Time, check_value, not_queued, outgoing};
use crate::{
    connection::{Answers, NotQueued, Outgoing, OutgoingMany},
    core::Core,
    error::{Effect, RequestError},
    request::{Reply, Request},
};

/// One key of many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OneOfMany {
    /// By which the caller knows it.
    pub(crate) index: usize,
    pub(crate) point: HashPoint,
}

/// What is asked of many keys, by their index, and what is made of the replies. The requests are all of one kind.
#[derive(Debug)]
pub(crate) struct Asked<Q, F> {
    pub(crate) request: Q,
    pub(crate) finish: F,
}

impl<T, Q, F: Fn(usize, Result<Reply, RequestError>) -> T> Asked<Q, F> {
    fn done(&self, one: &OneOfMany, reply: Result<Reply, RequestError>) -> (usize, T) {
        (one.index, (self.finish)(one.index, reply))
    }
}

impl Core {
    /// Asks about keys that all have the same primary; what came of it is in no order.
    pub(crate) async fn execute_together<'k, T>(
        &self,
        many: Vec<OneOfMany>,
        asked: Asked<impl Fn(usize) -> Request<'k>, impl Fn(usize, Result<Reply, RequestError>) -> T>,
    ) -> Vec<(usize, T)> {
        let (asked, time) = (&asked, self.time());
        let topology = self.topology();
        let first = many.first().filter(|_| !self.is_closed()).copied();
        let route = first.and_then(|first| Some((first, Route::to_primary(&topology, first.point)?)));
        let Some((first, route, connection)) =
            route.and_then(|(first, route)| Some((first, route.clone(), route.connection?)))
        else {
            return self.execute_apart(many, asked).await;
        };
        // What is too large goes the way on which that is found out and told.
        let goes_along = |one: &OneOfMany| {
            let request = (asked.request)(one.index);
            !request.is_large() && check_value(&connection, &request).is_ok()
        };
        let (along, apart): (Vec<_>, Vec<_>) =
            if many.iter().all(goes_along) { (many, Vec::new()) } else { many.into_iter().partition(goes_along) };
        let first = (asked.request)(first.index);
        let may_pass = first.effect_if_unanswered() == Effect::None;
        let Outgoing { header, patience, .. } = outgoing(&route, &first, time.patience(route.members > 1), time);
        let all = OutgoingMany { requests: along.len(), header, patience, tied: connection.ties() };
        let write = |place: usize, header, out: &mut BytesMut| (asked.request)(along[place].index).encode(header, out);
        let sent = connection.start_all(all, may_pass, write);
        let answered = self.answered_together(&route, &along, asked, sent, time);
        if apart.is_empty() {
            return answered.await;
        }
        let (mut done, apart) = join(answered, Box::pin(self.execute_apart(apart, asked))).await;
        done.extend(apart);
        done
    }

    /// Waits for the answers of the member at `route`, and carries on with what it did not do.
    async fn answered_together<'k, T>(
        &self,
        route: &Route,
        many: &[OneOfMany],
        asked: &Asked<impl Fn(usize) -> Request<'k>, impl Fn(usize, Result<Reply, RequestError>) -> T>,
        (answers, why): (Answers, Option<NotQueued>),
        time: Time,
    ) -> Vec<(usize, T)> {
        let outcomes = answers.all().await;
        let (mut done, mut failed) = (Vec::with_capacity(many.len()), Vec::new());
        let unsent = many[outcomes.len()..].iter();
        for (one, outcome) in many.iter().zip(outcomes) {
            match self.judge(route, &(asked.request)(one.index), outcome, time) {
                Ok(reply) => done.push(asked.done(one, Ok(reply))),
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
                    let (request, tried) = ((asked.request)(one.index), (Ok(route.clone()), failure));
                    asked.done(one, self.persist(one.point, &request, tried, time).await)
                })
                .collect();
            done.extend(Box::pin(persisting.collect::<Vec<_>>()).await);
        }
        done
    }

    /// The same, each for itself.
    async fn execute_apart<'k, T>(
        &self,
        many: Vec<OneOfMany>,
        asked: &Asked<impl Fn(usize) -> Request<'k>, impl Fn(usize, Result<Reply, RequestError>) -> T>,
    ) -> Vec<(usize, T)> {
        let calls: FuturesUnordered<_> = many
            .iter()
            .map(async |one| asked.done(one, self.execute(one.point, &(asked.request)(one.index)).await))
            .collect();
        calls.collect().await
    }
}
