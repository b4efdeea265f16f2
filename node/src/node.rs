//! A whole node in a process: start it, watch it form its cluster, stop it.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use assembly::{control_plane, data_plane, durable_state, founder_search, introduce};
use quoit_client::{CredentialsError, ErrorCode, Identity, Label, Role, View, packets::PacketBytes};
use quoit_core::{
    cluster::{Life, StopReason},
    store::ShardStats,
};
use quoit_proto_types::{
    Epoch, Nonce,
    message::{
        admin::NodeStatus,
        session::{Hello, HelloAck, NodeHello, Session as Negotiated, VERSIONS},
    },
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    clock::Clock,
    config::{Config, Settings},
    data::{DataPlane, upkeep::UpkeepTask},
    driver::{Driver, Inputs, Parts, control::DriverHandle, placement::Placement, saver::Saver},
    gateway::{admin::Admin, cache::Gateway},
    leave::{Leave, LeaveProgress, Leaver},
    meta::DataError,
    shutdown::Tasks,
    status::StatusSource,
    transport::{
        counters::LimitsHit,
        credentials::{NodeCredentials, RELOAD_INTERVAL},
        dialler::PeerDialler,
        endpoint::{Endpoints, Network},
        listener::{Handshake, Listener},
        peers::{PeerEvent, PeerSink},
        refusals::RefusalLog,
        session::Session,
    },
    workers::Workers,
};

mod assembly;

