//! Messages: read as written, refused when truncated, bounded by their limits.

use std::{num::NonZeroU64, time::Duration};

use bytes::BytesMut;
use proptest::{collection::vec, option, prelude::*};
use quoit_proto_types::{
    Boot, Epoch, ErrorCode, Fence, Hlc, Identity, Instance, KeyspaceId, Label, Member, Nonce, Ordinal, ReadLevel, Role,
    SlotCount, SlotIndex, Stamp, Tokens, Version, View, WriteLevel,
    codec::{self, DecodeError},
    frame::FrameType,
    limits,
    message::{
        admin::{AdminReply, AdminRequest},
        client::{Expiry, KeyHeader, ReadHeader, Refusal, Unfinished, ValueHeader, WriteHeader, Written},
        genesis::{GenesisDigest, GenesisMessage},
        heartbeat::Heartbeat,
        membership::{Applicant, Command, MembershipMessage},
        peer::PeerMessage,
        replica::{EntryHeader, PutHeader, Stored},
        session::{Hello, HelloAck, HelloError, NodeHello, Session, VersionRange},
    },
    view::{
        Address, AssignedTokens, Change, Intent, Liveness, Owner, Placed, RingAlgorithm, TimingProfile, ViewConfig,
        ViewDelta, ViewFields,
    },
};

use crate::{
    bodies::TARGETS,
    samples::{self, encoded},
    strategies,
};

/// Asserts that `bytes` decode to `message` and that none of their prefixes decodes to anything: no message is the
/// beginning of another, so what was cut short never passes for something shorter.
fn check<M, E>(message: &M, bytes: &[u8], decode: impl Fn(&[u8]) -> Result<M, E>) -> Result<(), TestCaseError>
where
    M: std::fmt::Debug + PartialEq,
    E: std::fmt::Debug + PartialEq,
{
    let decoded = decode(bytes);
    prop_assert_eq!(decoded.as_ref(), Ok(message));
    for length in 0..bytes.len() {
        prop_assert!(decode(&bytes[..length]).is_err(), "the first {} of {} bytes", length, bytes.len());
    }
    Ok(())
}

fn decode_expiry(bytes: &[u8]) -> Result<Expiry, DecodeError> {
    codec::decode_exact(bytes, "expiry", FrameType::Remaining.body_bytes_max())
}

