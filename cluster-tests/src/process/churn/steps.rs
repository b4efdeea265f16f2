//! What is done to the cluster, one thing at a time. Each ends with a cluster at rest, under the same load as before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use quoit_client::{
    AdminReply, AdminRequest, Command, CommandAnswer, Epoch, Label, Liveness, NodeStatus, Owner, UpkeepStatus, View,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::Churn;
use crate::process::{
    Fleet, Observer, Settled,
    scenarios::{ELECTION, SETTLE, STOP, some},
    settled::agreed,
    wait_for,
};

/// How long a node may take to hand its keys over and leave: as long as it gives itself, and some more.
const LEAVE: Duration = Duration::from_secs(150);
/// What `--on-stop` has a node do when it is asked to stop.
const LEAVES: &str = "drain";
const STAYS: &str = "stay";

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Step {
    /// One more node joins: a new one, or the one that was drained.
    Join,
    /// A node is drained, and ends.
    Drain,
    /// A node is killed with SIGKILL and started again, empty.
    Kill,
    /// Every node in turn leaves at SIGTERM, and joins again.
    RollLeaving,
    /// Every node in turn stays a member at SIGTERM, and comes back empty, once it is safe to stop.
    RollStaying,
    /// One more copy of everything, and one less.
    Copies,
    /// A node gets half its weight, and the rest of it back.
    Weight,
    /// The nodes are cut into two sides that both go on, and joined again.
    Partition,
    /// Nothing is done for a while: what other steps are compared with.
    Idle,
    /// Some keys are changed behind the ledger's back, one so that it is lost, one stale, one resurrected and one wrong. Shows
    /// that this is found.
    #[value(skip)]
    Meddle,
}

impl Step {
    /// All that a cluster must stand, in the order in which they are done.
    pub const ALL: [Self; 8] = [
        Self::Join,
        Self::Drain,
        Self::Kill,
        Self::RollLeaving,
        Self::Copies,
        Self::Weight,
        Self::Partition,
        Self::RollStaying,
    ];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Drain => "drain",
            Self::Kill => "kill -9, return",
            Self::RollLeaving => "roll, leaving",
            Self::RollStaying => "roll, staying",
            Self::Copies => "copies +1, -1",
            Self::Weight => "weight",
            Self::Partition => "partition",
            Self::Idle => "idle",
            Self::Meddle => "meddle",
        }
    }

    /// Whether an operator does it on purpose, so that no client may notice.
    pub fn is_planned(self) -> bool {
        !matches!(self, Self::Kill | Self::Partition)
    }

    /// Whether keys of one copy survive it.
    pub fn keeps_single_copies(self) -> bool {
        self.is_planned() && self != Self::RollStaying
    }
}

/// The cluster, as it is changed.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    pub(super) fleet: &'a mut Fleet,
    pub(super) observer: &'a mut Observer,
    pub(super) rng: StdRng,
    /// How many copies there are of each key.
    pub(super) copies: u8,
    /// The turns of a pass at which all nodes are restarted. What a node does when it is asked to stop it must be told when it
    /// starts, so the next turn is known before it comes.
    rolls: Vec<Step>,
    /// How many of these turns there have been.
    rolled: usize,
    /// The node that is not a member at present, if there was one.
    out: Option<usize>,
    /// The most that any node's memory was used, in parts of what it may use.
    pub(super) fullest: f64,
    /// The share of all copies that moved when a node joined, in percent, and what it should be.
    pub(super) moved: Option<(f64, f64)>,
    /// What was done, and when, for whoever looks for the cause of something.
    pub(super) timeline: Vec<String>,
    started: Instant,
}

impl<'a> Cluster<'a> {
    /// A cluster whose founders have been prepared for the first of `steps`.
    pub(super) fn new(
        fleet: &'a mut Fleet,
        observer: &'a mut Observer,
        plan: &Churn,
        steps: &[Step],
        started: Instant,
    ) -> Self {
        let (rng, copies, timeline) = (StdRng::seed_from_u64(plan.seed), plan.replication, Vec::new());
        let (rolls, rolled) = (rolls(steps), 0);
        Self { fleet, observer, rng, copies, rolls, rolled, out: None, fullest: 0.0, moved: None, timeline, started }
    }

