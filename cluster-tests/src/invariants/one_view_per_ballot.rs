//! A ballot proposes one view: nobody uses a ballot twice, not even by restarting.

use std::collections::BTreeMap;

use quoit_proto_types::{Ballot, View, message::peer::PeerMessage};

use super::{Fact, Invariant, Violation};

#[derive(Debug, Default)]
pub(super) struct OneViewPerBallot {
    proposed: BTreeMap<Ballot, View>,
}

impl Invariant for OneViewPerBallot {
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        let Fact::Sent { message: PeerMessage::Propose { ballot, view, .. }, .. } = fact else { return Ok(()) };
        let first = self.proposed.entry(*ballot).or_insert_with(|| view.clone());
        if first == view {
            Ok(())
        } else {
            Err(Violation(format!("ballot {ballot} proposes view {} and view {}", first.hash(), view.hash())))
        }
    }
}
