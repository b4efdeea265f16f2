//! Data that moves between real nodes in this process: a node joins, leaves, or comes back empty, while clients read and write.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use quoit_certs::{Authority, CertsDir, Identity, Overwrite, Role};
use quoit_client::{CertificateFiles, Client, ClientConfig, View};
use quoit_node::{
    Leave, LeftBehind, Network, NodeHandle, NodeState, StopReason,
    config::{Config, Settings},
};
use quoit_proto_types::{
    Boot, Label,
    message::{
        admin::{AdminReply, AdminRequest, UpkeepStatus},
        membership::{Command, CommandAnswer},
    },
};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{interval, timeout},
};

/// Longer than anything takes that works at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Keys that stay as they are, and keys that are written all the time.
const STILL: usize = 2000;
const MOVING: usize = 100;

struct Cluster {
    folder: TempDir,
    authority: Authority,
    seeds: Vec<String>,
    copies: u8,
    nodes: BTreeMap<String, NodeHandle>,
}

impl Cluster {
    /// Forms a cluster of n1 to n`count` that keeps `copies` of every key.
    async fn start(count: usize, copies: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The folder is locked for as long as it is open.
        let made = CertsDir::create(folder.path()).unwrap().init(None, None, SystemTime::now(), Overwrite::Keep);
        let authority = made.unwrap().authority;
        let networks: Vec<_> = (0..count).map(|_| free()).collect();
        let seeds = networks.iter().map(|network| network.socket.local_addr().unwrap().to_string()).collect();
        let mut cluster = Self { folder, authority, seeds, copies, nodes: BTreeMap::new() };
        for (index, network) in networks.into_iter().enumerate() {
            cluster.start_node(&format!("n{}", index + 1), network, |_| {}).await;
        }
        for node in cluster.nodes.values_mut() {
            node.formed(PATIENCE).await.unwrap();
        }
        cluster
    }

    fn files(&self, role: Role, name: &str) -> CertificateFiles {
        let identity = Identity::new(role, name.parse().unwrap(), self.authority.cluster().clone());
        let certs = CertsDir::open(self.folder.path()).unwrap();
        certs.issue(&self.authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep).unwrap();
        CertificateFiles::in_folder(self.folder.path().join(name))
    }

    /// Starts a node with the state in its data folder.
    async fn start_node(&mut self, name: &str, network: Network, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::new(self.files(Role::Node, name));
        settings.seeds = self.seeds.iter().map(|seed| seed.parse().unwrap()).collect();
        settings.data = Some(self.folder.path().join("data").join(name));
        settings.replication = self.copies;
        change(&mut settings);
        let node = NodeHandle::start_on(Config::try_from(settings).unwrap(), network).await.unwrap();
        self.nodes.insert(name.into(), node);
    }

    async fn client(&self, role: Role, name: &str) -> Client {
        let config = ClientConfig::new(self.files(role, name), &self.seeds).unwrap();
        Client::connect(config.request_timeout(PATIENCE).connect_timeout(PATIENCE)).await.unwrap()
    }

    /// Waits until `condition` holds of the view of every node.
    async fn views_where(&mut self, condition: impl Fn(&View) -> bool) {
        for node in self.nodes.values_mut() {
            view_where(node, &condition).await;
        }
    }

    async fn stop(self) {
        for node in self.nodes.into_values() {
            node.shutdown().await;
        }
    }
}

