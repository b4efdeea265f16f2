//! Whole clusters under test.
//!
//! [`sim`] runs the pure cores of a cluster on one thread and virtual time, under faults drawn from a seed; [`invariants`]
//! are the properties that must hold whatever happens, one per file.

pub mod invariants;
pub mod sim;
