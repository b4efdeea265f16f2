//! What a client knows of its connection to one node.

use std::sync::Arc;

use quoit_proto_types::view::Liveness;

use crate::{connection::Connection, error::DialError};

/// The state of the connection to one node; changed by the one task that dials it.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// The first attempt, or one after a working connection was lost, is under way: requests wait for it.
    Connecting,
    /// Requests may be sent.
    Ready(Arc<Connection>),
    /// The last attempt failed, and the next is put off: requests fail at once instead of queueing for a dead node.
    Broken(DialError),
}

impl State {
    /// The state before the first dial of a handle. `broken` is why the member could not be reached so far.
    pub(crate) fn at_start(adopted: Option<Arc<Connection>>, live: Liveness, broken: Option<DialError>) -> Self {
        match (adopted, live, broken) {
            (Some(connection), _, _) => Self::Ready(connection),
            // Its first dial is as hopeless as the last one: no request waits for it.
            (None, Liveness::Down, Some(error)) => Self::Broken(error),
            (None, Liveness::Down | Liveness::Up, _) => Self::Connecting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_the_first_dial_unless_the_member_is_down_and_was_not_reached() {
        let waits = |live, broken| matches!(State::at_start(None, live, broken), State::Connecting);
        let unreachable = || Some(DialError::Resolve { address: "n1:7750".parse().unwrap(), reason: String::new() });
        assert!(waits(Liveness::Up, None));
        assert!(waits(Liveness::Up, unreachable()));
        assert!(waits(Liveness::Down, None));
        assert!(!waits(Liveness::Down, unreachable()));
    }
}
