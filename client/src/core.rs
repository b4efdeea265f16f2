//! The client's engine: which node to ask, whether to ask again, and when to fetch the view.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::{Endpoint, Runtime, TokioRuntime};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, HashPoint, Member, NodeId, RequestId, Role, View,
    frame::{FrameHeader, FrameType},
    message::client::Refusal,
    view::Address,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info};

use crate::{
    config::ClientConfig,
    connection::{Connection, NotQueued, Unanswered},
    endpoint,
    error::{ConnectError, DialError, RequestError},
    pool::{Dialler, Node},
    request::{Reply, Request},
    retry::{Decision, RetryPolicy},
    tls::CredentialsError,
    topology::Topology,
};

/// How often a cluster that has not formed yet is asked again.
const FORMING_PAUSE: Duration = Duration::from_millis(200);
/// How long one node may take to send its view.
const VIEW_TIMEOUT: Duration = Duration::from_millis(250);
/// How long after one seed the next is dialled.
const SEED_STAGGER: Duration = Duration::from_millis(100);
/// How long to wait before all seeds are dialled again.
const SEEDS_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Core {
    dialler: Arc<Dialler>,
    seeds: Vec<Address>,
    topology: ArcSwap<Topology>,
    /// Held while the view is fetched, so that it is fetched once however many requests need it.
    refreshing: tokio::sync::Mutex<()>,
    /// Asks the refresher task for a newer view that some reply spoke of.
    outdated: Notify,
    retry: RetryPolicy,
    request_timeout: Duration,
    jitter: Mutex<SmallRng>,
    closed: AtomicBool,
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
        let endpoint =
            open_endpoint(&config, credentials.reset_key()).map_err(|error| ConnectError::Socket(Arc::new(error)))?;
        let dialler = Arc::new(Dialler {
            endpoint,
            identity,
            files: config.files,
            dial_timeout: config.dial_timeout,
            seed: config.seed,
        });
        let deadline = Instant::now() + config.connect_timeout;
        let (view, connection) = first_view(&dialler, &config.seeds, deadline).await?;
        let mut adopted = Some(Arc::new(connection));
        let topology = Topology::new(view, |member| {
            let is_peer = |c: &mut Arc<Connection>| c.peer().node_id() == member.node_id;
            Node::start(member, Arc::clone(&dialler), adopted.take_if(is_peer))
        });
        Ok(Self {
            dialler,
            seeds: config.seeds,
            topology: ArcSwap::from_pointee(topology),
            refreshing: tokio::sync::Mutex::default(),
            outdated: Notify::new(),
            retry: config.retry,
            request_timeout: config.request_timeout,
            jitter: Mutex::new(SmallRng::seed_from_u64(config.seed)),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// Closes every connection for good and waits, no longer than `wait`, until the nodes have been told.
    pub(crate) async fn close(&self, wait: Duration) {
        self.closed.store(true, Ordering::Relaxed);
        self.topology().nodes().iter().for_each(|node| node.stop());
        let endpoint = &self.dialler.endpoint;
        endpoint.close(u32::from(ErrorCode::ShuttingDown.number()).into(), b"the client is closing");
        let _ = timeout(wait, endpoint.wait_idle()).await;
    }

    /// Carries out `request`, retries included.
    pub(crate) async fn execute(&self, request: Request<'_>) -> Result<Reply, RequestError> {
        let Some(point) = request.point()?.filter(|_| !self.closed.load(Ordering::Relaxed)) else {
            return Err(RequestError::Closed);
        };
        let mut now = Instant::now();
        let deadline = now + self.request_timeout;
        let mut attempt = 1;
        loop {
            let (node, fence, epoch) = self.route(point)?;
            let error = match self.ask(&node, &request, (fence, epoch), (now, deadline)).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random();
            match self.retry.decide(attempt, &error, jitter) {
                Decision::GiveUp => return Err(error),
                Decision::Refresh => Box::pin(self.refresh(epoch, deadline)).await,
                Decision::Wait(pause) if Instant::now() + pause >= deadline => return Err(error),
                Decision::Wait(pause) => sleep(pause).await,
            }
            attempt += 1;
            now = Instant::now();
        }
    }

    fn route(&self, point: HashPoint) -> Result<(Arc<Node>, Fence, Epoch), RequestError> {
        let topology = self.topology.load();
        let (fence, epoch) = (topology.view.fence(), topology.view.epoch());
        match topology.owner(point) {
            Some(node) => Ok((Arc::clone(node), fence, epoch)),
            None => Err(RequestError::NoOwner { epoch: epoch.value() }),
        }
    }

    async fn ask(
        &self,
        node: &Node,
        request: &Request<'_>,
        (fence, epoch): (Fence, Epoch),
        (started, deadline): (Instant, Instant),
    ) -> Result<Reply, RequestError> {
        let connection = match node.ready() {
            Some(connection) => connection,
            // Boxed: a request that need not wait does not carry the state of waiting.
            None => Box::pin(node.connection(deadline)).await?,
        };
        let limit = u64::from(connection.ack().value_bytes_max);
        let bytes = request.value().len();
        if bytes as u64 > limit {
            return Err(RequestError::ValueTooLarge { bytes, limit });
        }
        let header = FrameHeader::new(request.kind(), RequestId::default(), fence, epoch);
        let left = deadline.saturating_duration_since(started);
        let header = FrameHeader { deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX), ..header };
        let label = || node.label.clone();
        let effect = request.effect_if_unanswered();
        let reply = match connection.call(request, header, deadline).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(Unanswered::Timeout)) => {
                return Err(RequestError::Timeout { node: label(), waited: started.elapsed(), effect });
            }
            Ok(Err(Unanswered::Lost(reason))) => {
                let reason = reason.to_string();
                return Err(RequestError::ConnectionLost { node: label(), reason, effect });
            }
            Err(NotQueued::Full) => return Err(RequestError::Busy { node: label() }),
            Err(NotQueued::Lost(reason)) => {
                let (reason, effect) = (reason.to_string(), crate::Effect::None);
                return Err(RequestError::ConnectionLost { node: label(), reason, effect });
            }
        };
        if reply.header.epoch > epoch {
            self.outdated.notify_one();
        }
        if reply.header.kind != FrameType::Refusal {
            return Ok(reply);
        }
        Err(match Refusal::decode(&reply.body) {
            Ok(refusal) => RequestError::Refused { node: label(), refusal },
            Err(error) => RequestError::Protocol { node: label(), reason: error.to_string() },
        })
    }

    /// Fetches views as replies tell that there is a newer one. Runs until it is aborted.
    pub(crate) async fn keep_refreshed(self: Arc<Self>) {
        loop {
            self.outdated.notified().await;
            let known = self.topology.load().view.epoch();
            self.refresh(known, Instant::now() + self.request_timeout).await;
        }
    }

    /// Installs a view newer than `known`, if any node has one by `deadline`.
    async fn refresh(&self, known: Epoch, deadline: Instant) {
        let Ok(_guard) = timeout_at(deadline, self.refreshing.lock()).await else {
            return;
        };
        let topology = self.topology();
        if topology.view.epoch() > known {
            return;
        }
        // Side by side, and each for a short time only: a node that hangs must not keep the others' view from anybody.
        let soon = deadline.min(Instant::now() + VIEW_TIMEOUT);
        let ready: Vec<_> = topology.nodes().iter().filter_map(|node| node.ready()).collect();
        let mut views: FuturesUnordered<_> = ready.iter().map(|connection| fetch_view(connection, soon)).collect();
        while let Some(view) = views.next().await {
            match view {
                Ok(view) if self.supersedes(&view) => return self.install(view),
                Ok(_) => {}
                Err(error) => debug!(%error, "no view from this node"),
            }
        }
        // Every known node may have been replaced: ask the seeds again.
        if let Ok((view, _)) = first_view(&self.dialler, &self.seeds, deadline).await
            && self.supersedes(&view)
        {
            self.install(view);
        }
    }

    /// A view of another cluster replaces the known one too: the cluster at these addresses was started anew.
    fn supersedes(&self, view: &View) -> bool {
        let topology = self.topology.load();
        let known = topology.view.fields();
        view.epoch() > known.epoch || view.fields().cluster_id != known.cluster_id
    }

    fn install(&self, view: View) {
        info!(epoch = %view.epoch(), members = view.members().len(), "view installed");
        let old = self.topology();
        let same = |node: &&Arc<Node>, id: NodeId, address: &Address| node.id == id && node.address == *address;
        let node_for = |member: &Member| {
            let known = old.nodes().iter().find(|node| same(node, member.node_id, &member.address));
            known.cloned().unwrap_or_else(|| Node::start(member, Arc::clone(&self.dialler), None))
        };
        self.topology.store(Arc::new(Topology::new(view, node_for)));
    }
}

