//! `quoit dev`: a cluster to play with, and a shell, which leave nothing behind.

use std::fmt::Write as _;

use clap::Args;
use quoit_client::Role;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    args::GlobalArgs,
    connect::Connected,
    error::CliError,
    local_cluster::{LocalCluster, REPLICATION},
    output::{Format, Output},
    shell::{self, EmptyLine},
};

/// Where three nodes on one machine listen by convention.
const PORTS: [u16; 3] = [7750, 7760, 7770];

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Take any free ports instead of 7750, 7760 and 7770
    #[arg(long)]
    any_port: bool,
}

pub(crate) async fn run(args: DevArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    // From here on signals end this function, not the process, so that everything is removed.
    let mut stop = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [interrupt, terminate, hangup] = &mut stop;
    let (Ok(interrupt), Ok(terminate), Ok(hangup)) = (interrupt, terminate, hangup) else {
        return Err(std::io::Error::other("signals cannot be caught").into());
    };
    let cluster = LocalCluster::start("dev", &if args.any_port { [0; 3] } else { PORTS }).await?;
    let done = tokio::select! {
        done = serve(&cluster, global, output) => done,
        () = first_of(terminate, hangup) => Ok(()),
        // In the shell Ctrl-C is a key, or gives up on a command.
        _ = interrupt.recv(), if !shell::is_interactive(output) => Ok(()),
    };
    let stopped = cluster.stop().await;
    output.note("stopped, and removed the certificates");
    done.and(stopped)
}

/// Tells what there is, then keeps it up: with a shell, or for ever.
async fn serve(cluster: &LocalCluster, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    match output.format() {
        Format::Json | Format::Jsonl => output.json(&json!({
            "nodes": cluster.addresses().collect::<Vec<_>>(),
            "certs": cluster.certs_folder(),
        }))?,
        Format::Table | Format::Csv | Format::Raw => output.line(welcome(cluster, output))?,
    }
    if !shell::is_interactive(output) {
        return std::future::pending().await;
    }
    let connected = Connected { client: cluster.connect().await?, role: Role::Client };
    let done = shell::converse(&connected, global, EmptyLine::Leave).await;
    connected.client.close().await;
    done
}

fn welcome(cluster: &LocalCluster, output: &Output) -> String {
    let count = cluster.nodes().len();
    let copies = REPLICATION.min(u8::try_from(count).unwrap_or(REPLICATION));
    let mut text = format!(
        "{count} nodes up, {copies} copies of each key, with certificates in a temporary folder; nothing else is touched.\n\n"
    );
    for node in cluster.nodes() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}  {}", node.identity().name, node.local_address());
    }
    let folder = cluster.certs_folder().display().to_string();
    let certs = shlex::try_quote(&folder).unwrap_or_default();
    let nodes = cluster.addresses().collect::<Vec<_>>().join(",");
    let stop = if shell::is_interactive(output) { "Ctrl-D" } else { "Ctrl-C or SIGTERM" };
    let _ = write!(
        text,
        "\nFrom another terminal:\n  export QUOIT_CERTS={certs} QUOIT_NODES={nodes}\n  quoit set greeting hello\n  quoit get greeting\n  quoit status\n\n{stop} ends it.\n"
    );
    text
}

async fn first_of(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
