//! `quoit node`: runs a node until it is told to stop.

use std::{io, ops::ControlFlow, time::Duration};

use clap::Args;
use quoit_core::store::EvictionPolicy;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{
    args::GlobalArgs,
    config::SettingsArgs,
    data::with_data,
    error::{CliError, Exit},
    logging,
    output::Output,
};
use crate::{
    Leave, LeaveProgress, LeftBehind, Network, NodeHandle, NodeState, StopReason, Workers,
    config::{Config, Effective, OnStop, Origin, Size},
};

/// Arguments of `quoit node`.
#[derive(Args, Debug)]
#[command(after_help = "\
A node needs a certificate: --certs, QUOIT_CERTS, or `certs` in the file. Its name is the one in it.
Without seeds it is a cluster of one. A node that is behind one of the seeds founds the cluster with
the others; any other joins it through them.

SIGTERM and SIGINT stop it within --drain-timeout, a second one at once. Unless it is to stay
(--on-stop stay, for a node that is started again soon), it hands its keys over first and leaves
the cluster. SIGHUP reads the certificates again, as happens by itself when they change.
Exit codes: 0 stopped, or drained (quoit drain); 1 failed, or stopped with keys that nobody else has;
2 the configuration or the certificates cannot be used.")]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Runs a node to its end.
pub(crate) fn run(args: NodeArgs, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let typed = |id, given: bool| given && global.sources.origin(id) == Origin::Flag;
    if typed("nodes", global.nodes.is_some()) || typed("context", global.context.is_some()) {
        return Err(CliError::usage("--nodes and --context are for those who connect to a node")
            .advice("--seeds, for the first nodes of its cluster"));
    }
    let effective = args.settings.effective(global)?;
    let config = with_data(effective.config()?)?;
    logging::init_node(global, effective.log(), effective.log_format())?;
    let workers = Workers::start(effective.threads().unwrap_or_else(Workers::default_count))?;
    let runtime = Workers::runtime_beside()?;
    let done = runtime.block_on(serve(config, &workers, &effective, output));
    runtime.shutdown_timeout(Duration::ZERO);
    done
}

async fn serve(config: Config, workers: &Workers, effective: &Effective, output: &Output) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let network = Network::udp_on(workers, config.settings().listen, config.settings().busy_poll)?;
    let mut node = NodeHandle::start_on(config.clone(), network).await?;
    introduce(&node, &config, effective, output);
    let mut ready = false;
    let mut leaves = false;
    let stopped = loop {
        tokio::select! {
            biased;
            request = signals.next() => match request {
                Request::Stop(name) => {
                    info!(event = "stopping", signal = name, "stopping");
                    leaves = config.settings().on_stop == OnStop::Drain;
                    break Ok(());
                }
                Request::Reload => node.reload(),
            },
            state = node.state_changed() => if let ControlFlow::Break(end) = report(state, &mut ready) {
                break end;
            },
        }
    };
    let ending = async {
        let left = if leaves { last_word(&node.leave(report_leaving).await) } else { Ok(()) };
        node.shutdown().await;
        stopped.and(left)
    };
    tokio::select! {
        biased;
        stopped = ending => {
            info!(event = "stopped", "stopped");
            stopped
        }
        () = signals.stop() => {
            warn!(event = "stopped", "stopped at once, with requests under way");
            Err(CliError::new(Exit::No, ""))
        }
    }
}

/// How far the slots have come, now and then.
fn report_leaving(progress: &LeaveProgress) {
    let LeaveProgress { slots, slots_left, bytes, bytes_per_s, remaining } = progress;
    let (moved, pace) = (bytesize::ByteSize(*bytes), bytesize::ByteSize(*bytes_per_s));
    let about = remaining.map(|left| format!(", about {} s to go", left.as_secs() + 1)).unwrap_or_default();
    info!(
        event = "leaving",
        slots,
        slots_left,
        bytes,
        bytes_per_s,
        "handing over: {slots_left} of {slots} slots left, {moved} at {pace}/s{about}"
    );
}

