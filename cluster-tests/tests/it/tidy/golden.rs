//! STYLE §§1, 11: pinned wire bytes and ring vectors change only on purpose.

use std::collections::BTreeMap;

use quoit_proto_types::{HashPoint, KeyspaceId};

use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

const GOLDEN: &str = "proto-types/tests/golden/";
/// One line per golden file: its hash, two spaces, its path.
const PINS: &str = "cluster-tests/tests/it/tidy/golden.pins";
const WHY: &str = "nodes and clients of different versions agree on these bytes";

fn golden(tree: &Tree) -> Vec<Finding> {
    let pins = tree.files.iter().find(|file| file.path == PINS).map(|file| file.text()).unwrap_or_default();
    let mut pinned: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (line, pin) in (1..).zip(pins.lines()) {
        let (hash, path) = pin.split_once("  ").unwrap_or(("", pin));
        pinned.insert(path, (line, hash));
    }
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.starts_with(GOLDEN)) {
        // The key hash does for this: it is fixed for ever, and pinned by golden vectors itself.
        let hash = HashPoint::of_key(KeyspaceId::DEFAULT, &file.bytes).to_string();
        let pin = format!("the line `{hash}  {}` in {PINS}", file.path);
        match pinned.remove(&*file.path) {
            Some((_, pinned)) if pinned == hash => {}
            Some(_) => {
                let remedy = format!("restore it; or bump the protocol version, say so in the commit, and write {pin}");
                findings.push(Finding::new(&file.path, 1, "differs from its pin", WHY, remedy));
            }
            None => findings.push(Finding::new(&file.path, 1, "is not pinned", WHY, format!("add {pin}"))),
        }
    }
    let gone = pinned.into_iter().map(|(path, (line, _))| {
        Finding::new(PINS, line, format!("pins `{path}`, which is gone"), WHY, "restore it; or delete this line")
    });
    findings.extend(gone);
    findings
}

#[test]
fn workspace_keeps_its_golden_files() {
    assert_workspace_keeps(golden);
}

#[test]
fn changed_new_and_lost_golden_files_are_found() {
    let hash = HashPoint::of_key(KeyspaceId::DEFAULT, b"golden");
    let pins = ["a", "b", "d"].map(|name| format!("{hash}  {GOLDEN}{name}")).join("\n");
    let files = [
        (PINS, &*pins),
        ("proto-types/tests/golden/a", "golden"),
        ("proto-types/tests/golden/b", "changed"),
        ("proto-types/tests/golden/c", "golden"),
    ];
    let expected = ["proto-types/tests/golden/b:1", "proto-types/tests/golden/c:1", &format!("{PINS}:3")];
    assert_finds(golden, &files, &expected);
    assert_finds(golden, &[], &[]);
}
