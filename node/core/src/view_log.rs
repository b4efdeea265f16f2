//! The views that a node remembers, to tell others what changed since theirs.

use std::{collections::VecDeque, sync::Arc};

use quoit_proto_types::{
    Epoch, View, limits,
    view::{ViewDelta, ViewHash, ViewRecord},
};

/// Views that are kept whole.
const VIEWS_MAX: usize = 256;
/// Members that all views kept whole have together, some 250 bytes each; the latest two views are kept whatever they have.
const MEMBERS_KEPT_MAX: usize = 100_000;

/// The latest views whole, and the reasons for many more.
///
/// Views, not deltas: any two of them make a delta at once, where a chain of deltas would have to be applied one by one.
#[derive(Debug, Default)]
pub struct ViewLog {
    views: VecDeque<Arc<View>>,
    members: usize,
    records: VecDeque<ViewRecord>,
}

impl ViewLog {
    /// Adds the view that is installed, whose hash is `hash`. A view that does not follow the ones before, as in another
    /// cluster, makes the log forget those.
    pub fn push(&mut self, view: Arc<View>, hash: ViewHash) {
        if let Some(latest) = self.views.back() {
            let (old, new) = (latest.fields(), view.fields());
            if old.epoch == new.epoch && old.cluster_id == new.cluster_id {
                return;
            }
            if old.cluster_id != new.cluster_id || old.epoch > new.epoch {
                self.views.clear();
                self.members = 0;
            }
        }
        self.records.push_back(ViewRecord::of(&view, hash));
        if self.records.len() > limits::VIEW_LOG_MAX {
            self.records.pop_front();
        }
        self.members += view.members().len();
        self.views.push_back(view);
        while self.views.len() > VIEWS_MAX || (self.views.len() > 2 && self.members > MEMBERS_KEPT_MAX) {
            self.members -= self.views.pop_front().map_or(0, |oldest| oldest.members().len());
        }
    }

    /// The latest view.
    pub fn latest(&self) -> Option<&Arc<View>> {
        self.views.back()
    }

    /// The view of `epoch`, if it is remembered.
    pub fn at(&self, epoch: Epoch) -> Option<&Arc<View>> {
        let index = self.views.binary_search_by_key(&epoch, |view| view.epoch()).ok()?;
        self.views.get(index)
    }

    /// What makes the latest view of the one of `epoch`, if that is remembered and earlier.
    pub fn delta(&self, epoch: Epoch) -> Option<ViewDelta> {
        ViewDelta::between(self.at(epoch)?, self.latest()?)
    }

    /// The records of the latest views, at most `limit`, the latest last.
    pub fn records(&self, limit: usize) -> Vec<ViewRecord> {
        self.records.iter().skip(self.records.len().saturating_sub(limit)).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
