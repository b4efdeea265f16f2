//! Logical time of the control plane: terms, epochs, fences and ballots.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Boot, Ordinal};

/// Declares a logical clock that only moves forward.
macro_rules! logical_clock {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number read from a frame or a view.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn value(self) -> u64 {
                self.0
            }

            /// The next one.
            ///
            /// # Panics
            /// After 2^64 − 1 of them, which no cluster lives to see.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(value) => Self(value),
                    None => panic!(concat!(stringify!($name), " exhausted")),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    };
}

logical_clock! {
    /// An election round.
    Term, "t"
}
logical_clock! {
    /// The number of a view; 0 is the state before any view exists.
    Epoch, "e"
}
logical_clock! {
    /// The epoch of the last placement change. A node acts on a request only if its fence equals the node's own.
    Fence, "f"
}

impl Epoch {
    /// Before the cluster is formed: the voters are the founders and a quorum is all of them.
    pub const GENESIS: Self = Self(0);
}

/// A proposal's number, ordered lexicographically. Unique, because the triple (ordinal, boot, term) is never reused by
/// one proposer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// The election round.
    pub term: Term,
    /// Who proposes.
    pub ordinal: Ordinal,
    /// Which life of the proposer.
    pub boot: Boot,
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.ordinal, self.boot)
    }
}