    /// Waits until nothing is under way: all living nodes are up and hold what they should.
    pub(super) async fn settle(&mut self, is_done: impl Fn(&View) -> Result<(), String>) -> Result<Settled> {
        let fullest = &mut self.fullest;
        let (fleet, observer) = (&mut *self.fleet, &mut *self.observer);
        let settled = wait_for("the cluster to be at rest", SETTLE, async || {
            let settled = Settled::wait(fleet, observer, SETTLE).await?;
            if let Err(why) = is_done(&settled.view).and_then(|()| follows(&settled.view)) {
                return Ok(Err(why));
            }
            let round = observer.round(&fleet.living()).await;
            for (name, answer) in &round.answers {
                let status = match answer {
                    Ok(status) => status,
                    Err(error) => return Ok(Err(format!("{name} does not answer: {error}"))),
                };
                *fullest = fullest.max(used(status));
                if let Err(why) = idle(status.upkeep.as_ref()) {
                    return Ok(Err(format!("{name} {why}")));
                }
            }
            Ok(Ok(settled))
        });
        let settled = settled.await?;
        self.log("at rest".into());
        Ok(settled)
    }

    /// Puts down what was done just now.
    pub(super) fn log(&mut self, what: String) {
        self.timeline.push(format!("{:.3} s: {what}", self.started.elapsed().as_secs_f64()));
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        self.fleet.launch(index)?;
        self.log(format!("{} started", self.name(index)));
        Ok(())
    }

    pub(super) async fn join(&mut self) -> Result<()> {
        let index = match self.out.take() {
            Some(index) => index,
            None => {
                let index = self.fleet.add_spare(&format!("n{}", self.fleet.nodes().len() + 1))?;
                self.fleet.on_stop(index, self.at_next_stop());
                index
            }
        };
        let before = self.settle(|_| Ok(())).await?;
        self.launch(index)?;
        let name = self.name(index);
        let after = self.settle(|view| owner(view, &name).map(drop)).await.with_context(|| format!("{name} joined"))?;
        self.moved = Some(moved_share(&before.view, &after.view));
        Ok(())
    }

    pub(super) async fn drain(&mut self) -> Result<()> {
        let index = self.any()?;
        let name = self.name(index);
        self.command(Command::Drain { name: name.clone() }, Some(index)).await?;
        self.log(format!("{name} told to leave"));
        self.leaves(index).await?;
        self.out = Some(index);
        self.observer.reconnect(self.fleet).await?;
        self.settle(|_| Ok(())).await.with_context(|| format!("{name} was drained"))?;
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        let index = self.any()?;
        let name = self.name(index);
        let before = self.settle(|_| Ok(())).await?;
        self.fleet.kill(index)?;
        self.log(format!("{name} killed"));
        self.observer.reconnect(self.fleet).await?;
        // Half of them are back before anybody has missed them.
        if self.rng.random() {
            self.found_down(&self.all_but(&[index]), std::slice::from_ref(&name)).await?;
        }
        self.launch(index)?;
        let was = owner(&before.view, &name).map_err(anyhow::Error::msg)?;
        let is_back = |view: &View| returned(view, &name, was);
        self.settle(is_back).await.with_context(|| format!("{name} was killed and started again"))?;
        Ok(())
    }

    /// Every node in turn, which leaves or stays; it does the other thing at the next turn.
    pub(super) async fn roll(&mut self, step: Step) -> Result<()> {
        let leaves = step == Step::RollLeaving;
        self.rolled += 1;
        let next = self.at_next_stop();
        for index in self.all_but(&[]) {
            let name = self.name(index);
            // As `quoit safe-to-stop` wants it.
            let before = self.settle(|_| Ok(())).await?;
            self.fleet.terminate(index)?;
            self.log(format!("{name} told to stop"));
            if leaves {
                self.leaves(index).await?;
            } else {
                let status = self.fleet.ended(index, STOP).await?;
                ensure!(status.success(), "{name} ended with {status} when it was told to stop");
            }
            self.log(format!("{name} has ended"));
            self.fleet.on_stop(index, next);
            self.launch(index)?;
            self.observer.reconnect(self.fleet).await?;
            let was = owner(&before.view, &name).map_err(anyhow::Error::msg)?;
            let is_back = |view: &View| returned(view, &name, was);
            self.settle(is_back).await.with_context(|| format!("{name} was restarted"))?;
        }
        // Who is out joins by the same rule as the others.
        if let Some(out) = self.out {
            self.fleet.on_stop(out, next);
        }
        Ok(())
    }

