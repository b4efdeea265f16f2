//! Three nodes with two copies of each key.

use std::sync::Arc;

use anyhow::Result;

use super::{
    Bed,
    contest::{KEYS, MEMORY, loads},
    findings::{Measured, Section},
};
use crate::{
    load::{self, Load},
    peers::PeerNodes,
    progress::Progress,
};

impl Bed {
    pub(super) async fn three(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("Three nodes, two copies");
        section.note(
            "Quoit: three nodes, replication 2, writes acknowledged by two nodes. Redis and Valkey Cluster: three masters with one replica \
             each, over TLS, acknowledged by the master alone, as is their default. One client on either side, with one connection to \
             each node.",
        );
        let nodes = self.nodes(3, 2, MEMORY)?;
        let quoits = self.quoits(&nodes, 1).await?;
        let own = loads(KEYS)?;
        for workload in &own {
            load::preload(&quoits, workload, &Arc::default()).await?;
        }
        let mut theirs = Vec::new();
        for peer in self.peers.iter().filter(|peer| peer.is_redis_like()) {
            let cluster = PeerNodes::start(*peer, 3, 1, 5000, &self.identities).await?;
            let clients = [cluster.connect().await?];
            let loads = loads(KEYS)?;
            for workload in &loads {
                load::preload(&clients, workload, &Arc::default()).await?;
            }
            theirs.push((*peer, cluster, clients, loads));
        }
        for callers in [50, 800] {
            let load = Load::closed(callers, self.until());
            for (mode, name) in ["get", "set"].into_iter().enumerate() {
                let (mut of_quoit, mut of_peers) = (Vec::new(), vec![Vec::new(); theirs.len()]);
                for round in 1..=self.rounds {
                    let done = progress.step(format_args!("three nodes, {name}, {callers} callers, round {round}"));
                    of_quoit.push(load.run(&quoits, &own[mode], &nodes.processes(), &done).await?);
                    for ((_, cluster, clients, loads), samples) in theirs.iter().zip(&mut of_peers) {
                        samples.push(load.run(clients, &loads[mode], &cluster.processes(), &done).await?);
                    }
                }
                let what = format!("{name}, {callers} callers");
                let quoit = Measured::of(&what, "quoit, TLS, two copies", &of_quoit);
                section.push(quoit.clone());
                let mut best = None;
                for ((peer, ..), samples) in theirs.iter().zip(&of_peers) {
                    let measured = Measured::of(&what, &format!("{} cluster, TLS", peer.name()), samples);
                    let rate = measured.operations_per_second.median;
                    best = Some(best.map_or(rate, |best: f64| best.max(rate)));
                    section.push(measured);
                }
                if name == "set" {
                    let ratio = best.map(|best| quoit.operations_per_second.median / best);
                    section.at_least(
                        format!("three nodes, {what}: ops/s, of the best cluster over TLS"),
                        "×",
                        ratio,
                        1.0,
                    );
                }
            }
        }
        Ok(section)
    }
}
