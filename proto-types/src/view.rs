//! The view: the one authoritative description of a cluster, valid by construction.

use std::{collections::BTreeSet, fmt, net::SocketAddrV6, str::FromStr};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    codec::{self, DecodeError},
    epoch::{Ballot, Epoch, Fence},
    hash::SlotCount,
    id::{Boot, ClusterId, Instance, NodeId, Ordinal},
    identity::{Identity, Label, Role},
    limits,
    ring::{Ring, RingMember},
};

/// The ring algorithm of this version: xxh3-128 tokens, owners looked up at each slot's first point.
pub const RING_ALGORITHM: u8 = 1;

/// The last epoch: a thousand views a second for as long as the universe is old. What comes after cannot overflow.
const EPOCH_MAX: Epoch = Epoch::new(1 << 62);

/// Vnodes of a node of weight 1.
pub const VNODES_DEFAULT: u32 = 128;

/// What founders agree on and a cluster keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewConfig {
    /// How many slots.
    pub slots: SlotCount,
    /// How many owners a slot has.
    pub replication: u8,
    /// Which algorithm maps slots to owners.
    pub ring_algorithm: u8,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self { slots: SlotCount::DEFAULT, replication: 1, ring_algorithm: RING_ALGORITHM }
    }
}

/// `host:port`, where a node is dialled: an IP address or a name to be resolved at each dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Box<str>);

impl Address {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write HOST:PORT, as in 10.0.0.1:7750 or [::1]:7750")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_graphic() && ![':', '[', ']'].contains(&c);
        let valid = text.len() <= 260
            && text.rsplit_once(':').is_some_and(|(host, port)| {
                let named = !host.is_empty() && host.chars().all(plain);
                (named || text.parse::<SocketAddrV6>().is_ok())
                    && port.bytes().all(|c| c.is_ascii_digit())
                    && port.parse::<u16>().is_ok_and(|port| port != 0)
            });
        if valid { Ok(Self(text.into())) } else { Err(AddressError(text.chars().take(260).collect())) }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.into()
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

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

/// One node in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its short name.
    pub ordinal: Ordinal,
    /// Its id, which follows from its name and places it on the ring.
    pub node_id: NodeId,
    /// Its name.
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
    /// Whether it answers.
    pub live: Liveness,
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
    /// The hash of the view before it; zeros at epoch 1.
    pub previous: ViewHash,
    /// The ballot that decided it.
    pub ballot: Ballot,
    /// The member that proposed it.
    pub coordinator: Ordinal,
    /// Who decides the next one.
    pub voters: Vec<Ordinal>,
    /// What the founders agreed on.
    pub config: ViewConfig,
    /// Every member, in the order of their ordinals.
    #[serde(deserialize_with = "codec::at_most::<{ limits::MEMBERS_MAX }, _, _>")]
    pub members: Vec<Member>,
    /// The owners now in force.
    pub ring: Vec<Owner>,
    /// The owners-to-be while a ring change is under way.
    pub target: Option<Vec<Owner>>,
    /// The epoch of the last change of `ring` or `target`.
    pub fence: Fence,
    /// The ordinal the next new member gets.
    pub next_ordinal: Ordinal,
}

/// The SHA-256 of a view's canonical encoding; chains views, and shows a fork at once.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewHash([u8; 32]);

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
        fields.check().map_err(InvalidView).map(|()| Self(fields))
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

    /// The ring in force.
    pub fn ring(&self) -> Ring {
        let owners = self.0.ring.iter().filter_map(|owner| self.member(owner.ordinal));
        let members: Vec<_> = owners
            .map(|member| RingMember {
                ordinal: member.ordinal,
                node_id: member.node_id,
                zone: member.zone.clone(),
                vnodes: member.vnodes,
            })
            .collect();
        Ring::build(&members, self.0.config.slots, self.0.config.replication)
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
    /// Every rule of a view, each with its name.
    fn check(&self) -> Result<(), &'static str> {
        let ordered = self.members.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal);
        let names: BTreeSet<_> = self.members.iter().map(|member| &member.name).collect();
        let is_member = |ordinal: Ordinal| self.is_member(ordinal);
        let tokens: u64 = self.members.iter().map(|member| u64::from(member.vnodes)).sum();
        let replication = 1..=limits::REPLICATION_MAX;
        let rules = [
            (self.epoch > Epoch::GENESIS, "epoch 0 has no view"),
            (self.epoch <= EPOCH_MAX, "the epoch is beyond any that a cluster can reach"),
            (self.epoch > Epoch::new(1) || self.previous == ViewHash::default(), "the first view follows no other"),
            (!self.members.is_empty(), "it has no members"),
            (self.members.len() <= limits::MEMBERS_MAX, "it has too many members"),
            (ordered, "members are not in the order of their ordinals"),
            (names.len() == self.members.len(), "two members have one name"),
            (self.members.iter().all(|m| m.ordinal < self.next_ordinal), "an ordinal is not issued"),
            (self.members.iter().all(|m| m.vnodes <= limits::VNODES_MAX), "too many vnodes"),
            (tokens <= u64::from(limits::TOKENS_MAX), "too many vnodes in all"),
            (self.members.iter().all(|m| self.derives(m)), "a node id does not follow from its name"),
            ((1..=limits::VOTERS_MAX).contains(&self.voters.len()), "it has no voters, or too many"),
            (self.voters.is_sorted_by(|a, b| a < b), "voters are not in order"),
            (self.voters.iter().all(|voter| is_member(*voter)), "a voter is not a member"),
            (is_member(self.coordinator), "the coordinator is not a member"),
            (replication.contains(&self.config.replication), "replication is out of range"),
            (self.config.ring_algorithm == RING_ALGORITHM, "the ring algorithm is unknown"),
            (self.fence.value() <= self.epoch.value(), "the fence is ahead of the epoch"),
            (self.owners_valid(&self.ring), "the ring is not in order or names no member"),
            (
                self.target.as_ref().is_none_or(|target| self.owners_valid(target)),
                "the target is not in order or names no member",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }

    fn derives(&self, member: &Member) -> bool {
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
