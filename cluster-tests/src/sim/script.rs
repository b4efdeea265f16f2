//! For whoever runs a cluster by a script: scenarios and measurements.

use std::{sync::Arc, time::Duration};

use quoit_core::{
    cluster::{Cluster as Machine, StopReason},
    meta::Meta,
    time::Timestamp,
};
use quoit_proto_types::{
    Epoch, Label, Member, View,
    message::membership::{Command, CommandAnswer},
};

use super::{Actor, Cluster, CutId, Event, Network, Options};
use crate::invariants::{Fact, Violation};

impl Cluster {
    /// Lets so much time pass.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Violation> {
        let until = self.now().saturating_add(duration);
        self.run_until(duration, |cluster| cluster.now() >= until).map(drop)
    }

    /// Runs until `reached`, for so long at most. Returns when that was.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn run_until(
        &mut self,
        within: Duration,
        mut reached: impl FnMut(&Self) -> bool,
    ) -> Result<Option<Timestamp>, Violation> {
        let end = self.now().saturating_add(within);
        self.queue.at(end, Event::Bell);
        while !reached(self) {
            let event = self.queue.pop().expect("the bell is scheduled");
            if matches!(event, Event::Bell) {
                // An earlier script's bell may ring first.
                if self.now() >= end {
                    return Ok(reached(self).then(|| self.now()));
                }
                continue;
            }
            self.step(event)?;
        }
        Ok(Some(self.now()))
    }

    /// Runs until `reached`.
    ///
    /// # Errors
    /// The first violation of an invariant; or that `what` was not reached within this time.
    pub fn expect(
        &mut self,
        what: &str,
        within: Duration,
        reached: impl FnMut(&Self) -> bool,
    ) -> Result<Timestamp, Violation> {
        let at = self.run_until(within, reached)?;
        let now = self.now();
        at.ok_or_else(|| {
            let views: Vec<_> = self.installs.iter().map(|(_, view)| &view.fields().changes).collect();
            Violation::new("scenario", format!("{what} is not reached at {now}: {:?}; {views:?}", self.settled()))
        })
    }

    /// Runs until the cluster has settled.
    ///
    /// # Errors
    /// The first violation of an invariant; or that it has not.
    pub fn settle(&mut self, within: Duration) -> Result<Timestamp, Violation> {
        self.expect("settled", within, |cluster| cluster.settled().is_ok())
    }

    /// Lets the clients stop, and runs until nothing is left to be done about the data and all that was promised is there.
    ///
    /// # Errors
    /// The first violation of an invariant; or that it does not settle.
    pub fn settle_data(&mut self, within: Duration) -> Result<(), Violation> {
        let since = self.now();
        self.healed.get_or_insert(since);
        let end = since.saturating_add(within);
        while !self.data_settled(since)? {
            if self.now() >= end {
                return Err(Violation::new("scenario", "the data does not settle"));
            }
            self.run_for(Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// Has clients ask for nothing from here on.
    pub fn rest_clients(&mut self) {
        if let Some(world) = &mut self.data {
            world.rests = true;
        }
    }

    /// Has clients ask other hosts than this one.
    pub fn shun(&mut self, host: usize) {
        if let Some(world) = &mut self.data {
            world.shunned = Some(host);
        }
    }

    /// Sets by how much the time of day of the next process of `host` is ahead.
    pub fn set_skew(&mut self, host: usize, ahead: Duration) {
        self.hosts[host].skew_ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
    }

    /// What the scripts may change.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The links.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Whether a process is up on `host`.
    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].process.is_some()
    }

    /// The machine on `host`, if its process is up.
    pub fn machine(&self, host: usize) -> Option<&Machine> {
        self.hosts[host].process.as_ref().map(|process| &process.machine)
    }

    /// The view that the process of `host` goes by.
    pub fn view(&self, host: usize) -> Option<&Arc<View>> {
        self.machine(host)?.view()
    }

    /// The epoch of that view.
    pub fn epoch(&self, host: usize) -> Epoch {
        self.view(host).map(|view| view.epoch()).unwrap_or_default()
    }

    /// The process of `host`.
    pub fn actor(&self, host: usize) -> Option<&Actor> {
        self.hosts[host].process.as_ref().map(|process| &process.actor)
    }

    /// The name of `host`.
    pub fn label(&self, host: usize) -> &Label {
        &self.labels[self.hosts[host].name]
    }

    /// The member that the process of `at` takes for the one of `host`.
    pub fn member(&self, at: usize, host: usize) -> Option<&Member> {
        self.view(at)?.member_named(self.label(host))
    }

    /// What is on the disk of `host`.
    pub fn on_disk(&self, host: usize) -> Option<&Meta> {
        self.hosts[host].disk.load()
    }

    /// Puts a state on the disk of `host`, as of a cluster that exists already, or as copied.
    pub fn put_on_disk(&mut self, host: usize, meta: Meta) {
        self.hosts[host].disk.put(meta);
    }

    /// Takes a view for decided, as of a cluster that exists before the run.
    pub fn believe(&mut self, view: &Arc<View>) {
        self.invariants.believe(view);
    }

    /// Ends the process of `host` without a word and does not start another one.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn kill(&mut self, host: usize) -> Result<(), Violation> {
        self.end(host)?;
        self.hosts[host].wanted = false;
        Ok(())
    }

    /// Starts a process on `host`.
    pub fn boot(&mut self, host: usize) {
        self.queue.after(Duration::ZERO, Event::Start(host));
    }

    /// Starts a process on `host` later.
    pub fn boot_after(&mut self, host: usize, delay: Duration) {
        self.queue.after(delay, Event::Start(host));
    }

    /// Asks the process of `host` to stop.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn stop_gracefully(&mut self, host: usize) -> Result<(), Violation> {
        self.hosts[host].wanted = false;
        self.restart(host)
    }

    /// Loses the disk of `host`, whose process must be down.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn lose_disk(&mut self, host: usize) -> Result<(), Violation> {
        let instance = self.on_disk(host).map(|meta| meta.instance);
        self.hosts[host].disk.wipe();
        self.wipes += 1;
        instance.map_or(Ok(()), |instance| self.check(&Fact::Wiped(instance)))
    }

    /// Stops the process of `host` for so long.
    pub fn stop_for(&mut self, host: usize, duration: Duration) {
        self.pause(host, duration);
    }

    /// Lets these directed links carry nothing.
    pub fn cut_links(&mut self, links: impl IntoIterator<Item = (usize, usize)>) -> CutId {
        self.network.cut(links)
    }

    /// Cuts `side` off from all others, both ways.
    pub fn cut_off(&mut self, side: &[usize]) -> CutId {
        let count = self.hosts.len();
        let all = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        let links: Vec<_> = all.filter(|(a, b)| side.contains(a) != side.contains(b)).collect();
        self.network.cut(links)
    }

    /// Makes everything that `host` sends travel so much longer.
    pub fn slow_down(&mut self, host: usize, by: Duration) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.network.slow_down((host, other), by);
        }
    }

    /// Ends a cut.
    pub fn mend(&mut self, cut: CutId) {
        self.network.mend(cut);
    }

    /// Gives the host another address, for its next process.
    pub fn relocate(&mut self, host: usize, address: &str) {
        self.hosts[host].address = address.parse().expect("an address");
    }

    /// Makes the processes of `host` run under the name of `other`, from the next start on, as with a copied disk or an
    /// identity that is used twice.
    pub fn rename(&mut self, host: usize, other: usize) {
        self.hosts[host].name = self.hosts[other].name;
    }

    /// From here on two processes may share a voting state, so that nothing is promised.
    pub fn expect_copies(&mut self) {
        self.copied = true;
    }

    /// Sets the weight and the priority of the next process of `host`.
    pub fn configure(&mut self, host: usize, vnodes: u32, priority: u8) {
        (self.hosts[host].vnodes, self.hosts[host].priority) = (vnodes, priority);
    }

    /// Gives a command to the process of `host` and waits for the answer.
    ///
    /// # Errors
    /// The first violation of an invariant.
    pub fn ask(&mut self, host: usize, command: Command) -> Result<Option<CommandAnswer>, Violation> {
        let id = self.command(host, command)?;
        self.run_until(Duration::from_secs(3), |cluster| cluster.answers.contains_key(&id))?;
        Ok(self.answers.get(&id).cloned())
    }

    /// Makes a cluster of the process of `host` alone.
    ///
    /// # Errors
    /// The first violation of an invariant; or why the machine refused.
    pub fn recover(&mut self, host: usize) -> Result<Epoch, Violation> {
        let Some(actor) = self.actor(host).cloned() else {
            return Err(Violation::new("scenario", format!("{} is down", self.label(host))));
        };
        self.recovered = true;
        self.check(&Fact::Recovered(&actor))?;
        let mut recovered = Err(String::new());
        self.with(host, actor.serial, |machine, now| recovered = machine.handle_recover(now, &actor.name))?;
        recovered.map_err(|reason| Violation::new("scenario", reason))
    }

    /// When each view was installed for the first time, in order.
    pub fn installs(&self) -> &[(Timestamp, Arc<View>)] {
        &self.installs
    }

    /// Processes that ended by themselves, and why.
    pub fn stopped(&self) -> &[(Actor, StopReason)] {
        &self.stopped
    }

    /// How many messages of elections were sent, and how many candidacies got as far as a ballot.
    pub fn elections(&self) -> (u64, u64) {
        (self.election_messages, self.summary.elections)
    }
}
