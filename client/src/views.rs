//! How a client keeps its view current: told of new views by one node, and asking where a reply tells of one it was not
//! told of.
//!
//! ```text
//!   a view is pushed ────────────────────────────────► installed
//!   a reply has a later epoch ─ 0.45 to 0.9 s ─ pushed? ─► done
//!                                                └ no ──► ask the node that spoke of it
//!   refused: the client's view is old ────────────────► ask the node that refused, at once
//!   the node that tells is silent ────────────────────► another one tells, from its view on
//!   no known node is connected ───────────────────────► dial all members and all seeds
//! ```
//!
//! Where a cluster has thousands of clients, a new view is pushed to each as a delta of some hundred bytes, and the
//! wait lets that come before any of them asks.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use quoit_proto_types::{Epoch, Member, View};
use rand::RngExt;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};

use crate::{
    connection::Connection,
    core::Core,
    discovery,
    pool::Node,
    topology::{Topology, Verdict},
};

/// How long one node may take to send its view.
pub(crate) const VIEW_TIMEOUT: Duration = Duration::from_millis(250);
/// A view that a reply tells of is waited for this long, which is longer than nodes take to push it, and up to as long again
/// before it is asked for. Each client draws its own time: a new view must not bring thousands of requests for it at once.
const PUSH_PATIENCE: Duration = Duration::from_millis(450);
/// Before another node is asked, having asked one in vain: what a reply tells of may be no view for this client.
const FRUITLESS_PAUSE: Duration = Duration::from_secs(1);
/// Nodes asked one after the other for a view that is needed at once.
const SOURCES_MAX: usize = 3;
/// Nodes asked whether the known cluster still lives before another one takes its place.
const WITNESSES_MAX: usize = 64;
/// How long no node may be connected before the cluster is looked for by address. Each is redialled meanwhile.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// Between two such searches.
const SEARCH_PAUSE: Duration = Duration::from_secs(2);

/// A later view that some reply told of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hint {
    epoch: Epoch,
    from: Option<Arc<Node>>,
}

impl Core {
    /// Takes note that `node` has a view of `epoch`, later than this client's.
    pub(crate) fn hear_of(&self, epoch: Epoch, node: &Arc<Node>) {
        self.hint.send_if_modified(|hint| {
            let is_news = epoch > hint.epoch;
            if is_news {
                *hint = Hint { epoch, from: Some(Arc::clone(node)) };
            }
            is_news
        });
    }

    /// Fetches the views that replies tell of, if they are not pushed. Runs until the client is closed.
    pub(crate) async fn heed_hints(&self) {
        let mut hints = self.hint.subscribe();
        while !self.is_closed() && hints.changed().await.is_ok() {
            let hint = hints.borrow_and_update().clone();
            let (topology, handled) = (self.topology(), hint.epoch);
            if handled > topology.epoch() {
                sleep(PUSH_PATIENCE.mul_f64(1.0 + self.draw())).await;
                let known = self.topology().epoch();
                if known == topology.epoch() {
                    // It alone: nothing has failed yet for want of the view.
                    let source: Vec<_> = hint.from.and_then(|node| node.ready()).into_iter().collect();
                    let deadline = Instant::now() + VIEW_TIMEOUT;
                    if self.ask_for_view(known, &source, deadline).await == Fetched::Newer {
                        self.unpushed.notify_one();
                    } else {
                        sleep(FRUITLESS_PAUSE).await;
                    }
                }
            }
            // The next reply that tells of a later view counts again, even if of this one: it may have come to nothing.
            self.hint.send_if_modified(|hint| {
                if hint.epoch == handled {
                    *hint = Hint::default();
                }
                false
            });
        }
    }

    /// Installs another view than that of epoch `known`, if there is one: asks `from`, or another node that is connected if
    /// it does not answer, and looks for the cluster if none is connected.
    pub(crate) async fn refresh(&self, known: Epoch, from: Option<&Arc<Node>>, deadline: Instant) -> Fetched {
        let sources = self.sources(from);
        if sources.is_empty() {
            self.search(deadline).await
        } else {
            self.ask_for_view(known, &sources, deadline).await
        }
    }

    /// Asks `sources` one after the other until one answers.
    ///
    /// However many requests want a view, it is asked for once: who waited while a fetch began and ended wants no other.
    async fn ask_for_view(&self, known: Epoch, sources: &[Arc<Connection>], deadline: Instant) -> Fetched {
        let wanted = Instant::now();
        let Ok(mut began) = timeout_at(deadline, self.fetching.lock()).await else {
            return Fetched::Nothing;
        };
        let topology = self.topology();
        if topology.epoch() != known {
            return Fetched::Newer;
        }
        if began.is_some_and(|began| began >= wanted) {
            return Fetched::Nothing;
        }
        *began = Some(Instant::now());
        for connection in sources {
            let soon = deadline.min(Instant::now() + VIEW_TIMEOUT);
            match discovery::fetch(connection, Some(&topology), soon).await {
                Ok(view) => return self.take(view, None).await,
                Err(discovery::NotFetched::NotLater) => return Fetched::Nothing,
                Err(error) => debug!(%error, "no view from this node"),
            }
        }
        Fetched::Nothing
    }

    /// Looks for the cluster at every address it may have.
    async fn search(&self, deadline: Instant) -> Fetched {
        let topology = self.topology();
        let addresses = discovery::addresses(&topology.view, &self.seeds, &mut self.rng());
        match discovery::find(&self.dialler, &addresses, Some(&topology), deadline).await {
            Ok((view, connection)) => self.take(view, Some(Arc::new(connection))).await,
            Err(error) => {
                debug!(%error, "the cluster was not found");
                Fetched::Nothing
            }
        }
    }

