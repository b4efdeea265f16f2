//! Whether a node acts on a request: one request, one view, one answer. And what it must forget when the view changes.

use std::sync::Arc;

use quoit_proto_types::{
    Boot, Epoch, ErrorCode, Fence, HashPoint, Instance, Ordinal, Ring, SlotCount, View, message::client::Refusal,
    view::ViewHash,
};

/// What a process routes by: its installed view, the ring that follows from it, and its own place in both.
#[derive(Debug)]
pub struct Routing {
    view: Arc<View>,
    hash: ViewHash,
    ring: Ring,
    place: Place,
}

/// What the process is in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not a member: it owns nothing.
    Outside,
    /// A member, but the slots that the ring gives it, if any, are those of an earlier life with another memory.
    EarlierLife(Ordinal),
    /// An owner.
    Owner(Ordinal),
}

/// The slots that a process owns under one routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSlots {
    slots: SlotCount,
    owned: Vec<bool>,
}

/// What the store must forget when one routing follows another, so that a value that others have replaced in the meantime
/// is never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Succession {
    /// Nothing: the process owns what it owned.
    Same,
    /// What is outside of `before` goes before the new routing is in force, and what is outside of `after` once it is.
    Moved {
        /// The slots owned until then.
        before: OwnedSlots,
        /// The slots owned from then on.
        after: OwnedSlots,
    },
    /// Everything, while no routing is in force: the views between the two are not known, and others may have owned any
    /// slot under one of them.
    Gap,
}

impl Routing {
    /// Routes for the process `instance` in its life `boot`.
    pub fn new(view: Arc<View>, instance: Instance, boot: Boot) -> Self {
        let place = match view.member_of_instance(instance) {
            None => Place::Outside,
            Some(member) => {
                let is_this = |owner: &&quoit_proto_types::view::Owner| owner.ordinal == member.ordinal;
                match view.fields().ring.iter().find(is_this) {
                    Some(owner) if owner.boot == boot => Place::Owner(member.ordinal),
                    Some(_) | None => Place::EarlierLife(member.ordinal),
                }
            }
        };
        Self { ring: view.ring(), hash: view.hash(), view, place }
    }

    /// The installed view.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Its hash.
    pub fn hash(&self) -> ViewHash {
        self.hash
    }

    /// Its ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The fence that a request must carry.
    pub fn fence(&self) -> Fence {
        self.view.fence()
    }

    /// The view's number.
    pub fn epoch(&self) -> Epoch {
        self.view.epoch()
    }

    /// Admits a request that goes by exactly this node's placement, for a key of one of its slots.
    ///
    /// # Errors
    /// `StaleView` for an older fence, `NodeBehind` for a newer one, `NotOwner` for a key of others, `NotReady` for a key
    /// of a slot that this node owned in an earlier life.
    pub fn admit(&self, fence: Fence, point: HashPoint) -> Result<(), Refusal> {
        let epoch = self.epoch().value();
        match fence.cmp(&self.fence()) {
            std::cmp::Ordering::Less => Err(Refusal::new(ErrorCode::StaleView, epoch)),
            std::cmp::Ordering::Greater => Err(Refusal::new(ErrorCode::NodeBehind, epoch)),
            std::cmp::Ordering::Equal => {
                let owners = self.ring.owners(self.ring.slots().slot_of(point));
                match self.place {
                    Place::Owner(me) if owners.contains(&me) => Ok(()),
                    Place::EarlierLife(me) if owners.contains(&me) => {
                        let text = "this node was started again and waits for a view that gives it its slots".into();
                        Err(Refusal { code: ErrorCode::NotReady, argument: 0, text })
                    }
                    Place::Outside | Place::EarlierLife(_) | Place::Owner(_) => {
                        let owner = owners.first().copied().unwrap_or_default();
                        Err(Refusal::new(ErrorCode::NotOwner, owner.value().into()))
                    }
                }
            }
        }
    }

    /// The slots that the process owns.
    pub fn owned(&self) -> OwnedSlots {
        let slots = self.ring.slots();
        let owns = |slot| matches!(self.place, Place::Owner(me) if self.ring.owners(slot).contains(&me));
        OwnedSlots { slots, owned: slots.slots().map(owns).collect() }
    }

    /// What the store must forget when `self` follows `old`.
    pub fn follows(&self, old: &Self) -> Succession {
        let same_cluster = self.view.fields().cluster_id == old.view.fields().cluster_id;
        if same_cluster && self.fence() == old.fence() {
            return Succession::Same;
        }
        if !same_cluster || self.view.fields().previous != old.hash {
            return Succession::Gap;
        }
        let (before, after) = (old.owned(), self.owned());
        if before == after { Succession::Same } else { Succession::Moved { before, after } }
    }

    /// The fence of the ring change under way, if it makes the process the owner of slots, which it must first fetch.
    pub fn awaits(&self, instance: Instance, boot: Boot) -> Option<Fence> {
        let me = self.view.member_of_instance(instance)?.ordinal;
        let target = self.view.fields().target.as_ref()?;
        let is_this = |owner: &quoit_proto_types::view::Owner| owner.ordinal == me && owner.boot == boot;
        target.iter().any(is_this).then(|| self.fence())
    }
}

impl OwnedSlots {
    /// Whether the slot that holds `point` is one of them.
    pub fn holds(&self, point: HashPoint) -> bool {
        self.owned.get(self.slots.slot_of(point).index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
