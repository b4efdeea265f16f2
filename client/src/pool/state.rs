//! What a client knows of its connection to one node.

use std::sync::Arc;

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
