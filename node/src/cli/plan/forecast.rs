//! What a wish would do to a running cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};

use quoit_client::{Liveness, View};
use quoit_core::placement::{
    moves::{Impossible, Moves, Wish, granted},
    ring_after,
};
use quoit_proto_types::{Ordinal, Ring, SlotIndex, ring::RingMember};

use super::id::PlanId;
use crate::cli::{
    copies::{Copies, in_words, waiting},
    status::Survey,
};

/// A slot's load is counted in this part of a byte, as a slot of a small cluster holds few bytes.
const PARTS: u64 = 1 << 10;
/// A node that would be this full is warned of, in percent of its limit.
const FULL_PERCENT: u64 = 80;

/// One node, before and after. Bytes are of memory.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) zone: Option<String>,
    /// Slots as primary, and all.
    pub(super) before: (u32, u32),
    pub(super) after: (u32, u32),
    pub(super) bytes_before: u64,
    pub(super) bytes_after: u64,
    /// What it may hold; nothing if it does not answer, or is not there yet.
    pub(super) bytes_max: Option<u64>,
}

/// What goes from one node to another; `to` is nobody if a copy is given up.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) slots: u32,
    pub(super) bytes: u64,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Forecast {
    pub(super) id: PlanId,
    pub(super) rows: Vec<Row>,
    pub(super) ways: Vec<Way>,
    pub(super) slots_moved: u32,
    pub(super) bytes_moved: u64,
    /// How long it takes at least in seconds, if the slowest node goes at the pace that it has now; nothing if no node has one.
    pub(super) seconds: Option<u64>,
    /// What is to be borne in mind.
    pub(super) warnings: Vec<String>,
    /// Why it should not be done.
    pub(super) refusals: Vec<String>,
}

impl Forecast {
    /// What `wish` does to the cluster that `survey` found.
    pub(super) fn of(survey: &Survey, wish: Wish) -> Result<Self, Impossible> {
        let view = &survey.view;
        let (members, copies) = granted(view, &wish)?;
        let (old, new) = (view.ring(), ring_after(view, &members, copies));
        let loads = Loads::of(survey, &old);
        let moves = Moves::between(&old, &new, |slot| loads.of_slot(&old, slot));
        let name = |ordinal: Ordinal| match (view.member(ordinal), &wish) {
            (Some(member), _) => member.name.to_string(),
            (None, Wish::Add { name, .. }) => name.to_string(),
            (None, Wish::Remove { .. } | Wish::Weight { .. } | Wish::Copies(_) | Wish::Vnodes(_)) => {
                ordinal.to_string()
            }
        };
        let way = |((from, to), flow): (&(Option<Ordinal>, Option<Ordinal>), &quoit_core::placement::moves::Flow)| {
            Way { from: from.map(name), to: to.map(name), slots: flow.slots, bytes: flow.load / PARTS }
        };
        let row = |ordinal: &Ordinal| {
            let share = |shares: &BTreeMap<Ordinal, quoit_core::placement::moves::Share>| {
                shares.get(ordinal).copied().unwrap_or_default()
            };
            let (before, after) = (share(&moves.before), share(&moves.after));
            let status = view.member(*ordinal).and_then(|member| survey.status(member));
            let zone = members.iter().find(|member| member.ordinal == *ordinal).and_then(|member| member.zone.as_ref());
            Row {
                name: name(*ordinal),
                zone: zone.map(ToString::to_string),
                before: (before.primary, before.slots),
                after: (after.primary, after.slots),
                bytes_before: before.load / PARTS,
                bytes_after: after.load / PARTS,
                bytes_max: status.map(|status| status.bytes_max),
            }
        };
        let nodes: BTreeSet<Ordinal> = moves.before.keys().chain(moves.after.keys()).copied().collect();
        let moved = moves.moved();
        let mut forecast = Self {
            id: PlanId::new(wish.clone(), view),
            rows: nodes.iter().map(row).collect(),
            ways: moves.flows.iter().map(way).collect(),
            slots_moved: moved.slots,
            bytes_moved: moved.load / PARTS,
            seconds: seconds(survey, &moves),
            warnings: Vec::new(),
            refusals: Vec::new(),
        };
        forecast.judge_cluster(survey, &moves);
        forecast.judge_copies(view, &members, (&new, copies));
        forecast.judge_voters(survey, &wish);
        forecast.judge_room();
        Ok(forecast)
    }

    /// Whether the cluster is in a state to change its ring.
    fn judge_cluster(&mut self, survey: &Survey, moves: &Moves) {
        let view = &survey.view;
        if view.fields().target.is_some() {
            self.refusals.push("a ring change is under way: the plan would be for a ring that is about to go".into());
        }
        if let Some(waiting) = waiting(view).filter(|_| view.fields().target.is_none()) {
            self.warnings.push(format!("this is on its way already, and counted in: {waiting}"));
        }
        for member in view.members().iter().filter(|member| member.live == Liveness::Down) {
            if moves.taken(member.ordinal).slots > 0 {
                self.refusals.push(format!("{} is down, and would have to take slots", member.name));
            }
        }
        let silent: Vec<_> = view
            .members()
            .iter()
            .filter(|member| moves.before.contains_key(&member.ordinal) && survey.status(member).is_none())
            .map(|member| member.name.as_str())
            .collect();
        if !silent.is_empty() {
            let silent = silent.join(", ");
            self.warnings
                .push(format!("{silent} did not say how much they hold: their bytes are taken from the others"));
        }
    }

