//! What more connections and more entries cost.

use std::sync::Arc;

use anyhow::Result;

use super::{
    Bed,
    contest::{KEYS, MEMORY, plan},
    findings::{Measured, Section},
};
use crate::{
    load::{self, Load},
    progress::Progress,
    workload::{Mode, Workload},
};

impl Bed {
    pub(super) async fn growth(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("Cost growth");
        section.note(
            "Gets of 100 bytes from one node, 64 callers in all, by the number of clients they share and of entries.",
        );
        {
            let nodes = self.nodes(1, 1, MEMORY)?;
            let workload = Arc::new(Workload::new(plan(Mode::Get, KEYS))?);
            let quoits = self.quoits(&nodes, 8).await?;
            load::preload(&quoits, &workload, &Arc::default()).await?;
            let counts = [1, 2, 4, 8];
            let mut samples = counts.map(|_| Vec::new());
            for round in 1..=self.rounds {
                for (count, samples) in counts.iter().zip(&mut samples) {
                    let done = progress.step(format_args!("{count} connections, round {round}"));
                    let load = Load::closed(CALLERS, self.until());
                    samples.push(load.run(&quoits[..*count], &workload, &nodes.processes(), &done).await?);
                }
            }
            for (count, samples) in counts.iter().zip(&samples) {
                section.push(Measured::of(&format!("{count} connections"), "quoit", samples));
            }
        }
        let entries = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
        let most = if self.args.ten_million { 10_000_000 } else { self.entries.min(1_000_000) };
        let (mut first, mut last) = (None, None);
        for entries in entries.into_iter().filter(|entries| *entries <= most) {
            let nodes = self.nodes(1, 1, MEMORY.max(entries as usize * 400))?;
            let quoits = self.quoits(&nodes, 1).await?;
            let workload = Arc::new(Workload::new(plan(Mode::Get, entries))?);
            load::preload(&quoits, &workload, &progress.step(format_args!("write {entries} entries"))).await?;
            let mut samples = Vec::new();
            for round in 1..=self.rounds {
                let done = progress.step(format_args!("{entries} entries, round {round}"));
                let load = Load::closed(CALLERS, self.until());
                samples.push(load.run(&quoits, &workload, &nodes.processes(), &done).await?);
            }
            let measured = Measured::of(&format!("{entries} entries"), "quoit", &samples);
            first.get_or_insert(measured.p50_us.median);
            last = Some(measured.p50_us.median);
            section.push(measured);
        }
        let ratio = first.zip(last).map(|(first, last)| last / first);
        section.at_most(format!("p50 with {most} entries, of that with 1000"), "×", ratio, 1.5);
        Ok(section)
    }
}

const CALLERS: usize = 64;
