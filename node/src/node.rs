//! A whole node in a process: start it, watch it form its cluster, stop it.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use quoit_client::{CredentialsError, ErrorCode, Identity, Label, Role, View};
use quoit_core::{
    cluster::{Cluster, ClusterConfig, Life, StopReason},
    genesis::FounderSearch,
    meta::Meta,
    planted::Planted,
    routing::Routing,
    store::ShardStats,
};
use quoit_proto_types::{
    Epoch, Instance, Nonce,
    message::{
        admin::NodeStatus,
        membership::Applicant,
        session::{Hello, HelloAck, NodeHello, Session as Negotiated, VERSIONS},
    },
    view::ViewConfig,
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    clock::{self, Clock},
    config::{Config, Settings},
    driver::{Driver, Inputs, Parts, control::DriverHandle, placement::Placement, saver::Saver},
    gateway::{admin::Admin, cache::Gateway},
    meta::{DataError, MetaFile},
    shutdown::Tasks,
    status::StatusSource,
    store::{Store, StoreConfig},
    transport::{
        counters::{Counters, LimitsHit},
        credentials::{NodeCredentials, RELOAD_INTERVAL},
        dialler::PeerDialler,
        endpoint::Network,
        listener::{Handshake, Listener},
        peers::{PeerEvent, PeerSink},
        refusals::RefusalLog,
        session::Session,
        streams::ByteBudget,
    },
    views::Views,
};

/// Events of peers that may wait for the driver, and heartbeats.
const PEER_EVENTS: usize = 1024;
const BEATS: usize = 4096;
/// How long, after draining, everybody may take to hear that the node stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long what a coordinator says when it stops may take to leave.
const HAND_OVER: Duration = Duration::from_millis(50);
/// The share of the memory limit that values on their way in may take beside it.
const RECEIVING_SHARE: usize = 4;

/// A running node. Call [`shutdown`](Self::shutdown) to stop it; dropping it cuts its connections off.
#[derive(Debug)]
pub struct NodeHandle {
    identity: Identity,
    settings: Settings,
    address: SocketAddr,
    shared: Arc<Shared>,
    state: watch::Receiver<NodeState>,
    /// Ends what would open doors again while the node drains.
    draining: CancellationToken,
    tasks: Tasks,
    /// Large replies under way, which a stop waits for.
    replies: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    listener: Arc<Listener>,
    credentials: Arc<NodeCredentials>,
    gateway: Arc<Gateway>,
    store: Arc<Store>,
    counters: Arc<Counters>,
    me: Label,
    hello: NodeHello,
    sink: PeerSink,
    driver: DriverHandle,
    /// A permit for each connection of a client.
    clients: Arc<Semaphore>,
}

/// Where a node stands on its way into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is no member, or not yet in this life; the text says what it waits for.
    Waiting(String),
    /// It is a member of the view.
    Member(Arc<View>),
    /// It cannot become one, or cannot go on; the text says why and what to do.
    Failed(String),
    /// It has ended: it left its cluster, or must not go on. Shut it down.
    Stopped {
        /// Why. Only [`StopReason::Retired`] is as it should be.
        reason: StopReason,
    },
}

/// Why a node did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The clock stands before or after the certificate's dates.
    #[error("the certificate is valid from {not_before} to {not_after}, and the clock says {now}")]
    CertificateDates {
        /// The first moment.
        not_before: String,
        /// The last moment.
        not_after: String,
        /// The clock's.
        now: String,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}/udp")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The transport cannot be started.
    #[error("cannot start QUIC")]
    Endpoint(#[source] io::Error),
    /// The durable state cannot be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The task that reads the durable state ended.
    #[error("the durable state in {} was not read", .folder.display())]
    DataTask {
        /// The data folder.
        folder: PathBuf,
    },
}

