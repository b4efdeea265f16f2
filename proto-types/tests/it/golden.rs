//! Pinned bytes, points and owners. A difference here means that parties of two builds no longer agree: it is a protocol
//! decision and raises a version. `UPDATE_GOLDEN=1` writes the files anew.

use std::{env, fmt::Write, fs, path::PathBuf};

use bytes::BytesMut;
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, HashPoint, KeyspaceId, Ordinal, RequestId, Ring, Role, SlotCount, codec,
    frame::{FrameHeader, FrameType, HEADER_BYTES, MESSAGE_VERSION, TraceContext},
    limits,
    message::session::{FEATURES, VERSIONS},
    ring::RingMember,
};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::samples;

/// Compares `found` with the pinned file `name`.
fn check(name: &str, found: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let pinned = fs::read_to_string(&path).unwrap();
    for (line, (found, pinned)) in found.lines().zip(pinned.lines()).enumerate() {
        assert_eq!(found, pinned, "{name}, line {}", line + 1);
    }
    assert_eq!(found.lines().count(), pinned.lines().count(), "lines of {name}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn key_hash_and_slots() {
    let mut found = "# keyspace, key in hexadecimal, point, slot of 2^14, slot of 2^4, slot of 2^20\n".to_owned();
    let keys: [&[u8]; 8] =
        [b"a", b"greeting", b"user:1000", b"\0", b"\xff\xfe\xfd", &[7; 17], &[b'k'; 200], &[1; 1024]];
    for keyspace in [0, 1, u16::MAX] {
        for key in keys {
            let point = HashPoint::of_key(KeyspaceId::new(keyspace), key);
            let [default, few, many] = [14, 4, 20].map(|log2| SlotCount::from_log2(log2).unwrap().slot_of(point));
            writeln!(found, "{keyspace} {} {point} {default} {few} {many}", hex(key)).unwrap();
        }
    }
    check("key_hash.txt", &found);
}

#[test]
fn node_ids_and_tokens() {
    let mut found = "# node id of a name, then tokens of its vnodes\n".to_owned();
    for name in ["n1", "n2", "web-01", "a"] {
        let node = samples::node_id(name);
        writeln!(found, "{name}.node.prod.quoit.internal {}", hex(node.as_bytes())).unwrap();
        for index in [0, 1, 127, 4095] {
            writeln!(found, "  {index} {}", HashPoint::of_vnode(node, index)).unwrap();
        }
    }
    check("tokens.txt", &found);
}

#[test]
fn owners_of_every_slot() {
    let mut found = "# SHA-256 of the ordinals (u32, little-endian) of all owners of all 2^14 slots; \
                     then the owners of every 1024th\n"
        .to_owned();
    for (nodes, zones) in [(3_u32, 0_u32), (3, 2), (3, 3), (5, 0), (5, 2), (5, 3)] {
        for replication in 1..=3 {
            let members: Vec<RingMember> = (0..nodes)
                .map(|index| RingMember {
                    ordinal: Ordinal::new(index),
                    node_id: samples::node_id(&format!("n{}", index + 1)),
                    zone: index.checked_rem(zones).map(|zone| samples::label(&format!("z{zone}"))),
                    vnodes: 128,
                })
                .collect();
            let ring = Ring::build(&members, SlotCount::DEFAULT, replication);
            let mut digest = Sha256::new();
            for owner in ring.slots().slots().flat_map(|slot| ring.owners(slot)) {
                digest.update(owner.value().to_le_bytes());
            }
            let digest: [u8; 32] = digest.finalize().into();
            let some: Vec<String> = ring
                .slots()
                .slots()
                .step_by(1024)
                .map(|slot| ring.owners(slot).iter().map(Ordinal::to_string).collect::<Vec<_>>().join(","))
                .collect();
            writeln!(found, "nodes {nodes} zones {zones} replication {replication} {}", hex(&digest)).unwrap();
            writeln!(found, "  {}", some.join(" ")).unwrap();
        }
    }
    check("owners.txt", &found);
}

#[test]
fn frames_and_messages() {
    let mut found = format!(
        "# message version {MESSAGE_VERSION}; each type with its number and the limit of its body, then sample frames: \
         header | body\n"
    );
    for &kind in FrameType::ALL {
        writeln!(found, "{kind:?} {} {}", kind.number(), kind.body_bytes_max()).unwrap();
        for (name, body) in samples::bodies(kind) {
            let frame = samples::frame(kind, TraceContext::Absent, &body);
            let (header, body) = frame.split_at(HEADER_BYTES);
            let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
            writeln!(found, "{}", format!("  {name}{} | {}", hex(header), hex(body)).trim_end()).unwrap();
        }
    }
    let traced = samples::frame(FrameType::Miss, TraceContext::Present, b"");
    let (header, trace) = traced.split_at(HEADER_BYTES);
    writeln!(found, "with a trace context\n  {} | {}", hex(header), hex(trace)).unwrap();
    let mut tied = BytesMut::new();
    let header = FrameHeader::new(FrameType::Miss, RequestId::new(42), Fence::new(8), Epoch::new(9));
    FrameHeader { more: true, ..header }.encode(&mut tied);
    writeln!(found, "of which more follow for the same caller\n  {}", hex(&tied)).unwrap();
    writeln!(found, "datagrams {}", limits::HEARTBEAT_BYTES_MAX).unwrap();
    for (name, bytes) in samples::datagrams() {
        writeln!(found, "  {name}: {}", hex(&bytes)).unwrap();
    }
    check("frames.txt", &found);
}

#[test]
fn view_and_genesis() {
    let view = samples::view();
    let mut found = String::new();
    writeln!(found, "view {}", hex(&samples::encoded(|out| view.encode(out)))).unwrap();
    writeln!(found, "view hash {}", hex(&samples::encoded(|out| codec::encode(&view.hash(), out)))).unwrap();
    let genesis = samples::genesis();
    writeln!(found, "genesis digest {}", hex(&samples::encoded(|out| codec::encode(&genesis, out)))).unwrap();
    for (name, change) in samples::changes() {
        writeln!(found, "change {name} {}", hex(&samples::encoded(|out| codec::encode(&change, out)))).unwrap();
    }
    check("view.txt", &found);
}

#[test]
fn error_codes_and_retry_classes() {
    let mut found = String::new();
    for &code in ErrorCode::ALL {
        writeln!(found, "{} {code:?} {:?}: {code}", code.number(), code.retry_class()).unwrap();
    }
    check("error_codes.txt", &found);
}

#[test]
fn roles_and_versions() {
    let mut found = format!("protocol versions {VERSIONS}, features {FEATURES:#x}\n");
    for role in Role::ALL {
        let alpn = str::from_utf8(role.alpn()).unwrap();
        writeln!(found, "{role} {alpn} {}", role.dns_name(&samples::label("prod"))).unwrap();
    }
    check("session.txt", &found);
}

/// The sanity vectors that the authors of xxHash publish for XXH3 (`XSUM_XXH3_testdata` and `XSUM_XXH128_testdata`), one
/// or more for each of the algorithm's input classes, over their generated buffer.
#[test]
fn xxh3_is_the_published_one() {
    const PRIME32: u64 = 2_654_435_761;
    const PRIME64: u64 = 11_400_714_785_074_694_797;
    let generated = std::iter::successors(Some(PRIME32), |state| Some(state.wrapping_mul(PRIME64)));
    let buffer: Vec<u8> = generated.map(|state| state.to_be_bytes()[0]).take(2048).collect();
    for (length, seed, expected) in [
        (0, 0, 0x2d06_8005_38d3_94c2_u64),
        (0, PRIME64, 0xa8a6_b918_b2f0_364a),
        (1, 0, 0xc44b_dff4_074e_ecdb),
        (1, PRIME64, 0x032b_e332_dd76_6ef8),
        (6, 0, 0x27b5_6a84_cd2d_7325),
        (6, PRIME64, 0x8458_9c11_6ab5_9ab9),
        (12, 0, 0xa713_daf0_dfbb_77e7),
        (12, PRIME64, 0xe730_3e1b_2336_de0e),
        (24, 0, 0xa3fe_70bf_9d35_10eb),
        (24, PRIME64, 0x850e_80fc_35bd_d690),
        (48, 0, 0x397d_a259_ecba_1f11),
        (48, PRIME64, 0xadc2_cbaa_44ac_c616),
        (195, PRIME64, 0xba68_003d_370c_b3d9),
        (403, PRIME64, 0x6259_f6ec_fd64_43fd),
        (2048, PRIME64, 0x66f8_1670_669a_babc),
    ] {
        assert_eq!(xxh3_64_with_seed(&buffer[..length], seed), expected, "{length} bytes, seed {seed}");
    }
    for (length, seed, expected) in [
        (0, 0, 0x99aa_06d3_0147_98d8_6001_c324_468d_497f_u128),
        (24, 0, 0x0ce9_66e4_678d_3761_1e70_44d2_8b1b_901d),
        (24, PRIME32, 0x3162_0267_14a6_a243_d730_4c54_ebad_40a9),
    ] {
        assert_eq!(xxh3_128_with_seed(&buffer[..length], seed), expected, "{length} bytes, seed {seed}");
    }
}
