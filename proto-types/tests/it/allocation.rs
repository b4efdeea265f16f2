//! What decoding hostile bytes costs in memory, counted by the allocator.
//!
//! The bound: a decoder allocates in proportion to the bytes that arrived, whatever lengths they claim. The factor is
//! that of the worst honest message, a list of the shortest names (two bytes each on the wire; in memory a pointer, a
//! length and two small allocations, in a list that was doubled on the way). Everything ever allocated counts, also what
//! was freed at once.

use bytes::Bytes;
use quoit_proto_types::{
    View,
    codec::{self, DecodeError},
    frame::{FrameError, FrameType, TraceContext},
    frame_reader::FrameReader,
    limits,
    message::{
        admin::{AdminReply, AdminRequest},
        client::{KeyHeader, ReadHeader, Refusal, WriteHeader},
        genesis::GenesisMessage,
        heartbeat::Heartbeat,
        peer::PeerMessage,
        replica::PutHeader,
        session::{Hello, HelloAck},
        transfer::{EntryBlock, TransferReply, TransferRequest},
    },
    view::{Change, OwnersDelta, TargetDelta, ViewDelta, ViewFields, ViewRecord},
};
use tikv_jemalloc_ctl::thread;

use crate::samples::{self, encoded};

/// Bytes that may be allocated for each byte that arrived.
const FACTOR: u64 = 48;
/// Bytes that may be allocated whatever arrived: the first, smallest list of members.
const CONSTANT: u64 = 1024;
/// Bytes of the largest set of slots: one bit for each of 2^20. A few bytes can name all of them.
const SLOT_SET: u64 = 1 << 17;

/// Bytes that this thread allocates while `run` runs.
fn allocated_by<T>(run: impl FnOnce() -> T) -> u64 {
    let counter = thread::allocatedp::read().unwrap();
    let before = counter.get();
    drop(run());
    counter.get() - before
}

/// Runs every decoder over `bytes` and checks what each allocated.
fn check(what: &str, bytes: &[u8]) {
    let bound = FACTOR * bytes.len() as u64 + CONSTANT;
    let check = |decoder: &str, allocated: u64| {
        assert!(allocated <= bound, "{decoder} of {what}: {allocated} bytes for {}", bytes.len());
    };
    check("Hello", allocated_by(|| Hello::decode(bytes)));
    check("HelloAck", allocated_by(|| HelloAck::decode(bytes)));
    check("KeyHeader", allocated_by(|| KeyHeader::decode(bytes)));
    check("WriteHeader", allocated_by(|| WriteHeader::decode(bytes)));
    check("ReadHeader", allocated_by(|| ReadHeader::decode(bytes)));
    check("PutHeader", allocated_by(|| PutHeader::decode(bytes)));
    let body = Bytes::copy_from_slice(bytes);
    check("TransferReply", allocated_by(|| entries(TransferReply::decode(&body))));
    let request = allocated_by(|| entries(TransferRequest::decode(&body)));
    assert!(request <= bound + SLOT_SET, "request of {what}: {request} bytes for {}", bytes.len());
    check("Refusal", allocated_by(|| Refusal::decode(bytes)));
    check("PeerMessage", allocated_by(|| PeerMessage::decode(bytes)));
    check("View", allocated_by(|| View::decode(bytes)));
    check("ViewDelta", allocated_by(|| ViewDelta::decode(bytes)));
    check("AdminRequest", allocated_by(|| AdminRequest::decode(bytes)));
    check("AdminReply", allocated_by(|| AdminReply::decode(bytes)));
    check("Heartbeat", allocated_by(|| Heartbeat::decode(bytes)));
    check("FrameReader", allocated_by(|| read_frames(bytes)));
}

/// Reads all entries behind a message.
fn entries<M>(decoded: Result<(M, EntryBlock), DecodeError>) -> usize {
    decoded.map_or(0, |(_, block)| block.entries().count())
}

