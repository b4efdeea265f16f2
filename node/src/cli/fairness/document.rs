//! The report as programs read it.

use std::io;

use serde_json::{Map, Value, json};

use super::{Report, table::REFERENCE};
use crate::fairness::{Cell, Figure, Sample};

/// One number of a ring, by the name that programs know it by.
type Named = (&'static str, fn(&Sample) -> f64);

/// Every figure.
const FIGURES: [Named; 28] = [
    ("arc_primary_max", |sample| sample.arc.primary.max),
    ("arc_primary_min", |sample| sample.arc.primary.min),
    ("arc_primary_cv", |sample| sample.arc.primary.cv),
    ("arc_copies_max", |sample| sample.arc.copies.max),
    ("arc_copies_min", |sample| sample.arc.copies.min),
    ("arc_copies_cv", |sample| sample.arc.copies.cv),
    ("slot_primary_max", |sample| sample.slot.primary.max),
    ("slot_primary_min", |sample| sample.slot.primary.min),
    ("slot_primary_cv", |sample| sample.slot.primary.cv),
    ("slot_copies_max", |sample| sample.slot.copies.max),
    ("slot_copies_min", |sample| sample.slot.copies.min),
    ("slot_copies_cv", |sample| sample.slot.copies.cv),
    ("key_primary_max", |sample| sample.keys.primary.max),
    ("key_primary_min", |sample| sample.keys.primary.min),
    ("key_primary_cv", |sample| sample.keys.primary.cv),
    ("key_copies_max", |sample| sample.keys.copies.max),
    ("key_copies_min", |sample| sample.keys.copies.min),
    ("key_copies_cv", |sample| sample.keys.copies.cv),
    ("slot_chi_square", |sample| sample.chi_slots.statistic),
    ("slot_chi_square_p", |sample| sample.chi_slots.p),
    ("key_chi_square", |sample| sample.chi_keys.statistic),
    ("key_chi_square_p", |sample| sample.chi_keys.p),
    ("join_moved", |sample| sample.join.share),
    ("join_moved_ideal", |sample| sample.join.ideal),
    ("leave_moved", |sample| sample.leave.share),
    ("leave_moved_ideal", |sample| sample.leave.ideal),
    ("owner_sets", |sample| sample.owner_sets),
    ("peers", |sample| sample.peers_mean),
];

/// The whole report. The figures of every ring are in it; only `lookup` is measured, and differs from run to run.
pub(super) fn json(report: &Report) -> Value {
    let question = &report.question;
    let cells = report.cells.iter().zip(&report.lookups).map(|(cell, lookup)| {
        let figures: Map<_, _> =
            FIGURES.iter().map(|(name, of)| ((*name).to_owned(), json!(cell.figure(of)))).collect();
        let rings: Map<_, _> = FIGURES
            .iter()
            .map(|(name, of)| ((*name).to_owned(), json!(cell.samples.iter().map(of).collect::<Vec<_>>())))
            .collect();
        json!({
            "placement": cell.placement,
            "nodes": cell.nodes,
            "vnodes": cell.vnodes,
            "figures": figures,
            "peers_max": cell.figure(|sample| sample.peers_max),
            "loss": losses(report, cell),
            "rings": rings,
            "first_ring": cell.samples.first().map(|sample| &sample.nodes),
            "lookup": lookup,
        })
    });
    json!({
        "rings": question.rings,
        "seed": question.seed,
        "copies": question.copies,
        "slots": question.slots.count(),
        "weights": question.weights,
        "zones": question.zones,
        "keys": question.keys.total,
        "cells": cells.collect::<Vec<_>>(),
        "reference": REFERENCE.map(|(vnodes, max)| json!({ "vnodes": vnodes, "key_primary_max": max })),
    })
}

/// The chance that so many lost nodes hit all owners of a slot.
fn losses(report: &Report, cell: &Cell) -> Vec<Value> {
    let chance = |(index, lost)| json!({ "nodes_lost": lost, "chance": loss(cell, index) });
    report.question.losses.iter().enumerate().map(chance).collect()
}

/// The same for the loss that is number `index` of the question.
pub(super) fn loss(cell: &Cell, index: usize) -> Figure {
    Figure::of(cell.samples.iter().filter_map(|sample| sample.lost.get(index).copied().flatten()).collect())
}

/// One row for each cell.
pub(super) fn csv(report: &Report) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let ranges = |name: &str| [name.to_owned(), format!("{name}_p5"), format!("{name}_p95")];
    let mut heading: Vec<String> = ["placement", "nodes", "vnodes"].map(str::to_owned).to_vec();
    heading.extend(FIGURES.iter().flat_map(|(name, _)| ranges(name)));
    heading.extend(report.question.losses.iter().map(|lost| format!("loss_chance_of_{lost}")));
    heading.extend(["lookup_table_ns", "lookup_search_ns", "ring_build_us"].map(str::to_owned));
    csv.write_record(heading)?;
    for (cell, lookup) in report.cells.iter().zip(&report.lookups) {
        let mut row = vec![cell.placement.name().to_owned(), cell.nodes.to_string(), cell.vnodes.to_string()];
        for (_, of) in FIGURES {
            let figure = cell.figure(of);
            row.extend([figure.mean, figure.p5, figure.p95].map(|number| number.to_string()));
        }
        row.extend((0..report.question.losses.len()).map(|index| loss(cell, index).mean.to_string()));
        row.extend([lookup.table_ns, lookup.search_ns, lookup.build_us].map(|number| format!("{number:.1}")));
        csv.write_record(row)?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
}
