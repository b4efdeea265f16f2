//! What each fuzz target does with its input. The package's tests run the same functions over the corpus.
//!
//! Whatever arrives, a decoder answers. What it accepts, it must also write, and then read back as the same.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use quoit_proto_types::{
    View, codec,
    frame::{FrameError, FrameHeader, HEADER_BYTES},
    frame_reader::FrameReader,
    limits,
    message::{
        admin::{AdminReply, AdminRequest},
        client::{Expiry, KeyHeader, ReadHeader, Refusal, Unfinished, ValueHeader, WriteHeader, Written},
        heartbeat::Heartbeat,
        peer::PeerMessage,
        replica::{EntryHeader, PutHeader, Stored},
        session::{FEATURES, Hello, HelloAck, VERSIONS},
        transfer::{EntryBlock, EntryBlockWriter, TransferReply, TransferRequest},
    },
    view::ViewDelta,
};

/// The name of every target, which is also that of its folder in the corpus, and what it does.
pub const TARGETS: [Target; 10] = [
    ("frame_header", frame_header),
    ("hello", hello),
    ("client_messages", client_messages),
    ("replica", replica),
    ("transfer", transfer),
    ("peer_message", peer_message),
    ("view", view),
    ("view_delta", view_delta),
    ("heartbeat", heartbeat),
    ("admin", admin),
];

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// A header is accepted within its limits and written as it was read; frames do not depend on how the stream was cut.
pub fn frame_header(data: &[u8]) {
    if let Some(Ok(header)) = data.first_chunk::<HEADER_BYTES>().map(FrameHeader::decode) {
        let (bytes, trace_bytes) = (header.body_bytes as usize, header.trace.bytes());
        assert!((trace_bytes..=header.kind.body_bytes_max() + trace_bytes).contains(&bytes));
        let mut out = BytesMut::new();
        header.encode(&mut out);
        assert_eq!(&out[..], &data[..HEADER_BYTES]);
    }
    let whole = frames(data.chunks(data.len().max(1)));
    assert_eq!(whole, frames(data.chunks(1)));
    assert_eq!(whole, frames(data.chunks(7)));
}

/// The frames that a stream yielded, and the error that ended it or whether it stands between two of them.
type Frames = (Vec<(FrameHeader, Vec<u8>)>, Result<bool, FrameError>);

fn frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Frames {
    let mut reader = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
    let mut frames = Vec::new();
    for chunk in chunks {
        let fed = reader.feed(chunk, |header, body| {
            frames.push((header, body.to_vec()));
            Ok::<(), FrameError>(())
        });
        if let Err(error) = fed {
            return (frames, Err(error));
        }
    }
    (frames, Ok(reader.is_between_frames()))
}

/// Both sides of the handshake.
pub fn hello(data: &[u8]) {
    if let Ok((hello, session)) = Hello::decode(data) {
        assert!((VERSIONS.min..=VERSIONS.max).contains(&session.version));
        assert_eq!(session.features & !FEATURES, 0);
        survives(&hello, Hello::encode, |bytes| Hello::decode(bytes).map(|(hello, _)| hello));
    }
    if let Ok(ack) = HelloAck::decode(data) {
        survives(&ack, codec::encode, HelloAck::decode);
    }
}

/// Every message between client and node.
pub fn client_messages(data: &[u8]) {
    if let Ok(header) = KeyHeader::decode(data) {
        assert!((1..=limits::KEY_BYTES_MAX).contains(&header.key.len()));
        let mut out = BytesMut::new();
        header.encode(&mut out);
        assert_eq!(KeyHeader::decode(&out), Ok(header));
    }
    if let Ok(header) = ReadHeader::decode(data) {
        assert!((1..=limits::KEY_BYTES_MAX).contains(&header.key.len()));
        let mut out = BytesMut::new();
        header.encode(&mut out);
        assert_eq!(ReadHeader::decode(&out), Ok(header));
    }
    prefix_survives::<ValueHeader>(data);
    prefix_survives::<Written>(data);
    prefix_survives::<Unfinished>(data);
    if let Ok((header, value)) = WriteHeader::decode(data) {
        assert!((1..=limits::KEY_BYTES_MAX).contains(&header.key.len()));
        assert!(data.ends_with(value));
        let mut out = BytesMut::new();
        header.encode(&mut out);
        out.extend_from_slice(value);
        assert_eq!(WriteHeader::decode(&out), Ok((header, value)));
    }
    let decode_expiry = |bytes: &[u8]| codec::decode_exact::<Expiry>(bytes, "expiry", 16);
    if let Ok(expiry) = decode_expiry(data) {
        survives(&expiry, codec::encode, decode_expiry);
    }
    if data.len() <= limits::REFUSAL_BYTES_MAX
        && let Ok(refusal) = Refusal::decode(data)
    {
        // The longest text fits only behind the shortest numbers, so it may be cut when it is written again.
        let mut out = BytesMut::new();
        refusal.encode(&mut out);
        assert!(out.len() <= limits::REFUSAL_BYTES_MAX);
        let again = Refusal::decode(&out).expect("what was written is read");
        assert_eq!((again.code, again.argument), (refusal.code, refusal.argument));
        assert!(refusal.text.starts_with(&again.text));
    }
}