impl StartError {
    /// What to do about it, as a command or a sentence.
    pub fn advice(&self) -> String {
        match self {
            Self::Credentials(error) => error.advice(),
            Self::CertificateDates { .. } => "date, to check the clock; make-certs renew, if it is right".into(),
            Self::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                let port = address.port();
                format!("ss -lunp 'sport = :{port}' shows who has the port; choose another with --listen")
            }
            Self::Bind { .. } => "--listen with an address of this machine, and a port above 1023".into(),
            Self::Endpoint(_) => "ulimit -n, and the kernel's log".into(),
            Self::Data(error) => error.advice(),
            Self::DataTask { .. } => "the log says how it ended".into(),
        }
    }
}

impl NodeHandle {
    /// Starts a node on a UDP socket. It forms its cluster in the background: see [`formed`](Self::formed).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let network = Network::udp(config.settings().listen)?;
        Self::start_on(config, network).await
    }

    /// Starts a node on a socket and runtime from outside, such as a simulated network.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(config: Config, network: Network) -> Result<Self, StartError> {
        let mut settings = config.settings().clone();
        let credentials = Arc::new(NodeCredentials::load(settings.certs.clone())?);
        let identity = credentials.identity();
        let seed = settings.random_seed.unwrap_or_else(rand::random);
        // Before anybody can hear from this process: its boot must be on disk.
        let (file, meta) = durable_state(settings.data.clone(), seed).await?;
        let resolver = network.resolver.clone();
        let endpoint = network.open(&credentials)?;
        let address = endpoint.local_addr().map_err(StartError::Endpoint)?;
        if settings.seeds.is_empty() {
            settings.seeds.push(settings.advertise.clone().unwrap_or_else(|| address.into()));
        }
        let me = introduce(&settings, &identity, address, &meta);
        let hello = NodeHello {
            instance: me.instance,
            boot: me.boot,
            nonce: Nonce::new(spread(seed, 3)),
            address: me.address.clone(),
        };
        let (clock, tasks) = (Clock::start(), Tasks::default());
        let (events, event_receiver) = mpsc::channel(PEER_EVENTS);
        let (beats, beat_receiver) = mpsc::channel(BEATS);
        let (driver, requests) = DriverHandle::new();
        let (state_sender, state) = watch::channel(NodeState::Waiting("starting".into()));
        let sink = PeerSink::new(events, beats);
        let store = Arc::new(Store::new(store_config(&settings)));
        let (routing, views) = (Arc::new(ArcSwapOption::empty()), Arc::new(Views::default()));
        let dialler = PeerDialler {
            endpoint: endpoint.clone(),
            resolver,
            credentials: Arc::clone(&credentials),
            cluster: identity.cluster.clone(),
            me: me.name.clone(),
            hello: hello.clone(),
            seed: spread(seed, 4),
            sink: sink.clone(),
            tasks: tasks.clone(),
        };
        let parts = Parts {
            clock,
            search: founder_search(&settings, &identity),
            cluster: control_plane(&settings, &identity, me, meta, clock, spread(seed, 5)),
            seeds: settings.seeds.clone(),
            dialler,
            saver: Saver::new(file),
            placement: Placement::new(Arc::clone(&store), Arc::clone(&routing), Arc::clone(&views)),
            store: Arc::clone(&store),
            state: state_sender,
        };
        let replies = TaskTracker::new();
        let front =
            Front { routing, views, state: state.clone(), replies: replies.clone(), hello, sink, driver, clock };
        let shared = Arc::new(front.shared(&settings, &identity, endpoint, credentials, store, spread(seed, 7)));
        let draining = tasks.stopping().child_token();
        let node = Self { identity, settings, address, shared, state, draining, tasks, replies };
        node.serve(Driver::new(parts), Inputs { beats: beat_receiver, events: event_receiver, requests });
        Ok(node)
    }

    /// Starts what runs: the driver, accepting, and reading the certificates again.
    fn serve(&self, driver: Driver, inputs: Inputs) {
        // Large, and for the life of the process: not on the stack of whoever starts it.
        self.tasks.spawn(Box::pin(driver.run(inputs)));
        self.tasks.spawn(accept(Arc::clone(&self.shared)));
        let (draining, reload) = (self.draining.clone(), reload(Arc::clone(&self.shared)));
        self.tasks.spawn(async move { draining.run_until_cancelled(reload).await.unwrap_or_default() });
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Where it stands now.
    pub fn state(&self) -> NodeState {
        self.state.borrow().clone()
    }

    /// Waits until the state changes, and returns the new one. Cancel-safe.
    pub async fn state_changed(&mut self) -> NodeState {
        if self.state.changed().await.is_err() {
            // What changed the state has ended: the last one stays.
            pending::<()>().await;
        }
        self.state.borrow_and_update().clone()
    }

    /// Waits until it is a member, at most `wait`. Cancel-safe.
    ///
    /// # Errors
    /// The state it is in instead.
    pub async fn formed(&mut self, wait: Duration) -> Result<Arc<View>, NodeState> {
        let settled = self.state.wait_for(|state| !matches!(state, NodeState::Waiting(_)));
        // Whether it settled, timed out or stopped, the state it is in is the answer.
        let _ = timeout(wait, settled).await;
        match self.state() {
            NodeState::Member(view) => Ok(view),
            state @ (NodeState::Waiting(_) | NodeState::Failed(_) | NodeState::Stopped { .. }) => Err(state),
        }
    }

    /// The store's counters.
    pub fn stats(&self) -> ShardStats {
        self.shared.store.stats()
    }

    /// How it stands, as an administrator sees it.
    pub async fn status(&self) -> NodeStatus {
        self.shared.gateway.admin.status.status().await
    }

    /// How often each limit of the wire was hit.
    pub fn limits_hit(&self) -> LimitsHit {
        self.shared.counters.read()
    }

    /// Reads the certificate files again now, as happens by itself when they change.
    pub fn reload(&self) {
        self.shared.credentials.reload(&self.shared.listener.endpoint);
    }

    /// Stops: hands the coordinator's office over, takes no new connections, lets large replies finish, then tells everybody
    /// and closes. Takes no longer than the drain timeout and two seconds.
    pub async fn shutdown(self) {
        let endpoint = &self.shared.listener.endpoint;
        self.draining.cancel();
        endpoint.set_server_config(None);
        if timeout(FAREWELL, self.shared.driver.stopping()).await.is_ok() {
            sleep(HAND_OVER).await;
        }
        self.replies.close();
        if timeout(self.settings.drain_timeout, self.replies.wait()).await.is_err() {
            warn!(event = "drain_timeout", "stopped without waiting any longer");
        }
        endpoint.close(u32::from(ErrorCode::ShuttingDown.number()).into(), b"the node is shutting down");
        self.tasks.stop();
        let _ = timeout(FAREWELL, async {
            self.tasks.ended().await;
            endpoint.wait_idle().await;
        })
        .await;
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.tasks.stop();
        let reason = ErrorCode::ShuttingDown;
        self.shared.listener.endpoint.close(u32::from(reason.number()).into(), b"the node was stopped");
    }
}