    pub(super) async fn change_copies(&mut self) -> Result<()> {
        for copies in [self.copies + 1, self.copies] {
            self.command(Command::SetCopies { copies }, None).await?;
            self.log(format!("{copies} copies wanted"));
            let has = |view: &View| {
                let has = view.fields().copies;
                if has == copies { Ok(()) } else { Err(format!("{has} copies")) }
            };
            self.settle(has).await.with_context(|| format!("{copies} copies were wanted"))?;
        }
        Ok(())
    }

    pub(super) async fn change_weight(&mut self) -> Result<()> {
        let index = self.any()?;
        let name = self.name(index);
        let before = self.settle(|_| Ok(())).await?;
        let usual = before.view.member_named(&name).with_context(|| format!("{name} is no member"))?.vnodes;
        for vnodes in [usual / 2, usual] {
            self.command(Command::SetWeight { name: name.clone(), vnodes }, None).await?;
            self.log(format!("{name} is to have {vnodes} vnodes"));
            let has = |view: &View| match view.member_named(&name).map(|member| member.vnodes) {
                Some(has) if has == vnodes => Ok(()),
                has => Err(format!("{name} has the weight {has:?}")),
            };
            self.settle(has).await.with_context(|| format!("{name} was to have {vnodes} vnodes"))?;
        }
        Ok(())
    }

    /// Waits until `asked` agree on a view in which `names` are down.
    pub(super) async fn found_down(&mut self, asked: &[usize], names: &[Label]) -> Result<()> {
        let asked = some(self.fleet, asked)?;
        let (fleet, observer) = (&mut *self.fleet, &mut *self.observer);
        let found = wait_for("a majority to find the others down", 2 * ELECTION, async || {
            fleet.check_running()?;
            let round = observer.round(&asked).await;
            let coordinator = match agreed(&round) {
                Ok(coordinator) => coordinator,
                Err(why) => return Ok(Err(why)),
            };
            let view = observer.view_at(&coordinator, Epoch::new(round.epoch())).await.ok().flatten();
            let is_up = |name: &&Label| {
                let member = view.as_ref().and_then(|view| view.member_named(name));
                member.is_none_or(|member| member.live == Liveness::Up)
            };
            Ok(names.iter().find(is_up).map_or(Ok(()), |name| Err(format!("{name} is still up"))))
        });
        found.await?;
        self.log("found down".into());
        Ok(())
    }

    /// The nodes that run, without some.
    pub(super) fn all_but(&self, not: &[usize]) -> Vec<usize> {
        let nodes = self.fleet.nodes();
        (0..nodes.len()).filter(|index| nodes[*index].is_living() && !not.contains(index)).collect()
    }

    pub(super) fn name(&self, index: usize) -> Label {
        self.fleet.nodes()[index].name().clone()
    }

    fn at_next_stop(&self) -> &'static str {
        at_stop(self.rolls.get(self.rolled % self.rolls.len().max(1)))
    }

    fn any(&mut self) -> Result<usize> {
        self.all_but(&[]).choose(&mut self.rng).copied().context("no node runs")
    }

    /// Waits until a node has left and its process has ended well.
    async fn leaves(&mut self, index: usize) -> Result<()> {
        let status = self.fleet.ended(index, LEAVE).await?;
        ensure!(status.success(), "{} left with {status}:\n{}", self.name(index), self.fleet.log_tail(index));
        Ok(())
    }

    /// Has the coordinator do something, through any node but one.
    async fn command(&mut self, command: Command, not: Option<usize>) -> Result<()> {
        let told = self.all_but(not.as_slice()).choose(&mut self.rng).map(|index| self.name(*index));
        let told = told.context("no node runs")?;
        let client = self.observer.client();
        wait_for(&format!("{command:?} to be accepted"), ELECTION, async || {
            Ok(match client.admin(&told, AdminRequest::Command(command.clone())).await {
                Ok(AdminReply::Command(CommandAnswer::Accepted { .. })) => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            })
        })
        .await
    }
}

