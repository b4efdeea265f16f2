use clap::Parser;
use xxhash_rust::xxh3::xxh3_64;

use super::{writer::Expected, *};
use crate::cli::{Cli, local_cluster::LocalCluster};

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

#[tokio::test]
async fn the_last_record_wins_and_verification_finds_what_changed() {
    let cluster = LocalCluster::start("load", &[0; 2]).await.unwrap();
    let client = cluster.connect().await.unwrap();
    let output = Output::new(&Cli::try_parse_from(["quoit", "--quiet", "demo"]).unwrap().global);
    // Every key comes many times, in batches that would like to overtake each other.
    let text: String = (0..2000).fold("id,v\n".into(), |text, i| format!("{text}{},{i}\n", i % 9));
    let columns = Columns { key: "id".into(), value: Some("v".into()), prefix: "p:".into() };
    let source = Source::open(Box::new(io::Cursor::new(text)), InputFormat::Csv, columns).unwrap();
    let mut batches = read_ahead(source, 4, 0);
    let mut writer = Writer::new(client.clone(), SetOptions::new(), 8, Remember::Everything);
    while let Some(Ok(batch)) = batches.recv().await {
        writer.write(batch).await;
    }
    let tally = writer.finish().await;
    assert_eq!((tally.records, tally.failures.count(), tally.hopeless), (2000, 0, false));
    assert_eq!(client.get("p:8").await.unwrap().unwrap(), "1997");

    let expected = || {
        let last = (1991..2000).map(|i: u64| Expected {
            key: format!("p:{}", i % 9).into_bytes().into(),
            line: i + 2,
            value: Some(xxh3_64(i.to_string().as_bytes())),
        });
        last_of_each(last.collect())
    };
    let mut progress = Progress::new(&output, "verifying", None);
    let verdict = verify(&client, last_of_each(tally.expected), (2, 4), &mut progress).await;
    assert_eq!((verdict.same, verdict.is_clean()), (9, true));
    client.set("p:1", "another").await.unwrap();
    client.delete("p:2").await.unwrap();
    let verdict = verify(&client, expected(), (2, 4), &mut progress).await;
    assert_eq!((verdict.same, verdict.different, verdict.missing), (7, 1, 1));
    client.close().await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_value_that_is_too_large_fails_alone() {
    let cluster = LocalCluster::start("load", &[0]).await.unwrap();
    let client = cluster.connect().await.unwrap();
    let record = |line, bytes| source::Record { key: format!("k{line}").into(), value: vec![0; bytes].into(), line };
    let batch = Batch { records: vec![record(2, 2 << 20), record(3, 5)], keys: vec![1, 2], ..Batch::default() };
    let mut writer = Writer::new(client.clone(), SetOptions::new(), 1, Remember::Nothing);
    writer.write(batch).await;
    let tally = writer.finish().await;
    let kinds: Vec<_> = tally.failures.iter().map(|(kind, failure)| (kind, failure.count, failure.line)).collect();
    assert_eq!((tally.records, kinds, tally.hopeless), (1, vec![("value too large", 1, 2)], false));
    client.close().await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_small_record_does_not_overtake_a_large_one_with_its_key() {
    let cluster = LocalCluster::start("load", &[0]).await.unwrap();
    let client = cluster.connect().await.unwrap();
    let batch = |line, bytes| {
        let record = source::Record { key: "k".into(), value: vec![0; bytes].into(), line };
        Batch { records: vec![record], keys: vec![1], ..Batch::default() }
    };
    let mut writer = Writer::new(client.clone(), SetOptions::new(), 8, Remember::Nothing);
    writer.write(batch(2, 1 << 20)).await;
    writer.write(batch(3, 5)).await;
    assert_eq!(writer.finish().await.records, 2);
    assert_eq!(client.get("k").await.unwrap().unwrap().len(), 5);
    client.close().await;
    cluster.stop().await.unwrap();
}
