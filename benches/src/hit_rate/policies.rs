//! The caches, seen alike: bytes for a limit, keys of 16 bytes, values of 100.

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::{Context, Result};
use clap::ValueEnum;
use clru::{CLruCache, CLruCacheConfig, WeightScale};
use quoit_core::{
    planted::data::DataPlanted,
    store::{EvictionPolicy, Origin, Record, Store, StoreConfig},
    time::Wall,
};
use quoit_proto_types::{Fence, Hlc, SlotCount, Stamp, Version};

use super::{KEY_BYTES, VALUE_BYTES, WEIGHT_BYTES, prototype::Admitting};

/// What a cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Quoit's store as it is by default.
    Quoit,
    /// Quoit's store with plain LRU.
    QuoitLru,
    /// moka, which admits by frequency (W-TinyLFU).
    Moka,
    /// `quick_cache` (Clock-PRO/S3-FIFO).
    QuickCache,
    /// A plain LRU: one clru, nothing else.
    Lru,
    /// Two clrus behind a window of 1 %, which admit by frequency: a prototype.
    Admitting,
}

impl Kind {
    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quoit => "quoit",
            Self::QuoitLru => "quoit, plain LRU",
            Self::Moka => "moka",
            Self::QuickCache => "quick_cache",
            Self::Lru => "clru alone",
            Self::Admitting => "clrus that admit",
        }
    }
}

/// Plain LRU.
type Lru = CLruCache<[u8; KEY_BYTES], Arc<[u8]>, std::hash::RandomState, Weigher>;

/// A cache.
#[derive(Debug)]
pub enum Policy {
    /// Quoit's store.
    Quoit(Box<Quoit>),
    /// moka.
    Moka(moka::sync::Cache<[u8; KEY_BYTES], Arc<[u8]>>),
    /// `quick_cache`.
    QuickCache(quick_cache::sync::Cache<[u8; KEY_BYTES], Arc<[u8]>, Weigher>),
    /// clru.
    Lru(Box<Lru>),
    /// The prototype.
    Admitting(Box<Admitting>),
}

/// The store, and the time in it.
#[derive(Debug)]
pub struct Quoit {
    store: Store,
    now: u64,
}

/// Every entry weighs the same.
#[derive(Clone, Copy, Debug)]
pub struct Weigher;

impl WeightScale<[u8; KEY_BYTES], Arc<[u8]>> for Weigher {
    fn weight(&self, _: &[u8; KEY_BYTES], _: &Arc<[u8]>) -> usize {
        // clru counts every entry once by itself.
        WEIGHT_BYTES - 1
    }
}

impl quick_cache::Weighter<[u8; KEY_BYTES], Arc<[u8]>> for Weigher {
    fn weight(&self, _: &[u8; KEY_BYTES], _: &Arc<[u8]>) -> u64 {
        WEIGHT_BYTES as u64
    }
}

impl Policy {
    /// An empty cache of so many bytes.
    ///
    /// # Errors
    /// No bytes.
    pub fn new(kind: Kind, bytes: usize) -> Result<Self> {
        let weight = u32::try_from(WEIGHT_BYTES)?;
        Ok(match kind {
            Kind::Quoit => Self::Quoit(Box::new(Quoit::new(EvictionPolicy::SegmentedLru, bytes))),
            Kind::QuoitLru => Self::Quoit(Box::new(Quoit::new(EvictionPolicy::Lru, bytes))),
            Kind::Moka => {
                let builder = moka::sync::Cache::builder().max_capacity(bytes as u64);
                Self::Moka(builder.weigher(move |_, _| weight).build())
            }
            Kind::QuickCache => {
                let entries = bytes / WEIGHT_BYTES;
                Self::QuickCache(quick_cache::sync::Cache::with_weighter(entries, bytes as u64, Weigher))
            }
            Kind::Lru => {
                let bytes = NonZeroUsize::new(bytes).context("a cache of no bytes")?;
                Self::Lru(Box::new(CLruCache::with_config(CLruCacheConfig::new(bytes).with_scale(Weigher))))
            }
            Kind::Admitting => Self::Admitting(Box::new(Admitting::new(bytes / WEIGHT_BYTES, 0.01, 0.8))),
        })
    }

    /// Reads a key, and stores it if it is absent. Says whether it was there.
    pub fn access(&mut self, key: u64) -> bool {
        let mut name = [0; KEY_BYTES];
        name[..8].copy_from_slice(&key.to_le_bytes());
        match self {
            Self::Quoit(quoit) => quoit.access(&name),
            Self::Admitting(cache) => cache.access(&name, || Arc::new(VALUE)),
            Self::Moka(cache) => {
                let hit = cache.get(&name).is_some();
                if !hit {
                    cache.insert(name, Arc::new(VALUE));
                }
                hit
            }
            Self::QuickCache(cache) => {
                let hit = cache.get(&name).is_some();
                if !hit {
                    cache.insert(name, Arc::new(VALUE));
                }
                hit
            }
            Self::Lru(cache) => {
                let hit = cache.get(&name).is_some();
                if !hit {
                    // Refused only if it alone is heavier than the cache.
                    let _ = cache.put_with_weight(name, Arc::new(VALUE));
                }
                hit
            }
        }
    }

    /// Lets it do what it has put off.
    pub fn settle(&self) {
        if let Self::Moka(cache) = self {
            cache.run_pending_tasks();
        }
    }
}

impl Quoit {
    fn new(policy: EvictionPolicy, memory_limit_bytes: usize) -> Self {
        let planted = DataPlanted::NOTHING;
        let store = Store::new(StoreConfig { memory_limit_bytes, value_bytes_max: 4096, policy, seed: 42, planted });
        store.prepare(SlotCount::DEFAULT);
        // As a node that holds the only copy of everything.
        store.set_shadowing(false);
        Self { store, now: 1 }
    }

    fn access(&mut self, key: &[u8]) -> bool {
        self.now += 1;
        let now = Wall::from_millis(self.now);
        let found = self.store.get_with(now, FENCE, key, |entry| entry.is_some());
        if found.unwrap_or_default() {
            return true;
        }
        let version = Version { hlc: Hlc::from_millis(self.now), ..Version::default() };
        // Refused only if it alone is larger than a shard.
        let _ = self.store.apply(now, FENCE, Origin::Write, Stamp::value(version, 0), Record::new(key, &VALUE));
        false
    }
}

const VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];
/// Of a store that no ring change has sealed.
const FENCE: Fence = Fence::new(0);
