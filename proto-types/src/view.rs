//! The view: the one authoritative description of a cluster, valid by construction.

use std::{collections::BTreeSet, fmt};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch, Fence},
    id::{Boot, ClusterId, Instance, NodeId, Ordinal},
    identity::{Identity, Label, Role},
    limits,
    message::session::VersionRange,
    ring::{Circle, Ring, RingMember},
    tokens::Tokens,
};

pub use address::{Address, AddressError};
pub use assigned::{AssignedTokens, TokensDelta, TokensFrom};
pub use change::Change;
pub use config::{
    OUT_AFTER_S_DEFAULT, REPLICATION_DEFAULT, RingAlgorithm, TimingProfile, UnknownAlgorithm, UnknownProfile,
    ViewConfig,
};
pub use delta::{DeltaError, OwnersDelta, TargetDelta, ViewDelta};
pub use log::ViewRecord;

mod address;
mod assigned;
mod change;
mod config;
mod delta;
mod log;

/// The last epoch: a thousand views a second for as long as the universe is old. What comes after cannot overflow.
const EPOCH_MAX: Epoch = Epoch::new(1 << 62);

/// Vnodes of a node of weight 1.
pub const VNODES_DEFAULT: u32 = 128;

/// The failure domain a node stands in. Copies of a slot are spread over zones while there are enough of them.
pub type Zone = Option<Label>;

/// Whether a member answers; a routing fact that moves no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liveness {
    /// It does.
    Up,
    /// A majority of the voters says it does not.
    Down,
}

/// Whether a member is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// It is.
    Stay,
    /// An administrator wants it gone: it gives up its slots, is removed, and its process ends.
    Leave,
    /// It was down for too long, or returned without its disk as another instance of its name: its slots go to others and
    /// it is removed. A process of it that comes back joins as a new member.
    Lost,
}

/// One node in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its short name.
    pub ordinal: Ordinal,
    /// Its id, which follows from its name and places it on the ring.
    pub node_id: NodeId,
    /// Its name. Only one member of a name [stays](Intent::Stay).
    pub name: Label,
    /// Its voting state.
    pub instance: Instance,
    /// Its memory.
    pub boot: Boot,
    /// Where it is dialled.
    pub address: Address,
    /// Where it stands.
    pub zone: Zone,
    /// Its weight: how many points it has on the ring. 0 for a witness, which owns nothing.
    pub vnodes: u32,
    /// Its place in the election before seniority counts: the higher goes first.
    pub priority: u8,
    /// The protocol versions it speaks.
    pub versions: VersionRange,
    /// What the ring in force still goes by, if its zone or its weight has changed and the ring has not followed yet. The
    /// ring that is to be goes by the member's own, unless it only [replaces lives](View::replaces_lives), or the member is
    /// named although it has no weight: then others must have its slots first, and it keeps its place until they do.
    pub placed: Option<Placed>,
    /// Whether it answers.
    pub live: Liveness,
    /// Whether it answers, but so much later than others that a majority of those who ask it says so. A hint for routing: it
    /// is the last choice where there is one. It moves no data.
    pub degraded: bool,
    /// Whether it is to stay.
    pub intent: Intent,
}

/// What places a member's slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Where it stands.
    pub zone: Zone,
    /// Its weight.
    pub vnodes: u32,
}

/// An owner of data: a member in one life. A restart empties the memory, so it makes another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The member.
    pub ordinal: Ordinal,
    /// The life.
    pub boot: Boot,
}

/// The fields of a view, not yet checked. [`View::new`] makes a view of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewFields {
    /// The cluster's name, as in its certificates.
    pub cluster: Label,
    /// The cluster's random identity.
    pub cluster_id: ClusterId,
    /// The view's number.
    pub epoch: Epoch,
    /// The cluster from whose last survivor an operator made this one.
    pub recovered_from: Option<ClusterId>,
    /// The hash of the view before it; zeros at epoch 1.
    pub previous: ViewHash,
    /// The ballot under which it was first proposed. It may have been decided under a higher one.
    pub ballot: Ballot,
    /// The member that first proposed it.
    pub coordinator: Ordinal,
    /// Who decides the next one.
    #[serde(deserialize_with = "codec::at_most::<{ limits::VOTERS_MAX }, _, _>")]
    pub voters: Vec<Ordinal>,
    /// What the founders agreed on.
    pub config: ViewConfig,
    /// Every member, in the order of their ordinals.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub members: Vec<Member>,
    /// How many owners a slot has under the ring in force. What the configuration wants may be another number: the ring
    /// follows it step by step.
    pub copies: u8,
    /// The owners now in force.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub ring: Vec<Owner>,
    /// The owners-to-be while a ring change is under way.
    #[serde(deserialize_with = "codec::at_most_if_any::<{ limits::MEMBERS_MAX }, _, _>")]
    pub target: Option<Vec<Owner>>,
    /// The tokens of both, if the ring is balanced.
    pub tokens: AssignedTokens,
    /// The epoch of the last change of `ring` or `target`.
    pub fence: Fence,
    /// The ordinal the next new member gets.
    pub next_ordinal: Ordinal,
    /// When it was proposed, by the proposer's clock: milliseconds since 1970. For people; nothing is decided by it.
    pub proposed_at_ms: u64,
    /// What makes it differ from the view before, and why; at most [`limits::CHANGES_MAX`]. For people; nothing is decided
    /// by it.
    #[serde(deserialize_with = "codec::at_most::<{ limits::CHANGES_MAX }, _, _>")]
    pub changes: Vec<Change>,
}

