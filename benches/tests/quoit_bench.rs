//! The measuring programs end to end, tiny: bounded by operations, not by time, and nothing they measure is judged.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use quoit_benches::identities::Identities;
use serde_json::Value;

/// Longer than anything takes that works at all.
const PATIENCE: Duration = Duration::from_secs(60);

fn quoit_bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoit-bench"));
    command.env_remove("QUOIT_NODES").env_remove("QUOIT_CERTS").args(args);
    command
}

fn tiny_run(more: &[&str]) -> Output {
    let tiny = ["--callers", "4", "--operations", "2000", "--keys", "100", "--rounds", "2"];
    quoit_bench(&[&tiny, more].concat()).output().expect("the program was built with this test")
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn every_value_is_verified_and_every_number_reported() {
    let output =
        tiny_run(&["--value-size", "100,16..2000", "--key-size", "16", "--floor", "--connections", "2", "--json"]);
    let report: Value = serde_json::from_str(&succeeded(output)).unwrap();
    let cells = report["cells"].as_array().unwrap();
    let names: Vec<_> = cells.iter().map(|cell| (cell["subject"].as_str(), cell["value"].as_str())).collect();
    let of = |subject, value| (Some(subject), Some(value));
    let small = [of("quoit", "100 B"), of("floor", "100 B")];
    assert_eq!(names, [&small[..], &[of("quoit", "16–2000 B"), of("floor", "16–2000 B")]].concat());
    for cell in cells {
        assert_eq!((&cell["counts"]["reads"], &cell["counts"]["verified"]), (&4000.into(), &4000.into()));
        for number in [&cell["operations_per_second"]["median"], &cell["reads"]["p50_us"], &cell["reads"]["p9999_us"]] {
            assert!(number.as_f64().is_some_and(|number| number > 0.0), "{cell}");
        }
    }
    for fact in ["command", "machine", "not_measured"] {
        assert!(!report[fact].is_null(), "{fact}");
    }
}

#[test]
fn a_mix_in_an_open_loop_is_shown_as_tables_and_charts() {
    let text = succeeded(tiny_run(&["--op", "mix", "--rate", "20000", "--poisson", "--plot"]));
    for word in ["quoit", "made late", "p99.99", "100 of 100 keys read back", "command", "not measured", "█"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn two_copies_and_many_keys_at_once_are_read_as_they_were_written() {
    let more = ["--local", "2", "--op", "get-many", "--batch", "8", "--write-level", "all", "--json"];
    let report: Value = serde_json::from_str(&succeeded(tiny_run(&more))).unwrap();
    assert_eq!(report["cells"][0]["counts"]["verified"], 32_000);
}

#[test]
fn writes_that_were_only_claimed_are_called_lost() {
    for op in ["mix", "set"] {
        let output = tiny_run(&["--op", op, "--drop", "10%"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("LOST") && said.contains("--drop"), "{said}");
    }
}

#[test]
fn bad_input_is_named_and_nobody_who_answers_is_no_success() {
    let check = |args: &[&str], code: i32, word: &str| {
        let output = quoit_bench(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    };
    check(&["--value-size", "9..3"], 2, "no length");
    check(&["--value-size", "3"], 2, "at least 16");
    check(&["--floor", "--nodes", "127.0.0.1:1"], 2, "cannot be used with");
    check(&["--drop", "200%"], 2, "0 to 100 %");
    check(&["--rate", "0"], 2, "more than 0");
    check(&["--nodes", "127.0.0.1:1", "--certs", "/nowhere"], 4, "/nowhere");
}

#[test]
fn a_server_ends_when_nobody_holds_its_input() {
    let identities = Identities::create(1).unwrap();
    for subject in ["quoit", "floor"] {
        let mut command = quoit_bench(&["serve", subject, "--threads", "1", "--certs"]);
        command.arg(identities.node(0).unwrap()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("127.0.0.1:"), "{line}");
        drop(server.stdin.take());
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || sender.send(server.wait()));
        assert!(ended.recv_timeout(PATIENCE).unwrap().unwrap().success(), "{subject}");
    }
}

#[test]
fn a_server_that_cannot_start_ends_the_run() {
    let output = quoit_bench(&["serve", "quoit", "--threads", "1", "--certs", "/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere"), "{output:?}");
}

#[test]
fn hit_rates_are_measured_of_every_policy() {
    let args = ["--entries", "1000", "--accesses", "20000", "--runs", "1", "--only", "zipf-0.9,loop", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_hit_rate")).args(args).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let traces = report["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 2);
    let hits = |trace: usize, cache: &str| traces[trace]["caches"][cache]["hit_percent"].as_f64().unwrap();
    for cache in ["quoit", "quoit, plain LRU", "moka", "quick_cache", "clru alone"] {
        assert!((30.0..95.0).contains(&hits(0, cache)), "{cache}: {}", hits(0, cache));
    }
    // The worst case of LRU: every key has just left when it is asked for again.
    assert!(hits(1, "clru alone") < 0.1);
}
