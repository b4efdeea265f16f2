//! One sample of everything that nodes ask of each other in the background.

use quoit_proto_types::{
    Hlc, SlotCount, SlotSet, Stamp,
    message::transfer::{
        BlockEntry, Cursor, Digest, EntryBlock, EntryBlockWriter, Handle, Known, SlotSummary, TransferReply,
        TransferRequest,
    },
};

use super::{encoded, stamp, version};

/// Some slots of 2^14: a run, a neighbour of none, the last.
pub(crate) fn slots() -> SlotSet {
    let slots = SlotCount::DEFAULT;
    SlotSet::of(slots, |slot| matches!(slot.index(), 3..=9 | 700) || slot.index() + 1 == slots.count() as usize)
}

/// The set of slots that takes the most bytes: no two of its slots are neighbours.
pub(crate) fn every_other_slot(log2: u8) -> SlotSet {
    SlotSet::of(SlotCount::from_log2(log2).unwrap(), |slot| slot.index() % 2 == 1)
}

/// A value and a tombstone.
pub(crate) fn block() -> EntryBlock {
    let mut writer = EntryBlockWriter::default();
    writer.push(&BlockEntry { stamp: stamp(), key: b"greeting", value: b"hello" });
    writer.push(&BlockEntry { stamp: Stamp::tombstone(version()), key: b"gone", value: b"" });
    writer.finish()
}

fn digest() -> Digest {
    Digest(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
}

fn requests() -> Vec<TransferRequest> {
    let from = Cursor { shard: 2, after: Some(Handle(0xfeed)) };
    let until = Hlc::from_millis(1_800_000_000_000);
    vec![
        TransferRequest::Summarise { slots: slots() },
        TransferRequest::Pull { slots: slots(), from: Cursor::default() },
        TransferRequest::List { slots: slots(), from },
        TransferRequest::Fetch { handles: vec![Handle(1), Handle(u64::MAX)] },
        TransferRequest::Merged { slots: slots() },
        TransferRequest::Offer,
        TransferRequest::Seal { slots: slots(), until, round: 7 },
        TransferRequest::Purge { slots: slots(), until, round: 7 },
    ]
}

fn request_name(request: &TransferRequest) -> &'static str {
    match request {
        TransferRequest::Summarise { .. } => "Summarise",
        TransferRequest::Pull { .. } => "Pull",
        TransferRequest::List { .. } => "List",
        TransferRequest::Fetch { .. } => "Fetch",
        TransferRequest::Merged { .. } => "Merged",
        TransferRequest::Offer => "Offer",
        TransferRequest::Seal { .. } => "Seal",
        TransferRequest::Purge { .. } => "Purge",
    }
}

fn replies() -> Vec<TransferReply> {
    let summary = SlotSummary { digest: digest(), entries: 70, bytes: 9_000, floor: version().hlc };
    let known = Known { handle: Handle(5), key: digest().0, stamp: stamp() };
    let next = Some(Cursor { shard: 2, after: Some(Handle(5)) });
    vec![
        TransferReply::Summaries(vec![summary, SlotSummary::default()]),
        TransferReply::Entries { next },
        TransferReply::Versions { known: vec![known], next: None },
        TransferReply::Noted,
        TransferReply::Offered { taken: 3 },
        TransferReply::Sealed(vec![digest(), Digest::default()]),
        TransferReply::NotNow,
    ]
}

fn reply_name(reply: &TransferReply) -> &'static str {
    match reply {
        TransferReply::Summaries(_) => "Summaries",
        TransferReply::Entries { .. } => "Entries",
        TransferReply::Versions { .. } => "Versions",
        TransferReply::Noted => "Noted",
        TransferReply::Offered { .. } => "Offered",
        TransferReply::Sealed(_) => "Sealed",
        TransferReply::NotNow => "NotNow",
    }
}

/// Every request, encoded, with its name.
pub(crate) fn transfer_requests() -> Vec<(&'static str, Vec<u8>)> {
    let entries = |request: &TransferRequest| match request {
        TransferRequest::Offer => block(),
        TransferRequest::Summarise { .. }
        | TransferRequest::Pull { .. }
        | TransferRequest::List { .. }
        | TransferRequest::Fetch { .. }
        | TransferRequest::Merged { .. }
        | TransferRequest::Seal { .. }
        | TransferRequest::Purge { .. } => EntryBlock::default(),
    };
    let encode = |request: TransferRequest| {
        (request_name(&request), [encoded(|out| request.encode(out)), entries(&request).as_bytes().to_vec()].concat())
    };
    requests().into_iter().map(encode).collect()
}

/// Every reply, encoded, with its name.
pub(crate) fn transfer_replies() -> Vec<(&'static str, Vec<u8>)> {
    let entries = |reply: &TransferReply| match reply {
        TransferReply::Entries { .. } => block(),
        TransferReply::Summaries(_)
        | TransferReply::Versions { .. }
        | TransferReply::Noted
        | TransferReply::Offered { .. }
        | TransferReply::Sealed(_)
        | TransferReply::NotNow => EntryBlock::default(),
    };
    let encode = |reply: TransferReply| {
        (reply_name(&reply), [encoded(|out| reply.encode(out)), entries(&reply).as_bytes().to_vec()].concat())
    };
    replies().into_iter().map(encode).collect()
}
