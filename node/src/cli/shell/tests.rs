use std::path::{Path, PathBuf};

use super::{
    command::{Misread, ShellCommand, read},
    editor::{commands_for, usage_after},
    input::{Entered, history_file, read_line},
};

/// What a line is read as, in the form of its debug output.
fn shown(line: &str) -> String {
    match read(line) {
        Ok(Some(command)) => format!("{command:?}"),
        Ok(None) => "nothing".into(),
        Err(Misread::Help(text)) => format!("help: {text}"),
        Err(Misread::Error(error)) => {
            let mut text = Vec::new();
            error.write(&mut text).unwrap();
            anstream::adapter::strip_bytes(&text).into_vec().try_into().unwrap()
        }
    }
}

#[test]
fn options_are_words_or_have_dashes() {
    assert_eq!(shown("set k v ttl 60s"), shown("set k v --ttl 60s"));
    assert_eq!(shown("touch k ttl 60s"), shown("touch k --ttl 60s"));
    assert_eq!(shown("touch k no-ttl"), shown("touch k --no-ttl"));
    assert_eq!(shown("set k v level all"), shown("set k v --level all"));
}

#[test]
fn a_key_or_value_called_ttl_is_no_option() {
    assert!(matches!(read("ttl ttl"), Ok(Some(ShellCommand::Ttl(_)))));
    assert!(shown("set ttl ttl ttl 5s").contains("ttl: Some(5s)"));
    assert!(shown("get ttl no-ttl").contains(r#"["ttl", "no-ttl"]"#));
}

#[test]
fn quotes_keep_words_together() {
    assert!(shown(r#"set 'a key' "it's" "#).contains(r#"key: "a key", value: Some("it's")"#));
    assert!(shown("get 'a").starts_with("error: a quote is left open"));
}

#[test]
fn blank_lines_and_comments_are_nothing() {
    assert_eq!(shown("  "), "nothing");
    assert_eq!(shown("# get k"), "nothing");
}

#[test]
fn mistakes_name_what_to_type() {
    let unknown = shown("gett k");
    assert!(unknown.starts_with("error: there is no command `gett`\n  try: set, get,"), "{unknown}");
    let missing = shown("set k");
    assert!(missing.starts_with("error: the following required arguments were not provided"), "{missing}");
    assert!(missing.contains("\n  try: set"), "{missing}");
    assert!(shown("set k v ttl 60").contains("time unit needed"));
}

#[test]
fn the_shell_keeps_standard_input_for_itself() {
    for line in ["set k -", "set k --stdin", "load - --key id --format csv"] {
        assert!(shown(line).starts_with("error: `-` stands for standard input"), "{line}");
    }
}

#[test]
fn help_is_for_all_or_one() {
    let all = shown("help");
    for name in ["set", "get", "explain", "load", "quit"] {
        assert!(all.contains(name), "{all}");
    }
    assert!(shown("help touch").contains("--no-ttl"));
    assert!(shown("help nonsense").starts_with("error:"));
}

#[test]
fn both_words_leave() {
    assert!(matches!(read("quit"), Ok(Some(ShellCommand::Quit))));
    assert!(matches!(read("exit"), Ok(Some(ShellCommand::Quit))));
}

#[test]
fn commands_are_completed_where_they_stand() {
    assert_eq!(commands_for("t"), Some((0, vec!["ttl", "touch"])));
    assert_eq!(commands_for("help ex"), Some((5, vec!["explain"])));
    assert_eq!(commands_for("get t"), None);
}

#[test]
fn hints_show_what_may_follow() {
    let check = |line, expected: Option<&str>| assert_eq!(usage_after(line).as_deref(), expected, "{line:?}");
    check("set", Some(" KEY VALUE [ttl 60s] [level all]"));
    check("set ", Some("KEY VALUE [ttl 60s] [level all]"));
    check("set k ", Some("VALUE [ttl 60s] [level all]"));
    check("set k", None);
    check("set k v ", Some("[ttl 60s] [level all]"));
    check("quit", None);
    check("nonsense ", None);
}

#[test]
fn lines_end_with_the_input() {
    let mut input: &[u8] = b"get a\nget b";
    assert!(matches!(read_line(&mut input), Entered::Line(line) if line == "get a\n"));
    assert!(matches!(read_line(&mut input), Entered::Line(line) if line == "get b"));
    assert!(matches!(read_line(&mut input), Entered::End));
    assert!(matches!(read_line(&mut &b"\xff\n"[..]), Entered::Failed(_)));
}

#[test]
fn the_history_follows_the_base_directories() {
    let with = |state: Option<&str>| {
        let state = state.map(PathBuf::from);
        history_file(|name| if name == "HOME" { Some("/home/ada".into()) } else { state.clone() })
    };
    assert_eq!(with(Some("/state")).as_deref(), Some(Path::new("/state/quoit/history")));
    assert_eq!(with(Some("relative")).as_deref(), Some(Path::new("/home/ada/.local/state/quoit/history")));
    assert_eq!(with(None).as_deref(), Some(Path::new("/home/ada/.local/state/quoit/history")));
}
