//! STYLE §10: versions, metadata and lints stand once, in the root manifest.

use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "license"];
const WHY: &str = "there is one place for it, the root manifest";

/// One dependency of a manifest, under whatever target and table.
pub(super) struct Dependency {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) is_dev: bool,
    /// Whether version and source are left to `[workspace.dependencies]`.
    is_inherited: bool,
}

fn manifests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in tree.member_manifests() {
        let (path, text) = (&manifest.path, manifest.text());
        for dependency in dependencies(&text).into_iter().filter(|dependency| !dependency.is_inherited) {
            let name = &dependency.name;
            let remedy = format!("move its version to [workspace.dependencies] and write `{name}.workspace = true`");
            findings.push(Finding::new(path, dependency.line, format!("a version of `{name}`"), WHY, remedy));
        }
        for entry in entries(&text).iter().filter(|entry| entry.table == "package" && INHERITED.contains(&entry.key)) {
            let remedy = format!("write `{}.workspace = true`", entry.key);
            findings.push(Finding::new(path, entry.line, format!("its own `{}`", entry.key), WHY, remedy));
        }
        if !entries(&text).iter().any(|entry| (entry.table, entry.key, entry.value) == ("lints", "workspace", "true")) {
            findings.push(Finding::new(path, 1, "no lints", WHY, "add `[lints]` with `workspace = true`"));
        }
    }
    findings
}

/// Every dependency of the manifest, of all three kinds.
pub(super) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut dependencies: Vec<Dependency> = Vec::new();
    for entry in entries(manifest) {
        // `[dependencies.name]` spreads one dependency over a table of its own, headed by its first line.
        let (kind, table) = match entry.table.rsplit_once('.') {
            Some((kind, name)) if kind.ends_with("dependencies") => (kind, Some(name)),
            Some(_) | None => (entry.table, None),
        };
        if !kind.ends_with("dependencies") {
            continue;
        }
        let (name, setting) = entry.key.split_once('.').unwrap_or((entry.key, ""));
        let is_inherited = match table {
            Some(_) => entry.key == "workspace",
            None => setting == "workspace" || entry.value.contains("workspace = true"),
        };
        let (name, line) = match table {
            Some(name) => (name, entry.table_line),
            None => (name, entry.line),
        };
        match dependencies.last_mut().filter(|last| table.is_some() && last.line == line) {
            Some(last) => last.is_inherited |= is_inherited,
            None => dependencies.push(Dependency {
                line,
                name: name.trim_matches('"').to_owned(),
                is_dev: kind.ends_with("dev-dependencies"),
                is_inherited,
            }),
        }
    }
    dependencies
}

struct Entry<'a> {
    line: usize,
    table: &'a str,
    table_line: usize,
    key: &'a str,
    value: &'a str,
}

/// The `key = value` lines. A manifest of ours needs no more of TOML than that.
fn entries(manifest: &str) -> Vec<Entry<'_>> {
    let (mut table, mut table_line) = ("", 1);
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(manifest.lines().map(str::trim)) {
        if text.starts_with('[') && text.ends_with(']') {
            (table, table_line) = (text.trim_matches(['[', ']']), line);
        } else if let Some((key, value)) = text.split_once('=').filter(|_| !text.starts_with('#')) {
            entries.push(Entry { line, table, table_line, key: key.trim(), value: value.trim() });
        }
    }
    entries
}

#[test]
fn workspace_members_inherit() {
    assert_workspace_keeps(manifests);
}

#[test]
fn what_a_member_does_not_inherit_is_found() {
    let good = "[package]\nname = \"a\"\nversion.workspace = true\n[lints]\nworkspace = true\n[features]\ndefault = []\n\
        [dependencies]\nx.workspace = true\ny = { workspace = true, optional = true }\n[dependencies.z]\nworkspace = true";
    let bad = "[package]\nversion = \"1.0.0\"\n[dependencies]\nx = \"1\"\ny = { path = \"../y\" }\n\
        [target.'cfg(unix)'.dev-dependencies.z]\nversion = \"1\"\nfeatures = []";
    let expected = ["bad/Cargo.toml:4", "bad/Cargo.toml:5", "bad/Cargo.toml:6", "bad/Cargo.toml:2", "bad/Cargo.toml:1"];
    assert_finds(manifests, &[("good/Cargo.toml", good), ("bad/Cargo.toml", bad), ("Cargo.toml", bad)], &expected);
}
