//! A forecast as people and programs read it.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::forecast::{Forecast, Row, Way};
use crate::cli::{keys::brief, output::aligned};

impl Forecast {
    /// For people.
    pub(super) fn text(&self) -> String {
        let slots = |(primary, all): (u32, u32)| format!("{primary} / {all}");
        let size = |bytes: u64| ByteSize(bytes).to_string();
        let row = |row: &Row| {
            vec![
                json!(row.name),
                json!(row.zone),
                json!(slots(row.before)),
                json!(slots(row.after)),
                json!(size(row.bytes_before)),
                json!(size(row.bytes_after)),
                json!(row.bytes_max.map(size)),
            ]
        };
        let columns = ["node", "zone", "primary / slots", "after", "memory", "after", "limit"];
        let mut text = aligned(&columns, &self.rows.iter().map(row).collect::<Vec<_>>());
        if !self.ways.is_empty() {
            let way = |way: &Way| {
                let to = way.to.as_deref().unwrap_or("(given up)");
                vec![json!(way.from), json!(to), json!(way.slots), json!(size(way.bytes))]
            };
            let ways: Vec<_> = self.ways.iter().map(way).collect();
            text += &format!("\n\n{}", aligned(&["from", "to", "slots", "memory"], &ways));
        }
        let lasts = match self.seconds {
            Some(seconds) => format!("{} at the present pace", brief(Duration::from_secs(seconds.max(1)))),
            None => "as fast as the nodes can: no pace is set".into(),
        };
        text += &format!("\n\nmoves   {} slots, {}\nlasts   {lasts}", self.slots_moved, size(self.bytes_moved));
        let risk = "present owners keep what moves, and serve it, until the new ones have it all";
        text += &format!("\nrisk    {risk}");
        self.warnings.iter().for_each(|warning| text += &format!("\nwarning {warning}"));
        self.refusals.iter().for_each(|why| text += &format!("\nno      {why}"));
        let apply = if self.refusals.is_empty() { "" } else { " --force" };
        text + &format!("\nplan    quoit apply {}{apply}", self.id)
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        let share =
            |(primary, slots): (u32, u32), bytes: u64| json!({ "primary": primary, "slots": slots, "bytes": bytes });
        let node = |row: &Row| {
            json!({
                "name": row.name,
                "zone": row.zone,
                "before": share(row.before, row.bytes_before),
                "after": share(row.after, row.bytes_after),
                "bytes_max": row.bytes_max,
            })
        };
        let way = |way: &Way| json!({ "from": way.from, "to": way.to, "slots": way.slots, "bytes": way.bytes });
        json!({
            "plan": self.id.to_string(),
            "nodes": self.rows.iter().map(node).collect::<Vec<_>>(),
            "moves": self.ways.iter().map(way).collect::<Vec<_>>(),
            "slots_moved": self.slots_moved,
            "bytes_moved": self.bytes_moved,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "refusals": self.refusals,
        })
    }
}
