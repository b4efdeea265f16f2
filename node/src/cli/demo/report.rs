//! What a newcomer wants to see.

use std::{fmt::Write as _, time::Duration};

use anstyle::{AnsiColor, Style};
use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount};
use quoit_client::Client;
use serde_json::{Value, json};

use super::{Reads, Record, reads::CALLERS};
use crate::cli::{
    copies::Copies,
    error::CliError,
    explain,
    local_cluster::LocalCluster,
    output::{Format, Output},
    progress::rate,
};

const HEADING: Style = Style::new().bold();
const BAR: Style = AnsiColor::Cyan.on_default();
/// Width of the longest bar, in characters.
const BAR_WIDTH: f64 = 30.0;

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) cluster: &'a LocalCluster,
    pub(super) client: &'a Client,
    pub(super) records: &'a [Record],
    pub(super) loaded: Duration,
    pub(super) verified: Duration,
    pub(super) reads: Reads,
}

/// A node's part of the keys and of the ring.
#[derive(Clone, Debug)]
struct Share {
    name: String,
    address: String,
    keys: usize,
    /// Of all keys and of all slots, from 0 to 1.
    of_keys: f64,
    of_ring: f64,
}

impl Report<'_> {
    pub(super) fn write(&self, output: &Output) -> Result<(), CliError> {
        match output.format() {
            Format::Json | Format::Jsonl => output.json(&self.document()?)?,
            Format::Table | Format::Csv | Format::Raw => output.line(self.text()?)?,
        }
        Ok(())
    }

    fn text(&self) -> Result<String, CliError> {
        let view = self.client.view();
        let mut text = format!(
            "\n{HEADING}Cluster{HEADING:#} `{}`, epoch {}: {} nodes, {}, mutual TLS, QUIC\n\n{}\n",
            view.fields().cluster,
            view.epoch().value(),
            view.members().len(),
            copies_text(Copies::of(&view).in_force),
            share_table(&self.shares()),
        );
        let bytes: usize = self.records.iter().map(|record| record.key.len() + record.value_bytes).sum();
        let count = self.records.len() as u64;
        let reads = &self.reads;
        let hit_rate = percent(fraction(reads.hits, reads.count()));
        let lines = [
            ("loaded", format!("{}, {}", pace(count, self.loaded), HumanBytes(bytes as u64))),
            ("read back", format!("{}, every value as it was written", pace(count, self.verified))),
            ("read", format!("{}, by {CALLERS} callers, the popular keys most", pace(reads.count(), reads.elapsed))),
            ("hit rate", format!("{hit_rate}; a tenth of the reads asked for keys that were never written")),
            ("latency", latency_text(&reads.latency)),
        ];
        let _ = writeln!(text, "{HEADING}Work{HEADING:#}, each read checked\n");
        for (name, value) in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<10} {value}");
        }
        let _ = writeln!(text, "\n{HEADING}Where a key is, and why{HEADING:#} (quoit explain)\n");
        for line in explain::text(self.client, self.records[0].key.as_bytes())?.lines() {
            let _ = writeln!(text, "  {line}");
        }
        let _ = write!(text, "\n{HEADING}Next{HEADING:#}\n\n{NEXT}");
        Ok(text)
    }

    fn document(&self) -> Result<Value, CliError> {
        let view = self.client.view();
        let reads = &self.reads;
        let nodes = self.shares().into_iter().map(|share| {
            json!({
                "name": share.name,
                "address": share.address,
                "keys": share.keys,
                "share_of_keys": share.of_keys,
                "share_of_ring": share.of_ring,
            })
        });
        let count = self.records.len() as u64;
        let phase = |count, elapsed: Duration| {
            json!({
                "records": count,
                "seconds": elapsed.as_secs_f64(),
                "per_second": rate(count, elapsed),
            })
        };
        Ok(json!({
            "cluster": view.fields().cluster.to_string(),
            "epoch": view.epoch().value(),
            "copies": Copies::of(&view).in_force,
            "nodes": nodes.collect::<Vec<_>>(),
            "load": phase(count, self.loaded),
            "verify": phase(count, self.verified),
            "read": phase(reads.count(), reads.elapsed),
            "hit_rate": fraction(reads.hits, reads.count()),
            "latency_us": PERCENTILES.iter().map(|(name, quantile)| {
                ((*name).to_owned(), Value::from(microseconds(&reads.latency, *quantile)))
            }).collect::<Value>(),
            "explain": explain::document(self.client, self.records[0].key.as_bytes())?,
        }))
    }

    /// Measured: the entries that each node holds, copies included, against the slots that it owns.
    fn shares(&self) -> Vec<Share> {
        let view = self.client.view();
        let (ring, copies) = (view.ring(), Copies::of(&view).in_force);
        let entries = |name: &str| {
            let nodes = self.cluster.nodes().iter();
            nodes.filter(|node| node.identity().name.as_str() == name).map(|node| node.stats().entries).sum::<usize>()
        };
        let all: usize = self.cluster.nodes().iter().map(|node| node.stats().entries).sum();
        let share = |member: &quoit_client::Member| {
            let keys = entries(member.name.as_str());
            let slots = ring.slots().slots().filter(|slot| ring.owners(*slot).contains(&member.ordinal)).count() as u64;
            Share {
                name: member.name.to_string(),
                address: member.address.to_string(),
                keys,
                of_keys: fraction(keys as u64, all as u64),
                of_ring: fraction(slots, u64::from(ring.slots().count()) * copies as u64),
            }
        };
        view.members().iter().map(share).collect()
    }
}

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

