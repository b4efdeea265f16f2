use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
enum Line {
    Set(SetArgs),
    Get(GetArgs),
    Touch(TouchArgs),
}

fn accepted(words: &[&str]) -> bool {
    Line::try_parse_from([&["quoit"], words].concat()).is_ok()
}

fn set_args(words: &[&str]) -> SetArgs {
    let Line::Set(args) = Line::try_parse_from([&["quoit", "set"], words].concat()).unwrap() else {
        panic!("{words:?} is no set");
    };
    args
}

#[test]
fn a_value_comes_from_the_command_line_or_standard_input() {
    assert_eq!(set_args(&["k", "v"]).value.unwrap(), "v");
    assert_eq!(set_args(&["k", "-"]).value.unwrap(), "-");
    assert_eq!(set_args(&["k", "-5"]).value.unwrap(), "-5");
    assert_eq!(set_args(&["k", ""]).value.unwrap(), "");
    assert!(set_args(&["k", "--stdin"]).stdin);
    assert!(!accepted(&["set", "k"]));
    assert!(!accepted(&["set", "k", "v", "--stdin"]));
}

#[test]
fn durations_have_a_unit_and_are_not_zero() {
    assert_eq!(set_args(&["k", "v", "--ttl", "1h 30m"]).ttl, Some(Duration::from_secs(5400)));
    assert!(!accepted(&["set", "k", "v", "--ttl", "60"]));
    assert!(!accepted(&["set", "k", "v", "--ttl", "0s"]));
    assert!(!accepted(&["set", "k", "v", "--ttl", "999us"]));
}

#[test]
fn touch_says_which_time_to_live() {
    assert!(accepted(&["touch", "k", "--ttl", "1s"]));
    assert!(accepted(&["touch", "k", "--no-ttl"]));
    assert!(!accepted(&["touch", "k"]));
    assert!(!accepted(&["touch", "k", "--ttl", "1s", "--no-ttl"]));
}

#[test]
fn levels_have_names() {
    for level in ["any", "one", "two", "quorum", "all"] {
        assert_eq!(set_args(&["k", "v", "--level", level]).write.level.unwrap().name(), level);
    }
    assert!(accepted(&["get", "k", "--level", "quorum", "--with-version"]));
    assert!(!accepted(&["get", "k", "--level", "two"]));
    assert!(!accepted(&["set", "k", "v", "--level", "most"]));
}

#[test]
fn get_wants_a_key() {
    assert!(accepted(&["get", "a", "b"]));
    assert!(!accepted(&["get"]));
}
