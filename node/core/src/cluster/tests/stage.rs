//! The stage for scripts: whole control planes by name, on virtual time, with disks and a network that the script can break.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quoit_proto_types::{
    Boot, Fence, Instance, Label, Nonce, View,
    message::{
        membership::{Applicant, Command, MembershipMessage},
        session::VERSIONS,
    },
    view::{ViewConfig, ViewHash},
};
use rand::{SeedableRng, rngs::StdRng};

use super::{
    describe,
    network::{Network, Packet, Payload},
};
use crate::{
    cluster::{Admission, Cluster, ClusterConfig, CommandId, Life, Output, Reached, Standing},
    meta::Meta,
    planted::Planted,
    time::Timestamp,
};

/// Vnodes of a node unless the script says otherwise.
pub(super) const VNODES: u32 = 8;

/// Nodes by name, what is between them, and what has happened.
#[derive(Default)]
pub(crate) struct Stage {
    now: Timestamp,
    network: Network,
    founders: Vec<Label>,
    config: ViewConfig,
    settings: BTreeMap<String, Settings>,
    instances: BTreeMap<String, u32>,
    disks: BTreeMap<String, Meta>,
    up: BTreeMap<String, Node>,
    /// Names whose disk is written by hand, whose data moves by hand, and whose address nobody reaches.
    slow_disks: BTreeSet<String>,
    slow_data: BTreeSet<String>,
    unreachable: BTreeSet<String>,
    show_beats: bool,
    /// What was said last of slots that are left to fetch: it is repeated with every heartbeat, and told once.
    told_left: BTreeMap<String, String>,
    /// Every view that was installed anywhere, to be described once; and at most one for each cluster and epoch.
    views: BTreeMap<(String, u64), ViewHash>,
    processes: u64,
    commands: u64,
    happened: Vec<Line>,
}

/// What happened to one node, or from it to others.
struct Line {
    at: String,
    who: String,
    to: Vec<String>,
    text: String,
}

#[derive(Clone, Default)]
struct Settings {
    vnodes: Option<u32>,
    priority: u8,
    address: Option<String>,
    zone: Option<String>,
}

struct Node {
    cluster: Cluster,
    life: Life,
    /// What waits for the disk.
    unwritten: Option<Meta>,
    asleep: bool,
}

pub(super) fn label(name: &str) -> Label {
    name.parse().unwrap()
}

/// The certificate's name of the process `name`: that of a clone `n3b` is `n3`.
fn label_of(name: &str) -> Label {
    label(name.trim_end_matches('b'))
}

fn instance(name: &str, number: u32) -> Instance {
    let name: u128 = name.trim_matches(char::is_alphabetic).parse().unwrap();
    Instance::from_random((name << 120) | (u128::from(number) << 96))
}

/// The number that [`instance`] was made of.
pub(super) fn instance_number(instance: Instance) -> u32 {
    u32::from_str_radix(&instance.to_string(), 16).unwrap() & 0x00ff_ffff
}

