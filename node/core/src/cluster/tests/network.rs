//! What carries messages from one node of the stage to another, in 1 ms.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use quoit_proto_types::message::{heartbeat::Heartbeat, peer::PeerMessage};

use crate::time::Timestamp;

const LATENCY: Duration = Duration::from_millis(1);

/// From whom to whom.
pub(super) type Link = (String, String);

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Message(Box<PeerMessage>),
    Beat(Heartbeat),
}

#[derive(Debug)]
pub(super) struct Packet {
    pub(super) link: Link,
    pub(super) payload: Payload,
}

/// Links, and what is on them. A cut link drops, a held one keeps messages, but not heartbeats, until they are
/// delivered by hand.
#[derive(Debug, Default)]
pub(super) struct Network {
    connected: BTreeSet<Link>,
    cut: BTreeSet<Link>,
    holding: BTreeSet<Link>,
    held: BTreeMap<Link, VecDeque<Box<PeerMessage>>>,
    /// By how much later everything arrives that these nodes send.
    slow: BTreeMap<String, Duration>,
    flying: BTreeMap<(Timestamp, u64), Packet>,
    sent: u64,
}

pub(super) fn link(from: &str, to: &str) -> Link {
    (from.to_owned(), to.to_owned())
}

fn pair(a: &str, b: &str) -> Link {
    if a < b { link(a, b) } else { link(b, a) }
}

impl Network {
    pub(super) fn connect(&mut self, a: &str, b: &str) -> bool {
        self.connected.insert(pair(a, b))
    }

    pub(super) fn disconnect(&mut self, a: &str, b: &str) -> bool {
        self.connected.remove(&pair(a, b))
    }

    pub(super) fn is_connected(&self, a: &str, b: &str) -> bool {
        self.connected.contains(&pair(a, b))
    }

    pub(super) fn is_cut(&self, a: &str, b: &str) -> bool {
        self.cut.contains(&link(a, b)) || self.cut.contains(&link(b, a))
    }

    /// The nodes that `name` is connected with.
    pub(super) fn peers(&self, name: &str) -> Vec<String> {
        let other = |(a, b): &Link| match (a == name, b == name) {
            (true, _) => Some(b.clone()),
            (_, true) => Some(a.clone()),
            (false, false) => None,
        };
        self.connected.iter().filter_map(other).collect()
    }

    pub(super) fn cut(&mut self, from: &str, to: &str) {
        self.cut.insert(link(from, to));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn slow_down(&mut self, name: &str, by: Duration) {
        self.slow.insert(name.to_owned(), by);
    }

    pub(super) fn hold(&mut self, from: &str, to: &str) {
        self.holding.insert(link(from, to));
    }

    /// Stops holding, and drops what was held.
    pub(super) fn lose(&mut self, from: &str, to: &str) -> usize {
        self.holding.remove(&link(from, to));
        self.held.remove(&link(from, to)).map_or(0, |lost| lost.len())
    }

    /// The oldest message that is held. Leaves it there to be taken again if `again`.
    pub(super) fn take(&mut self, from: &str, to: &str, again: bool) -> PeerMessage {
        let held = self.held.get_mut(&link(from, to)).expect("a message that is held");
        let message = held.pop_front().expect("a message that is held");
        if again {
            held.push_front(message.clone());
        }
        *message
    }

    /// Puts the oldest message that is held behind the others.
    pub(super) fn put_behind(&mut self, from: &str, to: &str) {
        let held = self.held.get_mut(&link(from, to)).expect("a message that is held");
        held.rotate_left(1);
    }

    /// Stops holding, and lets everything go.
    pub(super) fn release(&mut self, now: Timestamp, from: &str, to: &str) {
        self.holding.remove(&link(from, to));
        for message in self.held.remove(&link(from, to)).unwrap_or_default() {
            self.fly(now, Packet { link: link(from, to), payload: Payload::Message(message) });
        }
    }

    /// Sends. What becomes of it if it does not arrive by itself.
    pub(super) fn send(&mut self, now: Timestamp, from: &str, to: &str, payload: Payload) -> &'static str {
        let link = link(from, to);
        if !self.is_connected(from, to) {
            return " (not connected)";
        }
        if self.cut.contains(&link) {
            return " (cut)";
        }
        match payload {
            Payload::Message(message) if self.holding.contains(&link) => {
                self.held.entry(link).or_default().push_back(message);
                " (held)"
            }
            Payload::Message(_) | Payload::Beat(_) => {
                self.fly(now, Packet { link, payload });
                ""
            }
        }
    }

    fn fly(&mut self, now: Timestamp, packet: Packet) {
        self.sent += 1;
        let late = self.slow.get(&packet.link.0).copied().unwrap_or_default();
        self.flying.insert((now.saturating_add(LATENCY + late), self.sent), packet);
    }

    pub(super) fn next_arrival(&self) -> Option<Timestamp> {
        self.flying.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn arrive(&mut self) -> Option<Packet> {
        self.flying.pop_first().map(|(_, packet)| packet)
    }

    /// Puts a packet off, for a receiver that is asleep.
    pub(super) fn put_off(&mut self, packet: Packet, until: Timestamp) {
        self.sent += 1;
        self.flying.insert((until, self.sent), packet);
    }

    pub(super) fn has_messages(&self) -> bool {
        self.flying.values().any(|packet| matches!(packet.payload, Payload::Message(_)))
    }
}