/// Feeds all of `bytes`, then one more, which a reader that waits for a frame's end makes room for.
fn read_frames(bytes: &[u8]) -> Result<(), FrameError> {
    let mut reader = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
    reader.feed(bytes, |_, _| Ok::<(), FrameError>(()))?;
    reader.feed(&[0], |_, _| Ok(()))
}

#[test]
fn the_counter_counts() {
    assert!(allocated_by(|| vec![0_u8; 100_000]) >= 100_000);
    assert!(allocated_by(|| 1) < 1_000);
}

#[test]
fn samples_cost_what_they_hold() {
    for (name, bytes) in samples::everything() {
        check(&name, &bytes);
    }
    for &kind in FrameType::ALL {
        for (name, body) in samples::bodies(kind) {
            check(&format!("frame of {kind:?} {name}"), &samples::frame(kind, TraceContext::Absent, &body));
        }
    }
}

/// Claims an enormous length at every place of every message, in each of the lengths a varint can have.
#[test]
fn claimed_lengths_cost_nothing() {
    let lengths =
        [127, 10_000, 1 << 20, 1 << 32, u64::MAX].map(|length: u64| encoded(|out| codec::encode(&length, out)));
    for (name, bytes) in samples::everything() {
        for (at, length) in (0..bytes.len()).flat_map(|at| lengths.iter().map(move |length| (at, length))) {
            let hostile = [&bytes[..at], length, &bytes[at + 1..]].concat();
            check(&format!("{name} with {length:x?} at {at}"), &hostile);
        }
    }
}

/// A frame of which only the header arrived, with the longest body that its header may claim.
#[test]
fn claimed_bodies_cost_nothing() {
    for &kind in FrameType::ALL {
        let mut header = samples::frame(kind, TraceContext::Absent, b"");
        let claimed = kind.body_bytes_max().min(limits::LANE_BODY_BYTES_MAX);
        header[..4].copy_from_slice(&u32::try_from(claimed).unwrap().to_le_bytes());
        check(&format!("{kind:?} header that claims {claimed} bytes"), &header);
    }
}

/// Lists as long as their frames can justify, which decode to the last element or end before it.
#[test]
fn long_lists_cost_what_their_bytes_justify() {
    let (prefix, list) = (encoded(|out| founding(0).encode(out)), encoded(|out| founding(1).encode(out)));
    assert_eq!(prefix[..3], [0, 0, 0], "the group, the message and the length of its list");
    let one = &list[3..5];
    for count in [5_000, limits::MEMBERS_MAX, limits::MEMBERS_MAX + 1, 2_000_000] {
        let length = encoded(|out| codec::encode(&count, out));
        let names = one.repeat(count);
        let hostile = [&prefix[..2], &length, &names, &prefix[3..]].concat();
        assert_eq!(PeerMessage::decode(&hostile).is_ok(), count <= limits::MEMBERS_MAX, "{count} names");
        check(&format!("{count} names"), &hostile);
    }
    // As many members as there are bytes left, of which none is one.
    let view = encoded(|out| samples::view().encode(out));
    let config = encoded(|out| codec::encode(&samples::config(), out));
    let members = view.windows(config.len()).position(|bytes| bytes == config).unwrap() + config.len();
    assert_eq!(view[members], 4, "the length of the list");
    for left in [100, 10_000, 4_000_000] {
        let length = encoded(|out| codec::encode(&left, out));
        let hostile = [&view[..members], &length, &vec![0xff; left]].concat();
        check(&format!("a view that claims {left} members"), &hostile);
    }
}

