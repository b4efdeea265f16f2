//! `quoit view show`: one view, whole.

use clap::Args;
use quoit_client::{Client, Epoch, Member, View};
use quoit_proto_types::view::{Change, Intent, Liveness, Owner};
use serde_json::{Value, json};

use super::{epoch, view_of};
use crate::{
    cli::{
        admin::moment,
        copies::Copies,
        error::CliError,
        follow::Latest,
        output::{Format, Output, aligned},
    },
    config,
};

const COLUMNS: [&str; 11] =
    ["name", "ordinal", "live", "degraded", "intent", "votes", "address", "zone", "vnodes", "priority", "slots"];

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The epoch [default: the latest]
    #[arg(value_parser = epoch)]
    epoch: Option<Epoch>,
}

impl ShowArgs {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let view = match self.epoch {
            Some(epoch) => view_of(client, epoch).await?,
            None => {
                let mut latest = Latest::of(client);
                latest.refresh(client).await;
                latest.view().clone()
            }
        };
        match output.format() {
            Format::Table => output.line(text(&view))?,
            Format::Json | Format::Jsonl => output.json(&document(&view))?,
            Format::Csv | Format::Raw => output.table(&COLUMNS, &rows(&view))?,
        }
        Ok(())
    }
}

fn rows(view: &View) -> Vec<Vec<Value>> {
    let ring = view.ring();
    let row = |member: &Member| {
        vec![
            json!(member.name),
            json!(member.ordinal.value()),
            json!(live(member.live)),
            json!(member.degraded),
            json!(intent(member.intent)),
            json!(view.is_voter(member.ordinal)),
            json!(member.address),
            json!(member.zone),
            json!(member.vnodes),
            json!(member.priority),
            json!(ring.primary_slots(member.ordinal)),
        ]
    };
    view.members().iter().map(row).collect()
}

fn text(view: &View) -> String {
    let fields = view.fields();
    let recovered = fields.recovered_from.map(|id| format!(", recovered from {id}")).unwrap_or_default();
    let changes: Vec<_> = fields.changes.iter().map(Change::to_string).collect();
    let target = match &fields.target {
        Some(target) => format!("{} (under way since epoch {})", owners(view, target).join(", "), fields.fence.value()),
        None => "none: no ring change is under way".into(),
    };
    format!(
        "cluster      {} ({}{recovered})\n\
         epoch        {}, by {} at {}\n\
         hash         {}, after {}\n\
         because      {}\n\
         settings     {} slots, {} copies wanted, timing {}, out after {}s\n\
         copies       {}\n\
         ring         {}, since epoch {}\n\
         target       {target}\n\n{}",
        fields.cluster,
        fields.cluster_id,
        fields.epoch.value(),
        name(view, fields.coordinator),
        moment(fields.proposed_at_ms),
        view.hash(),
        fields.previous,
        if changes.is_empty() { "-".into() } else { changes.join("; ") },
        fields.config.slots.count(),
        config::Copies(fields.config.replication),
        fields.config.timing,
        fields.config.out_after_s,
        Copies::of(view).text(),
        owners(view, &fields.ring).join(", "),
        fields.fence.value(),
        aligned(&COLUMNS, &rows(view)),
    )
}

/// A whole view, as programs read it.
pub(super) fn document(view: &View) -> Value {
    let fields = view.fields();
    let object = |row: Vec<Value>| -> Value { COLUMNS.map(str::to_owned).into_iter().zip(row).collect() };
    let members = view.members().iter().zip(rows(view)).map(|(member, row)| {
        let mut object = object(row);
        object["instance"] = json!(member.instance.to_string());
        object["boot"] = json!(member.boot.value());
        object
    });
    json!({
        "cluster": fields.cluster,
        "cluster_id": fields.cluster_id.to_string(),
        "recovered_from": fields.recovered_from.map(|id| id.to_string()),
        "epoch": fields.epoch.value(),
        "hash": view.hash().to_string(),
        "previous": fields.previous.to_string(),
        "ballot": fields.ballot.to_string(),
        "coordinator": name(view, fields.coordinator),
        "proposed_at": moment(fields.proposed_at_ms),
        "changes": fields.changes.iter().map(Change::to_string).collect::<Vec<_>>(),
        "slots": fields.config.slots.count(),
        "replication": config::Copies(fields.config.replication),
        "copies": fields.copies,
        "ring_layout": fields.config.ring_algorithm.name(),
        "timing": fields.config.timing.name(),
        "out_after_s": fields.config.out_after_s,
        "fence": fields.fence.value(),
        "members": members.collect::<Vec<_>>(),
        "ring": owners(view, &fields.ring),
        "target": fields.target.as_ref().map(|target| owners(view, target)),
    })
}

/// The name of a member, or its ordinal if it is none.
pub(super) fn name(view: &View, ordinal: quoit_proto_types::Ordinal) -> String {
    view.member(ordinal).map_or_else(|| ordinal.to_string(), |member| member.name.to_string())
}

/// Owners by name and life.
pub(super) fn owners(view: &View, owners: &[Owner]) -> Vec<String> {
    owners.iter().map(|owner| format!("{}.{}", name(view, owner.ordinal), owner.boot.value())).collect()
}

pub(super) fn live(live: Liveness) -> &'static str {
    match live {
        Liveness::Up => "up",
        Liveness::Down => "down",
    }
}

pub(super) fn intent(intent: Intent) -> &'static str {
    match intent {
        Intent::Stay => "stay",
        Intent::Leave => "leave",
        Intent::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stage;

    #[test]
    fn a_view_is_shown_whole() {
        let view = stage::view(|fields| {
            fields.members[2].live = Liveness::Down;
            fields.target = Some([1, 2].map(stage::owner).to_vec());
        });
        let text = text(&view);
        for told in [
            "epoch        5, by n1 at 2023-11-14T22:13:20Z",
            "because      n3 joined",
            "settings     16384 slots, 2 copies wanted, timing lan, out after 600s",
            "copies       2 of each key; of ",
            "ring         n1.1, n2.1, n3.1, since epoch 4",
            "target       n1.1, n2.1 (under way since epoch 4)",
            "NAME  ORDINAL  LIVE  DEGRADED  INTENT  VOTES  ADDRESS",
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
        let document = document(&view);
        assert_eq!((&document["members"][2]["live"], &document["coordinator"]), (&json!("down"), &json!("n1")));
    }
}
