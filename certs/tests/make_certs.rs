//! The `make-certs` binary as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `make-certs` in a folder.
fn make_certs(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_make-certs"))
        .args(words)
        .current_dir(folder)
        .env_remove("QUOIT_CERTS_DIR")
        .env_remove("QUOIT_CLUSTER")
        .output()
        .expect("the binary is built and runs")
}

/// Runs `make-certs`, which must succeed, and returns its standard output.
fn stdout(folder: &Path, words: &[&str]) -> String {
    let output = make_certs(folder, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

/// Runs `make-certs`, which must fail with this exit code, and returns its standard error.
fn stderr(folder: &Path, words: &[&str], code: i32) -> String {
    let output = make_certs(folder, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).expect("output is UTF-8")
}

/// Returns the first words of each line.
fn first_words<const N: usize>(text: &str) -> Vec<[&str; N]> {
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            std::array::from_fn(|_| words.next().unwrap_or_default())
        })
        .collect()
}

#[test]
fn no_arguments_make_a_local_set_that_checks() {
    let folder = tempfile::tempdir().unwrap();
    let output = make_certs(folder.path(), &[]);
    assert!(output.status.success());
    let made = String::from_utf8(output.stdout).unwrap();
    let folders = ["certs/ca/", "certs/n1/", "certs/n2/", "certs/n3/", "certs/client/", "certs/admin/"];
    assert_eq!(first_words(&made), folders.map(|folder| ["created", folder]));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap().trim(),
        "next: quoit node --certs certs/n1 --seeds 127.0.0.1:7750,127.0.0.1:7760,127.0.0.1:7770"
    );
    let again = stdout(folder.path(), &[]);
    assert_eq!(first_words(&again), folders.map(|folder| ["kept", folder]));
    let checked = stdout(folder.path(), &["check"]);
    assert_eq!(first_words(&checked), [["ok"]; 6]);
}

#[test]
fn names_cluster_hosts_and_days_are_the_users() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["a", "b", "--cluster", "prod", "--days", "90", "--host", "example.com,10.0.0.1", "--out", "x y"];
    stdout(folder.path(), &words);
    let listed = stdout(folder.path(), &["list", "--json", "--out", "x y"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let b = listed.as_array().unwrap().iter().find(|entry| entry["folder"] == "x y/b").unwrap();
    assert_eq!(b["identity"], "b.node.prod.quoit.internal");
    assert_eq!(b["role"], "node");
    assert_eq!(b["hosts"], serde_json::json!(["example.com", "10.0.0.1"]));
    assert_eq!(b["days_left"], 89);
    assert_eq!(b["fingerprint_sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn identities_are_added_later_and_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| stdout(folder.path(), words);
    let key = |name: &str| std::fs::read(folder.path().join("certs").join(name).join("tls.key")).unwrap();
    run(&["init", "--cluster", "prod"]);
    assert!(
        run(&["node", "n4", "n4.example.com", "--days", "10"]).contains("n4.node.prod.quoit.internal, n4.example.com")
    );
    assert!(run(&["client", "app"]).contains("app.client.prod.quoit.internal"));
    assert!(run(&["admin", "me"]).contains("me.admin.prod.quoit.internal"));
    let words = ["ok", "ok", "ok", "warning", "tls.crt", "try:"];
    assert_eq!(first_words(&run(&["check"])), words.map(|word| [word]));

    let before = key("n4");
    assert!(run(&["renew", "certs/n4/"]).contains("n4.node.prod.quoit.internal, n4.example.com"));
    assert_eq!(key("n4"), before);
    assert_eq!(first_words(&run(&["check"])), [["ok"]; 4]);
    assert_eq!(first_words(&run(&["renew"])), [["renewed"]; 3]);

    run(&["node", "n4", "--force"]);
    assert_ne!(key("n4"), before);
}

#[test]
fn a_failed_check_answers_no_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    stdout(folder.path(), &["n1"]);
    std::fs::copy(folder.path().join("certs/client/tls.key"), folder.path().join("certs/n1/tls.key")).unwrap();

    let output = make_certs(folder.path(), &["check", "certs/n1"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("try: make-certs renew n1"), "{text}");

    let output = make_certs(folder.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let n1 = reports.as_array().unwrap().iter().find(|report| report["folder"] == "certs/n1").unwrap();
    assert_eq!(n1["result"], "wrong");
    assert_eq!(n1["findings"][0]["remedy"], "make-certs renew n1");

    stdout(folder.path(), &["renew", "n1"]);
    stdout(folder.path(), &["check"]);
}

#[test]
fn a_node_may_be_named_like_a_verb() {
    let folder = tempfile::tempdir().unwrap();
    stdout(folder.path(), &["init"]);
    assert!(stdout(folder.path(), &["node", "list"]).contains("list.node.local.quoit.internal"));
    for words in [&["a", "list"] as &[_], &["--", "list"]] {
        let refused = stderr(folder.path(), words, 2);
        assert!(refused.contains("make-certs node list"), "{refused}");
    }
}

#[test]
fn bad_input_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (words, reason) in [
        (&["N1"] as &[_], "a-z"),
        (&["a", "a"], "two folders"),
        (&["ca"], "two folders"),
        (&["--", "client"], "make-certs node client"),
        (&["a", "--days", "3", "list"], "list comes first"),
        (&["node", "a"], "no certificates"),
        (&["--days", "0"], "1 to 7300"),
        (&["--host", "*.example.com"], "host name"),
        (&["--force", "node", "a"], "behind the verb node"),
        (&["node"], "NAME"),
        (&["list"], "no certificates"),
        (&["check"], "no certificates"),
        (&["check", "n1"], "no folder"),
        (&["renew", "n1"], "no certificates"),
    ] {
        let refused = stderr(folder.path(), words, 2);
        assert!(refused.contains(reason), "{words:?}: {refused}");
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn errors_say_what_why_and_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    stdout(folder.path(), &["init"]);
    let refused = stderr(folder.path(), &["--cluster", "prod"], 2);
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(lines[0], "error: cannot use the authority in certs/ca");
    assert_eq!(lines[1], "  why: it is for cluster local, not prod");
    assert!(lines[2].starts_with("  try: "), "{refused}");
}

#[test]
fn completions_and_manual_pages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(folder.path(), &["completions", shell]).contains("renew"));
    }
    assert!(stdout(folder.path(), &["man"]).contains(".TH make-certs"));
    stdout(folder.path(), &["man", "pages"]);
    assert!(folder.path().join("pages/make-certs-renew.1").exists());
}
