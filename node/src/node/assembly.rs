//! Makes the parts of a node of its settings.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use quoit_client::Identity;
use quoit_core::{
    cluster::{Cluster, ClusterConfig},
    genesis::FounderSearch,
    meta::Meta,
    planted::{Planted, data::DataPlanted},
    replication::HlcClock,
    upkeep::Upkeep,
};
use quoit_proto_types::{
    Boot, Instance,
    message::{membership::Applicant, session::VERSIONS},
    view::ViewConfig,
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::info;

use super::{StartError, spread};
use crate::{
    clock::{self, Clock},
    config::Settings,
    data::{
        DataPlane,
        links::Links,
        under_way::UnderWay,
        upkeep::{UpkeepHandle, UpkeepNews, UpkeepTask},
    },
    meta::{DataError, MetaFile},
    shutdown::Tasks,
    store::{Store, StoreConfig},
    transport::streams::ByteBudget,
};

/// The share of the memory limit that values on their way in may take beside it.
const RECEIVING_SHARE: usize = 4;

/// The upkeep, not yet running.
pub(super) struct UpkeepParts {
    pub(super) task: UpkeepTask,
    pub(super) news: mpsc::Receiver<UpkeepNews>,
}

/// What carries requests for keys out, with the store in it, and what happens to it in the background.
pub(super) fn data_plane(
    settings: &Settings,
    clock: Clock,
    tasks: &Tasks,
    boot: Boot,
    seed: u64,
) -> (Arc<DataPlane>, UpkeepParts) {
    let store = Arc::new(Store::new(store_config(settings)));
    let machine = Upkeep::new(spread(seed, 8), settings.upkeep());
    let hints = machine.hints();
    let (upkeep, task, news) = UpkeepHandle::new(clock, Arc::clone(&store), machine);
    let plane = DataPlane {
        store,
        routing: Arc::default(),
        views: Arc::default(),
        stamps: HlcClock::default(),
        hints,
        links: Links::new(tasks.clone()),
        upkeep,
        clock,
        boot,
        value_bytes_max: settings.value_bytes_max,
        counters: Arc::default(),
        values_under_way: ByteBudget::new(settings.memory_bytes / RECEIVING_SHARE),
        batches: AtomicU64::default(),
        under_way: UnderWay::default(),
        tasks: tasks.clone(),
    };
    (Arc::new(plane), UpkeepParts { task, news })
}

/// The node's durable state, with its boot raised and on disk. Without a folder nothing is durable, and every start makes a
/// new instance.
pub(super) async fn durable_state(folder: Option<PathBuf>, seed: u64) -> Result<(Option<MetaFile>, Meta), StartError> {
    let instance = Instance::from_random(u128::from(spread(seed, 1)) << 64 | u128::from(spread(seed, 2)));
    let Some(folder) = folder else {
        return Ok((None, Meta::new(instance)));
    };
    let path = folder.clone();
    let opened = spawn_blocking(move || {
        let file = MetaFile::open(&path)?;
        let meta = file.load()?.map_or_else(|| Meta::new(instance), Meta::next_boot);
        file.save(&meta)?;
        Ok::<_, DataError>((Some(file), meta))
    });
    let (file, meta) = opened.await.map_err(|_| StartError::DataTask { folder: folder.clone() })??;
    let (instance, boot, epoch) = (meta.instance, meta.boot, meta.epoch());
    info!(event = "data", folder = %folder.display(), %instance, %boot, %epoch, "durable state");
    Ok((file, meta))
}

/// What this process says of itself.
pub(super) fn introduce(settings: &Settings, identity: &Identity, address: SocketAddr, meta: &Meta) -> Applicant {
    Applicant {
        name: identity.name.clone(),
        instance: meta.instance,
        boot: meta.boot,
        address: settings.advertise.clone().unwrap_or_else(|| address.into()),
        zone: settings.zone.clone(),
        vnodes: settings.vnodes,
        priority: settings.priority,
        versions: VERSIONS,
    }
}

pub(super) fn founder_search(settings: &Settings, identity: &Identity) -> FounderSearch {
    let name = identity.name.clone();
    if settings.founders.is_empty() {
        FounderSearch::from_seeds(name, settings.seeds.clone())
    } else {
        FounderSearch::named(name, settings.founders.clone())
    }
}

pub(super) fn control_plane(
    settings: &Settings,
    identity: &Identity,
    me: Applicant,
    meta: Meta,
    clock: Clock,
    seed: u64,
) -> Cluster {
    let since_epoch = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let config = ClusterConfig {
        cluster: identity.cluster.clone(),
        me,
        view: ViewConfig {
            slots: settings.slots,
            replication: settings.replication,
            timing: settings.timing,
            out_after_s: u32::try_from(settings.out_after.as_secs()).unwrap_or(u32::MAX),
            ring_algorithm: settings.ring,
        },
        started_at_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        planted: Planted::NOTHING,
    };
    Cluster::new(config, meta, StdRng::seed_from_u64(seed), clock.now())
}

fn store_config(settings: &Settings) -> StoreConfig {
    StoreConfig {
        memory_limit_bytes: settings.memory_bytes,
        value_bytes_max: settings.value_bytes_max,
        policy: settings.eviction,
        // Drawn apart from the node's seed, of which others see what is derived from it: this one must stay secret.
        seed: settings.random_seed.map_or_else(rand::random, |seed| spread(seed, 6)),
        planted: DataPlanted::NOTHING,
    }
}
