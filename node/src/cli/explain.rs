//! `quoit explain`: where a key is and why.

use std::{ffi::OsString, fmt::Write as _, os::unix::ffi::OsStrExt};

use clap::Args;
use quoit_client::{Client, Epoch, Label, Ordinal, Placement, Role, View};
use quoit_proto_types::ring::{Meeting, Step};
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

/// Tokens that people are shown of a walk; where a few nodes hold all slots, the last owner may come late.
const STEPS_SHOWN: usize = 16;

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
            "walk": self.steps().iter().map(|step| self.step_document(step)).collect::<Vec<_>>(),
        })
    }

    /// The walk on the ring in force that led to the owners.
    fn steps(&self) -> Vec<Step> {
        let fields = self.view.fields();
        self.view.circle().steps(fields.config.slots.first_point(self.placement.slot), fields.copies)
    }

    fn name(&self, ordinal: Ordinal) -> &str {
        self.view.member(ordinal).map_or("gone", |member| member.name.as_str())
    }

    fn zone(&self, ordinal: Ordinal) -> Option<&Label> {
        self.view.member(ordinal).and_then(|member| member.placed().0.as_ref())
    }

    fn step_document(&self, step: &Step) -> Value {
        let (owner, passed_over) = match step.meaning {
            Meeting::Owner { place } => (Some(place), None),
            Meeting::Again => (None, Some("met before")),
            Meeting::SameZone { place, .. } => (place, Some("same zone")),
        };
        json!({
            "token": step.point.to_string(),
            "node": self.name(step.member),
            "zone": self.zone(step.member),
            "owner": owner,
            "passed_over": passed_over,
        })
    }

    /// The walk, a token a line.
    fn walk(&self) -> String {
        let steps = self.steps();
        let fields = self.view.fields();
        let mut text =
            format!("walk   {}, where the slot begins", fields.config.slots.first_point(self.placement.slot));
        let width = steps.iter().map(|step| self.name(step.member).len()).max().unwrap_or(0);
        let part = |place: usize| if place == 0 { "the primary".into() } else { format!("replica {place}") };
        for step in steps.iter().take(STEPS_SHOWN) {
            let meaning = match step.meaning {
                Meeting::Owner { place } => part(place),
                Meeting::Again => "passed over: met before".into(),
                Meeting::SameZone { owner, place } => {
                    let zone = self.zone(step.member).map_or("?", Label::as_str);
                    let after_all = place.map(|place| format!("; {} after all, as no zone is left", part(place)));
                    format!("passed over: zone {zone} has {}{}", self.name(owner), after_all.unwrap_or_default())
                }
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "\n       {} {:width$}  {meaning}", step.point, self.name(step.member));
        }
        if let Some(more) = steps.len().checked_sub(STEPS_SHOWN).filter(|more| *more > 0) {
            let _ = write!(text, "\n       and {more} tokens more");
        }
        text
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
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", self.walk());
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
    fn the_walk_is_told_with_who_was_passed_over() {
        let zoned = placed(stage::view(|fields| {
            (fields.copies, fields.config.replication) = (3, 3);
            fields.members.iter_mut().for_each(|member| member.vnodes = 1);
            (fields.members[0].zone, fields.members[1].zone) = (Some(stage::label("a")), Some(stage::label("a")));
        }));
        let text = zoned.text(None, 0);
        let walk: Vec<_> = text.lines().skip_while(|line| !line.starts_with("walk ")).skip(1).take(3).collect();
        // One token each: everybody is met once, and one of zone a must wait for n3.
        assert!(walk[0].ends_with("the primary"), "{text}");
        let waits = walk.iter().filter(|line| line.ends_with("replica 2 after all, as no zone is left")).count();
        assert!(waits == 1 && text.contains("passed over: zone a has n"), "{text}");
        let document = zoned.document(None);
        let steps = document["walk"].as_array().unwrap();
        let mut places: Vec<_> = steps.iter().map(|step| step["owner"].as_u64().unwrap()).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2], "{document}");
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
