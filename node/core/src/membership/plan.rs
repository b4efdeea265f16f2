//! The next view: everything that is known to have changed, in one draft.

use std::collections::{BTreeMap, BTreeSet};

use quoit_proto_types::{
    Ballot, Epoch, Fence, Identity, Label, Member, Ordinal, Role, View,
    limits::{CHANGES_MAX, MEMBERS_MAX, VOTERS_MAX},
    message::membership::Applicant,
    view::{AssignedTokens, Change, Intent, InvalidView, Liveness, Owner, ViewFields, ViewHash},
};

use super::{admissions::is_same, ring_change::Step, slow_reports::Paces, verdict::Verdict};
use crate::{
    placement::{first_tokens, tokens_towards},
    planted::{Bug, Planted},
    time::Timestamp,
    timing::Timing,
};

/// Of the ring, at least this part in percent must stay up when a member is removed for being down too long. Below, so many
/// fail at once that only an administrator removes.
const UP_MIN_PERCENT: usize = 75;

/// What an administrator ordered, and who that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) what: Ordered,
    pub(super) by: Label,
}

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ordered {
    /// A member is to go.
    Drain(Label),
    /// The same, without its doing.
    ForceOut(Label),
    /// So many copies are wanted.
    Copies(u8),
    /// A member is to have so many vnodes.
    Weight(Label, u32),
}

impl Ordered {
    /// The member that is to go, if that is ordered.
    pub(super) fn leaver(&self) -> Option<&Label> {
        match self {
            Self::Drain(name) | Self::ForceOut(name) => Some(name),
            Self::Copies(_) | Self::Weight(..) => None,
        }
    }

    /// Whether `view` is as ordered, or can never be.
    pub(super) fn is_done(&self, view: &View) -> bool {
        let staying = |name: &Label| view.member_named(name).filter(|member| member.intent == Intent::Stay);
        match self {
            Self::Drain(name) | Self::ForceOut(name) => staying(name).is_none(),
            Self::Copies(copies) => view.fields().config.replication == *copies,
            Self::Weight(name, vnodes) => staying(name).is_none_or(|member| member.vnodes == *vnodes),
        }
    }
}

/// All that goes into the next view.
#[derive(Debug)]
pub(super) struct Knowledge<'a> {
    pub(super) view: &'a View,
    pub(super) hash: ViewHash,
    pub(super) me: Ordinal,
    /// Whether the coordinator is new, and publishes that.
    pub(super) elected: bool,
    pub(super) now: Timestamp,
    pub(super) timing: Timing,
    pub(super) planted: Planted,
    pub(super) applicants: Vec<Applicant>,
    pub(super) orders: &'a [Order],
    pub(super) verdict: Verdict,
    pub(super) paces: Paces,
    /// Members that have been heard to have `view`. Votes are given to and relied on with these only.
    pub(super) present: BTreeSet<Ordinal>,
    /// Since when members have been down.
    pub(super) down_since: &'a BTreeMap<Ordinal, Timestamp>,
    pub(super) ring: Step,
}

impl Knowledge<'_> {
    /// The next view, under `ballot`; `None` if nothing is to change.
    ///
    /// # Errors
    /// The rule that the result would break. It is a bug to get there.
    pub(super) fn next_view(&self, ballot: Ballot, proposed_at_ms: u64) -> Option<Result<View, InvalidView>> {
        let mut draft = Draft::of(self, ballot, proposed_at_ms);
        if self.elected || self.view.fields().coordinator != self.me {
            draft.changes.push(Change::Elected(draft.name(self.me)));
        }
        self.applicants.iter().for_each(|applicant| draft.admit(applicant, self.planted));
        self.orders.iter().for_each(|order| draft.order(order, self.planted));
        draft.judge(self);
        draft.set_paces(self);
        draft.give_up(self);
        draft.step(self);
        draft.remove_gone(self);
        draft.adjust_voters(self);
        draft.finish()
    }

    fn has_been_down(&self, ordinal: Ordinal, wait: std::time::Duration) -> bool {
        self.down_since.get(&ordinal).is_some_and(|since| since.saturating_add(wait) <= self.now)
    }
}

