//! The one way in which the ring changes: `Stable(old) → Joint(old, new) → Stable(new)`, or back.
//!
//! Joining, leaving, removal and a restart that lost the memory all take it. The first commit names the target. The second
//! puts it in force, and has one guard: every owner-to-be has reported that it holds its slots, and every present owner that
//! is up has installed the joint view. Going back needs no guard.

use std::collections::BTreeSet;

use quoit_proto_types::{
    Fence, Member, Ordinal, View,
    view::{Intent, Liveness, Owner},
};

use crate::{
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// What a coordinator knows of the ring change under way, or of one to come. Lost with its office, and gathered again by the
/// next one.
#[derive(Debug)]
pub(super) struct RingChange {
    /// The fence that the rest is about.
    fence: Fence,
    /// Since when the present stage lasts, or another ring has been wanted.
    since: Timestamp,
    wanted: bool,
    /// Owners-to-be that hold all their slots.
    synced: BTreeSet<Ordinal>,
    /// Members that go by this fence.
    installed: BTreeSet<Ordinal>,
}

/// What to do about the ring in the next view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Name a target.
    Begin(Vec<Owner>),
    /// Put the target in force.
    Finish,
    /// Give the target up.
    Abort,
}

impl RingChange {
    /// Knows nothing.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { fence: Fence::default(), since: now, wanted: false, synced: BTreeSet::new(), installed: BTreeSet::new() }
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

    /// `owner` holds all slots that it is to own under the target of `fence`.
    pub(super) fn note_synced(&mut self, owner: Ordinal, fence: Fence) {
        if fence == self.fence {
            self.synced.insert(owner);
        }
    }

    /// The next step from `view`. Notes since when it has been wanted.
    pub(super) fn step(&mut self, now: Timestamp, view: &View, me: Ordinal, timing: Timing, planted: Planted) -> Step {
        self.enter(now, view);
        self.installed.insert(me);
        match &view.fields().target {
            None => self.step_from_stable(now, view, timing),
            Some(target) => self.step_from_joint(now, view, target, timing, planted),
        }
    }

    fn step_from_stable(&mut self, now: Timestamp, view: &View, timing: Timing) -> Step {
        let wanted = wanted_ring(view);
        if wanted == view.fields().ring {
            self.wanted = false;
            return Step::Rest;
        }
        if !self.wanted {
            (self.wanted, self.since) = (true, now);
        }
        // What restarted cannot serve until it is in the ring again, so it does not wait for others.
        let restarted = |owner: &Owner| {
            let member = view.member(owner.ordinal);
            member.is_some_and(|member| member.live == Liveness::Up && member.boot != owner.boot)
        };
        let urgent = view.fields().ring.iter().any(restarted) || view.fields().ring.is_empty();
        if urgent || self.since.saturating_add(timing.batch) <= now { Step::Begin(wanted) } else { Step::Rest }
    }

    fn step_from_joint(&self, now: Timestamp, view: &View, target: &[Owner], timing: Timing, planted: Planted) -> Step {
        if self.is_met(view, target) || planted.is(Bug::GuardIgnored) {
            return Step::Finish;
        }
        let is_gone = |owner: &&Owner| {
            let member = view.member(owner.ordinal);
            member.is_none_or(|member| member.boot != owner.boot || member.intent != Intent::Stay)
        };
        let hopeless = pending(view, target).any(|owner| is_gone(&owner));
        let stuck = self.since.saturating_add(timing.patience) <= now;
        if hopeless || stuck { Step::Abort } else { Step::Rest }
    }

    /// Whether the target of `view` may be put in force.
    pub(super) fn may_finish(&self, view: &View) -> bool {
        let target = view.fields().target.as_ref();
        self.fence == view.fence() && target.is_some_and(|target| self.is_met(view, target))
    }

    /// The guard of the second commit.
    fn is_met(&self, view: &View, target: &[Owner]) -> bool {
        let is_up = |owner: &&Owner| {
            let member = view.member(owner.ordinal);
            member.is_some_and(|member| member.live == Liveness::Up && member.boot == owner.boot)
        };
        pending(view, target).all(|owner| self.synced.contains(&owner.ordinal))
            && view.fields().ring.iter().filter(is_up).all(|owner| self.installed.contains(&owner.ordinal))
    }
}

/// The owners-to-be that do not own yet.
pub(super) fn pending<'a>(view: &'a View, target: &'a [Owner]) -> impl Iterator<Item = &'a Owner> {
    target.iter().filter(|owner| view.fields().ring.binary_search(owner).is_err())
}

/// The ring that `view` should have: everybody who stays, has vnodes, and is up or was an owner before.
///
/// No slot may lose more than one owner at a time, so of those who leave a small ring, one goes and the others wait.
pub(super) fn wanted_ring(view: &View) -> Vec<Owner> {
    let fields = view.fields();
    let owns = |member: &Member| fields.ring.iter().find(|owner| owner.ordinal == member.ordinal);
    let belongs = |member: &&Member| {
        let stays = member.intent == Intent::Stay && member.vnodes > 0;
        stays && (member.live == Liveness::Up || owns(member).is_some())
    };
    let owner = |member: &Member| match owns(member) {
        // One that is down keeps the place of its earlier life until it is back.
        Some(owner) if member.live == Liveness::Down => *owner,
        Some(_) | None => Owner { ordinal: member.ordinal, boot: member.boot },
    };
    let mut wanted: Vec<Owner> = fields.members.iter().filter(belongs).map(owner).collect();
    // Of those who hold the slots, all but one must stay, if there are no more of them than copies. One that is up is worth more.
    let full = fields.ring.len().min(usize::from(fields.config.replication));
    let is_wanted = |owner: &&Owner| wanted.iter().any(|known| known.ordinal == owner.ordinal);
    let stay = fields.ring.iter().filter(is_wanted).count();
    let mut leaving: Vec<Owner> = fields.ring.iter().filter(|owner| !is_wanted(owner)).copied().collect();
    let is_up = |owner: &Owner| view.member(owner.ordinal).is_some_and(|member| member.live == Liveness::Up);
    leaving.sort_by_key(|owner| !is_up(owner));
    wanted.extend(leaving.into_iter().take(full.saturating_sub(stay + 1)));
    if wanted.is_empty() {
        // Whoever is to go, somebody must hold the slots.
        return fields.ring.clone();
    }
    wanted.sort_unstable();
    wanted
}
