//! What clients ask and nodes answer. Value bytes stand raw behind these headers and never pass through serde.

use std::{num::NonZeroU64, time::Duration};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    error_code::ErrorCode,
    id::KeyspaceId,
    level::{ReadLevel, WriteLevel},
    limits,
    version::{Hlc, Stamp, Version},
};

/// Which key: the body of `ReplicaGet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHeader<'a> {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// The key: 1 byte to [`limits::KEY_BYTES_MAX`].
    #[serde(serialize_with = "codec::whole_slice")]
    pub key: &'a [u8],
}

impl<'a> KeyHeader<'a> {
    /// Reads the header, which fills `body`.
    ///
    /// # Errors
    /// [`DecodeError`], also for a key that is empty or too long.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, rest): (Self, _) = codec::decode_prefix(body, "key")?;
        check_key(header.key)?;
        if rest.is_empty() { Ok(header) } else { Err(DecodeError::Trailing { what: "key", bytes: rest.len() }) }
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }
}

/// Which key, and whose answer is enough: the body of `Get` and `TimeToLive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadHeader<'a> {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// Whose answer is waited for.
    pub level: ReadLevel,
    /// An older version than this one is not good enough, if another owner has a later one: the client has seen it.
    pub at_least: Option<Version>,
    /// The key: 1 byte to [`limits::KEY_BYTES_MAX`].
    #[serde(serialize_with = "codec::whole_slice")]
    pub key: &'a [u8],
}

impl<'a> ReadHeader<'a> {
    /// Reads the header, which fills `body`.
    ///
    /// # Errors
    /// [`DecodeError`], also for a key that is empty or too long.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, rest): (Self, _) = codec::decode_prefix(body, "read")?;
        check_key(header.key)?;
        if rest.is_empty() { Ok(header) } else { Err(DecodeError::Trailing { what: "read", bytes: rest.len() }) }
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }
}

/// What was found: in front of the value, the body of `Value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueHeader {
    /// Which write it is of.
    pub version: Version,
    /// Whether it is older than what the client asked for at least, and nobody within reach has a later one.
    pub stale: bool,
}

/// What was written: the body of `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Which write it is. That of the value, if only its expiry was changed.
    pub version: Version,
    /// Whether the key had a value before, as far as the nodes that were asked know.
    pub existed: bool,
}

/// Fewer nodes than were asked for are known to hold a value or a deletion: the body of `Unfinished`.
///
/// It may be carried on by any node, as [the same write](WriteHeader::again): nobody's later write is undone by that, as it
/// would be if the write were made anew, and nobody can tell how many nodes had a hand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// As what it was begun.
    pub stamp: Stamp,
    /// How many nodes are known to hold it.
    pub held: u64,
}

/// Which key, until when, and how many copies: the body of `Touch` and `Delete`, and in front of the value that of `Set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteHeader<'a> {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// How many copies are waited for.
    pub level: WriteLevel,
    /// The latest moment the client has seen in an answer: what it writes is later.
    pub after: Hlc,
    /// How long the entry lives from when the node acts; says nothing in `Delete`.
    pub expiry: Expiry,
    /// As what another node began this very write, and could not bring it [far enough](Unfinished): it goes on as the same
    /// write, whatever else is said here of its time. Not in `Touch`.
    pub again: Option<Stamp>,
    /// The key: 1 byte to [`limits::KEY_BYTES_MAX`].
    #[serde(serialize_with = "codec::whole_slice")]
    pub key: &'a [u8],
}

impl<'a> WriteHeader<'a> {
    /// Reads the header at the front of `body`; what follows is the value.
    ///
    /// # Errors
    /// [`DecodeError`], also for a key that is empty or too long.
    pub fn decode(body: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (header, value): (Self, _) = codec::decode_prefix(body, "write")?;
        check_key(header.key)?;
        Ok((header, value))
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }
}

/// Checks a key's length.
///
/// # Errors
/// [`DecodeError::Malformed`] for an empty key, [`DecodeError::TooLong`] above [`limits::KEY_BYTES_MAX`].
pub fn check_key(key: &[u8]) -> Result<(), DecodeError> {
    match key.len() {
        0 => Err(DecodeError::Malformed { what: "key: it is empty" }),
        1..=limits::KEY_BYTES_MAX => Ok(()),
        bytes => Err(DecodeError::TooLong { what: "key", bytes, limit: limits::KEY_BYTES_MAX }),
    }
}

/// How long an entry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiry {
    /// Until it is deleted or evicted.
    #[default]
    Never,
    /// This many milliseconds more.
    After(NonZeroU64),
}

impl Expiry {
    /// Lives for `duration`, rounded up to a millisecond, so that the shortest is 1 ms.
    pub fn after(duration: Duration) -> Self {
        let ms = duration.as_nanos().div_ceil(1_000_000);
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        Self::After(NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN))
    }

    /// The remaining time; `None` for an entry without an end.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(ms) => Some(Duration::from_millis(ms.get())),
        }
    }
}

/// Why a request was not acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, in a program's terms.
    pub code: ErrorCode,
    /// A number whose meaning the code defines: a limit, an epoch, milliseconds.
    pub argument: u64,
    /// The reason in a person's terms; may be empty.
    pub text: String,
}

#[derive(Serialize, Deserialize)]
struct WireRefusal<'a> {
    code: u16,
    argument: u64,
    text: &'a str,
}

impl Refusal {
    /// A refusal that its code says all about.
    pub fn new(code: ErrorCode, argument: u64) -> Self {
        Self { code, argument, text: String::new() }
    }

    /// Appends the encoded refusal. A text that does not fit is cut.
    pub fn encode(&self, out: &mut BytesMut) {
        const TEXT_BYTES_MAX: usize = limits::REFUSAL_BYTES_MAX - 32;
        let text = &self.text[..self.text.floor_char_boundary(TEXT_BYTES_MAX)];
        let wire = WireRefusal { code: self.code.number(), argument: self.argument, text };
        codec::encode(&wire, out);
    }

    /// Reads a refusal. A code from a newer version reads as [`ErrorCode::Internal`].
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let (wire, _): (WireRefusal<'_>, _) = codec::decode_prefix(body, "refusal")?;
        Ok(Self {
            code: ErrorCode::from_number(wire.code).unwrap_or(ErrorCode::Internal),
            argument: wire.argument,
            text: wire.text.to_owned(),
        })
    }
}