    /// What is at risk meanwhile, and after.
    fn judge_copies(&mut self, view: &View, members: &[RingMember], (new, copies): (&Ring, u8)) {
        let now = Copies::of(view);
        if now.orphaned + now.under_replicated > 0 {
            let less = now.orphaned + now.under_replicated;
            self.warnings
                .push(format!("{less} slots have fewer living copies than they should, until this is through"));
        }
        if now.in_force == 1 {
            let risk = "there is one copy of each key: a node that crashes meanwhile takes what it holds with it";
            self.warnings.push(risk.into());
        }
        let after = new.owners_each();
        if after < now.in_force {
            self.warnings.push(format!(
                "{} are left of {}",
                in_words(u8::try_from(after).unwrap_or(u8::MAX)),
                now.in_force
            ));
        }
        if copies != quoit_proto_types::limits::REPLICATION_ALL && after < usize::from(copies) {
            let wanted = usize::from(copies);
            self.warnings.push(format!("{wanted} copies are wanted, and there are nodes for {after}"));
        }
        let named: BTreeSet<_> = members.iter().filter_map(|member| member.zone.as_ref()).collect();
        let alone = members.iter().filter(|member| member.zone.is_none()).count();
        if !named.is_empty() && named.len() + alone < after {
            let zones = named.len() + alone;
            self.warnings.push(format!("{after} copies in {zones} zones: the loss of a zone takes two of some slots"));
        }
        if !named.is_empty() && alone > 0 {
            self.warnings.push(format!("{alone} nodes name no zone, and count as one each"));
        }
    }

    /// Whether views can still be decided.
    fn judge_voters(&mut self, survey: &Survey, wish: &Wish) {
        let view = &survey.view;
        let leaves = match wish {
            Wish::Remove { name } => view.member_named(name).map(|member| member.ordinal),
            Wish::Add { .. } | Wish::Weight { .. } | Wish::Copies(_) | Wish::Vnodes(_) => None,
        };
        let votes = |member: &&quoit_client::Member| view.is_voter(member.ordinal) && member.live == Liveness::Up;
        let up = view.members().iter().filter(votes).count();
        let left = view.members().iter().filter(votes).filter(|member| Some(member.ordinal) != leaves).count();
        if up < view.quorum() {
            self.refusals.push(format!("{up} voters are up, and {} are needed to decide anything", view.quorum()));
        } else if leaves.is_some() && left < view.quorum() {
            self.warnings
                .push(format!("{left} voters are left that are up: no other may fail until a new one is named"));
        }
        if leaves.is_some() && view.members().len() == 3 {
            self.warnings.push("two nodes are left: if either fails, nothing can be decided until it is back".into());
        }
    }

    /// Whether everybody has room for what it is to hold.
    fn judge_room(&mut self) {
        for row in &self.rows {
            let Some(max) = row.bytes_max.filter(|_| row.bytes_after > row.bytes_before) else { continue };
            let percent = u128::from(row.bytes_after) * 100 / u128::from(max.max(1));
            if percent > 100 {
                self.refusals.push(format!("{} would hold {percent} % of what it may: it would evict", row.name));
            } else if percent > u128::from(FULL_PERCENT) {
                self.warnings.push(format!("{} would be {percent} % full", row.name));
            }
        }
    }
}

/// What weighs on the slots of each node on average, in [`PARTS`] of a byte.
#[derive(Debug)]
struct Loads(BTreeMap<Ordinal, u64>);

impl Loads {
    fn of(survey: &Survey, ring: &Ring) -> Self {
        let mut slots: BTreeMap<Ordinal, u64> = BTreeMap::new();
        for slot in ring.slots().slots() {
            ring.owners(slot).iter().for_each(|owner| *slots.entry(*owner).or_default() += 1);
        }
        let load = |(ordinal, slots): (Ordinal, u64)| {
            let status = survey.view.member(ordinal).and_then(|member| survey.status(member))?;
            Some((ordinal, status.bytes.saturating_mul(PARTS) / slots.max(1)))
        };
        Self(slots.into_iter().filter_map(load).collect())
    }

    /// Of the slot's owners that told theirs, the mean; if none did, that of all.
    fn of_slot(&self, ring: &Ring, slot: SlotIndex) -> u64 {
        let mean = |loads: &mut dyn Iterator<Item = u64>| {
            let (sum, count) = loads.fold((0_u64, 0), |(sum, count), load| (sum.saturating_add(load), count + 1));
            sum.checked_div(count)
        };
        mean(&mut ring.owners(slot).iter().filter_map(|owner| self.0.get(owner).copied()))
            .or_else(|| mean(&mut self.0.values().copied()))
            .unwrap_or(0)
    }
}

