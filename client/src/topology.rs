//! The view a client goes by, and what it computes from it. Pure but for the handles it carries.

use std::sync::Arc;

use quoit_proto_types::{HashPoint, Member, Ordinal, Ring, View};

use crate::pool::Node;

/// A view, its ring, and a handle to each member. Never changed: a newer view makes a new topology.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) view: View,
    pub(crate) ring: Ring,
    /// In the order of `view.members()`.
    nodes: Vec<Arc<Node>>,
}

impl Topology {
    /// `node_for` supplies each member's handle: a known one, or a new one.
    pub(crate) fn new(view: View, node_for: impl FnMut(&Member) -> Arc<Node>) -> Self {
        let nodes = view.members().iter().map(node_for).collect();
        Self { ring: view.ring(), view, nodes }
    }

    /// The node to ask for what is at `point`.
    pub(crate) fn owner(&self, point: HashPoint) -> Option<&Arc<Node>> {
        self.node(self.ring.primary_of(point)?)
    }

    pub(crate) fn node(&self, ordinal: Ordinal) -> Option<&Arc<Node>> {
        let members = self.view.members();
        members.binary_search_by_key(&ordinal, |m| m.ordinal).ok().map(|i| &self.nodes[i])
    }

    pub(crate) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }
}
