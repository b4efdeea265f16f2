//! How evenly the running cluster spreads its slots and keys.

use bytesize::ByteSize;
use quoit_core::placement::fair;
use quoit_proto_types::view::Zone;
use serde_json::{Value, json};

use super::{Shape, slots_of, table::bar};
use crate::{
    cli::{
        admin::administering,
        args::GlobalArgs,
        error::CliError,
        output::{Output, aligned},
        status::Survey,
    },
    fairness::{ChiSquare, Evenness},
};

/// Below so many keys a node on average, chance alone makes counts of keys uneven, and they are shown but not judged.
const KEYS_JUDGED: f64 = 1000.0;

/// One owner of the ring in force.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    vnodes: u32,
    primary: u32,
    copies: u32,
    /// As it says; nothing if it does not answer.
    entries: Option<u64>,
    bytes: Option<u64>,
    /// The copies of a slot that it should hold, on average.
    fair: f64,
}

/// All of them.
#[derive(Clone, Debug)]
struct Live {
    cluster: String,
    epoch: u64,
    copies: u8,
    rows: Vec<Row>,
    /// Whether a ring change is under way, during which some keys are held twice.
    changing: bool,
}

pub(super) async fn run(max: Option<f64>, shape: Shape, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    if let Some(max) = max.filter(|max| !(1.0..=1e6).contains(max)) {
        return Err(CliError::usage(format!("{max} is no limit for a share")).advice("--max 1.20: a fifth above fair"));
    }
    administering(global, async |client| {
        let live = Live::of(&Survey::take(client, global.timeout()).await);
        match shape {
            Shape::Text => output.line(live.text())?,
            Shape::Json => output.json(&live.json(max))?,
            Shape::Csv => output.bytes(&live.csv()?)?,
            Shape::Markdown => output.line(live.markdown())?,
        }
        let Some(max) = max else { return Ok(()) };
        match live.above(max).as_slice() {
            [] => {
                if shape == Shape::Text {
                    output.line(format!("ok, nobody has more than {max} of what is fair"))?;
                }
                Ok(())
            }
            above => {
                above.iter().for_each(|what| output.note(format!("more than {max} of what is fair: {what}")));
                Err(CliError::no())
            }
        }
    })
    .await
}

impl Live {
    fn of(survey: &Survey) -> Self {
        let (view, slots) = (&survey.view, slots_of(&survey.view));
        let ring = &view.fields().ring;
        let owners: Vec<_> = view
            .members()
            .iter()
            .zip(slots)
            .filter(|(member, _)| ring.iter().any(|owner| owner.ordinal == member.ordinal))
            .collect();
        let mut zones: Vec<&Zone> = Vec::new();
        let weights: Vec<(f64, usize)> = owners
            .iter()
            .map(|(member, _)| {
                let (zone, vnodes) = member.placed();
                // A member without a zone has one of its own.
                let known = zones.iter().position(|known| zone.is_some() && *known == zone);
                let number = known.unwrap_or(zones.len());
                zones.extend(known.is_none().then_some(zone));
                (f64::from(vnodes), number)
            })
            .collect();
        let held = fair::copies_held(&weights, usize::from(view.fields().copies));
        // There are 2^20 slots at most.
        let count = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
        let rows = owners.into_iter().zip(held).map(|((member, (primary, copies)), fair)| {
            let status = survey.status(member);
            Row {
                name: member.name.to_string(),
                vnodes: member.placed().1,
                primary: count(primary),
                copies: count(copies),
                entries: status.map(|status| status.entries),
                bytes: status.map(|status| status.bytes),
                fair,
            }
        });
        Self {
            cluster: view.fields().cluster.to_string(),
            epoch: view.epoch().value(),
            copies: view.fields().copies,
            rows: rows.collect(),
            changing: view.fields().target.is_some(),
        }
    }

    /// How even `load` is among those who told it, against shares of `fair`.
    fn evenness(&self, load: impl Fn(&Row) -> Option<f64>, fair: impl Fn(&Row) -> f64) -> (Evenness, ChiSquare) {
        let told = self.rows.iter().filter_map(|row| Some((load(row)?, fair(row))));
        let (loads, fair): (Vec<f64>, Vec<f64>) = told.unzip();
        (Evenness::of(&loads, &fair), ChiSquare::of(&loads, &fair))
    }

    fn primary(&self) -> (Evenness, ChiSquare) {
        self.evenness(|row| Some(f64::from(row.primary)), |row| f64::from(row.vnodes))
    }

    fn slots(&self) -> (Evenness, ChiSquare) {
        self.evenness(|row| Some(f64::from(row.copies)), |row| row.fair)
    }

    /// Whether anybody said how many keys it holds.
    fn is_told(&self) -> bool {
        self.rows.iter().any(|row| row.entries.is_some())
    }

    fn keys(&self) -> (Evenness, ChiSquare) {
        self.evenness(Row::keys, |row| row.fair)
    }

    /// What is judged and has somebody with more than `max` fair shares.
    fn above(&self, max: f64) -> Vec<String> {
        let counts: Vec<f64> = self.rows.iter().filter_map(Row::keys).collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of nodes")]
        let enough = counts.iter().sum::<f64>() >= KEYS_JUDGED * counts.len() as f64;
        let judged = [("slots, all copies", self.slots().0, true), ("keys", self.keys().0, enough)];
        let above = judged.into_iter().filter(|(_, evenness, counts)| *counts && evenness.max > max);
        above.map(|(what, evenness, _)| format!("{what}, {:.3} on the fullest node", evenness.max)).collect()
    }