/// Events of peers that may wait for the driver, and heartbeats.
const PEER_EVENTS: usize = 1024;
const BEATS: usize = 4096;
/// How long, after draining, everybody may take to hear that the node stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long clients may take to hang up once they are told that the node stops: the usual deadline of a request, twice over,
/// for the last ones of those that are under way.
const HANG_UP: Duration = Duration::from_secs(2);
/// How long what a coordinator says when it stops may take to leave.
const HAND_OVER: Duration = Duration::from_millis(50);
/// A running node. Call [`shutdown`](Self::shutdown) to stop it; dropping it cuts its connections off.
#[derive(Debug)]
pub struct NodeHandle {
    identity: Identity,
    settings: Settings,
    address: SocketAddr,
    clock: Clock,
    shared: Arc<Shared>,
    state: watch::Receiver<NodeState>,
    tasks: Tasks,
    /// Large replies under way, which a stop waits for.
    replies: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    listener: Arc<Listener>,
    credentials: Arc<NodeCredentials>,
    gateway: Arc<Gateway>,
    plane: Arc<DataPlane>,
    me: Label,
    hello: NodeHello,
    sink: PeerSink,
    driver: DriverHandle,
    /// A permit for each connection of a client.
    clients: Arc<Semaphore>,
    workers: Workers,
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
    /// Starts a node on a UDP socket, all on the runtime that calls this. It forms its cluster in the background: see
    /// [`formed`](Self::formed).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let settings = config.settings();
        let network = Network::udp_on(&Workers::default(), settings.listen, settings.busy_poll)?;
        Self::start_on(config, network).await
    }

    /// Starts a node on a socket and runtime from outside, such as one with [`Workers`], or a simulated network.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(config: Config, network: Network) -> Result<Self, StartError> {
        let mut settings = config.settings().clone();
        let packets = PacketBytes::nearest(settings.max_mtu);
        let credentials = Arc::new(NodeCredentials::load(settings.certs.clone(), packets)?);
        let identity = credentials.identity();
        let seed = settings.random_seed.unwrap_or_else(rand::random);
        // Before anybody can hear from this process: its boot must be on disk.
        let (file, meta) = durable_state(settings.data.clone(), seed).await?;
        let (resolver, workers) = (network.resolver.clone(), network.workers.clone());
        let endpoints = network.open(&credentials, packets)?;
        let address = endpoints.local_address().map_err(StartError::Endpoint)?;
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
        let (clock, tasks) = (Clock::start(), Tasks::with_home(workers.runtime(0).cloned()));
        let (events, event_receiver) = mpsc::channel(PEER_EVENTS);
        let (beats, beat_receiver) = mpsc::channel(BEATS);
        let (driver, requests) = DriverHandle::new();
        let (state_sender, state) = watch::channel(NodeState::Waiting("starting".into()));
        let sink = PeerSink::new(events, beats);
        let (plane, upkeep) = data_plane(&settings, clock, &tasks, hello.boot, seed);
        let dialler = PeerDialler {
            endpoint: endpoints.dialling().clone(),
            resolver,
            credentials: Arc::clone(&credentials),
            cluster: identity.cluster.clone(),
            me: me.name.clone(),
            packets,
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
            placement: Placement::new(Arc::clone(&plane.store), Arc::clone(&plane.routing), Arc::clone(&plane.views)),
            plane: Arc::clone(&plane),
            state: state_sender,
        };
        let replies = TaskTracker::new();
        let front = Front { workers, plane, state: state.clone(), replies: replies.clone(), hello, sink, driver };
        let shared = Arc::new(front.shared(&settings, &identity, endpoints, credentials, spread(seed, 7)));
        let node = Self { identity, settings, address, clock, shared, state, tasks, replies };
        let inputs = Inputs { beats: beat_receiver, events: event_receiver, requests, upkeep: upkeep.news };
        node.serve(Driver::new(parts), inputs, upkeep.task);
        Ok(node)
    }

    /// Starts what runs: the driver, the upkeep, accepting, and reading the certificates again.
    fn serve(&self, driver: Driver, inputs: Inputs, upkeep: UpkeepTask) {
        // Large, and for the life of the process: not on the stack of whoever starts it.
        self.tasks.spawn(Box::pin(driver.run(inputs)));
        self.tasks.spawn(Box::pin(upkeep.run(Arc::clone(&self.shared.plane))));
        let here = Handle::current();
        for index in 0..self.shared.listener.endpoints.count() {
            let reader = self.shared.workers.runtime(index).unwrap_or(&here);
            self.tasks.spawn_on(reader, accept(Arc::clone(&self.shared), index));
        }
        self.tasks.spawn(reload(Arc::clone(&self.shared)));
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
        self.shared.plane.store.stats()
    }

    /// How it stands, as an administrator sees it.
    pub async fn status(&self) -> NodeStatus {
        self.shared.gateway.admin.status.status().await
    }

    /// How often each limit of the wire was hit.
    pub fn limits_hit(&self) -> LimitsHit {
        self.shared.plane.counters.read()
    }

    /// Reads the certificate files again now, as happens by itself when they change.
    pub fn reload(&self) {
        self.shared.credentials.reload();
    }

    /// Hands its slots over and leaves the cluster, for a node that is to stop for good or for long: call
    /// [`shutdown`](Self::shutdown) afterwards, whatever came of it. Requests are served meanwhile. `report` is told how far it
    /// has come.
    ///
    /// It takes as long as the drain timeout at most, and leaves the rest of that to the shutdown. Not cancel-safe: a drain
    /// that has begun goes on without it.
    pub async fn leave(&mut self, report: impl FnMut(&LeaveProgress)) -> Leave {
        let began = self.clock.now();
        let leaver = Leaver {
            me: &self.identity.name,
            driver: &self.shared.driver,
            plane: &self.shared.plane,
            state: &mut self.state,
            clock: self.clock,
            deadline: began.saturating_add(self.settings.drain_timeout),
        };
        let left = leaver.leave(report).await;
        let took = self.clock.now().checked_duration_since(began).unwrap_or_default();
        self.settings.drain_timeout = self.settings.drain_timeout.saturating_sub(took);
        left
    }

    /// Stops: hands the coordinator's office over, takes no new connections, has its clients hang up and serves them until
    /// they have, lets large replies finish, then tells everybody and closes. Takes no longer than the drain timeout and
    /// four seconds.
    pub async fn shutdown(self) {
        let endpoints = &self.shared.listener.endpoints;
        endpoints.listen_no_more();
        if timeout(FAREWELL, self.shared.driver.stopping()).await.is_ok() {
            sleep(HAND_OVER).await;
        }
        self.shared.gateway.farewell.cancel();
        let all_clients = u32::try_from(self.settings.clients_max).unwrap_or(u32::MAX);
        if timeout(HANG_UP, self.shared.clients.acquire_many(all_clients)).await.is_err() {
            let left = self.settings.clients_max.saturating_sub(self.shared.clients.available_permits());
            warn!(event = "clients_left", clients = left, "stopped though clients had not hung up");
        }
        self.replies.close();
        if timeout(self.settings.drain_timeout, self.replies.wait()).await.is_err() {
            warn!(event = "drain_timeout", "stopped without waiting any longer");
        }
        endpoints.close("the node is shutting down");
        self.tasks.stop();
        let _ = timeout(FAREWELL, async {
            self.tasks.ended().await;
            endpoints.wait_idle().await;
        })
        .await;
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.tasks.stop();
        self.shared.listener.endpoints.close("the node was stopped");
    }
}

