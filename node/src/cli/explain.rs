//! `quoit explain`: where a key is and why.

use std::{ffi::OsString, fmt::Write as _, os::unix::ffi::OsStrExt};

use clap::Args;
use quoit_client::{Client, Epoch, Label, Placement, Role, View};
use serde_json::{Value, json};

use super::{
    admin::{self, ago, moment, now_ms},
    args::GlobalArgs,
    connect::{Connected, Purpose, connect},
    copies::owner_state,
    error::CliError,
    output::{Format, Output},
};
use crate::config;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The key; it need not exist
    key: OsString,
}

pub(crate) async fn run(args: ExplainArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let Connected { client, role } = connect(global, Purpose::Keys).await?;
    let done = args.run(&client, role, output).await;
    client.close().await;
    done
}

impl ExplainArgs {
    /// Tells where the key is. Who administers the cluster is told as well since when.
    pub(crate) async fn run(self, client: &Client, role: Role, output: &Output) -> Result<(), CliError> {
        let placed = Placed::find(client, self.key.as_bytes())?;
        let since_ms = placed.since_ms(client, role).await;
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&placed.document(since_ms))?,
            Format::Table | Format::Csv | Format::Raw => output.line(placed.text(since_ms, now_ms()))?,
        }
        Ok(())
    }
}

/// Where `key` is and why, as a program reads it.
pub(crate) fn document(client: &Client, key: &[u8]) -> Result<Value, CliError> {
    let placed = Placed::find(client, key)?;
    Ok(placed.document(placed.since_by_view_ms()))
}

/// Where `key` is and why, one fact a line.
pub(crate) fn text(client: &Client, key: &[u8]) -> Result<String, CliError> {
    let placed = Placed::find(client, key)?;
    Ok(placed.text(placed.since_by_view_ms(), now_ms()))
}

/// Where a key is, and the view that says so.
#[derive(Debug)]
struct Placed {
    key: Vec<u8>,
    placement: Placement,
    view: View,
}

impl Placed {
    fn find(client: &Client, key: &[u8]) -> Result<Self, CliError> {
        let placement = client.explain(key)?;
        Ok(Self { key: key.to_vec(), placement, view: client.view() })
    }

    /// When the placement last changed, if with the view itself.
    fn since_by_view_ms(&self) -> Option<u64> {
        (self.fence() == self.view.epoch()).then_some(self.view.fields().proposed_at_ms)
    }

    /// When the placement last changed: the time of the fence's view, where somebody remembers it and may say so.
    async fn since_ms(&self, client: &Client, role: Role) -> Option<u64> {
        let known = self.since_by_view_ms();
        if known.is_some() || role != Role::Admin {
            return known;
        }
        let fence = self.fence();
        // It explains as much without it.
        let found = admin::first(client, async |node| admin::view_at(client, node, fence).await).await;
        found.ok().flatten().map(|view| view.fields().proposed_at_ms)
    }

    /// The epoch of the last change of placement.
    fn fence(&self) -> Epoch {
        Epoch::new(self.placement.fence.value())
    }

    /// As a program reads it.
    fn document(&self, since_ms: Option<u64>) -> Value {
        json!({
            "key": String::from_utf8_lossy(&self.key),
            "hash": self.placement.point.to_string(),
            "slot": self.placement.slot.index(),
            "slots": self.placement.slots,
            "owners": self.placement.owners,
            "owner_states": self.states(&self.placement.owners),
            "target_owners": self.placement.target_owners,
            "target_owner_states": self.placement.target_owners.as_ref().map(|target| self.states(target)),
            "copies": self.placement.owners.len(),
            "copies_wanted": config::Copies(self.view.fields().config.replication),
            "epoch": self.placement.epoch.value(),
            "fence": self.placement.fence.value(),
            "since": since_ms.map(moment),
        })
    }

