//! Carrying out requests: whom to ask, when to ask somebody else, and when to give up.
//!
//! ```text
//!   the best choice ── answers ──────────────────────────────────────────► done
//!      ├ certainly did nothing ───── the next best, at once, ROUND_MAX in all
//!      ├ a read, and late ────────── the next best as well: the first answer counts
//!      ├ began a write, and is stuck  the next best, at once, which carries on the same write
//!      ├ the view is an old one ──── fetched, once for each view, then again
//!      └ none of these helps ─────── a pause, then a new round, until the policy or the deadline ends it
//! ```

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, HashPoint, Label, Ordinal, RequestId, Stamp,
    codec::{self, DecodeError},
    frame::{FrameHeader, FrameType},
    message::{
        admin::{AdminReply, AdminRequest},
        client::{Refusal, Unfinished},
    },
};
use tokio::time::{Instant, sleep};

pub(crate) use self::together::{Asked, OneOfMany};
use crate::{
    connection::{Answer, Connection, NotQueued, Outgoing, Patience, Unanswered, received},
    core::Core,
    error::{Effect, RequestError},
    pool::Node,
    request::{Reply, Request},
    retry::{Decision, Tried},
    topology::Topology,
};

mod together;

/// Members asked one after the other before a pause: all owners of a key that has as many copies as most do, and one to make
/// up for them. In a large cluster that is cut in two, going on would only waste the time that a pause makes good use of.
const ROUND_MAX: usize = 4;
/// A member is late when it has used up this part of a request's time: 0.25 s of the usual second. That is far beyond what a
/// member takes to turn to another owner itself, so it happens only if the member that was asked is in trouble.
const LATE_PART: u32 = 4;

/// Refusals that a member may only come to when others have done what was asked. A value that is too large for the member
/// that was asked is not sent, so one that is refused is too large for an owner, and others may have room for it.
const HALF_DONE: [ErrorCode; 4] =
    [ErrorCode::Unavailable, ErrorCode::ClockSkew, ErrorCode::TooOld, ErrorCode::ValueTooLarge];

/// A member to ask, and the view that says so.
#[derive(Clone, Debug)]
struct Route {
    ordinal: Ordinal,
    node: Arc<Node>,
    /// To it, if there is one now.
    connection: Option<Arc<Connection>>,
    fence: Fence,
    epoch: Epoch,
    /// How many members there are.
    members: usize,
}

/// The time that a request has.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// Since when this try is under way.
    started: Instant,
    /// What was left then of the request's time.
    left: Duration,
}

/// Why a member has not answered.
#[derive(Debug)]
enum Failure {
    /// It is late, and may yet.
    Late(Answer),
    /// It has begun a write as this, and could not get it far enough.
    Unfinished(Box<Begun>),
    Failed(RequestError),
}

/// Why the best choice was not asked.
#[derive(Debug)]
enum Unasked {
    /// The client is closed.
    Closed,
    /// That takes a wait, or there is none.
    Yet(Result<Route, Epoch>),
    /// It could not be.
    Refused(Route, Box<RequestError>),
}

/// A write that a member has begun, and could not get far enough.
#[derive(Clone, Debug)]
struct Begun {
    node: String,
    stamp: Stamp,
    /// How many members are known to hold it.
    held: u64,
}

impl Begun {
    /// That it came to nothing more.
    fn error(&self, effect: Effect) -> RequestError {
        let (node, refusal) = (self.node.clone(), Refusal::new(ErrorCode::Unavailable, self.held).into());
        RequestError::Refused { node, refusal, effect }
    }
}