/// The first bytes of a [`ViewHash`], enough to see that two views differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewMark([u8; 8]);

/// The SHA-256 of a view's canonical encoding; chains views, and shows a fork at once.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewHash([u8; 32]);

impl ViewHash {
    /// Its first bytes.
    pub fn mark(&self) -> ViewMark {
        let mut mark = [0; 8];
        mark.copy_from_slice(&self.0[..8]);
        ViewMark(mark)
    }
}

impl fmt::Display for ViewHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Debug for ViewHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewHash({self})")
    }
}

/// A valid view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ViewFields", into = "ViewFields")]
pub struct View(ViewFields);

/// Why fields are not a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid view: {0}")]
pub struct InvalidView(&'static str);

impl View {
    /// Checks `fields`.
    ///
    /// # Errors
    /// [`InvalidView`] names the first rule they break.
    pub fn new(fields: ViewFields) -> Result<Self, InvalidView> {
        fields.check(None).map_err(InvalidView).map(|()| Self(fields))
    }

    /// Checks `fields` of a view that comes after `before`, from which most of its members are known: their ids need not be
    /// derived again, which is most of the cost.
    fn after(before: &Self, fields: ViewFields) -> Result<Self, InvalidView> {
        fields.check(Some(before)).map_err(InvalidView).map(|()| Self(fields))
    }

    /// The fields.
    pub fn fields(&self) -> &ViewFields {
        &self.0
    }

    /// The view's number.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The fence that requests routed by this view carry.
    pub fn fence(&self) -> Fence {
        self.0.fence
    }

    /// Every member, in the order of their ordinals.
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// The member called `ordinal`.
    pub fn member(&self, ordinal: Ordinal) -> Option<&Member> {
        let members = &self.0.members;
        members.binary_search_by_key(&ordinal, |member| member.ordinal).ok().map(|i| &members[i])
    }

    /// The member called `name`: the one that stays, or else one that is on its way out.
    pub fn member_named(&self, name: &Label) -> Option<&Member> {
        let mut named = self.0.members.iter().filter(|member| member.name == *name);
        named.clone().find(|member| member.intent == Intent::Stay).or_else(|| named.next_back())
    }

    /// The member with this voting state.
    pub fn member_of_instance(&self, instance: Instance) -> Option<&Member> {
        self.0.members.iter().find(|member| member.instance == instance)
    }

    /// Whether `ordinal` votes on the next view.
    pub fn is_voter(&self, ordinal: Ordinal) -> bool {
        self.0.voters.binary_search(&ordinal).is_ok()
    }

    /// How many voters decide the next view.
    pub fn quorum(&self) -> usize {
        self.0.voters.len() / 2 + 1
    }

    /// The ring in force.
    pub fn ring(&self) -> Ring {
        Ring::of(&self.circle(), self.0.config.slots, self.0.copies)
    }

    /// The tokens that the ring in force is read off.
    pub fn circle(&self) -> Circle {
        self.circle_of(&self.ring_members(), &self.0.tokens.ring)
    }

    /// The ring to be, while a ring change is under way.
    pub fn target_ring(&self) -> Option<Ring> {
        self.0.target.as_ref().map(|target| self.ring_towards(target, &self.0.tokens.target))
    }

    /// The ring to be, if `target` were the owners-to-be. If the ring is balanced, they would have `tokens`, in their order.
    pub fn ring_towards(&self, target: &[Owner], tokens: &[Tokens]) -> Ring {
        let circle = self.circle_of(&self.members_towards(target), tokens);
        Ring::of(&circle, self.0.config.slots, self.copies_towards(target))
    }

    /// What a ring needs to know of the owners in force, in their order.
    pub fn ring_members(&self) -> Vec<RingMember> {
        self.placed(&self.0.ring, Member::placed)
    }

    /// What a ring needs to know of `target`, in its order, if these were the owners-to-be.
    pub fn members_towards(&self, target: &[Owner]) -> Vec<RingMember> {
        let placed = if self.replaces_lives(target) { Member::placed } else { Member::to_be_placed };
        self.placed(target, placed)
    }

    fn circle_of(&self, members: &[RingMember], tokens: &[Tokens]) -> Circle {
        match self.0.config.ring_algorithm {
            RingAlgorithm::Hashed => Circle::of(members),
            RingAlgorithm::Balanced => Circle::of_tokens(members, tokens, self.0.config.slots),
        }
    }

    /// Whether a change to `target` would only replace lives: the same members own, some in another life.
    ///
    /// Such a change goes by the placement and by the number of copies in force, whatever else is wanted: who restarted takes
    /// the place that it had, for which nobody else must be up. What else is wanted is for a change of its own.
    pub fn replaces_lives(&self, target: &[Owner]) -> bool {
        self.0.replaces_lives(target)
    }

    /// How many owners a slot would have, as far as there are so many, after a change to `target`.
    pub fn copies_towards(&self, target: &[Owner]) -> u8 {
        if self.replaces_lives(target) {
            return self.0.copies;
        }
        next_copies(self.0.copies, self.0.config.replication, self.owners_in_force())
    }

    /// How many nodes have slots under the ring in force.
    pub fn owners_in_force(&self) -> usize {
        let owns = |owner: &&Owner| self.member(owner.ordinal).is_some_and(|member| member.placed().1 > 0);
        self.0.ring.iter().filter(owns).count()
    }

    /// What a ring needs to know of `owners`, each `placed` as that says.
    fn placed(&self, owners: &[Owner], placed: fn(&Member) -> (&Zone, u32)) -> Vec<RingMember> {
        let owners = owners.iter().filter_map(|owner| self.member(owner.ordinal));
        let member = |member: &Member| {
            let (zone, vnodes) = placed(member);
            RingMember { ordinal: member.ordinal, node_id: member.node_id, zone: zone.clone(), vnodes }
        };
        owners.map(member).collect()
    }

    /// `owners` in the order in which to ask them, where one is enough: those that are up and quick, those that are up, the
    /// others. Among equals the order is as it was, which for the owners of a slot is the ring's.
    pub fn by_choice(&self, owners: &[Ordinal]) -> Vec<Ordinal> {
        let rank = |ordinal: &Ordinal| match self.member(*ordinal) {
            Some(member) if member.live == Liveness::Up => u8::from(member.degraded),
            Some(_) => 2,
            None => 3,
        };
        let mut owners = owners.to_vec();
        owners.sort_by_key(rank);
        owners
    }

    /// The hash that the next view carries.
    pub fn hash(&self) -> ViewHash {
        let mut bytes = BytesMut::new();
        self.encode(&mut bytes);
        ViewHash(Sha256::digest(&bytes).into())
    }

    /// Appends the canonical encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(&self.0, out);
    }

    /// Reads a view.
    ///
    /// # Errors
    /// [`DecodeError`], also for bytes that decode to fields which are not a view.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_exact(bytes, "view", limits::VIEW_BYTES_MAX)
    }
}

