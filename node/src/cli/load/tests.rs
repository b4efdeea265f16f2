use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    load: LoadArgs,
}

fn parse(words: &[&str]) -> Result<LoadArgs, clap::Error> {
    Line::try_parse_from([&["load"], words].concat()).map(|line| line.load)
}

/// Reads `text` in batches of `records_max`: the lines of each batch, and why reading stopped.
async fn batches(text: &'static str, records_max: usize, skip_max: u64) -> (Vec<Vec<u64>>, u64, Option<String>) {
    let columns = Columns { key: "id".into(), value: Some("id".into()), prefix: String::new() };
    let source = Source::open(Box::new(text.as_bytes()), InputFormat::Csv, columns).unwrap();
    let mut receiver = read_ahead(source, records_max, skip_max);
    let (mut lines, mut skipped, mut stopped) = (Vec::new(), 0, None);
    while let Some(next) = receiver.recv().await {
        match next {
            Ok(batch) => {
                skipped += batch.skipped.len() as u64;
                lines.push(batch.records.iter().map(|record| record.line).collect());
            }
            Err(Stopped::Bad(bad)) => stopped = Some(bad.to_string()),
            Err(Stopped::Source(error)) => stopped = Some(error.to_string()),
        }
    }
    (lines, skipped, stopped)
}

#[test]
fn a_key_column_is_needed_and_a_dry_run_verifies_nothing() {
    assert!(parse(&["a.csv", "--key", "id"]).is_ok());
    assert!(parse(&["a.csv"]).is_err());
    assert!(parse(&["a.csv", "--key", "id", "--in-flight", "0"]).is_err());
    assert!(parse(&["a.csv", "--key", "id", "--dry-run", "--verify"]).is_err());
}

#[test]
fn standard_input_needs_a_format() {
    assert!(parse(&["-", "--key", "id"]).unwrap().open_now().is_err());
    assert!(parse(&["data.bin", "--key", "id"]).unwrap().open_now().is_err());
}

#[tokio::test]
async fn batches_are_full_but_for_the_last() {
    let (lines, skipped, stopped) = batches("id\n1\n2\n3\n4\n5\n", 2, 0).await;
    assert_eq!((lines, skipped, stopped), (vec![vec![2, 3], vec![4, 5], vec![6]], 0, None));
}

#[tokio::test]
async fn no_batch_holds_a_key_twice() {
    let (lines, ..) = batches("id\n1\n2\n1\n1\n3\n", 9, 0).await;
    assert_eq!(lines, [vec![2, 3], vec![4], vec![5, 6]]);
}

#[tokio::test]
async fn as_many_bad_records_as_allowed_are_skipped() {
    let text = "id\n1\n,\n2\n,\n3\n";
    let (lines, skipped, stopped) = batches(text, 9, 2).await;
    assert_eq!((lines, skipped, stopped), (vec![vec![2, 4, 6]], 2, None));
    let (lines, skipped, stopped) = batches(text, 9, 1).await;
    assert_eq!((lines, skipped), (vec![vec![2, 4]], 1));
    assert_eq!(stopped.unwrap(), "line 5: the heading names 1 fields, and here are 2");
}