fn open_endpoint(config: &ClientConfig, reset_key: &[u8; 32]) -> std::io::Result<Endpoint> {
    let settings = endpoint::endpoint_config(reset_key);
    if let Some((socket, runtime)) = &config.transport {
        return endpoint::dialling_endpoint(settings, Arc::clone(socket), Arc::clone(runtime));
    }
    // An IPv6 socket reaches both families; without IPv6, the IPv4 wildcard has to do.
    let any_v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let (socket, _) = endpoint::bind(any_v6).or_else(|_| endpoint::bind(SocketAddr::from(([0, 0, 0, 0], 0))))?;
    let runtime = Arc::new(TokioRuntime);
    let socket = runtime.wrap_udp_socket(socket)?;
    endpoint::dialling_endpoint(settings, socket, runtime)
}

/// Dials the seeds until one has a view: all of them side by side, each a little later than the one before, so that a dead
/// seed costs little and a live one is not joined by all the others.
async fn first_view(
    dialler: &Dialler,
    seeds: &[Address],
    deadline: Instant,
) -> Result<(View, Connection), ConnectError> {
    loop {
        let dials = seeds.iter().zip(0..).map(async |(seed, position): (&Address, u32)| {
            sleep(SEED_STAGGER.saturating_mul(position)).await;
            (seed.clone(), ask_seed(dialler, seed, deadline).await)
        });
        let mut dials: FuturesUnordered<_> = dials.collect();
        let mut attempts = Vec::new();
        let mut forming = None;
        while let Some((seed, outcome)) = dials.next().await {
            match outcome {
                Ok(found) => return Ok(found),
                Err(NoSeed::NotFormed(text)) => forming = Some(ConnectError::NotFormed { seed, text }),
                Err(NoSeed::Unreachable(error)) => attempts.push((seed, error)),
            }
        }
        if let Some(forming) = forming {
            return Err(forming);
        }
        let hopeless = attempts.iter().all(|(_, error)| error.is_about_identity());
        // Another round must have time for a whole dial: one that is cut short says less than the last.
        if hopeless || Instant::now() + SEEDS_PAUSE + dialler.dial_timeout > deadline {
            return Err(ConnectError::Unreachable { attempts });
        }
        sleep(SEEDS_PAUSE).await;
    }
}