/// What is asked of replicas, and answered.
pub fn replica(data: &[u8]) {
    if let Ok((header, value)) = PutHeader::decode(data) {
        assert!((1..=limits::KEY_BYTES_MAX).contains(&header.key.len()));
        assert!(data.ends_with(value));
        let mut out = BytesMut::new();
        header.encode(&mut out);
        out.extend_from_slice(value);
        assert_eq!(PutHeader::decode(&out), Ok((header, value)));
    }
    prefix_survives::<Stored>(data);
    prefix_survives::<EntryHeader>(data);
}

/// What nodes ask of each other in the background. The entries behind a message end with the first that is none.
pub fn transfer(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok((request, entries)) = TransferRequest::decode(&body) {
        assert!(data.ends_with(entries.as_bytes()));
        let again = Bytes::from([bytes(&request, TransferRequest::encode), entries.as_bytes().to_vec()].concat());
        assert_eq!(TransferRequest::decode(&again), Ok((request, entries.clone())));
        entries_survive(&entries);
    }
    if let Ok((reply, entries)) = TransferReply::decode(&body) {
        assert!(data.ends_with(entries.as_bytes()));
        let again = Bytes::from([bytes(&reply, TransferReply::encode), entries.as_bytes().to_vec()].concat());
        assert_eq!(TransferReply::decode(&again), Ok((reply, entries.clone())));
        entries_survive(&entries);
    }
}

fn entries_survive(block: &EntryBlock) {
    let mut writer = EntryBlockWriter::default();
    let mut read = Vec::new();
    let mut entries = block.entries();
    for entry in entries.by_ref().map_while(Result::ok) {
        assert!((1..=limits::KEY_BYTES_MAX).contains(&entry.key.len()));
        writer.push(&entry);
        read.push(entry);
    }
    assert!(entries.next().is_none(), "after an error there are no more");
    let again = writer.finish();
    assert!(again.entries().map(|entry| entry.expect("what was written is read")).eq(read));
}

/// What nodes say to each other.
pub fn peer_message(data: &[u8]) {
    if let Ok(message) = PeerMessage::decode(data) {
        survives(&message, PeerMessage::encode, PeerMessage::decode);
    }
}

/// A view is valid, whoever sent it, and its hash is that of its content.
pub fn view(data: &[u8]) {
    if let Ok(view) = View::decode(data) {
        assert_eq!(View::new(view.fields().clone()).as_ref(), Ok(&view));
        assert_eq!(View::decode(&bytes(&view, View::encode)).map(|again| again.hash()), Ok(view.hash()));
        survives(&view, View::encode, View::decode);
    }
}

/// What results from a delta is the view that was meant. The input is a delta, or a view and a delta.
pub fn view_delta(data: &[u8]) {
    if let Ok(delta) = ViewDelta::decode(data) {
        survives(&delta, ViewDelta::encode, ViewDelta::decode);
    }
    if let Ok((old, delta)) = codec::decode_prefix::<View>(data, "view")
        && let Ok(delta) = ViewDelta::decode(delta)
        && let Ok(new) = delta.apply(&old, delta.base)
    {
        // What was asked to be the base is not: what matters is that no other view results.
        assert_eq!((new.hash(), new.epoch()), (delta.hash, delta.epoch));
        survives(&new, View::encode, View::decode);
    }
}

/// A datagram between nodes.
pub fn heartbeat(data: &[u8]) {
    if let Ok(heartbeat) = Heartbeat::decode(data) {
        if let Heartbeat::Ping(ping) = &heartbeat {
            assert!(ping.suspects.len() <= limits::SUSPECTS_MAX);
            assert!(ping.slow.len() <= limits::SLOW_MAX);
        }
        survives(&heartbeat, Heartbeat::encode, Heartbeat::decode);
    }
}

/// What administrators ask, and what they are told.
pub fn admin(data: &[u8]) {
    if let Ok(request) = AdminRequest::decode(data) {
        survives(&request, AdminRequest::encode, AdminRequest::decode);
    }
    if let Ok(reply) = AdminReply::decode(data) {
        survives(&reply, AdminReply::encode, AdminReply::decode);
    }
}

/// Asserts that `message` is the same after it was written and read.
fn survives<M: Debug + PartialEq, E: Debug + PartialEq>(
    message: &M,
    encode: impl FnOnce(&M, &mut BytesMut),
    decode: impl FnOnce(&[u8]) -> Result<M, E>,
) {
    assert_eq!(decode(&bytes(message, encode)).as_ref(), Ok(message));
}

/// Asserts that a header in front of a value is the same after it was written and read.
fn prefix_survives<M: Debug + PartialEq + serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
    if let Ok((header, _)) = codec::decode_prefix::<M>(data, "header") {
        let out = bytes(&header, codec::encode);
        assert_eq!(codec::decode_prefix::<M>(&out, "header"), Ok((header, &[][..])));
    }
}

fn bytes<M>(message: &M, encode: impl FnOnce(&M, &mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(message, &mut out);
    out.into()
}
