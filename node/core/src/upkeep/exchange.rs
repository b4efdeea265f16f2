//! Questions that wait for their answers.

use std::{collections::BTreeMap, time::Duration};

use quoit_proto_types::{
    Ordinal,
    message::transfer::{EntryBlock, TransferReply, TransferRequest},
};

use super::config::FLIGHT_PAGES_MAX;
use crate::time::Timestamp;

/// Pairs an answer with its question. Unique in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(u64);

/// A question, to whom, and the entries behind it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) to: Ordinal,
    pub(super) request: TransferRequest,
    pub(super) block: EntryBlock,
}

impl Ask {
    pub(super) fn new(to: Ordinal, request: TransferRequest) -> Self {
        Self { to, request, block: EntryBlock::default() }
    }
}

/// What came back; nothing if it was lost.
pub(super) type Answer = Option<(TransferReply, EntryBlock)>;

/// Names a piece of work of one child machine.
pub(super) type Job = u64;

/// Which child machine asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Handoff(Job),
    Releases(Job),
    Repair(Job, Ordinal),
    Collector(Job, Ordinal),
}

/// What is asked and not answered.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) asker: Asker,
    /// Whether entries come back, of up to a page.
    pub(super) is_page: bool,
    deadline: Timestamp,
}

#[derive(Debug)]
pub(super) struct Exchanges {
    patience: Duration,
    next: u64,
    open: BTreeMap<ExchangeId, Open>,
    pages: usize,
}

impl Exchanges {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, next: 0, open: BTreeMap::new(), pages: 0 }
    }

    /// A name for an exchange that is kept elsewhere.
    pub(super) fn name(&mut self) -> ExchangeId {
        self.next += 1;
        ExchangeId(self.next)
    }

    pub(super) fn begin(&mut self, now: Timestamp, asker: Asker, is_page: bool) -> ExchangeId {
        let id = self.name();
        self.pages += usize::from(is_page);
        self.open.insert(id, Open { asker, is_page, deadline: now.saturating_add(self.patience) });
        id
    }

    /// Ends an exchange. Answers to what was given up, or never asked, end none.
    pub(super) fn end(&mut self, id: ExchangeId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.pages -= usize::from(open.is_page);
        Some(open)
    }

    /// Gives all of them up: nothing that was asked under one fence counts under another.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.pages = 0;
    }

    /// Whether another page may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.pages < FLIGHT_PAGES_MAX
    }

    /// One that has waited for too long.
    pub(super) fn late(&self, now: Timestamp) -> Option<ExchangeId> {
        self.open.iter().find(|(_, open)| open.deadline <= now).map(|(id, _)| *id)
    }

    /// When the first one will have waited for too long. All wait equally long, so it is the oldest.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.open.first_key_value().map(|(_, open)| open.deadline)
    }
}
