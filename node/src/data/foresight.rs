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
    /// if that is of no use.
    pub(crate) fn foresee<'b>(&self, frames: impl Iterator<Item = (FrameHeader, &'b [u8])>) -> usize {
        if self.store.warmed_max() < 2 {
            return usize::MAX;
        }
        let mut looked_at = 0;
        let frames = frames.take(self.store.warmed_max()).inspect(|_| looked_at += 1);
        let mut found = frames.filter_map(|(header, body)| key_of(header.kind, body));
        // One alone has nobody to wait with.
        if let (Some(first), Some(second)) = (found.next(), found.next()) {
            if !self.store.outgrows_caches(first) {
                return usize::MAX;
            }
            // All are read before the first shard is locked.
            let mut keys = [&[][..]; WARMED_MAX];
            let count =
                keys.iter_mut().zip([first, second].into_iter().chain(found)).map(|(place, key)| *place = key).count();
            self.store.warm(&keys[..count]);
        }
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use quoit_proto_types::{Hlc, KeyspaceId, ReadLevel, Stamp, Version, WriteLevel, codec, message::client::Expiry};

    use super::*;

    #[test]
    fn the_key_of_every_request_for_one_is_found_and_of_nothing_else() {
        let (keyspace, key) = (KeyspaceId::DEFAULT, &b"key"[..]);
        let (level, stamp) = (WriteLevel::Two, Stamp::value(Version::default(), 0));
        let read = ReadHeader { keyspace, level: ReadLevel::One, at_least: None, key };
        let write = WriteHeader { keyspace, level, after: Hlc::MIN, expiry: Expiry::Never, again: None, key };
        let mut bodies: [BytesMut; 4] = Default::default();
        codec::encode(&read, &mut bodies[0]);
        codec::encode(&write, &mut bodies[1]);
        codec::encode(&KeyHeader { keyspace, key }, &mut bodies[2]);
        codec::encode(&PutHeader { keyspace, stamp, hint_for: None, key }, &mut bodies[3]);
        let with_keys = [
            (FrameType::Get, 0),
            (FrameType::TimeToLive, 0),
            (FrameType::Set, 1),
            (FrameType::Delete, 1),
            (FrameType::Touch, 1),
            (FrameType::ReplicaGet, 2),
            (FrameType::ReplicaPut, 3),
        ];
        for kind in FrameType::ALL {
            let body = with_keys.iter().find(|(with_key, _)| with_key == kind).map(|(_, body)| &bodies[*body][..]);
            assert_eq!(key_of(*kind, body.unwrap_or(b"key")), body.map(|_| key), "{kind:?}");
            // What is wrong with it is for others to say.
            assert_eq!(key_of(*kind, b""), None, "{kind:?}");
        }
    }
}
