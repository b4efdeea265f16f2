//! A whole node in a process: start it, watch it form its cluster, stop it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use quoit_client::{CredentialsError, ErrorCode, Identity, Label, Role, View};
use quoit_core::{
    membership::{FounderSearch, GenesisConfig},
    routing::Routing,
    store::ShardStats,
};
use quoit_proto_types::{
    Boot, Epoch, Instance, Nonce,
    message::{
        peer::Founder,
        session::{Hello, HelloAck, NodeHello, Session as Negotiated, VERSIONS},
    },
    view::ViewConfig,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    clock::Clock,
    config::{Config, Settings},
    driver::MembershipDriver,
    gateway::cache::Gateway,
    store::{Store, StoreConfig},
    transport::{
        counters::{Counters, LimitsHit},
        credentials::{NodeCredentials, RELOAD_INTERVAL},
        endpoint::Network,
        listener::{Handshake, Listener},
        peers::{self, PeerDialler, PeerEvent},
        refusals::RefusalLog,
        session::Session,
        streams::ByteBudget,
    },
};

/// Events of peers that may wait for the membership driver.
const PEER_EVENTS: usize = 1024;
/// How long, after draining, everybody may take to hear that the node stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often expired entries are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
/// Expired entries removed in one go, which bounds how long a shard is locked.
const EXPIRED_AT_ONCE: usize = 256;
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
    stopping: CancellationToken,
    /// Everything that runs, but for what the sessions own.
    tasks: TaskTracker,
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
    events: mpsc::Sender<PeerEvent>,
    /// A permit for each connection of a client.
    clients: Arc<Semaphore>,
}

/// Where a node stands on its way into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The cluster has not formed; the text says what this node waits for.
    Waiting(String),
    /// It is a member of the view.
    Member(View),
    /// It cannot become one; the text says why and what to do.
    Failed(String),
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
    #[expect(clippy::unused_async, reason = "it spawns tasks, so it must be called within a runtime")]
    pub async fn start_on(config: Config, network: Network) -> Result<Self, StartError> {
        let mut settings = config.settings().clone();
        let credentials = Arc::new(NodeCredentials::load(settings.certs.clone())?);
        let identity = credentials.identity();
        let endpoint = network.open(&credentials)?;
        let address = endpoint.local_addr().map_err(StartError::Endpoint)?;
        if settings.seeds.is_empty() {
            settings.seeds.push(settings.advertise.clone().unwrap_or_else(|| address.into()));
        }
        let seed = settings.random_seed.unwrap_or_else(rand::random);
        let me = introduce(&settings, &identity, address, seed);
        let clock = Clock::start();
        let counters = Arc::new(Counters::default());
        let log = RefusalLog::new(clock);
        let cluster = identity.cluster.clone();
        let listener = Listener::new(endpoint.clone(), cluster.clone(), log, Arc::clone(&counters));
        let routing = Arc::new(ArcSwapOption::empty());
        let (state_sender, state) = watch::channel(NodeState::Waiting("starting".into()));
        let (events, event_receiver) = mpsc::channel(PEER_EVENTS);
        let replies = TaskTracker::new();
        let store = Arc::new(Store::new(store_config(&settings)));
        let gateway = Gateway {
            store: Arc::clone(&store),
            routing: Arc::clone(&routing),
            state: state.clone(),
            clock,
            value_bytes_max: settings.value_bytes_max,
            counters: Arc::clone(&counters),
            values_under_way: ByteBudget::new(settings.memory_bytes / RECEIVING_SHARE),
            replies: replies.clone(),
        };
        let hello = NodeHello {
            instance: me.instance,
            boot: me.boot,
            nonce: Nonce::new(spread(seed, 3)),
            address: me.address.clone(),
        };
        let dialler = Arc::new(PeerDialler {
            endpoint,
            credentials: Arc::clone(&credentials),
            cluster,
            me: me.name.clone(),
            hello: hello.clone(),
            seed: spread(seed, 4),
        });
        let driver = membership(&settings, &identity, me, clock, spread(seed, 5), (routing, state_sender));
        let shared = Arc::new(Shared {
            listener: Arc::new(listener),
            credentials,
            gateway: Arc::new(gateway),
            store,
            counters,
            me: identity.name.clone(),
            hello,
            events,
            clients: Arc::new(Semaphore::new(settings.clients_max)),
        });
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let draining = stopping.child_token();
        let node = Self { identity, settings, address, shared, state, draining, stopping, tasks, replies };
        node.spawn(driver.run(event_receiver));
        node.spawn(expire(Arc::clone(&node.shared), clock));
        node.connect(&dialler);
        Ok(node)
    }

    /// Starts what deals with others: dialling the seeds, accepting, and reading the certificates that both show.
    fn connect(&self, dialler: &Arc<PeerDialler>) {
        for seed in self.settings.seeds.clone() {
            let (dialler, events) = (Arc::clone(dialler), self.shared.events.clone());
            // Named founders may share a seed. Founders that are found by their seeds have one each.
            if self.settings.founders.is_empty() {
                self.spawn(peers::keep_connected(dialler, seed, events));
            } else {
                self.spawn(peers::keep_all_connected(dialler, seed, events));
            }
        }
        self.spawn(accept(Arc::clone(&self.shared)));
        let (draining, reload) = (self.draining.clone(), reload(Arc::clone(&self.shared)));
        self.spawn(async move { draining.run_until_cancelled(reload).await.unwrap_or_default() });
    }

    /// Runs `task` until it ends or the node stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            stopping.run_until_cancelled(task).await;
        });
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
        // The sender lives as long as the node runs; after that the last state stays.
        let _ = self.state.changed().await;
        self.state.borrow_and_update().clone()
    }

    /// Waits until it is a member, at most `wait`. Cancel-safe.
    ///
    /// # Errors
    /// The state it is in instead.
    pub async fn formed(&mut self, wait: Duration) -> Result<View, NodeState> {
        let settled = self.state.wait_for(|state| !matches!(state, NodeState::Waiting(_)));
        // Whether it settled, timed out or stopped, the state it is in is the answer.
        let _ = timeout(wait, settled).await;
        match self.state() {
            NodeState::Member(view) => Ok(view),
            state @ (NodeState::Waiting(_) | NodeState::Failed(_)) => Err(state),
        }
    }

    /// The store's counters.
    pub fn stats(&self) -> ShardStats {
        self.shared.store.stats()
    }

    /// How often each limit of the wire was hit.
    pub fn limits_hit(&self) -> LimitsHit {
        self.shared.counters.read()
    }

    /// Reads the certificate files again now, as happens by itself when they change.
    pub fn reload(&self) {
        self.shared.credentials.reload(&self.shared.listener.endpoint);
    }

    /// Stops: takes no new connections, lets large replies finish, then tells everybody and closes. Takes no longer than
    /// the drain timeout and a second.
    pub async fn shutdown(self) {
        let endpoint = &self.shared.listener.endpoint;
        self.draining.cancel();
        endpoint.set_server_config(None);
        self.replies.close();
        if timeout(self.settings.drain_timeout, self.replies.wait()).await.is_err() {
            warn!(event = "drain_timeout", "stopped without waiting any longer");
        }
        endpoint.close(u32::from(ErrorCode::ShuttingDown.number()).into(), b"the node is shutting down");
        self.stopping.cancel();
        self.tasks.close();
        let _ = timeout(FAREWELL, async {
            self.tasks.wait().await;
            endpoint.wait_idle().await;
        })
        .await;
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.stopping.cancel();
        let reason = ErrorCode::ShuttingDown;
        self.shared.listener.endpoint.close(u32::from(reason.number()).into(), b"the node was stopped");
    }
}

