//! One request as the client's user means it, and its frame.

use bytes::{Bytes, BytesMut};
use quoit_proto_types::{
    Epoch, HashPoint, Hlc, KeyspaceId, Stamp,
    frame::{FrameHeader, FrameType},
    limits,
    message::{
        admin::AdminRequest,
        client::{ReadHeader, WriteHeader, check_key},
    },
};

use crate::error::{Effect, RequestError};

/// What is asked of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Get(ReadHeader<'a>),
    Set { header: WriteHeader<'a>, value: &'a [u8] },
    Delete(WriteHeader<'a>),
    Touch(WriteHeader<'a>),
    TimeToLive(ReadHeader<'a>),
    ViewGet,
    Admin(&'a AdminRequest),
}

/// The answer to a request. It is handed from task to task, and there may be thousands: it holds what somebody looks at.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) kind: FrameType,
    /// The view that the answering node has.
    pub(crate) epoch: Epoch,
    /// Pins no more memory than its own length.
    pub(crate) body: Bytes,
}

impl Reply {
    /// What a frame of this `header` carries.
    pub(crate) fn new(header: &FrameHeader, body: impl Into<Bytes>) -> Self {
        Self { kind: header.kind, epoch: header.epoch, body: body.into() }
    }
}

/// Where `key` is.
pub(crate) fn point_of(key: &[u8]) -> Result<HashPoint, RequestError> {
    match check_key(key) {
        Ok(()) => Ok(HashPoint::of_key(KeyspaceId::DEFAULT, key)),
        Err(_) => Err(RequestError::KeyInvalid { bytes: key.len() }),
    }
}

impl<'a> Request<'a> {
    pub(crate) fn kind(&self) -> FrameType {
        match self {
            Self::Get(_) => FrameType::Get,
            Self::Set { .. } => FrameType::Set,
            Self::Delete(_) => FrameType::Delete,
            Self::Touch(_) => FrameType::Touch,
            Self::TimeToLive(_) => FrameType::TimeToLive,
            Self::ViewGet => FrameType::ViewGet,
            Self::Admin(_) => FrameType::Admin,
        }
    }

    /// What an unanswered request of this kind may have changed, that it has not changed already: one that is carried on is
    /// the same write each time.
    pub(crate) fn effect_if_unanswered(&self) -> Effect {
        match self {
            Self::Get(_) | Self::TimeToLive(_) | Self::ViewGet => Effect::None,
            Self::Admin(request) => effect_of_admin(request),
            Self::Set { header, .. } | Self::Delete(header) if header.again.is_some() => Effect::None,
            Self::Set { .. } | Self::Delete(_) | Self::Touch(_) => Effect::Unknown,
        }
    }

    /// The same write, which a node has begun as `stamp`.
    pub(crate) fn carried_on(mut self, stamp: Stamp) -> Self {
        match &mut self {
            Self::Set { header, .. } | Self::Delete(header) => header.again = Some(stamp),
            // No node answers these so.
            Self::Get(_) | Self::TimeToLive(_) | Self::Touch(_) | Self::ViewGet | Self::Admin(_) => {}
        }
        self
    }

    /// What a write is to be later than.
    pub(crate) fn after(&self) -> Hlc {
        match self {
            Self::Set { header, .. } | Self::Delete(header) | Self::Touch(header) => header.after,
            Self::Get(_) | Self::TimeToLive(_) | Self::ViewGet | Self::Admin(_) => Hlc::MIN,
        }
    }

    /// The value it carries.
    pub(crate) fn value(&self) -> &'a [u8] {
        match *self {
            Self::Set { value, .. } => value,
            Self::Get(_) | Self::Delete(_) | Self::Touch(_) | Self::TimeToLive(_) | Self::ViewGet | Self::Admin(_) => {
                &[]
            }
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
        match self {
            Self::Get(header) | Self::TimeToLive(header) => header.encode(out),
            Self::Set { header, .. } | Self::Delete(header) | Self::Touch(header) => header.encode(out),
            Self::ViewGet => {}
            Self::Admin(request) => request.encode(out),
        }
    }
}

fn effect_of_admin(request: &AdminRequest) -> Effect {
    match request {
        AdminRequest::Status | AdminRequest::ViewLog { .. } | AdminRequest::ViewAt { .. } | AdminRequest::Handoff => {
            Effect::None
        }
        AdminRequest::Command(_)
        | AdminRequest::Recover { .. }
        | AdminRequest::HandoffPace { .. }
        | AdminRequest::HandoffPause
        | AdminRequest::HandoffResume => Effect::Unknown,
    }
}
