//! Who proposed, accepted and decided what, as an observer of everything sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quoit_core::meta::Meta;
use quoit_proto_types::{
    Ballot, Instance, Label, View,
    message::{election::ElectionMessage, genesis::GenesisMessage, membership::MembershipMessage, peer::PeerMessage},
    view::ViewHash,
};

use super::{Fact, Setting};
use crate::sim::Actor;

/// All that was proposed, accepted and decided in a run.
#[derive(Debug)]
pub struct Ledger {
    founders: BTreeSet<Label>,
    views: BTreeMap<ViewHash, Arc<View>>,
    /// What a ballot proposes after a view. The first view follows the hash of zeros.
    proposals: BTreeMap<(ViewHash, Ballot), ViewHash>,
    /// Who accepted a ballot's proposal.
    accepted: BTreeMap<(ViewHash, Ballot), BTreeSet<(Instance, Label)>>,
    /// What was decided after a view.
    chosen: BTreeMap<ViewHash, BTreeSet<ViewHash>>,
    /// The lowest ballot that decided a view.
    deciding: BTreeMap<ViewHash, Ballot>,
    /// What this very fact decided.
    newly_chosen: Option<ViewHash>,
    /// What this very fact proposed for the first time.
    newly_proposed: Option<ViewHash>,
    /// What is accepted in memory and not yet on disk, by process.
    unsafe_yet: BTreeMap<u32, Vec<(u64, ViewHash, Ballot)>>,
    /// What is written down as decided, and is not on disk yet.
    written: BTreeMap<u32, Vec<(u64, ViewHash)>>,
    /// Whose disk has held a view first: the one who found it decided, and who has accepted it by that.
    holders: BTreeMap<ViewHash, (Instance, Label)>,
    wiped: BTreeSet<Instance>,
    recovered: BTreeSet<Instance>,
    /// The decided view with the highest epoch.
    latest: Option<Arc<View>>,
    /// How many views were decided.
    decided: u64,
    /// Whether a view was proposed again under a later ballot.
    adopted: u64,
}

impl Ledger {
    pub(super) fn new(setting: &Setting) -> Self {
        Self {
            founders: setting.founders.iter().cloned().collect(),
            views: BTreeMap::new(),
            proposals: BTreeMap::new(),
            accepted: BTreeMap::new(),
            chosen: BTreeMap::new(),
            deciding: BTreeMap::new(),
            newly_chosen: None,
            newly_proposed: None,
            unsafe_yet: BTreeMap::new(),
            written: BTreeMap::new(),
            holders: BTreeMap::new(),
            wiped: BTreeSet::new(),
            recovered: BTreeSet::new(),
            latest: None,
            decided: 0,
            adopted: 0,
        }
    }

    /// The view with this hash, if it was ever seen.
    pub fn view(&self, hash: ViewHash) -> Option<&Arc<View>> {
        self.views.get(&hash)
    }

    /// The view before `view`, if it was ever seen.
    pub fn base_of(&self, view: &View) -> Option<&Arc<View>> {
        self.views.get(&view.fields().previous)
    }

    /// What this very fact decided.
    pub fn newly_chosen(&self) -> Option<ViewHash> {
        self.newly_chosen
    }

    /// What this very fact proposed, if nobody had proposed it before.
    pub fn newly_proposed(&self) -> Option<&Arc<View>> {
        self.newly_proposed.and_then(|hash| self.views.get(&hash))
    }

    /// What was decided after the view with this hash.
    pub fn chosen_after(&self, base: ViewHash) -> impl Iterator<Item = ViewHash> {
        self.chosen.get(&base).into_iter().flatten().copied()
    }

    /// The lowest ballot that decided the view with this hash, as far as is known.
    pub fn decided_by(&self, hash: ViewHash) -> Option<Ballot> {
        self.deciding.get(&hash).copied()
    }

    /// What `ballot` proposes after the view with this hash.
    pub fn proposed(&self, base: ViewHash, ballot: Ballot) -> Option<ViewHash> {
        self.proposals.get(&(base, ballot)).copied()
    }

    /// Whether this voting state is gone.
    pub fn is_wiped(&self, instance: Instance) -> bool {
        self.wiped.contains(&instance)
    }

    /// The decided view with the highest epoch.
    pub fn latest(&self) -> Option<&Arc<View>> {
        self.latest.as_ref()
    }

