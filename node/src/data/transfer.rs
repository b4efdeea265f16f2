//! One question of the background work and its answer: a stream of low priority with one frame in each direction.
//!
//! A question changes nothing by being repeated, so one that is lost, late or not understood is given up, and the machine
//! asks again.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quoit_core::{
    replication::{ReplicaReply, ReplicaRequest},
    routing::Routing,
    store::Record,
};
use quoit_proto_types::{
    Ordinal, Stamp,
    frame::{FrameHeader, FrameType},
    message::transfer::{EntryBlock, TransferReply, TransferRequest},
};
use tokio::{sync::oneshot, time::timeout};

use super::{DataPlane, lane::ReplyTo, upkeep::UpkeepHandle};

/// From the question to the end of its answer: longer than the machine waits, so that it is the machine that decides to ask
/// again, and short enough that a peer that does not read holds no page for long.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks `to`, under the fence of `routing`. Nothing if the question or the answer was lost.
pub(super) async fn ask(
    plane: Arc<DataPlane>,
    routing: Arc<Routing>,
    to: Ordinal,
    request: TransferRequest,
    block: EntryBlock,
) -> Option<(TransferReply, EntryBlock)> {
    let answering = plane.links.transfer(&routing, to, &request, block);
    let (header, body) = timeout(EXCHANGE_TIMEOUT, answering).await.ok()?.ok()?;
    if header.kind == FrameType::TransferReply { TransferReply::decode(&body).ok() } else { None }
}

/// Writes an entry to `to`, under the fence of `routing`, and says whether it is held there.
pub(super) async fn put(
    plane: Arc<DataPlane>,
    routing: Arc<Routing>,
    to: Ordinal,
    stamp: Stamp,
    record: Record,
) -> bool {
    let (sender, reply) = oneshot::channel();
    let request = ReplicaRequest::Put { stamp, record, hint_for: None };
    // Any lane will do: hints are few, and nobody waits for them.
    if plane.links.ask(&routing, 0, to, request, ReplyTo::Caller(sender)).is_err() {
        return false;
    }
    let replied = timeout(EXCHANGE_TIMEOUT, reply).await;
    matches!(replied, Ok(Ok(ReplicaReply::Stored { .. })))
}

/// Answers the question in `body`, which `from` asked with `header`, if it is still a member: what it returns is the frame of the answer, and the
/// entries that belong behind it. Nothing if it was not understood, or took too long.
pub(crate) async fn answer(
    upkeep: &UpkeepHandle,
    from: Option<Ordinal>,
    header: FrameHeader,
    body: &Bytes,
) -> Option<(BytesMut, Bytes)> {
    let (request, block) = TransferRequest::decode(body).ok()?;
    let answering = upkeep.answer(from, header.fence, request, block);
    let (reply, entries) = timeout(EXCHANGE_TIMEOUT, answering).await.ok()?;
    let mut frame = BytesMut::new();
    let answered = FrameHeader::new(FrameType::TransferReply, header.request, header.fence, header.epoch);
    answered.encode_with(&mut frame, entries.as_bytes().len(), |out| reply.encode(out));
    Some((frame, entries.into_bytes()))
}
