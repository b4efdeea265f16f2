//! Who forms the cluster, and how its first view is decided.
//!
//! Two machines, used one after the other. [`FounderSearch`] finds out who the founders are, from the names behind the
//! seed addresses or from a list. [`Genesis`] makes the founders decide view 1, whichever order and moment they start in.
//!
//! View 1 is decided like every view, by single-decree Paxos; only its quorum differs: **all founders**. With majorities, one
//! founder whose disk was wiped could form a second cluster behind the back of the first; unanimity makes it harmless. The
//! price, that all founders must be up once, is paid once in a cluster's life.
//!
//! Promises outlive the process, in the node's durable state. A founder that lost its disk is another instance; a view that
//! names its predecessor may still be decided, and then it joins as a replacement. Two rules beside Paxos keep such a
//! founder from doing harm: an instance accepts only the very ballot it promised *itself*, and a ballot holds a number drawn
//! at random by the process, so that an instance that forgot its terms cannot use a ballot twice.

mod first_view;
mod founders;
mod machine;
mod peers;
mod report;
mod round;

pub use founders::{FounderOutcome, FounderSearch};
pub use machine::{Genesis, GenesisConfig, Output, Timer};
pub use report::{Finding, GenesisStatus};

#[cfg(test)]
pub(crate) mod tests;
