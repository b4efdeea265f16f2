//! One attempt at an operation: whom it involves, how far each of them is, and what it may still come to.

use std::{collections::VecDeque, time::Duration};

use quoit_proto_types::{
    ErrorCode, Fence, Ordinal, SlotIndex, View, WriteLevel,
    message::client::Refusal,
    version::Rank,
    view::{Liveness, Owner},
};

use super::{
    latency::Latency,
    levels::{self, Copies, Holder, Part},
    message::{ClientReply, OperationId, Output, ReplicaRequest},
};
use crate::{planted::data::DataPlanted, routing::Routing, time::Timestamp};

/// After how long a node is asked again that had not installed the view yet: about what spreading a view takes.
pub const BEHIND_PAUSE: Duration = Duration::from_millis(10);

/// What an operation acts with.
pub(super) struct Context<'a, T> {
    pub(super) now: Timestamp,
    pub(super) routing: &'a Routing,
    pub(super) outputs: &'a mut VecDeque<Output<T>>,
    pub(super) latency: &'a mut Latency,
    pub(super) planted: DataPlanted,
}

/// A node that takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) ordinal: Ordinal,
    /// What it is to the owners.
    pub(super) holder: Holder,
    /// The owner that it stands in for, if it is none itself.
    pub(super) stands_for: Option<Ordinal>,
    pub(super) state: State,
    /// When it was asked first.
    asked: Option<Timestamp>,
    /// Whether it has been silent for so long that others are asked in its place. It may answer yet.
    pub(super) overdue: bool,
    /// Whether another one was asked in its place.
    pub(super) replaced: bool,
    /// Which entry it has, as far as a read found out.
    pub(super) has: Option<Rank>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be asked, maybe.
    Idle,
    Asked,
    /// It has not installed the view yet, and is asked again then.
    Behind {
        until: Timestamp,
    },
    /// It has installed a newer view: it is asked again when this process has.
    Moved,
    Answered,
    /// Down, out of reach, or of no use: somebody else may stand in.
    Failed,
    /// It could act and would not; nobody else should.
    Refused,
}

impl Peer {
    fn new(ordinal: Ordinal, holder: Holder, stands_for: Option<Ordinal>, state: State) -> Self {
        let (asked, has) = (None, None);
        Self { ordinal, holder, stands_for, state, asked, overdue: false, replaced: false, has }
    }

    pub(super) fn is_owner(&self) -> bool {
        self.stands_for.is_none()
    }

    /// Whether a reply to what it was asked is to come.
    pub(super) fn is_asked(&self) -> bool {
        self.state == State::Asked
    }

    /// It is asked anew, with all the time that it had the first time.
    pub(super) fn forgive(&mut self) {
        self.asked = None;
        self.overdue = false;
    }

    /// Whether it is worth waiting for.
    pub(super) fn is_awaited(&self) -> bool {
        let pending = matches!(self.state, State::Asked | State::Behind { .. } | State::Moved);
        pending && !self.overdue
    }

    pub(super) fn is_answered(&self) -> bool {
        self.state == State::Answered
    }

    /// Whether it may still do what it was asked.
    pub(super) fn may_answer(&self) -> bool {
        matches!(self.state, State::Idle | State::Asked | State::Behind { .. } | State::Answered)
    }

    /// Whether somebody should stand in for it.
    fn lacks_substitute(&self) -> bool {
        let may_come = matches!(self.state, State::Idle | State::Asked | State::Behind { .. } | State::Moved);
        (self.overdue && may_come || self.state == State::Failed) && !self.replaced
    }
}

/// What all operations have in common.
#[derive(Debug)]
pub(super) struct Attempt<T> {
    pub(super) id: OperationId,
    pub(super) token: T,
    pub(super) deadline: Timestamp,
    /// Until when a write may keep its client waiting that another node might carry on.
    pub(super) patience: Timestamp,
    pub(super) slot: SlotIndex,
    pub(super) fence: Fence,
    pub(super) copies: Copies,
    pub(super) answered: bool,
    /// The first refusal that is to be told if it comes to nothing.
    pub(super) refusal: Option<Refusal>,
    pub(super) peers: Vec<Peer>,
    /// Whether every member that could stand in has been asked.
    pub(super) exhausted: bool,
}

impl<T: Copy> Attempt<T> {
    /// Forgets whom it asked, and goes by this routing.
    pub(super) fn renew(&mut self, routing: &Routing) {
        let owners = routing.owners(self.slot);
        self.fence = routing.fence();
        self.copies = Copies { now: owners.now.len(), then: owners.then.map(<[Ordinal]>::len) };
        self.refusal = None;
        self.peers.clear();
        self.exhausted = false;
    }

    /// Involves every owner that lives, and counts those that do not as failed.
    pub(super) fn involve_owners(&mut self, routing: &Routing) {
        for ordinal in routing.owners(self.slot).all() {
            let holder = part_of_owner(routing, self.slot, ordinal);
            let lives = holder.now == Part::Owner || holder.then == Part::Owner;
            // One that is no memory of either set holds nothing for anybody.
            let (holder, state) = if lives { (holder, State::Idle) } else { (Holder::default(), State::Failed) };
            self.peers.push(Peer::new(ordinal, holder, None, state));
        }
    }

