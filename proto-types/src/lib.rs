//! What every party of a Quoit cluster must agree on, bit for bit: identities, the key hash, the ring, the view, and the
//! frames, datagrams and messages that carry them.
//!
//! The model in one paragraph: a *view* is the one authoritative description of a cluster. From a view every party
//! computes the same [`Ring`]; from the ring, the owners of every *slot*; from a key's hash, its slot. Requests carry the
//! [`Fence`] of the view they were routed by, and a node acts only on its own fence.
//!
//! Views form a chain: each carries the hash of the one before, and is decided by the voters of that one
//! ([`message::election`]), the first by its founders ([`message::genesis`]). They spread whole or as the
//! [difference](view::ViewDelta) from an earlier one, whose result is checked against the hash of what was meant.
//!
//! Deliberately not here: any IO, clock, randomness, async code or logging. Decoders are total: whatever bytes arrive, the
//! answer is a value or a typed error, never a panic and never an allocation larger than the frame justifies.
#![deny(missing_docs)]

pub mod codec;
pub mod epoch;
pub mod error_code;
pub mod frame;
pub mod frame_reader;
pub mod hash;
pub mod id;
pub mod identity;
pub mod level;
pub mod limits;
pub mod message;
pub mod ring;
pub mod slot_set;
pub mod tokens;
pub mod version;
pub mod view;

pub use epoch::{Ballot, Epoch, Fence, Term};
pub use error_code::{ErrorCode, RetryClass};
pub use hash::{HashPoint, SlotCount, SlotIndex};
pub use id::{Boot, ClusterId, Instance, KeyspaceId, NodeId, Nonce, Ordinal, RequestId};
pub use identity::{Identity, IdentityError, Label, Role};
pub use level::{ReadLevel, WriteLevel};
pub use ring::Ring;
pub use slot_set::SlotSet;
pub use tokens::Tokens;
pub use version::{EntryKind, Hlc, Stamp, Version};
pub use view::{Member, View};
