//! The report as people read it.

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::{Report, document::loss, lookup::Lookup};
use crate::{
    cli::output::aligned,
    fairness::{Cell, Figure, Question},
};

const HEADING: Style = Style::new().bold();
const BAR: Style = AnsiColor::Cyan.on_default();
/// Width of the longest bar, in characters.
const BAR_WIDTH: f64 = 16.0;

/// A small Go project with the same ingredients: fullest node by mean, 10 nodes, 10,000 keys, one ring.
pub(super) const REFERENCE: [(u32, f64); 5] = [(1, 2.27), (10, 1.36), (100, 1.13), (256, 1.08), (700, 1.06)];
const REFERENCE_NODES: u32 = 10;

/// What every table says below it.
const LEGEND: &str = "\
FULLEST, EMPTIEST  slots of the fullest and of the emptiest node as primary, as a part of the fair share
CV                 the standard deviation of the nodes' slots, in percent; a hashed ring has 1/√vnodes
COPIES             slots of the fullest node, all copies counted
KEYS               keys of the fullest node as primary; EVEN: how many of a hundred rings pass the chi-square test of even keys
JOIN, LEAVE        what moves when a node joins or leaves, by what must: the newcomer's fair share, what the leaver held
SETS, PEERS        different sets of owners; others with whom a node shares slots
LOSS               the chance in percent that nodes lost at once are all owners of some slot
LOOKUP             a key's owners, in nanoseconds on this machine: in the table of slots; by search among tokens";

