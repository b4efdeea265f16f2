//! Names: DNS labels, the identities made of them, and the further host names a node may answer to.

mod host;
mod identity;
mod label;

pub use host::{Host, HostError};
pub(crate) use identity::in_zone;
pub use identity::{Identity, IdentityError, Role, ZONE};
pub use label::{Label, LabelError};

/// Cluster an identity belongs to where nobody names one.
pub const DEFAULT_CLUSTER: &str = "local";

#[cfg(test)]
mod tests;