    /// Involves one owner that lives.
    pub(super) fn involve(&mut self, routing: &Routing, ordinal: Ordinal) {
        let holder = part_of_owner(routing, self.slot, ordinal);
        self.peers.push(Peer::new(ordinal, holder, None, State::Idle));
    }

    /// Involves a substitute for each node that should have one, as long as there are any. Those that are owners in both
    /// sets come first, as a substitute of theirs counts for both.
    pub(super) fn involve_substitutes(&mut self, routing: &Routing) {
        if self.exhausted || !self.peers.iter().any(Peer::lacks_substitute) {
            return;
        }
        let mut substitutes = routing.substitutes(self.slot);
        substitutes.retain(|node| self.peers.iter().all(|peer| peer.ordinal != *node));
        let mut substitutes = substitutes.into_iter();
        let owners = routing.owners(self.slot);
        for wanted in [2, 1] {
            for index in 0..self.peers.len() {
                let peer = self.peers[index];
                let of = peer.stands_for.unwrap_or(peer.ordinal);
                let part = |named: bool| if named { Part::Substitute } else { Part::Nothing };
                let (now, then) = (owners.now.contains(&of), owners.then.is_some_and(|then| then.contains(&of)));
                let sets = if owners.then.is_none() { 2 } else { usize::from(now) + usize::from(then) };
                if !peer.lacks_substitute() || sets != wanted {
                    continue;
                }
                let Some(node) = substitutes.next() else {
                    self.exhausted = true;
                    return;
                };
                self.peers[index].replaced = true;
                let holder = Holder { now: part(now), then: part(then) };
                self.peers.push(Peer::new(node, holder, Some(of), State::Idle));
            }
        }
    }

    /// The owner at `index` if it has no substitute and should, which counts as replaced from here on.
    pub(super) fn take_lacking(&mut self, index: usize) -> Option<Ordinal> {
        let peer = &mut self.peers[index];
        let lacks = peer.is_owner() && peer.lacks_substitute();
        peer.replaced |= lacks;
        lacks.then_some(peer.ordinal)
    }

    /// Involves a node that may have hints, if there is one left.
    pub(super) fn involve_hint_holder(&mut self, routing: &Routing) -> Option<usize> {
        let known = |node: &Ordinal| self.peers.iter().any(|peer| peer.ordinal == *node);
        let next = if self.exhausted { None } else { routing.hint_holders(self.slot).into_iter().find(|n| !known(n)) };
        let Some(node) = next else {
            self.exhausted = true;
            return None;
        };
        // It stands for whichever owner it has a hint for, which nobody here knows, and counts for no level.
        self.peers.push(Peer::new(node, Holder::default(), Some(node), State::Idle));
        Some(self.peers.len() - 1)
    }

    /// Sends a request to the node at `index`.
    pub(super) fn ask(&mut self, index: usize, request: ReplicaRequest, cx: &mut Context<'_, T>) {
        let (operation, fence) = (self.id, self.fence);
        let peer = &mut self.peers[index];
        peer.state = State::Asked;
        peer.asked.get_or_insert(cx.now);
        cx.outputs.push_back(Output::Ask { operation, to: peer.ordinal, fence, request });
    }

    /// Answers the client.
    pub(super) fn answer(&mut self, reply: ClientReply, cx: &mut Context<'_, T>) {
        assert!(!self.answered, "an operation is answered once");
        self.answered = true;
        cx.outputs.push_back(Output::Answer { token: self.token, reply });
    }

