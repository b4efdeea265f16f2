//! How many copies there are of everything, as a view tells it.

use std::collections::BTreeMap;

use quoit_client::{Intent, Label, Liveness, Member, View};
use quoit_proto_types::{Ordinal, limits::REPLICATION_ALL, view::next_copies};

use crate::config;

/// The copies of all slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    /// How many slots there are.
    pub(crate) slots: u32,
    /// Owners of each slot under the ring in force.
    pub(crate) in_force: usize,
    /// How many there are to be, [`REPLICATION_ALL`] for one on every node.
    pub(crate) wanted: u8,
    /// Slots of which some owner does not live, and some does.
    pub(crate) under_replicated: usize,
    /// Slots of which no owner lives.
    pub(crate) orphaned: usize,
    /// Of how many slots a member is the only owner that lives.
    alone: BTreeMap<Ordinal, usize>,
}

impl Copies {
    /// Those of `view`.
    pub(crate) fn of(view: &View) -> Self {
        Self::held_by(view, |owner| lives(view, owner))
    }

    /// Those of `view`, if just those owners have what they own of whom `has` says so.
    pub(crate) fn held_by(view: &View, has: impl Fn(Ordinal) -> bool) -> Self {
        let ring = view.ring();
        let in_force = ring.slots().slots().next().map_or(0, |slot| ring.owners(slot).len());
        let mut copies = Self {
            slots: ring.slots().count(),
            in_force,
            wanted: view.fields().config.replication,
            under_replicated: 0,
            orphaned: 0,
            alone: BTreeMap::new(),
        };
        for slot in ring.slots().slots() {
            let owners = ring.owners(slot);
            let mut living = owners.iter().filter(|owner| has(**owner));
            match (living.next(), living.count()) {
                (None, _) => copies.orphaned += 1,
                (Some(only), 0) => {
                    *copies.alone.entry(*only).or_default() += 1;
                    copies.under_replicated += usize::from(owners.len() > 1);
                }
                (Some(_), others) => copies.under_replicated += usize::from(others + 1 < owners.len()),
            }
        }
        copies
    }

    /// Of how many slots `member` is the only owner that lives.
    pub(crate) fn held_alone_by(&self, member: Ordinal) -> usize {
        self.alone.get(&member).copied().unwrap_or_default()
    }

    /// `2 of each key`, and what is less than that.
    pub(crate) fn text(&self) -> String {
        let mut text = match self.in_force {
            0 => return "none: no member takes keys".into(),
            1 => "1 of each key".to_owned(),
            copies => format!("{copies} of each key"),
        };
        if self.under_replicated > 0 {
            text += &format!("; of {} of {} slots fewer, as owners are down", self.under_replicated, self.slots);
        }
        if self.orphaned > 0 {
            text += &format!("; of {} slots none", self.orphaned);
        }
        text
    }
}

/// Whether the owner of this name in the ring in force is there, with all that it held: it is up, and has not been started
/// again since.
pub(crate) fn lives(view: &View, owner: Ordinal) -> bool {
    let ring = &view.fields().ring;
    let named = ring.binary_search_by_key(&owner, |owner| owner.ordinal).ok().map(|index| ring[index]);
    let member = view.member(owner).filter(|member| member.live == Liveness::Up);
    named.zip(member).is_some_and(|(owner, member)| owner.boot == member.boot)
}

/// How an owner does, as `explain` tells it: of the ring in force, or of the one to be.
pub(crate) fn owner_state(view: &View, owner: &Label) -> &'static str {
    let Some(member) = view.member_named(owner) else { return "gone" };
    match (member.live, member.intent) {
        (Liveness::Down, _) => "down",
        (Liveness::Up, Intent::Leave | Intent::Lost) => "leaving",
        (Liveness::Up, Intent::Stay) if owned_before(view, member) => "restarted, without what it held",
        (Liveness::Up, Intent::Stay) => "up",
    }
}

fn owned_before(view: &View, member: &Member) -> bool {
    view.fields().ring.iter().any(|owner| owner.ordinal == member.ordinal) && !lives(view, member.ordinal)
}

/// What is wanted of the ring and not begun: what, and what it waits for. While a ring change is under way it waits for that.
pub(crate) fn waiting(view: &View) -> Option<String> {
    let fields = view.fields();
    let (copies, wanted) = (fields.copies, fields.config.replication);
    let mut wants = Vec::new();
    if next_copies(copies, wanted, view.owners_in_force()) != copies {
        wants.push(format!("{}, {} in force", in_words(wanted), config::Copies(copies)));
    }
    for member in view.members() {
        let (name, owns) = (&member.name, fields.ring.iter().any(|owner| owner.ordinal == member.ordinal));
        match member.intent {
            Intent::Leave | Intent::Lost if owns => wants.push(format!("{name} to give up its slots")),
            Intent::Stay if owns && member.vnodes == 0 => wants.push(format!("{name} to own nothing")),
            Intent::Stay if member.placed.is_some() => wants.push(format!("{name} in its new place on the ring")),
            Intent::Stay if !owns && member.vnodes > 0 => wants.push(format!("{name} to own slots")),
            Intent::Stay | Intent::Leave | Intent::Lost => {}
        }
    }
    if wants.is_empty() {
        return None;
    }
    let why =
        if fields.target.is_some() { "the ring change that is under way ends first".into() } else { holds_up(view) };
    Some(format!("{}; {why}", wants.join(", ")))
}