    /// How many views were decided.
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// How many proposals repeated a view under a later ballot than its own.
    pub fn adopted(&self) -> u64 {
        self.adopted
    }

    /// Whether `view` was decided, or is the first one of a cluster made of a survivor. `by`, who goes by it, counts as
    /// having accepted it.
    pub fn is_chosen(&self, view: &View, hash: ViewHash, by: &Actor) -> bool {
        let base = view.fields().previous;
        if base != ViewHash::default() && !self.views.contains_key(&base) {
            // A voter alone may decide several views before it tells any.
            let holder = self.holders.get(&hash).map_or(by.instance, |(instance, _)| *instance);
            return view.member_of_instance(holder).map(|m| m.ordinal) == Some(view.fields().coordinator);
        }
        if self.chosen.get(&base).is_some_and(|chosen| chosen.contains(&hash)) {
            return true;
        }
        let made_here = view.member_of_instance(by.instance).map(|me| me.ordinal) == Some(view.fields().coordinator);
        if view.fields().recovered_from.is_some() && made_here && self.recovered.contains(&by.instance) {
            return true;
        }
        let mut own = BTreeSet::from([(by.instance, by.name.clone())]);
        own.extend(self.holders.get(&hash).cloned());
        let ballots = self.proposals.iter().filter(|((after, _), proposed)| *after == base && **proposed == hash);
        let mut ballots = ballots.map(|(key, _)| self.accepted.get(key)).peekable();
        if ballots.peek().is_none() {
            return self.suffices(base, &own);
        }
        ballots.any(|accepted| {
            let with_own: BTreeSet<_> = accepted.into_iter().flatten().cloned().chain(own.iter().cloned()).collect();
            self.suffices(base, &with_own)
        })
    }

    /// Whether the word of `accepted` decides what follows the view with the hash `base`.
    fn suffices(&self, base: ViewHash, accepted: &BTreeSet<(Instance, Label)>) -> bool {
        if base == ViewHash::default() {
            let names: BTreeSet<_> = accepted.iter().map(|(_, name)| name.clone()).collect();
            return names.is_superset(&self.founders);
        }
        let Some(base) = self.views.get(&base) else { return false };
        let voters = base.fields().voters.iter().filter_map(|voter| base.member(*voter));
        let agreed = voters.filter(|voter| accepted.iter().any(|(instance, _)| *instance == voter.instance)).count();
        agreed >= base.quorum()
    }

    pub(super) fn observe(&mut self, fact: &Fact<'_>) {
        (self.newly_chosen, self.newly_proposed) = (None, None);
        match fact {
            Fact::Sent { from, at, message, .. } => self.observe_message(from, *at, message),
            Fact::Persisting { by, meta } => self.persisting(by, meta),
            Fact::Persisted { by, sequence } => self.persisted(by, *sequence),
            Fact::Installed { by, view, hash } => {
                self.remember(*hash, view);
                if self.is_chosen(view, *hash, by) {
                    self.holders.entry(*hash).or_insert_with(|| (by.instance, by.name.clone()));
                    self.choose(view.fields().previous, *hash);
                }
            }
            Fact::Wiped(instance) => {
                self.wiped.insert(*instance);
            }
            Fact::Recovered(by) => {
                self.recovered.insert(by.instance);
            }
            Fact::Ended(actor) => {
                self.written.remove(&actor.serial);
                self.unsafe_yet.remove(&actor.serial);
            }
            Fact::Started(_)
            | Fact::Woke(_)
            | Fact::Beat { .. }
            | Fact::Heard { .. }
            | Fact::Synced { .. }
            | Fact::Retired { .. }
            | Fact::Stepped { .. } => {}
        }
    }

    fn observe_message(
        &mut self,
        from: &Actor,
        at: Option<(quoit_proto_types::Epoch, ViewHash)>,
        message: &PeerMessage,
    ) {
        match message {
            PeerMessage::Election(ElectionMessage::Propose { ballot, view, .. })
            | PeerMessage::Genesis(GenesisMessage::Propose { ballot, view }) => self.proposal(*ballot, view),
            PeerMessage::Election(ElectionMessage::Accepted { ballot, .. }) => {
                let base = at.map_or_else(ViewHash::default, |(_, hash)| hash);
                self.acceptance(from, base, *ballot);
            }
            PeerMessage::Genesis(GenesisMessage::Accepted { ballot }) => {
                self.acceptance(from, ViewHash::default(), *ballot);
            }
            PeerMessage::Membership(MembershipMessage::Commit { view, .. }) => {
                let hash = view.hash();
                self.views.entry(hash).or_insert_with(|| Arc::new(view.clone()));
            }
            PeerMessage::Election(_) | PeerMessage::Genesis(_) | PeerMessage::Membership(_) => {}
        }
    }

