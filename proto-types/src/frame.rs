//! The frame: a fixed header of 36 bytes, little-endian, then the body.
//!
//! ```text
//!  0        4      5         6       8            16      24      32            36
//!  | body u32 | type | version | flags | request u64 | fence | epoch | deadline ms | [trace 24 B] body …
//! ```
//!
//! `body` counts every byte behind the header. The same header travels in both directions: a reply repeats the request's
//! id and carries the answering node's fence and epoch, so every exchange tells a laggard that a newer view exists.

use bytes::BytesMut;

use crate::{
    epoch::{Epoch, Fence},
    id::RequestId,
    limits,
};

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 36;

/// Bytes of the optional trace context: trace id (16) and span id (8).
pub const TRACE_BYTES: usize = 24;

/// The version of this header. Stays when bodies change: then the protocol version goes up, and `Hello`, which is read across
/// versions, names both.
pub const MESSAGE_VERSION: u8 = 1;

/// A trace context stands between header and body.
const FLAG_TRACE: u16 = 1;
/// The next frame of the stream is for the same caller, as far as the sender knows. Where both sides have
/// [`FEATURE_MORE`](crate::message::session::FEATURE_MORE).
const FLAG_MORE: u16 = 2;

macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $limit:expr;)+) => {
        /// What a frame carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FrameType { $($(#[$doc])* $name,)+ }

        impl FrameType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The number on the wire.
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)+ }
            }

            /// The type of a number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// Longest body of this type, in bytes.
            pub const fn body_bytes_max(self) -> usize {
                match self { $(Self::$name => $limit,)+ }
            }
        }
    };
}

frame_types! {
    /// Opens a session: [`crate::message::session::Hello`].
    Hello = 1, limits::HELLO_BYTES_MAX;
    /// Accepts it: [`crate::message::session::HelloAck`].
    HelloAck = 2, limits::HELLO_BYTES_MAX;
    /// Asks for the node's view, whole or as what makes it of the one of the header's epoch; no body.
    ViewGet = 3, 0;
    /// The view: [`crate::View`].
    View = 4, limits::VIEW_BYTES_MAX;
    /// Asks to be told of views later than that of the header's epoch, on the control stream; no body.
    ViewWatch = 5, 0;
    /// What makes the node's view of an earlier one: [`crate::view::ViewDelta`].
    ViewDelta = 6, limits::VIEW_BYTES_MAX;
    /// Reads a key: [`crate::message::client::ReadHeader`].
    Get = 16, limits::REQUEST_HEADER_BYTES_MAX;
    /// Writes a key: [`crate::message::client::WriteHeader`], then the value.
    Set = 17, limits::VALUE_BYTES_MAX + limits::REQUEST_HEADER_BYTES_MAX;
    /// Removes a key: [`crate::message::client::WriteHeader`].
    Delete = 18, limits::REQUEST_HEADER_BYTES_MAX;
    /// Changes a key's expiry and marks it used: [`crate::message::client::WriteHeader`].
    Touch = 19, limits::REQUEST_HEADER_BYTES_MAX;
    /// Asks how long a key lives: [`crate::message::client::ReadHeader`].
    TimeToLive = 20, limits::REQUEST_HEADER_BYTES_MAX;
    /// Found: [`crate::message::client::ValueHeader`], then the value.
    Value = 32, limits::VALUE_BYTES_MAX + limits::REPLY_HEADER_BYTES_MAX;
    /// Done: [`crate::message::client::Written`].
    Done = 33, limits::REPLY_HEADER_BYTES_MAX;
    /// No such key; no body.
    Miss = 34, 0;
    /// The remaining life: [`crate::message::client::Expiry`].
    Remaining = 35, 16;
    /// Begun, and not far enough: [`crate::message::client::Unfinished`].
    Unfinished = 36, limits::REPLY_HEADER_BYTES_MAX;
    /// Refused: [`crate::message::client::Refusal`].
    Refusal = 47, limits::REFUSAL_BYTES_MAX;
    /// Hands an entry to a replica: [`crate::message::replica::PutHeader`], then the value.
    ReplicaPut = 48, limits::VALUE_BYTES_MAX + limits::REQUEST_HEADER_BYTES_MAX;
    /// Asks a replica for its entry: [`crate::message::client::KeyHeader`].
    ReplicaGet = 49, limits::REQUEST_HEADER_BYTES_MAX;
    /// Held: [`crate::message::replica::Stored`].
    Stored = 50, 8;
    /// The replica's entry: [`crate::message::replica::EntryHeader`], then the value.
    Entry = 51, limits::VALUE_BYTES_MAX + limits::REPLY_HEADER_BYTES_MAX;
    /// The replica has no entry; no body.
    Absent = 52, 0;
    /// In the background: [`crate::message::transfer::TransferRequest`], then entries.
    Transfer = 56, limits::TRANSFER_BODY_BYTES_MAX;
    /// Its answer: [`crate::message::transfer::TransferReply`], then entries.
    TransferReply = 57, limits::TRANSFER_BODY_BYTES_MAX;
    /// Between nodes: [`crate::message::peer::PeerMessage`].
    Peer = 64, limits::PEER_MESSAGE_BYTES_MAX;
    /// Of an administrator: [`crate::message::admin::AdminRequest`].
    Admin = 96, limits::ADMIN_REQUEST_BYTES_MAX;
    /// To an administrator: [`crate::message::admin::AdminReply`].
    AdminReply = 97, limits::ADMIN_REPLY_BYTES_MAX;
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the body is.
    pub kind: FrameType,
    /// Bytes behind the header, the trace context included.
    pub body_bytes: u32,
    /// Pairs the reply with the request.
    pub request: RequestId,
    /// The placement the sender goes by.
    pub fence: Fence,
    /// The view the sender has.
    pub epoch: Epoch,
    /// Milliseconds the requester still waits; 0 if it does not say, and in replies. A node answers small requests at
    /// once and need not look; a value that arrives later than this is refused as `DeadlinePassed`.
    pub deadline_ms: u32,
    /// Whether a trace context of [`TRACE_BYTES`] stands in front of the body.
    pub trace: TraceContext,
    /// Whether who waits for the answer waits for that to the next request of the stream as well, and so gains nothing by having
    /// this one sooner. A hint.
    pub more: bool,
}

