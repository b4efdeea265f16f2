//! A cluster of Redis or Valkey over TLS, and a client that knows which node has which key.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{
    Peer, PeerServer, Reply, Resp, Shared, Transport, Wire,
    stream::{Stream, Tls},
};
use crate::{
    cache::{Cache, Failure},
    identities::Identities,
    process::said,
};

/// The nodes' processes.
#[derive(Debug)]
pub struct PeerNodes {
    peer: Peer,
    servers: Vec<PeerServer>,
    identity: std::path::PathBuf,
}

impl PeerNodes {
    /// Starts `masters` masters with so many replicas each, over TLS, which call a silent node dead after `timeout_ms`, and
    /// waits until every slot has its master.
    ///
    /// # Errors
    /// A server that does not start, or a cluster that does not form.
    pub async fn start(
        peer: Peer,
        masters: usize,
        replicas: usize,
        timeout_ms: u32,
        identities: &Identities,
    ) -> Result<Self> {
        let mut nodes = Self { peer, servers: Vec::new(), identity: identities.client() };
        for _ in 0..masters * (1 + replicas) {
            nodes.add(timeout_ms, identities).await?;
        }
        let addresses: Vec<_> = nodes.servers.iter().map(|server| server.address().to_string()).collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        let replicas = replicas.to_string();
        create.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
        nodes.cli(&create).await?;
        nodes.settle(masters).await?;
        Ok(nodes)
    }

    /// Starts one more node, which belongs to no cluster.
    ///
    /// # Errors
    /// It does not start.
    pub async fn add(&mut self, timeout_ms: u32, identities: &Identities) -> Result<SocketAddr> {
        let timeout = timeout_ms.to_string();
        let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", &timeout];
        self.servers.push(PeerServer::start(self.peer, Transport::Tls, identities, &more).await?);
        Ok(self.servers[self.servers.len() - 1].address())
    }

    /// Has the node that listens there, which was [added](Self::add), join the cluster as one that has no slots beside so many masters
    /// that do, and waits until all know of it.
    ///
    /// # Errors
    /// It does not join, or not all hear of it in time.
    pub async fn admit(&self, new: SocketAddr, masters: usize) -> Result<()> {
        self.cli(&["--cluster", "add-node", &new.to_string(), &self.first()?.address().to_string()]).await?;
        self.settle(masters).await
    }

    /// Runs the peer's command line, against the first node unless `args` name another, and returns what it says.
    ///
    /// # Errors
    /// It fails.
    pub async fn cli(&self, args: &[&str]) -> Result<String> {
        let port = self.first()?.address().port().to_string();
        let mut command = Command::new(self.peer.cli());
        command.args(["-h", "127.0.0.1", "-p", &port, "--tls", "--cacert"]).arg(self.identity.join("ca.crt"));
        command.arg("--cert").arg(self.identity.join("tls.crt")).arg("--key").arg(self.identity.join("tls.key"));
        // The nodes' certificates are made out to the names of a cluster of Quoit, which it cannot be told to expect.
        command.arg("--insecure").args(args);
        said(command, CLI_TIMEOUT).await
    }

    /// The numbers of the processes that run.
    pub fn processes(&self) -> Vec<u32> {
        self.servers.iter().map(PeerServer::id).filter(|id| *id != 0).collect()
    }

    /// Kills the node that listens there as a power cut does.
    pub fn kill(&mut self, address: SocketAddr) {
        self.servers.iter_mut().filter(|server| server.address() == address).for_each(PeerServer::kill);
    }

    /// A client of all masters.
    ///
    /// # Errors
    /// One that cannot be connected to.
    pub async fn connect(&self) -> Result<PeerCluster> {
        let tls = self.first()?.tls().context("these clusters are over TLS")?.clone();
        let slots = slots(&self.cli(&["cluster", "nodes"]).await?)?;
        let mut connections = BTreeMap::new();
        for address in slots.iter().map(|owned| owned.address) {
            if let std::collections::btree_map::Entry::Vacant(entry) = connections.entry(address) {
                entry.insert(Shared::connect(address, Some(&tls)).await?);
            }
        }
        let mut table = vec![None; SLOTS];
        for Owned { from, to, address, .. } in slots {
            table[from..=to].fill(connections.get(&address).cloned().map(|connection| (address, connection)));
        }
        Ok(PeerCluster { table: Arc::new(Mutex::new(table)), tls })
    }