/// The view to be, and what makes it differ.
struct Draft {
    fields: ViewFields,
    changes: Vec<Change>,
}

impl Draft {
    fn of(known: &Knowledge<'_>, ballot: Ballot, proposed_at_ms: u64) -> Self {
        let mut fields = known.view.fields().clone();
        fields.epoch = known.view.epoch().next();
        fields.previous = known.hash;
        fields.ballot = ballot;
        fields.coordinator = known.me;
        fields.proposed_at_ms = proposed_at_ms;
        Self { fields, changes: Vec::new() }
    }

    fn finish(self) -> Option<Result<View, InvalidView>> {
        if self.changes.is_empty() {
            return None;
        }
        let changes = self.changes.into_iter().take(CHANGES_MAX).collect();
        Some(View::new(ViewFields { changes, ..self.fields }))
    }

    fn name(&self, ordinal: Ordinal) -> Label {
        let member = self.fields.members.iter().find(|member| member.ordinal == ordinal);
        member.expect("it is in the view").name.clone()
    }

    fn admit(&mut self, applicant: &Applicant, planted: Planted) {
        // One that an administrator wants gone, and that restarts on the way, goes on leaving: its vote may be needed for that.
        let welcome = |intent| match intent {
            Intent::Stay | Intent::Leave => true,
            Intent::Lost => self.may_stay(&applicant.name),
        };
        let known = self.fields.members.iter().find(|member| member.instance == applicant.instance);
        let is_welcome = known.is_some_and(|member| welcome(member.intent));
        let same = |member: &&mut Member| member.instance == applicant.instance && is_welcome;
        if let Some(member) = self.fields.members.iter_mut().find(same) {
            if (is_same(member, applicant) && member.intent != Intent::Lost) || member.boot > applicant.boot {
                return;
            }
            if member.intent == Intent::Lost {
                member.intent = Intent::Stay;
            }
            let restarted = member.boot != applicant.boot;
            let (moved, name) = (member.address != applicant.address, member.name.clone());
            update(member, applicant, owns(&self.fields.ring, member.ordinal, planted));
            self.changes.push(match (restarted, moved) {
                (true, _) => Change::Restarted(name),
                (false, true) => Change::Moved(name, applicant.address.clone()),
                (false, false) => Change::Changed(name),
            });
            return;
        }
        if self.fields.members.iter().any(|member| member.instance == applicant.instance) {
            return;
        }
        let named = |member: &&mut Member| member.name == applicant.name && member.intent == Intent::Stay;
        if self.is_full(applicant) {
            return;
        }
        let predecessor = self.fields.members.iter_mut().find(named);
        if let Some(old) = predecessor {
            if old.live == Liveness::Up && !planted.is(Bug::NameStolen) {
                // It came back while the other was being reached.
                return;
            }
            if planted.is(Bug::InstanceInherits) {
                old.instance = applicant.instance;
                update(old, applicant, owns(&self.fields.ring, old.ordinal, planted));
                return self.changes.push(Change::Restarted(applicant.name.clone()));
            }
            (old.intent, old.live, old.degraded) = (Intent::Lost, Liveness::Down, false);
            self.changes.push(Change::Replaced(applicant.name.clone()));
        } else {
            self.changes.push(Change::Joined(applicant.name.clone()));
        }
        self.add(applicant);
    }

    /// Whether a member called `name` that was given up may stay after all: nobody has taken its place.
    fn may_stay(&self, name: &Label) -> bool {
        !self.fields.members.iter().any(|member| member.name == *name && member.intent == Intent::Stay)
    }