/// The turns at which all nodes are restarted.
fn rolls(steps: &[Step]) -> Vec<Step> {
    steps.iter().filter(|step| matches!(step, Step::RollLeaving | Step::RollStaying)).copied().collect()
}

/// What a node is to do when it is asked to stop, if this is the next turn.
fn at_stop(turn: Option<&Step>) -> &'static str {
    if turn == Some(&Step::RollStaying) { STAYS } else { LEAVES }
}

/// What the founders of a cluster with these steps are to do when they are asked to stop for the first time.
pub(super) fn at_first_stop(steps: &[Step]) -> &'static str {
    at_stop(rolls(steps).first())
}

/// Whether the ring is as its members and the configuration want it.
fn follows(view: &View) -> Result<(), String> {
    let fields = view.fields();
    let (has, wanted) = (usize::from(fields.copies), usize::from(fields.config.replication));
    if has != wanted {
        return Err(format!("there are {has} copies, and {wanted} are wanted"));
    }
    match view.members().iter().find(|member| member.placed.is_some()) {
        Some(member) => Err(format!("the ring does not go by the weight of {} yet", member.name)),
        None => Ok(()),
    }
}

/// Whether a node has nothing left to do with its data.
fn idle(upkeep: Option<&UpkeepStatus>) -> Result<(), String> {
    let upkeep = upkeep.ok_or("does not say what it does with its data")?;
    let left = [
        ("slots to take", upkeep.takes.as_ref().map_or(0, |takes| u64::from(takes.slots_left.max(1)))),
        ("slots to give", upkeep.gives.as_ref().map_or(0, |gives| u64::from(gives.slots_left.max(1)))),
        ("under-replicated slots", u64::from(upkeep.under_replicated_slots)),
        ("slots to compare", u64::from(upkeep.dirty_slots)),
        ("slots to offer", u64::from(upkeep.offered_slots)),
        ("entries kept for others", upkeep.hints.entries),
    ];
    match left.iter().find(|(_, count)| *count > 0) {
        Some((what, count)) => Err(format!("has {count} {what}")),
        None => Ok(()),
    }
}

/// The share of all copies that have come to a node which had none of that slot, and the one member's part that it should be
/// where one has joined; both in percent.
#[expect(clippy::cast_precision_loss, reason = "a percentage is all that is wanted of it")]
fn moved_share(before: &View, after: &View) -> (f64, f64) {
    let (before, members, after) = (before.ring(), after.members().len(), after.ring());
    let (mut copies, mut moved) = (0_usize, 0_usize);
    for slot in after.slots().slots() {
        let (had, has) = (before.owners(slot), after.owners(slot));
        copies += has.len();
        moved += has.iter().filter(|owner| !had.contains(owner)).count();
    }
    (moved as f64 * 100.0 / copies.max(1) as f64, 100.0 / members.max(1) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a percentage is all that is wanted of it")]
fn used(status: &NodeStatus) -> f64 {
    status.bytes as f64 / status.bytes_max.max(1) as f64
}

fn owner(view: &View, name: &Label) -> Result<Owner, String> {
    let member = view.member_named(name).ok_or_else(|| format!("{name} is no member"))?;
    Ok(Owner { ordinal: member.ordinal, boot: member.boot })
}

/// Whether `name` owns data in another life than it `was` in.
fn returned(view: &View, name: &Label, was: Owner) -> Result<(), String> {
    let is = owner(view, name)?;
    if is == was { Err(format!("{name} is not back")) } else { Ok(()) }
}
