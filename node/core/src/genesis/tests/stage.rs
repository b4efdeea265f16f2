//! The stage for scripts: founders, and the messages between them, each of which arrives when the script says so.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use quoit_proto_types::{
    Ballot, Boot, Instance, Label, View,
    message::{genesis::GenesisMessage, membership::Applicant, session::VERSIONS},
    view::ViewConfig,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    acceptor::Acceptor,
    genesis::{Genesis, GenesisConfig, Output},
    planted::Planted,
    time::Timestamp,
};

/// Founders by name, and what they have sent. The stage is the parent of each: it keeps their disks, and drops the machine
/// of a founder that knows the view.
#[derive(Default)]
pub(super) struct Stage {
    now: Timestamp,
    founders: Vec<String>,
    witnesses: BTreeSet<String>,
    /// How many instances of each name there were.
    instances: BTreeMap<String, u32>,
    disks: BTreeMap<String, Disk>,
    up: BTreeMap<String, Genesis>,
    views: BTreeMap<String, View>,
    connected: BTreeSet<(String, String)>,
    sent: BTreeMap<(String, String), VecDeque<GenesisMessage>>,
    happened: Vec<String>,
}

/// What outlives a process.
struct Disk {
    instance: u32,
    boot: u32,
    acceptor: Acceptor,
}

pub(super) fn label(name: &str) -> Label {
    name.parse().unwrap()
}

/// The process number `boot` of the instance number `instance` of `name`.
pub(super) fn founder(name: &str, instance: u32, boot: u32) -> Applicant {
    let number: u128 = name.trim_start_matches('n').parse().unwrap();
    Applicant {
        name: label(name),
        instance: Instance::from_random((number << 120) | (u128::from(instance) << 96)),
        boot: Boot::new(boot),
        address: format!("{name}:7750").parse().unwrap(),
        zone: None,
        vnodes: 8,
        priority: 0,
        versions: VERSIONS,
    }
}

