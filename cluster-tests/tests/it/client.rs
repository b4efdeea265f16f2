//! The client against real nodes.

use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use quoit_client::{AdminRequest, RequestError, SetOptions, TimeToLive};
use quoit_node::LimitsHit;

use crate::{
    live::{LiveCluster, wait_for},
    log,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_is_read_back_touched_and_deleted() -> Result<()> {
    let cluster = LiveCluster::start(3).await?;
    let client = cluster.client().await?;
    assert_eq!(client.get("absent").await?, None);
    client.set("greeting", "hello").await?;
    assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
    client.set("empty", "").await?;
    assert_eq!(client.get("empty").await?.as_deref(), Some(&b""[..]));
    let binary: Vec<u8> = (0..=255).collect();
    client.set(&binary, &binary).await?;
    assert_eq!(client.get(&binary).await?.as_deref(), Some(&binary[..]));
    assert_eq!(client.ttl("greeting").await?, TimeToLive::Forever);
    assert!(client.touch("greeting", Some(Duration::from_secs(100))).await?.is_some());
    assert!(matches!(client.ttl("greeting").await?, TimeToLive::Expires(left) if left > Duration::from_secs(60)));
    assert_eq!(client.ttl("absent").await?, TimeToLive::NoSuchKey);
    assert!(client.delete("greeting").await?.existed);
    assert!(!client.delete("greeting").await?.existed);
    assert!(client.touch("greeting", None).await?.is_none());
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_size_come_back_whole() -> Result<()> {
    let cluster = LiveCluster::start(2).await?;
    let client = cluster.client().await?;
    for bytes in [0, 1, 1000, 65_535, 65_536, 65_537, 70_000, 300_000, 1_048_576] {
        let value: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let key = format!("size:{bytes}");
        client.set(&key, &value).await?;
        assert_eq!(client.get(&key).await?.as_deref(), Some(&value[..]), "{bytes} bytes");
    }
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_changes_nothing() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    client.set("k", "old").await?;
    let error = client.set("k", vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, RequestError::ValueTooLarge { limit: 1_048_576, .. }), "{error}");
    assert!(error.has_no_side_effects() && !error.is_retryable());
    assert_eq!(client.get("k").await?.as_deref(), Some(&b"old"[..]));
    for key in [vec![], vec![b'k'; 1025]] {
        let error = client.set(&key, "v").await.unwrap_err();
        assert!(matches!(error, RequestError::KeyInvalid { .. }), "{error}");
    }
    client.set(vec![b'k'; 1024], "v").await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_key_is_gone_and_its_memory_comes_back_without_a_read() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    let entries: Vec<_> = (0..1000).map(|i| (format!("k{i}"), "v")).collect();
    let brief = SetOptions::new().ttl(Duration::from_millis(50));
    for result in client.set_many(entries, brief).await {
        result?;
    }
    wait_for("expiry", || cluster.nodes[0].stats().entries == 0).await?;
    let stats = cluster.nodes[0].stats();
    assert_eq!((stats.expirations, stats.bytes), (1000, 0));
    assert_eq!(client.get("k1").await?, None);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_answer_key_by_key_in_order() -> Result<()> {
    let cluster = LiveCluster::start(3).await?;
    let client = cluster.client().await?;
    let keys: Vec<String> = (0..5000).map(|i| format!("key:{i}")).collect();
    let entries = keys.iter().map(|key| (key, format!("value of {key}")));
    for result in client.set_many(entries, SetOptions::new()).await {
        result?;
    }
    for (key, value) in keys.iter().zip(client.get_many(&keys).await) {
        assert_eq!(value?.as_deref(), Some(format!("value of {key}").as_bytes()));
    }
    let mixed = client.get_many(["key:1", "", "absent"]).await;
    assert!(matches!(mixed[0], Ok(Some(_))));
    assert!(matches!(mixed[1], Err(RequestError::KeyInvalid { bytes: 0 })));
    assert!(matches!(mixed[2], Ok(None)));
    let spread: Vec<_> = cluster.nodes.iter().map(|node| node.stats().entries).collect();
    assert!(spread.iter().all(|entries| *entries > 1000), "{spread:?}");
    assert!(client.delete_many(&keys).await.into_iter().all(|deleted| deleted.unwrap().existed));
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_parties_name_the_same_owner_for_every_key() -> Result<()> {
    let cluster = LiveCluster::start(3).await?;
    let client = cluster.client().await?;
    for node in &cluster.nodes {
        // Refused, but on a connection: who is still being dialled is not asked while another is there.
        client.admin(&node.identity().name, AdminRequest::Status).await.unwrap_err();
    }
    for i in 0..200 {
        let key = format!("key:{i}");
        client.set(&key, "v").await?;
        let owner = client.explain(&key)?.owners[0].clone();
        let before: Vec<_> = cluster.nodes.iter().map(|node| node.stats().hits).collect();
        client.get(&key).await?;
        for (node, before) in cluster.nodes.iter().zip(before) {
            let asked = node.stats().hits - before;
            let is_owner = node.identity().name.as_str() == owner;
            assert_eq!(asked, u64::from(is_owner), "{key} at {}", node.identity());
        }
    }
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_takes_no_key_along() -> Result<()> {
    let mut cluster = LiveCluster::start(3).await?;
    let client = cluster.client().await?;
    let keys: Vec<String> = (0..300).map(|i| format!("key:{i}")).collect();
    for key in &keys {
        client.set(key, "v").await?;
    }
    let gone = cluster.nodes.remove(1);
    gone.shutdown().await;
    for key in &keys {
        assert_eq!(client.get(key).await?.as_deref(), Some(&b"v"[..]), "{key}: it has another copy");
    }
    assert!(client.unreachable().iter().all(|(node, _)| node.starts_with("n2")));
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_finds_a_forming_cluster_and_says_what_it_waits_for() -> Result<()> {
    let mut cluster = LiveCluster::bind(2)?;
    let first = cluster.start_node(0, |_| {}).await?;
    let config = cluster.client_config()?.connect_timeout(Duration::from_millis(500));
    let error = quoit_client::Client::connect(config).await.unwrap_err();
    assert!(error.to_string().contains(&cluster.seeds[1]), "{error}");
    let mut second = cluster.start_node(1, |_| {}).await?;
    crate::live::formed(&mut second).await?;
    let client = cluster.client().await?;
    client.set("k", "v").await?;
    cluster.nodes = vec![first, second];
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_seeds_is_a_cluster_of_one() -> Result<()> {
    let cluster = LiveCluster::start_with(1, |settings| settings.seeds.clear()).await?;
    let client = cluster.client().await?;
    client.set("k", "v").await?;
    assert_eq!(client.view().members().len(), 1);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_requests_leave_the_connection_whole() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    let large = vec![7; 500_000];
    client.set("large", &large).await?;
    client.set("small", "v").await?;
    // Far more than may be under way at once: what is dropped must give its place back.
    for round in 0..200 {
        let small = (0..50).map(|_| client.get("small"));
        let _ = futures_util::future::join_all(small).now_or_never();
        let _ = client.get("large").now_or_never();
        let _ = client.set("large", &large).now_or_never();
        if round % 20 == 0 {
            assert_eq!(client.get("small").await?.as_deref(), Some(&b"v"[..]));
        }
    }
    assert_eq!(client.get("large").await?.as_deref(), Some(&large[..]));
    assert_eq!(client.get("small").await?.as_deref(), Some(&b"v"[..]));
    assert_eq!(cluster.nodes[0].limits_hit().protocol_errors, 0);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_clients_are_refused_with_the_reason() -> Result<()> {
    let cluster = LiveCluster::start_with(1, |settings| settings.clients_max = 1).await?;
    let first = cluster.client().await?;
    let config = cluster.client_config()?.connect_timeout(Duration::from_secs(1));
    let error = quoit_client::Client::connect(config).await.unwrap_err();
    assert!(format!("{error:?}").contains("TooManyConnections"), "{error:?}");
    first.set("k", "v").await?;
    assert!(cluster.nodes[0].limits_hit().connections_refused >= 1);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_left_alone() -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    for i in 0..20 {
        client.set(format!("k{i}"), "v").await?;
    }
    client.set("large", vec![7; 200_000]).await?;
    // Longer than any limit of the wire: neither side may take quiet lanes for a fault.
    let lost = || !log::lines(&["connection lost", &cluster.seeds[0]]).is_empty();
    let loss = wait_for("a loss", lost);
    assert!(tokio::time::timeout(Duration::from_secs(6), loss).await.is_err(), "the connection was lost");
    assert_eq!(cluster.nodes[0].limits_hit(), LimitsHit::default());
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_large_values_is_read_whole() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    let value = vec![7; 1_000_000];
    let keys: Vec<String> = (0..60).map(|i| format!("large:{i}")).collect();
    for result in client.set_many(keys.iter().map(|key| (key, &value)), SetOptions::new()).await {
        result?;
    }
    for read in client.get_many(&keys).await {
        assert_eq!(read?.map(|read| read.len()), Some(1_000_000));
    }
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_batch_what_is_large_and_what_is_too_large_is_told_by_itself() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    let lengths = [100, 200_000, 0, 1_048_577, 65_536, 65_537, 7];
    let keys: Vec<String> = lengths.iter().map(|length| format!("of {length}")).collect();
    let entries = keys.iter().zip(lengths.map(|length| vec![7; length]));
    let set = client.set_many(entries, SetOptions::new()).await;
    let read = client.get_many(&keys).await;
    for ((length, set), read) in lengths.into_iter().zip(set).zip(read) {
        if length > 1_048_576 {
            assert!(matches!(set, Err(RequestError::ValueTooLarge { bytes: 1_048_577, .. })), "{set:?}");
            assert_eq!(read?, None);
        } else {
            set?;
            assert_eq!(read?.map(|value| value.len()), Some(length));
        }
    }
    client.close().await;
    assert!(client.get_many(&keys).await.into_iter().all(|read| matches!(read, Err(RequestError::Closed))));
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_callers_than_a_lane_takes_are_all_served() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    client.set("k", "v").await?;
    let callers = (0..4000).map(|_| async {
        for _ in 0..5 {
            assert_eq!(client.get("k").await?.as_deref(), Some(&b"v"[..]));
        }
        anyhow::Ok(())
    });
    for caller in futures_util::future::join_all(callers).await {
        caller?;
    }
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_client_says_so() -> Result<()> {
    let cluster = LiveCluster::start(1).await?;
    let client = cluster.client().await?;
    client.close().await;
    assert!(matches!(client.get("k").await, Err(RequestError::Closed)));
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_founders_form_a_cluster() -> Result<()> {
    let founders = ["n1".parse()?, "n2".parse()?];
    let cluster = LiveCluster::start_with(2, |settings| settings.founders = founders.to_vec()).await?;
    assert_eq!(cluster.client().await?.view().members().len(), 2);
    cluster.stop().await;
    Ok(())
}
