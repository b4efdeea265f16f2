//! Identifiers: who a node is, which of its lives this is, and the short names that views and frames use.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node, for ever: the first 16 bytes of the SHA-256 of its full DNS name.
///
/// Derived and never assigned, so that a returning node finds the same place on the ring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The id of the node whose certificate carries `dns_name`, `NAME.node.CLUSTER.quoit.internal`.
    pub fn from_dns_name(dns_name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(dns_name.as_bytes()).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The 16 bytes, as they enter the token hash.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    /// The first four bytes in hexadecimal, enough to tell nodes apart on a screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// Declares a random 128-bit identifier.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps 128 bits that the caller drew at random.
            pub const fn from_random(bits: u128) -> Self {
                Self(bits.to_be_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in &self.0[..4] {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

random_id! {
    /// The identity of a node's voting state: a node that lost its state is a new instance.
    Instance
}
random_id! {
    /// Separates clusters that share names and a certificate authority; drawn when view 1 is formed.
    ClusterId
}

/// Declares a small integer that is an identifier, not a quantity.
macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name($inner);

        impl $name {
            /// Wraps the integer.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The integer.
            pub const fn value(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_id! {
    /// The identity of a node's *memory*: raised at every start of the same instance.
    Boot(u32)
}
integer_id! {
    /// The short name of a member, assigned by the view and never used again for another.
    Ordinal(u32)
}
integer_id! {
    /// A keyspace. Requests have carried it since the first wire version; only [`KeyspaceId::DEFAULT`] exists.
    KeyspaceId(u16)
}
integer_id! {
    /// Pairs a reply with its request on one connection; chosen by the requester.
    RequestId(u64)
}
integer_id! {
    /// Random per process: tells a reconnecting process from a second one with the same certificate.
    Nonce(u64)
}

impl KeyspaceId {
    /// The keyspace every cluster has.
    pub const DEFAULT: Self = Self(0);
}
