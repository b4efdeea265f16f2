//! STYLE §8: what the prose points at exists.

use std::path::{Component, Path};

use super::code::line_of;
use super::tree::{File, Tree};
use super::{Finding, assert_finds, assert_workspace_keeps};

fn doc_links(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.path.ends_with(".md")).flat_map(|file| dead_links(tree, file)).collect()
}

fn dead_links(tree: &Tree, file: &File) -> Vec<Finding> {
    let text = file.text();
    let mut findings = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', ' ', '\n']).next().unwrap_or_default();
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, _anchor) = target.split_once('#').unwrap_or((target, ""));
        if !path.is_empty() && !exists(tree, &resolved(&file.path, path)) {
            let what = format!("a link to `{path}`, which is not there");
            let why = "a reader who follows it is lost";
            findings.push(Finding::new(&file.path, line_of(&text, at), what, why, "correct it, relative to this file"));
        }
    }
    findings
}

/// `link` as a path from the root, as the file at `from` means it.
fn resolved(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for component in Path::new(link).components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => _ = parts.pop(),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => parts.clear(),
        }
    }
    parts.join("/")
}

fn exists(tree: &Tree, path: &str) -> bool {
    let is_inside = |file: &str| file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path.is_empty() || tree.files.iter().any(|file| is_inside(&file.path))
}

#[test]
fn workspace_has_no_dead_link() {
    assert_workspace_keeps(doc_links);
}

#[test]
fn dead_links_are_found() {
    let files = [
        ("README.md", "[a](LICENSE) [b](https://example.org/x) [c](#limits)\n[d](client/src#x) [e](docs/plan.md)\n"),
        (".github/CONTRIBUTING.md", "[f](../README.md)\n\n[g](README.md)\n"),
        ("LICENSE", ""),
        ("client/src/lib.rs", ""),
    ];
    assert_finds(doc_links, &files, &["README.md:2", ".github/CONTRIBUTING.md:3"]);
}
