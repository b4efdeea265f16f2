//! `quoit view diff`: what changed from one view to a later one.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;
use quoit_client::{Client, Epoch, Member, View};
use quoit_proto_types::{
    Ordinal,
    limits::VIEW_LOG_MAX,
    view::{Change, ViewRecord},
};
use serde_json::{Value, json};

use super::{
    epoch,
    log::remembered,
    show::{intent, live, name, owners},
    view_of,
};
use crate::{
    cli::{
        admin::moment,
        error::CliError,
        output::{Format, Output},
    },
    config,
};

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The earlier epoch
    #[arg(value_name = "A", value_parser = epoch)]
    from: Epoch,
    /// The later one
    #[arg(value_name = "B", value_parser = epoch)]
    to: Epoch,
}

impl DiffArgs {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        // Whichever was typed first, time goes one way.
        let (earlier, later) = (self.from.min(self.to), self.from.max(self.to));
        let (from, to) = (view_of(client, earlier).await?, view_of(client, later).await?);
        let log = remembered(client, u32::try_from(VIEW_LOG_MAX).unwrap_or(u32::MAX)).await?;
        let diff = Diff::of(&from, &to, log);
        match output.format() {
            Format::Table => output.line(diff.text())?,
            Format::Json | Format::Jsonl => output.json(&diff.document())?,
            Format::Csv | Format::Raw => {
                let rows: Vec<_> = diff.changed.iter().map(Changed::row).collect();
                output.table(&["what", "field", "from", "to"], &rows)?;
            }
        }
        Ok(())
    }
}

/// How two views differ.
#[derive(Debug)]
struct Diff {
    from: Epoch,
    to: Epoch,
    /// Another cluster id: one was recovered from the other.
    recovered: bool,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<Changed>,
    /// Slots whose primary is another, by earlier and later primary.
    slots_moved: BTreeMap<(String, String), usize>,
    slots: u32,
    /// The views after the first, up to the second, as far as they are remembered.
    steps: Vec<ViewRecord>,
}

/// A field of a member, or of the view, that has another value.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    /// The member's name, or `view`.
    what: String,
    field: &'static str,
    from: String,
    to: String,
}

impl Changed {
    fn row(&self) -> Vec<Value> {
        vec![json!(self.what), json!(self.field), json!(self.from), json!(self.to)]
    }
}

impl Diff {
    fn of(from: &View, to: &View, log: Vec<ViewRecord>) -> Self {
        let recovered = from.fields().cluster_id != to.fields().cluster_id;
        // A member is its ordinal; in a recovered cluster ordinals begin anew, and the voting state tells.
        let in_other = |view: &View, member: &Member| -> Option<Member> {
            let found = if recovered { view.member_of_instance(member.instance) } else { view.member(member.ordinal) };
            found.cloned()
        };
        let absent = |from: &View, to: &View| -> Vec<String> {
            let absent = to.members().iter().filter(|member| in_other(from, member).is_none());
            absent.map(|member| format!("{} ({})", member.name, member.address)).collect()
        };
        let mut changed = view_fields(from, to);
        for before in from.members() {
            if let Some(after) = in_other(to, before) {
                changed.extend(member_fields(before, &after));
            }
        }
        Self {
            from: from.epoch(),
            to: to.epoch(),
            recovered,
            added: absent(from, to),
            removed: absent(to, from),
            changed,
            slots_moved: slots_moved(from, to),
            slots: to.fields().config.slots.count(),
            steps: log.into_iter().filter(|it| from.epoch() < it.epoch && it.epoch <= to.epoch()).collect(),
        }
    }

    /// Epochs between the two that nobody remembers. A recovery leaps over a million, which nobody ever saw.
    fn forgotten(&self) -> u64 {
        if self.recovered {
            return 0;
        }
        let mut epochs: Vec<_> = self.steps.iter().map(|step| step.epoch).collect();
        epochs.dedup();
        (self.to.value() - self.from.value()).saturating_sub(epochs.len() as u64)
    }

    fn text(&self) -> String {
        let (from, to) = (self.from.value(), self.to.value());
        let mut lines = vec![format!("from epoch {from} to epoch {to}")];
        if self.recovered {
            lines.push("! another cluster: it was recovered from a survivor".into());
        }
        lines.extend(self.added.iter().map(|member| format!("+ {member}")));
        lines.extend(self.removed.iter().map(|member| format!("- {member}")));
        lines.extend(self.changed.iter().map(|it| format!("~ {} {}: {} -> {}", it.what, it.field, it.from, it.to)));
        let moved: usize = self.slots_moved.values().sum();
        if moved > 0 {
            lines.push(format!("~ {moved} of {} slots have another primary", self.slots));
            lines.extend(self.slots_moved.iter().map(|((from, to), count)| format!("    {count} {from} -> {to}")));
        }
        if lines.len() == 1 {
            lines.push("nothing differs but the epoch".into());
        }
        let mut text = lines.join("\n");
        text.push_str("\n\n");
        text.push_str(if self.steps.is_empty() { "no view between them is remembered" } else { "by these views:" });
        for step in &self.steps {
            let changes: Vec<_> = step.changes.iter().map(Change::to_string).collect();
            let changes = if changes.is_empty() { "no reason told".into() } else { changes.join("; ") };
            let (epoch, when) = (step.epoch.value(), moment(step.proposed_at_ms));
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {epoch}  {when}  by {}: {changes}", step.coordinator);
        }
        if self.forgotten() > 0 && !self.steps.is_empty() {
            let _ = write!(text, "\n  and {} that nobody who answered remembers", self.forgotten());
        }
        text
    }

