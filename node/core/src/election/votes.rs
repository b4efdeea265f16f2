//! Questions and votes: the pre-vote, and the two phases of Paxos.

use std::collections::BTreeSet;

use quoit_proto_types::{Ballot, Epoch, Ordinal, Term, View, message::election::ElectionMessage};

use super::{
    Action, BACKOFF_DOUBLINGS, Election, Electorate, Role, Row, TERM_LIMIT,
    role::{self, Candidacy, Preparation, Proposal},
};
use crate::{meta::Meta, planted::Bug, time::Timestamp};

impl Election {
    /// `from`, a voter of this epoch, sent `message`, which is of this epoch.
    pub(crate) fn handle_message(&mut self, now: Timestamp, from: Ordinal, message: ElectionMessage, meta: &mut Meta) {
        match message {
            ElectionMessage::Elect { round, transferred, .. } => self.on_elect(now, from, round, transferred, meta),
            ElectionMessage::Grant { round } => self.on_grant(now, from, round, meta),
            ElectionMessage::Higher { round } => self.on_higher(now, from, round, meta),
            ElectionMessage::Alive { round, .. } => self.on_alive(now, from, round),
            ElectionMessage::Prepare { ballot, .. } => self.on_prepare(now, from, ballot, meta),
            ElectionMessage::Promise { ballot, accepted, .. } => self.on_promise(now, from, ballot, accepted, meta),
            ElectionMessage::Propose { ballot, view, .. } => self.on_propose(now, from, ballot, view, meta),
            ElectionMessage::Accepted { ballot, .. } => self.on_accepted(now, from, ballot),
            ElectionMessage::Reject { ballot, seen, .. } => self.on_reject(now, ballot, seen),
            ElectionMessage::Transfer { ballot, .. } => self.on_transfer(now, ballot, meta),
            ElectionMessage::Newer { .. } => {}
        }
    }

    /// Asks the others whether to propose.
    pub(super) fn stand(&mut self, now: Timestamp, transferred: Option<Ballot>, meta: &mut Meta) {
        self.round += 1;
        let grants = BTreeSet::from([self.me]);
        self.role = Role::Candidate(Candidacy { grants, alive: BTreeSet::new(), since: now, transferred });
        self.send_all(&ElectionMessage::Elect { epoch: self.epoch, round: self.round, transferred });
        self.advance(now, meta);
    }

    fn on_elect(&mut self, now: Timestamp, from: Ordinal, round: u64, transferred: Option<Ballot>, meta: &mut Meta) {
        let promised = meta.acceptor.promised();
        let handed_over = transferred.is_some_and(|ballot| ballot >= promised);
        let sticky = !self.planted.is(Bug::NotSticky) && !self.planted.is(Bug::Preemptive);
        if !handed_over && sticky && self.is_fresh(now, promised) {
            self.rows.take(Row::AliveAnswered);
            let ballot = self.presides().or(self.heard.map(|heard| heard.ballot)).unwrap_or(promised);
            return self.send(from, ElectionMessage::Alive { round, ballot });
        }
        let outranks = self.electorate.outranks(self.me, from);
        if handed_over || !outranks || !self.is_connected(now) || self.not_before > now {
            self.rows.take(Row::Granted);
            return self.send(from, ElectionMessage::Grant { round });
        }
        self.rows.take(Row::HigherAnswered);
        self.send(from, ElectionMessage::Higher { round });
        if matches!(self.role, Role::Follower) {
            self.stand(now, None, meta);
        }
    }

    fn on_grant(&mut self, now: Timestamp, from: Ordinal, round: u64, meta: &mut Meta) {
        if round == self.round
            && let Some(candidacy) = self.role.candidacy_mut()
        {
            candidacy.grants.insert(from);
            self.advance(now, meta);
        }
    }

    fn on_higher(&mut self, now: Timestamp, from: Ordinal, round: u64, meta: &mut Meta) {
        if self.ignored.get(&from).is_some_and(|until| *until > now) {
            return self.on_grant(now, from, round, meta);
        }
        if round == self.round && matches!(self.role, Role::Candidate(_)) {
            self.rows.take(Row::CandidateYields);
            self.role = Role::Yielding { to: from, until: now.saturating_add(self.timing.yielding) };
        }
    }

