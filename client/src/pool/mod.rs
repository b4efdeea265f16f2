//! One connection for each node, dialled by one task, whose state everybody else only reads.

mod state;
mod task;

use std::sync::Arc;

use quoit_proto_types::{Member, NodeId, view::Address};
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

/// A member of the view, and the connection to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: Address,
    /// `n1 (127.0.0.1:7750)`, for people.
    pub(crate) label: String,
    state: watch::Receiver<State>,
    /// Dials until the last handle is dropped.
    task: AbortOnDropHandle<()>,
}

impl Node {
    /// Starts to dial `member`, or adopts a connection that was made to it already.
    pub(crate) fn start(member: &Member, dialler: Arc<Dialler>, adopted: Option<Arc<Connection>>) -> Arc<Self> {
        let (sender, state) = watch::channel(adopted.map_or(State::Connecting, State::Ready));
        let task = tokio::spawn(task::run(dialler, member.clone(), sender));
        Arc::new(Self {
            id: member.node_id,
            address: member.address.clone(),
            label: format!("{} ({})", member.name, member.address),
            state,
            task: AbortOnDropHandle::new(task),
        })
    }

    /// The connection, once there is one; waits for it no longer than until `deadline`.
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

    /// The connection, as soon as there is one, however long that takes.
    pub(crate) async fn connected(&self) -> Option<Arc<Connection>> {
        let mut state = self.state.clone();
        match &*state.wait_for(|state| matches!(state, State::Ready(_))).await.ok()? {
            State::Ready(connection) => Some(Arc::clone(connection)),
            State::Connecting | State::Broken(_) => None,
        }
    }

    /// Dials no more.
    pub(crate) fn stop(&self) {
        self.task.abort();
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
        RequestError::Unavailable { node: self.label.clone(), source }
    }
}
