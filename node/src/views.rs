//! The views this node has gone by, encoded once for all who ask.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use quoit_core::{routing::Routing, view_log::ViewLog};
use quoit_proto_types::{Epoch, Fence, View, frame::FrameType, view::ViewRecord};
use tokio::sync::watch;

/// The views, shared by who installs them and who tells others.
#[derive(Debug)]
pub(crate) struct Views {
    known: Mutex<Known>,
    latest: watch::Sender<Epoch>,
}

#[derive(Debug, Default)]
struct Known {
    log: ViewLog,
    /// What leads to the latest view, by the epoch from which it does. At most one for each view that the log remembers.
    updates: BTreeMap<Epoch, Update>,
}

/// What brings somebody to the latest view.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// `View` or `ViewDelta`.
    pub(crate) kind: FrameType,
    /// The latest view's number.
    pub(crate) epoch: Epoch,
    /// And its fence.
    pub(crate) fence: Fence,
    /// The encoded view or delta.
    pub(crate) body: Bytes,
}

impl Default for Views {
    fn default() -> Self {
        Self { known: Mutex::default(), latest: watch::Sender::new(Epoch::GENESIS) }
    }
}

impl Views {
    /// Adds the view that is in force from here on, and wakes those who wait for it.
    pub(crate) fn push(&self, routing: &Routing) {
        let mut known = self.known();
        known.log.push(std::sync::Arc::clone(routing.view()), routing.hash());
        known.updates.clear();
        drop(known);
        self.latest.send_replace(routing.epoch());
    }

    /// What brings somebody who has the view of `epoch` to the latest: the difference, if that view is remembered and the
    /// difference is smaller, else the view. `None` while there is no view.
    pub(crate) fn update_from(&self, epoch: Epoch) -> Option<Update> {
        let mut known = self.known();
        let latest = known.log.latest()?.clone();
        // Who has a view that is not remembered is told the same as who has none.
        let from = known.log.at(epoch).map_or(Epoch::GENESIS, |view| view.epoch());
        if let Some(update) = known.updates.get(&from) {
            return Some(update.clone());
        }
        let mut whole = BytesMut::new();
        latest.encode(&mut whole);
        let mut update =
            Update { kind: FrameType::View, epoch: latest.epoch(), fence: latest.fence(), body: whole.freeze() };
        if let Some(delta) = known.log.delta(from) {
            let mut body = BytesMut::new();
            delta.encode(&mut body);
            if body.len() < update.body.len() {
                (update.kind, update.body) = (FrameType::ViewDelta, body.freeze());
            }
        }
        known.updates.insert(from, update.clone());
        Some(update)
    }

    /// The latest view's number, as it changes; 0 while there is none.
    pub(crate) fn latest(&self) -> watch::Receiver<Epoch> {
        self.latest.subscribe()
    }

    /// The records of the latest views, at most `limit`, the latest last.
    pub(crate) fn records(&self, limit: usize) -> Vec<ViewRecord> {
        self.known().log.records(limit)
    }

    /// The view of `epoch`, if it is remembered.
    pub(crate) fn at(&self, epoch: Epoch) -> Option<View> {
        self.known().log.at(epoch).map(|view| View::clone(view))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
