//! A node's durable state: who it is, and what it has promised.

use std::sync::Arc;

use quoit_proto_types::{Ballot, Boot, Epoch, Instance, View};
use serde::{Deserialize, Serialize};

use crate::acceptor::Acceptor;

/// What a node keeps on disk, in two copies.
///
/// It changes with a promise, an acceptance, an installed view and a start, never with a request. Losing it makes the node
/// another instance: never guess.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Which voting state this is: drawn at random when it is made.
    pub instance: Instance,
    /// The starts of this instance so far, this one included.
    pub boot: Boot,
    /// The promises.
    pub acceptor: Acceptor,
    /// The latest view that was installed.
    pub view: Option<Arc<View>>,
    /// Goes up with each change: the copy with the higher number is the later one.
    pub sequence: u64,
}

impl Meta {
    /// The state of a new instance in its first life.
    pub fn new(instance: Instance) -> Self {
        Self { instance, boot: Boot::new(1), acceptor: Acceptor::default(), view: None, sequence: 1 }
    }

    /// The state for the next start. It must be on disk before the process says a word.
    ///
    /// # Panics
    /// After 2^32 − 1 starts.
    #[must_use]
    pub fn next_boot(mut self) -> Self {
        let boot = self.boot.value().checked_add(1).expect("four billion starts of one instance");
        self.boot = Boot::new(boot);
        self.sequence += 1;
        self
    }

    /// Promises `ballot` and tells what was accepted before.
    ///
    /// # Errors
    /// The higher ballot that is promised already.
    pub fn promise(&mut self, ballot: Ballot) -> Result<Option<(Ballot, View)>, Ballot> {
        let before = self.acceptor.promised();
        let accepted = self.acceptor.prepare(ballot)?;
        if before != ballot {
            self.sequence += 1;
        }
        Ok(accepted)
    }

    /// Accepts `view` for the next epoch.
    ///
    /// # Errors
    /// The higher ballot that is promised already.
    pub fn accept(&mut self, ballot: Ballot, view: View) -> Result<(), Ballot> {
        if self.acceptor.accepted().is_some_and(|accepted| accepted.0 == ballot && accepted.1 == view) {
            return Ok(());
        }
        self.acceptor.accept(ballot, view)?;
        self.sequence += 1;
        Ok(())
    }

    /// Goes on to `view`, which was decided under `ballot`, and promises that ballot for the next one.
    pub fn install(&mut self, view: Arc<View>, ballot: Ballot) {
        self.acceptor.advance(ballot);
        self.view = Some(view);
        self.sequence += 1;
    }

    /// The number of the latest view.
    pub fn epoch(&self) -> Epoch {
        self.view.as_ref().map_or(Epoch::GENESIS, |view| view.epoch())
    }
}

#[cfg(test)]
mod tests;
