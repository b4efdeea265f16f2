//! STYLE §10: text files are clean where `cargo fmt` does not look.

use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

const ENDINGS: [&str; 7] = [".rs", ".toml", ".md", ".yml", ".ci/run", ".gitignore", "LICENSE"];
const WHY: &str = "what cannot be seen makes noise in every later diff";

fn whitespace(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| ENDINGS.iter().any(|ending| file.path.ends_with(ending))) {
        let text = file.text();
        for (line, content) in (1..).zip(text.split('\n')) {
            if content.ends_with(char::is_whitespace) {
                findings.push(Finding::new(&file.path, line, "whitespace at the end", WHY, "delete it"));
            } else if content.contains('\t') {
                findings.push(Finding::new(&file.path, line, "a tab", WHY, "write spaces, or `\\t` in a literal"));
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            let last = text.lines().count();
            findings.push(Finding::new(&file.path, last, "does not end in one line end", WHY, "end it in one"));
        }
    }
    findings
}

#[test]
fn workspace_has_no_stray_whitespace() {
    assert_workspace_keeps(whitespace);
}

#[test]
fn stray_whitespace_is_found() {
    let files = [
        ("a.rs", "fn a() {}\n"),
        ("b.rs", "fn a() {} \n\tb\r\nc"),
        ("c.md", "# C\n\n"),
        ("testscripts/d", "out: \n"),
        ("e.rs", ""),
    ];
    assert_finds(whitespace, &files, &["b.rs:1", "b.rs:2", "b.rs:3", "c.md:2"]);
}
