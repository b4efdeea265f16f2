//! Asks every node how it stands, and checks what must hold whatever happens.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use quoit_client::{
    AdminReply, AdminRequest, Client, ElectionRole, Epoch, Label, NodeStatus, RequestError, View, ViewHash, ViewRecord,
};

use super::Fleet;

/// How long one answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How far back a node is asked for views that were not seen there yet.
const LOG_MAX: u64 = 256;

/// What every node said when it was asked at the same time.
#[derive(Debug)]
pub struct Round {
    /// When all had answered.
    pub at: Instant,
    /// What each said.
    pub answers: BTreeMap<Label, Result<NodeStatus, RequestError>>,
}

impl Round {
    /// The nodes that answered.
    pub fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.answers.values().filter_map(|answer| answer.as_ref().ok())
    }

    /// The latest view that any has.
    pub fn epoch(&self) -> u64 {
        self.statuses().map(|status| status.epoch.value()).max().unwrap_or_default()
    }

    /// Those that preside and hear a majority.
    pub fn coordinators(&self) -> impl Iterator<Item = &NodeStatus> {
        self.statuses().filter(|status| status.role == ElectionRole::Coordinator && has_quorum(status))
    }
}

/// Whether a node hears enough voters for views to be decided.
pub(super) fn has_quorum(status: &NodeStatus) -> bool {
    status.quorum.heard >= status.quorum.needed
}

/// An administrator who asks all nodes, and remembers what they said.
///
/// Checked with each answer: no epoch has two views; a process's epoch never decreases; of one epoch there is at most one
/// node that presides and hears a majority.
#[derive(Debug)]
pub struct Observer {
    client: Client,
    /// The view of each epoch, and who first told of it.
    hashes: BTreeMap<u64, (ViewHash, Label)>,
    /// Of each start of each node, the latest epoch it spoke of.
    epochs: BTreeMap<(Label, u32), u64>,
    /// Of each start of each node, the latest epoch whose history was asked for.
    logged: BTreeMap<(Label, u32), u64>,
    records: BTreeMap<u64, ViewRecord>,
    violations: Vec<String>,
    observations: u64,
}

impl Observer {
    /// Connects.
    ///
    /// # Errors
    /// No node answers.
    pub async fn connect(fleet: &Fleet) -> Result<Self> {
        Ok(Self {
            client: connect(fleet).await?,
            hashes: BTreeMap::new(),
            epochs: BTreeMap::new(),
            logged: BTreeMap::new(),
            records: BTreeMap::new(),
            violations: Vec::new(),
            observations: 0,
        })
    }

    /// Connects anew, and goes on with what it remembers.
    ///
    /// # Errors
    /// No node answers.
    pub async fn reconnect(&mut self, fleet: &Fleet) -> Result<()> {
        self.client = connect(fleet).await?;
        Ok(())
    }

    /// Asks `nodes`, as [`Fleet::living`] gives them, all at once.
    pub async fn round(&mut self, nodes: &[(Label, u32)]) -> Round {
        let ask = async |(name, starts): &(Label, u32)| {
            let answer = self.client.admin(name, AdminRequest::Status).await.and_then(|reply| match reply {
                AdminReply::Status(status) => Ok(*status),
                AdminReply::ViewLog(_)
                | AdminReply::ViewAt(_)
                | AdminReply::Command(_)
                | AdminReply::Handoff(_)
                | AdminReply::Recovered { .. }
                | AdminReply::NotRecovered { .. } => Err(out_of_protocol(name)),
            });
            (name.clone(), *starts, answer)
        };
        let answers = join_all(nodes.iter().map(ask)).await;
        let at = Instant::now();
        for (name, starts, answer) in &answers {
            if let Ok(status) = answer {
                self.check_epoch(name, *starts, status.epoch.value()).await;
            }
        }
        let answers = answers.into_iter().map(|(name, _, answer)| (name, answer)).collect();
        let round = Round { at, answers };
        self.check_office(&round);
        round
    }

    /// The view of an epoch, as `node` remembers it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn view_at(&self, node: &Label, epoch: Epoch) -> Result<Option<View>> {
        match self.client.admin(node, AdminRequest::ViewAt { epoch }).await? {
            AdminReply::ViewAt(view) => Ok(view),
            AdminReply::Status(_)
            | AdminReply::ViewLog(_)
            | AdminReply::Command(_)
            | AdminReply::Handoff(_)
            | AdminReply::Recovered { .. }
            | AdminReply::NotRecovered { .. } => Err(out_of_protocol(node).into()),
        }
    }

    /// The client it asks with, for whatever else an administrator does.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Every view after `epoch` that some node told of.
    pub fn records_after(&self, epoch: u64) -> impl Iterator<Item = &ViewRecord> {
        self.records.range(epoch + 1..).map(|(_, record)| record)
    }

    /// How many answers were checked.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// What was found broken, taken out.
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    async fn check_epoch(&mut self, name: &Label, starts: u32, epoch: u64) {
        self.observations += 1;
        let life = (name.clone(), starts);
        let before = self.epochs.insert(life.clone(), epoch).unwrap_or_default();
        if epoch < before {
            self.violations.push(format!("{name} went back from epoch {before} to {epoch}"));
        }
        let logged = self.logged.get(&life).copied().unwrap_or_default();
        if epoch <= logged {
            return;
        }
        let limit = u32::try_from((epoch - logged).min(LOG_MAX)).unwrap_or(u32::MAX);
        if let Ok(AdminReply::ViewLog(records)) = self.client.admin(name, AdminRequest::ViewLog { limit }).await {
            self.logged.insert(life, epoch);
            records.into_iter().for_each(|record| self.check_record(name, record));
        }
    }

    fn check_record(&mut self, name: &Label, record: ViewRecord) {
        let epoch = record.epoch.value();
        let (known, by) = self.hashes.entry(epoch).or_insert_with(|| (record.hash, name.clone()));
        if *known != record.hash {
            let found = record.hash;
            self.violations.push(format!("two views of epoch {epoch}: {known} at {by}, {found} at {name}"));
        }
        self.records.entry(epoch).or_insert(record);
    }

    fn check_office(&mut self, round: &Round) {
        let mut presiding: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for status in round.coordinators() {
            presiding.entry(status.epoch.value()).or_default().push(status.name.as_str());
        }
        for (epoch, names) in presiding.into_iter().filter(|(_, names)| names.len() > 1) {
            let names = names.join(" and ");
            self.violations.push(format!("{names} preside over epoch {epoch} at once, each with a majority"));
        }
    }
}

async fn connect(fleet: &Fleet) -> Result<Client> {
    let nodes: Vec<_> = (0..fleet.nodes().len()).filter(|index| fleet.nodes()[*index].is_living()).collect();
    fleet.administrator(&nodes, REQUEST_TIMEOUT).await.context("cannot connect as administrator")
}

fn out_of_protocol(node: &Label) -> RequestError {
    RequestError::Protocol { node: node.to_string(), reason: "an answer to another question".into() }
}