    /// Answers that it came to nothing.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_, T>) {
        let unavailable = Refusal::new(ErrorCode::Unavailable, self.answers());
        let refusal = self.refusal.take().unwrap_or(unavailable);
        self.answer(ClientReply::Refused(refusal), cx);
    }

    /// How many nodes did what they were asked.
    pub(super) fn answers(&self) -> u64 {
        u64::try_from(self.peers.iter().filter(|peer| peer.is_answered()).count()).unwrap_or(u64::MAX)
    }

    /// Where the node is that was asked and has not answered.
    pub(super) fn asked(&self, ordinal: Ordinal) -> Option<usize> {
        self.peers.iter().position(|peer| peer.ordinal == ordinal && peer.is_asked())
    }

    /// How long after it was asked first that is.
    pub(super) fn elapsed(&self, index: usize, now: Timestamp) -> Duration {
        self.peers[index].asked.and_then(|asked| now.checked_duration_since(asked)).unwrap_or_default()
    }

    /// A node did not do what it was asked, for this reason if it gave one.
    pub(super) fn failed(&mut self, index: usize, refusal: Option<Refusal>, now: Timestamp) {
        let code = refusal.as_ref().map(|refusal| refusal.code);
        self.peers[index].state = match code {
            Some(ErrorCode::StaleView) => State::Moved,
            Some(ErrorCode::NodeBehind) => State::Behind { until: now.saturating_add(BEHIND_PAUSE) },
            Some(code) if is_told(code) => State::Refused,
            Some(_) | None => State::Failed,
        };
        if self.peers[index].state == State::Refused && self.refusal.is_none() {
            self.refusal = refusal;
        }
    }

    /// Whether the nodes that `counts` are enough.
    pub(super) fn reaches(&self, level: WriteLevel, planted: DataPlanted, counts: impl Fn(&Peer) -> bool) -> bool {
        // A hint is gone when its owner has it: one that is kept for a node counts no more beside that node, nor beside
        // another one that is kept for it.
        let is_spare = |index: usize| {
            let peer = &self.peers[index];
            let same =
                |other: &Peer| other.stands_for.unwrap_or(other.ordinal) == peer.stands_for.unwrap_or(peer.ordinal);
            let before = self.peers[..index].iter().any(|other| same(other) && counts(other));
            !peer.is_owner() && before
        };
        let holders = self.peers.iter().enumerate().filter(|(index, peer)| counts(peer) && !is_spare(*index));
        let holders = holders.map(|(_, peer)| peer.holder);
        levels::reached_with(planted, level, self.copies, holders)
    }

    /// Whether there may be enough yet. Nobody knows what those will say who are to be asked under a newer view.
    pub(super) fn may_reach(&self, level: WriteLevel, planted: DataPlanted) -> bool {
        self.peers.iter().any(|peer| peer.state == State::Moved) || self.reaches(level, planted, Peer::may_answer)
    }

    /// Whether the process goes by another fence than this attempt.
    pub(super) fn is_outdated(&self, routing: &Routing) -> bool {
        self.fence != routing.fence()
    }

    /// The next view has the same fence: nodes that are down in it are not waited for.
    pub(super) fn note_lives(&mut self, routing: &Routing) {
        self.exhausted = false;
        for peer in &mut self.peers {
            peer.overdue |= peer.is_awaited() && !routing.is_up(peer.ordinal);
        }
    }

    /// Nodes that have been silent for so long are overdue.
    pub(super) fn note_silence(&mut self, silence: Duration, now: Timestamp) -> usize {
        let is_silent =
            |peer: &Peer| peer.is_awaited() && peer.asked.is_some_and(|asked| asked.saturating_add(silence) <= now);
        let silent = self.peers.iter_mut().filter(|peer| is_silent(peer));
        silent.map(|peer| peer.overdue = true).count()
    }

    /// Nodes that were behind are to be asked again.
    pub(super) fn note_pauses(&mut self, now: Timestamp) {
        for peer in &mut self.peers {
            if matches!(peer.state, State::Behind { until } if until <= now) {
                peer.state = State::Idle;
            }
        }
    }

    /// When there is something to do although nobody says anything, if nodes may be silent for `silence`.
    pub(super) fn wakes(&self, silence: Option<Duration>) -> Timestamp {
        let mut wakes = self.deadline;
        for peer in &self.peers {
            if let State::Behind { until } = peer.state {
                wakes = wakes.min(until);
            }
            if let Some((asked, silence)) = peer.asked.zip(silence).filter(|_| peer.is_awaited()) {
                wakes = wakes.min(asked.saturating_add(silence));
            }
        }
        wakes
    }
}

/// What an owner of `slot` is to each set. It is an owner of a set that names its life, and a substitute in one that names
/// another life of it.
fn part_of_owner(routing: &Routing, slot: SlotIndex, ordinal: Ordinal) -> Holder {
    let (owners, view) = (routing.owners(slot), routing.view());
    let part = |names: bool, lives: &[Owner]| match names {
        true if lives_as_named(view, lives, ordinal) => Part::Owner,
        true => Part::Substitute,
        false => Part::Nothing,
    };
    let fields = view.fields();
    let then = owners.then.is_some_and(|then| then.contains(&ordinal));
    Holder {
        now: part(owners.now.contains(&ordinal), &fields.ring),
        then: part(then, fields.target.as_deref().unwrap_or_default()),
    }
}

/// Whether the member `ordinal` is up, in the life that `owners` name.
pub(super) fn lives_as_named(view: &View, owners: &[Owner], ordinal: Ordinal) -> bool {
    let named = owners.binary_search_by_key(&ordinal, |owner| owner.ordinal).ok().map(|index| owners[index]);
    let member = view.member(ordinal).filter(|member| member.live == Liveness::Up);
    named.zip(member).is_some_and(|(owner, member)| owner.boot == member.boot)
}

/// Whether a refusal is to be told. What no node would do, or what a clock keeps one node from doing, nobody else should do
/// in its place.
fn is_told(code: ErrorCode) -> bool {
    use ErrorCode::{ClockSkew, KeyInvalid, TooOld, UnknownKeyspace, ValueTooLarge};
    matches!(code, ClockSkew | TooOld | ValueTooLarge | KeyInvalid | UnknownKeyspace)
}