    /// Where the first node that runs listens.
    ///
    /// # Errors
    /// None runs.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.first()?.address())
    }

    /// Who has which slot, in the words of `CLUSTER NODES` of every node that runs and answers soon, one after the other.
    pub async fn nodes(&self) -> Vec<String> {
        self.ask_all(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n").await
    }

    /// What `CLUSTER INFO` of each such node says.
    async fn states(&self) -> Vec<String> {
        self.ask_all(b"*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n").await
    }

    async fn ask_all(&self, command: &[u8]) -> Vec<String> {
        let mut answers = Vec::new();
        for server in self.servers.iter().filter(|server| server.id() != 0) {
            let asking = ask(server, command);
            answers.extend(tokio::time::timeout(ASK_TIMEOUT, asking).await.ok().and_then(Result::ok));
        }
        answers
    }

    fn first(&self) -> Result<&PeerServer> {
        self.servers.iter().find(|server| server.id() != 0).context("no node runs")
    }

    /// Waits until every node knows all of them, none of which was killed, and sees masters for all slots: until then others are told
    /// "I don't know about node" or "The cluster is down".
    async fn settle(&self, masters: usize) -> Result<()> {
        let (give_up, all) = (Instant::now() + SETTLE_TIMEOUT, self.servers.len());
        let whole = ["cluster_state:ok", "cluster_slots_ok:16384", &format!("cluster_size:{masters}")];
        let is_whole = |info: &String| whole.iter().all(|line| info.contains(line));
        let knows_all = |nodes: &String| nodes.lines().filter(|line| is_met(line)).count() == all;
        loop {
            let (known, states) = (self.nodes().await, self.states().await);
            let (knowing, seeing) =
                (known.iter().filter(|nodes| knows_all(nodes)), states.iter().filter(|info| is_whole(info)));
            if (knowing.count(), seeing.count()) == (all, all) {
                break;
            }
            ensure!(Instant::now() < give_up, "the cluster does not settle: {known:?} {states:?}");
            tokio::time::sleep(POLL).await;
        }
        // A replica that never had its master's entries, which by default are sent five seconds late, is never promoted.
        for server in &self.servers {
            while !has_entries(&ask(server, b"*2\r\n$4\r\nINFO\r\n$11\r\nREPLICATION\r\n").await?) {
                ensure!(Instant::now() < give_up, "{} gets no entries of its master", server.address());
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }
}

/// Whether a line of `CLUSTER NODES` is of a node with which there has been more than a first contact.
fn is_met(line: &str) -> bool {
    !line.trim().is_empty() && !line.contains("handshake") && !line.contains("noaddr")
}

/// What a server answers to a command, over a connection of its own.
async fn ask(server: &PeerServer, command: &[u8]) -> Result<String> {
    let mut stream = Stream::connect(server.address(), server.tls()).await?;
    stream.write_all(command).await?;
    stream.flush().await?;
    let mut text = bytes::BytesMut::new();
    loop {
        ensure!(stream.read_buf(&mut text).await? > 0, "the connection ended");
        match Resp::reply(&text)? {
            Some((_, Reply::Value(answer))) => return Ok(String::from_utf8_lossy(answer).into_owned()),
            Some((_, other)) => bail!("no answer to that: {other:?}"),
            None => {}
        }
    }
}

/// Whether a node that says this of its replication is a master, or a replica that follows one.
fn has_entries(replication: &str) -> bool {
    replication.contains("role:master") || replication.contains("master_link_status:up")
}

type Table = Vec<Option<(SocketAddr, Shared<Resp>)>>;

/// A client: one connection to each master, chosen by the key's slot, and the way to another when it is told so.
#[derive(Clone, Debug)]
pub struct PeerCluster {
    table: Arc<Mutex<Table>>,
    tls: Tls,
}

impl PeerCluster {
    /// Which master has a key.
    pub fn owner(&self, key: &[u8]) -> Option<SocketAddr> {
        self.at(slot(key)).map(|(address, _)| address)
    }

    /// Learns who has which slot of what `CLUSTER NODES` says at several nodes. Where they differ, the master that was given a
    /// slot last has it. Slots of which nobody says anything stay with whom they were.
    ///
    /// # Errors
    /// A master that cannot be connected to, or an answer that is none.
    pub async fn refresh(&self, answers: &[String]) -> Result<()> {
        let mut owners = BTreeMap::new();
        for answer in answers {
            for owned in slots(answer)? {
                let latest = owners.entry((owned.from, owned.to)).or_insert(owned);
                if owned.epoch > latest.epoch {
                    *latest = owned;
                }
            }
        }
        let mut owners: Vec<_> = owners.into_values().collect();
        owners.sort_by_key(|owned| owned.epoch);
        let mut refreshed = Ok(());
        for Owned { from, to, address, .. } in owners {
            let is_known = |at: &(SocketAddr, Shared<Resp>)| at.0 == address && !at.1.is_lost();
            if !self.lock()[from..=to].iter().all(|at| at.as_ref().is_some_and(is_known)) {
                match Shared::connect(address, Some(&self.tls)).await {
                    Ok(connection) => self.lock()[from..=to].fill(Some((address, connection))),
                    // It may be dead without that being known. That must not keep from learning of the others.
                    Err(error) => refreshed = Err(error),
                }
            }
        }
        refreshed
    }

    fn at(&self, slot: usize) -> Option<(SocketAddr, Shared<Resp>)> {
        self.lock()[slot].clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache for PeerCluster {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let (_, node) = self.at(slot(key)).ok_or_else(|| Failure::lost("nobody has this slot"))?;
        node.get(key).await
    }

    async fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let (_, node) = self.at(slot(key)).ok_or_else(|| Failure::lost("nobody has this slot"))?;
        node.set(key, value).await
    }
}

/// A range of slots, the live master that has them, and the number of the decision by which it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owned {
    from: usize,
    to: usize,
    address: SocketAddr,
    epoch: u64,
}

/// Who has which slots, in the words of `CLUSTER NODES`.
fn slots(nodes: &str) -> Result<Vec<Owned>> {
    let mut all = Vec::new();
    for line in nodes.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, address, flags, _, _, _, epoch, _, ranges @ ..] = fields.as_slice() else { continue };
        if !flags.contains("master") || flags.contains("fail") {
            continue;
        }
        let address = address.split(['@', ',']).next().unwrap_or_default().parse()?;
        let epoch = epoch.parse()?;
        for range in ranges.iter().filter(|range| !range.starts_with('[')) {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let (from, to): (usize, usize) = (from.parse()?, to.parse()?);
            ensure!(from <= to && to < SLOTS, "a range of slots that is none: {range}");
            all.push(Owned { from, to, address, epoch });
        }
    }
    if all.is_empty() {
        bail!("no node has any slot: {nodes}");
    }
    Ok(all)
}