    /// Whether the draft has no room for one more. Who was let in before it may have taken the last place.
    fn is_full(&self, applicant: &Applicant) -> bool {
        let vnodes: u64 = self.fields.members.iter().map(|member| u64::from(member.vnodes)).sum();
        let tokens_max = u64::from(self.fields.config.ring_algorithm.tokens_max());
        self.fields.members.len() >= MEMBERS_MAX || vnodes + u64::from(applicant.vnodes) > tokens_max
    }

    /// A new member, with an ordinal that nobody had before.
    fn add(&mut self, applicant: &Applicant) {
        let cluster = self.fields.cluster.clone();
        let identity = Identity { role: Role::Node, name: applicant.name.clone(), cluster };
        let ordinal = self.fields.next_ordinal;
        self.fields.next_ordinal = Ordinal::new(ordinal.value() + 1);
        self.fields.members.push(Member {
            ordinal,
            node_id: identity.node_id(),
            name: identity.name,
            instance: applicant.instance,
            boot: applicant.boot,
            address: applicant.address.clone(),
            zone: applicant.zone.clone(),
            vnodes: applicant.vnodes,
            priority: applicant.priority,
            versions: applicant.versions,
            placed: None,
            live: Liveness::Up,
            degraded: false,
            intent: Intent::Stay,
        });
    }

    fn order(&mut self, order: &Order, planted: Planted) {
        let by = order.by.clone();
        let fields = &mut self.fields;
        let change = match &order.what {
            Ordered::Drain(name) => staying(&mut fields.members, name).map(|member| {
                member.intent = Intent::Leave;
                Change::Draining(name.clone(), by)
            }),
            Ordered::ForceOut(name) => staying(&mut fields.members, name).map(|member| {
                member.intent = Intent::Leave;
                Change::ForcedOut(name.clone(), by)
            }),
            // The ring to be follows from it, so it waits until there is none.
            Ordered::Copies(copies) => {
                let waits = fields.target.is_some() || fields.config.replication == *copies;
                (!waits).then(|| {
                    fields.config.replication = *copies;
                    Change::CopiesWanted(*copies, by)
                })
            }
            Ordered::Weight(name, vnodes) => {
                let differs = |member: &&mut Member| member.vnodes != *vnodes;
                staying(&mut fields.members, name).filter(differs).map(|member| {
                    member.resettle(member.zone.clone(), *vnodes, owns(&fields.ring, member.ordinal, planted));
                    Change::Weighed(name.clone(), *vnodes, by)
                })
            }
        };
        self.changes.extend(change);
    }

    fn judge(&mut self, known: &Knowledge<'_>) {
        // What was said of an earlier life says nothing of the one that was admitted just now.
        let same = |member: &Member| known.view.member(member.ordinal).is_some_and(|old| old.boot == member.boot);
        for member in self.fields.members.iter_mut().filter(|member| same(member)) {
            let is_down = known.verdict.down.contains(&member.ordinal) && member.ordinal != known.me;
            if is_down && member.live == Liveness::Up {
                // Nobody measures it any more.
                (member.live, member.degraded) = (Liveness::Down, false);
                self.changes.push(Change::Down(member.name.clone()));
            }
            let is_up = known.verdict.up.contains(&member.ordinal) || member.ordinal == known.me;
            if is_up && member.live == Liveness::Down {
                member.live = Liveness::Up;
                self.changes.push(Change::Up(member.name.clone()));
            }
        }
    }

    /// Tells who is slow, and who is not any more. That places nothing anywhere else, so the fence stays.
    fn set_paces(&mut self, known: &Knowledge<'_>) {
        let same = |member: &Member| known.view.member(member.ordinal).is_some_and(|old| old.boot == member.boot);
        let up = |member: &&mut Member| member.live == Liveness::Up;
        for member in self.fields.members.iter_mut().filter(up).filter(|member| same(member)) {
            if known.paces.slow.contains(&member.ordinal) && !member.degraded {
                member.degraded = true;
                self.changes.push(Change::Slow(member.name.clone()));
            }
            if known.paces.quick.contains(&member.ordinal) && member.degraded {
                member.degraded = false;
                self.changes.push(Change::QuickAgain(member.name.clone()));
            }
        }
    }

