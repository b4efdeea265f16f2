//! Heartbeats: QUIC datagrams, lost without harm.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch, Fence},
    id::{ClusterId, Ordinal},
    limits,
    view::ViewMark,
};

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heartbeat {
    /// A member shows a voter that it lives.
    Ping(Ping),
    /// The voter answers.
    Pong {
        /// The ping's number.
        sequence: u64,
        /// The voter's cluster: an administrator may have made a new one of it.
        cluster: ClusterId,
        /// The view the voter has.
        epoch: Epoch,
    },
}

/// What a member says in each heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The sender's moment of sending, in microseconds since its start; repeated in the answer, by which the sender measures
    /// the round trip. It means nothing to anybody else.
    pub sequence: u64,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The view it has.
    pub epoch: Epoch,
    /// The first bytes of that view's hash.
    pub mark: ViewMark,
    /// The placement it goes by.
    pub fence: Fence,
    /// Its own ballot as coordinator, else what it has promised.
    pub ballot: Ballot,
    /// Whether it is the coordinator.
    pub office: Office,
    /// Members that are up and that it does not hear, if it is a voter; at most [`limits::SUSPECTS_MAX`]. Should there be
    /// more, the next ones follow when these are down.
    #[serde(deserialize_with = "codec::at_most::<{ limits::SUSPECTS_MAX }, _, _>")]
    pub suspects: Vec<Ordinal>,
    /// Members that are down and that it has heard for long enough, if it is a voter; at most [`limits::SUSPECTS_MAX`].
    #[serde(deserialize_with = "codec::at_most::<{ limits::SUSPECTS_MAX }, _, _>")]
    pub returned: Vec<Ordinal>,
    /// Members that answer it, but much later than others do; at most [`limits::SLOW_MAX`].
    #[serde(deserialize_with = "codec::at_most::<{ limits::SLOW_MAX }, _, _>")]
    pub slow: Vec<Ordinal>,
    /// How often its store has been stepped: stands still if the store does.
    pub progress: u64,
}

/// Whether a member is the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Office {
    /// It is not.
    None,
    /// It is, and has made round trips with a majority of the voters lately.
    Presiding,
    /// It is, but hands over or cannot reach a majority.
    Yielding,
}

impl Heartbeat {
    /// Appends the encoded heartbeat.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a heartbeat.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "heartbeat", limits::HEARTBEAT_BYTES_MAX)
    }
}
