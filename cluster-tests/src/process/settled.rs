//! A cluster at rest: one view, one coordinator, everybody up and on the ring.

use std::time::Duration;

use anyhow::Result;
use quoit_client::{Intent, Label, Liveness, Owner, View};

use super::{Fleet, Observer, Round, wait_for};

/// What a cluster at rest agrees on.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Who presides.
    pub coordinator: Label,
    /// The view that all have.
    pub view: View,
}

impl Settled {
    /// Waits until all nodes that live agree on a view in which they, and no others, are up and own data.
    ///
    /// # Errors
    /// It takes longer than `limit`, or a process ended.
    pub async fn wait(fleet: &mut Fleet, observer: &mut Observer, limit: Duration) -> Result<Self> {
        wait_for("the cluster to settle", limit, async || {
            fleet.check_running()?;
            let living = fleet.living();
            let round = observer.round(&living).await;
            let coordinator = match agreed(&round) {
                Ok(coordinator) => coordinator,
                Err(why) => return Ok(Err(why)),
            };
            let epoch = quoit_client::Epoch::new(round.epoch());
            let view = match observer.view_at(&coordinator, epoch).await {
                Ok(Some(view)) => view,
                Ok(None) => return Ok(Err(format!("{coordinator} has moved on from epoch {}", epoch.value()))),
                Err(error) => return Ok(Err(error.to_string())),
            };
            let names: Vec<_> = living.into_iter().map(|(name, _)| name).collect();
            Ok(whole(&view, &names).and_then(|()| present(&view, &round)).map(|()| Self { coordinator, view }))
        })
        .await
    }
}

/// The coordinator that everybody who was asked knows of, at one epoch.
pub(super) fn agreed(round: &Round) -> Result<Label, String> {
    let epoch = round.epoch();
    let mut coordinators = round.coordinators();
    let Some(coordinator) = coordinators.next() else { return Err("nobody presides".into()) };
    if let Some(second) = coordinators.next() {
        return Err(format!("both {} and {} preside", coordinator.name, second.name));
    }
    for (name, answer) in &round.answers {
        let status = answer.as_ref().map_err(|error| format!("{name} does not answer: {error}"))?;
        if status.epoch.value() != epoch {
            return Err(format!(
                "{name} is at epoch {}, others at {epoch} ({})",
                status.epoch.value(),
                status.standing
            ));
        }
        if status.coordinator.as_ref() != Some(&coordinator.name) {
            return Err(format!("{name} does not know that {} presides", coordinator.name));
        }
    }
    Ok(coordinator.name.clone())
}

/// Whether the processes that answered are those that the view knows: one that was started again just now is another.
fn present(view: &View, round: &Round) -> Result<(), String> {
    let answered = round.answers.values().flatten();
    let is_known = |name, boot| view.member_named(name).is_some_and(|member| member.boot == boot);
    match answered.into_iter().find(|status| !is_known(&status.name, status.boot)) {
        Some(status) => Err(format!("{} was started again and is not admitted yet", status.name)),
        None => Ok(()),
    }
}

/// Whether the members are exactly `names`, all of them up and, in their present lives, on the ring.
fn whole(view: &View, names: &[Label]) -> Result<(), String> {
    let fields = view.fields();
    if fields.target.is_some() {
        return Err("a ring change is under way".into());
    }
    for member in view.members() {
        let owner = Owner { ordinal: member.ordinal, boot: member.boot };
        let problem = if !names.contains(&member.name) {
            "is still a member"
        } else if member.live != Liveness::Up {
            "is down"
        } else if member.intent != Intent::Stay {
            "is on its way out"
        } else if member.vnodes > 0 && !fields.ring.contains(&owner) {
            "is not on the ring"
        } else {
            continue;
        };
        return Err(format!("{} {problem} in the view of epoch {}", member.name, view.epoch().value()));
    }
    match names.iter().find(|name| view.member_named(name).is_none()) {
        Some(name) => Err(format!("{name} is no member in the view of epoch {}", view.epoch().value())),
        None => Ok(()),
    }
}
