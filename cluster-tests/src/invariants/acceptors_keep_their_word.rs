//! I3, for each acceptor: it answers only for the epoch that it is in, never below what it promised, and only what is safe
//! on its disk.

use std::collections::BTreeMap;

use quoit_core::meta::Meta;
use quoit_proto_types::{
    Ballot, Epoch, Instance,
    message::{election::ElectionMessage, genesis::GenesisMessage, membership::MembershipMessage, peer::PeerMessage},
};

use super::{Fact, Invariant, Stage, Violation};
use crate::sim::Actor;

const NAME: &str = "acceptors keep their word";

#[derive(Debug, Default)]
pub(super) struct AcceptorsKeepTheirWord {
    /// The highest ballot that an instance has told that it promised, and in which epoch it was then.
    told: BTreeMap<Instance, (Epoch, Ballot)>,
    /// The highest epoch an instance has told that it installed.
    epochs: BTreeMap<Instance, Epoch>,
}

/// What an acceptor says.
struct Word {
    epoch: Epoch,
    ballot: Ballot,
    accepts: bool,
    /// Whether it must be in that very epoch.
    answers: bool,
}

fn word(message: &PeerMessage) -> Option<Word> {
    let genesis = Epoch::GENESIS;
    let (epoch, ballot, accepts, answers) = match message {
        PeerMessage::Election(ElectionMessage::Promise { epoch, ballot, .. }) => (*epoch, *ballot, false, true),
        PeerMessage::Election(ElectionMessage::Accepted { epoch, ballot }) => (*epoch, *ballot, true, true),
        PeerMessage::Genesis(GenesisMessage::Promise { ballot, .. }) => (genesis, *ballot, false, true),
        PeerMessage::Genesis(GenesisMessage::Accepted { ballot }) => (genesis, *ballot, true, true),
        PeerMessage::Membership(MembershipMessage::Installed { epoch, promised }) => (*epoch, *promised, false, false),
        PeerMessage::Election(_) | PeerMessage::Genesis(_) | PeerMessage::Membership(_) => return None,
    };
    Some(Word { epoch, ballot, accepts, answers })
}

impl Invariant for AcceptorsKeepTheirWord {
    fn observe(&mut self, _stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        let Fact::Sent { from, at, durable, message, .. } = fact else { return Ok(()) };
        let Some(word) = word(message) else { return Ok(()) };
        let epoch = at.map_or(Epoch::GENESIS, |(epoch, _)| epoch);
        if word.answers && epoch != word.epoch {
            return Err(Violation::new(NAME, format!("{from} answers for {} in {epoch}", word.epoch)));
        }
        is_durable(from, durable, &word)?;
        self.is_kept(from, &word)
    }
}

fn is_durable(from: &Actor, durable: &Meta, word: &Word) -> Result<(), Violation> {
    let Word { epoch, ballot, accepts, answers } = *word;
    let later = durable.epoch() > epoch;
    let promised = durable.acceptor.promised() >= ballot;
    let accepted = durable.acceptor.accepted().is_some_and(|(accepted, _)| *accepted >= ballot);
    let safe = if answers { durable.epoch() == epoch && promised && (!accepts || accepted) } else { promised };
    if later || (safe && durable.epoch() >= epoch) {
        return Ok(());
    }
    let what = if accepts { "accepted" } else { "promised" };
    Err(Violation::new(NAME, format!("{from} says that it {what} {ballot} in {epoch}, which is not on its disk")))
}

impl AcceptorsKeepTheirWord {
    fn is_kept(&mut self, from: &Actor, word: &Word) -> Result<(), Violation> {
        let told = self.told.entry(from.instance).or_insert((word.epoch, word.ballot));
        let (epoch, ballot) = *told;
        // A message of `Installed` may repeat an earlier epoch, but a promise never falls.
        if word.answers && word.epoch >= epoch && word.ballot < ballot {
            let what = format!("{from} heeds {} in {}, having promised {ballot} in {epoch}", word.ballot, word.epoch);
            return Err(Violation::new(NAME, what));
        }
        if (word.epoch, word.ballot) > *told {
            *told = (word.epoch, word.ballot.max(ballot));
        }
        if !word.answers {
            let before = self.epochs.insert(from.instance, word.epoch).unwrap_or_default();
            if before > word.epoch {
                let what = format!("{from} is in {}, having told that it is in {before}", word.epoch);
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }
}
