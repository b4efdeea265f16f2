//! I3, for each proposer: it proposes under a ballot only when a majority of the voters has promised that very ballot for
//! that very epoch, in answer to `Prepare` or by installing the view before.

use std::collections::{BTreeMap, BTreeSet};

use quoit_proto_types::{
    Ballot, Instance,
    message::{election::ElectionMessage, heartbeat::Heartbeat, membership::MembershipMessage, peer::PeerMessage},
    view::ViewHash,
};

use super::{Fact, Invariant, Stage, Violation};

const NAME: &str = "proposals are promised";

#[derive(Debug, Default)]
pub(super) struct ProposalsArePromised {
    /// Who promised a ballot for what follows a view.
    promised: BTreeMap<(ViewHash, Ballot), BTreeSet<Instance>>,
    /// The view that a process goes by.
    installed: BTreeMap<u32, ViewHash>,
}

impl Invariant for ProposalsArePromised {
    fn observe(&mut self, stage: Stage<'_>, fact: &Fact<'_>) -> Result<(), Violation> {
        if let Fact::Installed { by, hash, .. } = fact {
            self.installed.insert(by.serial, *hash);
        }
        // A heartbeat shows what its sender has promised, so it repeats what `Installed` says.
        if let Fact::Beat { from, heartbeat: Heartbeat::Ping(ping) } = fact
            && let Some(base) = self.installed.get(&from.serial)
        {
            self.promised.entry((*base, ping.ballot)).or_default().insert(from.instance);
        }
        let Fact::Sent { from, at, message, .. } = fact else { return Ok(()) };
        match message {
            PeerMessage::Election(ElectionMessage::Promise { ballot, .. })
            | PeerMessage::Membership(MembershipMessage::Installed { promised: ballot, .. }) => {
                if let Some((_, base)) = at {
                    self.promised.entry((*base, *ballot)).or_default().insert(from.instance);
                }
                Ok(())
            }
            PeerMessage::Election(ElectionMessage::Propose { ballot, view, epoch }) => {
                let Some(base) = stage.ledger.base_of(view) else { return Ok(()) };
                let promised = self.promised.get(&(view.fields().previous, *ballot));
                let has = |instance: &Instance| {
                    *instance == from.instance || promised.is_some_and(|promised| promised.contains(instance))
                };
                let voters = base.fields().voters.iter().filter_map(|voter| base.member(*voter));
                let have = voters.filter(|voter| has(&voter.instance)).count();
                if have >= base.quorum() {
                    return Ok(());
                }
                let what = format!("{from} proposes under {ballot} in {epoch}, which {have} voters have promised");
                Err(Violation::new(NAME, what))
            }
            PeerMessage::Election(_) | PeerMessage::Genesis(_) | PeerMessage::Membership(_) => Ok(()),
        }
    }
}