    /// The connection to a node that can be asked for views: one drawn from all that are connected, but not to `avoid`
    /// unless there is no other. Waits for one, and looks for the cluster meanwhile. `None` once the client is closed.
    pub(crate) async fn any_connected(&self, avoid: &Weak<Node>) -> Option<(Arc<Node>, Arc<Connection>)> {
        let mut lost_after = LOST_AFTER;
        while !self.is_closed() {
            let topology = self.topology();
            let ready = topology.nodes().iter().filter_map(|node| Some((node, node.ready()?)));
            let (avoided, others): (Vec<_>, Vec<_>) = ready.partition(|(node, _)| is(avoid, node));
            let mut ready = if others.is_empty() { avoided } else { others };
            if !ready.is_empty() {
                let (node, connection) = ready.swap_remove(self.rng().random_range(0..ready.len()));
                return Some((Arc::clone(node), connection));
            }
            let mut dialled: FuturesUnordered<_> = topology.nodes().iter().map(|node| node.connected()).collect();
            tokio::select! {
                biased;
                Some(_) = dialled.next() => {}
                () = sleep(lost_after) => {
                    let addresses = topology.view.members().len() + self.seeds.len();
                    let deadline = Instant::now() + discovery::round(addresses, self.dialler.dial_timeout);
                    // Dropped as soon as a known node is there: it knows whatever a stranger does.
                    tokio::select! {
                        biased;
                        Some(_) = dialled.next() => {}
                        _ = self.search(deadline) => {}
                    }
                }
            }
            lost_after = SEARCH_PAUSE.mul_f64(0.5 + self.draw());
        }
        None
    }

    /// Connections to ask for a view: that to `from`, then some drawn from the rest.
    fn sources(&self, from: Option<&Arc<Node>>) -> Vec<Arc<Connection>> {
        let topology = self.topology();
        let is_other = |node: &&Arc<Node>| from.is_none_or(|from| !Arc::ptr_eq(from, node));
        let mut others: Vec<_> = topology.nodes().iter().filter(is_other).filter_map(|node| node.ready()).collect();
        let mut sources: Vec<_> = from.and_then(|from| from.ready()).into_iter().collect();
        while sources.len() < SOURCES_MAX && !others.is_empty() {
            let drawn = self.rng().random_range(0..others.len());
            sources.push(others.swap_remove(drawn));
        }
        sources
    }

    /// Installs `view` if it replaces the known one. `connection` is adopted if it leads to a member that is new in it.
    pub(crate) async fn take(&self, view: View, connection: Option<Arc<Connection>>) -> Fetched {
        let topology = self.topology();
        match topology.judge(&view) {
            Verdict::Keep => Fetched::Nothing,
            Verdict::Install => self.install(&topology, view, connection),
            Verdict::Rival => self.face_rival(&topology, view, connection).await,
        }
    }

    /// Installs `rival`, a view of a cluster of no relation, if nobody answers for the known one.
    async fn face_rival(&self, topology: &Topology, rival: View, connection: Option<Arc<Connection>>) -> Fetched {
        let deadline = Instant::now() + VIEW_TIMEOUT;
        let known = topology.view.fields().cluster_id;
        let ready: Vec<_> = topology.nodes().iter().filter_map(|node| node.ready()).take(WITNESSES_MAX).collect();
        let answers = ready.iter().map(|connection| discovery::fetch(connection, Some(topology), deadline));
        let mut answers: FuturesUnordered<_> = answers.collect();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(view) if view.fields().cluster_id == known => {
                    let (known, rival) = (known.to_string(), rival.fields().cluster_id.to_string());
                    warn!(known, rival, "a node is of another cluster of this name: it is passed over");
                    return if topology.judge(&view) == Verdict::Install {
                        self.install(topology, view, None)
                    } else {
                        Fetched::Nothing
                    };
                }
                Ok(_) | Err(_) => {}
            }
        }
        self.install(topology, rival, connection)
    }

    /// Installs `view` in the place of `known`, unless another has been installed since and is no worse.
    fn install(&self, known: &Topology, view: View, mut connection: Option<Arc<Connection>>) -> Fetched {
        let _one_at_a_time = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.topology();
        let is_as_judged = current.view.fields().cluster_id == known.view.fields().cluster_id;
        let is_later = current.judge(&view) == Verdict::Install;
        if self.is_closed() || !(is_later || is_as_judged && current.judge(&view) == Verdict::Rival) {
            return Fetched::Nothing;
        }
        info!(epoch = %view.epoch(), members = view.members().len(), "view installed");
        let start = |member: &Member, before: Option<&Arc<Node>>| {
            let leads_there = |c: &mut Arc<Connection>| c.peer().node_id() == member.node_id;
            let adopted = connection.take_if(leads_there);
            Node::start(member, Arc::clone(&self.dialler), adopted, before.map(Arc::as_ref))
        };
        let next = Arc::new(current.next(view, Instant::now(), start));
        self.topology.store(Arc::clone(&next));
        next.tell_liveness();
        // Only once it is stored, so that who waits for one of these finds the new one.
        current.left_out_of(&next).for_each(|node| node.stop());
        Fetched::Newer
    }
}

fn is(weak: &Weak<Node>, node: &Arc<Node>) -> bool {
    std::ptr::eq(weak.as_ptr(), Arc::as_ptr(node))
}

/// What came of asking for a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The client goes by another one.
    Newer,
    /// It does not.
    Nothing,
}