impl Stage {
    /// Carries out one command and tells what came of it. Times are since the start, in tenths of a second.
    ///
    /// ```text
    /// form NAMES                     start, connect, and wait until all are members; shows the first view only
    /// found NAMES                    the founders that those started later are given
    /// replication N, out-after S     what founders agree on
    /// vnodes NAME N, priority NAME N, address NAME A, zone NAME Z     for the next start
    /// start, stop NAMES              processes; a stop is noticed by all at once
    /// restart NAMES                  stop, start on the same disk, and connect with all
    /// wipe NAME                      the disk, after `stop`
    /// clone NAME                     after `stop`: a copy of its disk, on which NAMEb can be started
    /// connect A B, connect all, disconnect A B
    /// cut A B, deafen A              drop what A and B send to each other, or what anybody sends to A
    /// heal                           undo all cuts
    /// slow NAME MS                   all that it sends arrives so much later
    /// hold A B                       keep what A sends to B, but heartbeats, of which:
    ///   deliver A B                  the oldest arrives
    ///   repeat A B                   the same, and stays to arrive again
    ///   behind A B, drop A B         the oldest goes behind the others, or is lost
    ///   release A B, lose A B        all go on their way, or are lost; no more is held
    /// pause, resume NAME             the process; what it is sent waits for it
    /// slow-disk NAME, persist NAME   writes to disk take until the second
    /// slow-data NAME, synced NAME    slots take that long to move to it
    /// left NAME N                    that one has N slots yet to fetch
    /// unreachable NAME               nobody who dials it gets through
    /// wait MS, settle                time passes; until no message is on its way
    /// drain NAME at NODE, force-out NAME at NODE, transfer [NAME] at NODE, recover NAME, stopping NAME
    /// copies N at NODE, weight NAME N at NODE
    /// forge A B                      A tells B of another view of the epoch that B is in
    /// beats on, beats off            whether heartbeats are shown
    /// status
    /// ```
    pub(crate) fn play(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let known = self.play_nodes(&words) || self.play_network(&words) || self.play_admin(&words);
        assert!(known, "no such command: {command}");
        std::mem::take(&mut self.happened).into_iter().map(|line| line.to_string()).collect()
    }

    fn play_nodes(&mut self, words: &[&str]) -> bool {
        match *words {
            ["form", ref names @ ..] => self.form(names),
            ["found", ref names @ ..] => self.founders = names.iter().map(|name| label(name)).collect(),
            ["replication", count] => self.config.replication = count.parse().unwrap(),
            ["out-after", seconds] => self.config.out_after_s = seconds.parse().unwrap(),
            ["vnodes", name, count] => self.settings(name).vnodes = Some(count.parse().unwrap()),
            ["priority", name, priority] => self.settings(name).priority = priority.parse().unwrap(),
            ["address", name, address] => self.settings(name).address = Some(address.to_owned()),
            ["zone", name, zone] => self.settings(name).zone = Some(zone.to_owned()),
            ["start", ref names @ ..] => names.iter().for_each(|name| self.start(name)),
            ["stop", ref names @ ..] => names.iter().for_each(|name| self.stop(name)),
            ["restart", ref names @ ..] => names.iter().for_each(|name| {
                if self.up.contains_key(*name) {
                    self.stop(name);
                }
                self.start(name);
                self.connect_with_all(name);
            }),
            ["wipe", name] => {
                assert!(!self.up.contains_key(name), "{name} is up");
                self.disks.remove(name);
            }
            ["clone", name] => {
                let copy = self.disks[name].clone();
                self.disks.insert(format!("{name}b"), copy);
            }
            ["pause", name] => self.up.get_mut(name).unwrap().asleep = true,
            ["resume", name] => {
                self.up.get_mut(name).unwrap().asleep = false;
                self.tick(name);
            }
            ["slow-disk", name] => drop(self.slow_disks.insert(name.to_owned())),
            ["persist", name] => self.persist(name),
            ["slow-data", name] => drop(self.slow_data.insert(name.to_owned())),
            ["synced", name] => {
                self.slow_data.remove(name);
                self.sync(name, 0);
            }
            ["left", name, left] => self.sync(name, left.parse().unwrap()),
            _ => return false,
        }
        true
    }

