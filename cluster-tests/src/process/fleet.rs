//! Processes of one cluster, with what they need and what they leave.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use quoit_certs::{Authority, CertsDir, Identity, Overwrite, Role};
use quoit_client::{Client, ClientConfig, Label};
use quoit_node::Network;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    LinkKind, Program,
    links::{Links, Place, free_addresses},
    wait_for,
};
use crate::scratch;

const CLIENT: &str = "client";
const ADMIN: &str = "admin";
/// Memory of each node, unless it is said: the few keys of a scenario never fill it.
const MEMORY: &str = "64MiB";
/// How long a cluster may take until it has formed and answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a log is told when its process has ended by itself.
const LOG_LINES: usize = 8;

/// What a fleet is to be.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// The program that each node is.
    pub program: Program,
    /// How many founders: n1, n2 and so on.
    pub nodes: usize,
    /// What connects them.
    pub links: LinkKind,
    /// Places beside theirs, for nodes that join and for clients that can be cut off.
    pub spare: usize,
    /// Memory of each node, as on its command line.
    pub memory: String,
    /// How many copies of each key are kept; nothing for what the product does by itself.
    pub replication: Option<u8>,
    /// What each node may fetch in a second when slots move, as on its command line; nothing likewise.
    pub handoff_rate: Option<String>,
    /// Threads for requests of each node; nothing likewise. Forwarders keep it at one, since they know a node by the port that it
    /// dials from, which with several is another one than it listens on.
    pub threads: Option<usize>,
}

impl FleetPlan {
    /// Founders only, which are as they are by default.
    pub fn new(program: Program, nodes: usize, links: LinkKind) -> Self {
        let (memory, replication, handoff_rate, threads) = (MEMORY.into(), None, None, None);
        Self { program, nodes, links, spare: 0, memory, replication, handoff_rate, threads }
    }
}

/// Nodes as processes. Dropping it kills them and removes its folder, unless that is [kept](Self::keep).
#[derive(Debug)]
pub struct Fleet {
    plan: FleetPlan,
    nodes: Vec<Node>,
    links: Links,
    /// The places of nodes and others, in the order in which links are cut.
    places: Vec<Place>,
    certs: CertsDir,
    authority: Authority,
    folder: TempDir,
}

/// One node: a process, if it runs.
#[derive(Debug)]
pub struct Node {
    name: Label,
    place: Place,
    seeds: Vec<SocketAddr>,
    advertise: Option<SocketAddr>,
    on_stop: Option<&'static str>,
    starts: u32,
    paused: bool,
    child: Option<Child>,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &Label {
        &self.name
    }

