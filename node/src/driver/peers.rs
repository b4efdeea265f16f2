//! Who is connected, over which connections; and who is dialled because the view names it.

use std::collections::{BTreeMap, BTreeSet};

use quoit_client::{Address, ErrorCode, Label};
use quoit_core::cluster::Life;
use quoit_proto_types::{
    View,
    message::{heartbeat::Heartbeat, peer::PeerMessage},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::transport::peers::{ConnectionId, PeerLink};

/// Connections with one peer: one as a rule, two when both dial at once, more when it is behind several seeds.
const CONNECTIONS_MAX: usize = 16;

/// The peers that are connected.
#[derive(Debug)]
pub(super) struct Peers {
    /// The connections of each, the latest last. There is one at least.
    peers: BTreeMap<Label, Vec<Connected>>,
    /// Their names, for those who dial.
    names: watch::Sender<BTreeSet<Label>>,
}

#[derive(Debug)]
struct Connected {
    life: Life,
    link: PeerLink,
    is_slow: bool,
}

/// What is left when a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It was not known.
    Unknown,
    /// There are others with the same process.
    One,
    /// There are others, with this process.
    Other(Life),
    /// Nothing.
    Last,
}

impl Default for Peers {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), names: watch::Sender::new(BTreeSet::new()) }
    }
}

impl Peers {
    /// The names of those who are connected, as that changes.
    pub(super) fn connected(&self) -> watch::Receiver<BTreeSet<Label>> {
        self.names.subscribe()
    }

    pub(super) fn is_connected(&self, peer: &Label) -> bool {
        self.peers.contains_key(peer)
    }

    /// Whether `peer` has all the connections that it may have.
    pub(super) fn is_full(&self, peer: &Label) -> bool {
        self.peers.get(peer).is_some_and(|connections| connections.len() >= CONNECTIONS_MAX)
    }

    /// Adds a connection that was admitted. Those with earlier processes of its instance end.
    pub(super) fn add(&mut self, peer: Label, life: Life, link: PeerLink) {
        let connections = self.peers.entry(peer.clone()).or_default();
        connections.retain(|old| {
            let stays = old.life.instance != life.instance || old.life.boot >= life.boot;
            if !stays {
                old.link.close(ErrorCode::Superseded, "a later process of this node has been seen");
            }
            stays
        });
        connections.push(Connected { life, link, is_slow: false });
        self.names.send_if_modified(|names| names.insert(peer));
    }

    /// Whether this is a connection with the process that was admitted last under the name of `peer`. What others of that
    /// name say is not passed on: it would count as said by that process.
    pub(super) fn knows(&self, peer: &Label, connection: ConnectionId) -> bool {
        self.current(peer).any(|connected| connected.link.id == connection)
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, peer: &Label, connection: ConnectionId) -> Gone {
        let Some(connections) = self.peers.get_mut(peer) else {
            return Gone::Unknown;
        };
        let before = connections.last().map(|latest| latest.life);
        let count = connections.len();
        connections.retain(|connected| connected.link.id != connection);
        match connections.last().map(|latest| latest.life) {
            Some(_) if connections.len() == count => Gone::Unknown,
            Some(life) if before == Some(life) => Gone::One,
            Some(life) => Gone::Other(life),
            None => {
                self.peers.remove(peer);
                self.names.send_if_modified(|names| names.remove(peer));
                Gone::Last
            }
        }
    }

    /// Ends what is left with `peer`.
    pub(super) fn close(&self, peer: &Label, code: ErrorCode, text: &str) {
        for connected in self.peers.get(peer).into_iter().flatten() {
            connected.link.close(code, text);
        }
    }

    /// Sends a message to `peer`, over its latest connection that has room; drops it if there is none.
    pub(super) fn send(&mut self, to: &Label, message: PeerMessage) {
        let Some(connections) = self.peers.get_mut(to) else {
            return;
        };
        let Some(life) = connections.last().map(|latest| latest.life) else {
            return;
        };
        for connected in connections.iter_mut().rev().filter(|connected| connected.life == life) {
            if connected.link.send(message.clone()) {
                connected.is_slow = false;
                return;
            }
            if !std::mem::replace(&mut connected.is_slow, true) {
                warn!(event = "peer_slow", peer = %to, "messages are dropped: the peer does not read");
            }
        }
    }

    /// Sends a heartbeat to `peer`, over its latest connection.
    pub(super) fn beat(&self, to: &Label, heartbeat: &Heartbeat) {
        if let Some(latest) = self.peers.get(to).and_then(|connections| connections.last()) {
            latest.link.beat(heartbeat);
        }
    }

    fn current(&self, peer: &Label) -> impl Iterator<Item = &Connected> {
        let connections = self.peers.get(peer).map(Vec::as_slice).unwrap_or_default();
        let life = connections.last().map(|latest| latest.life);
        connections.iter().filter(move |connected| Some(connected.life) == life)
    }
}

/// The members of the view, each with the task that dials it.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<Label, Dialled>);

#[derive(Debug)]
struct Dialled {
    address: Address,
    connected: watch::Sender<bool>,
    /// Ends when the member leaves.
    _task: AbortOnDropHandle<()>,
}

impl Members {
    /// Goes by `view`: `dial` begins to dial a member that is new or is reached elsewhere.
    pub(super) fn follow(
        &mut self,
        view: &View,
        me: &Label,
        mut dial: impl FnMut(Label, Address, &watch::Sender<bool>) -> JoinHandle<()>,
    ) {
        let names: BTreeSet<&Label> = view.members().iter().map(|member| &member.name).collect();
        self.0.retain(|name, _| names.contains(name));
        for name in names.into_iter().filter(|name| *name != me) {
            // Of two members of one name, the one that stays.
            let Some(member) = view.member_named(name) else {
                continue;
            };
            if self.0.get(name).is_some_and(|known| known.address == member.address) {
                continue;
            }
            let connected = watch::Sender::new(false);
            let task = AbortOnDropHandle::new(dial(name.clone(), member.address.clone(), &connected));
            self.0.insert(name.clone(), Dialled { address: member.address.clone(), connected, _task: task });
        }
    }

    /// Says whether there is a connection with `name`, to the task that dials it.
    pub(super) fn set_connected(&self, name: &Label, is_connected: bool) {
        if let Some(dialled) = self.0.get(name) {
            dialled.connected.send_replace(is_connected);
        }
    }

    /// Those with whom there is no connection.
    pub(super) fn unconnected(&self) -> BTreeSet<Label> {
        self.0.iter().filter(|(_, dialled)| !*dialled.connected.borrow()).map(|(name, _)| name.clone()).collect()
    }
}