    fn play_network(&mut self, words: &[&str]) -> bool {
        match *words {
            ["connect", "all"] => {
                let names: Vec<String> = self.up.keys().cloned().collect();
                names.iter().for_each(|name| self.connect_with_all(name));
            }
            ["connect", a, b] => self.connect(a, b),
            ["disconnect", a, b] => self.disconnect(a, b),
            ["cut", a, b] => {
                self.network.cut(a, b);
                self.network.cut(b, a);
            }
            ["deafen", name] => {
                let others: Vec<String> = self.up.keys().filter(|other| *other != name).cloned().collect();
                others.iter().for_each(|other| self.network.cut(other, name));
            }
            ["heal"] => self.network.heal(),
            ["slow", name, millis] => self.network.slow_down(name, Duration::from_millis(millis.parse().unwrap())),
            ["hold", a, b] => self.network.hold(a, b),
            ["deliver", a, b] => self.deliver(a, b, false),
            ["repeat", a, b] => self.deliver(a, b, true),
            ["behind", a, b] => self.network.put_behind(a, b),
            ["drop", a, b] => drop(self.network.take(a, b, false)),
            ["release", a, b] => self.network.release(self.now, a, b),
            ["lose", a, b] => assert!(self.network.lose(a, b) > 0, "nothing was held"),
            ["unreachable", name] => drop(self.unreachable.insert(name.to_owned())),
            ["wait", millis] => self.wait(Duration::from_millis(millis.parse().unwrap())),
            ["settle"] => self.settle(),
            ["beats", switch] => self.show_beats = switch == "on",
            _ => return false,
        }
        true
    }

    fn play_admin(&mut self, words: &[&str]) -> bool {
        match *words {
            ["drain", name, "at", node] => self.command(node, Command::Drain { name: label(name) }),
            ["force-out", name, "at", node] => self.command(node, Command::ForceOut { name: label(name) }),
            ["transfer", "at", node] => self.command(node, Command::Transfer { to: None }),
            ["transfer", name, "at", node] => self.command(node, Command::Transfer { to: Some(label(name)) }),
            ["copies", copies, "at", node] => {
                self.command(node, Command::SetCopies { copies: copies.parse().unwrap() })
            }
            ["weight", name, vnodes, "at", node] => {
                let command = Command::SetWeight { name: label(name), vnodes: vnodes.parse().unwrap() };
                self.command(node, command);
            }
            ["recover", name] => {
                let now = self.now;
                let outcome = self.up.get_mut(name).unwrap().cluster.handle_recover(now, &label(name));
                self.note(
                    name,
                    match outcome {
                        Ok(epoch) => format!("recovers at {epoch}"),
                        Err(reason) => format!("does not recover: {reason}"),
                    },
                );
                self.drain(name);
            }
            ["forge", from, to] => self.forge(from, to),
            ["stopping", name] => self.with(name, Cluster::handle_stopping),
            ["status"] => self.status(),
            _ => return false,
        }
        true
    }

    fn settings(&mut self, name: &str) -> &mut Settings {
        self.settings.entry(name.to_owned()).or_default()
    }

    fn form(&mut self, names: &[&str]) {
        self.founders = names.iter().map(|name| label(name)).collect();
        names.iter().for_each(|name| self.start(name));
        names.iter().for_each(|name| self.connect_with_all(name));
        // So long that each has been heard by each.
        self.wait(Duration::from_millis(2_000));
        for name in names {
            assert_eq!(self.up[*name].cluster.standing(), Standing::Member, "{name}");
        }
        self.happened.retain(|line| line.text.starts_with("installs e1 "));
    }

    fn start(&mut self, name: &str) {
        assert!(!self.up.contains_key(name), "{name} is up");
        let meta = match self.disks.remove(name) {
            Some(meta) => meta.next_boot(),
            None => {
                let number = self.instances.entry(name.to_owned()).or_default();
                *number += 1;
                Meta::new(instance(name, *number))
            }
        };
        self.disks.insert(name.to_owned(), meta.clone());
        self.processes += 1;
        let life = Life { instance: meta.instance, boot: meta.boot, nonce: Nonce::new(self.processes) };
        let config = ClusterConfig {
            cluster: label("test"),
            me: self.applicant(name, meta.instance, meta.boot),
            view: self.config,
            started_at_ms: 0,
            planted: Planted::NOTHING,
        };
        let cluster = Cluster::new(config, meta, StdRng::seed_from_u64(self.processes), self.now);
        self.up.insert(name.to_owned(), Node { cluster, life, unwritten: None, asleep: false });
        self.drain(name);
        let founders = self.founders.clone();
        self.with(name, |cluster, now| cluster.handle_founders(now, founders));
    }

