//! The paths a source names, with the groups of `use` written out.

use super::code::{in_word, line_of};

/// Every path of two segments or more in `code` (comments and literals blanked), with its line.
///
/// `use std::{fs, time::{self, Instant as Clock}};` names `std::fs`, `std::time::self` and `std::time::Instant`.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut reader = Reader { code, at: 0, found: Vec::new() };
    while let Some(next) = reader.peek() {
        if in_word(next) { reader.path("") } else { reader.at += next.len_utf8() }
    }
    reader.found
}

/// Whether `path` holds the segments of `name`, in a row.
pub(super) fn names(path: &str, name: &str) -> bool {
    format!("::{path}::").contains(&format!("::{name}::"))
}

/// `path` as seen from the root of its crate, where `file` (relative to the crate's `src`) names it.
pub(super) fn absolute(file: &str, path: &str) -> String {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
        module.pop();
    }
    let mut rest = path;
    if let Some(own) = rest.strip_prefix("self::") {
        rest = own;
    } else if !rest.starts_with("super::") {
        return rest.to_owned();
    }
    while let Some(parent) = rest.strip_prefix("super::") {
        module.pop();
        rest = parent;
    }
    let segments: Vec<&str> = ["crate"].into_iter().chain(module).chain([rest]).collect();
    segments.join("::")
}

struct Reader<'a> {
    code: &'a str,
    at: usize,
    found: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.code[self.at..].chars().next()
    }

    /// Moves past what `skip` accepts, and returns it.
    fn take_while(&mut self, skip: fn(char) -> bool) -> &str {
        let rest = &self.code[self.at..];
        let len = rest.find(|c| !skip(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Reads one path, which continues `prefix` (empty, or ending in `::`).
    fn path(&mut self, prefix: &str) {
        let start = self.at;
        let mut path = prefix.to_owned();
        loop {
            match self.peek() {
                Some('{') if !path.is_empty() => return self.group(&path),
                Some('*') if !path.is_empty() => {
                    self.at += 1;
                    path.push('*');
                    break;
                }
                Some(next) if in_word(next) => path.push_str(self.take_while(in_word)),
                Some(_) | None => break,
            }
            if !self.code[self.at..].starts_with("::") {
                break;
            }
            self.at += 2;
            path.push_str("::");
        }
        let path = path.trim_end_matches("::");
        if path.contains("::") {
            self.found.push((line_of(self.code, start), path.to_owned()));
        }
    }

    /// Reads `{a, b::c as d}`; what follows an `as` is no path.
    fn group(&mut self, prefix: &str) {
        self.at += 1;
        loop {
            self.take_while(|c| c.is_whitespace() || c == ',');
            match self.peek() {
                Some(next) if in_word(next) || matches!(next, '*' | '{') => self.path(prefix),
                Some(_) | None => break,
            }
            self.take_while(|c| !matches!(c, ',' | '}'));
        }
        self.at += self.peek().map_or(0, char::len_utf8);
    }
}

#[test]
fn groups_are_written_out() {
    let code = "use std::{\n    fs,\n    time::{self, Instant as Clock}, io::*,\n};\nlet x = tokio::spawn(f);\nVec::<u8>::new()";
    let found = paths(code);
    let expected =
        [(2, "std::fs"), (3, "std::time::self"), (3, "std::time::Instant"), (3, "std::io::*"), (5, "tokio::spawn")];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn names_match_whole_segments() {
    assert!(names("std::fs::read", "std::fs"));
    assert!(names("tokio::time::Instant::now", "Instant::now"));
    assert!(!names("crate::configure", "crate::config"));
}

#[test]
fn relative_paths_are_resolved() {
    assert_eq!(absolute("transport/quic.rs", "super::super::config::Config"), "crate::config::Config");
    assert_eq!(absolute("transport/mod.rs", "super::config"), "crate::config");
    assert_eq!(absolute("store.rs", "self::shard::Shard"), "crate::store::shard::Shard");
    assert_eq!(absolute("store.rs", "std::fs"), "std::fs");
}