/// How many owners a slot has after the next ring change, if it has `copies` now, as far as there are `owners` nodes for them,
/// and `wanted` are wanted.
///
/// It grows at once. It shrinks by one at a time: of the owners that hold a write, only one may be lost with a change
/// (PROTOCOL, T6). Copies for which there are no nodes are none.
pub fn next_copies(copies: u8, wanted: u8, owners: usize) -> u8 {
    let held = copies.min(u8::try_from(owners).unwrap_or(u8::MAX));
    wanted.max(held.saturating_sub(1))
}

impl Member {
    /// Where it stands and what it weighs on the ring in force.
    pub fn placed(&self) -> (&Zone, u32) {
        self.placed.as_ref().map_or((&self.zone, self.vnodes), |placed| (&placed.zone, placed.vnodes))
    }

    /// Where it stands and what it weighs on a ring that is to be and names it.
    pub fn to_be_placed(&self) -> (&Zone, u32) {
        if self.vnodes == 0 { self.placed() } else { (&self.zone, self.vnodes) }
    }

    /// Takes over a zone and a weight. If the ring in force has the member among its owners, it goes by the former ones still.
    pub fn resettle(&mut self, zone: Zone, vnodes: u32, owns: bool) {
        let (zone, vnodes) = (std::mem::replace(&mut self.zone, zone), std::mem::replace(&mut self.vnodes, vnodes));
        let before = self.placed.take().unwrap_or(Placed { zone, vnodes });
        self.placed = Some(before).filter(|before| owns && (&before.zone, before.vnodes) != (&self.zone, self.vnodes));
    }
}

impl TryFrom<ViewFields> for View {
    type Error = InvalidView;

