//! `quoit explain`: where a key is and why.

use std::{ffi::OsString, fmt::Write as _, os::unix::ffi::OsStrExt};

use clap::Args;
use quoit_client::Client;
use serde_json::json;

use super::{
    args::GlobalArgs,
    error::CliError,
    keys::connected,
    output::{Format, Output},
};

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The key; it need not exist
    key: OsString,
}

pub(crate) async fn run(args: ExplainArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    connected(global, async |client| args.run(client, output)).await
}

impl ExplainArgs {
    pub(crate) fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&document(client, self.key.as_bytes())?)?,
            Format::Table | Format::Csv | Format::Raw => output.line(text(client, self.key.as_bytes())?)?,
        }
        Ok(())
    }
}

/// Where `key` is and why, as a program reads it.
pub(crate) fn document(client: &Client, key: &[u8]) -> Result<serde_json::Value, CliError> {
    let placement = client.explain(key)?;
    Ok(json!({
        "key": String::from_utf8_lossy(key),
        "hash": placement.point.to_string(),
        "slot": placement.slot.index(),
        "slots": placement.slots,
        "owners": placement.owners,
        "epoch": placement.epoch.value(),
        "fence": placement.fence.value(),
    }))
}

/// Where `key` is and why, one fact a line.
pub(crate) fn text(client: &Client, key: &[u8]) -> Result<String, CliError> {
    let placement = client.explain(key)?;
    let view = client.view();
    let mut text = format!(
        "key    {}\nhash   {}\nslot   {} of {}\n",
        key.escape_ascii(),
        placement.point,
        placement.slot,
        placement.slots
    );
    for (index, owner) in placement.owners.iter().enumerate() {
        let address = view.members().iter().find(|member| member.name.as_str() == owner).map(|m| m.address.as_str());
        let part = if index == 0 { "primary" } else { "replica" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "owner  {owner} at {}, {part}", address.unwrap_or("an unknown address"));
    }
    if placement.owners.is_empty() {
        text.push_str("owner  none: no member takes keys\n");
    }
    let _ = write!(text, "view   epoch {}, fence {}", placement.epoch.value(), placement.fence.value());
    Ok(text)
}
