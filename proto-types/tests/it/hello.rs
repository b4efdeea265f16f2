//! The handshake: versions and features.

use quoit_proto_types::{
    codec,
    message::session::{FEATURES, Hello, HelloError, VERSIONS, VersionMismatch, VersionRange},
};

use crate::samples;

const THIS: u16 = VERSIONS.max;
const NEXT: u16 = THIS + 1;

/// A `Hello` of another build: its versions and features, then whatever that build says.
fn hello_of(versions: (u16, u16), features: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = samples::encoded(|out| codec::encode(&(versions, features), out));
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn an_unknown_version_is_refused_with_both_versions_named() {
    let refused = Hello::decode(&hello_of((NEXT, NEXT + 1), 0, &[0]));
    let theirs = VersionRange { min: NEXT, max: NEXT + 1 };
    assert_eq!(refused, Err(HelloError::Version(VersionMismatch { ours: VERSIONS, theirs })));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "this side speaks protocol version 3, the other 4 to 5: upgrade the older one"
    );
}

#[test]
fn a_body_of_another_version_is_not_looked_at() {
    for rest in [&b""[..], b"\xff\xff\xff", &[0x55; 400]] {
        for versions in [(0, 1), (1, THIS - 1), (NEXT, NEXT), (NEXT + 4, NEXT + 6), (u16::MAX, u16::MAX)] {
            let refused = Hello::decode(&hello_of(versions, u64::MAX, rest));
            assert!(matches!(refused, Err(HelloError::Version(_))), "{versions:?} {rest:?}");
        }
    }
}

#[test]
fn fields_appended_by_a_newer_version_are_ignored() {
    let (hello, session) = Hello::decode(&hello_of((THIS, NEXT), 0, b"\0and what the next version added")).unwrap();
    assert_eq!((hello, session.version), (Hello { node: None }, THIS));
}

#[test]
fn unknown_features_are_ignored() {
    let (_, session) = Hello::decode(&hello_of((THIS, THIS), u64::MAX, &[0])).unwrap();
    assert_eq!(session.features, FEATURES);
}

#[test]
fn the_newest_common_version_is_spoken() {
    let range = |min, max| VersionRange { min, max };
    for (ours, theirs, version) in [
        (range(1, 1), range(1, 1), Some(1)),
        (range(1, 3), range(2, 5), Some(3)),
        (range(2, 5), range(1, 3), Some(3)),
        (range(1, 9), range(4, 4), Some(4)),
        (range(1, 2), range(3, 4), None),
        (range(3, 4), range(1, 2), None),
        // A range that is none at all has nothing in common with any other.
        (range(1, 9), range(5, 4), None),
    ] {
        assert_eq!(ours.negotiate(theirs).ok(), version, "{ours} and {theirs}");
        assert_eq!(theirs.negotiate(ours).ok(), version, "{theirs} and {ours}");
    }
}

#[test]
fn a_truncated_head_is_malformed() {
    let whole = hello_of((THIS, NEXT), u64::MAX, b"");
    for length in 0..whole.len() {
        assert!(matches!(Hello::decode(&whole[..length]), Err(HelloError::Decode(_))), "{length}");
    }
}
