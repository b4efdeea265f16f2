//! Who forms the cluster, and how its first view is decided.
//!
//! Two machines, used one after the other. [`FounderSearch`] finds out who the founders are, from the names behind the
//! seed addresses or from a list. [`Genesis`] makes the founders decide view 1, whichever order and moment they start in.
//!
//! View 1 is decided like every view, by single-decree Paxos; only its quorum differs: **all founders**. Nobody can
//! therefore form a cluster behind the back of a founder that is still up, not even when others have lost their memory.
//!
//! # Without durable state
//!
//! A process keeps its promises in memory. A founder that restarts is therefore another process under the same name, and
//! has forgotten what it promised and accepted. What holds all the same:
//!
//! * **No two living processes hold different views.** Two views can be decided only if every process named in the first
//!   has ended before the second is decided: one that lives is asked, and answers with what it accepted. Two rules beside
//!   Paxos carry this. A process accepts only the very ballot it promised *itself*, so no decision is half the work of a
//!   predecessor. A ballot holds a number drawn at random by the process, so a restarted proposer cannot use one twice.
//! * **Nobody waits for the dead.** What was accepted binds the next proposer only if every process in that view which
//!   lives has accepted it, and one does live: each has a veto, so one that did not accept shows that nothing was decided.
//!   A founder that restarts while view 1 is being decided is therefore left out only if the proposer ended as well.
//! * **A restart is not hidden.** View 1 names every founder's instance and boot. A process that is not named does not
//!   install the view: it is [superseded](GenesisStatus::Superseded), and says so. When the last process in the view is
//!   gone, the founders form a new cluster, which is empty.
//! * **The price.** A founder that restarts after view 1 is decided is no member any more.

mod acceptor;
mod first_view;
mod founders;
mod genesis;
mod peers;
mod report;
mod round;

pub use founders::{FounderOutcome, FounderSearch};
pub use genesis::{Genesis, GenesisConfig, Output, Timer};
pub use report::{Finding, GenesisStatus};

#[cfg(test)]
mod tests;
