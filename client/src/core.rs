//! What all clones of a client share: the view, the connections, and how requests are to be made.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use quoit_proto_types::{ErrorCode, ReadLevel, Role, WriteLevel, view::Address};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use crate::{
    config::ClientConfig,
    connection::Connection,
    discovery, endpoint,
    endpoints::Endpoints,
    error::ConnectError,
    pool::{Dialler, Node},
    retry::RetryPolicy,
    tls::CredentialsError,
    topology::Topology,
    views::Hint,
};

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) dialler: Arc<Dialler>,
    pub(crate) seeds: Vec<Address>,
    pub(crate) topology: ArcSwap<Topology>,
    /// Held while the topology is replaced, so that an earlier view never replaces a later one.
    pub(crate) installing: Mutex<()>,
    /// Held while a view is asked for, so that it is asked for once however many requests need it; when that last began.
    pub(crate) fetching: tokio::sync::Mutex<Option<Instant>>,
    /// The latest view that some reply spoke of.
    pub(crate) hint: watch::Sender<Hint>,
    /// Tells that a view had to be asked for which should have been pushed.
    pub(crate) unpushed: Notify,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    /// Those of requests that say nothing else.
    pub(crate) levels: Levels,
    random: Mutex<SmallRng>,
    /// Requests that went by an old view and were repeated by a later one. Relaxed: it orders nothing.
    redirects: AtomicU64,
    closed: AtomicBool,
}

/// How many copies are waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) read: ReadLevel,
    pub(crate) write: WriteLevel,
}

impl Core {
    pub(crate) async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        if config.seeds.is_empty() {
            return Err(ConnectError::NoSeeds);
        }
        let credentials = config.files.load()?;
        let identity = credentials.identity().clone();
        if identity.role == Role::Node {
            let (path, found) = (config.files.certificate, Box::new(identity));
            return Err(CredentialsError::Role { path, found, expected: Role::Client }.into());
        }
        let endpoints =
            endpoints(&config, &credentials.reset_key(0)).map_err(|error| ConnectError::Socket(Arc::new(error)))?;
        let dialler = Arc::new(Dialler {
            endpoints,
            resolver: config.resolver,
            identity,
            files: config.files,
            dial_timeout: config.dial_timeout,
            packets: config.packets,
            seed: config.seed,
        });
        let deadline = Instant::now() + config.connect_timeout;
        let (view, connection) = discovery::find(&dialler, &config.seeds, None, deadline).await?;
        let mut adopted = Some(Arc::new(connection));
        let topology = Topology::first(view, Instant::now(), |member| {
            let is_peer = |c: &mut Arc<Connection>| c.peer().node_id() == member.node_id;
            Node::start(member, Arc::clone(&dialler), adopted.take_if(is_peer), None)
        });
        Ok(Self {
            dialler,
            seeds: config.seeds,
            topology: ArcSwap::from_pointee(topology),
            installing: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            hint: watch::Sender::default(),
            unpushed: Notify::new(),
            request_timeout: config.request_timeout,
            retry: config.retry,
            levels: config.levels,
            random: Mutex::new(SmallRng::seed_from_u64(config.seed)),
            redirects: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// Keeps the view current until the client is closed.
    pub(crate) async fn keep_current(self: Arc<Self>) {
        tokio::join!(self.follow_views(), self.heed_hints());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn rng(&self) -> MutexGuard<'_, SmallRng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A random number from 0 to 1.
    pub(crate) fn draw(&self) -> f64 {
        self.rng().random()
    }

    pub(crate) fn redirects(&self) -> u64 {
        self.redirects.load(Ordering::Relaxed)
    }

    /// A request is about to be repeated by a later view.
    pub(crate) fn note_redirect(&self) {
        self.redirects.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes every connection for good and waits, no longer than `wait`, until the nodes have been told.
    pub(crate) async fn close(&self, wait: Duration) {
        self.closed.store(true, Ordering::Relaxed);
        self.topology().nodes().iter().for_each(|node| node.stop());
        let code = u32::from(ErrorCode::ShuttingDown.number()).into();
        let _ = timeout(wait, self.dialler.endpoints.close(code, b"the client is closing")).await;
    }
}

fn endpoints(config: &ClientConfig, reset_key: &[u8; 32]) -> std::io::Result<Endpoints> {
    let settings = endpoint::endpoint_config(reset_key, config.packets);
    match &config.transport {
        Some((socket, runtime)) => Endpoints::given(settings, config.packets, Arc::clone(socket), Arc::clone(runtime)),
        None => Ok(Endpoints::udp(settings, config.packets, config.busy_poll)),
    }
}