/// Tables for a terminal.
pub(super) fn text(report: &Report) -> String {
    let mut text = intro(&report.question);
    for (title, cells) in groups(report) {
        let (columns, rows) = rows(report, &cells);
        text += &format!("\n{HEADING}{title}{HEADING:#}\n\n");
        let mut lines = aligned(&columns.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        for (line, (cell, _)) in lines.iter_mut().skip(1).zip(&cells) {
            let pad = width - line.chars().count();
            let over = cell.figure(|sample| sample.slot.primary.max).mean - 1.0;
            *line += &format!("{:pad$}  {BAR}{}{BAR:#}", "", bar(over));
        }
        text += &lines.join("\n");
        text.push('\n');
    }
    text + "\nBars are what the fullest node has beyond its share; a full one is as much again.\n\n" + LEGEND
}

/// Tables in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = intro(&report.question);
    for (title, cells) in groups(report) {
        let (columns, rows) = rows(report, &cells);
        text += &format!("\n## {title}\n\n| {} |\n|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
        for row in rows {
            let cells: Vec<_> = row.iter().map(plain).collect();
            text += &format!("| {} |\n", cells.join(" | "));
        }
    }
    text + "\n```text\n" + LEGEND + "\n```"
}

/// The cells of each table, with its title.
pub(super) fn groups(report: &Report) -> Vec<(String, Vec<(&Cell, &Lookup)>)> {
    let mut groups: Vec<(String, Vec<(&Cell, &Lookup)>)> = Vec::new();
    for nodes in &report.question.nodes {
        for placement in &report.question.placements {
            let all = report.cells.iter().zip(&report.lookups);
            let cells: Vec<(&Cell, &Lookup)> =
                all.filter(|(cell, _)| cell.nodes == *nodes && cell.placement == *placement).collect();
            let unit = if *nodes == 1 { "node" } else { "nodes" };
            if cells.is_empty() {
                continue;
            }
            groups.push((format!("{nodes} {unit}, {} tokens", placement.name()), cells));
        }
    }
    groups
}

/// What was asked.
pub(super) fn intro(question: &Question) -> String {
    let rings = if question.rings == 1 { "1 ring" } else { &format!("{} rings", question.rings) };
    let copies = if question.copies == 1 { "1 copy" } else { &format!("{} copies", question.copies) };
    let mut text = format!(
        "{rings} for each row, seed {}; {copies}, {} slots, {} keys",
        question.seed,
        question.slots.count(),
        question.keys.total
    );
    if question.zones > 0 {
        text += &format!(", {} zones", question.zones);
    }
    if question.weights.iter().any(|weight| *weight != question.weights[0]) {
        let weights: Vec<_> = question.weights.iter().map(ToString::to_string).collect();
        text += &format!(", weights {}", weights.join(" "));
    }
    text + ". Mean (5 % to 95 % of rings).\n"
}

/// The columns and rows of one table.
pub(super) fn rows(report: &Report, cells: &[(&Cell, &Lookup)]) -> (Vec<String>, Vec<Vec<Value>>) {
    let question = &report.question;
    let names = ["vnodes", "fullest", "emptiest", "cv %", "copies", "keys", "even", "join", "leave", "sets", "peers"];
    let mut columns: Vec<String> = names.map(str::to_owned).to_vec();
    columns.extend(question.losses.iter().map(|lost| format!("loss of {lost}")));
    columns.push("lookup".to_owned());
    let is_comparable = |cell: &Cell| {
        cell.nodes == REFERENCE_NODES && question.zones == 0 && question.weights.iter().all(|weight| *weight == 1.0)
    };
    let compared = cells.iter().any(|(cell, _)| is_comparable(cell));
    if compared {
        columns.push("go project".to_owned());
    }
    let row = |(cell, lookup): &(&Cell, &Lookup)| {
        let mut row = row(cell);
        row.extend((0..question.losses.len()).map(|index| json!(percent(loss(cell, index).mean))));
        row.push(json!(format!("{:.0}, {:.0}", lookup.table_ns, lookup.search_ns)));
        if compared {
            let known = REFERENCE.iter().find(|(vnodes, _)| *vnodes == cell.vnodes);
            row.push(json!(known.map_or_else(|| "-".to_owned(), |(_, max)| format!("{max:.2}"))));
        }
        row
    };
    (columns, cells.iter().map(row).collect())
}

fn row(cell: &Cell) -> Vec<Value> {
    let ratio = |share: f64, ideal: f64| if ideal > 0.0 { share / ideal } else { 1.0 };
    let even = cell.figure(|sample| f64::from(u8::from(sample.chi_keys.p >= 0.05)));
    let cv = cell.figure(|sample| sample.slot.primary.cv * 100.0);
    vec![
        json!(cell.vnodes),
        json!(range(cell.figure(|sample| sample.slot.primary.max))),
        json!(format!("{:.2}", cell.figure(|sample| sample.slot.primary.min).mean)),
        json!(format!("{:.1}", cv.mean)),
        json!(format!("{:.2}", cell.figure(|sample| sample.slot.copies.max).mean)),
        json!(range(cell.figure(|sample| sample.keys.primary.max))),
        json!(format!("{:.0}", even.mean * 100.0)),
        json!(format!("{:.2}", cell.figure(|sample| ratio(sample.join.share, sample.join.ideal)).mean)),
        json!(format!("{:.2}", cell.figure(|sample| ratio(sample.leave.share, sample.leave.ideal)).mean)),
        json!(format!("{:.0}", cell.figure(|sample| sample.owner_sets).mean)),
        json!(format!("{:.0}", cell.figure(|sample| sample.peers_mean).mean)),
    ]
}

fn range(figure: Figure) -> String {
    format!("{:.2} ({:.2}–{:.2})", figure.mean, figure.p5, figure.p95)
}

/// A chance in percent, with a digit that says something.
fn percent(chance: f64) -> String {
    let percent = chance * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// A value in a cell; nothing for null.
pub(super) fn plain(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A bar of eighths of a character, full for 1.
pub(super) fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "\u{258f}", "\u{258e}", "\u{258d}", "\u{258c}", "\u{258b}", "\u{258a}", "\u{2589}"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 8 times the width")]
    let eighths = (part.clamp(0.0, 1.0) * BAR_WIDTH * 8.0).round() as usize;
    "\u{2588}".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