/// Whether a frame carries a trace context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceContext {
    /// None.
    #[default]
    Absent,
    /// 24 bytes in front of the body, skipped by who has no use for them.
    Present,
}

/// Why a header is refused. The connection is closed: what follows cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type this version does not know.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// A message version this version does not know.
    #[error("unknown message version {found}, this side speaks {MESSAGE_VERSION}")]
    UnknownVersion {
        /// The version in the frame.
        found: u8,
    },
    /// A flag this version does not know.
    #[error("unknown frame flags {0:#06x}")]
    UnknownFlags(u16),
    /// The body is longer than its type allows.
    #[error("a {kind:?} frame of {bytes} bytes exceeds its limit of {limit}")]
    TooLong {
        /// The frame's type.
        kind: FrameType,
        /// The claimed length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The frame says it has a trace context and is too short for one.
    #[error("the frame is too short for its trace context")]
    TraceTruncated,
}

impl FrameHeader {
    /// Reads a header; touches nothing behind it.
    ///
    /// # Errors
    /// [`FrameError`] for what this version does not know and for a length above the type's limit.
    #[inline(always)]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let kind = FrameType::from_number(bytes[4]).ok_or(FrameError::UnknownType(bytes[4]))?;
        if bytes[5] != MESSAGE_VERSION {
            return Err(FrameError::UnknownVersion { found: bytes[5] });
        }
        let flags = u16::from_le_bytes(array(bytes, 6));
        if flags & !(FLAG_TRACE | FLAG_MORE) != 0 {
            return Err(FrameError::UnknownFlags(flags));
        }
        let trace = if flags & FLAG_TRACE == 0 { TraceContext::Absent } else { TraceContext::Present };
        let body_bytes = u32::from_le_bytes(array(bytes, 0));
        let trace_bytes = trace.bytes();
        let (length, limit) = (body_bytes as usize, kind.body_bytes_max() + trace_bytes);
        if length > limit {
            return Err(FrameError::TooLong { kind, bytes: length, limit });
        }
        if length < trace_bytes {
            return Err(FrameError::TraceTruncated);
        }
        Ok(Self {
            kind,
            body_bytes,
            request: RequestId::new(u64::from_le_bytes(array(bytes, 8))),
            fence: Fence::new(u64::from_le_bytes(array(bytes, 16))),
            epoch: Epoch::new(u64::from_le_bytes(array(bytes, 24))),
            deadline_ms: u32::from_le_bytes(array(bytes, 32)),
            trace,
            more: flags & FLAG_MORE != 0,
        })
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        // Where it is to stand: a processor waits for bytes that were written in parts to be copied as a whole.
        let header: &mut [u8; HEADER_BYTES] = out[start..].first_chunk_mut().expect("so many bytes were appended");
        header[..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        header[4] = self.kind.number();
        header[5] = MESSAGE_VERSION;
        let trace = if self.trace == TraceContext::Present { FLAG_TRACE } else { 0 };
        let flags = if self.more { trace | FLAG_MORE } else { trace };
        header[6..8].copy_from_slice(&flags.to_le_bytes());
        header[8..16].copy_from_slice(&self.request.value().to_le_bytes());
        header[16..24].copy_from_slice(&self.fence.value().to_le_bytes());
        header[24..32].copy_from_slice(&self.epoch.value().to_le_bytes());
        header[32..].copy_from_slice(&self.deadline_ms.to_le_bytes());
    }

    /// Appends header and body, where `write_body` writes the part of the body that stands in `out` and `value_bytes`
    /// is the length of a value that the caller sends behind it.
    ///
    /// # Panics
    /// If the body exceeds 4 GiB, which the limits of every type forbid.
    pub fn encode_with(mut self, out: &mut BytesMut, value_bytes: usize, write_body: impl FnOnce(&mut BytesMut)) {
        let start = out.len();
        self.encode(out);
        write_body(out);
        let body_bytes = out.len() - start - HEADER_BYTES + value_bytes;
        self.body_bytes = u32::try_from(body_bytes).expect("bodies are limited far below 4 GiB");
        out[start..start + 4].copy_from_slice(&self.body_bytes.to_le_bytes());
    }

    /// A header for `request`, whose body length is still to be filled in.
    pub const fn new(kind: FrameType, request: RequestId, fence: Fence, epoch: Epoch) -> Self {
        let trace = TraceContext::Absent;
        Self { kind, body_bytes: 0, request, fence, epoch, deadline_ms: 0, trace, more: false }
    }
}

impl TraceContext {
    /// Bytes it takes in front of the body.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Present => TRACE_BYTES,
        }
    }
}

/// `N` bytes of the header from `at`.
fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}