    /// Gives up on those who have been down for too long, one after the other, as long as most of the owners that are left
    /// are up. If not, so many are down that it must be something else.
    fn give_up(&mut self, known: &Knowledge<'_>) {
        let out_after = std::time::Duration::from_secs(u64::from(self.fields.config.out_after_s));
        let fields = &mut self.fields;
        let owner = |ordinal: Ordinal| fields.ring.iter().any(|owner| owner.ordinal == ordinal);
        let up =
            |member: &&Member| owner(member.ordinal) && member.live == Liveness::Up && member.intent == Intent::Stay;
        let stays = |member: &&Member| owner(member.ordinal) && member.intent == Intent::Stay;
        let up = fields.members.iter().filter(up).count();
        let mut owners = fields.members.iter().filter(stays).count();
        for member in &mut fields.members {
            let down = member.live == Liveness::Down && member.intent == Intent::Stay;
            if !down || !known.has_been_down(member.ordinal, out_after) {
                continue;
            }
            let owns = fields.ring.iter().any(|owner| owner.ordinal == member.ordinal);
            let left = owners - usize::from(owns);
            if owns && up * 100 < left * UP_MIN_PERCENT {
                continue;
            }
            owners = left;
            member.intent = Intent::Lost;
            self.changes.push(Change::TooLongDown(member.name.clone()));
        }
    }

    /// Takes the step that was found for the view before, as far as what else is in this one allows it.
    fn step(&mut self, known: &Knowledge<'_>) {
        let disturbed = self.disturbs(known.view);
        let same = self.fields.config == known.view.fields().config && self.fields.members == known.view.members();
        match &known.ring {
            Step::Rest | Step::Finish if disturbed => self.abort(),
            Step::Abort => self.abort(),
            // What is wanted is another target by now.
            Step::Begin { .. } if !same => return,
            Step::Rest => return,
            Step::Begin { target, lost } => {
                self.fields.tokens.target = tokens_towards(known.view, target);
                self.fields.target = Some(target.clone());
                self.changes.push(Change::RingChangeBegun);
                self.changes.extend(Some(Change::SlotsLost(*lost)).filter(|_| *lost > 0));
            }
            Step::Finish => self.finish_ring_change(known.view),
        }
        if !known.planted.is(Bug::FenceNotRaised) {
            self.fields.fence = Fence::new(self.fields.epoch.value());
        }
    }

    /// Whether an owner-to-be of `view` has another life, weight or zone in this one: then the target is not what it was.
    fn disturbs(&self, view: &View) -> bool {
        let of = |member: &Member| (member.boot, member.zone.clone(), member.vnodes);
        view.fields().target.iter().flatten().any(|owner| {
            let member = self.fields.members.iter().find(|member| member.ordinal == owner.ordinal);
            member.map(of) != view.member(owner.ordinal).map(of)
        })
    }

    fn abort(&mut self) {
        self.fields.target = None;
        self.fields.tokens.target.clear();
        self.changes.push(Change::RingChangeAborted);
    }

    /// The target of `view` is the ring in force from here on, with its owners as they weigh by then.
    fn finish_ring_change(&mut self, view: &View) {
        let target = self.fields.target.take().unwrap_or_default();
        self.changes.push(Change::RingChangeDone);
        let copies = view.copies_towards(&target);
        if copies != self.fields.copies {
            self.fields.copies = copies;
            self.changes.push(Change::CopiesInForce(copies));
        }
        if !view.replaces_lives(&target) {
            for member in &mut self.fields.members {
                // One without weight that is still an owner keeps its former place until others do without it.
                let stays = target.iter().any(|owner| owner.ordinal == member.ordinal);
                member.placed = member.placed.take().filter(|_| stays && member.vnodes == 0);
            }
        }
        self.fields.ring = target;
        self.fields.tokens.ring = std::mem::take(&mut self.fields.tokens.target);
    }

