//! What a process goes by on the data path: its view, the rings that follow from it, and its own place in them.
//!
//! While a ring change is under way a slot has two sets of owners, those in force and those to be, and every write and every
//! quorum needs both. The present owners answer plain reads, as the others may not hold everything yet.

use std::sync::Arc;

use quoit_proto_types::{
    Boot, Epoch, ErrorCode, Fence, HashPoint, Instance, Member, Ordinal, Ring, SlotCount, SlotIndex, SlotSet, View,
    message::client::Refusal,
    view::{Liveness, Owner, ViewHash},
};

/// A view, what follows from it, and the place of one process in it.
#[derive(Debug)]
pub struct Routing {
    view: Arc<View>,
    hash: ViewHash,
    ring: Ring,
    /// The ring to be, while a ring change is under way.
    target: Option<Ring>,
    me: Option<Ordinal>,
    /// Whether the ring, and the ring to be, name this life of the process. Slots of an earlier life are slots of another
    /// memory.
    owns: Lives,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lives {
    now: bool,
    then: bool,
}

/// The owners of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotOwners<'a> {
    /// Those in force, the primary first.
    pub now: &'a [Ordinal],
    /// Those to be, while a ring change is under way.
    pub then: Option<&'a [Ordinal]>,
}

impl<'a> SlotOwners<'a> {
    /// Every owner once: those in force, then those to be.
    pub fn all(self) -> impl Iterator<Item = Ordinal> + 'a {
        let then = self.then.unwrap_or_default().iter().filter(move |owner| !self.now.contains(owner));
        self.now.iter().chain(then).copied()
    }

    /// Whether `ordinal` is one.
    pub fn contains(self, ordinal: Ordinal) -> bool {
        self.now.contains(&ordinal) || self.then.is_some_and(|then| then.contains(&ordinal))
    }
}

/// What a process is to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: others hold it.
    Stranger,
    /// It is to hold it, and is fetching it: it takes writes and answers quorums, but its misses say nothing.
    Pending,
    /// It holds it.
    Owner,
}

impl Routing {
    /// Routes for the process `instance` in its life `boot`.
    pub fn new(view: Arc<View>, instance: Instance, boot: Boot) -> Self {
        // A view from before a restart names a life of which nothing is left: this one has to be admitted first.
        let me = view.member_of_instance(instance).filter(|member| member.boot == boot).map(|member| member.ordinal);
        let names = |owners: &[Owner]| owners.iter().any(|owner| Some(owner.ordinal) == me && owner.boot == boot);
        let fields = view.fields();
        let owns = Lives { now: names(&fields.ring), then: fields.target.as_deref().is_some_and(names) };
        Self { ring: view.ring(), target: view.target_ring(), hash: view.hash(), me, owns, view }
    }

    /// The installed view.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Its hash.
    pub fn hash(&self) -> ViewHash {
        self.hash
    }

    /// The ring in force.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The ring to be, while a ring change is under way.
    pub fn target(&self) -> Option<&Ring> {
        self.target.as_ref()
    }

    /// The fence that a request between nodes must carry.
    pub fn fence(&self) -> Fence {
        self.view.fence()
    }

    /// The view's number.
    pub fn epoch(&self) -> Epoch {
        self.view.epoch()
    }

    /// How many slots there are.
    pub fn slots(&self) -> SlotCount {
        self.ring.slots()
    }

    /// The slot that holds `point`.
    pub fn slot_of(&self, point: HashPoint) -> SlotIndex {
        self.slots().slot_of(point)
    }

    /// This process's member, if it is one, in this life.
    pub fn me(&self) -> Option<Ordinal> {
        self.me
    }

    /// Whether the ring in force names this life of the process.
    pub fn is_owner(&self) -> bool {
        self.owns.now
    }

    /// Whether the ring to be names this life of the process.
    pub fn is_to_own(&self) -> bool {
        self.owns.then
    }