proptest! {
    #![proptest_config(strategies::cases(96))]

    #[test]
    fn hello(message in strategies::hello()) {
        let bytes = encoded(|out| message.encode(out));
        check(&message, &bytes, |bytes| Hello::decode(bytes).map(|(hello, _)| hello))?;
    }

    #[test]
    fn hello_ack(message in strategies::hello_ack()) {
        check(&message, &encoded(|out| codec::encode(&message, out)), HelloAck::decode)?;
    }

    #[test]
    fn key_header(keyspace in any::<u16>(), key in vec(any::<u8>(), 1..200)) {
        let header = KeyHeader { keyspace: KeyspaceId::new(keyspace), key: &key };
        let bytes = encoded(|out| header.encode(out));
        prop_assert_eq!(KeyHeader::decode(&bytes), Ok(header));
        for length in 0..bytes.len() {
            prop_assert!(KeyHeader::decode(&bytes[..length]).is_err());
        }
        let longer = [&bytes[..], b"x"].concat();
        prop_assert_eq!(KeyHeader::decode(&longer), Err(DecodeError::Trailing { what: "key", bytes: 1 }));
    }

    #[test]
    fn read_header(
        keyspace in any::<u16>(), level in prop::sample::select(&ReadLevel::ALL[..]),
        at_least in option::of(strategies::version()), key in vec(any::<u8>(), 1..200),
    ) {
        let header = ReadHeader { keyspace: KeyspaceId::new(keyspace), level, at_least, key: &key };
        let bytes = encoded(|out| header.encode(out));
        prop_assert_eq!(ReadHeader::decode(&bytes), Ok(header));
        for length in 0..bytes.len() {
            prop_assert!(ReadHeader::decode(&bytes[..length]).is_err());
        }
        let longer = [&bytes[..], b"x"].concat();
        prop_assert_eq!(ReadHeader::decode(&longer), Err(DecodeError::Trailing { what: "read", bytes: 1 }));
    }

    /// A message with a value is one whose truncation can be valid: a value has no length of its own, so it is the frame that
    /// must be complete. A truncated header is refused.
    #[test]
    fn write_header(
        numbers in (any::<u16>(), any::<u64>()), level in prop::sample::select(&WriteLevel::ALL[..]),
        expiry in strategies::expiry(), again in option::of(strategies::stamp()),
        key in vec(any::<u8>(), 1..200), value in vec(any::<u8>(), 0..200),
    ) {
        let (keyspace, after) = (KeyspaceId::new(numbers.0), Hlc::new(numbers.1));
        let header = WriteHeader { keyspace, level, after, expiry, again, key: &key };
        let mut bytes = encoded(|out| header.encode(out));
        let header_bytes = bytes.len();
        bytes.extend_from_slice(&value);
        for length in 0..=bytes.len() {
            match WriteHeader::decode(&bytes[..length]) {
                Ok(read) => prop_assert_eq!(read, (header, &bytes[header_bytes..length])),
                Err(_) => prop_assert!(length < header_bytes),
            }
        }
    }

    #[test]
    fn put_header(
        keyspace in any::<u16>(), stamp in strategies::stamp(), hint_for in option::of(any::<u32>()),
        key in vec(any::<u8>(), 1..200), value in vec(any::<u8>(), 0..200),
    ) {
        let hint_for = hint_for.map(Ordinal::new);
        let header = PutHeader { keyspace: KeyspaceId::new(keyspace), stamp, hint_for, key: &key };
        let mut bytes = encoded(|out| header.encode(out));
        let header_bytes = bytes.len();
        bytes.extend_from_slice(&value);
        for length in 0..=bytes.len() {
            match PutHeader::decode(&bytes[..length]) {
                Ok(read) => prop_assert_eq!(read, (header, &bytes[header_bytes..length])),
                Err(_) => prop_assert!(length < header_bytes),
            }
        }
    }

    #[test]
    fn entry_header(header in strategies::entry_header()) {
        let decode = |bytes: &[u8]| codec::decode_exact::<EntryHeader>(bytes, "entry", limits::REPLY_HEADER_BYTES_MAX);
        check(&header, &encoded(|out| codec::encode(&header, out)), decode)?;
    }

    #[test]
    fn headers_of_answers(version in strategies::version(), flag in any::<bool>()) {
        let value = ValueHeader { version, stale: flag };
        let decode = |bytes: &[u8]| codec::decode_exact::<ValueHeader>(bytes, "value", limits::REPLY_HEADER_BYTES_MAX);
        check(&value, &encoded(|out| codec::encode(&value, out)), decode)?;
        let written = Written { version, existed: flag };
        let decode = |bytes: &[u8]| codec::decode_exact::<Written>(bytes, "written", limits::REPLY_HEADER_BYTES_MAX);
        check(&written, &encoded(|out| codec::encode(&written, out)), decode)?;
        let stored = Stored { was_live: flag };
        let decode = |bytes: &[u8]| codec::decode_exact::<Stored>(bytes, "stored", 8);
        check(&stored, &encoded(|out| codec::encode(&stored, out)), decode)?;
    }

    #[test]
    fn expiry(message in strategies::expiry()) {
        check(&message, &encoded(|out| codec::encode(&message, out)), decode_expiry)?;
    }

    #[test]
    fn refusal(message in strategies::refusal()) {
        check(&message, &encoded(|out| message.encode(out)), Refusal::decode)?;
    }

    #[test]
    fn heartbeat(message in strategies::heartbeat()) {
        let bytes = encoded(|out| message.encode(out));
        prop_assert!(bytes.len() <= limits::HEARTBEAT_BYTES_MAX);
        check(&message, &bytes, Heartbeat::decode)?;
    }

    #[test]
    fn admin_request(message in strategies::admin_request()) {
        check(&message, &encoded(|out| message.encode(out)), AdminRequest::decode)?;
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        TARGETS.iter().for_each(|(_, run)| run(&bytes));
    }

    #[test]
    fn labels_and_addresses_are_read_as_written(label in strategies::label(), address in strategies::address()) {
        prop_assert_eq!(label.as_str().parse::<Label>(), Ok(label.clone()));
        prop_assert_eq!(address.as_str().parse::<Address>(), Ok(address.clone()));
    }
}