    /// One fact a line.
    fn text(&self, since_ms: Option<u64>, now_ms: u64) -> String {
        let placement = &self.placement;
        let mut text = format!(
            "key    {}\nhash   {}\nslot   {} of {}\n",
            self.key.escape_ascii(),
            placement.point,
            placement.slot,
            placement.slots
        );
        self.list(&mut text, "owner ", &placement.owners);
        if let Some(target) = &self.placement.target_owners {
            self.list(&mut text, "target", target);
        }
        if placement.owners.is_empty() {
            text.push_str("owner  none: no member takes keys\n");
        }
        let (copies, wanted) = (placement.owners.len(), config::Copies(self.view.fields().config.replication));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "copies {copies}, {wanted} wanted");
        let (epoch, fence) = (placement.epoch.value(), placement.fence.value());
        // Writing to a string cannot fail.
        let _ = write!(text, "view   epoch {epoch}, fence {fence}\nsince  epoch {fence}");
        if let Some(since_ms) = since_ms {
            let _ = write!(text, ", {} ({})", moment(since_ms), ago(since_ms, now_ms));
        }
        text
    }

    /// How each of `owners` does.
    fn states(&self, owners: &[String]) -> Vec<&'static str> {
        let state = |owner: &String| owner.parse::<Label>().map_or("gone", |owner| owner_state(&self.view, &owner));
        owners.iter().map(state).collect()
    }

    /// Each of `owners` with its address and how it does, the primary first.
    fn list(&self, text: &mut String, what: &str, owners: &[String]) {
        for (index, (owner, state)) in owners.iter().zip(self.states(owners)).enumerate() {
            let member = self.view.members().iter().find(|member| member.name.as_str() == owner);
            let address = member.map_or("an unknown address", |member| member.address.as_str());
            let part = if index == 0 { "primary" } else { "replica" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{what} {owner} at {address}, {part}, {state}");
        }
    }
}

#[cfg(test)]
mod tests {
    use quoit_client::{HashPoint, Ordinal};
    use quoit_proto_types::KeyspaceId;

    use super::*;
    use crate::cli::stage;

    fn placed(view: View) -> Placed {
        let point = HashPoint::of_key(KeyspaceId::DEFAULT, b"k");
        let slots = view.fields().config.slots;
        let slot = slots.slot_of(point);
        let owners = vec!["n1".to_owned()];
        let (epoch, fence) = (view.epoch(), view.fence());
        let name = |ordinal: &Ordinal| view.member(*ordinal).unwrap().name.to_string();
        let target_owners = view.target_ring().map(|ring| ring.owners(slot).iter().map(name).collect());
        let placement = Placement { point, slot, slots: slots.count(), owners, target_owners, epoch, fence };
        Placed { key: b"k".to_vec(), placement, view }
    }

    #[test]
    fn the_moment_is_told_where_it_is_known() {
        let placed = placed(stage::view(|_| {}));
        let ms = stage::PROPOSED_AT_MS;
        assert!(
            placed.text(None, ms).ends_with("view   epoch 5, fence 4\nsince  epoch 4"),
            "{}",
            placed.text(None, ms)
        );
        let text = placed.text(Some(ms), ms + 60_000);
        assert!(text.ends_with("since  epoch 4, 2023-11-14T22:13:20Z (1m ago)"), "{text}");
        assert!(text.contains("owner  n1 at 10.0.0.1:7750, primary, up") && !text.contains("target"), "{text}");
        assert!(text.contains("copies 1, 2 wanted"), "{text}");
    }

    #[test]
    fn owners_to_be_are_told_while_the_ring_changes() {
        let placed = placed(stage::view(|fields| fields.target = Some(vec![stage::owner(3)])));
        let text = placed.text(None, 0);
        assert!(text.contains("target n3 at 10.0.0.3:7750, primary, up"), "{text}");
        let document = placed.document(None);
        assert_eq!((&document["target_owners"], &document["target_owner_states"]), (&json!(["n3"]), &json!(["up"])));
    }
}