/// What a node that stops leaves behind.
fn last_word(left: &Leave) -> Result<(), CliError> {
    match left {
        Leave::Left { epoch } => info!(event = "left", %epoch, "left the cluster: everything is with others"),
        Leave::NotMember => {}
        Leave::LastOne => info!(event = "last_one", "nobody is there to take its keys: they end with it"),
        Leave::Unfinished(LeftBehind { reason, slots_lost: 0, slots_thinned, .. }) => {
            let slots = slots_thinned;
            warn!(
                event = "drain_timeout",
                slots, "time is up, {reason}: no key is lost, and {slots} slots have a copy less until others make it"
            );
        }
        Leave::Unfinished(LeftBehind { reason, slots_lost, entries_lost, slots_thinned }) => {
            let lost = format!(
                "time was up, and {reason}: {entries_lost} entries in {slots_lost} slots had no other copy in reach; \
                 {slots_thinned} slots have a copy less"
            );
            let failed = CliError::new(Exit::No, "stopped with keys that nobody in reach has").why(lost);
            return Err(failed.advice("a longer --drain-timeout, a higher --handoff-rate, or quoit replication 2"));
        }
    }
    Ok(())
}

/// Says who starts: to people a banner, to programs one event.
fn introduce(node: &NodeHandle, config: &Config, effective: &Effective, output: &Output) {
    let settings = config.settings();
    let (identity, address) = (node.identity(), node.local_address());
    let memory = Size(settings.memory_bytes);
    if !logging::is_for_people(effective.log_format()) {
        let (name, cluster) = (identity.name.as_str(), identity.cluster.as_str());
        info!(event = "started", node = name, cluster, %address, %memory, vnodes = settings.vnodes, "started");
        return;
    }
    let seeds: Vec<_> = settings.seeds.iter().map(ToString::to_string).collect();
    output.note(format_args!(
        "quoit {version}  {name}, cluster {cluster}\n  \
         address    {address}/udp{advertised}\n  \
         seeds      {seeds}\n  \
         data       {data}\n  \
         memory     {memory}, {eviction}\n  \
         vnodes     {vnodes}",
        eviction = match settings.eviction {
            EvictionPolicy::SegmentedLru => "slru",
            EvictionPolicy::Lru => "lru",
        },
        version = env!("CARGO_PKG_VERSION"),
        name = identity.name,
        cluster = identity.cluster,
        advertised = settings.advertise.as_ref().map(|it| format!(", advertised as {it}")).unwrap_or_default(),
        seeds = seeds.join(", "),
        data = settings.data.as_ref().map(|data| data.display().to_string()).unwrap_or_default(),
        vnodes = settings.vnodes,
    ));
}

/// Logs a change of state; that it is `ready` once, and not at every view. Breaks when the node has ended, as it should or
/// not.
fn report(state: NodeState, ready: &mut bool) -> ControlFlow<Result<(), CliError>> {
    let was_ready = std::mem::replace(ready, matches!(state, NodeState::Member(_)));
    match state {
        NodeState::Waiting(text) => info!(event = "waiting", "{text}"),
        NodeState::Member(_) if was_ready => {}
        NodeState::Member(view) => {
            info!(event = "ready", members = view.members().len(), epoch = %view.epoch(), "ready");
        }
        NodeState::Stopped { reason: reason @ StopReason::Retired { .. } } => {
            info!(event = "left", "{reason}");
            return ControlFlow::Break(Ok(()));
        }
        NodeState::Stopped { reason } => {
            let failed = CliError::new(Exit::No, "this node must not go on").why(reason.to_string());
            return ControlFlow::Break(Err(failed));
        }
        NodeState::Failed(text) => {
            let failed = CliError::new(Exit::No, "this node cannot be a member of its cluster").why(text);
            let advice = "quoit config show, on each node: seeds, founders and slots_log2 must be the same";
            return ControlFlow::Break(Err(failed.advice(advice)));
        }
    }
    ControlFlow::Continue(())
}

enum Request {
    Stop(&'static str),
    Reload,
}

/// The signals a node answers to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next request. Cancel-safe.
    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits for a request to stop.
    async fn stop(&mut self) {
        while let Request::Reload = self.next().await {}
    }
}