    /// Where others reach it.
    pub fn address(&self) -> SocketAddr {
        self.place.reached
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// Whether its process runs and is not paused.
    pub fn is_living(&self) -> bool {
        self.child.is_some() && !self.paused
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only if it has ended already. A paused process dies of it as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Fleet {
    /// Certificates, addresses and folders for the founders. None of them runs.
    ///
    /// # Errors
    /// A folder that cannot be written, or no free addresses.
    pub async fn prepare(plan: &FleetPlan) -> Result<Self> {
        let folder = scratch("quoit-processes-")?;
        for part in ["logs", "data", "home"] {
            fs::create_dir(folder.path().join(part))?;
        }
        let certs = CertsDir::create(folder.path().join("certs"))?;
        let authority = certs.init(None, None, SystemTime::now(), Overwrite::Keep)?.authority;
        let (links, places) = Links::lay(plan.links, plan.nodes + plan.spare).await?;
        let founders = places[..plan.nodes].to_vec();
        let mut fleet = Self { plan: plan.clone(), nodes: Vec::new(), links, places, certs, authority, folder };
        fleet.issue(Role::Client, CLIENT)?;
        fleet.issue(Role::Admin, ADMIN)?;
        let seeds: Vec<_> = founders.iter().map(|place| place.reached).collect();
        for place in founders {
            let name = format!("n{}", fleet.nodes.len() + 1);
            fleet.add_node(&name, place, seeds.clone())?;
        }
        Ok(fleet)
    }

    /// The same with every founder started.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), and a program that cannot be run.
    pub async fn start(plan: &FleetPlan) -> Result<Self> {
        let mut fleet = Self::prepare(plan).await?;
        (0..plan.nodes).try_for_each(|index| fleet.launch(index))?;
        Ok(fleet)
    }

    /// One more node, which is to join through the node `seed`. It does not run yet.
    ///
    /// # Errors
    /// A folder that cannot be written, or no free address.
    pub fn add_joiner(&mut self, name: &str, seed: usize) -> Result<usize> {
        let listen = free_addresses(1)?[0];
        let seeds = vec![self.nodes[seed].address()];
        self.add_node(name, Place { listen, reached: listen }, seeds)
    }

    /// One more node, at the next spare place, which is to join through any of the founders. It does not run yet.
    ///
    /// # Errors
    /// A folder that cannot be written, or no spare place.
    pub fn add_spare(&mut self, name: &str) -> Result<usize> {
        let place = *self.places.get(self.nodes.len()).context("there is no spare place")?;
        let seeds = self.nodes[0].seeds.clone();
        self.add_node(name, place, seeds)
    }

    /// What a node does when it is asked to stop, from its next start on: `drain` or `stay`.
    pub fn on_stop(&mut self, index: usize, what: &'static str) {
        self.nodes[index].on_stop = Some(what);
    }

    /// Has a node say that it is reached elsewhere than it is, at its next start.
    pub fn advertise(&mut self, index: usize, address: SocketAddr) {
        self.nodes[index].advertise = Some(address);
    }

    /// Starts the process of a node that does not run.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn launch(&mut self, index: usize) -> Result<()> {
        let root = self.folder.path();
        let node = &self.nodes[index];
        ensure!(node.child.is_none(), "{} runs already", node.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log(index))?;
        let seeds: Vec<_> = node.seeds.iter().map(SocketAddr::to_string).collect();
        let name = node.name.as_str();
        let FleetPlan { program, memory, replication, handoff_rate, threads, .. } = &self.plan;
        let mut command = program.command(&root.join("home"));
        command.args(["node", "--log-format", "text", "--memory", memory, "--seeds", &seeds.join(",")]);
        if let Some(copies) = replication {
            command.args(["--replication", &copies.to_string()]);
        }
        if let Some(rate) = handoff_rate {
            command.args(["--handoff-rate", rate]);
        }
        let threads = if self.plan.links == LinkKind::Forwarders { Some(1) } else { *threads };
        if let Some(threads) = threads {
            command.args(["--threads", &threads.to_string()]);
        }
        // Without another word, whoever is told to stop is started again.
        command.args(["--on-stop", node.on_stop.unwrap_or("stay")]);
        command.args(["--listen", &node.place.listen.to_string()]);
        command.arg("--certs").arg(root.join("certs").join(name)).arg("--data").arg(root.join("data").join(name));
        let advertise = node.advertise.unwrap_or(node.place.reached);
        if advertise != node.place.listen {
            command.args(["--advertise", &advertise.to_string()]);
        }
        command.stdout(File::try_clone(&log)?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {}", program.path().display()))?;
        let node = &mut self.nodes[index];
        (node.child, node.paused, node.starts) = (Some(child), false, node.starts + 1);
        Ok(())
    }

    /// Kills a process as a power cut does, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let node = &mut self.nodes[index];
        let mut child = node.child.take().with_context(|| format!("{} does not run", node.name))?;
        child.kill()?;
        child.wait()?;
        node.paused = false;
        Ok(())
    }

    /// Stops a process for a while, between two instructions.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&mut self, index: usize) -> Result<()> {
        self.signal(index, Signal::STOP)?;
        self.nodes[index].paused = true;
        Ok(())
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self, index: usize) -> Result<()> {
        self.signal(index, Signal::CONT)?;
        self.nodes[index].paused = false;
        Ok(())
    }

    /// The number of a process.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, index: usize) -> Result<u32> {
        let node = &self.nodes[index];
        Ok(node.child.as_ref().with_context(|| format!("{} does not run", node.name))?.id())
    }

    /// Asks a process to stop in good order.
    ///
    /// # Errors
    /// It does not run.
    pub fn terminate(&self, index: usize) -> Result<()> {
        self.signal(index, Signal::TERM)
    }

