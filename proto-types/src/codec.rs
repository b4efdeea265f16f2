//! postcard for everything but value bytes, which travel raw behind their header.

use std::{fmt, marker::PhantomData};

use bytes::BytesMut;
use postcard::ser_flavors::Flavor;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error, SeqAccess, Visitor},
};

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Truncated, out of range, or not the expected shape.
    #[error("malformed {what}")]
    Malformed {
        /// The message that was expected.
        what: &'static str,
    },
    /// Longer than its limit.
    #[error("{what} of {bytes} bytes exceeds the limit of {limit}")]
    TooLong {
        /// The field or message.
        what: &'static str,
        /// Its claimed size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes left over where the message should have ended.
    #[error("{bytes} bytes follow the {what}")]
    Trailing {
        /// The message that had ended.
        what: &'static str,
        /// How many bytes follow.
        bytes: usize,
    },
}

/// Appends `message` to `out`.
///
/// # Panics
/// Never for the messages of this crate: their serialisation has no failing case and `BytesMut` grows.
pub fn encode<M: Serialize>(message: &M, out: &mut BytesMut) {
    let start = out.len();
    let write = |room: &mut [u8]| {
        let sink = Sink { room, bytes: 0 };
        postcard::serialize_with_flavor(message, sink).expect("derived serialisation into memory")
    };
    out.extend_from_slice(&[0; ROOM_BYTES]);
    let bytes = write(&mut out[start..]);
    if bytes > ROOM_BYTES {
        out.resize(start + bytes, 0);
        write(&mut out[start..]);
    }
    out.truncate(start + bytes);
}

/// Makes room for messages of so many bytes in all: a buffer that grows bit by bit is copied each time. Where each is written there
/// has to be more for a moment.
pub fn reserve(out: &mut BytesMut, bytes: usize) {
    out.reserve(bytes + ROOM_BYTES);
}

/// Decodes the message at the front of `bytes` and returns what follows it. Borrows instead of copying.
///
/// # Errors
/// [`DecodeError::Malformed`].
pub fn decode_prefix<'a, M: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(M, &'a [u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError::Malformed { what })
}

/// Decodes a message that fills `bytes` exactly.
///
/// # Errors
/// [`DecodeError::TooLong`] above `limit`, [`DecodeError::Trailing`], [`DecodeError::Malformed`].
pub fn decode_exact<M: DeserializeOwned>(bytes: &[u8], what: &'static str, limit: usize) -> Result<M, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { what, bytes: bytes.len(), limit });
    }
    match decode_prefix(bytes, what)? {
        (message, []) => Ok(message),
        (_, rest) => Err(DecodeError::Trailing { what, bytes: rest.len() }),
    }
}

/// What most headers fit into, with the key at their end. A longer message is written twice, first to learn how long it is.
const ROOM_BYTES: usize = 128;

/// Lets postcard write where the message is to stand: what is gathered elsewhere first has to be read again, and a processor waits
/// for bytes that were written one by one to be read together. Where the room ends it goes on counting.
struct Sink<'a> {
    room: &'a mut [u8],
    bytes: usize,
}

impl Sink<'_> {
    #[inline]
    fn put(&mut self, byte: u8) {
        if let Some(place) = self.room.get_mut(self.bytes) {
            *place = byte;
        }
        self.bytes += 1;
    }

    /// Apart, so that what is written for a single byte stays short enough to stand where it is called.
    #[inline(never)]
    fn put_slice(&mut self, bytes: &[u8]) {
        let room = self.room.get_mut(self.bytes..).unwrap_or_default();
        if let (Ok(moment), Some(room)) = (<&[u8; 8]>::try_from(bytes), room.first_chunk_mut()) {
            // Of a length that is known beforehand, which spares a call.
            *room = *moment;
        } else if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.bytes += bytes.len();
    }
}

impl Flavor for Sink<'_> {
    /// Bytes of the message, whether there was room for them or not.
    type Output = usize;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.put(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Most numbers come as slices of one byte.
        if let [byte] = bytes {
            self.put(*byte);
        } else {
            self.put_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.bytes)
    }
}

/// Serialises bytes as one slice, where serde would go byte by byte. What is written is the same.
pub(crate) fn whole_slice<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Numbers that are large, or 0, as slices of 8 bytes, or of none: digits of varying length take longer to make and to read. What
/// is written for people has them as numbers.
pub(crate) mod eight_bytes {
    use super::{Deserialize, Deserializer, Error, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_u64(*number);
        }
        let bytes = number.to_le_bytes();
        serializer.serialize_bytes(if *number == 0 { &[] } else { &bytes })
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        if deserializer.is_human_readable() {
            return u64::deserialize(deserializer);
        }
        let bytes = <&[u8]>::deserialize(deserializer)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        // One way to write each: 0 is none.
        let number = bytes.try_into().map(u64::from_le_bytes).ok().filter(|number| *number > 0);
        number.ok_or_else(|| D::Error::invalid_length(bytes.len(), &"8 bytes that are not all 0, or none"))
    }
}

/// Deserialises a sequence of at most `MAX` elements, for elements that are much larger in memory than in a frame.
///
/// Memory is taken as elements arrive. serde alone would reserve at once for as many elements as the frame has bytes left.
pub(crate) fn at_most<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(AtMost::<MAX, T>(PhantomData))
}

struct AtMost<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for AtMost<MAX, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            if elements.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            if elements.len() == elements.capacity() {
                // Twice as many, but no more than are said to come.
                let to_come = sequence.size_hint().map_or(usize::MAX, |later| later.saturating_add(1));
                elements.reserve_exact(elements.len().max(4).min(to_come));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// Deserialises a sequence as [`at_most`] does, if there is one.
pub(crate) fn at_most_if_any<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let some: Option<Bounded<MAX, T>> = Option::deserialize(deserializer)?;
    Ok(some.map(|Bounded(elements)| elements))
}

struct Bounded<const MAX: usize, T>(Vec<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Deserialize<'de> for Bounded<MAX, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        at_most::<MAX, T, D>(deserializer).map(Self)
    }
}
