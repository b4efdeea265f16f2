use bytes::BytesMut;
use quoit_proto_types::{Ordinal, Term, codec};

use super::*;
use crate::genesis::tests::view_of;

fn new() -> Meta {
    Meta::new(Instance::from_random(7))
}

fn ballot(term: u64) -> Ballot {
    Ballot { term: Term::new(term), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

/// What is read of what was written, from all of it and from each of its beginnings.
#[track_caller]
fn check_is_read_as_written(meta: &Meta) {
    let mut bytes = BytesMut::new();
    codec::encode(meta, &mut bytes);
    let read = |bytes: &[u8]| codec::decode_exact::<Meta>(bytes, "meta", 1 << 20);
    assert_eq!(read(&bytes).as_ref(), Ok(meta));
    assert!((0..bytes.len()).all(|length| read(&bytes[..length]).is_err()));
}

#[test]
fn it_is_read_as_written() {
    let mut meta = new();
    check_is_read_as_written(&meta);
    meta.accept(ballot(3), view_of("n1")).unwrap();
    check_is_read_as_written(&meta);
    meta.install(Arc::new(view_of("n1")), ballot(4));
    check_is_read_as_written(&meta.next_boot());
}

#[test]
fn a_start_is_another_boot_of_the_same_instance_with_the_same_promises() {
    let mut meta = new();
    meta.promise(ballot(3)).unwrap();
    let next = meta.clone().next_boot();
    assert_eq!((meta.boot, next.boot), (Boot::new(1), Boot::new(2)));
    assert_eq!((next.instance, &next.acceptor), (meta.instance, &meta.acceptor));
    assert!(next.sequence > meta.sequence);
}

/// The copy on disk with the higher sequence is the later one, so whatever must be written raises it, and nothing else.
#[test]
fn the_sequence_goes_up_with_each_change_and_with_nothing_else() {
    let mut meta = new();
    let mut step = |raises: bool, what: &str, change: &dyn Fn(&mut Meta) -> bool| {
        let before = meta.clone();
        let done = change(&mut meta);
        assert_eq!(meta.sequence, before.sequence + u64::from(raises), "{what}");
        assert!(raises || meta == before, "{what}");
        done
    };
    assert!(step(true, "a promise", &|meta| meta.promise(ballot(3)).is_ok()));
    assert!(step(false, "the same promise", &|meta| meta.promise(ballot(3)).is_ok()));
    assert!(!step(false, "a lower one", &|meta| meta.promise(ballot(2)).is_ok()));
    assert!(step(true, "an acceptance", &|meta| meta.accept(ballot(3), view_of("n1")).is_ok()));
    assert!(step(false, "the same acceptance", &|meta| meta.accept(ballot(3), view_of("n1")).is_ok()));
    assert!(!step(false, "a lower one", &|meta| meta.accept(ballot(2), view_of("n1")).is_ok()));
    assert!(step(true, "another view", &|meta| meta.accept(ballot(3), view_of("n2")).is_ok()));
    assert!(step(true, "a view", &|meta| {
        meta.install(Arc::new(view_of("n2")), ballot(3));
        meta.acceptor.accepted().is_none()
    }));
}

#[test]
fn the_epoch_is_that_of_the_view_that_was_installed() {
    let mut meta = new();
    assert_eq!(meta.epoch(), Epoch::GENESIS);
    meta.accept(ballot(3), view_of("n1")).unwrap();
    assert_eq!(meta.epoch(), Epoch::GENESIS);
    meta.install(Arc::new(view_of("n1")), ballot(3));
    assert_eq!((meta.epoch(), meta.acceptor.promised()), (Epoch::new(1), ballot(3)));
}
