//! The `quoit` binary as a shell sees it: what it reads, where it writes, how it ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, SystemTime},
};

use quoit_certs::{CertsDir, Identity, Overwrite, Role};
use tempfile::TempDir;

/// How long a node may take to say what it must say.
const DEADLINE: Duration = Duration::from_secs(60);

/// `quoit` in `folder`, with an environment of its own.
fn quoit(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoit"));
    command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command.env_clear().env("XDG_CONFIG_HOME", folder).env("XDG_STATE_HOME", folder);
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A folder with the certificates of a node, `n1`, of a client and of an administrator.
fn folder_with_certificates() -> TempDir {
    let folder = folder();
    let now = SystemTime::now();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).expect("a folder in it");
    let dir = CertsDir::open(certs).expect("a folder for certificates");
    let cluster = "local".parse().expect("a valid name");
    let authority = dir.init(Some(&cluster), None, now, Overwrite::Keep).expect("an authority").authority;
    for (role, name) in [(Role::Node, "n1"), (Role::Client, "client"), (Role::Admin, "admin")] {
        let identity = Identity::new(role, name.parse().expect("a valid name"), cluster.clone());
        dir.issue(&authority, &identity, &[], None, now, Overwrite::Keep).expect("a certificate");
    }
    folder
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

/// Checks the exit code and a part of each output.
fn check(command: &mut Command, code: i32, stdout: &str, stderr: &str) {
    let Output { status, stdout: out, stderr: err } = command.output().expect("it runs");
    let (out, err) = (text(&out), text(&err));
    let told = format!("{command:?}: {status}\n{out}\n{err}");
    assert_eq!(status.code(), Some(code), "{told}");
    assert!(out.contains(stdout) && err.contains(stderr), "{told}");
}

/// What `quoit config show` says of `key`, as value and origin.
fn shown(command: &mut Command, key: &str) -> (String, String) {
    let out = command.output().expect("it runs").stdout;
    let row = text(&out).lines().find_map(|line| line.strip_prefix(&format!("{key}\t")).map(str::to_owned));
    let row = row.expect("every setting is shown");
    let (value, origin) = row.split_once('\t').expect("three columns");
    (value.into(), origin.into())
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let folder = folder();
    fs::write(folder.path().join("node.toml"), "vnodes = 1\nmax_value = \"2MiB\"\ncerts = \"in-file\"\n").unwrap();
    let show = |line: &str, variables: &[(&str, &str)], key: &str| {
        let line = format!("config show -o raw --config node.toml {line}");
        shown(quoit(folder.path(), &line).envs(variables.iter().copied()), key)
    };
    let check = |found: (String, String), value: &str, origin: &str| assert_eq!(found, (value.into(), origin.into()));
    check(show("", &[], "vnodes"), "1", "file");
    check(show("", &[("QUOIT_VNODES", "2")], "vnodes"), "2", "env");
    check(show("--vnodes 3", &[("QUOIT_VNODES", "2")], "vnodes"), "3", "flag");
    check(show("--vnodes 3", &[], "max_value"), "2MiB", "file");
    check(show("", &[], "memory"), "512MiB", "default");
    check(show("", &[], "certs"), "in-file", "file");
    check(show("", &[("QUOIT_CERTS", "in-env")], "certs"), "in-env", "env");
    check(show("--certs typed", &[("QUOIT_CERTS", "in-env")], "certs"), "typed", "flag");
    check(show("", &[("QUOIT_SEEDS", "a:1,b:2")], "seeds"), "a:1,b:2", "env");
}

#[test]
fn files_are_found_by_flag_or_variable_and_checked_with_line_and_column() {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("unknown.toml", "vnodes = 1\nmemroy = \"1GiB\"\n");
    write("broken.toml", "vnodes = 1\nmemory = \"1MiB\"\n");
    let quoit = |line: &str| quoit(folder.path(), line);
    check(&mut quoit("config check unknown.toml"), 2, "", "line 2, column 1");
    check(&mut quoit("config check broken.toml"), 2, "", "broken.toml:2:10");
    check(&mut quoit("config check missing.toml"), 2, "", "cannot read missing.toml");
    check(quoit("config check").env("QUOIT_CONFIG", "unknown.toml"), 2, "", "unknown field `memroy`");
    check(&mut quoit("node --config unknown.toml"), 2, "", "unknown field `memroy`");
    check(&mut quoit("config show --max-value 17MiB"), 2, "", "--max-value cannot be used");
    check(quoit("config show").env("QUOIT_MAX_VALUE", "17MiB"), 2, "", "QUOIT_MAX_VALUE cannot be used");

    write("sample.toml", text(&quoit("config sample").output().unwrap().stdout));
    check(&mut quoit("config check sample.toml"), 0, "", "ok: sample.toml");
}

#[test]
fn contexts_are_kept_from_one_command_to_the_next() {
    let folder = folder();
    let quoit = |line: &str| quoit(folder.path(), line);
    check(&mut quoit("context add prod --nodes a.invalid:1 --certs c"), 0, "", "quoit context select prod");
    check(&mut quoit("context add prod --nodes b.invalid:1"), 2, "", "already");
    check(&mut quoit("context select prod"), 0, "", "");
    check(&mut quoit("context ls -o csv"), 0, "prod,true,a.invalid:1,", "");
    check(&mut quoit("get key"), 2, "", "there is no folder");
    check(&mut quoit("get key --context test"), 2, "", "there is no context called test");
    check(&mut quoit("context rm prod"), 0, "", "");
    check(&mut quoit("context rm prod"), 2, "", "there is no context called prod");
}

#[test]
fn a_context_that_is_typed_goes_before_the_environment() {
    let folder = folder_with_certificates();
    let quoit = |line: &str| quoit(folder.path(), line);
    check(&mut quoit("context add other --nodes other.invalid:1 --certs certs"), 0, "", "");
    let mut get = quoit("get key --timeout 300ms --context other");
    check(get.env("QUOIT_NODES", "variable.invalid:1"), 3, "", "other.invalid:1");
    let mut get = quoit("get key --timeout 300ms");
    check(get.envs([("QUOIT_NODES", "variable.invalid:1"), ("QUOIT_CONTEXT", "other")]), 3, "", "variable.invalid:1");
}

#[test]
fn certificates_that_do_not_serve_are_named() {
    let folder = folder_with_certificates();
    let quoit = |line: &str| quoit(folder.path(), line);
    check(&mut quoit("node"), 2, "", "try: make-certs");
    check(&mut quoit("node --certs certs/client --listen 127.0.0.1:0"), 2, "", "not of a node");
    check(&mut quoit("get key --certs certs/n1"), 4, "", "not of a client");
    check(&mut quoit("get key --certs nowhere"), 2, "", "try: make-certs");
}

#[test]
fn operating_the_cluster_takes_an_administrator() {
    let folder = folder_with_certificates();
    let quoit = |line: &str| quoit(folder.path(), &format!("{line} --nodes 127.0.0.1:1 --timeout 300ms"));
    for line in [
        "status",
        "status --check",
        "view log",
        "view show",
        "view diff 1 2",
        "drain n1",
        "force-out n1",
        "transfer",
        "recover --from-survivor",
    ] {
        check(&mut quoit(&format!("{line} --certs certs/client")), 4, "", "the certificate of an administrator");
        check(&mut quoit(&format!("{line} --certs certs/n1")), 4, "", "--certs certs/admin");
        // Of several identities the administrator's is taken, so that it gets as far as the network.
        check(&mut quoit(line), 3, "", "127.0.0.1:1");
    }
}

#[test]
fn a_node_needs_a_folder_for_its_state() {
    let folder = folder_with_certificates();
    let mut stateless = quoit(folder.path(), "node --certs certs/n1 --listen 127.0.0.1:0");
    check(stateless.env_remove("XDG_STATE_HOME"), 2, "", "--data DIR");
    check(&mut quoit(folder.path(), "node --certs certs/n1 --out-after 100ms"), 2, "", "--out-after cannot be used");
}

#[test]
fn usage_errors_say_what_would_do() {
    let folder = folder();
    let quoit = |line: &str| quoit(folder.path(), line);
    check(&mut quoit("--help"), 0, "Exit codes:", "");
    for command in ["status", "view", "drain", "force-out", "transfer", "recover"] {
        check(&mut quoit("--help"), 0, &format!("\n  {command} "), "");
        check(&mut quoit(&format!("{command} --help")), 0, "Usage: quoit ", "");
    }
    check(&mut quoit("recover"), 2, "", "--from-survivor");
    check(&mut quoit("status --watch=0"), 2, "", "1..=3600");
    check(&mut quoit("status --watch --check"), 2, "", "cannot be used with");
    check(&mut quoit("view diff 0 4"), 2, "", "a number from 1");
    check(&mut quoit("drain N_1"), 2, "", "N_1");
    check(&mut quoit(""), 2, "", "make-certs");
    check(&mut quoit("gett key"), 2, "", "similar subcommand");
    check(&mut quoit("get key --timeout soon"), 2, "", "write 90s");
    check(&mut quoit("get key --nodes localhost"), 2, "", "write HOST:PORT");
    check(&mut quoit("node --nodes a:1"), 2, "", "--seeds");
    check(quoit("get key").env("QUOIT_LOG", "quoit=loud"), 2, "", "QUOIT_LOG=info");
}

#[test]
fn completions_and_manual_pages_are_written() {
    let folder = folder();
    let quoit = |line: &str| quoit(folder.path(), line);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        check(&mut quoit(&format!("completions {shell}")), 0, "drain-timeout", "");
    }
    check(&mut quoit("man"), 0, ".TH quoit", "");
    check(&mut quoit("man --dir pages"), 0, "", "");
    let node = fs::read_to_string(folder.path().join("pages/quoit-node.1")).unwrap();
    assert!(node.contains("drain\\-timeout"));
}

