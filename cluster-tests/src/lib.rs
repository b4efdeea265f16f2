//! Whole clusters under test.
//!
//! [`sim`] runs the pure cores of a cluster on one thread and virtual time, under faults drawn from a seed; [`invariants`]
//! are the properties that must hold whatever happens, one per file. [`process`] runs real nodes as processes of this machine.

pub mod invariants;
pub mod measure;
pub mod process;
pub mod scenarios;
mod scratch;
pub mod sim;

pub use scratch::scratch;
