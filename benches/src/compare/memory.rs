//! Memory for each entry, and what is beside its key and value.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use super::{
    Bed,
    contest::{KEY_BYTES, MEMORY, VALUE_BYTES, plan},
    findings::Section,
};
use crate::{
    load,
    peers::{PeerServer, Transport},
    process::resident,
    progress::Progress,
    workload::{Mode, Workload},
};

impl Bed {
    pub(super) async fn memory(&self, progress: &mut Progress) -> Result<Section> {
        let entries = self.entries;
        let mut section = Section::new("Memory");
        section.note(format!(
            "{entries} entries of {KEY_BYTES} + {VALUE_BYTES} bytes: resident memory of the server's process with them, less \
             what it had before the first, divided by their number.",
        ));
        section.header = vec!["who", "resident MiB", "bytes per entry", "beside key and value"];
        let workload = || anyhow::Ok(Arc::new(Workload::new(plan(Mode::Set, entries))?));
        let mut per_entry = Vec::new();
        {
            let nodes = self.nodes(1, 1, MEMORY.max(entries as usize * 1024))?;
            let quoits = self.quoits(&nodes, 1).await?;
            let process = nodes.processes()[0];
            let before = resident(process)?;
            load::preload(&quoits, &workload()?, &progress.step("memory of quoit")).await?;
            tokio::time::sleep(SETTLE).await;
            per_entry.push(section.row("quoit", entries, before, resident(process)?));
        }
        for peer in &self.peers {
            let server = PeerServer::start(*peer, Transport::Plain, &self.identities, &[]).await?;
            let before = resident(server.id())?;
            let done = progress.step(format_args!("memory of {}", peer.name()));
            self.preload_peer(&server, &[workload()?], false).await?;
            drop(done);
            tokio::time::sleep(SETTLE).await;
            per_entry.push(section.row(peer.name(), entries, before, resident(server.id())?));
        }
        let best = per_entry[1..].iter().copied().min_by(f64::total_cmp);
        section.at_most(
            "memory beside key and value, of the best peer's",
            "×",
            best.map(|best| per_entry[0] / best),
            1.0,
        );
        Ok(section)
    }
}

impl Section {
    /// Adds a row, and returns the bytes beside key and value of each entry.
    fn row(&mut self, who: &str, entries: u32, before: u64, after: u64) -> f64 {
        let grown = after.saturating_sub(before) as f64;
        let each = grown / f64::from(entries);
        let beside = each - (KEY_BYTES + VALUE_BYTES) as f64;
        let mib = grown / f64::from(1 << 20);
        self.rows.push(vec![who.to_owned(), format!("{mib:.1}"), format!("{each:.1}"), format!("{beside:.1}")]);
        beside
    }
}

/// Longer than an allocator keeps what it will give back soon.
const SETTLE: Duration = Duration::from_secs(2);
