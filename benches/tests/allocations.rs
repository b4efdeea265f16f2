//! How often each step of a request takes memory from the allocator, and how much a request holds that waits: what it costs,
//! without a clock. What is above its bound is a change that every request pays for; what is meant to be lower is put lower here,
//! so that it stays so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{hint::black_box, time::Duration};

use allocation_counter::{AllocationInfo, measure};
use bytes::BytesMut;
use futures_util::future::join_all;
use quoit_benches::identities::{Identities, files_in};
use quoit_client::{Client, ClientConfig};
use quoit_core::{
    planted::data::DataPlanted,
    store::{EvictionPolicy, Origin, Record, Store, StoreConfig},
    time::Wall,
};
use quoit_node::{
    Network, NodeHandle,
    config::{Config, Settings},
};
use quoit_proto_types::{
    Boot, Epoch, Fence, HashPoint, Hlc, KeyspaceId, NodeId, Ordinal, ReadLevel, RequestId, SlotCount, Stamp, Version,
    frame::{FrameHeader, FrameType, HEADER_BYTES},
    message::client::ReadHeader,
    ring::{Ring, RingMember},
};

/// So many times is done what is counted, after as many times that warm it up.
const TIMES: u32 = 1000;
const KEY: &[u8] = b"key:000000000001";
const VALUE: [u8; 100] = [7; 100];
const PATIENCE: Duration = Duration::from_secs(30);

/// What is counted is at most this: allocations per operation, but for what is named otherwise.
mod bounds {
    /// Reading and writing headers, and looking up owners.
    pub(super) const PURE: f64 = 0.0;
    pub(super) const STORE_GET: f64 = 0.0;
    /// The record, which is the memory that it is kept in.
    pub(super) const STORE_SET: f64 = 1.01;
    /// Client and node together, one request at a time: each has packets, wake-ups and timers of its own.
    pub(super) const ONE_GET: f64 = 9.5;
    pub(super) const ONE_SET: f64 = 10.5;
    /// The same with so many at once that they share those.
    pub(super) const MANY_GETS: f64 = 3.8;
    pub(super) const MANY_SETS: f64 = 4.8;
    /// The same as one batch.
    pub(super) const BATCHED_GETS: f64 = 1.8;
    /// Bytes that each caller of a client keeps while it waits: with a thousand of them, twice the bytes do not fit the cache of
    /// a processor's core.
    pub(super) const WAITING_GET_BYTES: usize = 448;
    pub(super) const WAITING_SET_BYTES: usize = 544;
}