const NEXT: &str = "  \
  quoit dev                        the same cluster, kept up, with a shell
  make-certs n1 n2 n3              certificates for a cluster of your own
  quoit load FILE --key COLUMN     your own records: CSV, TSV or JSON lines
  quoit --help                     everything else";

/// On how many nodes each key is.
fn copies_text(copies: usize) -> String {
    if copies == 1 { "one copy of each key".into() } else { format!("{copies} copies of each key, on {copies} nodes") }
}

/// A line for each node, with a bar for its share of the keys.
fn share_table(shares: &[Share]) -> String {
    let widest = |cell: &dyn Fn(&Share) -> usize, least: usize| shares.iter().map(cell).max().unwrap_or(0).max(least);
    let name = widest(&|share| share.name.len(), 4);
    let address = widest(&|share| share.address.len(), 7);
    let most = shares.iter().map(|share| share.of_keys).fold(f64::MIN_POSITIVE, f64::max);
    let mut text =
        format!("  {:<name$}  {:<address$}  {:>9}  {:>8}  {:>8}\n", "NODE", "ADDRESS", "KEYS", "OF KEYS", "OF RING");
    for share in shares {
        let keys = HumanCount(share.keys as u64).to_string();
        let (of_keys, of_ring) = (percent(share.of_keys), percent(share.of_ring));
        let bar = bar(share.of_keys / most);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {:<name$}  {:<address$}  {keys:>9}  {of_keys:>8}  {of_ring:>8}  {BAR}{bar}{BAR:#}",
            share.name, share.address,
        );
    }
    text
}

/// A bar of eighths of a character, for `part` from 0 to 1 of the full width.
fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "\u{258f}", "\u{258e}", "\u{258d}", "\u{258c}", "\u{258b}", "\u{258a}", "\u{2589}"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 8 times the width")]
    let eighths = (part.clamp(0.0, 1.0) * BAR_WIDTH * 8.0).round() as usize;
    "\u{2588}".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

fn pace(count: u64, elapsed: Duration) -> String {
    let (count, rate) = (HumanCount(count), HumanCount(rate(count, elapsed)));
    format!("{count} in {:.2} s, {rate}/s", elapsed.as_secs_f64())
}

fn latency_text(latency: &Histogram<u64>) -> String {
    let shown = PERCENTILES.iter().map(|(name, quantile)| {
        let name = if *name == "p999" { "p99.9" } else { name };
        format!("{name} {:.2} ms", microseconds(latency, *quantile) / 1000.0)
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[expect(clippy::cast_precision_loss, reason = "a minute of nanoseconds is exact")]
fn microseconds(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_in_words() {
        assert_eq!(copies_text(1), "one copy of each key");
        assert_eq!(copies_text(2), "2 copies of each key, on 2 nodes");
    }

    #[test]
    fn the_largest_share_has_the_longest_bar() {
        assert_eq!(bar(1.0).chars().count(), 30);
        assert_eq!(bar(0.5).chars().count(), 15);
        assert_eq!(bar(1.0 / 240.0), "\u{258f}");
        assert_eq!(bar(0.0), "");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let share = |name: &str, keys, of_keys| Share {
            name: name.into(),
            address: "127.0.0.1:7750".into(),
            keys,
            of_keys,
            of_ring: 0.5,
        };
        let table = share_table(&[share("n1", 1_234_567, 0.75), share("a-long-name", 9, 0.25)]);
        let plain = anstream::adapter::strip_str(&table).to_string();
        let ends: Vec<_> =
            plain.lines().map(|line| line.find("ADDRESS").or_else(|| line.find("127.")).unwrap()).collect();
        assert_eq!(ends, [15, 15, 15]);
        assert!(plain.contains("1,234,567    75.0 %    50.0 %  \u{2588}"), "{plain}");
    }
}
