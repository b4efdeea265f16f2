//! Messages of the background, and the entries behind them.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{
    Stamp,
    codec::{self, DecodeError},
    frame::FrameType,
    limits,
    message::transfer::{BlockEntry, EntryBlock, EntryBlockWriter, TransferReply, TransferRequest},
};

use crate::{samples, samples::encoded, strategies};

/// An entry, owned.
type Owned = (Stamp, Vec<u8>, Vec<u8>);

fn entries() -> impl Strategy<Value = Vec<Owned>> {
    vec((strategies::stamp(), vec(any::<u8>(), 1..40), vec(any::<u8>(), 0..300)), 0..6)
}

fn block_of(entries: &[Owned]) -> EntryBlock {
    let mut writer = EntryBlockWriter::default();
    entries.iter().for_each(|(stamp, key, value)| writer.push(&BlockEntry { stamp: *stamp, key, value }));
    let bytes = writer.bytes();
    let block = writer.finish();
    assert_eq!(block.as_bytes().len(), bytes);
    block
}

fn owned(block: &EntryBlock) -> Result<Vec<Owned>, DecodeError> {
    let own = |entry: BlockEntry<'_>| (entry.stamp, entry.key.to_vec(), entry.value.to_vec());
    block.entries().map(|entry| entry.map(own)).collect()
}

/// The block of `bytes`, as it arrives behind a message.
fn arrived(bytes: &[u8]) -> EntryBlock {
    let body = [encoded(|out| TransferReply::Noted.encode(out)), bytes.to_vec()].concat();
    TransferReply::decode(&Bytes::from(body)).unwrap().1
}

proptest! {
    #![proptest_config(strategies::cases(64))]

    #[test]
    fn a_request_is_read_as_written(message in strategies::transfer_request(), entries in entries()) {
        let block = block_of(&entries);
        let bytes = Bytes::from([encoded(|out| message.encode(out)), block.as_bytes().to_vec()].concat());
        let (read, behind) = TransferRequest::decode(&bytes).unwrap();
        prop_assert_eq!((&read, &behind), (&message, &block));
        prop_assert_eq!(owned(&behind), Ok(entries));
        let message_bytes = bytes.len() - block.as_bytes().len();
        for length in 0..message_bytes {
            prop_assert!(TransferRequest::decode(&bytes.slice(..length)).is_err(), "the first {} bytes", length);
        }
    }

    #[test]
    fn a_reply_is_read_as_written(message in strategies::transfer_reply(), entries in entries()) {
        let block = block_of(&entries);
        let bytes = Bytes::from([encoded(|out| message.encode(out)), block.as_bytes().to_vec()].concat());
        let (read, behind) = TransferReply::decode(&bytes).unwrap();
        prop_assert_eq!((&read, &behind), (&message, &block));
        prop_assert_eq!(owned(&behind), Ok(entries));
        let message_bytes = bytes.len() - block.as_bytes().len();
        for length in 0..message_bytes {
            prop_assert!(TransferReply::decode(&bytes.slice(..length)).is_err(), "the first {} bytes", length);
        }
    }

    /// What was cut short yields the whole entries and one error, and nothing that was not written.
    #[test]
    fn a_block_that_was_cut_ends_with_an_error(entries in entries()) {
        let bytes = block_of(&entries).as_bytes().to_vec();
        let ends: Vec<usize> = (0..=entries.len()).map(|count| block_of(&entries[..count]).as_bytes().len()).collect();
        for length in 0..=bytes.len() {
            let block = arrived(&bytes[..length]);
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            let found: Vec<_> = block.entries().collect();
            let read: Vec<_> = found.iter().flatten().map(|e| (e.stamp, e.key.to_vec(), e.value.to_vec())).collect();
            prop_assert_eq!(read, entries[..whole].to_vec());
            let cut = !ends.contains(&length);
            prop_assert_eq!((found.len(), block.is_empty()), (whole + usize::from(cut), length == 0));
        }
    }
}

#[test]
fn hostile_lengths_in_a_block_are_refused() {
    let stamp = encoded(|out| codec::encode(&samples::stamp(), out));
    let length = |bytes: usize| encoded(|out| codec::encode(&bytes, out));
    let read = |rest: &[&[u8]]| owned(&arrived(&[&[&stamp[..]], rest].concat().concat()));
    assert_eq!(read(&[&[1, b'k'], &[0]]).map(|entries| entries.len()), Ok(1));
    assert!(matches!(read(&[&[0], &[0]]), Err(DecodeError::Malformed { .. })), "a key of no bytes");
    let long = vec![7; limits::KEY_BYTES_MAX + 1];
    let too_long = read(&[&length(long.len()), &long, &[0]]);
    assert!(matches!(too_long, Err(DecodeError::TooLong { what: "key", .. })));
    for claimed in [2, 1 << 20, u32::MAX as usize, usize::MAX] {
        assert!(read(&[&length(claimed), b"k"]).is_err(), "a key of {claimed} bytes");
        assert!(read(&[&[1, b'k'], &length(claimed), b"v"]).is_err(), "a value of {claimed} bytes");
    }
    // What comes behind an error is not looked at.
    let mut bytes = [&stamp[..], &[0, 0]].concat();
    bytes.extend_from_slice(samples::block().as_bytes());
    assert_eq!(arrived(&bytes).entries().count(), 1);
}

/// A page is not ended before the entry that does not fit into it, so it may be longer by the longest one.
#[test]
fn a_full_page_and_the_longest_entry_fit_a_frame() {
    let (key, value) = (vec![0xff; limits::KEY_BYTES_MAX], vec![0; limits::VALUE_BYTES_MAX]);
    let mut writer = EntryBlockWriter::default();
    writer.push(&BlockEntry { stamp: samples::stamp(), key: &key, value: &value });
    let all = samples::every_other_slot(20);
    let message = encoded(|out| TransferRequest::Summarise { slots: all }.encode(out));
    for kind in [FrameType::Transfer, FrameType::TransferReply] {
        assert!(writer.bytes() + limits::TRANSFER_PAGE_BYTES + 1024 <= kind.body_bytes_max());
        assert!(message.len() <= kind.body_bytes_max(), "{}", message.len());
    }
}
