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
    let refused = identity_folder(Some(all.into())).unwrap_err();
    assert_eq!(refused.exit_code(), 2.into());

    let issue = |name: &str| {
        fs::create_dir(all.join(name)).unwrap();
        fs::write(all.join(name).join("tls.crt"), "").unwrap();
    };
    issue("admin");
    assert_eq!(identity_folder(Some(all.into())).unwrap(), all.join("admin"));
    issue("client");
    assert_eq!(identity_folder(Some(all.into())).unwrap(), all.join("client"));
    assert_eq!(identity_folder(Some(all.join("admin"))).unwrap(), all.join("admin"));
    assert!(identity_folder(Some(all.join("nobody"))).is_err());
}