    fn on_alive(&mut self, now: Timestamp, from: Ordinal, round: u64) {
        let quorum = self.electorate.quorum();
        if round == self.round
            && let Some(candidacy) = self.role.candidacy_mut()
        {
            candidacy.alive.insert(from);
            if candidacy.alive.len() >= quorum {
                self.rows.take(Row::CandidateWithdraws);
                self.back_off(now);
            }
        }
    }

    fn on_transfer(&mut self, now: Timestamp, ballot: Ballot, meta: &mut Meta) {
        if ballot >= meta.acceptor.promised() && matches!(self.role, Role::Follower) {
            self.rows.take(Row::TransferTaken);
            self.stand(now, Some(ballot), meta);
        }
    }

    /// Proposes once a majority grants and no superior is likely to speak up.
    pub(super) fn advance(&mut self, now: Timestamp, meta: &mut Meta) {
        let Role::Candidate(Candidacy { grants, alive, since, transferred }) = &self.role else { return };
        let answered = |voter: Ordinal| grants.contains(&voter) || alive.contains(&voter);
        let superiors_spoke = self.electorate.iter().take_while(|voter| *voter != self.me).all(answered);
        let waited = since.saturating_add(self.timing.answer) <= now;
        let last_word = transferred.is_some() || superiors_spoke || waited;
        if self.is_quorum(grants, &self.electorate, now) && last_word {
            self.rows.take(Row::CandidatePrepares);
            self.prepare(now, meta);
        }
    }

    fn prepare(&mut self, now: Timestamp, meta: &mut Meta) {
        let seen = meta.acceptor.promised().term.max(self.term_seen);
        let term = if self.planted.is(Bug::TermReused) { Term::new(seen.value().max(1)) } else { seen.next() };
        self.term_seen = term;
        let ballot = Ballot { term, ordinal: self.me, boot: self.boot };
        let Ok(accepted) = meta.promise(ballot) else {
            // Possible only with a planted bug: the term is above every one seen.
            return self.back_off(now);
        };
        let (promises, until) = ([self.me].into(), now.saturating_add(self.timing.phase));
        self.role = Role::Preparing(Preparation { ballot, promises, accepted: accepted.map(Box::new), until });
        self.send_all(&ElectionMessage::Prepare { epoch: self.epoch, ballot });
        self.conclude_promises(now, meta);
    }

    fn on_prepare(&mut self, now: Timestamp, from: Ordinal, ballot: Ballot, meta: &mut Meta) {
        if ballot.term >= TERM_LIMIT {
            return;
        }
        self.term_seen = self.term_seen.max(ballot.term);
        let kept = !self.planted.is(Bug::PromiseNotKept);
        let answer = match meta.promise(ballot) {
            Ok(accepted) => {
                self.make_way(now);
                ElectionMessage::Promise { epoch: self.epoch, ballot, accepted }
            }
            Err(seen) if kept => ElectionMessage::Reject { epoch: self.epoch, ballot, seen },
            Err(_) => {
                let accepted = meta.acceptor.accepted().cloned();
                ElectionMessage::Promise { epoch: self.epoch, ballot, accepted }
            }
        };
        self.send(from, answer);
    }

    /// Another proposer has a higher ballot than any of this node: it gets the time to use it.
    fn make_way(&mut self, now: Timestamp) {
        (self.heard, self.quiet_since) = (None, now);
        self.give_way();
    }

    fn on_promise(
        &mut self,
        now: Timestamp,
        from: Ordinal,
        ballot: Ballot,
        theirs: Option<(Ballot, View)>,
        meta: &mut Meta,
    ) {
        if let Role::Preparing(preparation) = &mut self.role
            && preparation.ballot == ballot
        {
            preparation.promises.insert(from);
            if let Some(theirs) = theirs
                && preparation.accepted.as_ref().is_none_or(|known| known.0 < theirs.0)
            {
                preparation.accepted = Some(Box::new(theirs));
            }
            self.conclude_promises(now, meta);
        }
    }

    /// A view that may have been decided already is proposed again. If there is none, [`wants_view`](Self::wants_view).
    fn conclude_promises(&mut self, now: Timestamp, meta: &mut Meta) {
        let Some(preparation) = self.role.preparation() else { return };
        let Some(accepted) = &preparation.accepted else { return };
        let promised = self.is_quorum(&preparation.promises, &self.electorate, now);
        if promised && !self.planted.is(Bug::AcceptedIgnored) {
            let (ballot, view) = (preparation.ballot, accepted.1.clone());
            self.rows.take(Row::ProposesAccepted);
            self.propose_first(now, ballot, view, meta);
        }
    }

