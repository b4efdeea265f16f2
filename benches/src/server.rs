//! What runs in a server's process.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use quoit_node::{
    Network, NodeHandle,
    config::{Config, MEMORY_BYTES_DEFAULT, Settings},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use crate::{floor, identities::node_files};

/// Longer than a node takes to form a cluster of one.
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
    /// Folder of the throwaway certificates
    #[arg(long)]
    pub certs: PathBuf,
    /// Worker threads, as for the whole program
    #[arg(long)]
    pub threads: usize,
    /// Memory for entries, in bytes
    #[arg(long, default_value_t = MEMORY_BYTES_DEFAULT)]
    pub memory: usize,
}

/// Serves on a free loopback port, which it prints, until standard input ends.
///
/// # Errors
/// A server that cannot start.
pub fn serve(args: &ServeArgs) -> Result<()> {
    runtime(args.threads)?.block_on(async {
        match args.subject {
            Subject::Quoit => {
                let node = start_node(&args.certs, args.memory).await?;
                until_abandoned(node.local_address()).await?;
                node.shutdown().await;
            }
            Subject::Floor => {
                let server = floor::Server::start(&node_files(&args.certs))?;
                until_abandoned(server.local_address()?).await?;
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

async fn start_node(certs: &Path, memory_bytes: usize) -> Result<NodeHandle> {
    let network = Network::udp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let listen = network.socket.local_addr()?;
    // Its own seed: a cluster of one.
    let settings = Settings { listen, seeds: vec![listen.into()], memory_bytes, ..Settings::new(node_files(certs)) };
    let mut node = NodeHandle::start_on(Config::try_from(settings)?, network).await?;
    node.formed(FORMING_TIMEOUT).await.map_err(|state| anyhow!("the node did not form a cluster: {state:?}"))?;
    Ok(node)
}

/// Says where it listens, and returns when nobody is left to care: standard input has ended.
async fn until_abandoned(address: SocketAddr) -> Result<()> {
    let (sender, ended) = oneshot::channel();
    thread::spawn(move || {
        // Whatever ends it, it has ended.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(());
    });
    writeln!(io::stdout(), "{address}")?;
    Ok(ended.await?)
}