    fn applicant(&self, name: &str, instance: Instance, boot: Boot) -> Applicant {
        let settings = self.settings.get(name).cloned().unwrap_or_default();
        let address = settings.address.unwrap_or_else(|| format!("{name}:7750"));
        Applicant {
            name: label_of(name),
            instance,
            boot,
            address: address.parse().unwrap(),
            zone: settings.zone.map(|zone| label(&zone)),
            vnodes: settings.vnodes.unwrap_or(VNODES),
            priority: settings.priority,
            versions: VERSIONS,
        }
    }

    fn stop(&mut self, name: &str) {
        self.up.remove(name).expect("it is up");
        for peer in self.network.peers(name) {
            self.disconnect(name, &peer);
        }
    }

    fn connect_with_all(&mut self, name: &str) {
        let others: Vec<String> = self.up.keys().filter(|other| *other != name).cloned().collect();
        others.iter().for_each(|other| self.connect(name, other));
    }

    /// Does nothing if they are connected, or cannot be.
    fn connect(&mut self, a: &str, b: &str) {
        if label_of(a) == label_of(b) || self.network.is_cut(a, b) || !self.network.connect(a, b) {
            return;
        }
        for (node, peer) in [(a, b), (b, a)] {
            let (now, life) = (self.now, self.up[peer].life);
            let admission = self.up.get_mut(node).unwrap().cluster.handle_connected(now, &label_of(peer), life);
            self.drain(node);
            if admission != Admission::Admitted {
                self.note(node, format!("refuses {peer}: {admission:?}"));
                self.network.disconnect(a, b);
                return self.with(peer, |cluster, now| cluster.handle_refused(now, &label_of(node), admission));
            }
        }
    }

    fn disconnect(&mut self, a: &str, b: &str) {
        self.network.disconnect(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            self.with(node, |cluster, now| cluster.handle_disconnected(now, &label_of(peer)));
        }
    }

    fn deliver(&mut self, from: &str, to: &str, again: bool) {
        let message = self.network.take(from, to, again);
        self.with(to, |cluster, now| cluster.handle_message(now, &label_of(from), message));
    }

    fn command(&mut self, node: &str, command: Command) {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.with(node, |cluster, now| cluster.handle_command(now, id, label("ops"), command));
    }

    fn forge(&mut self, from: &str, to: &str) {
        let mut fields = self.up[to].cluster.view().unwrap().fields().clone();
        fields.proposed_at_ms += 1;
        let (ballot, view) = (fields.ballot, View::new(fields).unwrap());
        let commit = MembershipMessage::Commit { ballot, view };
        self.with(to, |cluster, now| cluster.handle_message(now, &label_of(from), commit.into()));
    }

    fn status(&mut self) {
        let lines: Vec<(String, String)> =
            self.up.iter().map(|(name, node)| (name.clone(), node.status(self.now))).collect();
        lines.into_iter().for_each(|(name, text)| self.note(&name, text));
    }

    /// Writes what waits for the disk of `name`.
    fn persist(&mut self, name: &str) {
        if let Some(meta) = self.up.get_mut(name).and_then(|node| node.unwritten.take()) {
            let sequence = meta.sequence;
            self.disks.insert(name.to_owned(), meta);
            self.with(name, |cluster, now| cluster.handle_persisted(now, sequence));
        }
    }