    /// The ballot under which the parent may [propose](Self::propose) a view now.
    pub(crate) fn wants_view(&self, now: Timestamp) -> Option<Ballot> {
        if let Some(preparation) = self.role.preparation() {
            let free = preparation.accepted.is_none() || self.planted.is(Bug::AcceptedIgnored);
            let ready = free && self.is_quorum(&preparation.promises, &self.electorate, now);
            return ready.then_some(preparation.ballot);
        }
        let office = self.role.office()?;
        let idle = office.proposal.is_none() && office.handing_over.is_none();
        let ready = self.planted.is(Bug::NoWaitForInstalled) || office.installed.len() >= self.electorate.quorum();
        (idle && ready).then_some(office.ballot)
    }

    /// Proposes `view` under the ballot of [`wants_view`](Self::wants_view).
    pub(crate) fn propose(&mut self, now: Timestamp, view: View, meta: &mut Meta) {
        if let Some(ballot) = self.role.preparation().map(|preparation| preparation.ballot) {
            self.rows.take(Row::ProposesOwn);
            return self.propose_first(now, ballot, view, meta);
        }
        let until = now.saturating_add(self.timing.phase);
        let Some(office) = self.role.office_mut().filter(|office| office.proposal.is_none()) else { return };
        let ballot = office.ballot;
        if meta.accept(ballot, view.clone()).is_err() {
            self.rows.take(Row::StepsDownForAnother);
            return self.follow();
        }
        self.rows.take(Row::CoordinatorProposes);
        office.proposal = Some(Box::new(Proposal { view: view.clone(), accepted: [self.me].into(), until }));
        self.send_all(&ElectionMessage::Propose { epoch: self.epoch, ballot, view });
        self.conclude_acceptances(now);
    }

    fn propose_first(&mut self, now: Timestamp, ballot: Ballot, view: View, meta: &mut Meta) {
        if meta.accept(ballot, view.clone()).is_err() {
            return self.back_off(now);
        }
        let until = now.saturating_add(self.timing.phase);
        let proposal = Box::new(Proposal { view: view.clone(), accepted: [self.me].into(), until });
        self.role = Role::Proposing { ballot, proposal };
        self.send_all(&ElectionMessage::Propose { epoch: self.epoch, ballot, view });
        self.conclude_acceptances(now);
    }

    fn on_propose(&mut self, now: Timestamp, from: Ordinal, ballot: Ballot, view: View, meta: &mut Meta) {
        if ballot.term >= TERM_LIMIT {
            return;
        }
        self.term_seen = self.term_seen.max(ballot.term);
        let before = meta.acceptor.promised();
        let answer = match meta.accept(ballot, view.clone()) {
            Ok(()) => {
                if before < ballot {
                    self.make_way(now);
                }
                self.quiet_since = now;
                ElectionMessage::Accepted { epoch: self.epoch, ballot }
            }
            Err(_) if self.planted.is(Bug::PromiseNotKept) => ElectionMessage::Accepted { epoch: self.epoch, ballot },
            Err(seen) => ElectionMessage::Reject { epoch: self.epoch, ballot, seen },
        };
        self.send(from, answer);
    }

    fn on_accepted(&mut self, now: Timestamp, from: Ordinal, ballot: Ballot) {
        if let Some((mine, proposal)) = self.role.proposal_mut()
            && mine == ballot
        {
            proposal.accepted.insert(from);
            self.conclude_acceptances(now);
        }
    }

    fn conclude_acceptances(&mut self, now: Timestamp) {
        let Some((ballot, proposal)) = self.role.proposal() else { return };
        let next = self.planted.is(Bug::WrongVoterSet).then(|| Electorate::of(&proposal.view));
        if self.is_quorum(&proposal.accepted, next.as_ref().unwrap_or(&self.electorate), now) {
            let view = proposal.view.clone();
            if self.role.office().is_none() {
                self.rows.take(Row::TakesOffice);
            }
            self.actions.push_back(Action::Decided { ballot, view });
        }
    }

