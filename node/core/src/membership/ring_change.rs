//! The one way in which the ring changes: `Stable(old) → Joint(old, new) → Stable(new)`, or back.
//!
//! Joining, leaving, removal, another weight or zone, another number of copies, and a restart that lost the memory all take
//! it. The first commit names the target, if all who would take slots are up to do so. The second puts it in force, and has
//! one guard: every owner-to-be that is up has reported that it holds its slots, every one that takes slots is among them,
//! every present owner that is up has installed the joint view, and no slot that somebody who lives owns comes to be owned by
//! nobody who does (one may have gone down meanwhile, as in simulator seed 6053). Going back needs no guard.
//!
//! Whether a node has room for what it takes is not asked: in an `available` keyspace it takes what comes and evicts, as a
//! full cache does (PROTOCOL, 8.5).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quoit_proto_types::{
    Epoch, Fence, Label, Member, Ordinal, View,
    view::{Intent, Liveness, Owner},
};

use crate::{
    cluster::WaitingChange,
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};
use prospect::{Prospect, down_keepers, gainers, lives};

mod prospect;

#[cfg(test)]
pub(super) use prospect::testing::next_ring;

/// What a coordinator knows of the ring change under way, or of one to come. Lost with its office, and gathered again by the
/// next one, as all who report repeat it.
#[derive(Debug)]
pub(super) struct RingChange {
    /// The fence that the rest is about.
    fence: Fence,
    /// Since when the present stage lasts without progress, or another ring has been wanted.
    since: Timestamp,
    wanted: bool,
    /// How many slots owners-to-be have yet to fetch.
    left: BTreeMap<Ordinal, Left>,
    /// Members that go by this fence.
    installed: BTreeSet<Ordinal>,
    /// The owners-to-be that take slots, once it has been worked out.
    gainers: Option<BTreeSet<Ordinal>>,
    /// Whether slots would be left to owners that are down, in the view of this epoch.
    strands: Option<(Epoch, bool)>,
    /// What is to be done about the ring of the view of this epoch. Comparing two rings slot by slot is for once.
    prospect: Option<(Epoch, Prospect)>,
}

/// How many slots an owner-to-be has yet to fetch: as it said last, and the least that it ever said.
#[derive(Clone, Copy, Debug)]
struct Left {
    now: u32,
    least: u32,
}

/// What to do about the ring in the next view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Name a target.
    Begin {
        target: Vec<Owner>,
        /// Slots that nobody holds any more.
        lost: u32,
    },
    /// Put the target in force.
    Finish,
    /// Give the target up.
    Abort,
}

