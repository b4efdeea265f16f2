//! Values and durations as people and programs read them.

use std::{fmt::Write as _, time::Duration};

use anstyle::Style;
use quoit_client::Found;
use serde_json::Value;

const FAINT: Style = Style::new().dimmed();

/// What a program is told of a key.
pub(super) const COLUMNS: [&str; 4] = ["key", "value", "encoding", "version"];

/// The cells of [`COLUMNS`].
pub(super) fn row(key: &str, found: Option<&Found>) -> Vec<Value> {
    let version = found.map(|found| found.version.to_string());
    let (value, encoding) = match found.map(|found| (&*found.value, str::from_utf8(&found.value))) {
        None => (Value::Null, Value::Null),
        Some((_, Ok(text))) => (text.into(), "utf-8".into()),
        Some((bytes, Err(_))) => (base64(bytes).into(), "base64".into()),
    };
    vec![key.into(), value, encoding, version.into()]
}

/// The same as one object.
pub(super) fn object(key: &str, found: Option<&Found>) -> Value {
    COLUMNS.map(str::to_owned).into_iter().zip(row(key, found)).collect()
}

/// The version, a tab, and the value as on a terminal; a dash in place of the version if there is none.
pub(super) fn with_version(found: Option<&Found>) -> String {
    let version = found.map_or_else(|| "-".into(), |found| found.version.to_string());
    format!("{version}\t{}", printable(found.map(|found| &*found.value)))
}

/// A value on a terminal: text as it is, anything else quoted with escapes, so that no value can move the cursor.
pub(super) fn printable(value: Option<&[u8]>) -> String {
    let Some(value) = value else {
        return format!("{FAINT}(nil){FAINT:#}");
    };
    let plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    match str::from_utf8(value) {
        Ok(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        _ => quoted(value),
    }
}

/// `"caf\xc3\xa9\n"`: every byte but printable ASCII escaped.
fn quoted(value: &[u8]) -> String {
    format!("\"{}\"", value.escape_ascii())
}

/// A duration to the second, as in `9m58s`; to the millisecond below one second.
pub(crate) fn brief(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let shown = parts.iter().filter(|(count, _)| *count > 0);
    shown.fold(String::new(), |mut text, (count, unit)| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{count}{unit}");
        text
    })
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, i| group << 8 | usize::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = ALPHABET[group >> (18 - 6 * i) & 63];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use quoit_client::{Boot, Hlc, Ordinal, Version};
    use serde_json::json;

    use super::*;

    fn found(value: &'static [u8]) -> Found {
        let version = Version { hlc: Hlc::from_millis(5), ordinal: Ordinal::new(2), boot: Boot::new(1) };
        Found { value: value.into(), version, stale: false }
    }

    #[test]
    fn durations_are_short() {
        let check = |ms, expected: &str| assert_eq!(brief(Duration::from_millis(ms)), expected);
        check(250, "250ms");
        check(1000, "1s");
        check(59_499, "59s");
        check(59_996, "1m");
        check(598_000, "9m58s");
        check(3_600_000, "1h");
        check(90_061_000, "1d1h1m1s");
    }

    #[test]
    fn terminals_get_text_and_escapes_never_control_characters() {
        let check = |value: &[u8], expected: &str| assert_eq!(printable(Some(value)), expected);
        check(b"hello", "hello");
        check("caf\u{e9}\nau lait".as_bytes(), "caf\u{e9}\nau lait");
        check(b"", r#""""#);
        check(b"\x1b[2J", r#""\x1b[2J""#);
        check(b"\xff\x00", r#""\xff\x00""#);
        assert!(printable(None).contains("(nil)"));
    }

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        let check = |bytes: &str, expected: &str| assert_eq!(base64(bytes.as_bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foob", "Zm9vYg==");
        check("fooba", "Zm9vYmE=");
        check("foobar", "Zm9vYmFy");
    }

    #[test]
    fn programs_are_told_how_the_value_is_written() {
        let check = |found: Option<Found>, expected| assert_eq!(object("k", found.as_ref()), expected);
        let version = "5.0@2.1";
        assert_eq!(found(b"").version.to_string(), version);
        check(Some(found(b"v")), json!({"key": "k", "value": "v", "encoding": "utf-8", "version": version}));
        check(Some(found(b"\xff")), json!({"key": "k", "value": "/w==", "encoding": "base64", "version": version}));
        check(None, json!({"key": "k", "value": null, "encoding": null, "version": null}));
    }

    #[test]
    fn people_are_told_the_version_in_front_of_the_value() {
        let told = |found: Option<&Found>| anstream::adapter::strip_str(&with_version(found)).to_string();
        assert_eq!(told(Some(&found(b"v\x00"))), "5.0@2.1\t\"v\\x00\"");
        assert_eq!(told(None), "-\t(nil)");
    }
}
