//! STYLE §1: no key is ever committed.

use super::code::line_of;
use super::tree::{File, Tree};
use super::{Finding, assert_finds, assert_workspace_keeps};

const WHY: &str = "whoever reads the repository would hold it";
const KEY_FILES: [&str; 4] = [".key", ".p12", ".p8", ".pfx"];
/// Shorter than the contents of any key; code and prose may name the marker that begins a key.
const CONTENTS_LEN_MIN: usize = 32;

fn private_keys(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter_map(private_key).collect()
}

fn private_key(file: &File) -> Option<Finding> {
    let remedy = "delete it, and let the test or the demo make its own certificates";
    if KEY_FILES.iter().any(|ending| file.path.ends_with(ending)) {
        return Some(Finding::new(&file.path, 1, "a key file", WHY, remedy));
    }
    let text = file.text();
    let marker = "PRIVATE KEY-----";
    let holds_contents = |after: &str| {
        // Between marker and contents: line ends, written out or escaped, and whatever joins a literal over lines.
        let contents = after.replace("\\n", " ").replace("\\r", " ");
        let contents = contents.trim_start_matches(|c: char| c.is_whitespace() || "\"\\+,".contains(c));
        contents.chars().take_while(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c)).count() >= CONTENTS_LEN_MIN
    };
    let at = text.match_indices(marker).map(|(at, _)| at).find(|at| {
        let end = at + marker.len();
        holds_contents(&text[end..])
    })?;
    Some(Finding::new(&file.path, line_of(&text, at), "a private key", WHY, remedy))
}

#[test]
fn workspace_holds_no_private_key() {
    assert_workspace_keeps(private_keys);
}

#[test]
fn keys_are_found() {
    // Put together here, or this file would be found itself.
    let begin = format!("-----BEGIN {} KEY-----", "PRIVATE");
    let contents = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let files = [
        ("certs/src/pem.rs", &*format!("const MARKER: &str = \"{begin}\";\nfn is_key() -> bool {{ true }}\n")),
        ("certs/src/sample.rs", &*format!("\nconst KEY: &str = \"{begin}\\n{contents}\";\n")),
        ("node/testdata/tls.pem", &*format!("\n{begin}\n{contents}\n")),
        ("node/testdata/tls.key", ""),
    ];
    let expected = ["certs/src/sample.rs:2", "node/testdata/tls.pem:2", "node/testdata/tls.key:1"];
    assert_finds(private_keys, &files, &expected);
}