impl Stage {
    /// Carries out one command and tells what came of it.
    ///
    /// ```text
    /// found NAMES          the founders that those started later are given     witness NAMES    … who own nothing
    /// start, stop NAMES    processes                                           wipe NAME        the disk, after `stop`
    /// connect A B, disconnect A B, connect all                                 wait MILLISECONDS
    /// deliver A B          the oldest message from A to B, whatever has become of either
    /// repeat A B           the same, and leave it to be delivered again        lose A B         drop all of them
    /// settle               deliver all messages and let time pass until a founder decides, or nothing more happens
    /// status               of all who are up
    /// ```
    pub(super) fn play(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["found", ref names @ ..] => self.founders = names.iter().map(ToString::to_string).collect(),
            ["witness", ref names @ ..] => self.witnesses = names.iter().map(ToString::to_string).collect(),
            ["start", ref names @ ..] => names.iter().for_each(|name| self.start(name)),
            ["stop", ref names @ ..] => names.iter().for_each(|name| self.stop(name)),
            ["wipe", name] => {
                assert!(!self.up.contains_key(name), "{name} is up");
                self.disks.remove(name);
            }
            ["connect", "all"] => {
                let names: Vec<String> = self.up.keys().cloned().collect();
                for (i, a) in names.iter().enumerate() {
                    names[i + 1..].iter().for_each(|b| self.connect(a, b));
                }
            }
            ["connect", a, b] => self.connect(a, b),
            ["disconnect", a, b] => self.disconnect(a, b),
            ["deliver", a, b] => self.deliver(a, b),
            ["repeat", a, b] => {
                let message = self.sent[&(a.to_owned(), b.to_owned())][0].clone();
                self.deliver(a, b);
                self.sent.get_mut(&(a.to_owned(), b.to_owned())).unwrap().push_front(message);
            }
            ["lose", a, b] => drop(self.sent.remove(&(a.to_owned(), b.to_owned()))),
            ["wait", millis] => self.wait(millis.parse().unwrap()),
            ["settle"] => self.settle(),
            ["status"] => self.status(),
            _ => panic!("no such command: {command}"),
        }
        std::mem::take(&mut self.happened)
    }

    /// The view that `name` has decided.
    pub(super) fn view(&self, name: &str) -> Option<&View> {
        self.views.get(name)
    }

    /// Starts a process on the disk of the one before, or on an empty one.
    fn start(&mut self, name: &str) {
        let instances = self.instances.entry(name.to_owned()).or_default();
        let disk = self.disks.entry(name.to_owned()).or_insert_with(|| {
            *instances += 1;
            Disk { instance: *instances, boot: 0, acceptor: Acceptor::default() }
        });
        disk.boot += 1;
        let mut me = founder(name, disk.instance, disk.boot);
        if self.witnesses.contains(name) {
            me.vnodes = 0;
        }
        let seed = u64::from(disk.instance) + 10 * u64::from(disk.boot) + 100 * me.name.as_str().len() as u64;
        let config = GenesisConfig {
            cluster: label("test"),
            founders: self.founders.iter().map(|name| label(name)).collect(),
            me,
            config: ViewConfig::default(),
            started_at_ms: 0,
            planted: Planted::NOTHING,
        };
        let genesis = Genesis::new(config, disk.acceptor.clone(), StdRng::seed_from_u64(seed), self.now);
        self.up.insert(name.to_owned(), genesis);
        self.drain(name);
    }

    /// What is connected with `name` notices at once. What it has sent stays on the way.
    fn stop(&mut self, name: &str) {
        self.up.remove(name);
        self.views.remove(name);
        let links = self.connected.iter().filter(|(a, b)| a == name || b == name);
        for (a, b) in links.cloned().collect::<Vec<_>>() {
            self.disconnect(&a, &b);
        }
    }

    fn connect(&mut self, a: &str, b: &str) {
        self.connected.insert((a.to_owned(), b.to_owned()));
        for (node, peer) in [(a, b), (b, a)] {
            self.with(node, |genesis, now| genesis.handle_connected(now, &label(peer)));
        }
    }

    fn disconnect(&mut self, a: &str, b: &str) {
        self.connected.retain(|link| *link != (a.to_owned(), b.to_owned()));
        for (node, peer) in [(a, b), (b, a)] {
            self.with(node, |genesis, now| genesis.handle_disconnected(now, &label(peer)));
        }
    }

    fn deliver(&mut self, from: &str, to: &str) {
        let messages = self.sent.get_mut(&(from.to_owned(), to.to_owned()));
        let message = messages.and_then(VecDeque::pop_front).expect("a message on the way");
        self.with(to, |genesis, now| genesis.handle_message(now, &label(from), message));
    }

    /// Fires what becomes due, in order.
    fn wait(&mut self, millis: u64) {
        let until = self.now.saturating_add(Duration::from_millis(millis));
        while let Some((at, name)) = self.next_deadline().filter(|(at, _)| *at <= until) {
            self.now = at;
            self.with(&name, Genesis::handle_timeout);
        }
        self.now = until;
    }

    fn settle(&mut self) {
        let decided = self.views.len();
        for _ in 0..10_000 {
            let waiting = self.sent.iter().find(|(_, messages)| !messages.is_empty()).map(|(link, _)| link.clone());
            match (waiting, self.next_deadline()) {
                _ if self.views.len() > decided => return,
                (Some((from, to)), _) => self.deliver(&from, &to),
                (None, Some((at, name))) => {
                    self.now = at;
                    self.with(&name, Genesis::handle_timeout);
                }
                (None, None) => return,
            }
        }
        panic!("it does not settle");
    }

    fn status(&mut self) {
        for (name, genesis) in &self.up {
            self.happened.push(match self.views.get(name) {
                Some(view) => format!("{name}: has decided {}", members(view)),
                None => format!("{name}: {}", genesis.status()),
            });
        }
    }

    fn next_deadline(&self) -> Option<(Timestamp, String)> {
        let deadlines = self.up.iter().filter_map(|(name, genesis)| Some((genesis.poll_timeout()?.0, name.clone())));
        deadlines.min()
    }

    fn with(&mut self, name: &str, handle: impl FnOnce(&mut Genesis, Timestamp)) {
        if let Some(genesis) = self.up.get_mut(name) {
            handle(genesis, self.now);
            self.drain(name);
        }
    }

    /// Writes to disk what must be there before the messages leave, then lets them go.
    fn drain(&mut self, name: &str) {
        let (genesis, disk) = (&self.up[name], self.disks.get_mut(name).unwrap());
        disk.acceptor = genesis.acceptor().clone();
        while let Some(output) = self.up.get_mut(name).and_then(Genesis::poll_output) {
            let line = match output {
                Output::Send { to, message } => {
                    let (to, line) = (to.to_string(), format!("{name} -> {to}: {}", describe(&message)));
                    let link = (name.to_owned(), to.clone());
                    let open = self.connected.contains(&link) || self.connected.contains(&(to, name.to_owned()));
                    if open {
                        self.sent.entry(link).or_default().push_back(message);
                        line
                    } else {
                        format!("{line} (not connected)")
                    }
                }
                Output::Decided { ballot, view } => {
                    let line = format!("{name} decides {} in {}", members(&view), number(ballot));
                    self.views.insert(name.to_owned(), view);
                    line
                }
                Output::Report(finding) => format!("{name} reports: {finding}"),
            };
            self.happened.push(line);
        }
    }
}

fn describe(message: &GenesisMessage) -> String {
    match message {
        GenesisMessage::Founding { founders, .. } => {
            format!("Founding {}", founders.iter().map(Label::as_str).collect::<Vec<_>>().join(" "))
        }
        GenesisMessage::Prepare { ballot, .. } => format!("Prepare {}", number(*ballot)),
        GenesisMessage::Promise { ballot, accepted: None, .. } => format!("Promise {}", number(*ballot)),
        GenesisMessage::Promise { ballot, accepted: Some((old, view)), .. } => {
            format!("Promise {}, accepted {} in {}", number(*ballot), members(view), number(*old))
        }
        GenesisMessage::Propose { ballot, view } => format!("Propose {} {}", number(*ballot), members(view)),
        GenesisMessage::Accepted { ballot } => format!("Accepted {}", number(*ballot)),
        GenesisMessage::Reject { ballot, seen } => format!("Reject {}, seen {}", number(*ballot), number(*seen)),
    }
}

/// A ballot without the random number in it.
fn number(ballot: Ballot) -> String {
    format!("{}.{}", ballot.term, ballot.ordinal)
}

/// The processes in a view: name and instance, and the boot unless it is the first.
fn members(view: &View) -> String {
    let names = view.members().iter().map(|member| {
        let is = |instance: &u32| founder(member.name.as_str(), *instance, 1).instance == member.instance;
        let instance = (1..100).find(is).unwrap_or_default();
        let boot = member.boot.value();
        let boot = if boot == 1 { String::new() } else { format!(".{boot}") };
        format!("{}#{instance}{boot}", member.name)
    });
    format!("[{}]", names.collect::<Vec<_>>().join(" "))
}
