//! The circle of tokens as a chain, what each member has of it, and what one token makes of that.

use quoit_proto_types::{SlotCount, SlotIndex, Tokens, ring::Walk};

use super::former::Former;

/// How much an uneven share of primaries counts beside an uneven share of all copies.
pub(super) const PRIMARY_WEIGHT: f64 = 0.1;

/// A token is taken to matter to at most so many arcs before it. It may be more if a zone has few tokens among many: then
/// what it is worth is an estimate, until all is [counted](Chain::count_all) again.
const ARCS_MAX: usize = 64;

/// A member, what is fair for it, and what it has, in slots.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    pub(super) zone: usize,
    /// Of all copies.
    pub(super) fair: f64,
    /// As the first owner.
    pub(super) fair_primary: f64,
    pub(super) load: i64,
    pub(super) primary: i64,
}

impl Stand {
    /// As if only primaries counted.
    pub(super) fn into_primary(self) -> Self {
        Self { fair: self.fair_primary, ..self }
    }

    /// What it has of what is fair: 1 if that is all.
    pub(super) fn filled(&self) -> f64 {
        real(self.load) / self.fair
    }
}

/// A token: the end of an arc of slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The last slot of the arc.
    pub(super) at: u32,
    /// How many slots that has.
    pub(super) arc: u32,
    pub(super) member: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

/// What becomes of slots: `to` owns them instead of `from`. Either may be nobody.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trade {
    pub(super) to: Option<usize>,
    pub(super) from: Option<usize>,
}

/// What comes of a token, in slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    load: Vec<(usize, i64)>,
    primary: Vec<(usize, i64)>,
    moved: i64,
}

/// All tokens in a chain, and what that makes of the members.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) stands: Vec<Stand>,
    pub(super) links: Vec<Link>,
    slots: SlotCount,
    /// How many owners a slot has, and how many zones there are.
    count: usize,
    zones: usize,
    former: &'a Former<'a>,
    /// How many copies of slots are not where they were, and how many may be.
    pub(super) moved: i64,
    pub(super) allowance: i64,
}

