use clap::Parser;

use super::*;
use crate::cli::Cli;

fn add(contexts: &mut Contexts, name: &str, options: &str) -> Result<(), CliError> {
    let line = format!("quoit {options}");
    contexts.add(name, &Cli::try_parse_from(line.split_whitespace()).unwrap().global)
}

#[test]
fn contexts_are_found_by_name_or_selection() {
    let mut contexts = Contexts::default();
    add(&mut contexts, "prod", "--nodes a:1,b:2 --certs /certs/prod").unwrap();
    add(&mut contexts, "test", "--nodes c:3").unwrap();
    contexts.selected = Some("test".into());
    let text = toml::to_string(&contexts).unwrap();
    let read = || toml::from_str::<Contexts>(&text).unwrap();
    assert_eq!(read(), contexts);

    let nodes = |context: Context| context.nodes.unwrap_or_default().len();
    assert_eq!(nodes(read().get(Some("prod")).unwrap()), 2);
    assert_eq!(nodes(read().get(None).unwrap()), 1);
    assert!(read().get(Some("other")).is_err());
    assert_eq!(Contexts::default().get(None).unwrap(), Context::default());
}

#[test]
fn contexts_are_not_overwritten_and_not_empty() {
    let mut contexts = Contexts::default();
    add(&mut contexts, "a", "--nodes a:1").unwrap();
    assert!(add(&mut contexts, "a", "--nodes a:2").is_err());
    assert!(add(&mut contexts, "b", "").is_err());
    assert!(add(&mut contexts, "", "--nodes a:1").is_err());
}

#[test]
fn certificates_are_found_from_any_folder() {
    let mut contexts = Contexts::default();
    add(&mut contexts, "a", "--certs certs/client").unwrap();
    let certs = contexts.get(Some("a")).unwrap().certs.unwrap();
    assert!(certs.is_absolute() && certs.ends_with("certs/client"), "{}", certs.display());
}

#[test]
fn removing_the_selected_one_deselects_it() {
    let mut contexts = Contexts::default();
    add(&mut contexts, "a", "--nodes a:1").unwrap();
    contexts.selected = Some("a".into());
    contexts.remove("a").unwrap();
    assert_eq!(contexts, Contexts::default());
    assert!(contexts.remove("a").is_err());
}

#[cfg(unix)]
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quoit").join("contexts.toml");
    for text in ["first", "second"] {
        write(&path, text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