    /// The owners of `slot`.
    pub fn owners(&self, slot: SlotIndex) -> SlotOwners<'_> {
        SlotOwners { now: self.ring.owners(slot), then: self.target.as_ref().map(|target| target.owners(slot)) }
    }

    /// What this process is to `slot`.
    pub fn standing(&self, slot: SlotIndex) -> Standing {
        let Some(me) = self.me else { return Standing::Stranger };
        let owners = self.owners(slot);
        if self.owns.now && owners.now.contains(&me) {
            Standing::Owner
        } else if self.owns.then && owners.then.is_some_and(|then| then.contains(&me)) {
            Standing::Pending
        } else {
            Standing::Stranger
        }
    }

    /// The slots to which this process is `standing`.
    pub fn slots_with(&self, standing: Standing) -> SlotSet {
        SlotSet::of(self.slots(), |slot| self.standing(slot) == standing)
    }

    /// Whether the ring in force, or the one to be, names `ordinal`, whichever life of it.
    pub fn is_named(&self, ordinal: Ordinal) -> bool {
        let fields = self.view.fields();
        fields.ring.iter().chain(fields.target.iter().flatten()).any(|owner| owner.ordinal == ordinal)
    }

    /// Whether `ordinal` is a member that is up.
    pub fn is_up(&self, ordinal: Ordinal) -> bool {
        self.view.member(ordinal).is_some_and(is_up)
    }

    /// Whether the owner of that name in the ring in force is the memory that lives: it is up, and has not restarted since.
    pub fn lives(&self, ordinal: Ordinal) -> bool {
        self.lives_as_named(&self.view.fields().ring, ordinal)
    }

    /// Whether an owner in force of `slot` lives.
    pub fn is_in_reach(&self, slot: SlotIndex) -> bool {
        self.owners(slot).now.iter().any(|owner| self.lives(*owner))
    }

    /// The same of the owner of that name in the ring to be.
    pub fn lives_in_target(&self, ordinal: Ordinal) -> bool {
        self.view.fields().target.as_ref().is_some_and(|target| self.lives_as_named(target, ordinal))
    }

    fn lives_as_named(&self, owners: &[Owner], ordinal: Ordinal) -> bool {
        let owner = owners.iter().find(|owner| owner.ordinal == ordinal);
        let member = self.view.member(ordinal).filter(|member| is_up(member));
        owner.zip(member).is_some_and(|(owner, member)| owner.boot == member.boot)
    }

    /// The members that keep entries of `slot` for owners out of reach: those who are up and no owners, in an order that
    /// differs from slot to slot and changes little with the members (rendezvous hashing, Thaler and Ravishankar, 1998).
    ///
    /// This process is one of them though the view may say that it is down: it knows better, and after a partition it may for
    /// some moments be the only one that can keep what it cannot bring to all owners yet.
    pub fn substitutes(&self, slot: SlotIndex) -> Vec<Ordinal> {
        self.strangers(slot, |member| self.is_fit(member))
    }

    fn is_fit(&self, member: &Member) -> bool {
        is_up(member) || self.me == Some(member.ordinal)
    }

    /// The members that may have kept entries of `slot` for owners out of reach: its [`substitutes`](Self::substitutes), then
    /// those that are down. One of these may have been the only node on its side of a partition, and be within reach again
    /// before a majority has found it to be up.
    pub fn hint_holders(&self, slot: SlotIndex) -> Vec<Ordinal> {
        let mut holders = self.substitutes(slot);
        holders.extend(self.strangers(slot, |member| !self.is_fit(member)));
        holders
    }

    /// The members that are no owners of `slot` and are as wanted, in the order of the slot.
    fn strangers(&self, slot: SlotIndex, is_wanted: impl Fn(&Member) -> bool) -> Vec<Ordinal> {
        let owners = self.owners(slot);
        let fit = |member: &&Member| is_wanted(member) && !owners.contains(member.ordinal);
        let weight = |member: &Member| {
            let index = u32::try_from(slot.index()).unwrap_or(u32::MAX);
            HashPoint::of_vnode(member.node_id, index)
        };
        let mut fit: Vec<_> = self.view.members().iter().filter(fit).map(|m| (weight(m), m.ordinal)).collect();
        fit.sort_unstable();
        fit.into_iter().map(|(_, ordinal)| ordinal).collect()
    }

    /// Admits a request between nodes, which must go by exactly this node's placement.
    ///
    /// # Errors
    /// `StaleView` for an older fence, `NodeBehind` for a newer one.
    pub fn admit(&self, fence: Fence) -> Result<(), Refusal> {
        let epoch = self.epoch().value();
        match fence.cmp(&self.fence()) {
            std::cmp::Ordering::Less => Err(Refusal::new(ErrorCode::StaleView, epoch)),
            std::cmp::Ordering::Greater => Err(Refusal::new(ErrorCode::NodeBehind, epoch)),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

fn is_up(member: &Member) -> bool {
    member.live == Liveness::Up
}

#[cfg(test)]
mod tests;
