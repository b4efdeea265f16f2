//! STYLE §2 inside crates: which modules may name what.

use super::code::split;
use super::paths::{absolute, names, paths};
use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

/// Paths that some of the modules may not name. Tests are exempt: they may reach for what they like.
struct Ban {
    holds_in: fn(&str) -> bool,
    names: &'static [&'static str],
    why: &'static str,
    remedy: &'static str,
}

const BANS: [Ban; 5] = [
    Ban {
        holds_in: |path| is_under(path, &["proto-types/src/", "node/core/src/"]),
        names: &[
            "std::env",
            "std::fs",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "quinn",
            "rustls",
            "tokio",
        ],
        why: "floors 0 and 1 are pure: the same inputs give the same outputs, without a machine around them",
        remedy: "take it as an argument, or return an output for the driver to carry out",
    },
    Ban {
        holds_in: |path| is_under(path, &["node/src/"]) && !is_under(path, &["node/src/transport/"]),
        names: &["quinn", "rustls"],
        why: "only the node's transport knows what carries its bytes",
        remedy: "let `transport` offer what is needed here in its own words",
    },
    Ban {
        holds_in: is_driver,
        names: &["crate::cli", "crate::config", "crate::demo", "crate::gateway"],
        why: "drivers are floor 2, the front of the house is floor 3, and imports point down only",
        remedy: "pass in the values it needs, as a type that the driver defines",
    },
    Ban {
        holds_in: |path| is_under(path, &["node/src/"]) && !is_under(path, &["node/src/clock.rs", "node/src/cli/"]),
        names: &["Instant::now", "SystemTime::now"],
        why: "a node has one clock, so that a simulation can replace it",
        remedy: "ask `clock.rs`",
    },
    Ban {
        holds_in: |path| path.contains("/src/") && !is_program(path),
        names: &["anyhow"],
        why: "a caller must be able to tell errors apart",
        remedy: "write the narrowest `thiserror` enum that is true",
    },
];

fn module_floors(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        let code = split(&file.text()).code;
        let in_crate = file.path.split_once("/src/").map_or(&*file.path, |(_, in_crate)| in_crate);
        for (line, path) in paths(&code) {
            let path = absolute(in_crate, &path);
            let broken = |ban: &&Ban| (ban.holds_in)(&file.path) && ban.names.iter().any(|name| names(&path, name));
            findings.extend(BANS.iter().filter(broken).map(|ban| {
                Finding::new(&file.path, line, format!("`{path}` may not be named here"), ban.why, ban.remedy)
            }));
        }
    }
    findings
}

fn is_under(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// The node's floor 2: one file or one folder each.
fn is_driver(path: &str) -> bool {
    let module = path.strip_prefix("node/src/").and_then(|rest| rest.split('/').next());
    let driver = module.map(|module| module.trim_end_matches(".rs"));
    driver.is_some_and(|name| ["clock", "driver", "shutdown", "store", "transfer", "transport"].contains(&name))
}

fn is_program(path: &str) -> bool {
    path.ends_with("/src/main.rs") || path.contains("/src/bin/") || path.starts_with("benches/")
}

#[test]
fn workspace_keeps_its_modules_on_their_floors() {
    assert_workspace_keeps(module_floors);
}

#[test]
fn banned_names_are_found() {
    let files = [
        ("proto-types/src/view.rs", "use std::net::{SocketAddr, UdpSocket};\n// std::fs\n"),
        ("node/core/src/timer.rs", "fn now() {\n    tokio::time::sleep(1);\n    \"std::fs\";\n}\n"),
        ("node/core/src/tests.rs", "use std::fs;\n"),
        ("node/src/transport/quic.rs", "use quinn::Endpoint;\nuse super::super::config::Config;\n"),
        ("node/src/store.rs", "use crate::{clock,\n    gateway};\n"),
        ("node/src/gateway/cache.rs", "use crate::store;\nfn f(c: quinn::Connection) {}\n"),
        ("node/src/clock.rs", "fn now() { std::time::Instant::now() }\n"),
        ("node/src/config/mod.rs", "\n\nfn now() { SystemTime::now() }\n"),
        ("node/src/main.rs", "use anyhow::Context;\n"),
        ("client/src/error.rs", "use anyhow::Context;\n"),
    ];
    let expected = [
        "proto-types/src/view.rs:1",
        "node/core/src/timer.rs:2",
        "node/src/transport/quic.rs:2",
        "node/src/store.rs:2",
        "node/src/gateway/cache.rs:2",
        "node/src/config/mod.rs:3",
        "client/src/error.rs:1",
    ];
    assert_finds(module_floors, &files, &expected);
}