proptest! {
    // A view has hundreds of bytes, and each of its prefixes is tried.
    #![proptest_config(strategies::cases(24))]

    #[test]
    fn peer_message(message in strategies::peer_message()) {
        check(&message, &encoded(|out| message.encode(out)), PeerMessage::decode)?;
    }

    #[test]
    fn view(message in strategies::view()) {
        check(&message, &encoded(|out| message.encode(out)), View::decode)?;
    }

    #[test]
    fn view_delta(message in strategies::view_delta()) {
        check(&message, &encoded(|out| message.encode(out)), ViewDelta::decode)?;
    }

    #[test]
    fn admin_reply(message in strategies::admin_reply()) {
        check(&message, &encoded(|out| message.encode(out)), AdminReply::decode)?;
    }
}

#[test]
fn no_flipped_bit_panics_or_reads_as_what_is_not_written_back() {
    for (_, sample) in samples::everything() {
        for bit in 0..sample.len() * 8 {
            let mut bytes = sample.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            TARGETS.iter().for_each(|(_, run)| run(&bytes));
        }
    }
}

#[test]
fn the_largest_of_every_message_fits_its_frame() {
    let fits = |kind: FrameType, bytes: Vec<u8>| {
        assert!(bytes.len() <= kind.body_bytes_max(), "{kind:?}: {} bytes", bytes.len());
    };
    let node = Some(NodeHello {
        instance: Instance::from_random(u128::MAX),
        boot: Boot::new(u32::MAX),
        nonce: Nonce::new(u64::MAX),
        address: longest_address(),
    });
    let session = Session { version: u16::MAX, features: u64::MAX };
    let ack = HelloAck { session, epoch: Epoch::new(u64::MAX), value_bytes_max: u32::MAX, node: node.clone() };
    fits(FrameType::Hello, encoded(|out| Hello { node }.encode(out)));
    fits(FrameType::HelloAck, encoded(|out| codec::encode(&ack, out)));

    let (keyspace, key) = (KeyspaceId::new(u16::MAX), &[0xff; limits::KEY_BYTES_MAX][..]);
    let expiry = Expiry::After(NonZeroU64::MAX);
    fits(FrameType::ReplicaGet, encoded(|out| KeyHeader { keyspace, key }.encode(out)));
    let hlc = Hlc::new(u64::MAX);
    let version = Version { hlc, ordinal: Ordinal::new(u32::MAX), boot: Boot::new(u32::MAX) };
    let stamp = Stamp { touched: hlc, ..Stamp::value(version, u64::MAX) };
    let (level, at_least) = (ReadLevel::All, Some(version));
    fits(FrameType::Get, encoded(|out| ReadHeader { keyspace, level, at_least, key }.encode(out)));
    let level = WriteLevel::All;
    let write = encoded(|out| WriteHeader { keyspace, level, after: hlc, expiry, again: Some(stamp), key }.encode(out));
    assert!(write.len() + limits::VALUE_BYTES_MAX <= FrameType::Set.body_bytes_max());
    let put = encoded(|out| PutHeader { keyspace, stamp, hint_for: Some(Ordinal::new(u32::MAX)), key }.encode(out));
    assert!(put.len() + limits::VALUE_BYTES_MAX <= FrameType::ReplicaPut.body_bytes_max());
    assert!(put.len() + limits::LANE_VALUE_BYTES_MAX <= limits::LANE_BODY_BYTES_MAX);
    let entry = encoded(|out| codec::encode(&EntryHeader { stamp }, out));
    assert!(
        entry.len() <= limits::REPLY_HEADER_BYTES_MAX
            && entry.len() + limits::VALUE_BYTES_MAX <= FrameType::Entry.body_bytes_max()
    );
    let value = encoded(|out| codec::encode(&ValueHeader { version, stale: true }, out));
    assert!(value.len() <= limits::REPLY_HEADER_BYTES_MAX);
    fits(FrameType::Stored, encoded(|out| codec::encode(&Stored { was_live: true }, out)));
    fits(FrameType::Done, encoded(|out| codec::encode(&Written { version, existed: true }, out)));
    fits(FrameType::Unfinished, encoded(|out| codec::encode(&Unfinished { stamp, held: u64::MAX }, out)));
    fits(FrameType::Delete, write.clone());
    assert!(write.len() + limits::LANE_VALUE_BYTES_MAX <= limits::LANE_BODY_BYTES_MAX);
    fits(FrameType::Touch, write);
    fits(FrameType::Remaining, encoded(|out| codec::encode(&expiry, out)));

    // A text that is too long is cut between two characters.
    let text = "é".repeat(10_000);
    let refusal = Refusal { code: ErrorCode::Internal, argument: u64::MAX, text: text.clone() };
    let bytes = encoded(|out| refusal.encode(out));
    let read = Refusal::decode(&bytes).unwrap();
    assert!(!read.text.is_empty() && text.starts_with(&read.text));
    fits(FrameType::Refusal, bytes);

    let name = longest_label(0);
    let command = Command::Transfer { to: Some(name.clone()) };
    fits(FrameType::Admin, encoded(|out| AdminRequest::Command(command).encode(out)));
    fits(FrameType::Admin, encoded(|out| AdminRequest::Recover { survivor: name }.encode(out)));
}

