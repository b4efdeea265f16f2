//! The command a user should type next, ready to be pasted.

use std::borrow::Cow;
use std::path::Path;

/// Joins words to a command, quoted where a shell needs it.
pub fn command(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

/// Writes a `make-certs` command for the certificates in `root`: `make-certs renew n1 --out /etc/quoit`.
///
/// `--out` is left away where it is the default, `certs`.
pub fn make_certs(root: &Path, words: &[&str]) -> String {
    let root = root.to_string_lossy();
    let mut all = vec!["make-certs"];
    all.extend(words);
    if root != "certs" {
        all.extend(["--out", &root]);
    }
    command(&all)
}

/// Quotes a path for a shell, where it needs it.
pub(crate) fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy()).into_owned()
}

fn quoted(word: &str) -> Cow<'_, str> {
    // shlex would quote a list of addresses too, which no shell minds as it is.
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:,".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return Cow::Borrowed(word);
    }
    // The only refusal is a NUL byte, which no argument and no path can hold.
    shlex::try_quote(word).unwrap_or(Cow::Borrowed(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(make_certs(Path::new("certs"), &["renew", "n1"]), "make-certs renew n1");
        assert_eq!(command(&["quoit", "a.b:1,[::1]:2", "it's", ""]), "quoit 'a.b:1,[::1]:2' \"it's\" ''");
        assert_eq!(make_certs(Path::new("my certs"), &["check"]), "make-certs check --out 'my certs'");
    }
}
