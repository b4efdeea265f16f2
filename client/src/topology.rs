//! The view a client goes by, what it computes from it, and which other view replaces it. Pure but for the handles it
//! carries.

use std::{collections::BTreeSet, sync::Arc};

use quoit_proto_types::{
    ClusterId, Epoch, HashPoint, Member, Ordinal, Ring, View,
    frame::FrameType,
    view::{Liveness, ViewDelta, ViewHash},
};
use tokio::time::Instant;

pub(crate) use choice::Merit;
use choice::{Standing, best, standings};

use crate::{connection::Connection, pool::Node};

mod choice;

/// Clusters left behind by recoveries that are remembered. Each took an operator; nobody takes this many.
const LEFT_MAX: usize = 16;

/// A view, its ring, and a handle to each member. Never changed: a newer view makes a new topology.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) view: View,
    pub(crate) ring: Arc<Ring>,
    /// When it took effect here.
    pub(crate) installed: Instant,
    hash: ViewHash,
    /// Clusters that this one was recovered from, directly or not. What is left of them never replaces it.
    left: Vec<ClusterId>,
    /// In the order of `view.members()`.
    nodes: Vec<Arc<Node>>,
    /// In the same order.
    standings: Vec<Standing>,
}

/// What a view is to one who goes by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It replaces the known one: it is later, or of the cluster that an operator made of the known one's survivor.
    Install,
    /// It says nothing new.
    Keep,
    /// It is of a cluster that has nothing to do with the known one. Either the known one was started anew, on empty
    /// disks, and then this is what there is; or one node was started beside it by mistake, and then it must not carry the
    /// client away. So it replaces the known one only once no node answers for that.
    ///
    /// Epochs do not tell the two apart: those of two clusters have nothing to do with each other.
    Rival,
}

/// What becomes of the connection to a member when a view is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redial {
    /// It stays as it is, and so does the pause before the next dial.
    No,
    /// It stays if there is one. Otherwise the member is dialled at once: whatever kept it away has passed.
    IfLost,
    /// It leads to a process that is gone, or to another place: the member is dialled at once.
    Always,
}

/// Why a frame gave no view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoView {
    /// It tells of nothing later than the known view.
    Old,
    /// It tells how a view differs from another than the known one: ask for the whole.
    OtherBase,
    /// It is neither a view nor a delta.
    Malformed,
}

impl Topology {
    /// `node_for` supplies each member's handle.
    pub(crate) fn first(view: View, installed: Instant, node_for: impl FnMut(&Member) -> Arc<Node>) -> Self {
        let nodes = view.members().iter().map(node_for).collect();
        let (ring, hash, left) = (Arc::new(view.ring()), view.hash(), left_before(&view));
        let standings = standings(&view);
        Self { view, ring, installed, hash, left, nodes, standings }
    }

    /// What follows it. A member's handle is kept unless [`Redial`] says otherwise; `start` makes those of the others, and
    /// is given the handle that the new one takes the place of.
    ///
    /// The ring is kept if nothing of it has changed: most views only tell of an election or of who is up, and a large
    /// ring costs every client milliseconds.
    pub(crate) fn next(
        &self,
        view: View,
        installed: Instant,
        mut start: impl FnMut(&Member, Option<&Arc<Node>>) -> Arc<Node>,
    ) -> Self {
        let known = |ordinal| self.view.member(ordinal).zip(self.node(ordinal));
        // Ordinals of another cluster say nothing, and one member's instance may be known under two of them while it returns.
        let known = |member: &Member| known(member.ordinal).filter(|(known, _)| known.instance == member.instance);
        let node_for = |member: &Member| match known(member) {
            Some((known, node)) => match redial(known, member) {
                Redial::No => Arc::clone(node),
                Redial::IfLost if node.ready().is_some() => Arc::clone(node),
                Redial::IfLost | Redial::Always => start(member, Some(node)),
            },
            None => start(member, None),
        };
        let nodes = view.members().iter().map(node_for).collect();
        let ring = if same_ring(&self.view, &view) { Arc::clone(&self.ring) } else { Arc::new(view.ring()) };
        let (hash, left) = (view.hash(), left_behind(&self.view, &self.left, &view));
        let standings = standings(&view);
        Self { view, ring, installed, hash, left, nodes, standings }
    }

    /// What `view` is to one who goes by this topology.
    pub(crate) fn judge(&self, view: &View) -> Verdict {
        judge(&self.view, &self.left, view)
    }

    /// The view in the body of a frame of `kind`, whole or as a delta to the known one.
    pub(crate) fn read(&self, kind: FrameType, body: &[u8]) -> Result<View, NoView> {
        read(Some((&self.view, self.hash)), kind, body)
    }

    /// The member to ask for what is at `point`, unless all are among `tried`: the first owner that is up and connected, or
    /// who comes closest to that. Every member carries out every request, so one that owns nothing does as well; it is drawn by
    /// the key, so that not all keys without an owner in reach go to the same one.
    pub(crate) fn choose(&self, point: HashPoint, tried: &[Ordinal]) -> Option<Ordinal> {
        let owners = self.ring.owners(self.ring.slots().slot_of(point));
        let members = self.view.members();
        let start = usize::try_from(point.value() % members.len().max(1) as u64).unwrap_or(0);
        let all = members[start..].iter().chain(&members[..start]).map(|member| member.ordinal);
        best(owners, all, |ordinal| self.merit(ordinal).filter(|_| !tried.contains(&ordinal)))
    }

