use std::fs;

use clap::Parser;

use super::*;
use crate::cli::Cli;

fn global(line: &str) -> GlobalArgs {
    Cli::try_parse_from(line.split_whitespace()).unwrap().global
}

fn saved() -> Context {
    Context { nodes: Some(vec!["saved:1".parse().unwrap()]), certs: Some("saved".into()) }
}

#[test]
fn flags_go_before_the_context_and_that_before_defaults() {
    let check = |line: &str, context: Context, node: &str, certs: Option<&str>| {
        let (nodes, found) = choose(&global(line), context);
        assert_eq!(nodes, [node.parse().unwrap()], "{line}");
        assert_eq!(found, certs.map(PathBuf::from), "{line}");
    };
    check("quoit", Context::default(), "127.0.0.1:7750", None);
    check("quoit", saved(), "saved:1", Some("saved"));
    check("quoit --nodes typed:2", saved(), "typed:2", Some("saved"));
    check("quoit --context a --certs typed", saved(), "saved:1", Some("typed"));
}

#[test]
fn an_identity_or_the_folder_of_all_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path();
    let refused = identity_folder(Some(all.into()), Purpose::Keys).unwrap_err();
    assert_eq!(refused.exit_code(), 2.into());

    let issue = |name: &str| {
        fs::create_dir(all.join(name)).unwrap();
        fs::write(all.join(name).join("tls.crt"), "").unwrap();
    };
    issue("admin");
    let check = |named: PathBuf, purpose, expected: &str| {
        assert_eq!(identity_folder(Some(named), purpose).unwrap(), all.join(expected));
    };
    check(all.into(), Purpose::Keys, "admin");
    issue("client");
    check(all.into(), Purpose::Keys, "client");
    check(all.into(), Purpose::Administration, "admin");
    check(all.join("admin"), Purpose::Keys, "admin");
    check(all.join("client"), Purpose::Administration, "client");
    assert!(identity_folder(Some(all.join("nobody")), Purpose::Keys).is_err());
}