impl<'a> Chain<'a> {
    /// That of the `tokens` of the members, of whom at least one has some, with `count` owners for each slot.
    pub(super) fn new(
        stands: Vec<Stand>,
        tokens: &[Vec<SlotIndex>],
        slots: SlotCount,
        (count, allowance): (usize, i64),
        former: &'a Former<'a>,
    ) -> Self {
        let placed =
            (0..).zip(tokens).flat_map(|(member, tokens)| tokens.iter().map(move |slot| (slot.value(), member)));
        let mut placed: Vec<(u32, usize)> = placed.collect();
        placed.sort_unstable();
        let (len, mut before) = (placed.len(), placed.last().map_or(0, |(at, _)| at + 1));
        let mut links: Vec<Link> = Vec::with_capacity(len);
        for (index, (at, member)) in placed.into_iter().enumerate() {
            let arc = if index == 0 { at + 1 + (slots.count() - before) } else { at + 1 - before };
            before = at + 1;
            links.push(Link { at, arc, member, before: (index + len - 1) % len, after: (index + 1) % len });
        }
        let mut zones: Vec<usize> = stands.iter().map(|stand| stand.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        let mut chain = Self { count, zones: zones.len(), stands, links, slots, former, moved: 0, allowance };
        chain.count_all();
        chain
    }

    /// Whether there are fewer zones than members.
    pub(super) fn has_zones(&self) -> bool {
        self.zones < self.stands.len()
    }

    /// The tokens of each member.
    pub(super) fn into_tokens(self) -> Vec<Tokens> {
        let mut tokens = vec![Vec::new(); self.stands.len()];
        self.links.iter().for_each(|link| tokens[link.member].push(SlotIndex::new(link.at)));
        tokens.into_iter().map(Tokens::new).collect()
    }

    /// Counts anew what everybody has, and what is not where it was.
    pub(super) fn count_all(&mut self) {
        self.stands.iter_mut().for_each(|stand| (stand.load, stand.primary) = (0, 0));
        self.moved = 0;
        let mut walk = Walk::default();
        for link in 0..self.links.len() {
            let Link { arc, member, .. } = self.links[link];
            self.walk(&mut walk, link, None);
            self.stands[member].primary += i64::from(arc);
            for owner in walk.found() {
                self.stands[owner].load += i64::from(arc);
                let new = self.arc(link).filter(|slot| !self.former.held(owner, *slot)).count();
                self.moved += i64::try_from(new).unwrap_or(i64::MAX);
            }
        }
    }

    /// Finds the owners of the arc of `link`, as if `without` were not there. Returns how many tokens it looked at.
    pub(super) fn walk(&self, walk: &mut Walk, link: usize, without: Option<usize>) -> usize {
        let clockwise = std::iter::successors(Some(link), |link| Some(self.links[*link].after));
        let clockwise = clockwise.take(self.links.len()).filter(|link| Some(*link) != without);
        let zone = |member: usize| self.stands[member].zone;
        walk.find(clockwise.map(|link| self.links[link].member), zone, (self.count, self.zones))
    }

    /// The slots of the arc of `link`, from the last one back.
    fn arc(&self, link: usize) -> impl Iterator<Item = SlotIndex> {
        let (at, slots) = (self.links[link].at, self.slots.count());
        (0..self.links[link].arc).map(move |back| SlotIndex::new((at + slots - back) % slots))
    }

    pub(super) fn slot_count(&self) -> u32 {
        self.slots.count()
    }

    /// The slot that is `by` onward from `at`.
    pub(super) fn onward(&self, at: u32, by: u32) -> u32 {
        (at + by) % self.slots.count()
    }

    /// How many more copies are not where they were, if `slot` is traded.
    pub(super) fn price(&self, slot: u32, trade: Trade) -> i64 {
        let fresh = |member: usize| i64::from(!self.former.held(member, SlotIndex::new(slot)));
        trade.to.map_or(0, fresh) - trade.from.map_or(0, fresh)
    }

    /// Takes `link` out. Its arc goes to the next one.
    pub(super) fn unlink(&mut self, link: usize) {
        let Link { arc, before, after, .. } = self.links[link];
        (self.links[before].after, self.links[after].before) = (after, before);
        self.links[after].arc += arc;
    }

    /// Puts `link`, which is out, before `next`, so that it gets the first `arc` slots of that one's arc.
    pub(super) fn link(&mut self, link: usize, next: usize, arc: u32) {
        let Link { at, arc: whole, before, .. } = self.links[next];
        let at = self.onward(at, self.slots.count() - (whole - arc));
        self.links[link] = Link { at, arc, before, after: next, member: self.links[link].member };
        self.links[next].arc -= arc;
        (self.links[before].after, self.links[next].before) = (link, link);
    }

    /// The arcs whose owners are others for `link`, and how.
    pub(super) fn reach(&self, link: usize) -> Vec<(usize, Trade)> {
        let (mut with, mut without) = (Walk::default(), Walk::default());
        let member = self.links[link].member;
        let (mut arc, mut reach) = (link, Vec::new());
        for distance in 0..ARCS_MAX.min(self.links.len()) {
            if self.walk(&mut with, arc, None) <= distance {
                break;
            }
            self.walk(&mut without, arc, Some(link));
            let has = |walk: &Walk, wanted: usize| walk.found().any(|found| found == wanted);
            let to = Some(member).filter(|member| has(&with, *member) && !has(&without, *member));
            reach.push((arc, Trade { to, from: without.found().find(|other| !has(&with, *other)) }));
            arc = self.links[arc].before;
        }
        reach
    }

    /// What comes of `link`, which reaches so far, being there.
    pub(super) fn effect(&self, link: usize, reach: &[(usize, Trade)]) -> Change {
        let mut change = Change::default();
        for (arc, trade) in reach {
            let slots = i64::from(self.links[*arc].arc);
            trade.to.iter().for_each(|to| add(&mut change.load, *to, slots));
            trade.from.iter().for_each(|from| add(&mut change.load, *from, -slots));
            change.moved += self.arc(*arc).map(|slot| self.price(slot.value(), *trade)).sum::<i64>();
        }
        let Link { arc, member, after, .. } = self.links[link];
        add(&mut change.primary, member, i64::from(arc));
        add(&mut change.primary, self.links[after].member, -i64::from(arc));
        change
    }

    /// By how much `change` makes shares more uneven: the sum of the squares of what is too much or too little, each as a part
    /// of what is fair.
    pub(super) fn unevenness(&self, change: &Change) -> f64 {
        let more = |excess: f64, by: i64, fair: f64| real(by) * (2.0 * excess + real(by)) / fair;
        let load = |(member, by): &(usize, i64)| {
            let stand = &self.stands[*member];
            more(real(stand.load) - stand.fair, *by, stand.fair)
        };
        let primary = |(member, by): &(usize, i64)| {
            let stand = &self.stands[*member];
            PRIMARY_WEIGHT * more(real(stand.primary) - stand.fair_primary, *by, stand.fair_primary)
        };
        change.load.iter().map(load).sum::<f64>() + change.primary.iter().map(primary).sum::<f64>()
    }

    /// Books `change`.
    pub(super) fn book(&mut self, change: &Change) {
        change.load.iter().for_each(|(member, by)| self.stands[*member].load += by);
        change.primary.iter().for_each(|(member, by)| self.stands[*member].primary += by);
        self.moved += change.moved;
    }
}

impl Change {
    /// What comes of it being undone.
    pub(super) fn undone(&self) -> Self {
        let undone = |of: &[(usize, i64)]| of.iter().map(|(member, by)| (*member, -by)).collect();
        Self { load: undone(&self.load), primary: undone(&self.primary), moved: -self.moved }
    }

    /// How many copies more are not where they were.
    pub(super) fn moved(&self) -> i64 {
        self.moved
    }
}

fn add(to: &mut Vec<(usize, i64)>, member: usize, slots: i64) {
    match to.iter_mut().find(|(known, _)| *known == member) {
        Some((_, sum)) => *sum += slots,
        None => to.push((member, slots)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "some copies of at most 2^20 slots each")]
pub(super) fn real(slots: i64) -> f64 {
    slots as f64
}
