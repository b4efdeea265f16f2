//! Ours against the textbook bully: views and forks where the textbook's assumptions do not hold.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::Table;
use serde_json::{Value, json};

use super::{bully::Bullies, table};
use crate::{
    invariants::Violation,
    sim::{Cluster, Mutant, Options, Trace},
};

/// For how long each of it goes on.
const DURATION: Duration = Duration::from_secs(60);

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What happens.
    pub what: &'static str,
    /// To whom.
    pub who: &'static str,
    /// Views that change who presides, or who is thought to live.
    pub views: usize,
    /// Changes of the coordinator.
    pub coordinators: usize,
    /// Numbers under which there was more than one view.
    pub forked: usize,
    /// Messages of elections.
    pub messages: u64,
}

/// What the lines of this cluster are called.
const OURS: &str = "Quoit";

impl Row {
    /// Whether it is about this cluster, not about the textbook's.
    pub fn is_ours(&self) -> bool {
        self.who == OURS
    }
}

/// Compares.
///
/// # Errors
/// A violation of an invariant by ours.
pub fn measure() -> Result<Vec<Row>, Violation> {
    let partition = "partition 3|2, 60 s, and heal";
    let restarts = "highest rank restarts every 4 s, 60 s";
    let bully = |what, outcome: super::bully::Outcome| Row {
        what,
        who: "textbook bully",
        views: outcome.views,
        coordinators: outcome.views,
        forked: outcome.forked,
        messages: outcome.messages,
    };
    Ok(vec![
        bully(partition, Bullies::new(5).partition(&[3, 4], DURATION)),
        ours_in_a_partition(partition)?,
        bully(restarts, Bullies::new(5).restarts(Duration::from_secs(4), DURATION)),
        ours_restarting(restarts)?,
    ])
}

fn ours() -> Result<Cluster, Violation> {
    let mut cluster = Cluster::scripted(1, Options::calm(5), Mutant::None, Trace::off());
    cluster.settle(Duration::from_secs(30))?;
    cluster.run_for(Duration::from_secs(5))?;
    Ok(cluster)
}

fn ours_in_a_partition(what: &'static str) -> Result<Row, Violation> {
    let mut cluster = ours()?;
    let (before, messages) = (cluster.installs().len(), cluster.elections().0);
    let coordinator = cluster.coordinator().unwrap_or_default();
    let other = (coordinator + 1) % 5;
    let cut = cluster.cut_off(&[coordinator, other]);
    cluster.run_for(DURATION)?;
    cluster.mend(cut);
    cluster.run_for(DURATION)?;
    Ok(row(what, &cluster, before, messages))
}

fn ours_restarting(what: &'static str) -> Result<Row, Violation> {
    let mut cluster = ours()?;
    let (before, messages) = (cluster.installs().len(), cluster.elections().0);
    // The lowest ordinal is the highest rank.
    let highest = (0..5).min_by_key(|host| cluster.member(*host, *host).map(|member| member.ordinal)).unwrap_or(0);
    let end = cluster.now().saturating_add(DURATION);
    while cluster.now() < end {
        cluster.kill(highest)?;
        cluster.boot_after(highest, Duration::from_secs(2));
        cluster.run_for(Duration::from_secs(4))?;
    }
    Ok(row(what, &cluster, before, messages))
}

fn row(what: &'static str, cluster: &Cluster, before: usize, messages: u64) -> Row {
    let installs = &cluster.installs()[before.saturating_sub(1)..];
    let mut numbers: BTreeMap<_, std::collections::BTreeSet<_>> = BTreeMap::new();
    for (_, view) in installs {
        numbers.entry(view.epoch()).or_default().insert(view.hash());
    }
    let changes = installs.windows(2).filter(|w| w[0].1.fields().coordinator != w[1].1.fields().coordinator).count();
    Row {
        what,
        who: OURS,
        views: installs.len() - 1,
        coordinators: changes,
        forked: numbers.values().filter(|views| views.len() > 1).count(),
        messages: cluster.elections().0 - messages,
    }
}

/// The comparison as a table.
pub fn to_table(rows: &[Row]) -> Table {
    let mut table =
        table(["what happens", "to whom", "views", "coordinators", "epochs forked", "messages of elections"]);
    for row in rows {
        table.add_row([
            row.what.to_owned(),
            row.who.to_owned(),
            row.views.to_string(),
            row.coordinators.to_string(),
            row.forked.to_string(),
            row.messages.to_string(),
        ]);
    }
    table
}

/// The comparison for programs.
pub fn to_json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "scenario": row.what,
            "system": row.who,
            "views": row.views,
            "coordinators": row.coordinators,
            "epochs_forked": row.forked,
            "election_messages": row.messages,
        })
    };
    rows.iter().map(row).collect()
}
