//! What a cluster costs: messages and bytes, for each node and second, election and change of the view.

use std::{sync::Arc, time::Duration};

use comfy_table::Table;
use quoit_core::{meta::Meta, time::Timestamp};
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, Fence, Identity, Instance, Label, Member, Ordinal, Role, Term, View,
    message::session::VERSIONS,
    view::{AssignedTokens, Change, Intent, Liveness, Owner, ViewConfig, ViewFields, ViewHash},
};
use serde_json::{Value, json};

use super::table;
use crate::{
    invariants::Violation,
    sim::{Carried, Cluster, Mutant, Options, Trace},
};

/// What one size of cluster costs.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Members.
    pub members: usize,
    /// Voters.
    pub voters: usize,
    /// Datagrams and their bytes, for each node and second, when nothing happens.
    pub idle: (f64, f64),
    /// Messages and bytes from the death of the coordinator until everybody alive has the next view.
    pub election: (u64, u64),
    /// Messages of the election among them: without publication.
    pub election_messages: u64,
    /// Messages and bytes of one view that calls a member down.
    pub change: (u64, u64),
    /// Virtual time from the death of the coordinator until everybody alive has the next view.
    pub spread: Duration,
    /// The bytes of a whole view.
    pub view_bytes: usize,
}

/// Measures a cluster of `members`.
///
/// # Errors
/// A violation of an invariant, or that something did not happen in time.
pub fn measure(members: usize) -> Result<Cost, Violation> {
    let mut cluster = ready(members)?;
    let mut bytes = bytes::BytesMut::new();
    if let Some(view) = cluster.view(0) {
        view.encode(&mut bytes);
    }
    cluster.network_mut().carried.count_bytes = true;
    let seconds = 5;
    let before = cluster.network_mut().carried;
    cluster.run_for(Duration::from_secs(seconds))?;
    let after = cluster.network_mut().carried;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let per_node = |count: u64| count as f64 / (members as f64 * seconds as f64);
    let idle = (per_node(after.datagrams - before.datagrams), per_node(after.datagram_bytes - before.datagram_bytes));
    let change = one_change(&mut cluster)?;
    let at = cluster.now();
    let (before, elections) = (cluster.network_mut().carried, cluster.elections().0);
    let coordinator = cluster.coordinator().unwrap_or_default();
    let epoch = cluster.epoch(coordinator);
    cluster.kill(coordinator)?;
    let spread = until_all_have(&mut cluster, members, epoch.next())?;
    let voters = cluster.view((coordinator + 1) % members).map_or(0, |view| view.fields().voters.len());
    Ok(Cost {
        members,
        voters,
        idle,
        election: since(before, cluster.network_mut().carried),
        election_messages: cluster.elections().0 - elections,
        change,
        spread: spread.checked_duration_since(at).unwrap_or_default(),
        view_bytes: bytes.len(),
    })
}

/// Runs until everybody alive has a view of `epoch` or later. Looks each millisecond: a look at a thousand members after
/// each event would take longer than the events.
fn until_all_have(cluster: &mut Cluster, members: usize, epoch: Epoch) -> Result<Timestamp, Violation> {
    for _ in 0..PATIENCE_MS {
        if all_have(cluster, members, epoch) {
            return Ok(cluster.now());
        }
        cluster.run_for(Duration::from_millis(1))?;
    }
    Err(Violation::new("cost", format!("not everybody alive has {epoch} after {PATIENCE_MS} ms")))
}

/// Nothing here takes that long.
const PATIENCE_MS: usize = 60_000;

fn since(before: Carried, after: Carried) -> (u64, u64) {
    (after.messages - before.messages, after.message_bytes - before.message_bytes)
}

fn all_have(cluster: &Cluster, members: usize, epoch: Epoch) -> bool {
    (0..members).all(|host| !cluster.is_up(host) || cluster.epoch(host) >= epoch)
}

/// Kills somebody who does not preside, and waits until everybody alive has the view that says so.
fn one_change(cluster: &mut Cluster) -> Result<(u64, u64), Violation> {
    let members = cluster.view(0).map_or(0, |view| view.members().len());
    let coordinator = cluster.coordinator().unwrap_or_default();
    let victim = if coordinator == members - 1 { members - 2 } else { members - 1 };
    let epoch = cluster.epoch(coordinator);
    let before = cluster.network_mut().carried;
    cluster.kill(victim)?;
    until_all_have(cluster, members, epoch.next())?;
    let cost = since(before, cluster.network_mut().carried);
    if members <= 3 {
        cluster.boot(victim);
        cluster.settle(Duration::from_secs(60))?;
    }
    Ok(cost)
}

