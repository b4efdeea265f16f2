//! Rust source taken apart just far enough to tell code from comments from literals.

/// One source twice, each with everything else blanked out: offsets and line numbers are those of the original.
pub(super) struct Split {
    /// Code, without comments and without the contents of strings and characters.
    pub(super) code: String,
    pub(super) comments: String,
}

pub(super) fn split(source: &str) -> Split {
    let mut split = Split { code: String::new(), comments: String::new() };
    let mut rest = source;
    while !rest.is_empty() {
        let (kind, len) = first_piece(rest);
        let (piece, tail) = rest.split_at(len);
        split.code.push_str(&if kind == Kind::Code { piece.to_owned() } else { blanked(piece) });
        split.comments.push_str(&if kind == Kind::Comment { piece.to_owned() } else { blanked(piece) });
        rest = tail;
    }
    split
}

/// Where `word` stands in `text` by itself, not as a part of a longer one.
pub(super) fn find_word(text: &str, word: &str) -> Vec<usize> {
    let joins = |inner: Option<char>, outer: Option<char>| inner.is_some_and(in_word) && outer.is_some_and(in_word);
    let (first, last) = (word.chars().next(), word.chars().next_back());
    let alone = |at: usize| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !joins(first, before) && !joins(last, after)
    };
    text.match_indices(word).map(|(at, _)| at).filter(|&at| alone(at)).collect()
}

/// The number, from 1, of the line that holds the byte at `offset`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

pub(super) fn in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[derive(PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// What `source` begins with, and its length in bytes.
fn first_piece(source: &str) -> (Kind, usize) {
    if source.starts_with("//") {
        (Kind::Comment, source.find('\n').unwrap_or(source.len()))
    } else if source.starts_with("/*") {
        (Kind::Comment, block_comment_len(source))
    } else if let Some(len) = literal_len(source) {
        (Kind::Literal, len)
    } else {
        let word = source.find(|c| !in_word(c)).unwrap_or(source.len());
        (Kind::Code, if word > 0 { word } else { source.chars().next().map_or(1, char::len_utf8) })
    }
}

/// Block comments nest.
fn block_comment_len(source: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < source.len() {
        let rest = &source.as_bytes()[at..];
        let step = if rest.starts_with(b"/*") {
            depth += 1;
            2
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            2
        } else {
            1
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    source.len()
}

/// The length of the string or character literal that `source` begins with, prefix included.
fn literal_len(source: &str) -> Option<usize> {
    let prefix = source.bytes().take_while(|byte| b"bcr".contains(byte)).take(2).count();
    let (prefix, body) = source.split_at(prefix);
    let len = if prefix.ends_with('r') {
        raw_string_len(body)?
    } else if body.starts_with('"') {
        quoted_len(body, b'"')
    } else if body.starts_with('\'') && matches!(prefix, "" | "b") && !is_lifetime(body) {
        quoted_len(body, b'\'')
    } else {
        return None;
    };
    Some(prefix.len() + len)
}

fn raw_string_len(body: &str) -> Option<usize> {
    let hashes = body.bytes().take_while(|&byte| byte == b'#').count();
    let contents = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(contents.find(&end).map_or(body.len(), |at| hashes + 1 + at + end.len()))
}

fn quoted_len(body: &str, quote: u8) -> usize {
    let mut escaped = false;
    let closing = body.bytes().skip(1).position(|byte| {
        let closes = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(body.len(), |at| at + 2)
}

/// `'a` is a lifetime; `'a'` and `'\n'` are characters.
fn is_lifetime(body: &str) -> bool {
    let mut characters = body.chars().skip(1);
    characters.next() != Some('\\') && characters.next() != Some('\'')
}

fn blanked(piece: &str) -> String {
    piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let check = |source: &str, code: &str, comments: &str| {
        let split = split(source);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            (squeezed(&split.code), squeezed(&split.comments)),
            (code.to_owned(), comments.to_owned()),
            "{source}"
        );
        assert_eq!(
            (split.code.len(), split.comments.len()),
            (source.len(), source.len()),
            "offsets are kept: {source}"
        );
    };
    check("a // b\nc", "a c", "// b");
    check("a /* /* b */ */ c", "a c", "/* /* b */ */");
    check(r#"x("// \" y") z"#, "x( ) z", "");
    check("r##\"a\"# b\"## + br\"\\\" + 1", "+ + 1", "");
    check("<'a, 'b>('c', '\\'', b'\"') d", "<'a, 'b>( , , ) d", "");
    check("barrier r#type 'ü' \"é\nf\" g", "barrier r#type g", "");
}

#[test]
fn words_are_found_only_alone() {
    assert_eq!(find_word("sleep(1) asleep(2) x.sleep(3)", "sleep("), [0, 21]);
    assert_eq!(find_word("mod utils; mod util;", "mod util"), [11]);
}
