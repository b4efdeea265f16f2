//! Numeric codes that cross the wire, each with its retry class. A code is never reused for another meaning.

use std::fmt;

/// What a requester should do with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Fetch the view, then try again: the request went by an old one.
    AfterRefresh,
    /// Try again after a while: the node is busy or not ready.
    AfterDelay,
    /// Trying again cannot help.
    Never,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $retry:ident, $text:literal;)+) => {
        /// Why a request was refused or a connection closed.
        ///
        /// A refusal leaves no side effect: the node had not acted on the request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)+
        }

        impl ErrorCode {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)+ }
            }

            /// The code of a number; `None` if a newer version sent it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// What the requester should do.
            pub const fn retry_class(self) -> RetryClass {
                match self { $(Self::$name => RetryClass::$retry,)+ }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

error_codes! {
    /// The request's fence is older than the node's. Argument: the node's epoch.
    StaleView = 1, AfterRefresh, "the request was routed by an old view";
    /// The node does not own the key's slot. Argument: the owner's ordinal.
    NotOwner = 2, AfterRefresh, "the node does not own the key";
    /// A queue is full. Argument: milliseconds to wait.
    Busy = 3, AfterDelay, "the node is busy";
    /// The cluster has not formed. The text says what it waits for.
    NotReady = 4, AfterDelay, "the cluster has not formed yet";
    /// The value exceeds the node's limit. Argument: the limit in bytes.
    ValueTooLarge = 5, Never, "the value is too large";
    /// The key is empty or too long. Argument: the limit in bytes.
    KeyInvalid = 6, Never, "the key is empty or too long";
    /// No such keyspace.
    UnknownKeyspace = 7, Never, "there is no such keyspace";
    /// The deadline passed before the node acted.
    DeadlinePassed = 8, AfterDelay, "the deadline passed before the node acted";
    /// The request's fence is newer than the node's. Argument: the node's epoch.
    NodeBehind = 9, AfterDelay, "the node has not installed the newest view yet";
    /// Not as many nodes as the level asks for hold it. Argument: how many do.
    Unavailable = 10, AfterDelay, "too few nodes could be reached";
    /// A clock is ahead of others by more than is tolerated, so its writes would hide those of others. Argument:
    /// milliseconds.
    ClockSkew = 11, AfterDelay, "a clock is too far ahead";
    /// The write is older than what has been collected. It must be stamped anew.
    TooOld = 12, AfterDelay, "the write is older than what has been collected";
    /// The message breaks the protocol.
    Protocol = 20, Never, "the message breaks the protocol";
    /// No protocol version in common. The text names both ranges.
    VersionUnsupported = 21, Never, "no protocol version in common";
    /// The certificate's role does not match the protocol that was negotiated.
    WrongRole = 22, Never, "the certificate has another role";
    /// The certificate is of another cluster.
    WrongCluster = 23, Never, "the certificate is of another cluster";
    /// The certificate names nobody, or two.
    BadIdentity = 24, Never, "the certificate does not name exactly one identity";
    /// A later process of this instance has been seen.
    Superseded = 25, Never, "a later process of this node has been seen";
    /// A second live process holds the same certificate.
    DuplicateIdentity = 26, Never, "another process runs under this identity";
    /// The node dialled itself; no fault.
    DialledSelf = 27, Never, "the node dialled itself";
    /// The node is stopping.
    ShuttingDown = 28, AfterDelay, "the node is shutting down";
    /// Too many connections. Argument: the limit.
    TooManyConnections = 29, AfterDelay, "the node has too many connections";
    /// The handshake did not complete in time.
    HandshakeTimeout = 30, AfterDelay, "the handshake took too long";
    /// A fault of the node's own.
    Internal = 31, AfterDelay, "the node failed";
    /// Another process of the node's name, with a disk of its own, is a member and up.
    NameInUse = 32, AfterDelay, "another node of this name is up";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
