//! Which process of each name is the true one.

use std::collections::BTreeMap;

use quoit_proto_types::{
    Boot, Instance, Label, Nonce, View,
    view::{Intent, Liveness},
};

use super::output::{Admission, Life};

/// The highest boot seen of each instance, and the process that has it. A restart of an instance is a higher boot; a second
/// process with the same boot runs on a copy of the disk.
#[derive(Debug, Default)]
pub(super) struct Lives {
    seen: BTreeMap<(Label, Instance), (Boot, Nonce)>,
    connected: BTreeMap<Label, Life>,
}

/// Instances of one name that are remembered. A name with more lost disks than this forgets the oldest-numbered one.
const INSTANCES_MAX: usize = 64;

impl Lives {
    /// A connection with the process `life` of `peer` is up.
    pub(super) fn connect(&mut self, peer: &Label, life: Life) -> Admission {
        let key = (peer.clone(), life.instance);
        match self.seen.get(&key) {
            Some((boot, _)) if life.boot < *boot => return Admission::Superseded,
            Some((boot, nonce)) if life.boot == *boot && life.nonce != *nonce => return Admission::Duplicate,
            Some(_) | None => {}
        }
        self.seen.insert(key, (life.boot, life.nonce));
        let of_peer =
            self.seen.range((peer.clone(), Instance::from_random(0))..).take_while(|((name, _), _)| name == peer);
        if of_peer.clone().count() > INSTANCES_MAX
            && let Some(oldest) = of_peer.map(|(key, _)| key.clone()).find(|(_, instance)| *instance != life.instance)
        {
            self.seen.remove(&oldest);
        }
        self.connected.insert(peer.clone(), life);
        Admission::Admitted
    }

    /// Whether another instance of the name of `peer` is connected that `view` has as a member that is up.
    pub(super) fn is_taken(&self, view: &View, peer: &Label, life: Life) -> bool {
        let other = self.connected.get(peer).filter(|other| other.instance != life.instance);
        let member = other.and_then(|other| view.member_of_instance(other.instance));
        let holds = member.is_some_and(|member| member.live == Liveness::Up && member.intent == Intent::Stay);
        holds && view.member_of_instance(life.instance).is_none()
    }

    /// The last connection with `peer` is gone.
    pub(super) fn disconnect(&mut self, peer: &Label) {
        self.connected.remove(peer);
    }

    /// The process of each connected peer.
    pub(super) fn connected(&self) -> &BTreeMap<Label, Life> {
        &self.connected
    }
}