/// The slot of a key without `{}` (Redis Cluster specification: CRC-16/XMODEM, modulo the number of slots).
fn slot(key: &[u8]) -> usize {
    let crc = key.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ (POLYNOMIAL * (crc >> 15)))
    });
    usize::from(crc) % SLOTS
}

const POLYNOMIAL: u16 = 0x1021;
const SLOTS: usize = 16_384;
/// Longer than any slot migration that is worth waiting for.
const CLI_TIMEOUT: Duration = Duration::from_secs(600);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Longer than a node that is at work takes, and too short to wait for one that is not.
const ASK_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC-16/XMODEM.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn living_masters_and_their_slots_are_read() {
        let text = "a 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460 5470\n\
                    b 127.0.0.1:7002@17002,host master,fail - 0 0 2 connected 5461-5469\n\
                    c 127.0.0.1:7003@17003 slave a 0 0 1 connected\n\
                    d 127.0.0.1:7004@17004 master - 0 0 3 connected 5471-16383 [1->-b]\n";
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let owned = |from, to, port, epoch| Owned { from, to, address: address(port), epoch };
        let expected = vec![owned(0, 5460, 7001, 1), owned(5470, 5470, 7001, 1), owned(5471, 16383, 7004, 3)];
        assert_eq!(slots(text).unwrap(), expected);
        assert!(slots("").is_err());
    }
}
