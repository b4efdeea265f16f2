//! Frame headers: total, canonical, limited by type. And the reader that cuts a stream into frames.

use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{
    Epoch, Fence, RequestId,
    frame::{FrameError, FrameHeader, FrameType, HEADER_BYTES, MESSAGE_VERSION, TRACE_BYTES, TraceContext},
    frame_reader::FrameReader,
    limits,
};

use crate::{samples, strategies};

proptest! {
    #![proptest_config(strategies::cases(512))]

    #[test]
    fn a_header_is_read_as_written(header in strategies::frame_header()) {
        let bytes = samples::encoded(|out| header.encode(out));
        prop_assert_eq!(FrameHeader::decode(bytes.first_chunk().unwrap()), Ok(header));
    }

    /// Every byte means something, so no two headers mean the same.
    #[test]
    fn a_header_that_is_read_is_written_as_it_was(mut bytes in any::<[u8; HEADER_BYTES]>(), kind in any::<u8>()) {
        // Most random bytes would stop at the first check.
        bytes[2..8].copy_from_slice(&[0, 0, kind % 100, MESSAGE_VERSION, kind & 1, 0]);
        if let Ok(header) = FrameHeader::decode(&bytes) {
            prop_assert_eq!(samples::encoded(|out| header.encode(out)), bytes);
        }
    }

    /// However a stream is cut into chunks, the same frames come out of it.
    #[test]
    fn frames_do_not_depend_on_the_chunks(
        frames in vec((prop::sample::select(FrameType::ALL), any::<bool>(), vec(any::<u8>(), 0..200)), 0..8),
        cuts in vec(1_usize..100, 1..20),
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (kind, traced, mut body) in frames {
            let trace = if traced { TraceContext::Present } else { TraceContext::Absent };
            body.truncate(kind.body_bytes_max());
            stream.extend(samples::frame(kind, trace, &body));
            expected.push((kind, body));
        }
        let mut reader = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
        let mut found = Vec::new();
        let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            // A look ahead shows what comes next, or nothing within a frame, and takes nothing.
            let (ahead, already) = (reader.ahead(chunk), found.len());
            let foreseen: Vec<_> = ahead.map(|(header, body)| (header.kind, body.to_vec())).collect();
            prop_assert!(reader.is_between_frames() || foreseen.is_empty());
            let was_between = reader.is_between_frames();
            reader.feed(chunk, |header, body| {
                found.push((header.kind, body.to_vec()));
                Ok::<(), FrameError>(())
            }).unwrap();
            prop_assert!(!was_between || foreseen == found[already..]);
            rest = later;
        }
        prop_assert_eq!(found, expected);
        prop_assert!(reader.is_between_frames());
    }
}

#[test]
fn every_type_and_version_is_known_or_refused() {
    for (kind, version) in (0..=u8::MAX).flat_map(|kind| (0..=u8::MAX).map(move |version| (kind, version))) {
        let mut bytes = [0; HEADER_BYTES];
        (bytes[4], bytes[5]) = (kind, version);
        let expected = match FrameType::from_number(kind) {
            None => Err(FrameError::UnknownType(kind)),
            Some(_) if version != MESSAGE_VERSION => Err(FrameError::UnknownVersion { found: version }),
            Some(kind) => Ok(kind),
        };
        assert_eq!(FrameHeader::decode(&bytes).map(|header| header.kind), expected);
    }
}

#[test]
fn every_flag_is_known_or_refused() {
    for flags in 0..=u16::MAX {
        let mut bytes = header_of(FrameType::Get, TRACE_BYTES);
        bytes[6..8].copy_from_slice(&flags.to_le_bytes());
        let expected = match flags {
            0 => Ok((TraceContext::Absent, false)),
            1 => Ok((TraceContext::Present, false)),
            2 => Ok((TraceContext::Absent, true)),
            3 => Ok((TraceContext::Present, true)),
            _ => Err(FrameError::UnknownFlags(flags)),
        };
        assert_eq!(FrameHeader::decode(&bytes).map(|header| (header.trace, header.more)), expected);
    }
}

#[test]
fn every_type_has_its_own_number_and_its_limit_is_kept() {
    for &kind in FrameType::ALL {
        assert_eq!(FrameType::from_number(kind.number()), Some(kind));
        let limit = kind.body_bytes_max();
        assert!(FrameHeader::decode(&header_of(kind, limit)).is_ok(), "{kind:?}");
        for bytes in [limit + 1, u32::MAX as usize] {
            let refused = FrameHeader::decode(&header_of(kind, bytes));
            assert_eq!(refused, Err(FrameError::TooLong { kind, bytes, limit }));
        }
        // The trace context comes on top of the limit.
        let mut traced = header_of(kind, limit + TRACE_BYTES);
        traced[6] = 1;
        assert!(FrameHeader::decode(&traced).is_ok(), "{kind:?}");
        traced[..4].copy_from_slice(&23_u32.to_le_bytes());
        assert_eq!(FrameHeader::decode(&traced), Err(FrameError::TraceTruncated));
    }
}

#[test]
fn a_frame_is_appended_and_counts_the_value_behind_it() {
    let mut out = bytes::BytesMut::from(&b"before"[..]);
    let header = FrameHeader::new(FrameType::Set, RequestId::new(1), Fence::new(2), Epoch::new(3));
    header.encode_with(&mut out, 1000, |out| out.extend_from_slice(b"key"));
    assert_eq!(&out[..6], b"before");
    assert_eq!(&out[6 + HEADER_BYTES..], b"key");
    let read = FrameHeader::decode(out[6..].first_chunk().unwrap()).unwrap();
    assert_eq!(read, FrameHeader { body_bytes: 1003, ..header });
}

#[test]
fn a_reader_refuses_what_its_stream_does_not_carry() {
    let mut reader = FrameReader::new(100);
    let refused = reader.feed(&header_of(FrameType::Value, 101), |_, _| Ok::<(), FrameError>(()));
    assert_eq!(refused, Err(FrameError::TooLong { kind: FrameType::Value, bytes: 101, limit: 100 }));
    assert_eq!(FrameReader::new(100).ahead(&header_of(FrameType::Value, 101)).count(), 0);
}

fn header_of(kind: FrameType, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&u32::try_from(body_bytes).unwrap().to_le_bytes());
    (bytes[4], bytes[5]) = (kind.number(), MESSAGE_VERSION);
    bytes
}