    /// Removes members that are on their way out and own nothing any more. The coordinator is not among them: it hands over
    /// first. A voter goes when it votes no more.
    fn remove_gone(&mut self, known: &Knowledge<'_>) {
        let fields = &mut self.fields;
        let target = fields.target.iter().flatten();
        let owners: Vec<Ordinal> = fields.ring.iter().chain(target).map(|owner| owner.ordinal).collect();
        let is_gone = |member: &Member| {
            let leaves = member.intent != Intent::Stay && member.ordinal != known.me;
            leaves && !owners.contains(&member.ordinal) && !fields.voters.contains(&member.ordinal)
        };
        let gone: Vec<_> = fields.members.iter().filter(|member| is_gone(member)).map(|m| m.ordinal).collect();
        for ordinal in gone {
            let name = self.name(ordinal);
            self.fields.members.retain(|member| member.ordinal != ordinal);
            self.changes.push(Change::Removed(name));
        }
    }

    /// Changes one voter at most. Any change is safe, as the voters of one view decide the next; one at a time keeps a
    /// majority able to.
    fn adjust_voters(&mut self, known: &Knowledge<'_>) {
        let member = |ordinal: Ordinal| self.fields.members.iter().find(|member| member.ordinal == ordinal);
        let leaves = |voter: &&Ordinal| member(**voter).is_none_or(|m| m.intent != Intent::Stay) && **voter != known.me;
        let is_down = |voter: &&Ordinal| {
            let down = member(**voter).is_some_and(|m| m.live == Liveness::Down);
            down && known.has_been_down(**voter, known.timing.voter_replace)
        };
        let voters = &self.fields.voters;
        let leaver = voters.iter().find(leaves).copied();
        let down = voters.iter().find(is_down).copied();
        if leaver.is_none() && down.is_none() && voters.len() == VOTERS_MAX {
            return;
        }
        let candidate = self.next_voter(known);
        let any_down = || voters.iter().copied().find(|voter| member(*voter).is_some_and(|m| m.live == Liveness::Down));
        let out = match (leaver, candidate) {
            (Some(leaver), Some(_)) => Some(leaver),
            // With nobody in its place, those who are left must be able to decide. Of them, one that is down goes first.
            (Some(leaver), None) => {
                [Some(leaver), any_down()].into_iter().flatten().find(|out| self.can_do_without(known, *out))
            }
            // One that is down loses its vote only to another.
            (None, Some(_)) => down,
            (None, None) => None,
        };
        let room = out.is_some() || voters.len() < VOTERS_MAX;
        let into = candidate.filter(|_| room);
        if let Some(out) = out {
            let name = self.name(out);
            self.fields.voters.retain(|voter| *voter != out);
            self.changes.push(Change::VotesNoMore(name));
        }
        if let Some(into) = into {
            let name = self.name(into);
            self.fields.voters.push(into);
            self.fields.voters.sort_unstable();
            self.changes.push(Change::Votes(name));
        }
    }

    fn is_heard(&self, known: &Knowledge<'_>, ordinal: Ordinal) -> bool {
        let up = self.fields.members.iter().any(|member| member.ordinal == ordinal && member.live == Liveness::Up);
        up && known.present.contains(&ordinal)
    }

    /// Whether the voters other than `out` that are heard are a majority of them.
    ///
    /// A coordinator that is just being elected does not know who that is: one has fallen silent, and the others may yet answer.
    fn can_do_without(&self, known: &Knowledge<'_>, out: Ordinal) -> bool {
        if known.elected {
            return false;
        }
        let left = self.fields.voters.iter().filter(|voter| **voter != out);
        let up = left.clone().filter(|voter| self.is_heard(known, **voter)).count();
        up > left.count() / 2
    }

