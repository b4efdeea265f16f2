//! What requests are answered with.

use std::time::Duration;

use bytes::Bytes;
use quoit_proto_types::{Epoch, Fence, HashPoint, SlotIndex, Version};

#[cfg(doc)]
use crate::options::GetOptions;

/// How long a key lives.
///
/// ```
/// use {quoit_client::TimeToLive, std::time::Duration};
/// let shown = match TimeToLive::Expires(Duration::from_secs(5)) {
///     TimeToLive::NoSuchKey => "no such key".into(),
///     TimeToLive::Forever => "no expiry".into(),
///     TimeToLive::Expires(left) => format!("{left:?} left"),
/// };
/// assert_eq!(shown, "5s left");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// There is no such key.
    NoSuchKey,
    /// Until it is deleted or evicted.
    Forever,
    /// This much longer.
    Expires(Duration),
}

/// A value, and which write it is of.
///
/// ```no_run
/// # use quoit_client::{Client, GetOptions, RequestError};
/// # async fn example(client: Client) -> Result<(), RequestError> {
/// if let Some(found) = client.get_with("user:42", GetOptions::new()).await? {
///     println!("{} bytes, version {}", found.value.len(), found.version);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Bytes,
    /// Which write it is of. Of two versions of a key the greater one is the later.
    pub version: Version,
    /// Whether it is older than what the session has seen, or than what was asked for with
    /// [`at_least`](GetOptions::at_least). Whoever has the later one is out of reach, or has lost it. The value is told all the
    /// same: for a cache an old answer is mostly better than none, and this says which it is.
    pub stale: bool,
}

/// Why a key is where it is.
///
/// ```no_run
/// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
/// let placement = client.explain("greeting")?;
/// println!("hash {} is in slot {}, owned by {:?}", placement.point, placement.slot, placement.owners);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The key's hash.
    pub point: HashPoint,
    /// The slot that holds the hash.
    pub slot: SlotIndex,
    /// How many slots there are.
    pub slots: u32,
    /// The slot's owners by name, the primary first. Each has a copy.
    pub owners: Vec<String>,
    /// While a ring change is under way: the owners to be, by name, the primary first. They are written to as well.
    pub target_owners: Option<Vec<String>>,
    /// The view this follows from.
    pub epoch: Epoch,
    /// The last change of placement.
    pub fence: Fence,
}
