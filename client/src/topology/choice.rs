//! Whom to ask. Any node carries out any request, so a client is at a loss only when it reaches none; but an owner of the key
//! spares the cluster a hop, and one that is known to be well spares the client the wait.

use quoit_proto_types::{
    Member, Ordinal, View,
    view::{Liveness, Owner},
};

use crate::pool::Reach;

/// What a view says of a member as somebody to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is up.
    Well,
    /// It is up, and must ask others for what it should hold itself, or is slow.
    Poor,
    /// A majority of the voters does not hear it.
    Down,
}

/// How good a choice a member is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merit {
    /// It is up and connected.
    Best,
    /// The same, but it is likely to take longer.
    Slow,
    /// It is connected, though the view says that it is down: the two of them may be on one side of a partition.
    Doubtful,
    /// It is up and being dialled.
    Dialled,
    /// It is said to be down or was not reached, and is not connected.
    Unreachable,
}

impl Merit {
    pub(super) fn of(standing: Standing, reach: Reach) -> Self {
        match (reach, standing) {
            (Reach::Connected, Standing::Well) => Self::Best,
            (Reach::Connected, Standing::Poor) => Self::Slow,
            (Reach::Connected, Standing::Down) => Self::Doubtful,
            (Reach::Dialled, Standing::Well | Standing::Poor) => Self::Dialled,
            (Reach::Dialled, Standing::Down) | (Reach::Broken, _) => Self::Unreachable,
        }
    }

    /// The place among all choices of an owner and of another member: the lower is the better one.
    ///
    /// Whoever is connected answers at once, if need be after a hop. Who is not may take as long as a dial does, which is why an
    /// owner that is not connected comes after strangers that are.
    const fn place(self, is_owner: bool) -> u8 {
        match (self, is_owner) {
            (Self::Best, true) => 0,
            (Self::Slow, true) => 1,
            (Self::Best, false) => 2,
            (Self::Slow, false) => 3,
            (Self::Doubtful, true) => 4,
            (Self::Doubtful, false) => 5,
            (Self::Dialled, true) => 6,
            (Self::Dialled, false) => 7,
            (Self::Unreachable, true) => 8,
            (Self::Unreachable, false) => 9,
        }
    }
}

/// The standing of each member, in their order.
pub(super) fn standings(view: &View) -> Vec<Standing> {
    view.members().iter().map(|member| standing(&view.fields().ring, member)).collect()
}

fn standing(ring: &[Owner], member: &Member) -> Standing {
    let owner = ring.binary_search_by_key(&member.ordinal, |owner| owner.ordinal).ok().map(|index| ring[index]);
    // The ring names an earlier life of it: what it held is gone.
    let restarted = owner.is_some_and(|owner| owner.boot != member.boot);
    match member.live {
        Liveness::Down => Standing::Down,
        Liveness::Up if member.degraded || restarted => Standing::Poor,
        Liveness::Up => Standing::Well,
    }
}

/// The best choice among `owners`, in their order, and `all` members, in theirs, where `merit` has a say on each that may be
/// chosen.
pub(super) fn best(
    owners: &[Ordinal],
    all: impl Iterator<Item = Ordinal>,
    merit: impl Fn(Ordinal) -> Option<Merit>,
) -> Option<Ordinal> {
    let mut found: Option<(u8, Ordinal)> = None;
    // Most requests end with the first one that is looked at.
    for (is_owner, ordinal) in owners.iter().map(|owner| (true, *owner)).chain(all.map(|ordinal| (false, ordinal))) {
        if let Some((place, _)) = found
            && (place == 0 || !is_owner && place <= Merit::Best.place(false))
        {
            break;
        }
        let place = merit(ordinal).map(|merit| merit.place(is_owner));
        if let Some(place) = place.filter(|place| found.is_none_or(|(best, _)| *place < best)) {
            found = Some((place, ordinal));
        }
    }
    found.map(|(_, ordinal)| ordinal)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Of six members, of which 2 and 5 own: what each merits, and who is chosen.
    #[track_caller]
    fn check(merits: [Option<Merit>; 6], expected: Option<u32>) {
        let ordinals = |all: &[u32]| all.iter().copied().map(Ordinal::new).collect::<Vec<_>>();
        let merit = |ordinal: Ordinal| merits[ordinal.value() as usize - 1];
        let found = best(&ordinals(&[5, 2]), ordinals(&[3, 4, 5, 6, 1, 2]).into_iter(), merit);
        assert_eq!(found, expected.map(Ordinal::new), "{merits:?}");
    }

    #[test]
    fn the_first_owner_that_is_well_is_asked_and_then_the_next() {
        use Merit::{Best, Dialled, Doubtful, Slow, Unreachable};
        check([Some(Best); 6], Some(5));
        check([Some(Best), Some(Best), Some(Best), Some(Best), None, Some(Best)], Some(2));
        for worse in [Slow, Doubtful, Dialled, Unreachable] {
            check([Some(Best), Some(Best), Some(Best), Some(Best), Some(worse), Some(Best)], Some(2));
        }
    }

    #[test]
    fn others_are_asked_in_turn_if_no_owner_is_connected() {
        use Merit::{Best, Dialled, Doubtful, Slow, Unreachable};
        let owners = |owner| {
            move |others: [Merit; 4]| {
                let [a, b, c, d] = others.map(Some);
                [a, Some(owner), b, c, Some(owner), d]
            }
        };
        for owner in [Doubtful, Dialled, Unreachable] {
            check(owners(owner)([Best; 4]), Some(3));
            check(owners(owner)([Best, Slow, Doubtful, Unreachable]), Some(1));
        }
        check(owners(Slow)([Best; 4]), Some(5));
        // Where nobody is well, an owner is as good as anybody.
        for merit in [Slow, Doubtful, Dialled, Unreachable] {
            check([Some(merit); 6], Some(5));
        }
        check(owners(Dialled)([Doubtful; 4]), Some(3));
        check(owners(Unreachable)([Dialled; 4]), Some(3));
    }

    #[test]
    fn there_is_a_choice_as_long_as_anybody_is_left() {
        check([None, None, None, Some(Merit::Unreachable), None, None], Some(4));
        check([None; 6], None);
    }

    #[test]
    fn nobody_is_looked_at_behind_the_first_that_will_do() {
        let looked_at = Cell::new(0);
        let merit = |_| {
            looked_at.set(looked_at.get() + 1);
            Some(Merit::Best)
        };
        let all = || (1..=1000).map(Ordinal::new);
        assert_eq!(best(&[Ordinal::new(7)], all(), merit), Some(Ordinal::new(7)));
        assert_eq!(looked_at.take(), 1);
        assert_eq!(best(&[], all(), merit), Some(Ordinal::new(1)));
        assert_eq!(looked_at.take(), 1);
    }
}