    /// The member that should vote next: of the zone with the fewest voters, and the longest-standing of those. A member
    /// votes once it has been in a view before.
    fn next_voter(&self, known: &Knowledge<'_>) -> Option<Ordinal> {
        let fields = &self.fields;
        let votes = |member: &&Member| fields.voters.contains(&member.ordinal);
        let zones: Vec<_> = fields.members.iter().filter(votes).filter_map(|member| member.zone.as_ref()).collect();
        let in_zone = |member: &&Member| zones.iter().filter(|zone| Some(**zone) == member.zone.as_ref()).count();
        let may_vote = |member: &&Member| {
            let fit = member.intent == Intent::Stay && member.live == Liveness::Up && !votes(member);
            fit && known.present.contains(&member.ordinal)
        };
        let candidates = fields.members.iter().filter(may_vote);
        candidates.min_by_key(|member| (in_zone(member), member.ordinal)).map(|member| member.ordinal)
    }
}

/// The member called `name` that stays.
fn staying<'a>(members: &'a mut [Member], name: &Label) -> Option<&'a mut Member> {
    members.iter_mut().find(|member| member.name == *name && member.intent == Intent::Stay)
}

/// Whether the ring in force has `ordinal` among its owners, so that it goes by the former weight and zone of that one.
fn owns(ring: &[Owner], ordinal: Ordinal, planted: Planted) -> bool {
    ring.iter().any(|owner| owner.ordinal == ordinal) && !planted.is(Bug::WeightNotStaged)
}

/// Takes over what `applicant` says of itself. A process has the weight that it was started with until an administrator gives
/// it another, so it is taken from a new life only.
fn update(member: &mut Member, applicant: &Applicant, owns: bool) {
    let vnodes = if member.boot == applicant.boot { member.vnodes } else { applicant.vnodes };
    member.resettle(applicant.zone.clone(), vnodes, owns);
    member.degraded &= member.boot == applicant.boot;
    member.boot = applicant.boot;
    member.address = applicant.address.clone();
    member.priority = applicant.priority;
    member.versions = applicant.versions;
    member.live = Liveness::Up;
}

/// The first view of a new cluster made of the survivor `me` alone.
///
/// # Errors
/// The rule that the result would break. It is a bug to get there.
pub(crate) fn recovered_view(
    view: &View,
    (me, applicant): (Ordinal, &Applicant),
    (cluster_id, hash): (quoit_proto_types::ClusterId, ViewHash),
    ballot: Ballot,
    proposed_at_ms: u64,
) -> Result<View, InvalidView> {
    let mut fields = view.fields().clone();
    let known = fields.epoch;
    fields.recovered_from = Some(fields.cluster_id);
    fields.cluster_id = cluster_id;
    fields.epoch = Epoch::new(known.value() + EPOCHS_SKIPPED);
    (fields.previous, fields.ballot, fields.coordinator) = (hash, ballot, me);
    fields.members.retain(|member| member.ordinal == me);
    for member in &mut fields.members {
        update(member, applicant, false);
        (member.intent, member.degraded) = (Intent::Stay, false);
    }
    fields.voters = vec![me];
    fields.copies = fields.config.replication;
    let owns = fields.members.iter().filter(|member| member.vnodes > 0);
    fields.ring = owns.map(|m| Owner { ordinal: m.ordinal, boot: m.boot }).collect();
    fields.target = None;
    let tokens = first_tokens(&fields.config, fields.members.iter().filter(|member| member.vnodes > 0));
    fields.tokens = AssignedTokens { ring: tokens, target: Vec::new() };
    fields.fence = Fence::new(fields.epoch.value());
    fields.proposed_at_ms = proposed_at_ms;
    fields.changes = vec![Change::Recovered(applicant.name.clone(), known)];
    View::new(fields)
}

/// How far a recovered cluster's epochs are ahead, so that nothing of the old cluster's passes for newer.
const EPOCHS_SKIPPED: u64 = 1_000_000;
