//! One node: many callers, one caller, and Quoit beside a bare prototype.

use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};

use anyhow::Result;

use super::{
    Bed,
    contest::{KEYS, MEMORY, Shape, Style, loads, plan},
    findings::{Measured, Section},
};
use crate::{
    floor,
    identities::files_in,
    load::{self, Load, Sample},
    peers::{PeerServer, Transport},
    process::{Server, said},
    progress::Progress,
    server::{ServeArgs, Subject},
    workload::{Mode, Workload},
};

const fn shape(name: &'static str, callers: usize, depth: usize) -> Shape {
    Shape { name, callers, depth, apart: false, expires: false }
}

const SHAPES: [Shape; 4] = [
    shape("50 × 1", 50, 1),
    shape("50 × 16", 50, 16),
    shape("1 × 64", 1, 64),
    Shape { name: "50 clients × 1", callers: 50, depth: 1, apart: true, expires: false },
];

/// What each shape is to reach: operations per second and server CPU as multiples of the peers over TLS, operations as a
/// multiple of the peers in the clear.
const GOALS: [(&str, f64, f64, f64); 3] =
    [("50 × 1", 4.0, 0.5, 3.0), ("50 × 16", 3.0, 0.5, 1.5), ("1 × 64", 1.5, 0.65, 1.0)];

/// One figure of what was measured.
type Figure = fn(&Measured) -> f64;

/// Peers by transport.
type Best = BTreeMap<&'static str, Measured>;

/// Samples by what was done and who did it, in the order of the rows.
type Samples = BTreeMap<(usize, usize), Vec<Sample>>;

impl Bed {
    pub(super) async fn single(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("One node, 100-byte values");
        section.note(
            "Callers × requests of each under way at once: a batch, of which all answers are waited for before the next. Quoit: one client \
             with one connection, mutual TLS, but for “50 clients”, which are 50 clients with a connection each. Peers: both a connection for each caller, and one for all callers, on which \
             their requests coalesce as Quoit's do. Goals count the fastest peer with a connection each, as their own load generators and \
             most of their clients have; the same against the fastest of both kinds follows where that is another.",
        );
        let nodes = self.nodes(1, 1, MEMORY)?;
        let own = loads(KEYS)?;
        let preloader = self.quoits(&nodes, 1).await?;
        for workload in &own {
            load::preload(&preloader, workload, &Arc::default()).await?;
        }
        let servers = self.peer_servers(&mut section.notes).await?;
        let mut of_peers = Vec::new();
        for server in &servers {
            let loads = loads(KEYS)?;
            self.preload_peer(server, &loads, false).await?;
            of_peers.push(loads);
        }
        for shape in SHAPES {
            for (mode, name) in ["get", "set"].into_iter().enumerate() {
                let mut samples = Samples::new();
                for round in 1..=self.rounds {
                    let done = progress.step(format_args!("{name} {}, round {round}", shape.name));
                    let sample = self.ask_quoit(&nodes, shape, &own[mode], &done).await?;
                    samples.entry((0, 0)).or_default().push(sample);
                    for (index, server) in servers.iter().enumerate() {
                        let styles = if shape.apart { &Style::ALL[..1] } else { &Style::ALL[..] };
                        for (number, style) in styles.iter().enumerate() {
                            let workload = &of_peers[index][mode];
                            let sample = self.ask_peer(server, (shape, *style), workload, self.until(), &done).await?;
                            samples.entry((index + 1, number)).or_default().push(sample);
                        }
                    }
                }
                self.settle(&mut section, (name, shape), &samples, &servers);
            }
        }
        for server in servers.iter().filter(|server| server.transport == Transport::Plain) {
            if let Some(program) = server.peer.own_bench() {
                let check = own_bench(program, server).await;
                section.note(check.unwrap_or_else(|error| format!("Cross-check: {error:#}")));
            }
        }
        Ok(section)
    }

    /// Makes rows and goals of the rounds of one shape.
    fn settle(&self, section: &mut Section, (mode, shape): (&str, Shape), samples: &Samples, servers: &[PeerServer]) {
        let what = format!("{mode} {}", shape.name);
        let mut quoit = None;
        let (mut best, mut fastest) = (Best::new(), Best::new());
        for ((subject, style), samples) in samples {
            if *subject == 0 {
                let measured = Measured::of(&what, "quoit, TLS", samples);
                quoit = Some(measured.clone());
                section.push(measured);
                continue;
            }
            let server = &servers[subject - 1];
            let name = format!("{}, {}", server.name(), Style::ALL[*style].name());
            let measured = Measured::of(&what, &name, samples);
            let of_each = (Style::ALL[*style] == Style::Pool).then_some(&mut best);
            for best in [Some(&mut fastest), of_each].into_iter().flatten() {
                let rate = |measured: &Measured| measured.operations_per_second.median;
                if best.get(server.transport.name()).is_none_or(|best| rate(&measured) > rate(best)) {
                    best.insert(server.transport.name(), measured.clone());
                }
            }
            section.push(measured);
        }
        if let Some(quoit) = quoit {
            judge(section, (&what, shape), &quoit, &best);
            if Transport::ALL.iter().any(|transport| subject(&best, *transport) != subject(&fastest, *transport)) {
                judge(section, (&what, shape), &quoit, &fastest);
            }
        }
    }

