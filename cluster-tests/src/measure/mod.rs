//! Figures from the simulator: pure results, and tables of them.

pub mod bully;
pub mod compare;
pub mod cost;
pub mod failover;
pub mod mutants;
pub mod quiet;

use comfy_table::{Table, presets};

/// A table with these headings.
fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headings);
    table
}
