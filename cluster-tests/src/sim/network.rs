//! Connections between nodes: nothing is lost while one lasts, and all that is in flight when it is cut may be.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::time::Timestamp;
use rand::{RngExt, rngs::StdRng};

use super::{EventQueue, Options};

/// Something that reaches a node.
#[derive(Clone, Debug)]
pub enum NetworkEvent<M> {
    /// `node` learns that its connection with `peer` is up.
    Connected {
        /// Who learns it.
        node: usize,
        /// The other end.
        peer: usize,
        /// Which connection.
        connection: u64,
    },
    /// `node` learns that its connection with `peer` is gone.
    Disconnected {
        /// Who learns it.
        node: usize,
        /// The other end.
        peer: usize,
        /// Which connection.
        connection: u64,
    },
    /// `message` reaches `to`.
    Deliver {
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
        /// Over which connection.
        connection: u64,
        /// What was sent.
        message: M,
    },
}

/// One connection at a time between any two nodes. Delays differ between links and directions, so only the messages of
/// one connection and direction keep their order.
#[derive(Debug)]
pub struct Network {
    options: Options,
    rng: StdRng,
    connections: u64,
    links: BTreeMap<(usize, usize), Link>,
}

#[derive(Debug, Default)]
struct Link {
    connection: u64,
    state: LinkState,
    /// When the lower and the higher end learn that it is up.
    up: [Timestamp; 2],
    /// When the last message to each of them arrives.
    last: [Timestamp; 2],
}

#[derive(Debug, Default, PartialEq, Eq)]
enum LinkState {
    #[default]
    Idle,
    Open,
    /// Cut; these ends do not know it yet.
    Closing(Vec<usize>),
}

impl Network {
    /// A network without connections that behaves as `options` say.
    pub fn new(options: Options, rng: StdRng) -> Self {
        Self { options, rng, connections: 0, links: BTreeMap::new() }
    }

    /// Ends the faults.
    pub fn heal(&mut self) {
        self.options.heal();
    }

    /// Connects `a` and `b`, unless there still is a connection that an end believes in.
    pub fn connect<M, E: From<NetworkEvent<M>>>(&mut self, (a, b): (usize, usize), queue: &mut EventQueue<E>) {
        let link = self.links.entry(pair(a, b)).or_default();
        if link.state != LinkState::Idle {
            return;
        }
        self.connections += 1;
        let connection = self.connections;
        let mut up = || queue.now().saturating_add(self.rng.random_range(self.options.delay.clone()));
        let up = [up(), up()];
        *link = Link { connection, state: LinkState::Open, up, last: up };
        let (low, high) = pair(a, b);
        queue.at(link.up[0], NetworkEvent::Connected { node: low, peer: high, connection }.into());
        queue.at(link.up[1], NetworkEvent::Connected { node: high, peer: low, connection }.into());
    }

    /// Sends `message`, or loses it if there is no connection.
    pub fn send<M: Clone, E: From<NetworkEvent<M>>>(
        &mut self,
        (from, to): (usize, usize),
        message: M,
        queue: &mut EventQueue<E>,
    ) {
        let Some(link) = self.links.get_mut(&pair(from, to)).filter(|link| link.state == LinkState::Open) else {
            return;
        };
        let connection = link.connection;
        let end = usize::from(to > from);
        let (options, rng) = (&self.options, &mut self.rng);
        let slowdown = if rng.random_bool(options.slow) { 10 } else { 1 };
        let mut arrival = queue.now().saturating_add(rng.random_range(options.delay.clone()) * slowdown);
        if rng.random_bool(options.overtake) {
            arrival = arrival.max(link.up[end].saturating_add(Duration::from_micros(1)));
        } else {
            arrival = arrival.max(link.last[end].saturating_add(Duration::from_micros(1)));
            link.last[end] = arrival;
        }
        if rng.random_bool(options.duplicate) {
            let again = arrival.saturating_add(rng.random_range(options.again.clone()));
            queue.at(again, NetworkEvent::Deliver { from, to, connection, message: message.clone() }.into());
        }
        queue.at(arrival, NetworkEvent::Deliver { from, to, connection, message }.into());
    }

    /// Cuts the connection between `a` and `b`. Both ends notice it some time later; a node in `gone` never does.
    pub fn cut<M, E: From<NetworkEvent<M>>>(
        &mut self,
        (a, b): (usize, usize),
        gone: Option<usize>,
        queue: &mut EventQueue<E>,
    ) {
        let Some(link) = self.links.get_mut(&pair(a, b)) else { return };
        let connection = link.connection;
        match &mut link.state {
            LinkState::Idle => {}
            LinkState::Closing(ends) => ends.retain(|end| Some(*end) != gone),
            LinkState::Open => {
                let ends: Vec<usize> = [a, b].into_iter().filter(|end| Some(*end) != gone).collect();
                for &node in &ends {
                    let peer = a + b - node;
                    let noticed = queue.now().saturating_add(self.rng.random_range(self.options.notice.clone()));
                    queue.at(noticed, NetworkEvent::Disconnected { node, peer, connection }.into());
                }
                link.state = LinkState::Closing(ends);
            }
        }
        if matches!(&link.state, LinkState::Closing(ends) if ends.is_empty()) {
            link.state = LinkState::Idle;
        }
    }

    /// Whether `event` still happens now that its time has come.
    pub fn admits<M>(&mut self, event: &NetworkEvent<M>) -> bool {
        match event {
            NetworkEvent::Connected { node, peer, connection } => self.is_open(*node, *peer, *connection),
            NetworkEvent::Deliver { from, to, connection, .. } => {
                self.is_open(*from, *to, *connection) || self.rng.random_bool(self.options.late)
            }
            NetworkEvent::Disconnected { node, peer, connection } => self.notice(*node, *peer, *connection),
        }
    }

    fn is_open(&self, a: usize, b: usize, connection: u64) -> bool {
        let link = self.links.get(&pair(a, b));
        link.is_some_and(|link| link.connection == connection && link.state == LinkState::Open)
    }

    /// `node` notices that `connection` is gone, if it is still there to notice.
    fn notice(&mut self, node: usize, peer: usize, connection: u64) -> bool {
        let Some(link) = self.links.get_mut(&pair(node, peer)) else { return false };
        let LinkState::Closing(ends) = &mut link.state else { return false };
        if link.connection != connection || !ends.contains(&node) {
            return false;
        }
        ends.retain(|end| *end != node);
        if ends.is_empty() {
            link.state = LinkState::Idle;
        }
        true
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}
