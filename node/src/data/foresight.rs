//! A look at the keys of requests that have arrived, before the first of them is carried out.
//!
//! With more entries than a processor has at hand, a request spends most of its time waiting for memory. Those that came together
//! can wait together.

use quoit_core::store::WARMED_MAX;
use quoit_proto_types::{
    frame::{FrameHeader, FrameType},
    message::{
        client::{KeyHeader, ReadHeader, WriteHeader},
        replica::PutHeader,
    },
};

use super::DataPlane;

impl DataPlane {
    /// Has what the next of these requests ask for fetched from memory, and says of how many it has looked at: of all that come
    /// if it need not look.
    pub(crate) fn foresee<'b>(&self, frames: impl Iterator<Item = (FrameHeader, &'b [u8])>) -> usize {
        if !self.store.outgrows_caches() {
            return usize::MAX;
        }
        let mut looked_at = 0;
        let frames = frames.take(WARMED_MAX).inspect(|_| looked_at += 1);
        let mut keys = frames.filter_map(|(header, body)| key_of(header.kind, body));
        // One alone has nobody to wait with.
        if let (Some(first), Some(second)) = (keys.next(), keys.next()) {
            self.store.warm([first, second].into_iter().chain(&mut keys));
        }
        drop(keys);
        looked_at
    }
}

/// The key that a request is about. What is wrong with one that cannot be read is found out when it is its turn.
fn key_of(kind: FrameType, body: &[u8]) -> Option<&[u8]> {
    if matches!(kind, FrameType::Get | FrameType::TimeToLive) {
        Some(ReadHeader::decode(body).ok()?.key)
    } else if matches!(kind, FrameType::Set | FrameType::Delete | FrameType::Touch) {
        Some(WriteHeader::decode(body).ok()?.0.key)
    } else if kind == FrameType::ReplicaPut {
        Some(PutHeader::decode(body).ok()?.0.key)
    } else if kind == FrameType::ReplicaGet {
        Some(KeyHeader::decode(body).ok()?.key)
    } else {
        None
    }
}
