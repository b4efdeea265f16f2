//! One connection for each node, dialled by one task, whose state everybody else only reads.
//!
//! A handle is for one process at one address. When a view tells of another, a new handle takes its place, with its own
//! task, and no pause before its first dial. The old one is stopped: who waits for its connection turns to the new one, and
//! what is under way on its connection ends as it does.

mod state;
mod task;

use std::sync::Arc;

use quoit_proto_types::Member;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::{state::State, task::Dialler};
use crate::{
    connection::Connection,
    error::{DialError, Effect, RequestError},
};

/// How far a member is from being asked something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It can be.
    Connected,
    /// It is being dialled.
    Dialled,
    /// The last dial failed, and the next is put off.
    Broken,
}

/// A member of the view, and the connection to it.
#[derive(Debug)]
pub(crate) struct Node {
    /// `n1 (127.0.0.1:7750)`, for people.
    pub(crate) label: String,
    state: watch::Receiver<State>,
    /// Dials until the last handle is dropped.
    task: AbortOnDropHandle<()>,
}

impl Node {
    /// Starts to dial `member`, or adopts a connection that was made to it already. It takes the place of `before`.
    pub(crate) fn start(
        member: &Member,
        dialler: Arc<Dialler>,
        adopted: Option<Arc<Connection>>,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let broken = before.and_then(Self::broken);
        let (sender, state) = watch::channel(State::at_start(adopted, member.live, broken));
        let task = tokio::spawn(task::run(dialler, member.clone(), sender));
        Arc::new(Self {
            label: format!("{} ({})", member.name, member.address),
            state,
            task: AbortOnDropHandle::new(task),
        })
    }

    /// The connection, once there is one; waits for it no longer than until `deadline`. [`RequestError::Closed`] if the handle
    /// is stopped meanwhile.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, RequestError> {
        let started = Instant::now();
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Ready(connection) => Ok(Arc::clone(connection)),
                State::Broken(error) => Err(self.unavailable(error.clone())),
                State::Connecting => Err(RequestError::Closed),
            },
            Ok(Err(_)) => Err(RequestError::Closed),
            Err(_) => {
                Err(RequestError::Timeout { node: self.label.clone(), waited: started.elapsed(), effect: Effect::None })
            }
        }
    }

    /// The connection, if there is one now.
    pub(crate) fn ready(&self) -> Option<Arc<Connection>> {
        match &*self.state.borrow() {
            State::Ready(connection) => Some(Arc::clone(connection)),
            State::Connecting | State::Broken(_) => None,
        }
    }

    /// Whether there is a connection, or may soon be one.
    pub(crate) fn reach(&self) -> Reach {
        match &*self.state.borrow() {
            State::Ready(_) => Reach::Connected,
            State::Connecting => Reach::Dialled,
            State::Broken(_) => Reach::Broken,
        }
    }

    /// The connection, as soon as there is one, however long that takes.
    pub(crate) async fn connected(&self) -> Option<Arc<Connection>> {
        let mut state = self.state.clone();
        match &*state.wait_for(|state| matches!(state, State::Ready(_))).await.ok()? {
            State::Ready(connection) => Some(Arc::clone(connection)),
            State::Connecting | State::Broken(_) => None,
        }
    }

    /// Dials no more. Leaves the connection to those who use it.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    /// Returns once the handle is stopped.
    pub(crate) async fn stopped(&self) {
        // Nothing is waited for but the end of the task, which drops the sender.
        let _ = self.state.clone().wait_for(|_| false).await;
    }

    /// Why the node cannot be reached, if that is so.
    pub(crate) fn broken(&self) -> Option<DialError> {
        match &*self.state.borrow() {
            State::Broken(error) => Some(error.clone()),
            State::Connecting | State::Ready(_) => None,
        }
    }

    /// The error for an answer that breaks the protocol.
    pub(crate) fn out_of_protocol(&self, reason: String) -> RequestError {
        RequestError::Protocol { node: self.label.clone(), reason }
    }

    fn unavailable(&self, source: DialError) -> RequestError {
        RequestError::Unavailable { node: self.label.clone(), source: source.into() }
    }
}
