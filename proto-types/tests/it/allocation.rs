//! What decoding hostile bytes costs in memory, counted by the allocator.
//!
//! The bound: a decoder allocates in proportion to the bytes that arrived, whatever lengths they claim. The factor is
//! that of the worst honest message, a list of the shortest names (two bytes each on the wire; in memory a pointer, a
//! length and two small allocations, in a list that was doubled on the way). Everything ever allocated counts, also what
//! was freed at once.

use quoit_proto_types::{
    View, codec,
    frame::{FrameError, FrameType, TraceContext},
    frame_reader::FrameReader,
    limits,
    message::{
        client::{KeyHeader, Refusal, WriteHeader},
        peer::PeerMessage,
        session::{Hello, HelloAck},
    },
};
use tikv_jemalloc_ctl::thread;

use crate::samples::{self, encoded};

/// Bytes that may be allocated for each byte that arrived.
const FACTOR: u64 = 48;
/// Bytes that may be allocated whatever arrived: the first, smallest list of members.
const CONSTANT: u64 = 1024;

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
    check("Refusal", allocated_by(|| Refusal::decode(bytes)));
    check("PeerMessage", allocated_by(|| PeerMessage::decode(bytes)));
    check("View", allocated_by(|| View::decode(bytes)));
    check("FrameReader", allocated_by(|| read_frames(bytes)));
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
    for &kind in FrameType::ALL {
        for (name, body) in samples::bodies(kind) {
            check(&format!("{kind:?} {name}"), &body);
            check(&format!("frame of {kind:?} {name}"), &samples::frame(kind, TraceContext::Absent, &body));
        }
    }
}

/// Claims an enormous length at every place of every message, in each of the lengths a varint can have.
#[test]
fn claimed_lengths_cost_nothing() {
    let lengths =
        [127, 10_000, 1 << 20, 1 << 32, u64::MAX].map(|length: u64| encoded(|out| codec::encode(&length, out)));
    for &kind in FrameType::ALL {
        for (name, body) in samples::bodies(kind) {
            for (at, length) in (0..body.len()).flat_map(|at| lengths.iter().map(move |length| (at, length))) {
                let hostile = [&body[..at], length, &body[at + 1..]].concat();
                check(&format!("{kind:?} {name} with {length:x?} at {at}"), &hostile);
            }
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
    assert_eq!(prefix[..2], [6, 0], "the message and the length of its list");
    let one = &list[2..4];
    for count in [5_000, limits::MEMBERS_MAX, limits::MEMBERS_MAX + 1, 2_000_000] {
        let length = encoded(|out| codec::encode(&count, out));
        let names = one.repeat(count);
        let hostile = [&prefix[..1], &length, &names, &prefix[2..]].concat();
        assert_eq!(PeerMessage::decode(&hostile).is_ok(), count <= limits::MEMBERS_MAX, "{count} names");
        check(&format!("{count} names"), &hostile);
    }
    // As many members as there are bytes left, of which none is one.
    let view = encoded(|out| samples::view().encode(out));
    let members = view.windows(4).position(|bytes| *bytes == [2, 1, 4, 0]).unwrap() + 2;
    for left in [100, 10_000, 4_000_000] {
        let length = encoded(|out| codec::encode(&left, out));
        let hostile = [&view[..members], &length, &vec![0xff; left]].concat();
        check(&format!("a view that claims {left} members"), &hostile);
    }
}

/// A view whose lists of voters and owners are as long as a frame can hold.
#[test]
fn long_lists_of_small_elements_cost_what_their_bytes_justify() {
    let mut fields = samples::view_fields();
    let owners = vec![fields.ring[0]; 500_000];
    fields.voters = vec![fields.voters[0]; 500_000];
    fields.ring = owners.clone();
    fields.target = Some(owners);
    let hostile = encoded(|out| codec::encode(&fields, out));
    assert!(hostile.len() <= limits::VIEW_BYTES_MAX && View::decode(&hostile).is_err());
    check("a view of long lists", &hostile);
}

fn founding(founders: usize) -> PeerMessage {
    PeerMessage::Founding { founders: vec![samples::label("a"); founders], config: samples::config() }
}