    /// Waits for a process to end by itself.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub async fn ended(&mut self, index: usize, limit: Duration) -> Result<ExitStatus> {
        let node = &mut self.nodes[index];
        let what = format!("the end of the process of {}", node.name);
        let status = wait_for(&what, limit, async || {
            let child = node.child.as_mut().context("it does not run")?;
            Ok(child.try_wait()?.ok_or_else(|| "it runs".to_owned()))
        });
        let status = status.await?;
        node.child = None;
        Ok(status)
    }

    /// Checks that no process has ended by itself.
    ///
    /// # Errors
    /// One has; the last lines of its log are told.
    pub fn check_running(&mut self) -> Result<()> {
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let Some(status) = node.child.as_mut().map(Child::try_wait).transpose()?.flatten() else { continue };
            node.child = None;
            let name = self.nodes[index].name.clone();
            bail!("{name} ended by itself, {status}:\n{}", self.log_tail(index));
        }
        Ok(())
    }

    /// Drops every datagram from the first to the second node of each pair, and no others.
    ///
    /// # Errors
    /// Links that cannot be cut.
    pub fn cut(&self, pairs: impl IntoIterator<Item = (usize, usize)>) -> Result<()> {
        self.links.cut(&pairs.into_iter().collect())
    }

    /// The nodes, whether they run or not.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The number of the node called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn index(&self, name: &Label) -> Result<usize> {
        self.nodes.iter().position(|node| node.name == *name).with_context(|| format!("there is no node {name}"))
    }

    /// The names of the nodes whose processes run and are not paused, each with how often it was started.
    pub fn living(&self) -> Vec<(Label, u32)> {
        let living = self.nodes.iter().filter(|node| node.is_living());
        living.map(|node| (node.name.clone(), node.starts)).collect()
    }

    /// Connects as a client, through any node.
    ///
    /// # Errors
    /// No node answers in time.
    pub async fn client(&self, request_timeout: Duration) -> Result<Client> {
        let seeds: Vec<_> = self.nodes.iter().map(Node::address).collect();
        self.connect(CLIENT, &seeds, request_timeout).await
    }

    /// What a client needs to connect through any node, to be changed as it likes.
    ///
    /// # Errors
    /// No address is one.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let seeds = self.nodes.iter().map(|node| node.address().to_string());
        let config = ClientConfig::new(self.folder.path().join("certs").join(CLIENT), seeds)?;
        Ok(config.connect_timeout(CONNECT_TIMEOUT))
    }

    /// The same at a spare place: [`cut`](Self::cut) counts what is there like a node.
    ///
    /// # Errors
    /// There is no such place, or its address is taken.
    pub fn client_config_at(&self, place: usize) -> Result<ClientConfig> {
        let place = self.places.get(place).context("there is no such place")?;
        let Network { socket, runtime, .. } = Network::udp(place.listen)?;
        Ok(self.client_config()?.transport(socket, runtime))
    }

    /// Connects as an administrator, through these nodes.
    ///
    /// # Errors
    /// No node answers in time.
    pub async fn administrator(&self, nodes: &[usize], request_timeout: Duration) -> Result<Client> {
        let seeds: Vec<_> = nodes.iter().map(|index| self.nodes[*index].address()).collect();
        self.connect(ADMIN, &seeds, request_timeout).await
    }

    /// Keeps the folder with the logs, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// The last lines that a node logged.
    pub fn log_tail(&self, index: usize) -> String {
        let text = fs::read_to_string(self.log(index)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    async fn connect(&self, identity: &str, seeds: &[SocketAddr], request_timeout: Duration) -> Result<Client> {
        let folder = self.folder.path().join("certs").join(identity);
        let config = ClientConfig::new(folder, seeds.iter().map(SocketAddr::to_string))?;
        let config = config.request_timeout(request_timeout).connect_timeout(CONNECT_TIMEOUT);
        Ok(Client::connect(config).await?)
    }

    fn add_node(&mut self, name: &str, place: Place, seeds: Vec<SocketAddr>) -> Result<usize> {
        self.issue(Role::Node, name)?;
        let name = name.parse()?;
        let (advertise, on_stop) = (None, None);
        self.nodes.push(Node { name, place, seeds, advertise, on_stop, starts: 0, paused: false, child: None });
        Ok(self.nodes.len() - 1)
    }

    fn issue(&self, role: Role, name: &str) -> Result<()> {
        let identity = Identity::new(role, name.parse()?, self.authority.cluster().clone());
        self.certs.issue(&self.authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep)?;
        Ok(())
    }

    fn log(&self, index: usize) -> PathBuf {
        log_in(self.folder.path(), &self.nodes[index].name)
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        let node = &self.nodes[index];
        let child = node.child.as_ref().with_context(|| format!("{} does not run", node.name))?;
        // The process has not been waited for, so its number is still its own.
        Ok(kill_process(Pid::from_child(child), signal)?)
    }
}

fn log_in(folder: &Path, name: &Label) -> PathBuf {
    folder.join("logs").join(format!("{name}.log"))
}
