//! What `quoit-bench` is made of.
//!
//! A node of Quoit and a yardstick, the [`floor`], each serve from a process of their own; callers in this process ask the
//! one and the other in turn, check every value they read, and charge each process with the CPU time it took meanwhile.
//!
//! Linux only: CPU time is read from `/proc`.

pub mod floor;
pub mod identities;
pub mod machine;
pub mod measure;
pub mod process;
pub mod report;
pub mod server;
pub mod workload;