impl RingChange {
    /// Knows nothing.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            fence: Fence::default(),
            since: now,
            wanted: false,
            left: BTreeMap::new(),
            installed: BTreeSet::new(),
            gainers: None,
            strands: None,
            prospect: None,
        }
    }

    /// Goes on to `view`. What was reported of another fence counts no more.
    pub(super) fn enter(&mut self, now: Timestamp, view: &View) {
        if self.fence != view.fence() {
            *self = Self { fence: view.fence(), ..Self::new(now) };
        }
    }

    /// `member` goes by `fence`.
    pub(super) fn note_installed(&mut self, member: Ordinal, fence: Fence) {
        if fence == self.fence {
            self.installed.insert(member);
        }
    }

    /// `owner` has yet to fetch `left` of the slots that it is to own under the target of `fence`. Whether that is news.
    ///
    /// Who has less left than ever shows that the change goes on, and all others get their time anew.
    pub(super) fn note_synced(&mut self, now: Timestamp, owner: Ordinal, fence: Fence, left: u32) -> bool {
        if fence != self.fence {
            return false;
        }
        let known = self.left.get(&owner).copied();
        let least = known.map_or(left, |known| known.least.min(left));
        if known.is_none_or(|known| left < known.least) {
            self.since = now;
        }
        self.left.insert(owner, Left { now: left, least });
        known.is_none_or(|known| known.now != left)
    }

    /// The next step from `view`. Notes since when it has been wanted.
    pub(super) fn step(&mut self, now: Timestamp, view: &View, me: Ordinal, timing: Timing, planted: Planted) -> Step {
        self.enter(now, view);
        self.installed.insert(me);
        match &view.fields().target {
            None => self.step_from_stable(now, view, timing, planted),
            Some(target) => self.step_from_joint(now, view, target, timing.patience, planted),
        }
    }

    fn step_from_stable(&mut self, now: Timestamp, view: &View, timing: Timing, planted: Planted) -> Step {
        if self.prospect.as_ref().is_none_or(|(epoch, _)| *epoch != view.epoch()) {
            self.prospect = Some((view.epoch(), Prospect::of(view, planted)));
        }
        let Some((_, Prospect::Begin { target, lost })) = &self.prospect else {
            self.wanted = false;
            return Step::Rest;
        };
        if !self.wanted {
            (self.wanted, self.since) = (true, now);
        }
        // What restarted cannot serve until it is in the ring again, so it does not wait for others.
        let restarted = |owner: &Owner| {
            let member = view.member(owner.ordinal);
            member.is_some_and(|member| member.live == Liveness::Up && member.boot != owner.boot)
        };
        let urgent = view.fields().ring.iter().any(restarted) || view.fields().ring.is_empty();
        if urgent || self.since.saturating_add(timing.batch) <= now {
            Step::Begin { target: target.clone(), lost: *lost }
        } else {
            Step::Rest
        }
    }

    fn step_from_joint(
        &mut self,
        now: Timestamp,
        view: &View,
        target: &[Owner],
        patience: Duration,
        planted: Planted,
    ) -> Step {
        let gainers = self.gainers.get_or_insert_with(|| gainers(view, target)).clone();
        if self.strands.is_none_or(|(epoch, _)| epoch != view.epoch()) {
            self.strands = Some((view.epoch(), !down_keepers(view, target).is_empty()));
        }
        if self.is_met(view, target, &gainers, planted) || planted.is(Bug::GuardIgnored) {
            return Step::Finish;
        }
        let hopeless = pending(view, target).any(|owner| is_gone(view, owner));
        let stuck = self.since.saturating_add(patience) <= now;
        if hopeless || stuck { Step::Abort } else { Step::Rest }
    }

    /// Whether the target of `view` may be put in force, as far as that has been worked out.
    pub(super) fn may_finish(&self, view: &View, planted: Planted) -> bool {
        let target = view.fields().target.as_ref().filter(|_| self.fence == view.fence());
        target.zip(self.gainers.as_ref()).is_some_and(|(target, gainers)| self.is_met(view, target, gainers, planted))
    }

    /// The guard of the second commit.
    ///
    /// One that takes slots must be up as well: what it reported before it fell silent may be gone with it.
    fn is_met(&self, view: &View, target: &[Owner], gainers: &BTreeSet<Ordinal>, planted: Planted) -> bool {
        let holds_all = |owner: &Owner| self.left.get(&owner.ordinal).is_some_and(|left| left.now == 0);
        let mut awaited = target.iter().filter(|owner| lives(view, owner) || gainers.contains(&owner.ordinal));
        let synced = if planted.is(Bug::GuardCountsOneOwner) {
            awaited.any(holds_all)
        } else {
            awaited.all(|owner| lives(view, owner) && holds_all(owner))
        };
        let strands = self.strands.is_some_and(|(epoch, strands)| epoch == view.epoch() && strands);
        let mut present = view.fields().ring.iter().filter(|owner| lives(view, owner));
        synced && !strands && present.all(|owner| self.installed.contains(&owner.ordinal))
    }

    /// Why a ring change that is wanted does not begin; nothing while it may, or one is under way.
    pub(super) fn waiting(&self, view: &View) -> Option<WaitingChange> {
        let (epoch, prospect) = self.prospect.as_ref()?;
        let name = |member: &Member| member.name.clone();
        match prospect {
            Prospect::Settled | Prospect::Begin { .. } => None,
            _ if *epoch != view.epoch() || view.fields().target.is_some() => None,
            Prospect::Blocked(down) => {
                let down = down.iter().filter_map(|ordinal| view.member(*ordinal)).map(name).collect();
                Some(WaitingChange::Down(down))
            }
            Prospect::NobodyElse => {
                let owners = view.fields().ring.iter().filter_map(|owner| view.member(owner.ordinal));
                let leave: Vec<Label> = owners.map(name).collect();
                Some(WaitingChange::NobodyElse(leave))
            }
        }
    }
}

/// Whether `owner`, which is to own and does not yet, will never hold its slots. One that owned them in an earlier life and is
/// to leave takes them again, if others cannot do without.
fn is_gone(view: &View, owner: &Owner) -> bool {
    let owned = view.fields().ring.binary_search_by_key(&owner.ordinal, |owner| owner.ordinal).is_ok();
    let member = view.member(owner.ordinal);
    member.is_none_or(|member| member.boot != owner.boot || (member.intent != Intent::Stay && !owned))
}

/// The owners-to-be that do not own yet.
fn pending<'a>(view: &'a View, target: &'a [Owner]) -> impl Iterator<Item = &'a Owner> {
    target.iter().filter(|owner| view.fields().ring.binary_search(owner).is_err())
}