    pub(super) async fn caller(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("One caller at a time");
        let one = shape("1 × 1", 1, 1);
        let nodes = self.nodes(1, 1, MEMORY)?;
        let own = loads(KEYS)?;
        load::preload(&self.quoits(&nodes, 1).await?, &own[0], &Arc::default()).await?;
        let servers = self.peer_servers(&mut section.notes).await?;
        // A workload of its own for each: it knows which versions it has written.
        let mut theirs = Vec::new();
        for server in &servers {
            let loads = loads(KEYS)?;
            self.preload_peer(server, &loads[..1], false).await?;
            theirs.push(loads);
        }
        let (mut of_quoit, mut of_peers) = (Vec::new(), vec![Vec::new(); servers.len()]);
        for round in 1..=self.rounds {
            let done = progress.step(format_args!("one caller, round {round}"));
            of_quoit.push(self.ask_quoit(&nodes, one, &own[0], &done).await?);
            for ((server, loads), samples) in servers.iter().zip(&theirs).zip(&mut of_peers) {
                samples.push(self.ask_peer(server, (one, Style::Pool), &loads[0], self.until(), &done).await?);
            }
        }
        let quoit = Measured::of("get 1 × 1", "quoit, TLS", &of_quoit);
        section.push(quoit.clone());
        let mut tls: Vec<Measured> = Vec::new();
        for (server, samples) in servers.iter().zip(&of_peers) {
            let measured = Measured::of("get 1 × 1", &server.name(), samples);
            if server.transport == Transport::Tls {
                tls.push(measured.clone());
            }
            section.push(measured);
        }
        let of: [(&str, Figure); 2] = [("p50", |m| m.p50_us.median), ("p99", |m| m.p99_us.median)];
        for (name, of) in of {
            let best = tls.iter().map(of).min_by(f64::total_cmp);
            let ratio = best.map(|best| of(&quoit) / best);
            section.at_most(format!("one caller: {name}, of the best peer over TLS"), "×", ratio, 1.15);
        }
        Ok(section)
    }

    pub(super) async fn floor(&self, progress: &mut Progress) -> Result<Section> {
        let mut section = Section::new("Quoit beside a bare pipelined prototype");
        section.note(
            "The prototype has QUIC, TLS, frames and a hash map, and nothing else. Gets of 100 bytes, one connection.",
        );
        let nodes = self.nodes(1, 1, MEMORY)?;
        let server =
            Server::spawn(&ServeArgs::new(Subject::Floor, self.identities.node(0)?, self.args.server_threads))?;
        let bare = [floor::Client::connect(&files_in(&self.identities.client()), server.address()).await?];
        let quoits = self.quoits(&nodes, 1).await?;
        let (own, beside) = (workload()?, workload()?);
        load::preload(&quoits, &own, &Arc::default()).await?;
        load::preload(&bare, &beside, &Arc::default()).await?;
        for callers in [64, 1024] {
            let (mut of_quoit, mut of_bare) = (Vec::new(), Vec::new());
            let load = Load::closed(callers, self.until());
            for round in 1..=self.rounds {
                let done = progress.step(format_args!("floor, {callers} callers, round {round}"));
                of_quoit.push(load.run(&quoits, &own, &nodes.processes(), &done).await?);
                of_bare.push(load.run(&bare, &beside, &[server.id()], &done).await?);
            }
            let what = format!("get, {callers} callers");
            section.push(Measured::of(&what, "quoit", &of_quoit));
            section.push(Measured::of(&what, "prototype", &of_bare));
            let ratio: crate::spread::Spread =
                of_quoit.iter().zip(&of_bare).map(|(quoit, bare)| quoit.rate() / bare.rate()).collect();
            section.at_least(format!("{what}: ops/s, of a bare prototype"), "×", Some(ratio.median), 0.7);
        }
        Ok(section)
    }
}

/// Compares with the best peers over each transport.
fn judge(section: &mut Section, (what, shape): (&str, Shape), quoit: &Measured, best: &Best) {
    let ratio = |transport: Transport, of: Figure| best.get(transport.name()).map(|best| of(quoit) / of(best));
    let rate: Figure = |measured| measured.operations_per_second.median;
    let tls = subject(best, Transport::Tls);
    if shape.apart {
        section.at_least(format!("{what}: ops/s, of {tls}"), "×", ratio(Transport::Tls, rate), 1.0);
    }
    let Some((_, of_tls, cpu, of_plain)) = GOALS.iter().find(|goal| goal.0 == shape.name) else { return };
    section.at_least(format!("{what}: ops/s, of {tls}"), "×", ratio(Transport::Tls, rate), *of_tls);
    let server_us: Figure = |measured| measured.server_cpu_us.median;
    section.at_most(format!("{what}: server CPU, of {tls}"), "×", ratio(Transport::Tls, server_us), *cpu);
    let name = format!("{what}: ops/s, of {}", subject(best, Transport::Plain));
    section.at_least(name, "×", ratio(Transport::Plain, rate), *of_plain);
}

/// Who is best over a transport.
fn subject(best: &Best, transport: Transport) -> &str {
    best.get(transport.name()).map_or("nobody", |best| &best.subject)
}

fn workload() -> Result<Arc<Workload>> {
    Ok(Arc::new(Workload::new(plan(Mode::Get, KEYS))?))
}

/// What the peer's own load generator says of 50 connections, 16 requests each, to check this one by.
async fn own_bench(program: &str, server: &PeerServer) -> Result<String> {
    let port = server.address().port().to_string();
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port, "-c", "50", "-P", "16", "-n", "1000000", "-d", "100", "-r", "10000"]);
    command.args(["-t", "set,get", "--csv"]);
    let text = said(command, OWN_BENCH_TIMEOUT).await?;
    let rates = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split(',').map(|field| field.trim_matches('"'));
        Some(format!("{} {} ops/s", fields.next()?.to_lowercase(), fields.next()?))
    });
    let rates = rates.collect::<Vec<_>>().join(", ");
    Ok(format!("Cross-check: {program} -c 50 -P 16 in the clear says {rates}."))
}

const OWN_BENCH_TIMEOUT: Duration = Duration::from_secs(120);
