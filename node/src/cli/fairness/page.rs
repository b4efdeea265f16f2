//! The report as one page that needs nothing else.

use super::{
    Report,
    table::{groups, intro, plain, rows},
};

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2933;--faint:#5c6977;--rule:#e3e7eb}
@media (prefers-color-scheme:dark){:root{--paper:#15191e;--ink:#e9ecef;--faint:#a6b0bb;--rule:#2e353d}}
body{margin:2rem auto;max-width:78rem;padding:0 1rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
svg{width:100%;height:auto}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px;white-space:nowrap}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--rule)}
th{color:var(--faint);font-weight:600}
p,dd{color:var(--faint)}dt{font-weight:600}
@media print{body{max-width:none;margin:0}}";

/// What the columns mean.
const TERMS: [(&str, &str); 8] = [
    ("fullest, emptiest", "slots of the fullest and of the emptiest node as primary, as a part of the fair share"),
    ("cv %", "the standard deviation of the nodes’ slots; a hashed ring has 1/√vnodes"),
    ("copies", "slots of the fullest node, all copies counted"),
    ("keys, even", "keys of the fullest node as primary; how many of a hundred rings pass the chi-square test"),
    ("join, leave", "what moves, by what must: the newcomer’s fair share, what the leaver held"),
    ("sets, peers", "different sets of owners; others with whom a node shares slots"),
    ("loss of n", "the chance in percent that n nodes lost at once are all owners of some slot"),
    ("lookup", "nanoseconds on the machine of this report: in the table of slots, by search among tokens"),
];

/// Plots, then tables.
pub(super) fn html(report: &Report, svg: &str) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Quoit: fairness of the ring</title>\n\
         <style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>Fairness of the ring</h1>\n<p>{}</p>\n{svg}\n",
        intro(&report.question)
    );
    for (title, cells) in groups(report) {
        let (columns, rows) = rows(report, &cells);
        let head: String = columns.iter().map(|name| format!("<th>{name}</th>")).collect();
        page += &format!("<h2>{title}</h2>\n<div class=\"wide\"><table>\n<tr>{head}</tr>\n");
        for row in rows {
            let cells: String = row.iter().map(|cell| format!("<td>{}</td>", plain(cell))).collect();
            page += &format!("<tr>{cells}</tr>\n");
        }
        page += "</table></div>\n";
    }
    page += "<h2>What the columns say</h2>\n<dl>\n";
    for (term, meaning) in TERMS {
        page += &format!("<dt>{term}</dt><dd>{meaning}</dd>\n");
    }
    page + "</dl>\n</body>\n</html>\n"
}
