use super::*;

fn open(format: InputFormat, text: &[u8], key: &str, value: Option<&str>) -> Result<Source, SourceError> {
    let columns = Columns { key: key.into(), value: value.map(Into::into), prefix: String::new() };
    Source::open(Box::new(io::Cursor::new(text.to_vec())), format, columns)
}

/// Every record as `LINE KEY=VALUE` or `line LINE: REASON`.
fn read(format: InputFormat, text: &[u8], key: &str, value: Option<&str>) -> Vec<String> {
    let mut source = open(format, text, key, value).unwrap();
    let mut shown = Vec::new();
    while let Some(record) = source.next().unwrap() {
        shown.push(match record {
            Ok(Record { key, value, line }) => format!("{line} {}={}", key.escape_ascii(), value.escape_ascii()),
            Err(bad) => bad.to_string(),
        });
    }
    shown
}

#[test]
fn csv_quotes_hold_commas_newlines_and_quotes() {
    let text = b"\xef\xbb\xbfid,name\n1,\"a, \"\"b\"\"\nc\"\r\n\n2,plain";
    let shown = read(InputFormat::Csv, text, "id", Some("name"));
    assert_eq!(shown, [r#"2 1=a, \"b\"\nc"#, "5 2=plain"]);
}

#[test]
fn lines_are_counted_through_quotes_blank_lines_and_bad_records() {
    let text = b"id,v\r\n\"a\r\nb\",1\r\n\r\n\"c\nd\n\",2,3\r\ne,4\nf,\"5\n\"";
    let lines: Vec<String> = read(InputFormat::Csv, text, "id", Some("v"));
    let starts = ["2 a", "line 5: the heading names 2 fields, and here are 3", "8 e", "9 f"];
    assert_eq!(lines.len(), starts.len());
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn a_whole_record_is_json_in_the_order_of_the_columns() {
    let shown = read(InputFormat::Csv, b"z,a\n1,\"say \"\"hi\"\"\"\n", "z", None);
    assert_eq!(shown, [r#"2 1={\"z\":\"1\",\"a\":\"say \\\"hi\\\"\"}"#]);
}

#[test]
fn bad_csv_records_are_told_by_line_and_the_next_one_is_read() {
    let shown = read(InputFormat::Csv, b"id,v\n1,2,3\n\"\",5\n6,7\n", "id", Some("v"));
    assert_eq!(shown, ["line 2: the heading names 2 fields, and here are 3", "line 3: the key is empty", "4 6=7"]);
}

#[test]
fn tsv_takes_quotes_as_they_are() {
    let shown = read(InputFormat::Tsv, b"id\tv\n\"1\t2\" x\n", "id", Some("v"));
    assert_eq!(shown, [r#"2 \"1=2\" x"#]);
}

#[test]
fn values_of_one_column_are_any_bytes_and_whole_records_utf8() {
    assert_eq!(read(InputFormat::Csv, b"id,v\n\xfe,\xff\n", "id", Some("v")), [r"2 \xfe=\xff"]);
    let shown = read(InputFormat::Csv, b"id,v\n1,\xff\n", "id", None);
    assert!(shown[0].starts_with("line 2: column `v` is not UTF-8"), "{shown:?}");
}

#[test]
fn a_missing_column_names_those_there_are() {
    match open(InputFormat::Csv, b"id,name\n", "key", None).map(|_| ()) {
        Err(SourceError::NoColumn { name, columns }) => assert_eq!((name.as_str(), columns.len()), ("key", 2)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(open(InputFormat::Csv, b"", "key", None).map(|_| ()), Err(SourceError::Empty)));
}

#[test]
fn json_lines_are_kept_as_they_stand() {
    let text = b"{\"id\": 7, \"n\": 1.50}\r\n\n  {\"n\":2,\"id\":\"x\"}";
    let shown = read(InputFormat::Jsonl, text, "id", None);
    assert_eq!(shown, [r#"1 7={\"id\": 7, \"n\": 1.50}"#, r#"3 x={\"n\":2,\"id\":\"x\"}"#]);
}

#[test]
fn one_json_field_is_text_or_json() {
    let text = br#"{"id":"a","v":"t"}
{"id":"b","v":{"x":[1,null]}}
{"id":"c","v":123456789012345678901}"#;
    let shown = read(InputFormat::Jsonl, text, "id", Some("v"));
    assert_eq!(shown[..2], ["1 a=t", r#"2 b={\"x\":[1,null]}"#]);
    assert!(shown[2].starts_with("line 3: `v` has more digits"), "{shown:?}");
}

#[test]
fn bad_json_lines_are_told_by_line_and_the_next_one_is_read() {
    let text = br#"{"id":1.5}
{"id":null}
[{"id":1}]
{"id":
{"name":"x","age":3}
{"id":"ok"}"#;
    let shown = read(InputFormat::Jsonl, text, "id", None);
    let starts = [
        "line 1: `id` is no whole number",
        "line 2: `id` is neither",
        "line 3: an array",
        "line 4: not JSON",
        "line 5: there is no field `id`; the fields are age, name",
        "6 ok=",
    ];
    assert_eq!(shown.len(), starts.len());
    for (line, start) in shown.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn keys_get_the_prefix_and_are_at_most_1_kib_with_it() {
    let columns = Columns { key: "id".into(), value: None, prefix: "city:".into() };
    let text = format!("id\n1\n{}\n", "k".repeat(KEY_BYTES_MAX - 4));
    let mut source = Source::open(Box::new(io::Cursor::new(text)), InputFormat::Csv, columns).unwrap();
    assert_eq!(source.next().unwrap().unwrap().unwrap().key, "city:1");
    let bad = source.next().unwrap().unwrap().unwrap_err();
    assert_eq!(bad.to_string(), "line 3: a key of 1025 bytes: keys have at most 1024");
}

#[test]
fn an_open_quote_does_not_swallow_an_endless_input() {
    let endless = io::Cursor::new("id,v\n1,\"").chain(io::repeat(b'x'));
    let columns = Columns { key: "id".into(), value: None, prefix: String::new() };
    let mut source = Source::open(Box::new(endless), InputFormat::Csv, columns).unwrap();
    assert!(matches!(source.next(), Err(SourceError::Endless { line: 2 })));
}

#[test]
fn extensions_tell_the_format() {
    let check = |extension, expected| assert_eq!(InputFormat::of_extension(extension), expected, "{extension}");
    check("CSV", Some(InputFormat::Csv));
    check("tab", Some(InputFormat::Tsv));
    check("ndjson", Some(InputFormat::Jsonl));
    check("parquet", None);
}
