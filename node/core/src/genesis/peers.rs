//! What is known of the other founders.

use std::collections::BTreeMap;

use quoit_proto_types::Label;

/// The other founders, in the order of their names.
#[derive(Debug)]
pub(super) struct Peers(BTreeMap<Label, Peer>);

/// What a founder said on its present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// There is no connection.
    Away,
    /// Nothing yet.
    Silent,
    /// It would found the same.
    Agrees,
    /// It would found something else.
    Differs,
}

impl Peers {
    /// `names`, none of them connected.
    pub(super) fn new(names: impl Iterator<Item = Label>) -> Self {
        Self(names.map(|name| (name, Peer::Away)).collect())
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &Label> {
        self.0.keys()
    }

    /// Whether `name` is one of them.
    pub(super) fn contains(&self, name: &Label) -> bool {
        self.0.contains_key(name)
    }

    /// Notes a connection. Another one beside it changes nothing.
    pub(super) fn connected(&mut self, name: &Label) {
        if let Some(peer @ Peer::Away) = self.0.get_mut(name) {
            *peer = Peer::Silent;
        }
    }

    /// Forgets what was said on the connection that is gone.
    pub(super) fn disconnected(&mut self, name: &Label) {
        if let Some(peer) = self.0.get_mut(name) {
            *peer = Peer::Away;
        }
    }

    /// Notes what `name` said. False if it is not connected, so that this is old.
    pub(super) fn said(&mut self, name: &Label, what: Peer) -> bool {
        match self.0.get_mut(name) {
            None | Some(Peer::Away) => false,
            Some(peer) => {
                *peer = what;
                true
            }
        }
    }

    /// How many of them are connected and agree.
    pub(super) fn agreeing(&self) -> usize {
        self.0.values().filter(|peer| **peer == Peer::Agrees).count()
    }

    /// Those in one of `states`.
    pub(super) fn in_state(&self, states: &[Peer]) -> Vec<Label> {
        let wanted = self.0.iter().filter(|(_, peer)| states.contains(peer));
        wanted.map(|(name, _)| name.clone()).collect()
    }
}