/// What this process contributes to view 1. It keeps no state on disk, so it is a new instance at every start.
fn introduce(settings: &Settings, identity: &Identity, address: SocketAddr, seed: u64) -> Founder {
    let instance = u128::from(spread(seed, 1)) << 64 | u128::from(spread(seed, 2));
    Founder {
        name: identity.name.clone(),
        instance: Instance::from_random(instance),
        boot: Boot::new(1),
        address: settings.advertise.clone().unwrap_or_else(|| address.into()),
        zone: settings.zone.clone(),
        vnodes: settings.vnodes,
    }
}

fn membership(
    settings: &Settings,
    identity: &Identity,
    me: Founder,
    clock: Clock,
    seed: u64,
    (routing, state): (Arc<ArcSwapOption<Routing>>, watch::Sender<NodeState>),
) -> MembershipDriver {
    let name = me.name.clone();
    let search = if settings.founders.is_empty() {
        FounderSearch::from_seeds(name, settings.seeds.clone())
    } else {
        FounderSearch::named(name, settings.founders.clone())
    };
    let config = GenesisConfig {
        cluster: identity.cluster.clone(),
        founders: Vec::new(),
        me,
        config: ViewConfig { slots: settings.slots, ..ViewConfig::default() },
    };
    MembershipDriver::new(clock, search, config, seed, routing, state)
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
fn spread(seed: u64, index: u64) -> u64 {
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

/// Passes a peer's messages to the membership driver, if they come on this connection.
async fn listen_to_peer(shared: &Shared, session: Session) {
    let from = session.identity.name.clone();
    let nonce = session.hello.node.as_ref().map(|node| node.nonce);
    if from == shared.me && nonce != Some(shared.hello.nonce) {
        error!(event = "duplicate_identity", remote = %session.remote(), "another process runs under the identity {from}");
        return session.close(ErrorCode::DuplicateIdentity, "stop one of the two");
    }
    if peers::carries_messages(&from, &shared.me) {
        session.converse(&shared.events).await;
    } else {
        session.closed().await;
    }
}

/// Gives the memory of expired entries back without waiting for somebody to read them.
async fn expire(shared: Arc<Shared>, clock: Clock) {
    loop {
        while shared.store.expire(clock.now(), EXPIRED_AT_ONCE) == EXPIRED_AT_ONCE {
            tokio::task::yield_now().await;
        }
        sleep(EXPIRY_INTERVAL).await;
    }
}

async fn reload(shared: Arc<Shared>) {
    loop {
        sleep(RELOAD_INTERVAL).await;
        shared.credentials.reload(&shared.listener.endpoint);
    }
}