/// A cluster of `members` that exists already: each node's disk holds the same view.
fn ready(members: usize) -> Result<Cluster, Violation> {
    let mut options = Options::calm(members);
    (options.dials_all, options.network.breaks) = (members <= 100, false);
    let view = Arc::new(ready_view(members, &options));
    let mut cluster = Cluster::scripted(1, options, Mutant::None, Trace::off());
    cluster.believe(&view);
    for (host, member) in view.members().iter().enumerate() {
        let mut meta = Meta::new(member.instance);
        // The start raises it.
        meta.boot = Boot::new(0);
        meta.install(Arc::clone(&view), view.fields().ballot);
        cluster.put_on_disk(host, meta);
    }
    // All have restarted, so that one must be elected.
    until_all_have(&mut cluster, members, Epoch::new(2))?;
    cluster.run_for(Duration::from_secs(3))?;
    Ok(cluster)
}

/// A view of `members`, as if they had been there for ever.
pub(crate) fn ready_view(members: usize, options: &Options) -> View {
    let cluster: Label = "sim".parse().expect("a label");
    let member = |host: usize| {
        let name: Label = format!("n{}", host + 1).parse().expect("a label");
        let identity = Identity { role: Role::Node, name: name.clone(), cluster: cluster.clone() };
        Member {
            ordinal: Ordinal::new(u32::try_from(host + 1).expect("few members")),
            node_id: identity.node_id(),
            name,
            instance: Instance::from_random(host as u128 + 1),
            boot: Boot::new(1),
            address: format!("h{}:7750", host + 1).parse().expect("an address"),
            zone: None,
            vnodes: 8,
            priority: 0,
            versions: VERSIONS,
            live: Liveness::Up,
            degraded: false,
            placed: None,
            intent: Intent::Stay,
        }
    };
    let all: Vec<Member> = (0..members).map(member).collect();
    let ordinals: Vec<Ordinal> = all.iter().map(|member| member.ordinal).collect();
    let fields = ViewFields {
        cluster: cluster.clone(),
        cluster_id: ClusterId::from_random(1),
        epoch: Epoch::new(1),
        recovered_from: None,
        previous: ViewHash::default(),
        ballot: Ballot { term: Term::new(1), ordinal: Ordinal::new(1), boot: Boot::new(0) },
        coordinator: Ordinal::new(1),
        voters: ordinals.iter().copied().take(if members <= 7 { members } else { 5 }).collect(),
        config: ViewConfig { timing: options.timing, ..ViewConfig::default() },
        copies: ViewConfig::default().replication,
        ring: ordinals.iter().map(|ordinal| Owner { ordinal: *ordinal, boot: Boot::new(1) }).collect(),
        members: all,
        target: None,
        tokens: AssignedTokens::default(),
        fence: Fence::new(1),
        next_ordinal: Ordinal::new(u32::try_from(members + 1).expect("few members")),
        proposed_at_ms: 0,
        changes: vec![Change::Formed],
    };
    View::new(fields).expect("the members are in order")
}

/// The figures as a table.
pub fn to_table(rows: &[Cost]) -> Table {
    let mut table = table([
        "members",
        "voters",
        "datagrams/s per node",
        "bytes/s per node",
        "election: messages",
        "of them for the vote",
        "election: bytes",
        "spread after",
        "change: messages",
        "change: bytes",
        "whole view",
    ]);
    for row in rows {
        table.add_row([
            row.members.to_string(),
            row.voters.to_string(),
            format!("{:.1}", row.idle.0),
            format!("{:.0}", row.idle.1),
            row.election.0.to_string(),
            row.election_messages.to_string(),
            row.election.1.to_string(),
            format!("{} ms", row.spread.as_millis()),
            row.change.0.to_string(),
            row.change.1.to_string(),
            format!("{} B", row.view_bytes),
        ]);
    }
    table
}

/// The figures for programs.
pub fn to_json(rows: &[Cost]) -> Value {
    let row = |row: &Cost| {
        json!({
            "members": row.members,
            "voters": row.voters,
            "datagrams_per_second_and_node": row.idle.0,
            "bytes_per_second_and_node": row.idle.1,
            "election_messages": row.election_messages,
            "election_and_publication_messages": row.election.0,
            "election_and_publication_bytes": row.election.1,
            "spread_ms": u64::try_from(row.spread.as_millis()).unwrap_or(u64::MAX),
            "change_messages": row.change.0,
            "change_bytes": row.change.1,
            "view_bytes": row.view_bytes,
        })
    };
    rows.iter().map(row).collect()
}
