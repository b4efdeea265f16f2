//! A node that joins: how fast it gets its share of a million entries.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use quoit_client::{AdminReply, AdminRequest, Client, NodeStatus};

use super::{
    Bed,
    contest::{MEMORY, REQUEST_TIMEOUT, plan},
    findings::Section,
};
use crate::{
    identities::name,
    load,
    nodes::Nodes,
    peers::{Peer, PeerNodes},
    progress::Progress,
    workload::{Mode, Workload, WorkloadPlan},
};

impl Bed {
    pub(super) async fn handoff(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("A fourth node joins");
        section.note(format!(
            "{} entries of 116 bytes, one copy of each, on three nodes. Quoit, unpaced: from the start of the fourth node's transfer to \
             its end, as that node tells. Peers: the whole time of `--cluster rebalance --cluster-use-empty-masters`, over TLS, with \
             as many keys at once as said. Both count the entries that the fourth node has afterwards.",
            self.entries,
        ));
        section.header = vec!["who", "entries moved", "seconds", "k entries/s"];
        let done = progress.step("handoff of quoit");
        let (moved, transfer, whole) = self.handoff_of_quoit(3, plan(Mode::Set, self.entries)).await?;
        drop(done);
        let rate = section.moved("quoit, transfer", moved, transfer);
        section.moved("quoit, with start and admission", moved, whole);
        let mut best: Option<f64> = None;
        for peer in self.peers.iter().filter(|peer| peer.is_redis_like()) {
            for at_once in ["10", "1000"] {
                let done = progress.step(format_args!("slot migration of {}, {at_once} keys at once", peer.name()));
                let (moved, took) = self.migration(*peer, at_once).await?;
                drop(done);
                let rate = section.moved(&format!("{}, {at_once} keys at once", peer.name()), moved, took);
                best = Some(best.map_or(rate, |best| best.max(rate)));
            }
        }
        section.at_least("handoff: entries/s, of the fastest slot migration", "×", best.map(|best| rate / best), 20.0);
        Ok(section)
    }

    /// One more node joins so many, which hold the entries of `plan`: entries moved, how long the transfer took, and how long it
    /// was since the node was started.
    pub(super) async fn handoff_of_quoit(&self, count: usize, plan: WorkloadPlan) -> Result<(u64, Duration, Duration)> {
        let value_bytes = plan.value_sizes.max();
        let workload = Arc::new(Workload::new(plan.clone())?);
        // Nothing is to be evicted, whatever the allocator rounds up to.
        let mut nodes = self.nodes(count, 1, MEMORY.max(plan.keys as usize * (2 * value_bytes + 400)))?;
        let quoits = self.quoits(&nodes, 1).await?;
        load::preload(&quoits, &workload, &Arc::default()).await?;
        let admin = nodes.connect(&self.identities.administrator(), REQUEST_TIMEOUT).await?;
        let started = Instant::now();
        nodes.join(&self.identities)?;
        let (mut began, mut seen) = (None, false);
        let transfer = loop {
            ensure!(started.elapsed() < PATIENCE, "the handoff does not end");
            tokio::time::sleep(POLL).await;
            let Ok(status) = status(&admin, count).await else { continue };
            let takes = status.upkeep.as_ref().and_then(|upkeep| upkeep.takes.as_ref());
            if let Some(takes) = takes {
                seen = true;
                // By the node's own clock: it may have begun before it was asked.
                let lasts = Duration::from_millis(takes.lasts_ms);
                began.get_or_insert_with(|| Instant::now().checked_sub(lasts).unwrap_or(started));
            }
            let is_owner = !seen && status.entries > 0 && has_joined(&nodes, &admin);
            if takes.is_none() && (seen || is_owner) {
                break began.unwrap_or(started).elapsed();
            }
        };
        let whole = started.elapsed();
        let moved = status(&admin, count).await?.entries;
        let counts = load::audit(&quoits, &workload, &Arc::default()).await?;
        ensure!(counts.verified == u64::from(plan.keys), "entries are missing after the handoff: {counts:?}");
        Ok((moved, transfer, whole))
    }

    async fn migration(&self, peer: Peer, at_once: &str) -> Result<(u64, Duration)> {
        let mut cluster = PeerNodes::start(peer, 3, 0, 5000, &self.identities).await?;
        let clients = [cluster.connect().await?];
        let workload = Arc::new(Workload::new(plan(Mode::Set, self.entries))?);
        load::preload(&clients, &workload, &Arc::default()).await?;
        let new = cluster.add(5000, &self.identities).await?;
        cluster.admit(new, 3).await?;
        let first = cluster.address()?.to_string();
        let started = Instant::now();
        let line = ["--cluster", "rebalance", &first, "--cluster-use-empty-masters", "--cluster-pipeline", at_once];
        cluster.cli(&line).await?;
        let took = started.elapsed();
        let moved = cluster.cli(&["-p", &new.port().to_string(), "dbsize"]).await?;
        Ok((moved.trim().parse().with_context(|| format!("dbsize says {moved}"))?, took))
    }
}

impl Section {
    fn moved(&mut self, who: &str, entries: u64, took: Duration) -> f64 {
        let rate = entries as f64 / took.as_secs_f64();
        let row =
            [who.to_owned(), entries.to_string(), format!("{:.2}", took.as_secs_f64()), format!("{:.1}", rate / 1e3)];
        self.rows.push(row.into());
        rate
    }
}

/// Whether the fourth node is an owner as the others see it.
fn has_joined(nodes: &Nodes, admin: &Client) -> bool {
    admin.view().members().len() == nodes.addresses().len()
}

async fn status(admin: &Client, index: usize) -> Result<NodeStatus> {
    let reply = admin.admin(&name(index).parse()?, AdminRequest::Status).await?;
    let AdminReply::Status(status) = reply else { bail!("an answer to something else: {reply:?}") };
    Ok(*status)
}

const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);