/// What the front of the house is made of.
struct Front {
    workers: Workers,
    plane: Arc<DataPlane>,
    state: watch::Receiver<NodeState>,
    replies: TaskTracker,
    hello: NodeHello,
    sink: PeerSink,
    driver: DriverHandle,
}

impl Front {
    fn shared(
        self,
        settings: &Settings,
        identity: &Identity,
        endpoints: Endpoints,
        credentials: Arc<NodeCredentials>,
        seed: u64,
    ) -> Shared {
        let Self { workers, plane, state, replies, hello, sink, driver } = self;
        let (clock, log) = (plane.clock, RefusalLog::new(plane.clock));
        let (cluster, counters) = (identity.cluster.clone(), Arc::clone(&plane.counters));
        let listener = Listener::new(endpoints, Arc::clone(&credentials), cluster, log, counters);
        let clients = Arc::new(Semaphore::new(settings.clients_max));
        let status = StatusSource {
            name: identity.name.clone(),
            boot: plane.boot,
            driver: driver.clone(),
            upkeep: plane.upkeep.clone(),
            store: Arc::clone(&plane.store),
            credentials: Arc::clone(&credentials),
            clients: Arc::clone(&clients),
            clients_max: settings.clients_max,
            clock,
        };
        let (upkeep, views) = (plane.upkeep.clone(), Arc::clone(&plane.views));
        let admin = Arc::new(Admin { status, driver: driver.clone(), upkeep, views });
        let sessions = AtomicU64::new(seed);
        let farewell = CancellationToken::new();
        let gateway = Arc::new(Gateway { plane: Arc::clone(&plane), state, clock, replies, admin, sessions, farewell });
        let (me, listener) = (identity.name.clone(), Arc::new(listener));
        Shared { listener, credentials, gateway, plane, me, hello, sink, driver, clients, workers }
    }
}

/// Derives an independent value from the node's seed (SplitMix64, Steele et al., 2014).
pub(crate) fn spread(seed: u64, index: u64) -> u64 {
    let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Accepts the sessions that come to one of the endpoints until that closes; owns every one of them.
async fn accept(shared: Arc<Shared>, endpoint: usize) {
    let mut sessions = JoinSet::new();
    // Who reads for all keeps no more than the others.
    let reader = (shared.listener.endpoints.count() > 1).then_some(endpoint);
    while let Some(handshake) = shared.listener.next(endpoint).await {
        while sessions.try_join_next().is_some() {}
        shared.workers.spawn_connection(reader, &mut sessions, serve(Arc::clone(&shared), handshake));
    }
}

async fn serve(shared: Arc<Shared>, handshake: Handshake) {
    let acknowledge = |hello: &Hello| HelloAck {
        session: Negotiated { version: VERSIONS.max, features: 0 },
        epoch: shared.plane.routing.load().as_ref().map_or(Epoch::GENESIS, |r| r.epoch()),
        value_bytes_max: u32::try_from(shared.plane.value_bytes_max).unwrap_or(u32::MAX),
        node: hello.node.as_ref().map(|_| shared.hello.clone()),
    };
    let Some(session) = handshake.complete(acknowledge).await else {
        return;
    };
    match session.role {
        Role::Node => listen_to_peer(&shared, session).await,
        Role::Client | Role::Admin => {
            let Ok(_permit) = Arc::clone(&shared.clients).try_acquire_owned() else {
                shared.plane.counters.connections_refused.add();
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
        shared.credentials.reload();
    }
}