/// The size of what `request` returns.
fn bytes_of<F: Future>(_request: impl FnOnce(&'static Client) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_request_that_waits_holds_little() {
    let get = bytes_of(|client| client.get(KEY));
    assert!(get <= bounds::WAITING_GET_BYTES, "get: {get} bytes");
    let set = bytes_of(|client| client.set(KEY, VALUE.as_slice()));
    assert!(set <= bounds::WAITING_SET_BYTES, "set: {set} bytes");
}

/// Counts what `once` takes, per time.
fn count(mut once: impl FnMut(u32)) -> f64 {
    (0..TIMES).for_each(&mut once);
    per_time(measure(|| (0..TIMES).for_each(&mut once)), TIMES)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn per_time(info: AllocationInfo, times: u32) -> f64 {
    info.count_total as f64 / f64::from(times)
}

#[track_caller]
fn check(what: &str, counted: f64, bound: f64) {
    assert!(counted <= bound, "{what}: {counted:.3} allocations per operation, where at most {bound} are to be");
}

#[test]
fn headers_take_no_memory() {
    let read =
        ReadHeader { keyspace: KeyspaceId::DEFAULT, level: ReadLevel::One, at_least: Some(version(1)), key: KEY };
    let header = FrameHeader::new(FrameType::Get, RequestId::new(1), Fence::default(), Epoch::GENESIS);
    let mut out = BytesMut::with_capacity(4096);
    let counted = count(|_| {
        out.clear();
        header.encode_with(&mut out, 0, |out| read.encode(out));
        let (front, body) = out.split_at(HEADER_BYTES);
        let front = FrameHeader::decode(front.try_into().unwrap()).unwrap();
        assert_eq!((front.kind, ReadHeader::decode(body).unwrap()), (FrameType::Get, read));
    });
    check("headers", counted, bounds::PURE);
}

#[test]
fn owners_are_looked_up_without_memory() {
    let member = |number: u32| RingMember {
        ordinal: Ordinal::new(number),
        node_id: NodeId::from_dns_name(&format!("n{number}")),
        zone: None,
        vnodes: 128,
    };
    let ring = Ring::build(&(0..10).map(member).collect::<Vec<_>>(), SlotCount::DEFAULT, 3);
    let counted = count(|time| {
        let slot = ring.slots().slot_of(HashPoint::of_key(KeyspaceId::DEFAULT, &time.to_le_bytes()));
        assert_eq!(black_box(ring.owners(slot)).len(), 3);
    });
    check("owners", counted, bounds::PURE);
}

fn version(hlc: u64) -> Version {
    Version { hlc: Hlc::new(hlc), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

#[test]
fn the_store_takes_memory_for_what_it_keeps_only() {
    let (now, fence) = (Wall::from_millis(1_000_000), Fence::new(1));
    let store = Store::new(StoreConfig {
        memory_limit_bytes: 64 << 20,
        value_bytes_max: 1 << 20,
        policy: EvictionPolicy::default(),
        seed: 1,
        planted: DataPlanted::NOTHING,
    });
    assert!(store.prepare(SlotCount::DEFAULT));
    (0..store.shards_count()).for_each(|shard| store.seal(shard, fence));
    let mut hlc = 0;
    let sets = count(|_| {
        hlc += 1;
        let stamp = Stamp::value(version(hlc), 0);
        store.apply(now, fence, Origin::Write, stamp, Record::new(KEY, &VALUE)).unwrap();
    });
    check("store, set", sets, bounds::STORE_SET);
    let gets = count(|_| {
        let bytes = store.get_with(now, fence, KEY, |entry| entry.map(|entry| entry.value().len()));
        assert_eq!(bytes.unwrap(), Some(VALUE.len()));
    });
    check("store, get", gets, bounds::STORE_GET);
}

/// A node, and a client of it, in this thread.
async fn serve(identities: &Identities) -> (NodeHandle, Client) {
    let network = Network::udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = network.socket.local_addr().unwrap().to_string();
    let files = files_in(&identities.node(0).unwrap());
    let mut settings = Settings { listen: address.parse().unwrap(), ..Settings::new(files) };
    settings.seeds = vec![address.parse().unwrap()];
    settings.data = Some(identities.folder().join("data"));
    let mut node = NodeHandle::start_on(Config::try_from(settings).unwrap(), network).await.unwrap();
    node.formed(PATIENCE).await.unwrap();
    let config = ClientConfig::new(files_in(&identities.client()), [address]).unwrap();
    let client = Client::connect(config.request_timeout(PATIENCE).connect_timeout(PATIENCE)).await.unwrap();
    (node, client)
}

#[test]
fn a_request_takes_little_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let identities = Identities::create(1).unwrap();
    let (node, client) = runtime.block_on(serve(&identities));
    let gets = || async { assert!(client.get(KEY).await.unwrap().is_some()) };
    let sets = || async { assert!(client.set(KEY, &VALUE[..]).await.unwrap() > version(0)) };
    check("set, one at a time", count(|_| runtime.block_on(sets())), bounds::ONE_SET);
    check("get, one at a time", count(|_| runtime.block_on(gets())), bounds::ONE_GET);
    let at_once = 100;
    let many_sets = count(|time| {
        if time % at_once == 0 {
            runtime.block_on(join_all((0..at_once).map(|_| sets())));
        }
    });
    check("set, many at once", many_sets, bounds::MANY_SETS);
    let many_gets = count(|time| {
        if time % at_once == 0 {
            runtime.block_on(join_all((0..at_once).map(|_| gets())));
        }
    });
    check("get, many at once", many_gets, bounds::MANY_GETS);
    let keys = vec![KEY; 100];
    let batches = count(|time| {
        if time % at_once == 0 {
            assert!(runtime.block_on(client.get_many(&keys)).into_iter().all(|found| found.unwrap().is_some()));
        }
    });
    check("get, in a batch", batches, bounds::BATCHED_GETS);
    runtime.block_on(async {
        client.close().await;
        node.shutdown().await;
    });
}