/// What the front of the house is made of, beside the store.
struct Front {
    routing: Arc<ArcSwapOption<Routing>>,
    views: Arc<Views>,
    state: watch::Receiver<NodeState>,
    replies: TaskTracker,
    hello: NodeHello,
    sink: PeerSink,
    driver: DriverHandle,
    clock: Clock,
}

impl Front {
    fn shared(
        self,
        settings: &Settings,
        identity: &Identity,
        endpoint: crate::transport::endpoint::QuicEndpoint,
        credentials: Arc<NodeCredentials>,
        store: Arc<Store>,
        seed: u64,
    ) -> Shared {
        let Self { routing, views, state, replies, hello, sink, driver, clock } = self;
        let counters = Arc::new(Counters::default());
        let listener = Listener::new(endpoint, identity.cluster.clone(), RefusalLog::new(clock), Arc::clone(&counters));
        let clients = Arc::new(Semaphore::new(settings.clients_max));
        let status = StatusSource {
            name: identity.name.clone(),
            driver: driver.clone(),
            store: Arc::clone(&store),
            credentials: Arc::clone(&credentials),
            clients: Arc::clone(&clients),
            clients_max: settings.clients_max,
            clock,
        };
        let admin = Arc::new(Admin { status, driver: driver.clone(), views: Arc::clone(&views) });
        let gateway = Arc::new(Gateway {
            store: Arc::clone(&store),
            routing,
            state,
            clock,
            value_bytes_max: settings.value_bytes_max,
            counters: Arc::clone(&counters),
            values_under_way: ByteBudget::new(settings.memory_bytes / RECEIVING_SHARE),
            replies,
            views,
            admin,
            sessions: AtomicU64::new(seed),
        });
        let (me, listener) = (identity.name.clone(), Arc::new(listener));
        Shared { listener, credentials, gateway, store, counters, me, hello, sink, driver, clients }
    }
}

