//! STYLE §§2, 6, 9, 13: words that stand for something unfinished, unbounded or timed.

use super::code::{find_word, line_of, split};
use super::tree::{File, Tree};
use super::{Finding, assert_finds, assert_workspace_keeps};

/// A word that may not stand in code.
struct Banned {
    word: &'static str,
    why: &'static str,
    remedy: &'static str,
}

const UNFINISHED: &str = "unfinished work is not committed";
const VAGUE: &str = "a module is named for what it does, not for being left over";
const IN_CODE: [Banned; 14] = [
    Banned { word: "todo!", why: UNFINISHED, remedy: "finish it" },
    Banned { word: "unimplemented!", why: UNFINISHED, remedy: "finish it" },
    Banned { word: "#[ignore", why: "a test that does not run proves nothing", remedy: "fix it or delete it" },
    Banned { word: "#[should_panic", why: "any panic would satisfy it", remedy: "assert on the error" },
    Banned { word: "#[allow(", why: "it outlives its reason", remedy: "write `#[expect(.., reason = \"..\")]`" },
    Banned { word: "#![allow(", why: "it outlives its reason", remedy: "write `#[expect(.., reason = \"..\")]`" },
    Banned { word: "unbounded_channel", why: "every queue has a bound", remedy: "give it a named capacity" },
    Banned { word: "Other(String)", why: "a caller cannot tell such errors apart", remedy: "name the case" },
    Banned { word: "mod common", why: VAGUE, remedy: "name its one responsibility" },
    Banned { word: "mod helpers", why: VAGUE, remedy: "name its one responsibility" },
    Banned { word: "mod misc", why: VAGUE, remedy: "name its one responsibility" },
    Banned { word: "mod types", why: VAGUE, remedy: "name its one responsibility" },
    Banned { word: "mod util", why: VAGUE, remedy: "name its one responsibility" },
    Banned { word: "mod utils", why: VAGUE, remedy: "name its one responsibility" },
];
const IN_TEST_CODE: [Banned; 1] = [Banned {
    word: "sleep(",
    why: "a test that waits for a time is slow where it works and flaky where it does not",
    remedy: "wait for the state itself, with a deadline",
}];
const IN_COMMENTS: [&str; 6] = ["FIXME", "HACK", "TODO", "XXX", "for now", "```ignore"];

fn words(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(words_in).collect()
}

fn words_in(file: &File) -> Vec<Finding> {
    let split = split(&file.text());
    let mut findings = Vec::new();
    let mut find = |text: &str, from: usize, banned: &Banned| {
        for at in find_word(text, banned.word).into_iter().filter(|&at| at >= from) {
            let what = format!("`{}`", banned.word);
            findings.push(Finding::new(&file.path, line_of(text, at), what, banned.why, banned.remedy));
        }
    };
    for banned in &IN_CODE {
        find(&split.code, 0, banned);
    }
    let test_code = if file.is_test() { Some(0) } else { split.code.find("mod tests {") };
    for banned in IN_TEST_CODE.iter().filter(|_| test_code.is_some()) {
        find(&split.code, test_code.unwrap_or_default(), banned);
    }
    for word in IN_COMMENTS {
        find(
            &split.comments,
            0,
            &Banned { word, why: UNFINISHED, remedy: "finish it, or state the limit and its reason" },
        );
    }
    findings
}

#[test]
fn workspace_has_no_banned_word() {
    assert_workspace_keeps(words);
}

#[test]
fn banned_words_are_found() {
    let files = [
        ("client/src/a.rs", "fn a() { todo!() }\n#[allow(dead_code)]\n\n// Good enough for now.\nmod util;\n"),
        ("client/src/b.rs", "// `sleep(` is fine here\nfn a() { sleep(1); \"todo!\" }\nmod utility;\n"),
        ("client/src/tests.rs", "fn a() { tokio::time::sleep(1) }\n#[ignore]\n"),
        ("client/src/c.rs", "fn a() { sleep(1) }\nmod tests {\n    fn b() { sleep(1) }\n}\n"),
    ];
    let expected = [
        "client/src/a.rs:1",
        "client/src/a.rs:2",
        "client/src/a.rs:5",
        "client/src/a.rs:4",
        "client/src/tests.rs:2",
        "client/src/tests.rs:1",
        "client/src/c.rs:3",
    ];
    assert_finds(words, &files, &expected);
}