    /// Tells `name` that it has yet to fetch `left` of the slots of its view's target.
    fn sync(&mut self, name: &str, left: u32) {
        let fence = self.up[name].cluster.view().map_or(Fence::default(), |view| view.fence());
        self.with(name, |cluster, now| cluster.handle_synced(now, fence, left));
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            if !self.network.has_messages() {
                return;
            }
            self.wait(Duration::from_millis(1));
        }
        panic!("it does not settle");
    }

    /// Lets arrive what is on its way, and fires what becomes due, in order.
    fn wait(&mut self, time: Duration) {
        let until = self.now.saturating_add(time);
        loop {
            let arrival = self.network.next_arrival().filter(|at| *at <= until);
            let deadline = self.next_deadline().filter(|(at, _)| *at <= until);
            match (arrival, deadline) {
                (Some(at), deadline) if deadline.as_ref().is_none_or(|(due, _)| at <= *due) => {
                    self.now = at.max(self.now);
                    self.arrive(until);
                }
                (_, Some((at, name))) => {
                    self.now = at.max(self.now);
                    self.tick(&name);
                }
                (_, None) => break,
            }
        }
        self.now = until;
    }

    fn arrive(&mut self, until: Timestamp) {
        let packet = self.network.arrive().unwrap();
        let (from, to) = packet.link.clone();
        if self.up.get(&to).is_some_and(|node| node.asleep) {
            return self.network.put_off(packet, until.saturating_add(Duration::from_micros(1)));
        }
        let Packet { payload, .. } = packet;
        let from = label_of(&from);
        self.with(&to, |cluster, now| match payload {
            Payload::Message(message) => cluster.handle_message(now, &from, *message),
            Payload::Beat(heartbeat) => cluster.handle_heartbeat(now, &from, heartbeat),
        });
    }

    fn next_deadline(&self) -> Option<(Timestamp, String)> {
        let awake = self.up.iter().filter(|(_, node)| !node.asleep);
        awake.filter_map(|(name, node)| Some((node.cluster.poll_timeout()?, name.clone()))).min()
    }

    fn tick(&mut self, name: &str) {
        let before = self.up[name].cluster.poll_timeout();
        if before.is_some_and(|due| due <= self.now) {
            self.with(name, Cluster::handle_timeout);
            let after = self.up.get(name).and_then(|node| node.cluster.poll_timeout());
            assert!(after.is_none_or(|due| due > self.now), "{name} does not stop being due at {}", self.now);
        }
    }

    fn with(&mut self, name: &str, handle: impl FnOnce(&mut Cluster, Timestamp)) {
        if let Some(node) = self.up.get_mut(name) {
            handle(&mut node.cluster, self.now);
            self.drain(name);
        }
    }

    /// Does what `name` wants done.
    fn drain(&mut self, name: &str) {
        while let Some(output) = self.up.get_mut(name).and_then(|node| node.cluster.poll_output()) {
            match output {
                Output::Send { to, message } => {
                    let mut text = describe::message(&message);
                    if text.starts_with("Synced") {
                        let told = format!("{text} to {to}");
                        if self.told_left.insert(name.to_owned(), told.clone()) == Some(told) {
                            text.clear();
                        }
                    }
                    self.send(name, &to, text, Payload::Message(Box::new(message)));
                }
                Output::Beat { to, heartbeat } => {
                    let text = if self.show_beats { describe::beat(&heartbeat) } else { String::new() };
                    self.send(name, &to, text, Payload::Beat(heartbeat));
                }
                Output::Persist(meta) => {
                    self.up.get_mut(name).unwrap().unwritten = Some(*meta);
                    if self.slow_disks.contains(name) {
                        self.note(name, "writes to disk".to_owned());
                    } else {
                        self.persist(name);
                    }
                }
                Output::Install(view) => self.install(name, &view),
                Output::Reach(applicant) => self.reach(name, &applicant),
                Output::Answer { answer, .. } => self.note(name, format!("answers: {}", describe::answer(&answer))),
                Output::Report(finding) => self.note(name, format!("reports: {finding}")),
                Output::Stop(reason) => {
                    self.note(name, format!("stops: {reason}"));
                    self.stop(name);
                }
            }
        }
    }

    fn send(&mut self, name: &str, to: &Label, text: String, payload: Payload) {
        let receiver = self.up.keys().find(|other| label_of(other) == *to && self.network.is_connected(name, other));
        let receiver = receiver.cloned().unwrap_or_else(|| to.to_string());
        let fate = self.network.send(self.now, name, &receiver, payload);
        if text.is_empty() {
            return;
        }
        let (at, text) = (self.at(), format!("{text}{fate}"));
        if let Some(last) = self.happened.last_mut()
            && (&last.at, last.who.as_str(), &last.text) == (&at, name, &text)
            && !last.to.is_empty()
        {
            return last.to.push(receiver);
        }
        self.happened.push(Line { at, who: name.to_owned(), to: vec![receiver], text });
    }

    fn install(&mut self, name: &str, view: &Arc<View>) {
        let (epoch, hash) = (view.epoch().value(), view.hash());
        let known = self.views.insert((view.fields().cluster_id.to_string(), epoch), hash);
        assert!(known.is_none_or(|known| known == hash), "two views of epoch {epoch}");
        let text = if known.is_some() { format!("e{epoch}") } else { describe::view(view) };
        self.note(name, format!("installs {text}"));
        let fields = view.fields();
        let me = fields.members.iter().find(|member| member.instance == self.up[name].life.instance);
        let owns = |me: &quoit_proto_types::Member| {
            let owner = quoit_proto_types::view::Owner { ordinal: me.ordinal, boot: self.up[name].life.boot };
            fields.target.as_ref().is_some_and(|target| target.contains(&owner))
        };
        if me.is_some_and(owns) && !self.slow_data.contains(name) {
            self.sync(name, 0);
        }
    }

    fn reach(&mut self, name: &str, applicant: &Applicant) {
        let there = self.up.iter().find(|(other, node)| {
            let settings = self.settings.get(*other).and_then(|settings| settings.address.clone());
            let address = settings.unwrap_or_else(|| format!("{other}:7750"));
            (node.life.instance, node.life.boot) == (applicant.instance, applicant.boot)
                && address == applicant.address.to_string()
                && !self.unreachable.contains(*other)
                && !self.network.is_cut(name, other)
        });
        let there = there.map(|(other, _)| other.clone());
        let outcome = if there.is_some() { "gets through" } else { "gets no answer" };
        self.note(name, format!("dials {} at {}: {outcome}", applicant.name, applicant.address));
        let reached = match there {
            Some(other) => {
                self.connect(name, &other);
                Reached::Yes
            }
            None => Reached::No("no answer".to_owned()),
        };
        self.with(name, |cluster, now| cluster.handle_reached(now, applicant, reached));
    }

    fn note(&mut self, name: &str, text: String) {
        self.happened.push(Line { at: self.at(), who: name.to_owned(), to: Vec::new(), text });
    }

    fn at(&self) -> String {
        let tenths = self.now.as_micros() / 100_000;
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.at, self.who)?;
        if !self.to.is_empty() {
            return write!(f, " -> {}: {}", self.to.join(" "), self.text);
        }
        write!(f, " {}", self.text)
    }
}

impl Node {
    fn status(&self, now: Timestamp) -> String {
        let cluster = &self.cluster;
        let epoch = cluster.view().map_or(0, |view| view.epoch().value());
        let standing = match cluster.standing() {
            Standing::Member => format!("{:?}", cluster.role()).to_lowercase(),
            Standing::Searching => "searching".to_owned(),
            Standing::Founding(_) => "founding".to_owned(),
            Standing::Joining { .. } => "joining".to_owned(),
            Standing::Rejoining { .. } => format!("rejoining, {:?}", cluster.role()).to_lowercase(),
            Standing::Leaving => "leaving".to_owned(),
            Standing::Stopped(_) => "stopped".to_owned(),
        };
        let coordinator = cluster.coordinator(now).map_or_else(|| "nobody".to_owned(), |name| name.to_string());
        let quorum = cluster.quorum(now);
        let promised = describe::number(cluster.meta().acceptor.promised());
        let waiting = cluster.waiting_change().map_or_else(String::new, |why| format!("; the ring waits: {why}"));
        format!(
            "is {standing} in e{epoch}; coordinator {coordinator}; hears {} of {} needed; promised {promised}{waiting}",
            quorum.heard, quorum.needed
        )
    }
}