/// Views and a delta whose lists of small elements are as long as a frame can hold.
#[test]
fn long_lists_of_small_elements_cost_what_their_bytes_justify() {
    const COUNT: usize = 1_500_000;
    let fields = samples::view_fields();
    let (owners, voters) = (vec![fields.ring[0]; COUNT], vec![fields.voters[0]; COUNT]);
    for hostile in [
        ViewFields { voters: voters.clone(), ..fields.clone() },
        ViewFields { ring: owners.clone(), ..fields.clone() },
        ViewFields { target: Some(owners.clone()), ..fields.clone() },
        ViewFields { changes: vec![Change::Formed; COUNT], ..fields.clone() },
    ] {
        let hostile = encoded(|out| codec::encode(&hostile, out));
        assert!(hostile.len() <= limits::VIEW_BYTES_MAX && View::decode(&hostile).is_err());
        check("a view of a long list", &hostile);
    }
    let delta = samples::delta();
    for hostile in [
        ViewDelta { voters: voters.clone(), ..delta.clone() },
        ViewDelta { removed: voters, ..delta.clone() },
        ViewDelta { ring: OwnersDelta { put: owners.clone(), removed: vec![] }, ..delta.clone() },
        ViewDelta { target: TargetDelta::Joint(OwnersDelta { put: owners, removed: vec![] }), ..delta },
    ] {
        let hostile = encoded(|out| codec::encode(&hostile, out));
        assert!(hostile.len() <= limits::VIEW_BYTES_MAX && ViewDelta::decode(&hostile).is_err());
        check("a delta of a long list", &hostile);
    }
}

/// The one element that costs more than the factor: a reason of one byte has the size of the largest reason in memory. No
/// honest view tells it twice, and no view has room for more than so many.
#[test]
fn the_shortest_changes_cost_no_more_than_three_times_their_size() {
    let each = 3 * u64::try_from(size_of::<Change>()).unwrap();
    let bound = |bytes: &[u8]| (FACTOR + each) * bytes.len() as u64 + CONSTANT;
    for count in [1, 5, 255, 513, limits::CHANGES_MAX] {
        let changes = vec![Change::Formed; count];
        let view =
            encoded(|out| codec::encode(&ViewFields { changes: changes.clone(), ..samples::view_fields() }, out));
        assert!(View::decode(&view).is_ok());
        assert!(allocated_by(|| View::decode(&view)) <= bound(&view), "{count}");
        let record = ViewRecord { changes, ..ViewRecord::of(&samples::view(), samples::view().hash()) };
        let log = encoded(|out| AdminReply::ViewLog(vec![record; limits::VIEW_LOG_MAX]).encode(out));
        assert!(AdminReply::decode(&log).is_ok());
        assert!(allocated_by(|| AdminReply::decode(&log)) <= bound(&log), "{count}");
    }
}

/// Lists of what is held of slots and entries, as long as a frame may be.
#[test]
fn long_lists_of_the_background_cost_what_their_bytes_justify() {
    let longest = [(vec![0, 0, 0, 0], vec![0], 4096), (vec![0; 8], vec![2], 4096), (vec![0], vec![5], 4096)];
    for (element, message, most) in longest {
        for count in [most, most + 1, 1_000_000] {
            let length = encoded(|out| codec::encode(&count, out));
            let hostile = Bytes::from([&message[..], &length, &element.repeat(count), &[0]].concat());
            assert_eq!(TransferReply::decode(&hostile).is_ok(), count == most, "{message:?}, {count}");
            check(&format!("reply {message:?} of {count}"), &hostile);
        }
    }
    for count in [4096_usize, 4097, 1_000_000] {
        let length = encoded(|out| codec::encode(&count, out));
        let fetch = Bytes::from([&[3][..], &length, &vec![0; count]].concat());
        assert_eq!(TransferRequest::decode(&fetch).is_ok(), count == 4096, "{count}");
        check(&format!("{count} handles"), &fetch);
        // Runs of one slot of 2^20, each behind one that is passed over.
        let runs = Bytes::from([&[0, 20][..], &length, &[1, 1].repeat(count)].concat());
        assert_eq!(TransferRequest::decode(&runs).is_ok(), count <= 1 << 19, "{count}");
        check(&format!("{count} runs"), &runs);
    }
}

fn founding(founders: usize) -> PeerMessage {
    GenesisMessage::Founding { founders: vec![samples::label("a"); founders], config: samples::config() }.into()
}
