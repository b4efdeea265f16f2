use quoit_core::store::Record;
use quoit_proto_types::{Epoch, Fence, Stamp, Version, frame_reader::FrameReader};

use super::*;

fn header() -> FrameHeader {
    FrameHeader::new(FrameType::ReplicaGet, RequestId::new(0), Fence::new(4), Epoch::new(5))
}

fn get(key: &'static str) -> ReplicaRequest {
    ReplicaRequest::Get { key: Bytes::from_static(key.as_bytes()) }
}

fn put(value: &[u8]) -> ReplicaRequest {
    let stamp = Stamp::value(Version::default(), 7);
    ReplicaRequest::Put { stamp, hint_for: Some(Ordinal::new(3)), record: Record::new(b"key", value) }
}

/// Asks, and returns what gives the reply.
fn ask(lane: &Lane, request: &ReplicaRequest) -> oneshot::Receiver<ReplicaReply> {
    let (sender, receiver) = oneshot::channel();
    lane.push(header(), request, ReplyTo::Caller(sender)).unwrap();
    receiver
}

/// The headers and bodies of what waits to be sent.
fn unsent(lane: &Lane) -> Vec<(FrameHeader, Vec<u8>)> {
    let bytes = lane.lock().unsent.split();
    let mut frames = Vec::new();
    let each = |header: FrameHeader, body: &[u8]| {
        frames.push((header, body.to_vec()));
        Ok::<_, StreamError>(())
    };
    FrameReader::new(limits::LANE_BODY_BYTES_MAX).feed(&bytes, each).unwrap();
    frames
}

/// Has `reply` arrive for `request`.
fn reply(lane: &Lane, request: RequestId, reply: ReplicaReply) {
    deliver(lane.take(request).map(|reply_to| (reply_to, reply)));
}

#[test]
fn replies_find_who_asked_in_whatever_order_they_come() {
    let lane = Lane::new(1);
    let (mut first, mut second) = (ask(&lane, &get("a")), ask(&lane, &get("b")));
    let ids: Vec<_> = unsent(&lane).into_iter().map(|(header, _)| header.request).collect();
    assert!(ids.iter().all(|id| lane_of(*id) == 1));
    reply(&lane, ids[1], ReplicaReply::Absent);
    assert!(first.try_recv().is_err());
    assert_eq!(second.try_recv().unwrap(), ReplicaReply::Absent);
    reply(&lane, ids[0], ReplicaReply::Stored { was_live: true });
    assert_eq!(first.try_recv().unwrap(), ReplicaReply::Stored { was_live: true });
}

#[test]
fn a_reply_that_comes_twice_is_not_taken_for_another() {
    let lane = Lane::new(0);
    drop(ask(&lane, &get("a")));
    let id = unsent(&lane)[0].0.request;
    assert!(lane.take(id).is_some());
    let mut other = ask(&lane, &get("b"));
    assert!(lane.take(id).is_none(), "its place has another user");
    assert!(other.try_recv().is_err());
}

#[test]
fn a_lane_that_is_lost_tells_everybody_and_takes_nothing_more() {
    let lane = Lane::new(0);
    let mut waiting = ask(&lane, &get("a"));
    deliver(lane.fail().into_iter().map(|reply_to| (reply_to, ReplicaReply::Unreachable)));
    assert_eq!(waiting.try_recv().unwrap(), ReplicaReply::Unreachable);
    assert_eq!(lane.push(header(), &get("b"), ReplyTo::Nobody), Err(NotSent));
}

#[test]
fn a_lane_that_is_full_refuses_until_replies_come() {
    let lane = Lane::new(0);
    for index in 0..PENDING_MAX {
        let expected = if index == 0 { Queued::First } else { Queued::More };
        assert_eq!(lane.push(header(), &get("a"), ReplyTo::Nobody), Ok(expected));
    }
    assert_eq!(lane.push(header(), &get("a"), ReplyTo::Nobody), Err(NotSent));
    let id = request_id(0, 1, 0);
    assert!(lane.take(id).is_some());
    assert_eq!(lane.push(header(), &get("a"), ReplyTo::Nobody), Ok(Queued::More));
}

#[test]
fn a_lane_whose_peer_does_not_read_refuses() {
    let lane = Lane::new(0);
    let value = vec![7; limits::LANE_VALUE_BYTES_MAX];
    let pushed = (0..1000).take_while(|_| lane.push(header(), &put(&value), ReplyTo::Nobody).is_ok()).count();
    assert_eq!(pushed, UNSENT_BYTES_MAX / value.len());
}

#[test]
fn a_request_is_framed_with_its_fence_and_all_its_fields() {
    let lane = Lane::new(0);
    drop((ask(&lane, &put(b"value")), ask(&lane, &get("key"))));
    let [(put, put_body), (get, get_body)] = &unsent(&lane)[..] else { panic!("two frames") };
    assert_eq!((put.kind, put.fence, put.epoch), (FrameType::ReplicaPut, Fence::new(4), Epoch::new(5)));
    let (decoded, value) = PutHeader::decode(put_body).unwrap();
    assert_eq!((decoded.key, decoded.hint_for, value), (&b"key"[..], Some(Ordinal::new(3)), &b"value"[..]));
    assert_eq!(decoded.stamp, Stamp::value(Version::default(), 7));
    assert_eq!((get.kind, get.fence), (FrameType::ReplicaGet, Fence::new(4)));
    assert_eq!(KeyHeader::decode(get_body).unwrap().key, b"key");
}

#[test]
fn a_large_value_stands_apart_and_shares_its_memory() {
    let small = put(&[7; limits::LANE_VALUE_BYTES_MAX]);
    let large = put(&[7; limits::LANE_VALUE_BYTES_MAX + 1]);
    assert!(!is_large(&small) && is_large(&large) && !is_large(&get("a")));
    let ReplicaRequest::Put { record, .. } = &large else { panic!("a put") };
    let memory = record.value().as_ptr();
    let (head, value) = large_frame(large, header());
    assert_eq!((value.len(), value.as_ptr()), (limits::LANE_VALUE_BYTES_MAX + 1, memory));
    let whole = [&head[..], &value[..]].concat();
    let frame = FrameHeader::decode(whole.first_chunk().unwrap()).unwrap();
    assert_eq!(frame.kind, FrameType::ReplicaPut);
    assert_eq!(whole.len(), quoit_proto_types::frame::HEADER_BYTES + frame.body_bytes as usize);
}

#[test]
fn what_is_no_reply_says_as_much_as_none() {
    let decode = |kind, body: &[u8]| decode(FrameHeader { kind, ..header() }, body, Bytes::copy_from_slice);
    assert_eq!(decode(FrameType::Absent, b""), ReplicaReply::Absent);
    assert_eq!(decode(FrameType::Stored, &[1]), ReplicaReply::Stored { was_live: true });
    for (kind, body) in
        [(FrameType::Stored, &b""[..]), (FrameType::Entry, b"x"), (FrameType::Value, b""), (FrameType::Refusal, b"")]
    {
        assert_eq!(decode(kind, body), ReplicaReply::Unreachable, "{kind:?}");
    }
}
