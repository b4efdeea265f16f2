//! The frames in which clients are answered.

use bytes::BytesMut;
use quoit_core::{routing::Routing, time::Wall};
use quoit_proto_types::{
    Epoch, Fence, RequestId, Stamp, codec,
    frame::{FrameHeader, FrameType},
    message::client::{Expiry, Refusal, Unfinished, ValueHeader, Written},
};

/// The header of the reply to `request` by a node that goes by `routing`.
pub(crate) fn header(kind: FrameType, request: RequestId, routing: Option<&Routing>) -> FrameHeader {
    let (fence, epoch) = routing.map_or((Fence::default(), Epoch::GENESIS), |r| (r.fence(), r.epoch()));
    FrameHeader::new(kind, request, fence, epoch)
}

/// What stands in front of a value that is sent apart.
pub(crate) fn value_front(stamp: &Stamp, stale: bool) -> BytesMut {
    let mut front = BytesMut::new();
    codec::encode(&ValueHeader { version: stamp.version, stale }, &mut front);
    front
}

/// Found, on a lane.
pub(crate) fn value(
    out: &mut BytesMut,
    request: RequestId,
    routing: Option<&Routing>,
    (stamp, stale): (&Stamp, bool),
    value: &[u8],
) {
    header(FrameType::Value, request, routing).encode_with(out, 0, |out| {
        codec::encode(&ValueHeader { version: stamp.version, stale }, out);
        out.extend_from_slice(value);
    });
}

/// There is no such key.
pub(crate) fn miss(out: &mut BytesMut, request: RequestId, routing: Option<&Routing>) {
    header(FrameType::Miss, request, routing).encode(out);
}

/// It is written.
pub(crate) fn done(out: &mut BytesMut, request: RequestId, routing: Option<&Routing>, written: Written) {
    header(FrameType::Done, request, routing).encode_with(out, 0, |out| codec::encode(&written, out));
}

/// It is not far enough.
pub(crate) fn unfinished(out: &mut BytesMut, request: RequestId, routing: Option<&Routing>, unfinished: Unfinished) {
    header(FrameType::Unfinished, request, routing).encode_with(out, 0, |out| codec::encode(&unfinished, out));
}

/// How long the entry of `stamp` lives from `wall` on.
pub(crate) fn remaining(out: &mut BytesMut, request: RequestId, routing: Option<&Routing>, stamp: &Stamp, wall: Wall) {
    let left = (stamp.expires_at_ms != 0).then(|| {
        let end = Wall::from_millis(stamp.expires_at_ms);
        Expiry::after(end.checked_duration_since(wall).unwrap_or_default())
    });
    let expiry = left.unwrap_or_default();
    header(FrameType::Remaining, request, routing).encode_with(out, 0, |out| codec::encode(&expiry, out));
}

/// Refused.
pub(crate) fn refuse(out: &mut BytesMut, request: RequestId, routing: Option<&Routing>, refusal: &Refusal) {
    header(FrameType::Refusal, request, routing).encode_with(out, 0, |out| refusal.encode(out));
}
