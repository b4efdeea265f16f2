//! Arbitrary entries, sets of slots, and messages about them.

use proptest::{collection::vec, option, prelude::*};
use quoit_proto_types::{
    EntryKind, Hlc, Ordinal, SlotCount, SlotSet, Stamp, Version,
    message::{
        replica::EntryHeader,
        transfer::{Cursor, Digest, Handle, Known, SlotSummary, TransferReply, TransferRequest},
    },
};

use super::{boot, integer, short_integer};

fn hlc() -> impl Strategy<Value = Hlc> {
    integer().prop_map(Hlc::new)
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    (hlc(), short_integer(), boot()).prop_map(|(hlc, ordinal, boot)| Version {
        hlc,
        ordinal: Ordinal::new(ordinal),
        boot,
    })
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    let kind = prop_oneof![Just(EntryKind::Value), Just(EntryKind::Tombstone)];
    (version(), hlc(), kind, integer()).prop_map(|(version, touched, kind, expires_at_ms)| Stamp {
        version,
        touched,
        kind,
        expires_at_ms,
    })
}

pub(crate) fn entry_header() -> impl Strategy<Value = EntryHeader> {
    stamp().prop_map(|stamp| EntryHeader { stamp })
}

/// Sets of slots in runs, of a few to many slots.
pub(crate) fn slot_set() -> impl Strategy<Value = SlotSet> {
    (4_u8..=12, vec((0_usize..5000, 1_usize..600), 0..6)).prop_map(|(log2, runs)| {
        let within = |index: usize| runs.iter().any(|(from, length)| (*from..from + length).contains(&index));
        SlotSet::of(SlotCount::from_log2(log2).unwrap(), |slot| within(slot.index()))
    })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (short_integer(), option::of(integer().prop_map(Handle))).prop_map(|(shard, after)| Cursor { shard, after })
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<u128>().prop_map(Digest)
}

fn summary() -> impl Strategy<Value = SlotSummary> {
    (digest(), short_integer(), integer(), hlc()).prop_map(|(digest, entries, bytes, floor)| SlotSummary {
        digest,
        entries,
        bytes,
        floor,
    })
}

fn known() -> impl Strategy<Value = Known> {
    (integer(), any::<u128>(), stamp()).prop_map(|(handle, key, stamp)| Known { handle: Handle(handle), key, stamp })
}

pub(crate) fn transfer_request() -> impl Strategy<Value = TransferRequest> {
    prop_oneof![
        slot_set().prop_map(|slots| TransferRequest::Summarise { slots }),
        (slot_set(), cursor()).prop_map(|(slots, from)| TransferRequest::Pull { slots, from }),
        (slot_set(), cursor()).prop_map(|(slots, from)| TransferRequest::List { slots, from }),
        vec(integer().prop_map(Handle), 0..9).prop_map(|handles| TransferRequest::Fetch { handles }),
        slot_set().prop_map(|slots| TransferRequest::Merged { slots }),
        Just(TransferRequest::Offer),
        (slot_set(), hlc(), integer()).prop_map(|(slots, until, round)| TransferRequest::Seal { slots, until, round }),
        (slot_set(), hlc(), integer()).prop_map(|(slots, until, round)| TransferRequest::Purge { slots, until, round }),
    ]
}

pub(crate) fn transfer_reply() -> impl Strategy<Value = TransferReply> {
    prop_oneof![
        vec(summary(), 0..9).prop_map(TransferReply::Summaries),
        option::of(cursor()).prop_map(|next| TransferReply::Entries { next }),
        (vec(known(), 0..9), option::of(cursor())).prop_map(|(known, next)| TransferReply::Versions { known, next }),
        Just(TransferReply::Noted),
        short_integer().prop_map(|taken| TransferReply::Offered { taken }),
        vec(digest(), 0..9).prop_map(TransferReply::Sealed),
        Just(TransferReply::NotNow),
    ]
}