    fn proposal(&mut self, ballot: Ballot, view: &View) {
        let (base, hash) = (view.fields().previous, view.hash());
        if self.views.insert(hash, Arc::new(view.clone())).is_none() {
            self.newly_proposed = Some(hash);
        }
        let first = *self.proposals.entry((base, ballot)).or_insert_with(|| {
            self.adopted += u64::from(ballot != view.fields().ballot);
            hash
        });
        // Acceptances may have come first, of a proposer that accepts before it proposes.
        if first == hash {
            self.decide_if_due(base, ballot);
        }
    }

    fn acceptance(&mut self, by: &Actor, base: ViewHash, ballot: Ballot) {
        self.accepted.entry((base, ballot)).or_default().insert((by.instance, by.name.clone()));
        self.decide_if_due(base, ballot);
    }

    fn decide_if_due(&mut self, base: ViewHash, ballot: Ballot) {
        let Some(&hash) = self.proposals.get(&(base, ballot)) else { return };
        if self.accepted.get(&(base, ballot)).is_some_and(|accepted| self.suffices(base, accepted)) {
            let lowest = self.deciding.entry(hash).or_insert(ballot);
            *lowest = ballot.min(*lowest);
            self.choose(base, hash);
        }
    }

    fn choose(&mut self, base: ViewHash, hash: ViewHash) {
        if !self.chosen.entry(base).or_default().insert(hash) {
            return;
        }
        self.newly_chosen = Some(hash);
        self.decided += 1;
        if let Some(view) = self.views.get(&hash)
            && self.latest.as_ref().is_none_or(|latest| self.supersedes(view, latest))
        {
            self.latest = Some(view.clone());
        }
    }

    /// Whether `view` is later than `latest`, of which all may be gone.
    fn supersedes(&self, view: &View, latest: &View) -> bool {
        view.epoch() > latest.epoch() || latest.members().iter().all(|member| self.wiped.contains(&member.instance))
    }

    pub(super) fn believe(&mut self, view: &Arc<View>) {
        let hash = view.hash();
        self.remember(hash, view);
        self.choose(view.fields().previous, hash);
    }

    fn remember(&mut self, hash: ViewHash, view: &Arc<View>) {
        self.views.entry(hash).or_insert_with(|| Arc::clone(view));
    }

    fn persisting(&mut self, by: &Actor, meta: &Meta) {
        if let Some(view) = &meta.view {
            let hash = view.hash();
            if !self.holders.contains_key(&hash) {
                self.remember(hash, view);
                self.written.entry(by.serial).or_default().push((meta.sequence, hash));
            }
        }
        let Some((ballot, view)) = meta.acceptor.accepted() else { return };
        let (base, hash) = (view.fields().previous, view.hash());
        if self.views.insert(hash, Arc::new(view.clone())).is_none() {
            self.newly_proposed = Some(hash);
        }
        self.proposals.entry((base, *ballot)).or_insert_with(|| {
            self.adopted += u64::from(*ballot != view.fields().ballot);
            hash
        });
        self.unsafe_yet.entry(by.serial).or_default().push((meta.sequence, base, *ballot));
    }

    fn persisted(&mut self, by: &Actor, sequence: u64) {
        if let Some(written) = self.written.get_mut(&by.serial) {
            for (_, hash) in written.extract_if(.., |(number, _)| *number <= sequence) {
                self.holders.entry(hash).or_insert_with(|| (by.instance, by.name.clone()));
            }
        }
        let Some(waiting) = self.unsafe_yet.get_mut(&by.serial) else { return };
        let (safe, rest): (Vec<_>, Vec<_>) = waiting.iter().partition(|(number, ..)| *number <= sequence);
        *waiting = rest;
        for (_, base, ballot) in safe {
            self.acceptance(by, base, ballot);
        }
    }
}