    fn document(&self) -> Value {
        let changed =
            self.changed.iter().map(|it| json!({ "what": it.what, "field": it.field, "from": it.from, "to": it.to }));
        let moved =
            self.slots_moved.iter().map(|((from, to), slots)| json!({ "from": from, "to": to, "slots": slots }));
        let steps = self.steps.iter().map(|step| {
            json!({
                "epoch": step.epoch.value(),
                "when": moment(step.proposed_at_ms),
                "coordinator": step.coordinator,
                "hash": step.hash.to_string(),
                "changes": step.changes.iter().map(Change::to_string).collect::<Vec<_>>(),
            })
        });
        json!({
            "from": self.from.value(),
            "to": self.to.value(),
            "recovered": self.recovered,
            "added": self.added,
            "removed": self.removed,
            "changed": changed.collect::<Vec<_>>(),
            "slots": self.slots,
            "slots_moved": moved.collect::<Vec<_>>(),
            "views": steps.collect::<Vec<_>>(),
            "views_forgotten": self.forgotten(),
        })
    }
}

/// The differences among `fields`, each a name and its two values.
fn differing(what: &str, fields: impl IntoIterator<Item = (&'static str, String, String)>) -> Vec<Changed> {
    let differ = fields.into_iter().filter(|(_, from, to)| from != to);
    differ.map(|(field, from, to)| Changed { what: what.into(), field, from, to }).collect()
}

fn view_fields(from: &View, to: &View) -> Vec<Changed> {
    let list = |items: Vec<String>| if items.is_empty() { "none".into() } else { items.join(", ") };
    let value = |view: &View| -> [String; 10] {
        let fields = view.fields();
        [
            name(view, fields.coordinator),
            list(fields.voters.iter().map(|voter| name(view, *voter)).collect()),
            list(owners(view, &fields.ring)),
            fields.target.as_ref().map_or_else(|| "none".into(), |target| list(owners(view, target))),
            fields.fence.value().to_string(),
            fields.config.timing.to_string(),
            format!("{}s", fields.config.out_after_s),
            config::Copies(fields.config.replication).to_string(),
            config::Copies(fields.copies).to_string(),
            fields.cluster_id.to_string(),
        ]
    };
    let names = [
        "coordinator",
        "voters",
        "ring",
        "target",
        "fence",
        "timing",
        "out_after",
        "replication",
        "copies",
        "cluster_id",
    ];
    let values = value(from).into_iter().zip(value(to));
    differing("view", names.into_iter().zip(values).map(|(name, (from, to))| (name, from, to)))
}

fn member_fields(from: &Member, to: &Member) -> Vec<Changed> {
    let value = |member: &Member| -> [String; 10] {
        [
            member.ordinal.to_string(),
            member.boot.to_string(),
            member.address.to_string(),
            member.zone.as_ref().map_or_else(|| "none".into(), ToString::to_string),
            member.vnodes.to_string(),
            member.priority.to_string(),
            live(member.live).into(),
            member.degraded.to_string(),
            intent(member.intent).into(),
            format!("{:?}", member.versions),
        ]
    };
    let names = ["ordinal", "boot", "address", "zone", "vnodes", "priority", "live", "degraded", "intent", "versions"];
    let values = value(from).into_iter().zip(value(to));
    differing(from.name.as_str(), names.into_iter().zip(values).map(|(name, (from, to))| (name, from, to)))
}

/// How many slots go from one primary to another. Two clusters with other numbers of slots cannot be compared.
fn slots_moved(from: &View, to: &View) -> BTreeMap<(String, String), usize> {
    let (before, after) = (from.ring(), to.ring());
    let mut moved = BTreeMap::new();
    if before.slots() != after.slots() {
        return moved;
    }
    let primary = |view: &View, ordinal: Option<Ordinal>| ordinal.map_or_else(|| "nobody".into(), |it| name(view, it));
    for slot in before.slots().slots() {
        let (old, new) = (before.primary(slot), after.primary(slot));
        let id = |view: &View, ordinal: Option<Ordinal>| Some(view.member(ordinal?)?.instance);
        if id(from, old) != id(to, new) {
            *moved.entry((primary(from, old), primary(to, new))).or_default() += 1;
        }
    }
    moved
}

#[cfg(test)]
mod tests;
