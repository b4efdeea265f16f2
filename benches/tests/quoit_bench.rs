//! `quoit-bench` end to end, tiny: bounded by operations, not by time, and nothing it measures is judged.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Result;
use serde_json::Value;

/// Longer than anything takes that works at all.
const PATIENCE: Duration = Duration::from_secs(60);

fn quoit_bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoit-bench"));
    command.args(args);
    command
}

fn tiny_run(more: &[&str]) -> Result<String> {
    let tiny = ["--callers", "4", "--operations", "2000", "--keys", "100", "--rounds", "2"];
    let output = quoit_bench(&[&tiny, more].concat()).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn every_value_is_verified_and_every_number_reported() {
    let report: Value = serde_json::from_str(&tiny_run(&["--value", "100,1000", "--json"]).unwrap()).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.iter().map(|cell| cell["value_bytes"].as_u64()).collect::<Vec<_>>(), [Some(100), Some(1000)]);
    for summary in cells.iter().flat_map(|cell| [&cell["quoit"], &cell["floor"]]) {
        assert_eq!((&summary["operations"], &summary["verified"]), (&4000.into(), &4000.into()));
        for number in ["operations_per_second", "p50_us", "p99_us", "p999_us"] {
            assert!(summary[number]["median"].as_f64().is_some_and(|number| number > 0.0), "{number}: {summary}");
        }
    }
    for fact in ["command", "machine", "not_measured"] {
        assert!(!report[fact].is_null(), "{fact}");
    }
}

#[test]
fn a_mix_is_shown_as_a_table() {
    let table = tiny_run(&["--op", "mix"]).unwrap();
    for word in ["quoit", "floor", "p99.9", "command", "not measured"] {
        assert!(table.contains(word), "{word}: {table}");
    }
}

#[test]
fn a_server_ends_when_nobody_holds_its_input() {
    let certs = quoit_benches::identities::Identities::create().unwrap();
    for subject in ["quoit", "floor"] {
        let mut command = quoit_bench(&["serve", subject, "--threads", "1", "--certs"]);
        let server = command.arg(certs.folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut server = server.unwrap();
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
