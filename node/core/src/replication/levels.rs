//! When enough nodes hold a write, or have answered a read.
//!
//! | level | over one set of owners it is reached when |
//! |---|---|
//! | ANY | one node holds it, an owner or one that keeps it for an owner |
//! | ONE | one owner holds it |
//! | TWO | two distinct nodes hold it, or one if there is one copy; substitutes count |
//! | QUORUM, ALL | a majority, or all, of the owners hold it |
//!
//! While a ring change is under way a level is reached when it is reached over the owners in force *and* over the owners to
//! be. So the quorums of two stages that follow each other share a node of the set that both have (PROTOCOL, Theorem 2).
//!
//! **Who counts for which set.** A substitute keeps an entry *for* one owner, and counts for the sets that owner is in: what
//! is kept for a node that is about to own nothing is no copy of the slot to be. A member in another life than the one that a
//! set names is another memory: it is no owner of that set, but it does keep the entry for the member of its name.

use quoit_proto_types::WriteLevel;

use crate::planted::data::{DataBug, DataPlanted};

/// How many owners a slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// In force.
    pub now: usize,
    /// To be, while a ring change is under way.
    pub then: Option<usize>,
}

/// What a node is to one set of owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Nothing.
    #[default]
    Nothing,
    /// It keeps entries for an owner.
    Substitute,
    /// An owner.
    Owner,
}

/// What a node that holds the entry is to the owners of its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// To those in force.
    pub now: Part,
    /// To those to be.
    pub then: Part,
}

/// Whether `holders`, distinct nodes, are enough for `level`.
pub fn reached(level: WriteLevel, copies: Copies, holders: impl Iterator<Item = Holder>) -> bool {
    reached_with(DataPlanted::NOTHING, level, copies, holders)
}

/// [`reached`], as a process with a planted bug has it.
pub(super) fn reached_with(
    planted: DataPlanted,
    level: WriteLevel,
    copies: Copies,
    holders: impl Iterator<Item = Holder>,
) -> bool {
    let (mut now, mut then) = (Tally::default(), Tally::default());
    for holder in holders {
        now.add(holder.now);
        then.add(holder.then);
    }
    if level == WriteLevel::Any {
        // What one set alone holds goes with the ring change, or with its being given up.
        return now.any() && (copies.then.is_none() || then.any());
    }
    if planted.is(DataBug::SubstituteCountsForQuorum) && level == WriteLevel::Quorum {
        now.owners += now.substitutes;
        then.owners += then.substitutes;
    }
    let over_now = now.reaches(level, copies.now);
    let Some(to_be) = copies.then else { return over_now };
    let over_then = then.reaches(level, to_be);
    (over_now || planted.is(DataBug::JointWithoutOld)) && (over_then || planted.is(DataBug::JointWithoutNew))
}

/// The holders there are for one set of owners.
#[derive(Clone, Copy, Default)]
struct Tally {
    owners: usize,
    substitutes: usize,
}

impl Tally {
    fn add(&mut self, part: Part) {
        match part {
            Part::Nothing => {}
            Part::Substitute => self.substitutes += 1,
            Part::Owner => self.owners += 1,
        }
    }

    fn any(self) -> bool {
        self.owners + self.substitutes > 0
    }

    /// Whether they are enough over a set of `copies` owners. Nothing is ever enough where nobody owns.
    fn reaches(self, level: WriteLevel, copies: usize) -> bool {
        match level {
            WriteLevel::Any => self.any(),
            WriteLevel::One => self.owners >= 1,
            WriteLevel::Two => self.owners + self.substitutes >= copies.clamp(1, 2),
            WriteLevel::Quorum => self.owners > copies / 2,
            WriteLevel::All => self.owners >= copies.max(1),
        }
    }
}
