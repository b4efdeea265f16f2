//! STYLE §2 between crates: what each may depend on.

use super::manifests::{Dependency, dependencies};
use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

/// The crates a manifest may name under `[dependencies]` and `[build-dependencies]`.
enum Allowed {
    /// These and no others.
    Only(&'static [&'static str]),
    /// Of our own crates these; of the rest, whatever has a reason in its commit.
    Ours(&'static [&'static str]),
}

use Allowed::{Only, Ours};

const EVERYTHING_BELOW: Allowed =
    Ours(&["quoit-proto-types", "quoit-core", "quoit-client", "quoit-certs", "quoit-node"]);
const FLOORS: [(&str, Allowed); 7] = [
    ("proto-types/Cargo.toml", Only(&["bytes", "postcard", "serde", "sha2", "thiserror", "xxhash-rust"])),
    (
        "node/core/Cargo.toml",
        Only(&[
            "bytes",
            "clru",
            "hashbrown",
            "quoit-proto-types",
            "rand",
            "serde",
            "thiserror",
            "tracing",
            "xxhash-rust",
        ]),
    ),
    ("certs/Cargo.toml", Ours(&[])),
    ("client/Cargo.toml", Ours(&["quoit-proto-types"])),
    ("node/Cargo.toml", Ours(&["quoit-proto-types", "quoit-core", "quoit-client", "quoit-certs"])),
    ("cluster-tests/Cargo.toml", EVERYTHING_BELOW),
    ("benches/Cargo.toml", EVERYTHING_BELOW),
];
/// Nothing may depend on these, not even in its tests.
const TOP: [&str; 2] = ["quoit-cluster-tests", "quoit-benches"];

fn crate_floors(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in tree.member_manifests() {
        let path = &manifest.path;
        let Some((_, allowed)) = FLOORS.iter().find(|(known, _)| known == path) else {
            let why = "every crate has a floor that says what it may depend on";
            findings.push(Finding::new(path, 1, "a crate without a floor", why, "add it to `FLOORS` in this rule"));
            continue;
        };
        for dependency in dependencies(&manifest.text()) {
            if !allows(allowed, &dependency) {
                let what = format!("`{}` may not be imported on this floor", dependency.name);
                let why = "imports point down only, and the lower floors stay pure";
                let remedy = "move the code that needs it up, or argue for the dependency in STYLE §2 and here";
                findings.push(Finding::new(path, dependency.line, what, why, remedy));
            }
        }
    }
    findings
}

fn allows(allowed: &Allowed, dependency: &Dependency) -> bool {
    let name = &*dependency.name;
    if dependency.is_dev {
        return !TOP.contains(&name);
    }
    match allowed {
        Only(names) => names.contains(&name),
        Ours(names) => !name.starts_with("quoit-") || names.contains(&name),
    }
}

#[test]
fn workspace_keeps_its_crates_on_their_floors() {
    assert_workspace_keeps(crate_floors);
}

#[test]
fn imports_that_point_up_are_found() {
    let files = [
        (
            "proto-types/Cargo.toml",
            "[dependencies]\nbytes.workspace = true\n[dev-dependencies]\nproptest.workspace = true",
        ),
        ("node/core/Cargo.toml", "[dependencies]\nrand.workspace = true\ntokio.workspace = true"),
        ("certs/Cargo.toml", "[build-dependencies]\nquoit-proto-types = { workspace = true }"),
        (
            "client/Cargo.toml",
            "[dependencies.quoit-core]\nworkspace = true\n[dev-dependencies]\nquoit-node.workspace = true",
        ),
        ("node/Cargo.toml", "[dev-dependencies]\nquoit-cluster-tests.workspace = true"),
        ("tools/Cargo.toml", ""),
    ];
    let expected = [
        "node/core/Cargo.toml:3",
        "certs/Cargo.toml:2",
        "client/Cargo.toml:1",
        "node/Cargo.toml:2",
        "tools/Cargo.toml:1",
    ];
    assert_finds(crate_floors, &files, &expected);
}
