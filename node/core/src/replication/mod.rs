//! Requests of clients, carried out at the owners of their keys.
//!
//! Any node coordinates any request. A [`Coordinator`] has those of one client session: it asks the owners of each key, and
//! substitutes for owners out of reach, and answers as soon as the [level](levels) is reached. It does no IO: what is to be
//! sent and answered are [`Output`]s, and time is an argument.
//!
//! ```text
//!            begin                      level reached                  all have answered, or deadline
//! (client) ────────► asking ──────────────────────────────► answered ───────────────────────────────► (forgotten)
//!                     │  ▲   deadline, or out of reach            │ owners that failed get their hint,
//!                     │  │ └────────► refused (forgotten)         │ owners that were behind their repair
//!        newer fence: │  │ asked anew, under the same version     ▼
//!                     └──┘                                      (as asking, without an answer)
//! ```
//!
//! **One fence per attempt.** The owners of a key, who counts as one, and the fence that the requests carry all come from one
//! view. Acknowledgements of two fences never add up: when the process installs a view with another fence the attempt ends,
//! and what the operation still wants is asked anew. A write keeps its version, so what the first attempt reached is the
//! same write.
//!
//! **Writes** go to all owners at once, those in force and those to be. For each that is down, fails, or is silent for
//! [`WRITE_HEDGE`] a substitute keeps the entry with a hint. Once the level is reached no more substitutes are asked for
//! owners that are merely slow, unless they stay silent up to the deadline. A write that is not far enough after a quarter
//! of its time, or cannot get any further, is answered as unfinished: the coordinator may be the one that is cut off, and
//! another node can carry the same write on, under the version that it has.
//!
//! **Reads** at level ONE go to one owner in force, this process first; to another one after a miss, a failure, or a wait of
//! some milliseconds. A tombstone is an answer; an owner that knows nothing is not, as it may have restarted, so two must say
//! so. If no owner answers, substitutes are asked for their hints. The other levels ask all owners, and send the newest entry
//! to those that have less.
//!
//! **Known limits.** A read at level ONE repairs nothing. An answer that arrives after a read at level ONE was answered is
//! dropped. Of the owners that a write could not reach only as many get a hint as there are other members that are up, if an
//! owner has it; the rest is left to range repair.

mod attempt;
mod clock;
mod coordinator;
mod latency;
pub mod levels;
mod message;
mod operation;
mod read;
mod serve;
mod write;

pub use attempt::BEHIND_PAUSE;
pub use clock::{ClockSkew, HlcClock, MAX_SKEW};
pub use coordinator::{BUSY_PAUSE, Coordinator, OPERATIONS_MAX, PATIENCE_PART};
pub use latency::{READ_HEDGE_MAX, READ_HEDGE_MIN};
pub use message::{ClientOperation, ClientReply, OperationId, Output, ReplicaReply, ReplicaRequest};
pub use read::{MISSES_ENOUGH, READ_SILENCE, SUBSTITUTES_ASKED};
pub use serve::{Found, Replica, refusal};
pub use write::WRITE_HEDGE;

#[cfg(test)]
mod tests;
