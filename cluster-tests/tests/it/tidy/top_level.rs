//! STYLE §1: the visible top level is fixed.

use std::collections::BTreeSet;

use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

const VISIBLE: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "certs",
    "client",
    "cluster-tests",
    "node",
    "proto-types",
];
const WHY: &str = "the visible top level is fixed, so that a newcomer sees the whole of it at a glance";

fn top_level(tree: &Tree) -> Vec<Finding> {
    let first_part = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let present: BTreeSet<String> =
        tree.files.iter().map(|file| first_part(&file.path)).filter(|name| !name.starts_with('.')).collect();
    let expected = BTreeSet::from(VISIBLE.map(str::to_owned));
    let extra = present.difference(&expected).map(|name| {
        let remedy = "move it into the crate it belongs to, or make it a dotfile if it is a tool's setting";
        Finding::new(name, 1, "does not belong to the top level", WHY, remedy)
    });
    let missing = expected.difference(&present).map(|name| Finding::new(name, 1, "is missing", WHY, "restore it"));
    extra.chain(missing).collect()
}

#[test]
fn workspace_has_the_fixed_top_level() {
    assert_workspace_keeps(top_level);
}

#[test]
fn stray_and_missing_entries_are_found() {
    let mut files: Vec<(&str, &str)> = VISIBLE.iter().map(|name| (*name, "")).collect();
    files.push((".deny.toml", ""));
    assert_finds(top_level, &files, &[]);
    files.retain(|(name, _)| *name != "LICENSE");
    files.push(("docs/plan.md", ""));
    assert_finds(top_level, &files, &["docs:1", "LICENSE:1"]);
}