fn free() -> Network {
    Network::udp("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

async fn view_where(node: &mut NodeHandle, condition: impl Fn(&View) -> bool) -> Arc<View> {
    let waiting = async {
        loop {
            match node.state() {
                NodeState::Member(view) if condition(&view) => return view,
                NodeState::Member(_) | NodeState::Waiting(_) => {}
                state @ (NodeState::Failed(_) | NodeState::Stopped { .. }) => panic!("{state:?}"),
            }
            node.state_changed().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the view came in time")
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let mut tick = interval(Duration::from_millis(10));
    let waiting = async {
        while !condition() {
            tick.tick().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// No ring change is under way, and `owners` members own.
fn is_settled(view: &View, owners: usize) -> bool {
    view.fields().target.is_none() && view.fields().ring.len() == owners && view.members().len() == owners
}

async fn fill(client: &Client) {
    for i in 0..STILL {
        client.set(format!("still:{i}"), format!("value of {i}")).await.unwrap();
    }
}

/// Every key that nobody writes is as it was.
async fn check_still(client: &Client) {
    for i in 0..STILL {
        let value = client.get(format!("still:{i}")).await.unwrap();
        assert_eq!(value.as_deref(), Some(format!("value of {i}").as_bytes()), "still:{i}");
    }
}

/// One writer that reads what it wrote, key after key, until it is told to stop. No request may fail.
struct Load {
    ends: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(client: Client) -> Self {
        let (ends, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (ended, counted) = (Arc::clone(&ends), Arc::clone(&rounds));
        let task = tokio::spawn(async move {
            let mut last = vec![None; MOVING];
            while !ended.load(Ordering::Relaxed) {
                let round = counted.load(Ordering::Relaxed);
                for (i, last) in last.iter_mut().enumerate() {
                    let (key, still) = (format!("moving:{i}"), usize::try_from(round).unwrap() * 7 + i);
                    let value = client.get(&key).await.unwrap();
                    assert_eq!(value.as_deref().map(<[u8]>::to_vec), *last, "{key} in round {round}");
                    // Some are deleted now and then, and must not come back.
                    if (i + usize::try_from(round).unwrap()).is_multiple_of(5) {
                        client.delete(&key).await.unwrap();
                        *last = None;
                    } else {
                        let value = format!("{key} of round {round}").into_bytes();
                        client.set(&key, &value).await.unwrap();
                        *last = Some(value);
                    }
                    let still = still % STILL;
                    let value = client.get(format!("still:{still}")).await.unwrap();
                    assert_eq!(value.as_deref(), Some(format!("value of {still}").as_bytes()), "still:{still}");
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { ends, rounds, task }
    }

    /// Waits for some more rounds, and stops it.
    async fn end(self) {
        let until = self.rounds.load(Ordering::Relaxed) + 2;
        wait_for("the load goes on", || self.task.is_finished() || self.rounds.load(Ordering::Relaxed) >= until).await;
        self.ends.store(true, Ordering::Relaxed);
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

async fn handoff(admin: &Client, node: &str, request: AdminRequest) -> UpkeepStatus {
    let reply = admin.admin(&label(node), request).await.unwrap();
    let AdminReply::Handoff(Some(status)) = reply else { panic!("{reply:?}") };
    *status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_and_one_that_is_drained_lose_no_key_of_one_copy() {
    let mut cluster = Cluster::start(3, 1).await;
    let client = cluster.client(Role::Client, "client").await;
    fill(&client).await;
    let load = Load::start(client.clone());
    cluster.start_node("n4", free(), |_| {}).await;
    cluster.views_where(|view| is_settled(view, 4)).await;
    check_still(&client).await;
    assert!(cluster.nodes["n4"].stats().imports > 300, "{:?}", cluster.nodes["n4"].stats());
    let admin = cluster.client(Role::Admin, "admin").await;
    let drain = AdminRequest::Command(Command::Drain { name: label("n2") });
    let answer = admin.admin(&label("n1"), drain).await.unwrap();
    assert!(matches!(answer, AdminReply::Command(CommandAnswer::Accepted { .. })), "{answer:?}");
    let mut second = cluster.nodes.remove("n2").unwrap();
    cluster.views_where(|view| is_settled(view, 3)).await;
    check_still(&client).await;
    let stopped = async {
        loop {
            if let NodeState::Stopped { reason } = second.state() {
                return reason;
            }
            second.state_changed().await;
        }
    };
    let reason = timeout(PATIENCE, stopped).await.unwrap();
    assert!(matches!(reason, StopReason::Retired { .. }), "{reason}");
    second.shutdown().await;
    load.end().await;
    check_still(&client).await;
    let held = || cluster.nodes.values().map(|node| node.stats().entries).sum::<usize>();
    // What moved away is let go.
    wait_for("each key is held once", || held() <= STILL + MOVING).await;
    assert!(held() >= STILL);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_hands_its_only_copies_over_first() {
    let mut cluster = Cluster::start(2, 1).await;
    let client = cluster.client(Role::Client, "client").await;
    fill(&client).await;
    let mut first = cluster.nodes.remove("n1").unwrap();
    let left = timeout(PATIENCE, first.leave(|_| {})).await.unwrap();
    assert!(matches!(left, Leave::Left { .. }), "{left:?}");
    first.shutdown().await;
    check_still(&client).await;
    let mut second = cluster.nodes.remove("n2").unwrap();
    assert_eq!(timeout(PATIENCE, second.leave(|_| {})).await.unwrap(), Leave::LastOne);
    second.shutdown().await;
}

/// Two nodes that hold entries, in so many copies, of which n2 gives itself little time to stop.
async fn with_a_hasty_node(copies: u8) -> Cluster {
    let mut cluster = Cluster::start(1, copies).await;
    cluster.start_node("n2", free(), |settings| settings.drain_timeout = Duration::from_millis(1500)).await;
    cluster.views_where(|view| is_settled(view, 2)).await;
    fill(&cluster.client(Role::Client, "client").await).await;
    cluster
}

/// What a node left behind that stopped before it had handed over, and how many entries it held.
async fn stopped_early(mut node: NodeHandle) -> (LeftBehind, u64) {
    let left = timeout(PATIENCE, node.leave(|_| {})).await.unwrap();
    let Leave::Unfinished(behind) = left else { panic!("{left:?}") };
    let held = u64::try_from(node.stats().entries).unwrap();
    node.shutdown().await;
    (behind, held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_must_stop_before_it_has_handed_over_says_what_is_lost() {
    let mut cluster = with_a_hasty_node(1).await;
    let admin = cluster.client(Role::Admin, "admin").await;
    assert!(handoff(&admin, "n1", AdminRequest::HandoffPause).await.is_paused);
    let (behind, held) = stopped_early(cluster.nodes.remove("n2").unwrap()).await;
    assert!(behind.slots_lost > 0 && behind.entries_lost == held, "{behind:?}, {held} held");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_as_the_other_has_ended_counts_on_no_copy_there() {
    let mut cluster = with_a_hasty_node(2).await;
    // One of two voters is no majority: the view calls it up for ever.
    drop(cluster.nodes.remove("n1"));
    let (behind, held) = stopped_early(cluster.nodes.remove("n2").unwrap()).await;
    assert!(held > 0 && behind.entries_lost == held && behind.slots_thinned == 0, "{behind:?}, {held} held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_is_refilled_when_it_comes_back() {
    let mut cluster = Cluster::start(3, 2).await;
    let client = cluster.client(Role::Client, "client").await;
    fill(&client).await;
    let before = cluster.nodes["n2"].stats().entries;
    // Dropped, it is cut off without a word.
    drop(cluster.nodes.remove("n2"));
    check_still(&client).await;
    cluster.start_node("n2", free(), |_| {}).await;
    let is_back = |view: &View| {
        let member = view.member_named(&label("n2")).map(|member| member.ordinal);
        let owner = view.fields().ring.iter().find(|owner| Some(owner.ordinal) == member);
        is_settled(view, 3) && owner.is_some_and(|owner| owner.boot == Boot::new(2))
    };
    cluster.views_where(is_back).await;
    assert_eq!(cluster.nodes["n2"].stats().entries, before, "all is there by the end of the ring change");
    let held: usize = cluster.nodes.values().map(|node| node.stats().entries).sum();
    assert_eq!(held, 2 * STILL);
    let (first, third) = (cluster.nodes.remove("n1"), cluster.nodes.remove("n3"));
    drop(first);
    check_still(&client).await;
    drop(third);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handoff_is_paced_paused_and_goes_on() {
    let mut cluster = Cluster::start(2, 1).await;
    let client = cluster.client(Role::Client, "client").await;
    fill(&client).await;
    let admin = cluster.client(Role::Admin, "admin").await;
    // Slow enough to be met under way.
    let pace = NonZeroU64::new(1024);
    cluster.start_node("n3", free(), |settings| settings.handoff_rate = pace).await;
    let joint = |view: &View| view.fields().target.is_some();
    view_where(cluster.nodes.get_mut("n3").unwrap(), joint).await;
    wait_for("the administrator knows n3", || client.view().member_named(&label("n3")).is_some()).await;
    let paused = handoff(&admin, "n3", AdminRequest::HandoffPause).await;
    let takes = paused.takes.expect("n3 takes slots");
    assert!(paused.is_paused && paused.pace == pace && takes.slots_left > 0, "{takes:?}");
    assert!(!takes.with.is_empty() && takes.slots_left <= takes.slots);
    let status = cluster.nodes["n1"].status().await.upkeep.unwrap();
    let gives = status.gives.expect("n1 gives slots");
    assert!(gives.with.iter().any(|peer| peer.name == label("n3")), "{gives:?}");
    let status = cluster.nodes["n3"].status().await;
    assert!(status.alarms.iter().any(|alarm| alarm.contains("paused")), "{:?}", status.alarms);
    let unlimited = handoff(&admin, "n3", AdminRequest::HandoffPace { bytes_per_s: None }).await;
    assert!(unlimited.is_paused && unlimited.pace.is_none() && unlimited.takes.unwrap().slots_left > 0);
    assert!(!handoff(&admin, "n3", AdminRequest::HandoffResume).await.is_paused);
    cluster.views_where(|view| is_settled(view, 3)).await;
    check_still(&client).await;
    let refused = client.admin(&label("n3"), AdminRequest::HandoffPause).await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.stop().await;
}
