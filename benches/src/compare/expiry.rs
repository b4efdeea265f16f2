//! Writes with a time to live, as most writes to a cache have.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use quoit_client::SetOptions;

use super::{
    Bed,
    contest::{KEYS, MEMORY, Shape, Style, plan},
    findings::{Measured, Section},
};
use crate::{
    cache::Quoit,
    load::{self, Load, Sample},
    nodes::Nodes,
    peers::{LIFE, PeerServer, Transport},
    progress::Progress,
    workload::{Mode, Workload},
};

const SHAPE: Shape = Shape { name: "50 × 16", callers: 50, depth: 16, apart: false, expires: true };

impl Bed {
    pub(super) async fn expiry(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("Writes that expire");
        section.note(format!(
            "Sets of 100 bytes that live for {} s, {}, by the number of keys, which are all written before. Peers: a connection for \
             each caller.",
            LIFE.as_secs(),
            SHAPE.name,
        ));
        for keys in [KEYS, self.entries] {
            self.expiring(&mut section, keys, progress).await?;
        }
        Ok(section)
    }

    async fn expiring(&self, section: &mut Section, keys: u32, progress: &mut Progress) -> Result<()> {
        // A workload of its own for each: it knows which versions it has written.
        let workload = || anyhow::Ok(Arc::new(Workload::new(plan(Mode::Set, keys))?));
        let nodes = self.nodes(1, 1, MEMORY.max(keys as usize * 1024))?;
        let (quoits, own) = (self.expiring_quoit(&nodes).await?, workload()?);
        load::preload(&quoits, &own, &progress.step(format_args!("write {keys} keys that expire"))).await?;
        let mut peers = Vec::new();
        for server in self.peer_servers(&mut section.notes).await? {
            let theirs = workload()?;
            self.preload_peer(&server, &[Arc::clone(&theirs)], true).await?;
            peers.push((server, theirs));
        }
        let mut samples: BTreeMap<usize, Vec<Sample>> = BTreeMap::new();
        let load = Load { batch: SHAPE.depth, ..Load::closed(SHAPE.callers, self.until()) };
        for round in 1..=self.rounds {
            let done = progress.step(format_args!("set for {} s, {keys} keys, round {round}", LIFE.as_secs()));
            samples.entry(0).or_default().push(load.run(&quoits, &own, &nodes.processes(), &done).await?);
            for (index, (server, theirs)) in peers.iter().enumerate() {
                samples
                    .entry(index + 1)
                    .or_default()
                    .push(self.ask_peer(server, (SHAPE, Style::Pool), theirs, self.until(), &done).await?);
            }
        }
        let what = format!("set, {keys} keys");
        let (mut quoit, mut best) = (None, None::<(f64, String)>);
        for (subject, samples) in &samples {
            let server = subject.checked_sub(1).map(|index| &peers[index].0);
            let name = server.map_or_else(|| "quoit, TLS".into(), PeerServer::name);
            let measured = Measured::of(&what, &name, samples);
            let rate = measured.operations_per_second.median;
            match server {
                None => quoit = Some(rate),
                Some(server) if server.transport == Transport::Tls => {
                    best = best.filter(|(best, _)| *best >= rate).or(Some((rate, name)));
                }
                Some(_) => {}
            }
            section.push(measured);
        }
        let (ratio, name) = match (quoit, best) {
            (Some(quoit), Some((best, name))) => (Some(quoit / best), name),
            (None, _) | (_, None) => (None, "nobody".into()),
        };
        section.at_least(format!("{what} that expire: ops/s, of {name}, a connection each"), "×", ratio, 1.0);
        Ok(())
    }

    async fn expiring_quoit(&self, nodes: &Nodes) -> Result<Vec<Quoit>> {
        let mut quoits = self.quoits(nodes, 1).await?;
        quoits.iter_mut().for_each(|quoit| quoit.writes = SetOptions::new().ttl(LIFE));
        Ok(quoits)
    }
}
