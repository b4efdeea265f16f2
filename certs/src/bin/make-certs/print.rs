//! Aligned, coloured lines.

use std::io::{self, Write};
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use quoit_certs::{Certificate, day};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// A line of cells, of which the first is coloured.
pub(crate) struct Row {
    pub(crate) style: Style,
    pub(crate) cells: Vec<String>,
}

/// Writes rows with their columns aligned.
pub(crate) fn rows(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for Row { style, cells } in rows {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        // Colour goes around the first cell only after the padding is known.
        let (first, rest) = line.trim_end().split_at(cells.first().map_or(0, String::len));
        writeln!(out, "{style}{first}{style:#}{rest}")?;
    }
    Ok(())
}

/// Writes the path of a folder as one sees that it is one.
pub(crate) fn folder(path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    format!("{}{MAIN_SEPARATOR}", path.display())
}

/// Writes whom a certificate names: the identity, then the hosts.
pub(crate) fn names(certificate: &Certificate) -> String {
    let identity = certificate.identity().map_or_else(|_| "no identity".to_owned(), |identity| identity.to_string());
    let mut names = vec![identity];
    names.extend(certificate.hosts());
    names.join(", ")
}

/// Writes until when a certificate is or was valid.
pub(crate) fn validity(certificate: &Certificate, now: SystemTime) -> String {
    let valid = now <= certificate.not_after();
    format!("{} {}", if valid { "valid until" } else { "expired on" }, day(certificate.not_after()))
}