/// A label of 63 characters that ends in `index`.
fn longest_label(index: u32) -> Label {
    format!("{index:a>63}").parse().unwrap()
}

/// The longest address there is.
fn longest_address() -> Address {
    format!("{}:65535", "h".repeat(254)).parse().unwrap()
}

/// The most members with the longest names and addresses and the most tokens, each as far from the next as can be, the most
/// reasons, a ring change.
fn largest_view(first: u32) -> ViewFields {
    const VNODES: u32 = 26;
    let count = u32::try_from(limits::MEMBERS_MAX).unwrap();
    let cluster = longest_label(0);
    let members: Vec<Member> = (first..first + count)
        .map(|index| {
            let identity = Identity { role: Role::Node, name: longest_label(index), cluster: cluster.clone() };
            Member {
                ordinal: Ordinal::new(index),
                node_id: identity.node_id(),
                name: identity.name,
                instance: Instance::from_random(index.into()),
                boot: Boot::new(u32::MAX),
                address: longest_address(),
                zone: Some(longest_label(index)),
                vnodes: VNODES,
                priority: u8::MAX,
                versions: VersionRange { min: u16::MAX, max: u16::MAX },
                placed: Some(Placed { zone: Some(longest_label(index)), vnodes: VNODES }),
                live: Liveness::Down,
                degraded: true,
                intent: Intent::Stay,
            }
        })
        .collect();
    let ring: Vec<Owner> = members.iter().map(|m| Owner { ordinal: m.ordinal, boot: m.boot }).collect();
    let slots = |index: u32| (0..VNODES).map(|token| SlotIndex::new(token * 40_000 + (first + index) % 777)).collect();
    let tokens: Vec<Tokens> = (0..count).map(|index| Tokens::new(slots(index))).collect();
    ViewFields {
        cluster,
        config: ViewConfig {
            slots: SlotCount::from_log2(20).unwrap(),
            ring_algorithm: RingAlgorithm::Balanced,
            ..samples::config()
        },
        tokens: AssignedTokens { ring: tokens.clone(), target: tokens },
        epoch: Epoch::new(1 << 62),
        voters: ring[..limits::VOTERS_MAX].iter().map(|owner| owner.ordinal).collect(),
        coordinator: ring[0].ordinal,
        target: Some(ring.clone()),
        ring,
        fence: Fence::new(1 << 62),
        next_ordinal: Ordinal::new(u32::MAX),
        proposed_at_ms: u64::MAX,
        changes: vec![Change::Moved(longest_label(1), longest_address()); limits::CHANGES_MAX],
        members,
        ..samples::view_fields()
    }
}

