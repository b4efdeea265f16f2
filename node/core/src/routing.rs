//! Whether a node acts on a request: one request, one view, one answer.

use quoit_proto_types::{Epoch, ErrorCode, Fence, HashPoint, Ordinal, Ring, View, message::client::Refusal};

/// What a member routes by: its installed view and the ring that follows from it.
#[derive(Debug)]
pub struct Routing {
    view: View,
    ring: Ring,
    me: Ordinal,
}

impl Routing {
    /// Routes for the member `me` of `view`.
    pub fn new(view: View, me: Ordinal) -> Self {
        Self { ring: view.ring(), view, me }
    }

    /// The installed view.
    pub fn view(&self) -> &View {
        &self.view
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
    /// `StaleView` for an older fence, `NodeBehind` for a newer one, `NotOwner` for a key of others.
    pub fn admit(&self, fence: Fence, point: HashPoint) -> Result<(), Refusal> {
        let epoch = self.epoch().value();
        match fence.cmp(&self.fence()) {
            std::cmp::Ordering::Less => Err(Refusal::new(ErrorCode::StaleView, epoch)),
            std::cmp::Ordering::Greater => Err(Refusal::new(ErrorCode::NodeBehind, epoch)),
            std::cmp::Ordering::Equal => {
                let slot = self.ring.slots().slot_of(point);
                let owners = self.ring.owners(slot);
                if owners.contains(&self.me) {
                    return Ok(());
                }
                let owner = owners.first().copied().unwrap_or_default();
                Err(Refusal::new(ErrorCode::NotOwner, owner.value().into()))
            }
        }
    }
}