/// Why a seed did not lead to a cluster.
enum NoSeed {
    NotFormed(String),
    Unreachable(DialError),
}

async fn ask_seed(dialler: &Dialler, seed: &Address, deadline: Instant) -> Result<(View, Connection), NoSeed> {
    let wait = dialler.dial_timeout.min(deadline.saturating_duration_since(Instant::now()));
    let connection = dialler.dial(seed, None, wait).await.map_err(NoSeed::Unreachable)?;
    match await_view(&connection, deadline).await {
        Ok(view) => Ok((view, connection)),
        Err(NoView::Refused(refusal)) if refusal.code == ErrorCode::NotReady => Err(NoSeed::NotFormed(refusal.text)),
        Err(error) => Err(NoSeed::Unreachable(no_view(&connection, &error))),
    }
}

fn no_view(connection: &Connection, error: &NoView) -> DialError {
    DialError::Failed { address: connection.remote_address(), reason: format!("it gave no view: {error}") }
}

/// Asks for the view until the node's cluster has formed.
async fn await_view(connection: &Connection, deadline: Instant) -> Result<View, NoView> {
    loop {
        match fetch_view(connection, deadline).await {
            Err(NoView::Refused(refusal))
                if refusal.code == ErrorCode::NotReady && Instant::now() + FORMING_PAUSE < deadline =>
            {
                sleep(FORMING_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Why a node gave no view.
#[derive(Debug, thiserror::Error)]
enum NoView {
    #[error("{}{}", .0.code, if .0.text.is_empty() { String::new() } else { format!(" ({})", .0.text) })]
    Refused(Refusal),
    #[error("it did not answer")]
    NoAnswer,
    #[error("it answered out of protocol")]
    Protocol,
}

async fn fetch_view(connection: &Connection, deadline: Instant) -> Result<View, NoView> {
    let session = (Fence::default(), Epoch::GENESIS);
    let header = FrameHeader::new(FrameType::ViewGet, RequestId::default(), session.0, session.1);
    let Ok(Ok(reply)) = connection.call(&Request::ViewGet, header, deadline).await else {
        return Err(NoView::NoAnswer);
    };
    if reply.header.kind == FrameType::View {
        return View::decode(&reply.body).map_err(|_| NoView::Protocol);
    }
    Err(match Refusal::decode(&reply.body) {
        Ok(refusal) if reply.header.kind == FrameType::Refusal => NoView::Refused(refusal),
        _ => NoView::Protocol,
    })
}