#[test]
fn a_reader_who_has_read_enough_ends_it_quietly() {
    let folder = folder();
    let mut child =
        quoit(folder.path(), "config sample").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), ""));
}

#[test]
fn an_interrupted_command_ends_with_130() {
    let folder = folder_with_certificates();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut child = quoit(folder.path(), &format!("get key --timeout 10m --nodes {address}")).spawn().unwrap();
    // It has begun.
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    silent.recv(&mut [0; 2048]).unwrap();
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_node_serves_until_it_is_told_to_stop() {
    let folder = folder_with_certificates();
    let address = free_address();
    let mut node = Node::start(folder.path(), &address);
    node.wait_for("ready");
    let quoit = |line: &str| quoit(folder.path(), &format!("{line} --nodes {address}"));
    check(&mut quoit("set greeting hello"), 0, "", "");
    check(&mut quoit("get greeting"), 0, "hello", "");
    check(&mut quoit("get farewell"), 1, "", "");
    check(&mut quoit("status --check"), 0, "ok: 1 of 1 members up, epoch 1, coordinator n1", "");
    check(&mut quoit("status"), 0, "1 of 1 voters heard, 1 needed", "");
    check(&mut quoit("status -o csv"), 0, "name,state,role,address", "");
    check(&mut quoit("view log"), 0, "cluster formed", "");
    check(&mut quoit("view show 1"), 0, "epoch        1, by n1", "");
    check(&mut quoit("view show 9"), 1, "", "the latest is epoch 1");
    check(&mut quoit("explain greeting --certs certs/admin"), 0, "since  epoch 1, ", "");
    check(&mut quoit("drain n1"), 5, "", "n1 is needed");
    check(&mut quoit("drain n9"), 5, "", "no member called n9");
    check(&mut quoit("recover --from-survivor --yes"), 1, "", "a majority of the voters answers");
    signal(&node.child, "HUP");
    check(&mut quoit("get greeting"), 0, "hello", "");
    signal(&node.child, "TERM");
    node.wait_for("stopped");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

/// A port that nobody has, and that hardly anybody takes before the node does.
fn free_address() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("it is bound").to_string()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

fn node_on(folder: &Path, address: &str) -> Command {
    quoit(folder, &format!("node --certs certs/n1 --log-format json --listen {address}"))
}

/// A node in a process of its own, and the lines it logs.
struct Node {
    child: Child,
    log: Receiver<String>,
}

impl Node {
    fn start(folder: &Path, address: &str) -> Self {
        let mut child = node_on(folder, address).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("its log is piped")).lines();
        let (sender, log) = mpsc::sync_channel(1000);
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, log }
    }

    /// Reads the log up to an event.
    fn wait_for(&self, event: &str) {
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|line: &String| line.contains(&format!("\"event\":\"{event}\""))) {
            match self.log.recv_timeout(DEADLINE) {
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: no {event} in {seen:#?}"),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