/// The node's durable state, with its boot raised and on disk. Without a folder nothing is durable, and every start makes a
/// new instance.
async fn durable_state(folder: Option<PathBuf>, seed: u64) -> Result<(Option<MetaFile>, Meta), StartError> {
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
fn introduce(settings: &Settings, identity: &Identity, address: SocketAddr, meta: &Meta) -> Applicant {
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

fn founder_search(settings: &Settings, identity: &Identity) -> FounderSearch {
    let name = identity.name.clone();
    if settings.founders.is_empty() {
        FounderSearch::from_seeds(name, settings.seeds.clone())
    } else {
        FounderSearch::named(name, settings.founders.clone())
    }
}

fn control_plane(
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
            timing: settings.timing,
            out_after_s: u32::try_from(settings.out_after.as_secs()).unwrap_or(u32::MAX),
            ..ViewConfig::default()
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
    }
}

/// Derives an independent value from the node's seed (SplitMix64, Steele et al., 2014).
pub(crate) fn spread(seed: u64, index: u64) -> u64 {
    let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Accepts sessions until the endpoint closes; owns every session.
async fn accept(shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    while let Some(handshake) = shared.listener.next().await {
        while sessions.try_join_next().is_some() {}
        sessions.spawn(serve(Arc::clone(&shared), handshake));
    }
}

async fn serve(shared: Arc<Shared>, handshake: Handshake) {
    let acknowledge = |hello: &Hello| HelloAck {
        session: Negotiated { version: VERSIONS.max, features: 0 },
        epoch: shared.gateway.routing.load().as_ref().map_or(Epoch::GENESIS, |r| r.epoch()),
        value_bytes_max: u32::try_from(shared.gateway.value_bytes_max).unwrap_or(u32::MAX),
        node: hello.node.as_ref().map(|_| shared.hello.clone()),
    };
    let Some(session) = handshake.complete(acknowledge).await else {
        return;
    };
    match session.role {
        Role::Node => listen_to_peer(&shared, session).await,
        Role::Client | Role::Admin => {
            let Ok(_permit) = Arc::clone(&shared.clients).try_acquire_owned() else {
                shared.counters.connections_refused.add();
                return session.close(ErrorCode::TooManyConnections, "");
            };
            info!(event = "client_connected", client = %session.identity, remote = %session.remote());
            Arc::clone(&shared.gateway).serve(session).await;
        }
    }
}

/// Passes what a peer says on to the driver.
async fn listen_to_peer(shared: &Shared, session: Session) {
    let Some(node) = &session.hello.node else {
        // The handshake sees to it that nodes introduce themselves.
        return session.close(ErrorCode::Protocol, "a node introduces itself");
    };
    if session.identity.name != shared.me {
        return session.converse(&shared.sink).await;
    }
    if node.nonce == shared.hello.nonce {
        // This process dialled itself and will hang up.
        return session.closed().await;
    }
    session.close(ErrorCode::DuplicateIdentity, "stop one of the two");
    let life = Life { instance: node.instance, boot: node.boot, nonce: node.nonce };
    let namesake = PeerEvent::Namesake { life, address: node.address.clone() };
    // A driver that has ended needs to hear no more.
    let _ = shared.sink.events.send(namesake).await;
}

async fn reload(shared: Arc<Shared>) {
    loop {
        sleep(RELOAD_INTERVAL).await;
        shared.credentials.reload(&shared.listener.endpoint);
    }
}
