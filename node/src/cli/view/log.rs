//! `quoit view log`: the latest views, and why there was each.

use std::collections::BTreeMap;

use clap::Args;
use futures_util::future::join_all;
use quoit_client::Client;
use quoit_proto_types::{
    limits::VIEW_LOG_MAX,
    view::{Change, ViewHash, ViewRecord},
};
use serde_json::{Value, json};

use crate::cli::{
    admin::{self, moment},
    error::CliError,
    output::{Format, Output},
};

/// What is shown of a view; `changes` come last, as they are long.
const COLUMNS: [&str; 6] = ["epoch", "when", "coordinator", "members", "hash", "changes"];

#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// How many views, the latest last
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
    limit: u32,
}

/// As a number for clap.
const LIMIT_MAX: i64 = VIEW_LOG_MAX as i64;

impl LogArgs {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let records = remembered(client, self.limit).await?;
        let first = records.len().saturating_sub(usize::try_from(self.limit).unwrap_or(usize::MAX));
        output.table(&COLUMNS, &records[first..].iter().map(|record| row(record, output)).collect::<Vec<_>>())?;
        for epoch in forks(&records) {
            output.note(format_args!("warning: there are several views of epoch {epoch}: two clusters share one name"));
        }
        Ok(())
    }
}

/// What the nodes that know most remember, each view once. One that was started lately remembers little.
///
/// # Errors
/// No node answers.
pub(super) async fn remembered(client: &Client, limit: u32) -> Result<Vec<ViewRecord>, CliError> {
    let nodes = admin::in_order(&client.view());
    let logs = join_all(nodes.iter().map(|node| admin::view_log(client, node, limit))).await;
    if logs.iter().any(Result::is_ok) {
        return Ok(merged(logs.into_iter().flatten().flatten()));
    }
    logs.into_iter().find_map(Result::err).map_or_else(|| Ok(Vec::new()), Err)
}

/// Each view once, in the order of epochs.
fn merged(records: impl Iterator<Item = ViewRecord>) -> Vec<ViewRecord> {
    let by_view: BTreeMap<(_, ViewHash), ViewRecord> =
        records.map(|record| ((record.epoch, record.hash), record)).collect();
    by_view.into_values().collect()
}

/// Epochs of which there is more than one view.
fn forks(records: &[ViewRecord]) -> Vec<u64> {
    let twice = records.windows(2).filter(|pair| pair[0].epoch == pair[1].epoch);
    twice.map(|pair| pair[0].epoch.value()).collect()
}

fn row(record: &ViewRecord, output: &Output) -> Vec<Value> {
    let changes: Vec<_> = record.changes.iter().map(Change::to_string).collect();
    let changes = match output.format() {
        Format::Json | Format::Jsonl => json!(changes),
        Format::Table | Format::Csv | Format::Raw => json!(changes.join("; ")),
    };
    vec![
        json!(record.epoch.value()),
        json!(moment(record.proposed_at_ms)),
        json!(record.coordinator),
        json!(record.members),
        json!(record.hash.to_string()),
        changes,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stage;

    #[test]
    fn what_several_remember_is_told_once() {
        let log =
            [stage::record(3, vec![]), stage::record(4, vec![]), stage::record(2, vec![]), stage::record(3, vec![])];
        let records = merged(log.into_iter());
        let epochs: Vec<_> = records.iter().map(|record| record.epoch.value()).collect();
        assert_eq!(epochs, [2, 3, 4]);
        assert!(forks(&records).is_empty());
    }

    #[test]
    fn two_views_of_one_epoch_are_both_told() {
        let mut other = stage::record(3, vec![]);
        other.hash = stage::view(|_| {}).hash();
        let records = merged([stage::record(3, vec![]), other].into_iter());
        assert_eq!((records.len(), forks(&records)), (2, vec![3]));
    }
}
