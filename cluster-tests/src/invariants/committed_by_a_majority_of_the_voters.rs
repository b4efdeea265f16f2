//! I3: a view is decided by a majority of its predecessor's voters, and the first one by all founders. Nobody goes by a
//! view, or tells others to, that was not; and once a view is decided, no later ballot proposes another one.

use quoit_proto_types::{
    Ballot, View,
    message::{election::ElectionMessage, genesis::GenesisMessage, membership::MembershipMessage, peer::PeerMessage},
};

use super::{Fact, Invariant, Stage, Violation};
use crate::sim::Actor;

const NAME: &str = "committed by a majority of the voters";

#[derive(Debug, Default)]
pub(super) struct CommittedByAMajority;

impl Invariant for CommittedByAMajority {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Fact::Installed { by, view, hash } = fact
            && !stage.ledger.is_chosen(view, *hash, by)
        {
            let what = format!("{by} installs view {hash} of {}, which nobody decided", view.epoch());
            return Err(Violation::new(NAME, what));
        }
        let Fact::Sent { from, message, .. } = fact else { return Ok(()) };
        match message {
            PeerMessage::Membership(MembershipMessage::Commit { view, .. }) => {
                let hash = view.hash();
                if stage.ledger.is_chosen(view, hash, from) {
                    return Ok(());
                }
                let what = format!("{from} publishes view {hash} of {}, which nobody decided", view.epoch());
                Err(Violation::new(NAME, what))
            }
            PeerMessage::Election(ElectionMessage::Propose { ballot, view, .. }) => {
                undecided_otherwise(stage, from, *ballot, view)
            }
            PeerMessage::Genesis(GenesisMessage::Propose { ballot, view }) if !is_first_of_all(stage, view) => {
                undecided_otherwise(stage, from, *ballot, view)
            }
            PeerMessage::Election(_) | PeerMessage::Genesis(_) | PeerMessage::Membership(_) => Ok(()),
        }
    }
}

/// Whether all that was decided before `view`, a first view, is forgotten by everybody.
fn is_first_of_all(stage: Stage<'_>, view: &View) -> bool {
    stage.ledger.chosen_after(view.fields().previous).all(|chosen| {
        let chosen = stage.ledger.view(chosen);
        chosen.is_none_or(|chosen| chosen.members().iter().all(|member| stage.ledger.is_wiped(member.instance)))
    })
}

/// Nothing but `view` is decided in its place, unless a ballot above this one did so.
fn undecided_otherwise(stage: Stage<'_>, from: &Actor, ballot: Ballot, view: &View) -> Result<(), Violation> {
    let hash = view.hash();
    let rival = stage.ledger.chosen_after(view.fields().previous).find(|chosen| *chosen != hash);
    let Some(rival) = rival else { return Ok(()) };
    let earlier = stage.ledger.decided_by(rival).is_some_and(|decided| decided < ballot);
    if !earlier {
        return Ok(());
    }
    let what = format!("{from} proposes view {hash} of {} under {ballot}, but view {rival} is decided", view.epoch());
    Err(Violation::new(NAME, what))
}
