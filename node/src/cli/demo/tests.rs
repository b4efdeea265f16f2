use clap::Parser;

use super::*;
use crate::cli::Cli;

fn record(value: &[u8]) -> Record {
    Record { key: "k".into(), value_bytes: value.len(), value_hash: xxh3_64(value) }
}

#[test]
fn a_wrong_or_missing_value_is_an_error() {
    assert!(check(&record(b"v"), Some(b"v")).is_ok());
    assert!(check(&record(b""), Some(b"")).is_ok());
    assert!(check(&record(b"v"), Some(b"w")).is_err());
    assert!(check(&record(b"v"), None).is_err());
}

#[tokio::test]
async fn records_are_loaded_read_back_and_read() {
    let cluster = LocalCluster::start("demo", &[0; 2]).await.unwrap();
    let client = cluster.connect().await.unwrap();
    let output = Output::new(&Cli::try_parse_from(["quoit", "--quiet", "demo"]).unwrap().global);
    let dataset = Dataset::new(300, 5);
    let (records, _) = load(dataset, &client, &output).await.unwrap();
    let records = Arc::new(records);
    verify(&records, &client, &output).await.unwrap();
    let reads = read_skewed(dataset, &records, &client, Duration::from_millis(50), &output).await.unwrap();
    assert_eq!(reads.latency.len(), reads.count());
    // Each on both nodes. Who was not waited for has it in a moment.
    let entries = || cluster.nodes().iter().map(|node| node.stats().entries).sum::<usize>();
    let all_there = async {
        while entries() < 600 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_there).await.unwrap();
    assert_eq!(entries(), 600);

    client.delete(&records[7].key).await.unwrap();
    assert!(verify(&records, &client, &output).await.is_err());
    client.close().await;
    cluster.stop().await.unwrap();
}
