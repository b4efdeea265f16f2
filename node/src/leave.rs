//! How a node leaves its cluster before it stops: it asks for its own drain, watches its slots go, and says what it left behind.

use std::{sync::Arc, time::Duration};

use quoit_client::{Label, View};
use quoit_core::{
    cluster::StopReason,
    routing::{Routing, Standing},
    time::Timestamp,
};
use quoit_proto_types::{
    Epoch, Ordinal, SlotIndex,
    message::membership::{Command, CommandAnswer},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    clock::Clock,
    data::{
        DataPlane,
        upkeep::{GivingProgress, UpkeepReport},
    },
    driver::control::DriverHandle,
    node::NodeState,
};

/// How often it looks how far the slots have come, and asks for a drain again that nobody took up.
const LOOK: Duration = Duration::from_secs(1);

/// How far the slots of a node that leaves have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveProgress {
    /// Slots that others are to take.
    pub slots: usize,
    /// Slots of them that are not all there yet.
    pub slots_left: usize,
    /// Bytes that others have fetched.
    pub bytes: u64,
    /// Bytes per second, at the moment.
    pub bytes_per_s: u64,
    /// How long it will take, if it goes on like this. Nothing if there is no telling.
    pub remaining: Option<Duration>,
}

/// How a node left its cluster, or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It is no member any more, and all it had is with others.
    Left {
        /// The first view without it.
        epoch: Epoch,
    },
    /// It is no member, or has ended for another reason: there is nothing to hand over.
    NotMember,
    /// There is nobody to hand anything to.
    LastOne,
    /// Time was up.
    Unfinished(LeftBehind),
}

/// What a node leaves behind that stops before others have its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Why it did not come to an end, as far as it is known.
    pub reason: String,
    /// Slots with entries of which this node has the only copy, as far as it reaches. They are lost, unless one it does not reach
    /// has them: a view may call those up who have ended, where too few are left to change it.
    pub slots_lost: usize,
    /// The entries in them, tombstones included.
    pub entries_lost: u64,
    /// Slots with entries that others have as well, in fewer copies from here on than is wanted.
    pub slots_thinned: usize,
}

/// What leaving takes.
pub(crate) struct Leaver<'a> {
    pub(crate) me: &'a Label,
    pub(crate) driver: &'a DriverHandle,
    pub(crate) plane: &'a Arc<DataPlane>,
    pub(crate) state: &'a mut watch::Receiver<NodeState>,
    pub(crate) clock: Clock,
    pub(crate) deadline: Timestamp,
}

