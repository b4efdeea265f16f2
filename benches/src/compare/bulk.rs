//! How fast large values move to a node that joins, beside what the transport gives.

use std::sync::Arc;

use anyhow::Result;

use super::{Bed, findings::Section};
use crate::{
    floor,
    identities::files_in,
    load::{self, Load},
    process::Server,
    progress::Progress,
    server::{ServeArgs, Subject},
    spread::Spread,
    workload::{Mode, Workload, WorkloadPlan},
};

impl Bed {
    pub(super) async fn bulk(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("Large values move");
        let entries = self.entries / ENTRIES_PART;
        section.note(format!(
            "{entries} entries of {VALUE_BYTES} bytes, one copy of each, on one node; another joins it, unpaced, and takes half. It reads \
             them from one store, and stores them in another. The prototype hands values of {PIECE_BYTES} bytes from memory to \
             {PULLS} callers, over one stream, which throw them away: what QUIC and TLS alone allow here.",
        ));
        section.header = vec!["who", "MiB/s"];
        let server =
            Server::spawn(&ServeArgs::new(Subject::Floor, self.identities.node(0)?, self.args.server_threads))?;
        let bare = [floor::Client::connect(&files_in(&self.identities.client()), server.address()).await?];
        let beside = Arc::new(Workload::new(WorkloadPlan::new(Mode::Get, PIECES, PIECE_BYTES))?);
        load::preload(&bare, &beside, &Arc::default()).await?;
        let load = Load::closed(PULLS, self.until());
        let (mut of_quoit, mut of_bare) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            let done = progress.step(format_args!("bulk, round {round}"));
            let sample = load.run(&bare, &beside, &[server.id()], &done).await?;
            section.faults += sample.counts.faults();
            of_bare.push(sample.rate() * PIECE_BYTES as f64 / MIB);
            let plan = WorkloadPlan::new(Mode::Set, entries, VALUE_BYTES);
            let (moved, transfer, _) = self.handoff_of_quoit(1, plan).await?;
            of_quoit.push(moved as f64 * VALUE_BYTES as f64 / MIB / transfer.as_secs_f64());
        }
        for (who, rates) in [("quoit, transfer", &of_quoit), ("prototype", &of_bare)] {
            let rates: Spread = rates.iter().copied().collect();
            section.rows.push(vec![who.to_owned(), format!("{rates:.0}")]);
        }
        let ratio: Spread = of_quoit.iter().zip(&of_bare).map(|(quoit, bare)| quoit / bare).collect();
        section.at_least("handoff of large values: bytes/s, of a bare prototype", "×", Some(ratio.median), 0.6);
        Ok(section)
    }
}

/// Of the entries of the other handoff: a gibibyte of a million.
const ENTRIES_PART: u32 = 16;
const VALUE_BYTES: usize = 16 * 1024;
/// What the prototype moves at once: as much as a page of a handoff.
const PIECE_BYTES: usize = 256 * 1024;
/// Enough that not all are in the processor's cache.
const PIECES: u32 = 500;
/// As many as are under way in a handoff.
const PULLS: usize = 16;
const MIB: f64 = 1024.0 * 1024.0;
