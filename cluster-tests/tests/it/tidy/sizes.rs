//! STYLE §5: files stop at 600 lines, functions at 70.

use super::code::{find_word, line_of, split};
use super::tree::Tree;
use super::{Finding, assert_finds, assert_workspace_keeps};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// The node's `main` only parses and dispatches.
const MAIN: (&str, usize) = ("node/src/main.rs", 60);
const WHY: &str = "what does not fit on a few screens is not read";

fn file_sizes(tree: &Tree) -> Vec<Finding> {
    let too_long = tree.rust().filter(|file| !file.is_test()).filter_map(|file| {
        let max = if file.path == MAIN.0 { MAIN.1 } else { FILE_LINES_MAX };
        let lines = file.text().lines().count();
        let remedy = "split it by responsibility";
        (lines > max).then(|| Finding::new(&file.path, 1, format!("{lines} lines, at most {max}"), WHY, remedy))
    });
    too_long.collect()
}

fn function_sizes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (line, lines) in functions(&split(&file.text()).code) {
            if lines > FUNCTION_LINES_MAX {
                let what = format!("a function of {lines} lines, at most {FUNCTION_LINES_MAX}");
                findings.push(Finding::new(&file.path, line, what, WHY, "give its steps names of their own"));
            }
        }
    }
    findings
}

/// The first line of every function with a body, and how many lines it takes.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut functions = Vec::new();
    for start in find_word(code, "fn") {
        let end = body_start(&code[start..]).map(|body| start + body + block_len(&code[start + body..]));
        if let Some(end) = end {
            let (first, last) = (line_of(code, start), line_of(code, end));
            functions.push((first, last - first + 1));
        }
    }
    functions
}

/// Where the first `{` outside of parentheses is; `None` where a `;`, a `,` or a `)` comes first (no body, or a pointer type).
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The offset of the `}` that closes the `{` at the start.
fn block_len(block: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in block.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    block.len()
}

#[test]
fn workspace_has_no_oversized_file() {
    assert_workspace_keeps(file_sizes);
}

#[test]
fn workspace_has_no_oversized_function() {
    assert_workspace_keeps(function_sizes);
}

#[test]
fn oversized_files_are_found() {
    let (longest, too_long) = ("//\n".repeat(600), "//\n".repeat(601));
    let files = [
        ("node/src/a.rs", &*longest),
        ("node/src/b.rs", &too_long),
        ("node/src/tests.rs", &too_long),
        ("node/src/main.rs", &longest),
    ];
    assert_finds(file_sizes, &files, &["node/src/b.rs:1", "node/src/main.rs:1"]);
}

#[test]
fn oversized_functions_are_found() {
    let body = |lines: usize| "    if x { '{'; }\n".repeat(lines);
    let longest = format!("type F = fn(u8) -> [u8; 2];\nfn a(f: fn(u8)) {{\n{}}}\n", body(68));
    let too_long = format!("trait T {{\n    fn a();\n\n    fn b() {{\n{}    }}\n}}\n", body(69));
    assert_finds(function_sizes, &[("a.rs", &longest), ("b.rs", &too_long)], &["b.rs:4"]);
}