/// Every valid view can be sent, alone and in whatever carries one.
#[test]
fn the_largest_view_fits_whatever_carries_it() {
    let mut earlier = largest_view(1 << 28);
    earlier.epoch = Epoch::new(1 << 61);
    earlier.fence = Fence::default();
    let (old, new) = (View::new(earlier).unwrap(), View::new(largest_view(1 << 30)).unwrap());
    let ballot = samples::ballot();
    let whole = encoded(|out| new.encode(out));
    assert_eq!(View::decode(&whole).as_ref(), Ok(&new));
    // Not a single member is left, so everything is in the delta.
    let delta = ViewDelta::between(&old, &new).unwrap();
    for length in [whole.len(), encoded(|out| delta.encode(out)).len()] {
        assert!((7_000_000..=limits::VIEW_BYTES_MAX).contains(&length), "{length}");
    }
    let founder = Applicant {
        name: longest_label(0),
        address: longest_address(),
        zone: Some(longest_label(0)),
        vnodes: u32::MAX,
        ..samples::applicant()
    };
    let carriers = [
        GenesisMessage::Promise { ballot, accepted: Some((ballot, new.clone())), founder }.into(),
        MembershipMessage::CommitDelta { ballot, delta }.into(),
    ];
    for message in carriers {
        let bytes = encoded(|out| PeerMessage::encode(&message, out));
        assert!(PeerMessage::decode(&bytes) == Ok(message));
    }
    let reply = AdminReply::ViewAt(Some(new));
    assert!(AdminReply::decode(&encoded(|out| reply.encode(out))) == Ok(reply));
}

#[test]
fn a_heartbeat_fits_a_datagram_and_names_no_more_suspects_than_may_be() {
    // What is left of the smallest QUIC packet of 1,200 bytes: header 25, tag 16, frame 3.
    const { assert!(limits::HEARTBEAT_BYTES_MAX <= 1200 - 25 - 16 - 3) };
    let longest = samples::longest_ping(limits::SUSPECTS_MAX);
    let bytes = encoded(|out| longest.encode(out));
    assert!(bytes.len() <= limits::HEARTBEAT_BYTES_MAX, "{}", bytes.len());
    assert_eq!(Heartbeat::decode(&bytes), Ok(longest));
    let longer = encoded(|out| samples::longest_ping(limits::SUSPECTS_MAX + 1).encode(out));
    assert!(longer.len() <= limits::HEARTBEAT_BYTES_MAX, "it is not the length that is refused");
    assert_eq!(Heartbeat::decode(&longer), Err(DecodeError::Malformed { what: "heartbeat" }));
    let Heartbeat::Ping(mut ping) = samples::longest_ping(0) else { panic!("it is a ping") };
    ping.slow.push(Ordinal::new(1));
    let slower = encoded(|out| Heartbeat::Ping(ping).encode(out));
    assert_eq!(Heartbeat::decode(&slower), Err(DecodeError::Malformed { what: "heartbeat" }));
}

