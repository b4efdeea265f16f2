//! Servers of other caches, as they are installed here.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tokio::{net::TcpStream, time::Instant};

use super::stream::Tls;
use crate::{identities::Identities, process::Process};

/// Another cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
    /// memcached.
    Memcached,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP in the clear.
    Plain,
    /// Mutual TLS 1.3.
    Tls,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Tls];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "in the clear",
            Self::Tls => "TLS",
        }
    }
}

impl Peer {
    /// All that can be compared with.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Valkey, Self::Memcached];

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::Memcached => "memcached",
        }
    }

    /// Its server's version in its own words; nothing if it is not installed.
    pub fn version(self) -> Option<String> {
        let output = Command::new(self.program()).arg("--version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }

    /// Whether its clients and servers speak RESP and form clusters.
    pub fn is_redis_like(self) -> bool {
        match self {
            Self::Redis | Self::Valkey => true,
            Self::Memcached => false,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
            Self::Memcached => "memcached",
        }
    }

    /// Its command line for people, if it has one.
    pub(super) fn cli(self) -> &'static str {
        match self {
            Self::Redis => "redis-cli",
            Self::Valkey | Self::Memcached => "valkey-cli",
        }
    }

    /// Its own load generator, if it has one.
    pub fn own_bench(self) -> Option<&'static str> {
        match self {
            Self::Redis => Some("redis-benchmark"),
            Self::Valkey => Some("valkey-benchmark"),
            Self::Memcached => None,
        }
    }
}

/// A server of it. It ends when this is dropped, and its folder goes with it.
#[derive(Debug)]
pub struct PeerServer {
    /// Who it is.
    pub peer: Peer,
    /// How it is reached.
    pub transport: Transport,
    address: SocketAddr,
    tls: Option<Tls>,
    process: Process,
    folder: PathBuf,
}

impl PeerServer {
    /// Starts one that keeps nothing on disk and evicts nothing, with certificates from `identities`, and waits until it
    /// listens. `more` is added to its command line.
    ///
    /// # Errors
    /// It is not installed, cannot do this, or does not start.
    pub async fn start(peer: Peer, transport: Transport, identities: &Identities, more: &[&str]) -> Result<Self> {
        let address = free_tcp_address()?;
        let folder = identities.folder().join(format!("{}-{}", peer.name(), address.port()));
        fs::create_dir(&folder)?;
        let certs = identities.node(0)?;
        let mut command = Command::new(peer.program());
        let port = address.port();
        match peer {
            Peer::Redis | Peer::Valkey => redis(&mut command, transport, port, &folder, &certs),
            Peer::Memcached => memcached(&mut command, transport, port, &certs),
        }
        let log = File::create(folder.join("log"))?;
        command.args(more).current_dir(&folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Process::spawn(&mut command)?;
        let give_up = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).await.is_err() {
            if let Err(error) = process.check(peer.program()) {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                bail!("{error}: {}", log.lines().rev().take(3).collect::<Vec<_>>().join(" / "));
            }
            ensure!(Instant::now() < give_up, "{} does not listen on {address}", peer.program());
            tokio::time::sleep(POLL).await;
        }
        let tls = match transport {
            Transport::Plain => None,
            Transport::Tls => Some(tls(identities)?),
        };
        Ok(Self { peer, transport, address, tls, process, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How to connect to it, if not in the clear.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Its name and transport.
    pub fn name(&self) -> String {
        format!("{}, {}", self.peer.name(), self.transport.name())
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        self.process.kill();
        // It goes with the whole folder of the run if it does not go by itself.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How to be a client of servers with these certificates.
pub(super) fn tls(identities: &Identities) -> Result<Tls> {
    let cluster = quoit_certs::DEFAULT_CLUSTER.parse()?;
    Tls::new(&identities.client(), &quoit_client::Role::Node.dns_name(&cluster))
}

fn redis(command: &mut Command, transport: Transport, port: u16, folder: &Path, certs: &Path) {
    let port = port.to_string();
    command.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
        "--protected-mode",
        "no",
    ]);
    command.arg("--dir").arg(folder);
    match transport {
        Transport::Plain => command.args(["--port", &port]),
        Transport::Tls => command
            .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "yes", "--tls-protocols", "TLSv1.3"])
            .args(["--tls-replication", "yes", "--tls-cluster", "yes"])
            .arg("--tls-ca-cert-file")
            .arg(certs.join("ca.crt"))
            .arg("--tls-cert-file")
            .arg(certs.join("tls.crt"))
            .arg("--tls-key-file")
            .arg(certs.join("tls.key")),
    };
}

fn memcached(command: &mut Command, transport: Transport, port: u16, certs: &Path) {
    command.args(["-l", "127.0.0.1", "-U", "0", "-m", "4096", "-c", "4096", "-u", "root", "-p", &port.to_string()]);
    if transport == Transport::Tls {
        let option = |name: &str, file: &str| format!("{name}={}", certs.join(file).display());
        let files = [
            option("ssl_chain_cert", "tls.crt"),
            option("ssl_key", "tls.key"),
            option("ssl_ca_cert", "ca.crt"),
            "ssl_verify_mode=2".to_owned(),
        ];
        command.args(["-Z", "-o", &files.join(",")]);
    }
}

/// A loopback port that nobody listens on, far enough below the highest that a cluster bus fits above it.
pub(super) fn free_tcp_address() -> Result<SocketAddr> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let port = (0..1000).map(|_| rand::random_range(PORTS)).find(|port| is_free(*port) && is_free(port + BUS_OFFSET));
    let port = port.with_context(|| format!("there are no free ports from {} to {}", PORTS.start, PORTS.end))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Ports from below those that the system hands out to others.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
/// Where a node of Redis Cluster listens for other nodes.
const BUS_OFFSET: u16 = 10_000;
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