    fn try_from(fields: ViewFields) -> Result<Self, Self::Error> {
        Self::new(fields)
    }
}

impl From<View> for ViewFields {
    fn from(view: View) -> Self {
        view.0
    }
}

impl ViewFields {
    fn replaces_lives(&self, target: &[Owner]) -> bool {
        let same = |(old, new): (&Owner, &Owner)| old.ordinal == new.ordinal;
        self.ring.len() == target.len() && self.ring.iter().zip(target).all(same) && self.ring != target
    }

    /// Every rule of a view, each with its name. `known` is a view of which some members may be the same.
    fn check(&self, known: Option<&View>) -> Result<(), &'static str> {
        let ordered = self.members.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal);
        let staying: Vec<_> = self.members.iter().filter(|m| m.intent == Intent::Stay).map(|m| &m.name).collect();
        let names: BTreeSet<_> = staying.iter().collect();
        let is_member = |ordinal: Ordinal| self.is_member(ordinal);
        let known = known.filter(|known| known.0.cluster == self.cluster);
        let tokens: u64 = self.members.iter().map(|member| u64::from(member.vnodes)).sum();
        let placed = self.members.iter().filter_map(|member| member.placed.as_ref()).map(|placed| placed.vnodes);
        let placed_tokens: u64 = placed.clone().map(u64::from).sum();
        let tokens_max = self.config.ring_algorithm.tokens_max();
        let copies = |copies| matches!(copies, 1..=limits::REPLICATION_MAX | limits::REPLICATION_ALL);
        let stepping = |copies| matches!(copies, 1..=limits::REPLICATION_ALL);
        let rules = [
            (self.epoch > Epoch::GENESIS, "epoch 0 has no view"),
            (self.epoch <= EPOCH_MAX, "the epoch is beyond any that a cluster can reach"),
            (self.epoch > Epoch::new(1) || self.previous == ViewHash::default(), "the first view follows no other"),
            (!self.members.is_empty(), "it has no members"),
            (self.members.len() <= limits::MEMBERS_MAX, "it has too many members"),
            (ordered, "members are not in the order of their ordinals"),
            (names.len() == staying.len(), "two members that stay have one name"),
            (self.members.iter().all(|m| m.ordinal < self.next_ordinal), "an ordinal is not issued"),
            (self.members.iter().all(|m| m.vnodes <= limits::VNODES_MAX), "too many vnodes"),
            (tokens <= u64::from(tokens_max), "too many vnodes in all"),
            (placed.max().is_none_or(|vnodes| vnodes <= limits::VNODES_MAX), "too many vnodes on the ring in force"),
            (placed_tokens <= u64::from(tokens_max), "too many vnodes on the ring in force in all"),
            (self.members.iter().all(|m| self.derives(m, known)), "a node id does not follow from its name"),
            ((1..=limits::VOTERS_MAX).contains(&self.voters.len()), "it has no voters, or too many"),
            (self.voters.is_sorted_by(|a, b| a < b), "voters are not in order"),
            (self.voters.iter().all(|voter| is_member(*voter)), "a voter is not a member"),
            (is_member(self.coordinator), "the coordinator is not a member"),
            (copies(self.config.replication), "replication is out of range"),
            (stepping(self.copies), "there are no copies"),
            (self.fence.value() <= self.epoch.value(), "the fence is ahead of the epoch"),
            (self.changes.len() <= limits::CHANGES_MAX, "it tells too many changes"),
            (self.owners_valid(&self.ring), "the ring is not in order or names no member"),
            (
                self.target.as_ref().is_none_or(|target| self.owners_valid(target)),
                "the target is not in order or names no member",
            ),
            (self.ring_tokens_valid(), "an owner's tokens are not as many as its vnodes, or beyond the last slot"),
            (
                self.target_tokens_valid(),
                "an owner-to-be's tokens are not as many as its vnodes, or beyond the last slot",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }

    fn derives(&self, member: &Member, known: Option<&View>) -> bool {
        let known = known.and_then(|known| known.member(member.ordinal));
        if known.is_some_and(|known| known.name == member.name) {
            return known.is_some_and(|known| known.node_id == member.node_id);
        }
        let identity = Identity { role: Role::Node, name: member.name.clone(), cluster: self.cluster.clone() };
        identity.node_id() == member.node_id
    }

    fn owners_valid(&self, owners: &[Owner]) -> bool {
        owners.is_sorted_by(|a, b| a.ordinal < b.ordinal) && owners.iter().all(|owner| self.is_member(owner.ordinal))
    }

    /// Whether `ordinal` is a member, given that members are in order, which is a rule of its own.
    fn is_member(&self, ordinal: Ordinal) -> bool {
        self.members.binary_search_by_key(&ordinal, |member| member.ordinal).is_ok()
    }
}

#[cfg(test)]
mod tests;