#[test]
fn keys_have_a_length_of_1_to_the_limit() {
    let decode = |length: usize| {
        let key = vec![7; length];
        let bytes = encoded(|out| KeyHeader { keyspace: KeyspaceId::DEFAULT, key: &key }.encode(out));
        let keyspace = KeyspaceId::DEFAULT;
        let (level, after, expiry, again) = (WriteLevel::Two, Hlc::MIN, Expiry::Never, None);
        let write = WriteHeader { keyspace, level, after, expiry, again, key: &key };
        let written = WriteHeader::decode(&encoded(|out| write.encode(out))).map(drop);
        assert_eq!(KeyHeader::decode(&bytes).map(drop), written);
        let read = ReadHeader { keyspace, level: ReadLevel::One, at_least: None, key: &key };
        assert_eq!(ReadHeader::decode(&encoded(|out| read.encode(out))).map(drop), written);
        let put = PutHeader { keyspace, stamp: samples::stamp(), hint_for: None, key: &key };
        assert_eq!(PutHeader::decode(&encoded(|out| put.encode(out))).map(drop), written);
        written
    };
    assert!(matches!(decode(0), Err(DecodeError::Malformed { .. })));
    assert_eq!(decode(1), Ok(()));
    assert_eq!(decode(limits::KEY_BYTES_MAX), Ok(()));
    assert!(matches!(decode(limits::KEY_BYTES_MAX + 1), Err(DecodeError::TooLong { bytes: 1025, limit: 1024, .. })));
}

#[test]
fn a_message_of_any_length_stands_behind_what_was_there() {
    let keys = [7; 300];
    for length in 1..=keys.len() {
        let header = KeyHeader { keyspace: KeyspaceId::DEFAULT, key: &keys[..length] };
        let mut alone = BytesMut::new();
        header.encode(&mut alone);
        assert_eq!(KeyHeader::decode(&alone), Ok(header));
        let mut behind = BytesMut::from(&b"before"[..]);
        header.encode(&mut behind);
        header.encode(&mut behind);
        assert_eq!(behind, [b"before", &alone[..], &alone[..]].concat()[..], "{length}");
    }
}

#[test]
fn messages_end_where_their_bytes_do() {
    let and_more = |bytes: Vec<u8>| [bytes, vec![0]].concat();
    let trailing = |what| Some(DecodeError::Trailing { what, bytes: 1 });
    for (name, message) in samples::peer_messages() {
        let bytes = and_more(encoded(|out| message.encode(out)));
        assert_eq!(PeerMessage::decode(&bytes).err(), trailing("peer message"), "{name}");
    }
    for (name, request) in samples::admin_requests() {
        let bytes = and_more(encoded(|out| request.encode(out)));
        assert_eq!(AdminRequest::decode(&bytes).err(), trailing("admin request"), "{name}");
    }
    for (name, reply) in samples::admin_replies() {
        let bytes = and_more(encoded(|out| reply.encode(out)));
        assert_eq!(AdminReply::decode(&bytes).err(), trailing("admin reply"), "{name}");
    }
    for (name, heartbeat) in samples::heartbeats() {
        let bytes = and_more(encoded(|out| heartbeat.encode(out)));
        assert_eq!(Heartbeat::decode(&bytes).err(), trailing("heartbeat"), "{name}");
    }
    let view = and_more(encoded(|out| samples::view().encode(out)));
    assert_eq!(View::decode(&view).err(), trailing("view"));
    let delta = and_more(encoded(|out| samples::delta().encode(out)));
    assert_eq!(ViewDelta::decode(&delta).err(), trailing("view delta"));
    let ack = and_more(encoded(|out| codec::encode(&samples::hello_ack(), out)));
    assert_eq!(HelloAck::decode(&ack).err(), trailing("HelloAck"));
}

