//! One request as the client's user means it, and its frame.

use bytes::{Bytes, BytesMut};
use quoit_proto_types::{
    HashPoint, KeyspaceId,
    frame::{FrameHeader, FrameType},
    limits,
    message::{
        admin::AdminRequest,
        client::{Expiry, KeyHeader, WriteHeader, check_key},
    },
};

use crate::error::{Effect, RequestError};

/// What is asked of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Get { key: &'a [u8] },
    Set { key: &'a [u8], value: &'a [u8], expiry: Expiry },
    Delete { key: &'a [u8] },
    Touch { key: &'a [u8], expiry: Expiry },
    TimeToLive { key: &'a [u8] },
    ViewGet,
    Admin(&'a AdminRequest),
}

/// The answer to a request: its header, and a body that pins no more memory than its own length.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) header: FrameHeader,
    pub(crate) body: Bytes,
}

impl<'a> Request<'a> {
    /// Where its key is; `None` for a request without one.
    pub(crate) fn point(&self) -> Result<Option<HashPoint>, RequestError> {
        self.key()
            .map(|key| match check_key(key) {
                Ok(()) => Ok(HashPoint::of_key(KeyspaceId::DEFAULT, key)),
                Err(_) => Err(RequestError::KeyInvalid { bytes: key.len() }),
            })
            .transpose()
    }

    fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Touch { key, .. }
            | Self::TimeToLive { key } => Some(key),
            Self::ViewGet | Self::Admin(_) => None,
        }
    }

    pub(crate) fn kind(&self) -> FrameType {
        match self {
            Self::Get { .. } => FrameType::Get,
            Self::Set { .. } => FrameType::Set,
            Self::Delete { .. } => FrameType::Delete,
            Self::Touch { .. } => FrameType::Touch,
            Self::TimeToLive { .. } => FrameType::TimeToLive,
            Self::ViewGet => FrameType::ViewGet,
            Self::Admin(_) => FrameType::Admin,
        }
    }

    /// What an unanswered request of this kind may have changed.
    pub(crate) fn effect_if_unanswered(&self) -> Effect {
        match self {
            Self::Get { .. } | Self::TimeToLive { .. } | Self::ViewGet => Effect::None,
            Self::Admin(request) => match request {
                AdminRequest::Status | AdminRequest::ViewLog { .. } | AdminRequest::ViewAt { .. } => Effect::None,
                AdminRequest::Command(_) | AdminRequest::Recover { .. } => Effect::Unknown,
            },
            Self::Set { .. } | Self::Delete { .. } | Self::Touch { .. } => Effect::Unknown,
        }
    }

    /// The value it carries.
    pub(crate) fn value(&self) -> &'a [u8] {
        match *self {
            Self::Set { value, .. } => value,
            Self::Get { .. }
            | Self::Delete { .. }
            | Self::Touch { .. }
            | Self::TimeToLive { .. }
            | Self::ViewGet
            | Self::Admin(_) => &[],
        }
    }

    /// Whether the value must travel on a stream of its own.
    pub(crate) fn is_large(&self) -> bool {
        self.value().len() > limits::LANE_VALUE_BYTES_MAX
    }

    /// Appends the whole frame, but for the value of a large request.
    pub(crate) fn encode(&self, header: FrameHeader, out: &mut BytesMut) {
        let (in_frame, behind) = if self.is_large() { (&[][..], self.value().len()) } else { (self.value(), 0) };
        header.encode_with(out, behind, |out| {
            self.encode_head(out);
            out.extend_from_slice(in_frame);
        });
    }

    fn encode_head(&self, out: &mut BytesMut) {
        let keyspace = KeyspaceId::DEFAULT;
        match *self {
            Self::Get { key } | Self::Delete { key } | Self::TimeToLive { key } => {
                KeyHeader { keyspace, key }.encode(out);
            }
            Self::Set { key, expiry, .. } | Self::Touch { key, expiry } => {
                WriteHeader { keyspace, expiry, key }.encode(out);
            }
            Self::ViewGet => {}
            Self::Admin(request) => request.encode(out),
        }
    }
}