/// So many copies of each key.
pub(crate) fn in_words(copies: u8) -> String {
    match copies {
        1 => "1 copy of each key".into(),
        REPLICATION_ALL => "a copy of each key on every node".into(),
        copies => format!("{copies} copies of each key"),
    }
}

/// Why no ring change begins, as far as a view tells.
fn holds_up(view: &View) -> String {
    let takes = |member: &&Member| member.intent == Intent::Stay && member.vnodes > 0;
    let down: Vec<_> = view.members().iter().filter(takes).filter(|member| member.live == Liveness::Down).collect();
    match down.as_slice() {
        [] if !view.members().iter().any(|member| takes(&member)) => "there is nobody to take slots".into(),
        [] => "it begins with one of the next views".into(),
        down => {
            let names: Vec<_> = down.iter().map(|member| member.name.as_str()).collect();
            let are = if names.len() == 1 { "is" } else { "are" };
            format!("{} {are} down, and would have to take slots", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use quoit_client::ViewFields;
    use quoit_proto_types::Boot;

    use super::*;
    use crate::cli::stage::{self, label};

    fn two_copies(change: impl FnOnce(&mut ViewFields)) -> View {
        stage::view(|fields| {
            (fields.copies, fields.config.replication) = (2, 2);
            change(fields);
        })
    }

    #[test]
    fn copies_are_those_of_owners_that_live() {
        let whole = Copies::of(&two_copies(|_| {}));
        assert_eq!((whole.in_force, whole.under_replicated, whole.orphaned, whole.alone.len()), (2, 0, 0, 0));
        assert_eq!(whole.text(), "2 of each key");
        for change in [
            |fields: &mut ViewFields| fields.members[1].live = Liveness::Down,
            |fields: &mut ViewFields| fields.members[1].boot = Boot::new(2),
        ] {
            let view = two_copies(change);
            let lacking = Copies::of(&view);
            let alone: Vec<_> = [1, 2, 3].map(|index| lacking.held_alone_by(Ordinal::new(index))).to_vec();
            assert!(alone[0] > 0 && alone[1] == 0 && alone[2] > 0, "{alone:?}");
            assert_eq!((lacking.under_replicated, lacking.orphaned), (alone.iter().sum(), 0));
            assert!(lacking.text().contains(" of 16384 slots fewer, as owners are down"), "{}", lacking.text());
        }
        let single = Copies::of(&two_copies(|fields| fields.copies = 1));
        let alone: usize = (1..=3).map(|index| single.held_alone_by(Ordinal::new(index))).sum();
        assert_eq!((alone, single.under_replicated), (16_384, 0));
    }

    #[test]
    fn owners_are_told_with_how_they_do() {
        let state = |change: fn(&mut ViewFields)| owner_state(&two_copies(change), &label("n2"));
        assert_eq!(state(|_| {}), "up");
        assert_eq!(state(|fields| fields.members[1].live = Liveness::Down), "down");
        assert_eq!(state(|fields| fields.members[1].intent = Intent::Leave), "leaving");
        assert_eq!(state(|fields| fields.members[1].boot = Boot::new(2)), "restarted, without what it held");
        assert_eq!(owner_state(&two_copies(|_| {}), &label("n9")), "gone");
    }

    #[test]
    fn what_waits_is_told_with_what_it_waits_for() {
        let told = |change: fn(&mut ViewFields)| waiting(&two_copies(change));
        assert_eq!(told(|_| {}), None);
        assert_eq!(
            told(|fields| fields.config.replication = 3).unwrap(),
            "3 copies of each key, 2 in force; it begins with one of the next views"
        );
        let down = |fields: &mut ViewFields| {
            fields.config.replication = 3;
            fields.members[2].live = Liveness::Down;
        };
        assert!(told(down).unwrap().ends_with("; n3 is down, and would have to take slots"));
        let changing = |fields: &mut ViewFields| {
            fields.members[1].resettle(None, 64, true);
            fields.target = Some([1, 3].map(stage::owner).to_vec());
        };
        assert_eq!(
            told(changing).unwrap(),
            "n2 in its new place on the ring; the ring change that is under way ends first"
        );
    }
}
