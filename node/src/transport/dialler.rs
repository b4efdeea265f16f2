//! Dials other nodes: the seeds, to find the cluster; its members, to stay in it; applicants, to see where they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use quinn::Endpoint;
use quoit_client::{
    Address, DialError, ErrorCode, Identity, Label, Role,
    dial::{self, Dialled, Resolver, Target},
    packets::PacketBytes,
};
use quoit_core::cluster::Reached;
use quoit_proto_types::message::{
    membership::Applicant,
    session::{Hello, NodeHello},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::debug;

use super::{
    credentials::NodeCredentials,
    peers::{Direction, PeerEvent, PeerSink},
};
use crate::shutdown::Tasks;

/// One attempt to reach an address.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between attempts: short at first, when all nodes are just starting.
const REDIAL_MIN: Duration = Duration::from_millis(50);
const REDIAL_MAX: Duration = Duration::from_secs(1);
/// How often a seed is resolved again once it is known who is behind it.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// Addresses of one seed that are dialled.
const ADDRESSES_MAX: usize = 64;
/// How long the other addresses of a seed may take once one has answered.
const STRAGGLERS: Duration = Duration::from_secs(1);
/// How long the one of two nodes whose name comes later waits for the other one to dial, so that they have one connection.
const OTHERS_TURN: Duration = Duration::from_secs(1);

/// Dials as this node.
#[derive(Clone, Debug)]
pub(crate) struct PeerDialler {
    pub(crate) endpoint: Endpoint,
    pub(crate) resolver: Resolver,
    pub(crate) credentials: Arc<NodeCredentials>,
    pub(crate) cluster: Label,
    pub(crate) me: Label,
    pub(crate) packets: PacketBytes,
    pub(crate) hello: NodeHello,
    /// Seeds the jitter of the pauses.
    pub(crate) seed: u64,
    pub(crate) sink: PeerSink,
    /// Owns the conversations.
    pub(crate) tasks: Tasks,
}

/// Who answered at an address of a seed.
enum Behind {
    /// This very process.
    Me,
    /// Another process with this node's certificate.
    Double,
    Peer(Box<(Label, Dialled)>),
}

impl PeerDialler {
    /// Finds out who is behind `seed`, again and again, and has a connection with whoever that is; `connected` are those
    /// with whom there is one.
    pub(crate) async fn keep_found(self, seed: Address, connected: watch::Receiver<BTreeSet<Label>>) {
        let mut known: BTreeMap<SocketAddr, Label> = BTreeMap::new();
        let mut pauses = self.pauses();
        loop {
            let mut failures = Vec::new();
            let mut doubles = 0;
            match self.resolver.resolve(&seed, DIAL_TIMEOUT).await {
                Ok(addresses) => {
                    known.retain(|address, _| addresses.contains(address));
                    let is_up = |name: &Label| *name == self.me || connected.borrow().contains(name);
                    let lost = |address: &SocketAddr| !known.get(address).is_some_and(is_up);
                    let dials = addresses.into_iter().take(ADDRESSES_MAX).filter(lost).collect();
                    for (address, behind) in self.dial_all(dials).await {
                        match behind {
                            Ok(Behind::Me) => drop(known.insert(address, self.me.clone())),
                            Ok(Behind::Double) => doubles += 1,
                            Ok(Behind::Peer(peer)) => {
                                let (name, dialled) = *peer;
                                known.insert(address, name.clone());
                                // When both dial at once, one of the two connections goes, and only one.
                                if self.me > name && connected.borrow().contains(&name) {
                                    dialled.connection.close(0_u32.into(), b"there is a connection");
                                } else {
                                    self.converse(name, dialled);
                                }
                            }
                            Err(error) => failures.push(error),
                        }
                    }
                }
                Err(error) => failures.push(error),
            }
            if !self.report(&seed, &known, failures, doubles).await {
                return;
            }
            let all_up =
                !known.is_empty() && known.values().all(|name| *name == self.me || connected.borrow().contains(name));
            if all_up && doubles == 0 {
                pauses = self.pauses();
                sleep(RESOLVE_AGAIN).await;
            } else {
                sleep(pauses.next().unwrap_or(REDIAL_MAX)).await;
            }
        }
    }

    /// Says what a seed leads to; `false` if nobody wants to know any more.
    async fn report(
        &self,
        seed: &Address,
        known: &BTreeMap<SocketAddr, Label>,
        failures: Vec<DialError>,
        doubles: usize,
    ) -> bool {
        for error in &failures {
            debug!(%seed, %error, "seed not reached");
        }
        if doubles > 0 && self.sink.events.send(PeerEvent::Double { seed: seed.clone() }).await.is_err() {
            return false;
        }
        let names: BTreeSet<_> = known.values().cloned().collect();
        let names = names.into_iter().collect();
        self.sink.events.send(PeerEvent::Seed { seed: seed.clone(), names, failures }).await.is_ok()
    }

    /// Dials all `addresses` at once. Once one has answered, the others have [`STRAGGLERS`] left.
    async fn dial_all(&self, addresses: Vec<SocketAddr>) -> Vec<(SocketAddr, Result<Behind, DialError>)> {
        let mut dials = JoinSet::new();
        for address in addresses {
            let dialler = self.clone();
            dials.spawn(async move { (address, dialler.look_behind(address).await) });
        }
        let mut answers: Vec<(SocketAddr, Result<Behind, DialError>)> = Vec::new();
        loop {
            let someone = answers.iter().any(|(_, answer)| answer.is_ok());
            let next = if someone {
                timeout(STRAGGLERS, dials.join_next()).await.unwrap_or_default()
            } else {
                dials.join_next().await
            };
            match next {
                Some(Ok(answer)) => answers.push(answer),
                // The dial panicked, which is logged, or is cut off.
                Some(Err(_)) => {}
                None => return answers,
            }
        }
    }

    async fn look_behind(&self, address: SocketAddr) -> Result<Behind, DialError> {
        let dialled = self.dial(address, Role::Node.dns_name(&self.cluster)).await?;
        let name = dialled.peer.name.clone();
        if name != self.me {
            return Ok(Behind::Peer(Box::new((name, dialled))));
        }
        let nonce = dialled.ack.node.as_ref().map(|node| node.nonce);
        if nonce == Some(self.hello.nonce) {
            dial::close(&dialled.connection, ErrorCode::DialledSelf, "dialled itself");
            return Ok(Behind::Me);
        }
        dial::close(&dialled.connection, ErrorCode::DuplicateIdentity, "another process runs under this identity");
        Ok(Behind::Double)
    }

    /// Has a connection with the member `name` at `address`, as long as `connected` says that there is none.
    pub(crate) async fn keep_connected(self, name: Label, address: Address, mut connected: watch::Receiver<bool>) {
        let mut pauses = self.pauses();
        loop {
            if connected.wait_for(|up| !up).await.is_err() {
                return;
            }
            if self.me > name && timeout(OTHERS_TURN, connected.wait_for(|up| *up)).await.is_ok() {
                continue;
            }
            match self.dial_named(&name, &address).await {
                Ok(dialled) => {
                    pauses = self.pauses();
                    self.converse(name.clone(), dialled);
                    // Until the connection is known, or has been refused.
                    let _ = timeout(REDIAL_MAX, connected.wait_for(|up| *up)).await;
                }
                Err(error) => debug!(%name, %address, %error, "member not reached"),
            }
            sleep(pauses.next().unwrap_or(REDIAL_MAX)).await;
        }
    }

    /// Looks whether `applicant` is where it says it is. What came of it is told within the limit of a dial; the connection
    /// stays.
    pub(crate) async fn reach(self, applicant: Applicant) {
        let reached = match timeout(DIAL_TIMEOUT, self.dial_named(&applicant.name, &applicant.address)).await {
            Ok(Ok(dialled)) => match &dialled.ack.node {
                Some(node) if node.instance == applicant.instance && node.boot == applicant.boot => {
                    self.converse(applicant.name.clone(), dialled);
                    Reached::Yes
                }
                Some(_) | None => Reached::No("another process of this name answers there".into()),
            },
            Ok(Err(error)) => Reached::No(error.to_string()),
            Err(_) => Reached::No(format!("no answer within {} s", DIAL_TIMEOUT.as_secs())),
        };
        // A receiver that is gone needs to hear no more.
        let _ = self.sink.events.send(PeerEvent::Reached { applicant: Box::new(applicant), reached }).await;
    }

    /// Dials every address behind `address`, for a node of this name and no other.
    async fn dial_named(&self, name: &Label, address: &Address) -> Result<Dialled, DialError> {
        let identity = Identity { role: Role::Node, name: name.clone(), cluster: self.cluster.clone() };
        self.resolver.dial_any(address, DIAL_TIMEOUT, |found| self.dial(found, identity.dns_name())).await
    }

    async fn dial(&self, address: SocketAddr, server_name: String) -> Result<Dialled, DialError> {
        let hello = Hello { node: Some(self.hello.clone()) };
        let target = Target { address, server_name, role: Role::Node, packets: self.packets };
        dial::dial(&self.endpoint, self.credentials.dialler(), &target, &hello, DIAL_TIMEOUT).await
    }

    /// Begins to talk on a connection that this node made.
    fn converse(&self, peer: Label, dialled: Dialled) {
        let Some(node) = dialled.ack.node else {
            return dial::close(&dialled.connection, ErrorCode::Protocol, "a node introduces itself to a node");
        };
        let sink = self.sink.clone();
        self.tasks.spawn(async move {
            sink.converse(peer, &node, Direction::Out, dialled.connection, dialled.control).await;
        });
    }

    fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(REDIAL_MIN)
            .with_max_delay(REDIAL_MAX)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(self.seed)
            .build()
    }
}