/// How long the slowest node takes at the pace that it has now, or that the others have if it is not there yet.
fn seconds(survey: &Survey, moves: &Moves) -> Option<u64> {
    let pace = |ordinal: Ordinal| -> Option<NonZeroU64> {
        let upkeep = survey.view.member(ordinal).and_then(|member| survey.status(member))?.upkeep.as_ref()?;
        upkeep.limit.or(upkeep.pace)
    };
    let slowest = moves.before.keys().filter_map(|ordinal| pace(*ordinal)).min();
    let lasts = moves.after.keys().filter_map(|ordinal| {
        let bytes = moves.taken(*ordinal).load / PARTS;
        Some(bytes.div_ceil(pace(*ordinal).or(slowest)?.get()))
    });
    lasts.max()
}

#[cfg(test)]
mod tests {
    use quoit_client::ViewFields;

    use super::*;
    use crate::cli::stage::{self, label};

    fn survey(change: impl FnOnce(&mut ViewFields)) -> Survey {
        let view = stage::view(|fields| {
            (fields.copies, fields.config.replication) = (2, 2);
            change(fields);
        });
        let answers = view.members().iter().map(|member| (member.ordinal, Ok(stage::status(&view, member)))).collect();
        Survey { view, answers, log: Vec::new(), now_ms: stage::PROPOSED_AT_MS }
    }

    fn add() -> Wish {
        Wish::Add { name: label("n4"), vnodes: 128, zone: None }
    }

    #[test]
    fn what_joins_gets_what_the_others_give() {
        let forecast = Forecast::of(&survey(|_| {}), add()).unwrap();
        let joined = &forecast.rows[3];
        assert_eq!((joined.name.as_str(), joined.before, joined.bytes_before), ("n4", (0, 0), 0));
        // Three nodes hold 1 MiB each: a fourth has about a quarter of it all.
        let quarter = 3 << 18;
        assert!(joined.bytes_after.abs_diff(quarter) < quarter / 5, "{joined:?}");
        assert!(joined.bytes_after.abs_diff(forecast.bytes_moved) < 4 && joined.after.1 == forecast.slots_moved);
        assert!(forecast.ways.iter().all(|way| way.from.is_some() && way.to.as_deref() == Some("n4")), "{forecast:?}");
        assert!(forecast.refusals.is_empty() && forecast.warnings.is_empty(), "{forecast:?}");
    }

    #[test]
    fn reasons_against_it_are_told() {
        let told = |change: fn(&mut ViewFields), wish: Wish| {
            let forecast = Forecast::of(&survey(change), wish).unwrap();
            (forecast.refusals.join("; "), forecast.warnings.join("; "))
        };
        let remove = || Wish::Remove { name: label("n3") };
        let (refusals, warnings) = told(|_| {}, remove());
        assert!(refusals.is_empty() && warnings.contains("two nodes are left"), "{refusals} / {warnings}");
        let down = |fields: &mut ViewFields| fields.members[1].live = Liveness::Down;
        assert!(told(down, remove()).0.contains("n2 is down, and would have to take slots"));
        assert!(told(down, add()).1.contains("slots have fewer living copies"));
        let moving = |fields: &mut ViewFields| fields.target = Some([1, 2].map(stage::owner).to_vec());
        assert!(told(moving, add()).0.contains("a ring change is under way"));
        let zoned = |fields: &mut ViewFields| {
            fields.members.iter_mut().for_each(|member| member.zone = Some(label("a")));
        };
        assert!(told(zoned, Wish::Vnodes(64)).1.contains("2 copies in 1 zones"));
        assert!(told(|_| {}, Wish::Copies(1)).1.contains("are left of 2"));
        assert!(told(|fields| fields.copies = 1, add()).1.contains("there is one copy of each key"));
    }

    #[test]
    fn who_has_no_room_is_told() {
        let mut full = survey(|_| {});
        full.answers.values_mut().for_each(|answer| {
            let status = answer.as_mut().unwrap();
            (status.bytes, status.bytes_max) = (60 << 20, 64 << 20);
        });
        let forecast = Forecast::of(&full, Wish::Remove { name: label("n3") }).unwrap();
        assert!(forecast.refusals.iter().any(|why| why.contains("it would evict")), "{forecast:?}");
        assert_eq!(forecast.seconds, None);
        full.answers.values_mut().for_each(|answer| {
            answer.as_mut().unwrap().upkeep.as_mut().unwrap().pace = NonZeroU64::new(1 << 20);
        });
        let forecast = Forecast::of(&full, Wish::Remove { name: label("n3") }).unwrap();
        assert!(forecast.seconds.is_some_and(|seconds| (20..45).contains(&seconds)), "{forecast:?}");
    }
}