    fn on_reject(&mut self, now: Timestamp, ballot: Ballot, seen: Ballot) {
        if seen.term >= TERM_LIMIT {
            return;
        }
        self.term_seen = self.term_seen.max(seen.term);
        if self.role.ballot() != Some(ballot) || seen <= ballot {
            return;
        }
        let presided = self.role.office().is_some();
        self.rows.take(if presided { Row::StepsDownForAnother } else { Row::RoundRejected });
        self.back_off(now);
    }

    /// A voter has promised `seen` and therefore hears nobody below it. This coordinator prepares anew, above it. A view under
    /// proposal comes first: it may be decided by others.
    pub(crate) fn outbid(&mut self, now: Timestamp, seen: Ballot, meta: &mut Meta) {
        if seen.term >= TERM_LIMIT {
            return;
        }
        self.term_seen = self.term_seen.max(seen.term);
        let idle = |office: &&role::Office| office.proposal.is_none() && office.handing_over.is_none();
        if self.role.office().filter(idle).is_some_and(|office| office.ballot < seen) {
            self.rows.take(Row::CoordinatorOutbids);
            self.prepare(now, meta);
        }
    }

    /// The present view was decided once more under `ballot`, which this node has promised now.
    pub(crate) fn handle_recommit(&mut self, now: Timestamp, ballot: Ballot, first_hand: bool) {
        self.term_seen = self.term_seen.max(ballot.term);
        if self.role.ballot() == Some(ballot) || self.heard.is_some_and(|heard| heard.ballot >= ballot) {
            return;
        }
        self.make_way(now);
        if first_hand {
            self.heard = Some(super::Heard { ballot, from: ballot.ordinal, at: now });
        }
    }

    /// `from` has installed the view of `epoch` and promised `ballot` for the next.
    pub(crate) fn handle_installed(&mut self, from: Ordinal, epoch: Epoch, promised: Ballot) {
        let votes = self.electorate.contains(from);
        let present = self.epoch == epoch;
        if let Some(office) = self.role.office_mut().filter(|office| present && votes && office.ballot == promised) {
            office.installed.insert(from);
        }
    }

    /// The voters that have promised to this candidate.
    pub(crate) fn promises(&self) -> Option<&BTreeSet<Ordinal>> {
        self.role.preparation().map(|preparation| &preparation.promises)
    }

    /// Hands the office over to `to`. False if this node does not hold it.
    pub(crate) fn hand_over(&mut self, now: Timestamp, to: Ordinal) -> bool {
        let until = now.saturating_add(self.timing.suspect);
        let Some(office) = self.role.office_mut().filter(|office| office.proposal.is_none()) else { return false };
        office.handing_over = Some(until);
        let ballot = office.ballot;
        self.send(to, ElectionMessage::Transfer { epoch: self.epoch, ballot });
        true
    }

    /// A coordinator at its heartbeat. One that cannot get a view decided is none, whatever it hears: voters that have
    /// promised a higher ballot to a candidate that failed would otherwise wait for it, and it for them.
    pub(super) fn preside(&mut self, now: Timestamp) {
        let (connected, quorum, suspect) = (self.is_connected(now), self.electorate.quorum(), self.timing.suspect);
        let Some(office) = self.role.office_mut() else { return };
        if office.handing_over.is_some_and(|until| until <= now) {
            office.handing_over = None;
        }
        let unheeded = office.installed.len() < quorum && office.since.saturating_add(suspect) <= now;
        let late = office.proposal.as_ref().is_some_and(|proposal| proposal.until <= now);
        if (connected && !unheeded && !late) || self.planted.is(Bug::StaysWithoutQuorum) {
            return;
        }
        self.rows.take(if late { Row::RoundTimedOut } else { Row::StepsDownWithoutQuorum });
        self.note("this node reaches no majority of the voters and gives up its office".to_owned());
        self.failures = self.failures.max(BACKOFF_DOUBLINGS);
        self.back_off(now);
        self.heard = None;
    }

    fn is_quorum(&self, votes: &BTreeSet<Ordinal>, voters: &Electorate, now: Timestamp) -> bool {
        let votes = votes.iter().filter(|vote| voters.contains(**vote)).count();
        if self.planted.is(Bug::NoQuorum) {
            return votes >= 1;
        }
        if self.planted.is(Bug::MajorityOfTheReachable) {
            return votes * 2 > self.connected(now);
        }
        votes >= voters.quorum()
    }
}
