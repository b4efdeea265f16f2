//! Puts views in force: first the store forgets what it must, shard by shard, then requests are admitted by the new view.

use std::{collections::VecDeque, sync::Arc};

use arc_swap::ArcSwapOption;
use quoit_core::{
    cluster::Life,
    routing::{OwnedSlots, Routing, Succession},
};
use quoit_proto_types::{HashPoint, KeyspaceId, View};

use crate::{store::Store, views::Views};

/// Views that may wait for the store. If there were more, those between would be skipped, and the store emptied for that.
const WAITING_MAX: usize = 64;

/// The views that are in force, or about to be.
#[derive(Debug)]
pub(crate) struct Placement {
    store: Arc<Store>,
    routing: Arc<ArcSwapOption<Routing>>,
    views: Arc<Views>,
    /// In force, or the last one that was.
    current: Option<Arc<Routing>>,
    waiting: VecDeque<Arc<Routing>>,
    sweep: Option<Sweep>,
    /// In force since the driver last asked.
    published: Vec<Arc<Routing>>,
}

/// A walk through the shards.
#[derive(Debug)]
struct Sweep {
    /// The next shard.
    shard: usize,
    /// The slots whose entries stay; none for no slot.
    keep: Option<OwnedSlots>,
    then: Then,
}

/// What follows a sweep.
#[derive(Debug)]
enum Then {
    /// The routing is put in force, and then what is outside of these slots goes.
    Publish(Arc<Routing>, Option<OwnedSlots>),
    Nothing,
}

impl Placement {
    pub(crate) fn new(store: Arc<Store>, routing: Arc<ArcSwapOption<Routing>>, views: Arc<Views>) -> Self {
        Self { store, routing, views, current: None, waiting: VecDeque::new(), sweep: None, published: Vec::new() }
    }

    /// Puts `view` in force for the process `life`: at once if the store has nothing to forget, else by [`work`](Self::work).
    pub(crate) fn install(&mut self, view: Arc<View>, life: Life) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_back();
        }
        self.waiting.push_back(Arc::new(Routing::new(view, life.instance, life.boot)));
        self.go_on();
    }

    /// Whether there is something left to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.sweep.is_some()
    }

    /// Does one shard.
    pub(crate) fn work(&mut self) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        let keep = sweep.keep.as_ref();
        let stays = |key: &[u8]| keep.is_some_and(|slots| slots.holds(HashPoint::of_key(KeyspaceId::DEFAULT, key)));
        self.store.retain(sweep.shard, stays);
        sweep.shard += 1;
        if sweep.shard >= self.store.shards_count() {
            if let Some(Sweep { then: Then::Publish(routing, after), .. }) = self.sweep.take() {
                self.publish(routing);
                self.sweep = after.map(|keep| Sweep { shard: 0, keep: Some(keep), then: Then::Nothing });
            }
            self.go_on();
        }
    }

    /// What has been put in force since this was last called.
    pub(crate) fn published(&mut self) -> Vec<Arc<Routing>> {
        std::mem::take(&mut self.published)
    }

    /// The view in force.
    pub(crate) fn view(&self) -> Option<&Arc<View>> {
        self.current.as_ref().map(|routing| routing.view())
    }

    /// Puts no view in force any more.
    pub(crate) fn withdraw(&self) {
        self.routing.store(None);
    }

    fn go_on(&mut self) {
        while self.sweep.is_none()
            && let Some(next) = self.waiting.pop_front()
        {
            let succession = self.current.as_ref().map_or(Succession::Same, |current| next.follows(current));
            match succession {
                Succession::Same => self.publish(next),
                Succession::Moved { before, after } => {
                    let then = Then::Publish(next, Some(after));
                    self.sweep = Some(Sweep { shard: 0, keep: Some(before), then });
                }
                Succession::Gap => {
                    self.withdraw();
                    self.sweep = Some(Sweep { shard: 0, keep: None, then: Then::Publish(next, None) });
                }
            }
        }
    }

    fn publish(&mut self, routing: Arc<Routing>) {
        self.routing.store(Some(Arc::clone(&routing)));
        // Others hear of a view only once this node goes by it.
        self.views.push(&routing);
        self.current = Some(Arc::clone(&routing));
        self.published.push(routing);
    }
}

#[cfg(test)]
mod tests;
