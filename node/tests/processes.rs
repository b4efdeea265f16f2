//! Real `quoit` processes: the three-node start of the README, killed, frozen and stopped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{BufRead, BufReader},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant, SystemTime},
};

use quoit_certs::{CertsDir, Identity, Overwrite, Role};
use quoit_client::{Client, ClientConfig};
use tempfile::TempDir;

/// Longer than anything takes that works at all.
const PATIENCE: Duration = Duration::from_secs(60);

struct Processes {
    folder: TempDir,
    seeds: Vec<String>,
    nodes: Vec<Child>,
}

impl Drop for Processes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

impl Processes {
    /// Starts `count` nodes and waits until each says that it is ready.
    fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certs = CertsDir::create(folder.path()).unwrap();
        let authority = certs.init(None, None, SystemTime::now(), Overwrite::Keep).unwrap().authority;
        let issue = |role, name: &str| {
            let identity = Identity::new(role, name.parse().unwrap(), authority.cluster().clone());
            certs.issue(&authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep).unwrap();
        };
        issue(Role::Client, "client");
        issue(Role::Admin, "admin");
        let seeds = (0..count).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let mut all = Self { folder, seeds, nodes: Vec::new() };
        for index in 0..count {
            issue(Role::Node, &format!("n{}", index + 1));
            let node = all.spawn_node(index);
            all.nodes.push(node);
        }
        for node in &mut all.nodes {
            let mut lines = BufReader::new(node.stderr.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("ready")), "a node ended before it was ready");
            // Keeps the pipe empty, so that the node can go on logging.
            std::thread::spawn(move || lines.for_each(drop));
        }
        all
    }

    fn certs(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn_node(&self, index: usize) -> Child {
        self.node_command(index).spawn().unwrap()
    }

    fn node_command(&self, index: usize) -> Command {
        let mut command = quoit(self.folder.path());
        command.args(["node", "--log-format", "json", "--memory", "64MiB", "--listen", &self.seeds[index]]);
        command.args(["--seeds", &self.seeds.join(",")]).arg("--certs").arg(self.certs(&format!("n{}", index + 1)));
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        command
    }

    /// Runs a command again until it succeeds and says `expected`.
    fn until(&self, args: &[&str], expected: &str) -> String {
        let started = Instant::now();
        loop {
            let output = self.run(args);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && said.contains(expected) {
                return said;
            }
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(started.elapsed() < PATIENCE, "{args:?} never said `{expected}`, but: {said}{why}");
        }
    }

    /// Runs a client command to its end.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = quoit(self.folder.path());
        command.env("QUOIT_NODES", self.seeds.join(",")).env("QUOIT_CERTS", self.folder.path());
        command.args(args).output().unwrap()
    }

    fn signal(&self, index: usize, signal: &str) {
        let pid = self.nodes[index].id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

/// A port that nobody uses, from below those that the system hands out to others, and not the same twice.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 200).unwrap() * 100;
    let mut candidates = std::iter::from_fn(|| Some(first + NEXT.fetch_add(1, Ordering::Relaxed) % 100));
    candidates.find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// The binary under test, far from any configuration of whoever runs the tests.
fn quoit(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoit"));
    let ours = |name: &str| name.starts_with("QUOIT_") || name.starts_with("XDG_");
    std::env::vars().filter(|(name, _)| ours(name)).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.current_dir(home).env("HOME", home).stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Waits for a process that must end by itself.
fn wait(child: &mut Child) -> std::process::ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(started.elapsed() < PATIENCE, "it did not end");
        std::thread::yield_now();
    }
}

#[test]
fn three_nodes_hold_what_is_set_and_a_killed_one_takes_nothing_with_it() {
    let mut cluster = Processes::start(3);
    let keys: Vec<String> = (0..30).map(|i| format!("key:{i}")).collect();
    for key in &keys {
        stdout(&cluster.run(&["set", key, "value"]));
    }
    cluster.nodes[1].kill().unwrap();
    cluster.nodes[1].wait().unwrap();
    let mut its_own = 0;
    for key in &keys {
        let owner = stdout(&cluster.run(&["explain", key, "--json"]));
        its_own += usize::from(owner.contains("\"n2\""));
        assert_eq!(stdout(&cluster.run(&["get", key, "--timeout", "2s"])), "value");
        stdout(&cluster.run(&["set", key, "another", "--timeout", "2s"]));
        assert_eq!(stdout(&cluster.run(&["get", key, "--timeout", "2s"])), "another");
        if its_own == 2 {
            break;
        }
    }
    assert_eq!(its_own, 2, "n2 owns about two thirds of the keys");
}