impl Leaver<'_> {
    /// Leaves, and tells `report` whenever something has moved. Serves requests meanwhile. Not cancel-safe: the drain goes on.
    pub(crate) async fn leave(mut self, mut report: impl FnMut(&LeaveProgress)) -> Leave {
        let (mut asked, mut reason, mut told) = (false, String::from("nobody was asked yet"), None);
        loop {
            match self.standing() {
                Ok(Some(view)) if view.members().len() == 1 => return Leave::LastOne,
                Ok(Some(_)) => {}
                Ok(None) if asked => reason = "a majority of the voters does not know yet that it has left".into(),
                Ok(None) => return Leave::NotMember,
                Err(ended) => return ended,
            }
            if self.clock.now() >= self.deadline {
                return Leave::Unfinished(self.left_behind(reason).await);
            }
            if !asked {
                match self.driver.command(self.me.clone(), Command::Drain { name: self.me.clone() }).await {
                    CommandAnswer::Accepted { .. } => {
                        asked = true;
                        reason = "others have not taken all of its slots yet".into();
                    }
                    CommandAnswer::LastOne { .. } => return Leave::LastOne,
                    // Removed a moment ago.
                    CommandAnswer::NoSuchMember { .. } => asked = true,
                    answer @ (CommandAnswer::NoCoordinator
                    | CommandAnswer::IsUp { .. }
                    | CommandAnswer::CannotPreside { .. }
                    | CommandAnswer::OutOfRange { .. }) => reason = refused(&answer),
                }
            }
            if let Some(giving) = self.plane.upkeep.report().await.and_then(|report| report.giving) {
                let progress = progress_of(&giving);
                if told.as_ref() != Some(&progress) {
                    report(&progress);
                    told = Some(progress);
                }
            }
            self.wait().await;
        }
    }

    /// The view, if it is a member of one, or how it ended.
    fn standing(&self) -> Result<Option<Arc<View>>, Leave> {
        match &*self.state.borrow() {
            NodeState::Member(view) => Ok(Some(Arc::clone(view))),
            NodeState::Waiting(_) => Ok(None),
            NodeState::Stopped { reason: StopReason::Retired { epoch } } => Err(Leave::Left { epoch: *epoch }),
            NodeState::Failed(_) | NodeState::Stopped { .. } => Err(Leave::NotMember),
        }
    }

    /// Until the state changes, it is time to look, or time is up.
    async fn wait(&mut self) {
        let left = self.deadline.checked_duration_since(self.clock.now()).unwrap_or_default();
        if let Ok(Err(_)) = timeout(LOOK.min(left), self.state.changed()).await {
            // What changed it has ended: not to look without a pause.
            sleep(LOOK.min(left)).await;
        }
    }

    async fn left_behind(&self, reason: String) -> LeftBehind {
        let report = self.plane.upkeep.report().await;
        let mut behind = LeftBehind { reason, slots_lost: 0, entries_lost: 0, slots_thinned: 0 };
        let Some(UpkeepReport { giving, routing: Some(routing), .. }) = report else { return behind };
        for slot in routing.slots().slots().filter(|slot| routing.standing(*slot) == Standing::Owner) {
            let entries = self.plane.store.summary(slot).entries;
            if entries == 0 {
                continue;
            }
            let reaches = |owner: Ordinal| self.plane.links.reach(&routing, owner);
            if has_other_copy(&routing, giving.as_ref(), slot, reaches) {
                behind.slots_thinned += 1;
            } else {
                behind.slots_lost += 1;
                behind.entries_lost += u64::from(entries);
            }
        }
        behind
    }
}

/// Whether somebody who lives, and is in reach, has all of `slot`: another owner in force, or one to be that has merged it.
fn has_other_copy(
    routing: &Routing,
    giving: Option<&GivingProgress>,
    slot: SlotIndex,
    reaches: impl Fn(Ordinal) -> bool,
) -> bool {
    let owners = routing.owners(slot);
    let is_other = |owner: &&Ordinal| Some(**owner) != routing.me() && reaches(**owner);
    let in_force = owners.now.iter().filter(is_other).any(|owner| routing.lives(*owner));
    let has_merged = |to: &Ordinal| giving.is_some_and(|giving| giving.has_merged(*to, slot));
    in_force || owners.then.unwrap_or_default().iter().filter(is_other).any(|to| routing.is_up(*to) && has_merged(to))
}

fn progress_of(giving: &GivingProgress) -> LeaveProgress {
    LeaveProgress {
        slots: giving.slots,
        slots_left: giving.slots_left,
        bytes: giving.bytes,
        bytes_per_s: giving.bytes_per_s,
        remaining: giving.remaining(),
    }
}

fn refused(answer: &CommandAnswer) -> String {
    match answer {
        CommandAnswer::NoCoordinator => "no coordinator is known: a majority of the voters must be connected".into(),
        CommandAnswer::Accepted { .. }
        | CommandAnswer::NoSuchMember { .. }
        | CommandAnswer::LastOne { .. }
        | CommandAnswer::IsUp { .. }
        | CommandAnswer::CannotPreside { .. }
        | CommandAnswer::OutOfRange { .. } => format!("the coordinator refused: {answer:?}"),
    }
}