    /// Each node's load as a part of the fair one.
    fn relative(&self, load: impl Fn(&Row) -> Option<f64>, fair: impl Fn(&Row) -> f64) -> Vec<Option<f64>> {
        let told = || self.rows.iter().filter_map(|row| Some((load(row)?, fair(row))));
        let (loads, shares): (f64, f64) =
            told().fold((0.0, 0.0), |(loads, shares), (load, share)| (loads + load, shares + share));
        let of = |row: &Row| Some(load(row)? / loads / (fair(row) / shares)).filter(|part| part.is_finite());
        self.rows.iter().map(of).collect()
    }

    fn parts(&self) -> Vec<[Option<f64>; 3]> {
        let primary = self.relative(|row| Some(f64::from(row.primary)), |row| f64::from(row.vnodes));
        let copies = self.relative(|row| Some(f64::from(row.copies)), |row| row.fair);
        let keys = self.relative(Row::keys, |row| row.fair);
        primary.into_iter().zip(copies).zip(keys).map(|((primary, copies), keys)| [primary, copies, keys]).collect()
    }

    fn rows(&self) -> Vec<Vec<Value>> {
        let part = |part: Option<f64>| json!(part.map(|part| (part * 1000.0).round() / 1000.0));
        let row = |(row, parts): (&Row, [Option<f64>; 3])| {
            vec![
                json!(row.name),
                json!(row.vnodes),
                json!(row.primary),
                part(parts[0]),
                json!(row.copies),
                part(parts[1]),
                json!(row.entries),
                part(parts[2]),
                json!(row.bytes.map(|bytes| ByteSize(bytes).to_string())),
            ]
        };
        self.rows.iter().zip(self.parts()).map(row).collect()
    }

    fn summary(&self) -> Vec<String> {
        let line = |what: &str, (evenness, chi): (Evenness, ChiSquare)| {
            format!(
                "{what:<20} fullest {:.3}, emptiest {:.3}, deviation {:.1} %; chi-square {:.1}, p {:.3}",
                evenness.max,
                evenness.min,
                evenness.cv * 100.0,
                chi.statistic,
                chi.p
            )
        };
        let mut lines = vec![line("slots, as primary", self.primary()), line("slots, all copies", self.slots())];
        lines.push(if self.is_told() {
            line("keys", self.keys())
        } else {
            "keys: no node says how many it holds".into()
        });
        if self.changing {
            lines.push("a ring change is under way: some keys are counted on two nodes".into());
        }
        lines
    }

    fn text(&self) -> String {
        let heading =
            format!("cluster {}, epoch {}, {} of each key\n\n", self.cluster, self.epoch, copies(self.copies));
        let table = aligned(&COLUMNS, &self.rows());
        let width = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let bars = self.parts().into_iter().map(|parts| bar(parts[1].unwrap_or_default() / 2.0));
        let mut lines = table.lines().map(str::to_owned).collect::<Vec<_>>();
        lines.iter_mut().skip(1).zip(bars).for_each(|(line, bar)| {
            let pad = width - line.chars().count();
            *line += &format!("{:pad$}  {bar}", "");
        });
        heading + &lines.join("\n") + "\n\n" + &self.summary().join("\n")
    }

    fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|{}\n", COLUMNS.join(" | "), "---:|".repeat(COLUMNS.len() - 1));
        for row in self.rows() {
            let cells: Vec<_> = row.iter().map(super::table::plain).collect();
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text + "\n" + &self.summary().join("\n")
    }

    fn json(&self, max: Option<f64>) -> Value {
        let side = |(evenness, chi): (Evenness, ChiSquare)| json!({ "evenness": evenness, "chi_square": chi });
        let nodes = self.rows.iter().zip(self.parts()).map(|(row, parts)| {
            json!({
                "name": row.name,
                "vnodes": row.vnodes,
                "primary_slots": row.primary,
                "primary_of_fair": parts[0],
                "slots": row.copies,
                "slots_of_fair": parts[1],
                "entries": row.entries,
                "entries_of_fair": parts[2],
                "bytes": row.bytes,
            })
        });
        json!({
            "cluster": self.cluster,
            "epoch": self.epoch,
            "copies": self.copies,
            "ring_change_under_way": self.changing,
            "nodes": nodes.collect::<Vec<_>>(),
            "primary": side(self.primary()),
            "slots": side(self.slots()),
            "keys": self.is_told().then(|| side(self.keys())),
            "max": max,
            "above_max": max.map(|max| self.above(max)),
        })
    }

    fn csv(&self) -> std::io::Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(COLUMNS.map(|name| name.replace(' ', "_")))?;
        for row in self.rows() {
            csv.write_record(row.iter().map(super::table::plain))?;
        }
        csv.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// What stands above each node's figures.
const COLUMNS: [&str; 9] =
    ["node", "vnodes", "primary slots", "of fair", "slots", "of fair slots", "entries", "of fair keys", "memory"];

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn keys(&self) -> Option<f64> {
        self.entries.map(|entries| entries as f64)
    }
}

fn copies(copies: u8) -> String {
    if copies == 1 { "1 copy".into() } else { format!("{copies} copies") }
}
