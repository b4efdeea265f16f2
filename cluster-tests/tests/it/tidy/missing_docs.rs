//! STYLE §10: the crates that others build on document every public item.

use super::code::split;
use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

const DOCUMENTED: [&str; 3] = ["client/src/lib.rs", "node/core/src/lib.rs", "proto-types/src/lib.rs"];

fn missing_docs(tree: &Tree) -> Vec<Finding> {
    let undocumented = tree.files.iter().filter(|file| DOCUMENTED.contains(&&*file.path)).filter(|file| {
        let code = split(&file.text()).code;
        !code.contains("#![deny(missing_docs)]") && !code.contains("#![forbid(missing_docs)]")
    });
    let why = "others build on this crate, and read its items one by one";
    undocumented
        .map(|file| Finding::new(&file.path, 1, "items may lack docs", why, "add `#![deny(missing_docs)]`"))
        .collect()
}

#[test]
fn workspace_denies_missing_docs() {
    assert_workspace_keeps(missing_docs);
}

#[test]
fn a_crate_that_lets_docs_be_missing_is_found() {
    let files = [
        ("client/src/lib.rs", "//! A client.\n#![deny(missing_docs)]\n"),
        ("proto-types/src/lib.rs", "// #![deny(missing_docs)]\n"),
        ("benches/src/lib.rs", ""),
    ];
    assert_finds(missing_docs, &files, &["proto-types/src/lib.rs:1"]);
}