#[test]
fn a_frozen_node_keeps_no_read_from_its_answer() {
    let cluster = Processes::start(3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = ClientConfig::new(cluster.certs("client"), &cluster.seeds).unwrap().connect_timeout(PATIENCE);
        let patient = Client::connect(config.clone().request_timeout(PATIENCE)).await.unwrap();
        let keys: Vec<String> = (0..600).map(|i| format!("key:{i}")).collect();
        for key in &keys {
            patient.set(key, "value").await.unwrap();
        }
        let hasty = Client::connect(config.request_timeout(Duration::from_millis(1500))).await.unwrap();
        // Connects to every node while all of them answer.
        assert!(hasty.get_many(&keys).await.into_iter().all(|value| value.unwrap().is_some()));
        cluster.signal(2, "-STOP");
        let mut its_own = 0;
        for (key, result) in keys.iter().zip(hasty.get_many(&keys).await) {
            its_own += usize::from(hasty.explain(key).unwrap().owners[0] == "n3");
            assert_eq!(result.unwrap().as_deref(), Some(&b"value"[..]), "{key}");
        }
        assert!(its_own > 0, "some keys are asked of n3 first");
        // Its owners are not asked for a write of which nobody knows whether it was made: it is made or fails, and in time.
        let own = keys.iter().find(|key| hasty.explain(key).unwrap().owners[0] == "n3").unwrap();
        match hasty.set(own, "value").await {
            Ok(_) => {}
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        cluster.signal(2, "-CONT");
        assert!(patient.get_many(&keys).await.into_iter().all(|value| value.unwrap().is_some()), "nothing was lost");
    });
}

#[test]
fn a_node_stops_cleanly_when_it_is_told_to() {
    let mut cluster = Processes::start(1);
    cluster.signal(0, "-TERM");
    assert_eq!(wait(&mut cluster.nodes[0]).code(), Some(0));
}

#[test]
fn an_administrator_hands_over_drains_and_removes() {
    let mut cluster = Processes::start(4);
    cluster.until(&["status", "--check"], "ok: 4 of 4 members up");
    // Whoever formed the cluster.
    cluster.until(&["transfer", "n1"], "n1 coordinates");
    assert!(stdout(&cluster.run(&["transfer", "n2"])).contains("n2 coordinates"));
    cluster.until(&["status", "--json"], "\"coordinator\": \"n2\"");
    assert!(stdout(&cluster.run(&["drain", "n4"])).contains("n4 is no member any more"));
    assert_eq!(wait(&mut cluster.nodes[3]).code(), Some(0), "who has left ends by itself");

    let refused = cluster.run(&["force-out", "n3"]);
    assert_eq!(refused.status.code(), Some(5), "who is up is not removed by force");
    cluster.nodes[2].kill().unwrap();
    cluster.nodes[2].wait().unwrap();
    cluster.until(&["status"], "n3 is down since ");
    assert_eq!(cluster.run(&["status", "--check"]).status.code(), Some(1));
    assert!(stdout(&cluster.run(&["force-out", "n3"])).contains("n3 is no member any more"));

    let log = stdout(&cluster.run(&["view", "log"]));
    for told in ["cluster formed", "n2 elected coordinator", "n4 to leave, drained by admin", "n3 down", "n3 removed"] {
        assert!(log.contains(told), "{told} in {log}");
    }
    let last = log.lines().last().unwrap().split_whitespace().next().unwrap();
    let diff = stdout(&cluster.run(&["view", "diff", "1", last]));
    for told in ["- n3 (", "- n4 (", "slots have another primary", "forced out by admin"] {
        assert!(diff.contains(told), "{told} in {diff}");
    }
}

#[test]
fn a_lone_survivor_becomes_a_cluster_when_an_administrator_says_so() {
    let mut cluster = Processes::start(3);
    cluster.until(&["status", "--check"], "ok: 3 of 3 members up");
    let refused = cluster.run(&["recover", "--from-survivor", "--yes"]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    for index in [0, 1] {
        cluster.nodes[index].kill().unwrap();
        cluster.nodes[index].wait().unwrap();
    }
    cluster.until(&["status"], "no quorum: 1 of the voters heard, 2 are needed");
    let unconfirmed = cluster.run(&["recover", "--from-survivor", "n3"]);
    assert_eq!(unconfirmed.status.code(), Some(2), "nobody is there to confirm it");
    assert!(stdout(&cluster.run(&["recover", "--from-survivor", "n3", "--yes"])).contains("1 of 1 members"));
    cluster.until(&["status", "--check"], "ok: 1 of 1 members up");
    cluster.until(&["set", "greeting", "hello", "-o", "table"], "OK");
}

#[test]
fn a_port_in_use_is_named_with_a_remedy() {
    let cluster = Processes::start(1);
    let mut second = cluster.node_command(0);
    // A folder of its own: who shares one is refused for that.
    second.arg("--data").arg(cluster.folder.path().join("other"));
    let second = second.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&cluster.seeds[0]) && said.contains("in use") && said.contains("--listen"), "{said}");
}
