//! I12: a ballot belongs to one process and proposes one view; an ordinal belongs to one voting state, for ever; no name of
//! a member that is up goes to another voting state.

use std::collections::BTreeMap;

use quoit_proto_types::{
    Ballot, ClusterId, Instance, Ordinal, View,
    message::{election::ElectionMessage, genesis::GenesisMessage, peer::PeerMessage},
    view::{Intent, Liveness, ViewHash},
};

use super::{Fact, Invariant, Stage, Violation};
use crate::sim::Actor;

const NAME: &str = "ballots and ordinals are issued once";

#[derive(Debug, Default)]
pub(super) struct IssuedOnce {
    /// Which process uses a ballot.
    ballots: BTreeMap<Ballot, u32>,
    proposals: BTreeMap<(ViewHash, Ballot), ViewHash>,
    ordinals: BTreeMap<(ClusterId, Ordinal), Instance>,
}

impl Invariant for IssuedOnce {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Some(hash) = stage.ledger.newly_chosen()
            && let Some(view) = stage.ledger.view(hash)
        {
            self.ordinals(view)?;
            names(stage, view)?;
        }
        let Fact::Sent { from, message, .. } = fact else { return Ok(()) };
        match message {
            PeerMessage::Election(ElectionMessage::Prepare { ballot, .. })
            | PeerMessage::Genesis(GenesisMessage::Prepare { ballot, .. }) => self.ballot(from, *ballot),
            PeerMessage::Election(ElectionMessage::Propose { ballot, view, .. })
            | PeerMessage::Genesis(GenesisMessage::Propose { ballot, view }) => {
                self.ballot(from, *ballot)?;
                let (base, hash) = (view.fields().previous, view.hash());
                let first = *self.proposals.entry((base, *ballot)).or_insert(hash);
                if first == hash {
                    return Ok(());
                }
                Err(Violation::new(NAME, format!("{from} proposes view {first} and view {hash} under {ballot}")))
            }
            PeerMessage::Election(_) | PeerMessage::Genesis(_) | PeerMessage::Membership(_) => Ok(()),
        }
    }
}

impl IssuedOnce {
    fn ballot(&mut self, from: &Actor, ballot: Ballot) -> Result<(), Violation> {
        let first = *self.ballots.entry(ballot).or_insert(from.serial);
        if first == from.serial {
            return Ok(());
        }
        Err(Violation::new(NAME, format!("{from} uses {ballot}, which process #{first} used")))
    }

    fn ordinals(&mut self, view: &View) -> Result<(), Violation> {
        for member in view.members() {
            let key = (view.fields().cluster_id, member.ordinal);
            let first = *self.ordinals.entry(key).or_insert(member.instance);
            if first != member.instance {
                let what = format!("{} is {} and {} in {}", member.ordinal, first, member.instance, view.epoch());
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }
}

/// Who stays under a name in `view` is who stayed before, unless that one was not up.
fn names(stage: Stage<'_>, view: &View) -> Result<(), Violation> {
    let Some(base) = stage.ledger.base_of(view) else { return Ok(()) };
    let stays = |member: &&quoit_proto_types::Member| member.intent == Intent::Stay;
    for before in base.members().iter().filter(stays) {
        let after = view.members().iter().filter(stays).find(|after| after.name == before.name);
        let Some(after) = after.filter(|after| after.instance != before.instance) else { continue };
        // It may be called down by the very view that gives its name away.
        let left = view.member(before.ordinal).map(|left| left.live);
        if before.live == Liveness::Up && left == Some(Liveness::Up) {
            let (name, epoch) = (&before.name, view.epoch());
            let what = format!("{name}, which was up, is {} instead of {} in {epoch}", after.instance, before.instance);
            return Err(Violation::new(NAME, what));
        }
    }
    Ok(())
}
