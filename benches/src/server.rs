//! What runs in a server's process.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use quoit_client::{CertificateFiles, busy_poll::BUSY_POLL};
use quoit_node::{
    Network, NodeHandle, Workers, allocator,
    config::{Config, MEMORY_BYTES_DEFAULT, OnStop, Settings},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use crate::floor;

/// Longer than a node takes to form a cluster, or to be admitted to one.
const FORMING_TIMEOUT: Duration = Duration::from_secs(30);

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// A node of Quoit.
    Quoit,
    /// The yardstick.
    Floor,
}

/// How a server's process is told what to do.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Who serves
    pub subject: Subject,
    /// Folder of its certificate
    #[arg(long)]
    pub certs: PathBuf,
    /// Threads for requests; 0 for as many as `quoit node` has
    #[arg(long)]
    pub threads: usize,
    /// Memory for entries, in bytes
    #[arg(long, default_value_t = MEMORY_BYTES_DEFAULT)]
    pub memory: usize,
    /// Where it listens; a free loopback port unless said
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// The founders; itself alone unless said
    #[arg(long, value_delimiter = ',')]
    pub seeds: Vec<SocketAddr>,
    /// Copies of each key
    #[arg(long)]
    pub replication: Option<u8>,
    /// Handoff as fast as it goes
    #[arg(long)]
    pub unpaced: bool,
    /// How long a node looks for what comes next before it sleeps
    #[arg(long, value_parser = humantime::parse_duration, default_value = "100us")]
    pub busy_poll: Duration,
}

impl ServeArgs {
    /// A server of this kind, with defaults.
    pub fn new(subject: Subject, certs: impl Into<PathBuf>, threads: usize) -> Self {
        Self {
            subject,
            certs: certs.into(),
            threads,
            memory: MEMORY_BYTES_DEFAULT,
            listen: None,
            seeds: Vec::new(),
            replication: None,
            unpaced: false,
            busy_poll: BUSY_POLL,
        }
    }

    /// The arguments that mean this.
    pub(crate) fn to_command_line(&self) -> Result<Vec<OsString>> {
        let subject = self.subject.to_possible_value().context("every subject has a name")?;
        let mut line: Vec<OsString> = vec!["serve".into(), subject.get_name().into()];
        let mut add = |name: &str, value: String| line.extend([name.into(), value.into()]);
        add("--threads", self.threads.to_string());
        add("--memory", self.memory.to_string());
        if let Some(listen) = self.listen {
            add("--listen", listen.to_string());
        }
        if !self.seeds.is_empty() {
            add("--seeds", self.seeds.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(","));
        }
        if let Some(copies) = self.replication {
            add("--replication", copies.to_string());
        }
        let busy_poll = humantime::format_duration(self.busy_poll).to_string();
        line.extend(["--busy-poll".into(), busy_poll.into()]);
        line.extend(["--certs".into(), self.certs.clone().into()]);
        if self.unpaced {
            line.push("--unpaced".into());
        }
        Ok(line)
    }
}

/// Serves on a loopback port, which it prints, until standard input ends.
///
/// # Errors
/// A server that cannot start.
pub fn serve(args: &ServeArgs) -> Result<()> {
    // As `quoit` does: else the memory would not be that of the product.
    allocator::return_pages_soon();
    let beside = match args.subject {
        Subject::Quoit => Workers::runtime_beside()?,
        Subject::Floor => runtime(1)?,
    };
    beside.block_on(async {
        match args.subject {
            Subject::Quoit => {
                let mut node = start_node(args).await?;
                // Others cannot form a cluster with one that has not said where it is.
                writeln!(io::stdout(), "{}", node.local_address())?;
                let formed = node.formed(FORMING_TIMEOUT).await;
                formed.map_err(|state| anyhow!("the node did not become a member: {state:?}"))?;
                until_abandoned().await?;
                node.shutdown().await;
            }
            Subject::Floor => {
                let server = floor::Server::start(&CertificateFiles::in_folder(&args.certs))?;
                writeln!(io::stdout(), "{}", server.local_address()?)?;
                until_abandoned().await?;
            }
        }
        Ok(())
    })
}

/// A runtime with `threads` workers: 0 stands for as many as there are CPUs, 1 for none beside the calling thread.
///
/// # Errors
/// What the system says.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    match threads {
        0 => Builder::new_multi_thread().enable_all().build(),
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

async fn start_node(args: &ServeArgs) -> Result<NodeHandle> {
    let workers = Workers::start(NonZeroUsize::new(args.threads).unwrap_or_else(Workers::default_count))?;
    let listen = args.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let network = Network::udp_on(&workers, listen, args.busy_poll)?;
    let listen = network.socket.local_addr()?;
    let seeds = if args.seeds.is_empty() { vec![listen] } else { args.seeds.clone() };
    let mut settings = Settings {
        listen,
        seeds: seeds.into_iter().map(Into::into).collect(),
        memory_bytes: args.memory,
        // Who is done with it does not wait.
        on_stop: OnStop::Stay,
        ..Settings::new(CertificateFiles::in_folder(&args.certs))
    };
    settings.replication = args.replication.unwrap_or(settings.replication);
    if args.unpaced {
        settings.handoff_rate = None;
    }
    Ok(NodeHandle::start_on(Config::try_from(settings)?, network).await?)
}

/// Returns when nobody is left to care: standard input has ended.
async fn until_abandoned() -> Result<()> {
    let (sender, ended) = oneshot::channel();
    thread::spawn(move || {
        // Whatever ends it, it has ended.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(());
    });
    Ok(ended.await?)
}
