//! A view is installed only after every founder accepted it under one ballot.

use std::collections::{BTreeMap, BTreeSet};

use quoit_proto_types::{Ballot, Label, View, message::peer::PeerMessage};

use super::{Fact, Invariant, Violation};

#[derive(Debug)]
pub(super) struct ViewAcceptedByAllFounders {
    founders: BTreeSet<Label>,
    /// What a ballot proposes, and who said that it accepted. A proposer accepts by proposing.
    ballots: BTreeMap<Ballot, (View, BTreeSet<Label>)>,
}

impl ViewAcceptedByAllFounders {
    pub(super) fn new(founders: &[Label]) -> Self {
        Self { founders: founders.iter().cloned().collect(), ballots: BTreeMap::new() }
    }
}

impl Invariant for ViewAcceptedByAllFounders {
    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        match fact {
            Fact::Sent { from, message: PeerMessage::Propose { ballot, view, .. }, .. } => {
                let (_, accepted) = self.ballots.entry(*ballot).or_insert_with(|| (view.clone(), BTreeSet::new()));
                accepted.insert(from.name.clone());
            }
            Fact::Sent { from, message: PeerMessage::Accepted { ballot, .. }, .. } => {
                if let Some((_, accepted)) = self.ballots.get_mut(ballot) {
                    accepted.insert(from.name.clone());
                }
            }
            Fact::Installed { by, view } if self.founders.len() > 1 => {
                let decided = |(proposed, accepted): &(View, _)| proposed == *view && *accepted == self.founders;
                if !self.ballots.values().any(decided) {
                    let (name, hash) = (&by.name, view.hash());
                    return Err(Violation(format!("{name} installs view {hash}, which not all founders accepted")));
                }
            }
            Fact::Installed { .. } | Fact::Sent { .. } | Fact::Started(_) | Fact::Ended(_) | Fact::Settled(_) => {}
        }
        Ok(())
    }
}
