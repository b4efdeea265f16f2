//! The workloads of a small Go project of the same ingredients: so many puts over the network from so many workers.

use std::sync::Arc;

use anyhow::Result;

use super::{
    Bed,
    contest::{MEMORY, Shape, Style, plan},
    findings::Section,
};
use crate::{
    load::{Load, Until},
    progress::Progress,
    spread::Spread,
    workload::{Mode, Workload},
};

impl Bed {
    pub(super) async fn workloads(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("Puts from 1 and 50 workers");
        section.note(
            "The workloads that a small Go project with the same ingredients publishes: 10,000 and 50,000 puts over the network, 100-byte \
             values, from 1 and 50 workers, each with one put under way. Milliseconds in all. Quoit's and one of each peer's servers, \
             a connection for each of the peers' workers.",
        );
        section.header = vec!["puts", "workers", "who", "ms", "k puts/s"];
        let nodes = self.nodes(1, 1, MEMORY)?;
        let quoits = self.quoits(&nodes, 1).await?;
        let servers = self.peer_servers(&mut section.notes).await?;
        for (puts, workers) in [(10_000, 1), (10_000, 50), (50_000, 1), (50_000, 50)] {
            let shape = Shape { name: "", callers: workers, depth: 1, apart: false, expires: false };
            let mut seconds = vec![Vec::new(); 1 + servers.len()];
            for round in 1..=self.rounds {
                let done = progress.step(format_args!("{puts} puts, {workers} workers, round {round}"));
                let fresh = || anyhow::Ok(Arc::new(Workload::new(plan(Mode::Set, 50_000))?));
                let load = Load::closed(workers, Until::Requests(puts));
                let sample = load.run(&quoits, &fresh()?, &nodes.processes(), &done).await?;
                section.faults += sample.counts.faults();
                seconds[0].push(sample.elapsed.as_secs_f64());
                for (server, seconds) in servers.iter().zip(&mut seconds[1..]) {
                    let until = Until::Requests(puts);
                    let sample = self.ask_peer(server, (shape, Style::Pool), &fresh()?, until, &done).await?;
                    section.faults += sample.counts.faults();
                    seconds.push(sample.elapsed.as_secs_f64());
                }
            }
            let names = ["quoit, TLS".to_owned()].into_iter().chain(servers.iter().map(|server| server.name()));
            for (name, seconds) in names.zip(&seconds) {
                let spread: Spread = seconds.iter().copied().collect();
                let rate = puts as f64 / spread.median / 1e3;
                let ms = format!("{:.1}", spread.scaled(1e3));
                section.rows.push(vec![puts.to_string(), workers.to_string(), name, ms, format!("{rate:.1}")]);
            }
        }
        Ok(section)
    }
}