#[test]
fn what_is_longer_than_its_limit_is_not_looked_at() {
    let bytes = vec![0; limits::PEER_MESSAGE_BYTES_MAX + 1];
    assert!(matches!(PeerMessage::decode(&bytes), Err(DecodeError::TooLong { .. })));
    assert!(matches!(View::decode(&bytes), Err(DecodeError::TooLong { .. })));
    assert!(matches!(ViewDelta::decode(&bytes), Err(DecodeError::TooLong { .. })));
    assert!(matches!(AdminReply::decode(&bytes), Err(DecodeError::TooLong { .. })));
    assert!(matches!(AdminRequest::decode(&bytes[..1025]), Err(DecodeError::TooLong { limit: 1024, .. })));
    assert!(matches!(Heartbeat::decode(&bytes[..1101]), Err(DecodeError::TooLong { limit: 1100, .. })));
    assert!(matches!(HelloAck::decode(&bytes), Err(DecodeError::TooLong { .. })));
}

/// The hash is of the content, so a peer cannot make one view look like two by writing numbers longer than they are.
#[test]
fn a_view_has_one_hash_however_it_was_encoded() {
    let view = samples::view();
    let mut bytes = encoded(|out| view.encode(out));
    let epoch = "prod".len() + 1 + 16;
    assert_eq!(bytes[epoch], 9);
    bytes.splice(epoch..=epoch, [0x89, 0x00]);
    let read = View::decode(&bytes).unwrap();
    assert_eq!((read.hash(), &read), (view.hash(), &view));
}

#[test]
fn every_error_code_is_read_as_written_and_a_newer_one_as_internal() {
    for &code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        let bytes = encoded(|out| Refusal::new(code, 7).encode(out));
        assert_eq!(Refusal::decode(&bytes), Ok(Refusal::new(code, 7)));
    }
    let unknown = encoded(|out| codec::encode(&(999_u16, 5_u64, "why"), out));
    let expected = Refusal { code: ErrorCode::Internal, argument: 5, text: "why".to_owned() };
    assert_eq!(Refusal::decode(&unknown), Ok(expected));
}

#[test]
fn an_expiry_is_at_least_a_millisecond_and_rounded_up() {
    let ms = |ms| Expiry::After(NonZeroU64::new(ms).unwrap());
    for (duration, expected) in [
        (Duration::ZERO, ms(1)),
        (Duration::from_nanos(1), ms(1)),
        (Duration::from_millis(1), ms(1)),
        (Duration::from_nanos(1_000_001), ms(2)),
        (Duration::MAX, ms(u64::MAX)),
    ] {
        assert_eq!(Expiry::after(duration), expected, "{duration:?}");
    }
    assert_eq!(ms(1500).duration(), Some(Duration::from_millis(1500)));
    assert_eq!(Expiry::Never.duration(), None);
    assert!(decode_expiry(&[1, 0]).is_err(), "an expiry of 0 ms");
}

#[test]
fn the_genesis_digest_is_of_a_set_of_founders_and_of_all_else() {
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(samples::label);
    let (cluster, config) = (samples::label("prod"), samples::config());
    let digest = |founders: &[Label]| GenesisDigest::of(&cluster, founders, &config);
    let genesis = digest(&[n1.clone(), n2.clone(), n3.clone()]);
    assert_eq!(genesis, digest(&[n3.clone(), n1.clone(), n2.clone(), n1.clone()]));
    assert_ne!(genesis, digest(&[n1.clone(), n2.clone()]));
    let founders = [n1, n2, n3];
    assert_ne!(genesis, GenesisDigest::of(&samples::label("test"), &founders, &config));
    let others = [
        ViewConfig { slots: SlotCount::from_log2(4).unwrap(), ..config },
        ViewConfig { replication: config.replication + 1, ..config },
        ViewConfig { ring_algorithm: RingAlgorithm::Balanced, ..config },
        ViewConfig { timing: TimingProfile::Fast, ..config },
        ViewConfig { out_after_s: config.out_after_s + 1, ..config },
    ];
    for other in others {
        assert_ne!(genesis, GenesisDigest::of(&cluster, &founders, &other));
    }
}

#[test]
fn a_hello_names_the_message_it_is_not() {
    let refused = Hello::decode(b"\x03\x03\x00\x02");
    assert_eq!(refused, Err(HelloError::Decode(DecodeError::Malformed { what: "Hello" })));
}
