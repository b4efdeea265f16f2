//! Runs the fuzz targets over their corpus and over seeded mutations of it.
//!
//! The corpus holds the samples of every message, so that the fuzzer starts with bytes that decode, and hostile input
//! worth remembering. `UPDATE_GOLDEN=1` writes them; what the fuzzer finds is added by hand.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use quoit_proto_types::{
    codec,
    frame::{FrameType, TraceContext},
    limits,
};

use crate::{bodies::TARGETS, samples};

const MUTATIONS_PER_INPUT: u32 = 300;

#[test]
fn every_target_survives_its_corpus_and_mutations_of_it() {
    let mut random = SplitMix(0x5eed);
    for (target, run) in TARGETS {
        let inputs: Vec<Vec<u8>> = corpus(target).into_values().collect();
        for input in &inputs {
            run(input);
            for _ in 0..MUTATIONS_PER_INPUT {
                run(&mutated(input, &inputs, &mut random));
            }
        }
    }
}

#[test]
fn the_corpus_holds_every_seed() {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    for (target, _) in TARGETS {
        if update {
            fs::create_dir_all(folder(target)).unwrap();
        }
        let found = corpus(target);
        for (name, bytes) in seeds(target) {
            if update {
                fs::write(folder(target).join(&name), &bytes).unwrap();
            } else {
                assert_eq!(found.get(&name), Some(&bytes), "corpus/{target}/{name}: run with UPDATE_GOLDEN=1");
            }
        }
    }
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect()
}

/// The files of a target by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder(target)).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

/// The file name and the bytes of every seed for `target`.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |(name, bytes): (&str, Vec<u8>)| (name.replace(' ', "_"), bytes);
    let mut seeds: Vec<_> = hostile(target).into_iter().map(named).collect();
    let kinds: &[FrameType] = match target {
        "frame_header" => {
            let (absent, present) = (TraceContext::Absent, TraceContext::Present);
            let [absence, miss] = [FrameType::Absent, FrameType::Miss].map(|kind| samples::frame(kind, absent, b""));
            let get = samples::frame(FrameType::Get, present, b"\0\x01k");
            let value = samples::frame(FrameType::Value, absent, b"hello");
            let frames = [("Absent", absence), ("Get with trace", get), ("Miss and Value", [miss, value].concat())];
            seeds.extend(frames.map(named));
            &[]
        }
        "hello" => &[FrameType::Hello, FrameType::HelloAck],
        "client_messages" => &[
            FrameType::Get,
            FrameType::Set,
            FrameType::Value,
            FrameType::Done,
            FrameType::Unfinished,
            FrameType::Remaining,
            FrameType::Refusal,
        ],
        "replica" => &[FrameType::ReplicaPut, FrameType::ReplicaGet, FrameType::Stored, FrameType::Entry],
        "transfer" => &[FrameType::Transfer, FrameType::TransferReply],
        "peer_message" => &[FrameType::Peer],
        "view" => &[FrameType::View],
        "view_delta" => {
            let both = samples::encoded(|out| {
                samples::view().encode(out);
                samples::delta().encode(out);
            });
            seeds.push(named(("View and ViewDelta", both)));
            &[FrameType::ViewDelta]
        }
        "admin" => &[FrameType::Admin, FrameType::AdminReply],
        "heartbeat" => {
            seeds.extend(samples::datagrams().into_iter().map(named));
            &[]
        }
        _ => panic!("no seeds for {target}"),
    };
    for kind in kinds {
        let bodies = samples::bodies(*kind).into_iter();
        seeds.extend(bodies.map(|(name, body)| named((format!("{kind:?} {name}").trim_end(), body))));
    }
    seeds
}

/// Input that only an enemy sends.
fn hostile(target: &str) -> Vec<(&'static str, Vec<u8>)> {
    let header = |length: u32, version: u8| {
        let mut frame = samples::frame(FrameType::View, TraceContext::Absent, b"");
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[5] = version;
        frame
    };
    let mut hostile = match target {
        "frame_header" => vec![("hostile body", header(u32::MAX, 1)), ("hostile version", header(0, 2))],
        "hello" => vec![("hostile version", b"\x04\x09\0and what only version 4 can read".to_vec())],
        "peer_message" => {
            let founders = b"\x01a".repeat(255);
            vec![("hostile founders", [&[0, 0, 0xff, 0x01][..], &founders, &[14, 1, 1, 1, 0]].concat())]
        }
        "transfer" => {
            let run = |passed: u32, length: u32| samples::encoded(|out| codec::encode(&(passed, length), out));
            let summarise = |runs: Vec<u8>| [&[0, 14, 1][..], &runs].concat();
            vec![
                ("hostile run", summarise(run(0, u32::MAX))),
                ("hostile gap", summarise(run(u32::MAX, 1))),
                ("hostile nowhere", summarise(run(7, 0))),
            ]
        }
        "heartbeat" => {
            let suspects = samples::longest_ping(limits::SUSPECTS_MAX + 1);
            vec![("hostile suspects", samples::encoded(|out| suspects.encode(out)))]
        }
        _ => vec![],
    };
    hostile.extend([
        ("hostile length", [&[0xff; 9][..], &[0x01]].concat()),
        ("hostile ones", vec![0xff; 64]),
        ("hostile zeros", vec![0; 64]),
        ("hostile nothing", vec![]),
    ]);
    hostile
}

/// `input` with one to four changes of the kinds that break decoders.
fn mutated(input: &[u8], others: &[Vec<u8>], random: &mut SplitMix) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, [0xff; 9].into_iter().chain([0x01]))),
            2 => {
                let other = &others[random.below(others.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            3 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][random.below(5)]),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => bytes.push(0),
        }
    }
    bytes
}

/// A small generator of 64 random bits (Steele, Lea and Flood, 2014), so that a failure can be repeated.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % bound as u64).unwrap()
    }
}