    /// The primary of what is at `point`, and the connection to it, if that is the [`Best`](Merit::Best) choice: as it nearly
    /// always is, and then nothing else need be looked at.
    pub(crate) fn primary_at_its_best(&self, point: HashPoint) -> Option<(Ordinal, &Arc<Node>, Arc<Connection>)> {
        let primary = self.ring.primary_of(point)?;
        let index = self.index(primary).filter(|index| self.standings[*index] == Standing::Well)?;
        let node = &self.nodes[index];
        Some((primary, node, node.ready()?))
    }

    /// How good a choice `ordinal` is; nothing if it is no member.
    fn merit(&self, ordinal: Ordinal) -> Option<Merit> {
        let index = self.index(ordinal)?;
        Some(Merit::of(self.standings[index], self.nodes[index].reach()))
    }

    pub(crate) fn node(&self, ordinal: Ordinal) -> Option<&Arc<Node>> {
        self.index(ordinal).map(|index| &self.nodes[index])
    }

    fn index(&self, ordinal: Ordinal) -> Option<usize> {
        self.view.members().binary_search_by_key(&ordinal, |member| member.ordinal).ok()
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Tells the connections which members are down.
    pub(crate) fn tell_liveness(&self) {
        for (member, node) in self.view.members().iter().zip(&self.nodes) {
            if let Some(connection) = node.ready() {
                connection.note_liveness(member.live);
            }
        }
    }

    /// Whether `node` is a handle of one of its members.
    pub(crate) fn has(&self, node: &Arc<Node>) -> bool {
        self.nodes.iter().any(|known| Arc::ptr_eq(known, node))
    }

    /// The handles that `next` has not taken over.
    pub(crate) fn left_out_of<'a>(&'a self, next: &Self) -> impl Iterator<Item = &'a Arc<Node>> {
        let kept: BTreeSet<_> = next.nodes.iter().map(Arc::as_ptr).collect();
        self.nodes.iter().filter(move |node| !kept.contains(&Arc::as_ptr(node)))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.view.epoch()
    }
}

/// The view in a frame, for one who knows none.
pub(crate) fn read_first(kind: FrameType, body: &[u8]) -> Result<View, NoView> {
    read(None, kind, body)
}

fn read(known: Option<(&View, ViewHash)>, kind: FrameType, body: &[u8]) -> Result<View, NoView> {
    if kind == FrameType::View {
        return View::decode(body).map_err(|_| NoView::Malformed);
    }
    if kind != FrameType::ViewDelta {
        return Err(NoView::Malformed);
    }
    let delta = ViewDelta::decode(body).map_err(|_| NoView::Malformed)?;
    let Some((view, hash)) = known else {
        return Err(NoView::OtherBase);
    };
    if delta.base != hash && delta.epoch <= view.epoch() {
        return Err(NoView::Old);
    }
    // Whatever is wrong with a delta, the whole view tells.
    delta.apply(view, hash).map_err(|_| NoView::OtherBase)
}

fn judge(known: &View, left: &[ClusterId], view: &View) -> Verdict {
    let (known, view) = (known.fields(), view.fields());
    if view.cluster_id == known.cluster_id {
        if view.epoch > known.epoch { Verdict::Install } else { Verdict::Keep }
    } else if view.recovered_from == Some(known.cluster_id) {
        Verdict::Install
    } else if left.contains(&view.cluster_id) {
        // A part of the old cluster may live on in ignorance. Its operator has left it behind.
        Verdict::Keep
    } else {
        Verdict::Rival
    }
}

/// What becomes of the connection to a member of a view that is `known`, as `next` tells of it. Both are of one instance.
///
/// A process that ended may have left no trace: without this, the first request on the old connection would find out, and
/// nobody could tell whether a write took effect.
fn redial(known: &Member, next: &Member) -> Redial {
    let is_elsewhere = (&known.name, &known.address) != (&next.name, &next.address);
    if known.boot != next.boot || is_elsewhere {
        Redial::Always
    } else if known.live == Liveness::Down && next.live == Liveness::Up {
        Redial::IfLost
    } else {
        Redial::No
    }
}

/// The clusters that are left behind by a client which goes by `view` and has known no other.
fn left_before(view: &View) -> Vec<ClusterId> {
    view.fields().recovered_from.into_iter().collect()
}

/// The clusters that are left behind once `next` replaces `known`.
fn left_behind(known: &View, left: &[ClusterId], next: &View) -> Vec<ClusterId> {
    let (known, next_fields) = (known.fields(), next.fields());
    if next_fields.cluster_id == known.cluster_id {
        left.to_vec()
    } else if next_fields.recovered_from == Some(known.cluster_id) {
        let kept = left.len().saturating_sub(LEFT_MAX - 1);
        left[kept..].iter().copied().chain([known.cluster_id]).collect()
    } else {
        left_before(next)
    }
}

/// Whether both views have one ring, by all that it is computed from.
fn same_ring(old: &View, new: &View) -> bool {
    let (a, b) = (old.fields(), new.fields());
    let placed = |view: &View, ordinal| {
        let member = view.member(ordinal)?;
        let (zone, vnodes) = member.placed();
        Some((member.node_id, zone.clone(), vnodes))
    };
    let same_owner = |ordinal| placed(old, ordinal) == placed(new, ordinal);
    (a.config.slots, a.copies) == (b.config.slots, b.copies)
        && a.ring.len() == b.ring.len()
        && a.ring.iter().zip(&b.ring).all(|(a, b)| a.ordinal == b.ordinal && same_owner(a.ordinal))
}

#[cfg(test)]
pub(crate) mod tests;
