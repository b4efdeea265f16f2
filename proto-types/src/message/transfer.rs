//! What nodes ask of each other in the background: handoff, repair, offers and the collection of tombstones.
//!
//! Every request has one answer of bounded size and changes nothing by being repeated. What does not fit into one answer is
//! asked for from a [`Cursor`] on, so that the receiver sets the pace, keeps its own account of memory, and goes on where it
//! was after a broken connection. Entries stand raw in an [`EntryBlock`] behind the message.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::client::check_key;
use crate::{
    codec::{self, DecodeError},
    limits,
    slot_set::SlotSet,
    version::{Hlc, Stamp},
};

/// How far a walk through a node's store has come. Means something to that node only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The shard.
    pub shard: u32,
    /// Entries of it up to this handle are done; none of them at the beginning.
    pub after: Option<Handle>,
}

/// Names an entry in the store of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(pub u64);

/// The XOR of a hash of every entry that a node holds of a slot: of its key, version, expiry stamp and kind. Nodes with
/// the same entries have the same digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

/// What a node holds of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSummary {
    /// Of all its entries.
    pub digest: Digest,
    /// How many, tombstones included.
    pub entries: u32,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Tombstones up to here have been collected: what is absent and not later was deleted.
    pub floor: Hlc,
}

/// One entry of a slot, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// By which it can be fetched.
    pub handle: Handle,
    /// A hash of the key, the same on all nodes.
    pub key: u128,
    /// What is known of it.
    pub stamp: Stamp,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferRequest {
    /// What do you hold of these slots? Answered by [`TransferReply::Summaries`].
    Summarise {
        /// Which.
        slots: SlotSet,
    },
    /// The entries of these slots. Answered by [`TransferReply::Entries`].
    Pull {
        /// Which.
        slots: SlotSet,
        /// From where on.
        from: Cursor,
    },
    /// The versions of these slots' entries. Answered by [`TransferReply::Versions`].
    List {
        /// Which.
        slots: SlotSet,
        /// From where on.
        from: Cursor,
    },
    /// These entries, as far as there is room. Answered by [`TransferReply::Entries`].
    Fetch {
        /// At most [`limits::TRANSFER_HANDLES_MAX`].
        #[serde(deserialize_with = "codec::at_most::<{ limits::TRANSFER_HANDLES_MAX }, _, _>")]
        handles: Vec<Handle>,
    },
    /// The sender has merged all that the receiver held of these slots. Answered by [`TransferReply::Noted`].
    Merged {
        /// Which.
        slots: SlotSet,
    },
    /// The entries behind this message are of slots that the sender owns no more. Take what you lack, unless it was deleted
    /// meanwhile. Answered by [`TransferReply::Offered`].
    Offer,
    /// Take no more writes up to `until` into these slots, and say what you hold up to there. Answered by
    /// [`TransferReply::Sealed`], or by [`TransferReply::NotNow`] if `until` has not passed for long enough.
    Seal {
        /// Which; none if only that is asked.
        slots: SlotSet,
        /// Up to when.
        until: Hlc,
        /// Names the attempt.
        round: u64,
    },
    /// All owners hold the same up to `until`: forget the tombstones. Answered by [`TransferReply::Noted`].
    Purge {
        /// Which.
        slots: SlotSet,
        /// Up to when.
        until: Hlc,
        /// The attempt it belongs to.
        round: u64,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferReply {
    /// One for each slot asked for, in order.
    Summaries(#[serde(deserialize_with = "codec::at_most::<{ limits::TRANSFER_SLOTS_MAX }, _, _>")] Vec<SlotSummary>),
    /// The entries behind this message.
    Entries {
        /// Where to go on; nothing if that was all.
        next: Option<Cursor>,
    },
    /// Versions.
    Versions {
        /// Some of what is held.
        #[serde(deserialize_with = "codec::at_most::<{ limits::TRANSFER_HANDLES_MAX }, _, _>")]
        known: Vec<Known>,
        /// Where to go on; nothing if that was all.
        next: Option<Cursor>,
    },
    /// It is noted.
    Noted,
    /// How many of the entries were taken; the others were known, or deleted.
    Offered {
        /// Taken.
        taken: u32,
    },
    /// One digest for each slot asked for, in order, of the entries up to the moment that was named.
    Sealed(#[serde(deserialize_with = "codec::at_most::<{ limits::TRANSFER_SLOTS_MAX }, _, _>")] Vec<Digest>),
    /// Not under this fence, or not now. Ask again later.
    NotNow,
}

impl TransferRequest {
    /// Appends the message, behind which its entries go.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a message and the entries behind it.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(body: &Bytes) -> Result<(Self, EntryBlock), DecodeError> {
        decode_with_block(body, "transfer request")
    }
}

impl TransferReply {
    /// Appends the message, behind which its entries go.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a message and the entries behind it.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(body: &Bytes) -> Result<(Self, EntryBlock), DecodeError> {
        decode_with_block(body, "transfer reply")
    }
}

fn decode_with_block<M>(body: &Bytes, what: &'static str) -> Result<(M, EntryBlock), DecodeError>
where
    M: serde::de::DeserializeOwned,
{
    let (message, block) = codec::decode_prefix::<M>(body, what)?;
    Ok((message, EntryBlock(body.slice_ref(block))))
}

/// Entries, one behind the other: a header, then the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryBlock(Bytes);

/// One entry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEntry<'a> {
    /// What is known of it.
    pub stamp: Stamp,
    /// Its key.
    #[serde(serialize_with = "codec::whole_slice")]
    pub key: &'a [u8],
    /// Its value; empty for a tombstone.
    #[serde(serialize_with = "codec::whole_slice")]
    pub value: &'a [u8],
}

/// A [`BlockEntry`] up to where its value begins, which is long: it is copied as it is.
#[derive(Serialize)]
struct BlockHead<'a> {
    stamp: Stamp,
    #[serde(serialize_with = "codec::whole_slice")]
    key: &'a [u8],
    value_bytes: usize,
}

/// A block that is being filled.
#[derive(Debug, Default)]
pub struct EntryBlockWriter(BytesMut);

impl EntryBlockWriter {
    /// With room for so many bytes: what grows is copied as it does.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// Appends `entry`.
    pub fn push(&mut self, entry: &BlockEntry<'_>) {
        let BlockEntry { stamp, key, value } = *entry;
        codec::encode(&BlockHead { stamp, key, value_bytes: value.len() }, &mut self.0);
        self.0.extend_from_slice(value);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The block.
    pub fn finish(self) -> EntryBlock {
        EntryBlock(self.0.freeze())
    }
}

impl EntryBlock {
    /// The encoded entries.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded entries, in the memory that they are in.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in order. After an error there are no more.
    pub fn entries(&self) -> impl Iterator<Item = Result<BlockEntry<'_>, DecodeError>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let decoded = codec::decode_prefix::<BlockEntry<'_>>(rest, "entry").and_then(|(entry, behind)| {
                check_key(entry.key)?;
                Ok((entry, behind))
            });
            Some(match decoded {
                Ok((entry, behind)) => {
                    rest = behind;
                    Ok(entry)
                }
                Err(error) => {
                    rest = &[];
                    Err(error)
                }
            })
        })
    }
}
