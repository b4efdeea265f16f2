//! What the measuring programs are made of.
//!
//! Servers run in processes of their own; callers in this process ask them, check every value they read, and charge each
//! process with the CPU time it took meanwhile. [`floor`] is a bare yardstick beside Quoit.
//!
//! Linux only: CPU time is read from `/proc`.

pub mod bench;
pub mod cache;
pub mod compare;
pub mod exit;
pub mod floor;
pub mod hit_rate;
pub mod identities;
pub mod load;
pub mod machine;
pub mod nodes;
pub mod peers;
pub mod plot;
pub mod process;
pub mod progress;
pub mod report;
pub mod server;
pub mod spread;
pub mod workload;
