//! How a node stands, gathered from all its parts.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use quoit_client::Label;
use quoit_proto_types::{
    Ballot, Boot, Epoch,
    message::admin::{ElectionRole, NodeStatus, Quorum, UpkeepStatus},
};
use tokio::sync::Semaphore;

use crate::{
    clock::{self, Clock},
    data::upkeep::UpkeepHandle,
    driver::control::DriverHandle,
    store::Store,
    transport::credentials::NodeCredentials,
};

pub(crate) use upkeep::upkeep_status;

mod upkeep;

/// A certificate that ends this soon is worth an alarm, and this soon a loud one.
const CERTIFICATE_SOON: Duration = Duration::from_secs(7 * 86_400);
const CERTIFICATE_VERY_SOON: Duration = Duration::from_secs(86_400);
/// Alarms that one status carries.
const ALARMS_MAX: usize = 64;

/// Knows how the node stands.
#[derive(Debug)]
pub(crate) struct StatusSource {
    pub(crate) name: Label,
    pub(crate) boot: Boot,
    pub(crate) driver: DriverHandle,
    pub(crate) upkeep: UpkeepHandle,
    pub(crate) store: Arc<Store>,
    pub(crate) credentials: Arc<NodeCredentials>,
    /// A permit for each connection of a client, and how many there are in all.
    pub(crate) clients: Arc<Semaphore>,
    pub(crate) clients_max: usize,
    pub(crate) clock: Clock,
}

impl StatusSource {
    /// How many clients are connected.
    pub(crate) fn clients(&self) -> usize {
        self.clients_max.saturating_sub(self.clients.available_permits())
    }

    /// How the node stands now. Takes as long as the driver takes to answer, three seconds at most.
    pub(crate) async fn status(&self) -> NodeStatus {
        let not_after_s = self.credentials.not_after_s();
        let mut alarms: Vec<String> = certificate_alarm(&self.name, not_after_s, clock::wall()).into_iter().collect();
        let (control, upkeep) = tokio::join!(self.driver.status(), self.upkeep.report());
        if control.is_none() {
            let text = "the control plane of this node does not answer: it stopped or is overloaded; its log says why";
            alarms.push(text.into());
        }
        let stats = self.store.stats();
        let clients = self.clients();
        if clients >= self.clients_max {
            alarms.push(format!(
                "{clients} clients are connected and no more are let in: raise --clients-max, or close some"
            ));
        }
        let mut status = NodeStatus {
            name: self.name.clone(),
            boot: self.boot,
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: Epoch::GENESIS,
            standing: "stopped".into(),
            role: ElectionRole::Outside,
            coordinator: None,
            quorum: Quorum { heard: 0, needed: 0 },
            promised: Ballot::default(),
            uptime_ms: self.clock.now().as_micros() / 1000,
            isolated_ms: 0,
            certificate_not_after_s: not_after_s,
            entries: stats.entries as u64,
            bytes: stats.bytes as u64,
            bytes_max: self.store.memory_limit_bytes() as u64,
            clients: u32::try_from(clients).unwrap_or(u32::MAX),
            upkeep: upkeep.as_ref().and_then(upkeep_status),
            alarms,
        };
        status.alarms.extend(status.upkeep.as_ref().into_iter().flat_map(data_alarms));
        if let Some(control) = control {
            status.epoch = control.epoch;
            status.standing = control.standing;
            status.role = control.role;
            status.coordinator = control.coordinator;
            status.quorum = control.quorum;
            status.promised = control.promised;
            status.isolated_ms = u64::try_from(control.isolated.as_millis()).unwrap_or(u64::MAX);
            status.alarms.extend(control.alarms);
        }
        status.alarms.truncate(ALARMS_MAX);
        status
    }
}

/// What to say of the copies of what the node holds.
fn data_alarms(upkeep: &UpkeepStatus) -> Vec<String> {
    let mut alarms = Vec::new();
    if upkeep.is_paused {
        alarms.push("handoff is paused: no ring change ends before quoit handoff resume".into());
    }
    if upkeep.unoffered_slots > 0 {
        alarms.push(format!(
            "{} slots were given up before their owners were within reach for what was written here last: such writes may be \
             lost",
            upkeep.unoffered_slots
        ));
    }
    if let Some(takes) = upkeep.takes.as_ref().filter(|takes| takes.slots_skipped > 0) {
        let skipped = takes.slots_skipped;
        alarms.push(format!("{skipped} slots are taken over without one of their owners, which is down"));
    }
    alarms
}

/// What to say of a certificate that is valid until `not_after_s`.
fn certificate_alarm(name: &Label, not_after_s: i64, now: SystemTime) -> Option<String> {
    let not_after = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(not_after_s).ok()?))?;
    let Ok(left) = not_after.duration_since(now) else {
        return Some(format!(
            "the certificate of {name} has expired: no new connection is made; make-certs renew {name}"
        ));
    };
    if left < CERTIFICATE_VERY_SOON {
        let hours = left.as_secs() / 3600;
        return Some(format!("the certificate of {name} expires in {hours} hours: make-certs renew {name}, at once"));
    }
    let days = left.as_secs() / 86_400;
    (left < CERTIFICATE_SOON)
        .then(|| format!("the certificate of {name} expires in {days} days: make-certs renew {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_complained_of_in_time() {
        let name: Label = "n1".parse().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |days: i64| certificate_alarm(&name, 1_000_000 + days * 86_400 - 1, now);
        assert_eq!(at(8), None);
        assert!(at(7).is_some_and(|text| text.contains("6 days")));
        assert!(at(1).is_some_and(|text| text.contains("23 hours") && text.contains("at once")));
        assert!(at(0).is_some_and(|text| text.contains("has expired")));
        assert_eq!(certificate_alarm(&name, i64::MAX, now), None);
    }
}