impl Core {
    /// Carries out `request`, which is about the key at `point`, by whichever member can.
    ///
    /// It is sent by the call. Thousands wait for an answer at once, and the less each of them carries, the more of them the
    /// processor has at hand: so this is no `async fn`, which would hold what it is given twice, and what few requests come to is
    /// boxed.
    pub(crate) fn execute<'a>(
        &'a self,
        point: HashPoint,
        request: &'a Request<'a>,
    ) -> impl Future<Output = Result<Reply, RequestError>> + use<'a> {
        let time = self.time();
        let (route, mut answer) = match self.begin(point, request, time) {
            Ok(asked) => asked,
            Err(unasked) => return Either::Right(Box::pin(self.ask_first(point, request, unasked, time))),
        };
        Either::Left(async move {
            let answer = received((&mut answer).await);
            let failure = match self.judge(&route, request, answer, time) {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            Box::pin(self.persist(point, request, (Ok(route), failure), time)).await
        })
    }

    /// Asks the best choice if that takes no wait.
    fn begin(&self, point: HashPoint, request: &Request<'_>, time: Time) -> Result<(Route, Answer), Unasked> {
        if self.is_closed() {
            return Err(Unasked::Closed);
        }
        let route = self.route(point, &[]).map_err(|epoch| Unasked::Yet(Err(epoch)))?;
        match self.start(&route, request, time.patience(route.members > 1), time) {
            Ok(Some(answer)) => Ok((route, answer)),
            Ok(None) => Err(Unasked::Yet(Ok(route))),
            Err(error) => Err(Unasked::Refused(route, Box::new(error))),
        }
    }

    /// Goes on with a request that could not be sent at once.
    async fn ask_first(
        &self,
        point: HashPoint,
        request: &Request<'_>,
        unasked: Unasked,
        time: Time,
    ) -> Result<Reply, RequestError> {
        let tried = match unasked {
            Unasked::Closed => return Err(RequestError::Closed),
            Unasked::Refused(route, error) => (Ok(route), (*error).into()),
            Unasked::Yet(route) => match self.ask_along(&route, request, 0, time).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => (route, failure),
            },
        };
        self.persist(point, request, tried, time).await
    }

    /// Carries on after the first try of `request` came to nothing. If one member has begun a write and none has finished it,
    /// the error is that of the first: whatever the others said, it may be held somewhere.
    async fn persist(
        &self,
        point: HashPoint,
        request: &Request<'_>,
        tried: (Result<Route, Epoch>, Failure),
        time: Time,
    ) -> Result<Reply, RequestError> {
        let (mut request, mut begun) = (*request, None);
        self.try_on(point, (&mut request, &mut begun), tried, time).await.map_err(|error| begun.unwrap_or(error))
    }

    /// Tries until it is done. Notes what the member said that has `begun` a write.
    async fn try_on(
        &self,
        point: HashPoint,
        (request, begun): (&mut Request<'_>, &mut Option<RequestError>),
        (mut route, mut failure): (Result<Route, Epoch>, Failure),
        mut time: Time,
    ) -> Result<Reply, RequestError> {
        let mut tried = Tried { attempt: 1, epoch: Epoch::GENESIS, refreshed: None };
        let mut round = Vec::new();
        loop {
            round.extend(route.as_ref().ok().map(|route| route.ordinal));
            let error = match (failure, &route) {
                (Failure::Failed(error), _) => error,
                (Failure::Unfinished(now), _) => {
                    *request = request.carried_on(now.stamp);
                    begun.get_or_insert_with(|| now.error(Effect::Unknown));
                    now.error(Effect::None)
                }
                (Failure::Late(answer), Ok(route)) => {
                    match self.hedge(point, request, (route, answer), &mut round, time).await {
                        Ok(reply) => return Ok(reply),
                        Err(error) => error,
                    }
                }
                (Failure::Late(_), Err(_)) => return Err(RequestError::Closed),
            };
            let node = route.as_ref().ok().map(|route| &route.node);
            let epoch = route.as_ref().map_or_else(|epoch| *epoch, |route| route.epoch);
            tried.epoch = epoch;
            if node.is_some_and(|node| self.was_replaced(node, &error)) {
                round.pop();
            } else if !(self.retry.goes_elsewhere(&error) && self.has_another(point, &round, time)) {
                match self.retry.decide(tried, &error, self.draw()) {
                    Decision::GiveUp => return Err(error),
                    Decision::Refresh => {
                        self.note_redirect();
                        tried.refreshed = Some(epoch);
                        self.refresh(epoch, node, time.deadline()).await;
                    }
                    Decision::Wait(pause) if Instant::now() + pause >= time.deadline() => return Err(error),
                    Decision::Wait(pause) => sleep(pause).await,
                }
                tried.attempt += 1;
                round.clear();
            }
            time = time.again();
            route = self.route(point, &round);
            match self.ask_along(&route, request, round.len(), time).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failure = failed,
            }
        }
    }

    /// Waits for the late `answer` to a read, and asks another member as well.
    async fn hedge(
        &self,
        point: HashPoint,
        request: &Request<'_>,
        (late, answer): (&Route, Answer),
        round: &mut Vec<Ordinal>,
        time: Time,
    ) -> Result<Reply, RequestError> {
        let first = async { finish(self.judge(late, request, received(answer.await), time)) };
        let Ok(route) = self.route(point, round) else {
            return first.await;
        };
        round.push(route.ordinal);
        let second = async {
            let time = time.again();
            finish(self.ask(&route, request, Patience::until(time.deadline()), time).await)
        };
        match select(pin!(first), pin!(second)).await {
            Either::Left((Ok(reply), _)) | Either::Right((Ok(reply), _)) => Ok(reply),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// Has the member `name` carry out `request`, retries included. No other member can stand in for it.
    pub(crate) async fn administer(&self, name: &Label, request: &AdminRequest) -> Result<AdminReply, RequestError> {
        let mut time = self.time();
        let mut attempt = 1;
        loop {
            if self.is_closed() {
                return Err(RequestError::Closed);
            }
            let topology = self.topology();
            let epoch = topology.epoch();
            let member = topology.view.member_named(name);
            let Some((ordinal, node)) = member.and_then(|m| Some((m.ordinal, topology.node(m.ordinal)?))) else {
                return Err(RequestError::NoSuchMember { name: name.clone(), epoch: epoch.value() });
            };
            let route = Route::new(&topology, (ordinal, node), node.ready());
            let patience = Patience::until(time.deadline());
            let error = match finish(self.ask(&route, &Request::Admin(request), patience, time).await) {
                Ok(reply) if reply.kind == FrameType::AdminReply => {
                    let broken = |error: DecodeError| node.out_of_protocol(error.to_string());
                    return AdminReply::decode(&reply.body).map_err(broken);
                }
                Ok(reply) => {
                    let kind = reply.kind;
                    return Err(node.out_of_protocol(format!("a {kind:?} frame is no answer to an administrator")));
                }
                Err(error) => error,
            };
            time = time.again();
            if self.was_replaced(node, &error) {
                continue;
            }
            // The view is of no account here, so nothing is fetched before the request is repeated.
            let tried = Tried { attempt, epoch, refreshed: Some(epoch) };
            match self.retry.decide(tried, &error, self.draw()) {
                Decision::Wait(pause) if Instant::now() + pause < time.deadline() => sleep(pause).await,
                Decision::Wait(_) | Decision::Refresh | Decision::GiveUp => return Err(error),
            }
            attempt += 1;
            time = time.again();
        }
    }

    /// That of a request which begins now.
    fn time(&self) -> Time {
        Time { started: Instant::now(), left: self.request_timeout }
    }

    /// Whether a request failed with `error` only because a view that was installed meanwhile has another handle in the
    /// place of `node`, or none. Nothing was sent. True at most once for each view.
    fn was_replaced(&self, node: &Arc<Node>, error: &RequestError) -> bool {
        matches!(error, RequestError::Closed) && !self.is_closed() && !self.topology().has(node)
    }

    /// Whether there is time, and another member, to ask in this round.
    fn has_another(&self, point: HashPoint, round: &[Ordinal], time: Time) -> bool {
        round.len() < ROUND_MAX && Instant::now() < time.deadline() && self.topology().choose(point, round).is_some()
    }

    /// Whom to ask, but for those in `tried`; the view's number if there is nobody, or nobody who owns the key.
    fn route(&self, point: HashPoint, tried: &[Ordinal]) -> Result<Route, Epoch> {
        let topology = self.topology.load();
        if let Some(route) = Route::to_primary(&topology, point).filter(|route| !tried.contains(&route.ordinal)) {
            return Ok(route);
        }
        let epoch = topology.epoch();
        let owned = topology.ring.primary_of(point).is_some();
        let ordinal = topology.choose(point, tried).filter(|_| owned).ok_or(epoch)?;
        let node = topology.node(ordinal).ok_or(epoch)?;
        Ok(Route::new(&topology, (ordinal, node), node.ready()))
    }

    /// Sends `request` if that takes no wait: not if it has to be dialled first, nor for a large value.
    fn start(
        &self,
        route: &Route,
        request: &Request<'_>,
        patience: Patience,
        time: Time,
    ) -> Result<Option<Answer>, RequestError> {
        let Some(connection) = route.connection.as_ref().filter(|_| !request.is_large()) else { return Ok(None) };
        check_value(connection, request)?;
        let answer = connection.start(outgoing(route, request, patience, time));
        answer.map(Some).map_err(|why| not_queued(route, why))
    }

    /// Asks the member at `route`, if there is one, after so many others in this round.
    async fn ask_along(
        &self,
        route: &Result<Route, Epoch>,
        request: &Request<'_>,
        others: usize,
        time: Time,
    ) -> Result<Reply, Failure> {
        match route {
            Ok(route) => self.ask(route, request, time.patience(route.members > others + 1), time).await,
            Err(epoch) => Err(Failure::Failed(RequestError::NoOwner { epoch: epoch.value() })),
        }
    }

    async fn ask(
        &self,
        route: &Route,
        request: &Request<'_>,
        patience: Patience,
        time: Time,
    ) -> Result<Reply, Failure> {
        let connection = match &route.connection {
            Some(connection) => Arc::clone(connection),
            None => route.node.connection(patience.late.unwrap_or(patience.deadline)).await?,
        };
        check_value(&connection, request)?;
        let answer = connection.call(outgoing(route, request, patience, time)).await;
        self.judge(route, request, answer.map_err(|why| not_queued(route, why))?, time)
    }

    /// What an answer, or none, of the member at `route` comes to.
    #[inline]
    fn judge(
        &self,
        route: &Route,
        request: &Request<'_>,
        answer: Result<Reply, Unanswered>,
        time: Time,
    ) -> Result<Reply, Failure> {
        match answer {
            Ok(reply) if route.is_settled_by(&reply) => Ok(reply),
            answer => self.judge_closely(route, request, answer, time),
        }
    }

    /// The same of what does not settle it. Apart, since few do not: the others' replies stay where they are.
    fn judge_closely(
        &self,
        route: &Route,
        request: &Request<'_>,
        answer: Result<Reply, Unanswered>,
        time: Time,
    ) -> Result<Reply, Failure> {
        let label = || route.node.label.clone();
        let effect = request.effect_if_unanswered();
        let reply = match answer {
            Ok(reply) => reply,
            Err(Unanswered::Late(answer)) => return Err(Failure::Late(answer)),
            Err(Unanswered::Timeout) => {
                return Err(RequestError::Timeout { node: label(), waited: time.started.elapsed(), effect }.into());
            }
            Err(Unanswered::Lost(reason)) => {
                let reason = reason.to_string();
                return Err(RequestError::ConnectionLost { node: label(), reason, effect }.into());
            }
        };
        if reply.epoch > route.epoch {
            self.hear_of(reply.epoch, &route.node);
        }
        if reply.kind == FrameType::Unfinished {
            return Err(match codec::decode_prefix::<Unfinished>(&reply.body, "unfinished") {
                Ok((Unfinished { stamp, held }, _)) => {
                    Failure::Unfinished(Box::new(Begun { node: label(), stamp, held }))
                }
                Err(error) => Failure::Failed(route.node.out_of_protocol(error.to_string())),
            });
        }
        if reply.kind != FrameType::Refusal {
            return Ok(reply);
        }
        Err(Failure::Failed(match Refusal::decode(&reply.body) {
            Ok(refusal) => {
                let effect = effect_of_refusal(refusal.code, effect);
                RequestError::Refused { node: label(), refusal: refusal.into(), effect }
            }
            Err(error) => route.node.out_of_protocol(error.to_string()),
        }))
    }
}

impl Route {
    fn new(topology: &Topology, (ordinal, node): (Ordinal, &Arc<Node>), connection: Option<Arc<Connection>>) -> Self {
        let (fence, epoch, members) = (topology.view.fence(), topology.epoch(), topology.nodes().len());
        Self { ordinal, node: Arc::clone(node), connection, fence, epoch, members }
    }

    /// Whether `reply` ends the request, and tells nothing new of the view, as it nearly always does.
    fn is_settled_by(&self, reply: &Reply) -> bool {
        reply.epoch <= self.epoch && !matches!(reply.kind, FrameType::Unfinished | FrameType::Refusal)
    }

    /// To the primary of what is at `point`, if nobody else could be a better choice.
    fn to_primary(topology: &Topology, point: HashPoint) -> Option<Self> {
        let (ordinal, node, connection) = topology.primary_at_its_best(point)?;
        Some(Self::new(topology, (ordinal, node), Some(connection)))
    }
}

/// What goes to the member at `route`.
fn outgoing<'r>(route: &Route, request: &'r Request<'r>, patience: Patience, time: Time) -> Outgoing<'r> {
    let header = FrameHeader::new(request.kind(), RequestId::default(), route.fence, route.epoch);
    let header = FrameHeader { deadline_ms: u32::try_from(time.left.as_millis()).unwrap_or(u32::MAX), ..header };
    // A write is never sent twice, so nobody is to be told when it is late.
    let late = patience.late.filter(|_| request.effect_if_unanswered() == Effect::None);
    Outgoing { request, header, patience: Patience { late, ..patience } }
}

/// Whether the node at the other end takes values as long as that of `request`.
fn check_value(connection: &Connection, request: &Request<'_>) -> Result<(), RequestError> {
    let (limit, bytes) = (u64::from(connection.ack().value_bytes_max), request.value().len());
    if bytes as u64 > limit { Err(RequestError::ValueTooLarge { bytes, limit }) } else { Ok(()) }
}

/// Why the member at `route` was not even asked.
fn not_queued(route: &Route, why: NotQueued) -> RequestError {
    let node = route.node.label.clone();
    match why {
        NotQueued::Full => RequestError::Busy { node },
        NotQueued::Lost(reason) => {
            RequestError::ConnectionLost { node, reason: reason.to_string(), effect: Effect::None }
        }
    }
}

/// What a request may have changed that was refused with `code`, if it may have changed as much as `unanswered` when nothing is
/// known of it.
fn effect_of_refusal(code: ErrorCode, unanswered: Effect) -> Effect {
    if HALF_DONE.contains(&code) { unanswered } else { Effect::None }
}

/// The end of a request of which nobody wants to know that it is late, or has been told so.
fn finish(asked: Result<Reply, Failure>) -> Result<Reply, RequestError> {
    asked.map_err(|failure| match failure {
        Failure::Failed(error) => error,
        // Only one that is carried on is hedged, which changes nothing more.
        Failure::Unfinished(begun) => begun.error(Effect::None),
        // It does not come to this.
        Failure::Late(_) => RequestError::Closed,
    })
}

impl Time {
    fn deadline(self) -> Instant {
        self.started + self.left
    }

    /// That of another try, which begins now. Once the time is over, that is its deadline.
    fn again(self) -> Self {
        let started = Instant::now();
        Self { started, left: self.deadline().saturating_duration_since(started) }
    }

    /// Waits until the deadline. If there are `others` to ask, it wants to know when it is time to turn to one.
    fn patience(self, others: bool) -> Patience {
        Patience { deadline: self.deadline(), late: others.then(|| self.started + self.left / LATE_PART) }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_write_that_was_refused_half_way_may_have_changed_something() {
        for code in ErrorCode::ALL {
            let expected = if HALF_DONE.contains(code) { Effect::Unknown } else { Effect::None };
            assert_eq!(effect_of_refusal(*code, Effect::Unknown), expected, "{code:?}");
            assert_eq!(effect_of_refusal(*code, Effect::None), Effect::None, "{code:?}");
        }
    }

    #[test]
    fn who_is_alone_is_never_late() {
        let started = Instant::now();
        let time = Time { started, left: Duration::from_secs(1) };
        assert_eq!(time.patience(true).late, Some(started + Duration::from_millis(250)));
        assert_eq!(time.patience(false).late, None);
        let over = Time { started, left: Duration::ZERO };
        assert_eq!(over.patience(true).late, Some(started));
    }
}
