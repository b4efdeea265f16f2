//! The workspace's own rules, as tests: layout, floors, sizes, words, manifests, pinned files.
//!
//! Each rule is one file with one function from a [`Tree`] to its [`Finding`]s, a test that the workspace has none, and a
//! test that a planted violation is found. The rules read text, they do not compile it: what the compiler and clippy can
//! see is left to them.

mod code;
mod crate_floors;
mod doc_links;
mod golden;
mod manifests;
mod missing_docs;
mod module_floors;
mod paths;
mod private_keys;
mod sizes;
mod top_level;
mod tree;
mod whitespace;
mod words;

use std::fmt;

use tree::Tree;

/// A place where a rule is broken, and the way out.
struct Finding {
    path: String,
    /// Counted from 1; a finding about the file as a whole is on line 1.
    line: usize,
    what: String,
    why: &'static str,
    remedy: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, why: &'static str, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), why, remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, why, remedy } = self;
        write!(f, "{path}:{line}: {what}: {why}; {remedy}")
    }
}

/// Fails with every finding that `rule` has about the workspace.
fn assert_workspace_keeps(rule: fn(&Tree) -> Vec<Finding>) {
    let findings: Vec<String> = rule(&Tree::of_workspace()).iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} to put right:\n{}", findings.len(), findings.join("\n"));
}

/// Asserts that `rule` finds exactly `expected`, each a `path:line`, in a tree made of `files`.
fn assert_finds(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)], expected: &[&str]) {
    let findings = rule(&Tree::of(files));
    let places: Vec<String> = findings.iter().map(|found| format!("{}:{}", found.path, found.line)).collect();
    assert_eq!(places, expected);
}
