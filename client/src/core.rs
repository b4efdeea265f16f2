//! The client's engine: which node to ask, whether to ask again, and when to fetch the view.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use quinn::{Endpoint, Runtime, TokioRuntime};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, HashPoint, Label, RequestId, Role,
    codec::DecodeError,
    frame::{FrameHeader, FrameType},
    message::{
        admin::{AdminReply, AdminRequest},
        client::Refusal,
    },
    view::Address,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    config::ClientConfig,
    connection::{Connection, NotQueued, Unanswered},
    discovery, endpoint,
    error::{ConnectError, RequestError},
    pool::{Dialler, Node},
    request::{Reply, Request},
    retry::{Decision, RetryPolicy, Tried},
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
    retry: RetryPolicy,
    random: Mutex<SmallRng>,
    /// Requests that went by an old view and were repeated by a later one. Relaxed: it orders nothing.
    redirects: AtomicU64,
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
            resolver: config.resolver,
            identity,
            files: config.files,
            dial_timeout: config.dial_timeout,
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
        let Some(point) = request.point()?.filter(|_| !self.is_closed()) else {
            return Err(RequestError::Closed);
        };
        let mut now = Instant::now();
        let deadline = now + self.request_timeout;
        let mut tried = Tried { attempt: 1, epoch: Epoch::GENESIS, refreshed: None };
        loop {
            let (node, fence, epoch) = self.route(point);
            let outcome = match &node {
                Some(node) => self.ask(node, &request, (fence, epoch), (now, deadline)).await,
                None => Err(RequestError::NoOwner { epoch: epoch.value() }),
            };
            let error = match outcome {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if node.as_ref().is_some_and(|node| self.was_replaced(node, &error)) {
                now = Instant::now();
                continue;
            }
            tried.epoch = epoch;
            match self.retry.decide(tried, &error, self.draw()) {
                Decision::GiveUp => return Err(error),
                Decision::Refresh => {
                    self.redirects.fetch_add(1, Ordering::Relaxed);
                    tried.refreshed = Some(epoch);
                    Box::pin(self.refresh(epoch, node.as_ref(), deadline)).await;
                }
                Decision::Wait(pause) if Instant::now() + pause >= deadline => return Err(error),
                Decision::Wait(pause) => sleep(pause).await,
            }
            tried.attempt += 1;
            now = Instant::now();
        }
    }

    /// Has the member `name` carry out `request`, retries included. No other member can stand in for it.
    pub(crate) async fn administer(&self, name: &Label, request: &AdminRequest) -> Result<AdminReply, RequestError> {
        let mut now = Instant::now();
        let deadline = now + self.request_timeout;
        let mut attempt = 1;
        loop {
            if self.is_closed() {
                return Err(RequestError::Closed);
            }
            let topology = self.topology();
            let (fence, epoch) = (topology.view.fence(), topology.epoch());
            let member = topology.view.member_named(name).and_then(|member| topology.node(member.ordinal));
            let Some(node) = member else {
                return Err(RequestError::NoSuchMember { name: name.clone(), epoch: epoch.value() });
            };
            let error = match self.ask(node, &Request::Admin(request), (fence, epoch), (now, deadline)).await {
                Ok(reply) if reply.header.kind == FrameType::AdminReply => {
                    let broken = |error: DecodeError| node.out_of_protocol(error.to_string());
                    return AdminReply::decode(&reply.body).map_err(broken);
                }
                Ok(reply) => {
                    let kind = reply.header.kind;
                    return Err(node.out_of_protocol(format!("a {kind:?} frame is no answer to an administrator")));
                }
                Err(error) => error,
            };
            if self.was_replaced(node, &error) {
                now = Instant::now();
                continue;
            }
            // The view is of no account here, so nothing is fetched before the request is repeated.
            let tried = Tried { attempt, epoch, refreshed: Some(epoch) };
            match self.retry.decide(tried, &error, self.draw()) {
                Decision::Wait(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                Decision::Wait(_) | Decision::Refresh | Decision::GiveUp => return Err(error),
            }
            attempt += 1;
            now = Instant::now();
        }
    }

    /// Whether a request failed with `error` only because a view that was installed meanwhile has another handle in the
    /// place of `node`, or none. Nothing was sent. True at most once for each view.
    fn was_replaced(&self, node: &Arc<Node>, error: &RequestError) -> bool {
        matches!(error, RequestError::Closed) && !self.is_closed() && !self.topology().has(node)
    }

    fn route(&self, point: HashPoint) -> (Option<Arc<Node>>, Fence, Epoch) {
        let topology = self.topology.load();
        (topology.owner(point).cloned(), topology.view.fence(), topology.epoch())
    }

    async fn ask(
        &self,
        node: &Arc<Node>,
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
            self.hear_of(reply.header.epoch, node);
        }
        if reply.header.kind != FrameType::Refusal {
            return Ok(reply);
        }
        Err(match Refusal::decode(&reply.body) {
            Ok(refusal) => RequestError::Refused { node: label(), refusal },
            Err(error) => node.out_of_protocol(error.to_string()),
        })
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
