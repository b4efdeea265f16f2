//! Clusters of real `quoit` processes on this machine, killed, paused and cut off from each other.
//!
//! A [`Fleet`] is the processes with their certificates, folders and addresses; an [`Observer`] asks every one of them how
//! it stands and checks what must hold at any time; a [`Load`] reads and writes all the while and counts what fails. The
//! [`scenarios`] put these together, each to one [`Report`]. `Links` are what can be cut between nodes: by packet filters
//! in a network namespace of its own where the machine allows it, by forwarders in this process elsewhere.
//!
//! [`churn`] changes a cluster all the while under a load that keeps a ledger, and finds what was lost.
//!
//! Every wait has an end, and every process is killed when its fleet is dropped.

pub mod churn;
mod fleet;
mod forwarders;
mod links;
mod load;
pub mod namespace;
mod observer;
mod program;
mod progress;
mod report;
pub mod scenarios;
mod settled;
mod wait;

pub use fleet::{Fleet, FleetPlan, Node};
pub use links::LinkKind;
pub use load::{Attempts, Load, LoadCount};
pub use observer::{Observer, Round};
pub use program::{Program, called_as_node};
pub use progress::Progress;
pub use report::{Report, StepFigures, to_json, to_table};
pub use settled::Settled;
pub use wait::wait_for;
