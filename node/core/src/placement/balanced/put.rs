//! Tokens that are put where they even shares out most: new ones, and those of members who have too little.

use quoit_proto_types::{HashPoint, ring::RingMember};

use super::chain::{Chain, Change, Link, Trade, real};

/// How many places are looked at for a new token.
const CHOICES: usize = 32;

/// How many are looked at for one that is put elsewhere. There are few of these, and a better place spares what is moved.
const CHOICES_ELSEWHERE: usize = 256;

/// How many rounds of these there are. The price halves from one to the next.
const ROUNDS: usize = 12;

/// By how much less uneven shares must be for each copy that a round moves, at first and at last.
const PRICES: (f64, f64) = (1.0, 0.02);

/// Who has this part of what is fair has enough.
const ENOUGH: f64 = 0.995;

/// How many members are helped in a round, and how many of the tokens of each are tried.
const HELPED: usize = 8;
const TRIED: usize = 8;

/// Where to put a token.
#[derive(Debug)]
struct Place {
    next: usize,
    arc: u32,
    change: Change,
    /// How much better shares are then, less what that costs. Less is better.
    score: f64,
}

impl Chain<'_> {
    /// Puts the tokens that `members` lack, to each one in turn.
    pub(super) fn put_lacking(&mut self, members: &[&RingMember]) {
        let mut own: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
        self.links.iter().enumerate().for_each(|(index, link)| own[link.member].push(index));
        let most = members.iter().map(|member| member.vnodes as usize).max().unwrap_or(0);
        for _ in 0..most {
            for (index, member) in members.iter().enumerate() {
                let left = (member.vnodes as usize).saturating_sub(own[index].len());
                if left > 0 {
                    let last = own[index].last().copied();
                    own[index].push(self.links.len());
                    self.put_one(index, member, (left, last));
                }
            }
        }
    }

    /// Puts one token more for the member `index`, which lacks so many, and put the `last` one before.
    fn put_one(&mut self, index: usize, member: &RingMember, (left, last): (usize, Option<usize>)) {
        let link = self.links.len();
        let stand = &mut self.stands[index];
        let (fair, fair_primary) = (stand.fair, stand.fair_primary);
        let left_over = real(i64::try_from(left).unwrap_or(1));
        let portion = (fair - real(stand.load)) / left_over;
        let portion_primary = (fair_primary - real(stand.primary)) / left_over;
        // Until it has all its tokens, what is fair is one portion more: the first is not to take all.
        stand.fair = (real(stand.load) + portion).max(1.0);
        stand.fair_primary = (real(stand.primary) + portion_primary).max(1.0);
        let choices = self.choices(member, left, CHOICES);
        self.links.push(Link { at: 0, arc: 0, member: index, before: link, after: link });
        let place = if portion < 1.0 {
            None
        } else {
            self.best_place(link, (portion, portion_primary), &choices, (i64::MAX, 0.0))
        };
        match (place, last) {
            (Some(place), _) => self.put(link, place),
            // It needs nothing more, or there is no room: beside one of its own a token changes nothing.
            (None, Some(own)) => self.link(link, own, self.links[own].arc),
            (None, None) => self.squeeze_in(link, choices[0]),
        }
        (self.stands[index].fair, self.stands[index].fair_primary) = (fair, fair_primary);
    }

    /// Helps members that have too little: pulls up a token that is missed little and puts it where it is of more use. What
    /// is the best use of what may move is done first, as the price is high at first.
    pub(super) fn reseat(&mut self, members: &[&RingMember]) {
        let mut own: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
        self.links.iter().enumerate().for_each(|(index, link)| own[link.member].push(index));
        let mut price = PRICES.0;
        for round in 0..ROUNDS {
            let filled = |index: &usize| self.stands[*index].filled();
            let mut needy: Vec<usize> = (0..members.len()).filter(|index| filled(index) < ENOUGH).collect();
            if needy.is_empty() {
                return;
            }
            needy.sort_by(|a, b| filled(a).total_cmp(&filled(b)).then(a.cmp(b)));
            let mut helped = false;
            for index in needy.into_iter().take(HELPED) {
                if own[index].len() < 2 {
                    continue;
                }
                let choices = self.choices(members[index], round, CHOICES_ELSEWHERE);
                own[index].sort_by_key(|link| (self.links[*link].arc, *link));
                let mut tried = own[index].iter().take(TRIED);
                helped |= tried.any(|link| self.reseat_one(*link, &choices, price));
            }
            if helped {
                self.slide_freely();
            } else if price <= PRICES.1 {
                return;
            }
            price = (price / 2.0).max(PRICES.1);
        }
    }

    /// Puts `link` elsewhere, if that is worth its price. Whether it is.
    fn reseat_one(&mut self, link: usize, choices: &[usize], price: f64) -> bool {
        let Link { arc, member, after, .. } = self.links[link];
        let without = self.effect(link, &self.reach(link)).undone();
        let worth = self.unevenness(&without) + price * real(without.moved());
        self.book(&without);
        self.unlink(link);
        let stand = &self.stands[member];
        let lacks = (stand.fair - real(stand.load), stand.fair_primary - real(stand.primary));
        let place = self.best_place(link, lacks, choices, (self.allowance, price));
        match place.filter(|place| worth + place.score < 0.0) {
            Some(place) => {
                self.put(link, place);
                true
            }
            None => {
                self.link(link, after, arc);
                self.book(&without.undone());
                false
            }
        }
    }

    fn put(&mut self, link: usize, place: Place) {
        self.link(link, place.next, place.arc);
        self.book(&place.change);
    }

    /// Of the arcs of `choices`, the one in which `link`, which is in none, is of most use. It is to gain `portion` slots, and
    /// `portion_primary` as first owner. No more may be moved than the allowance, and that has a price.
    fn best_place(
        &mut self,
        link: usize,
        (portion, portion_primary): (f64, f64),
        choices: &[usize],
        (allowance, price): (i64, f64),
    ) -> Option<Place> {
        let mut best: Option<Place> = None;
        for next in choices.iter().copied().filter(|next| *next != link) {
            // All of an arc leaves its token at the same slot, which must be in the order of members.
            let keeps = u32::from(self.links[link].member > self.links[next].member);
            let most = self.links[next].arc.saturating_sub(keeps);
            if most == 0 {
                continue;
            }
            self.link(link, next, most);
            let reach = self.reach(link);
            let gained = |(arc, trade): &&(usize, Trade)| *arc != link && trade.to.is_some();
            let further: u32 = reach.iter().filter(gained).map(|(arc, _)| self.links[*arc].arc).sum();
            let arc = match reach.first() {
                Some((_, Trade { to: Some(_), .. })) => nearest(portion - f64::from(further), most),
                _ => 1,
            };
            self.unlink(link);
            // As long as it needs of all copies, and as it needs as first owner, which is something else only with zones.
            let arc_primary = if self.has_zones() { nearest(portion_primary, most) } else { arc };
            for arc in [arc, arc_primary].into_iter().take(1 + usize::from(arc_primary != arc)) {
                self.link(link, next, arc);
                let change = self.effect(link, &reach);
                self.unlink(link);
                let score = self.unevenness(&change) + price * real(change.moved());
                let affordable = self.moved.saturating_add(change.moved()) <= allowance;
                if affordable && best.as_ref().is_none_or(|best| score < best.score) {
                    best = Some(Place { next, arc, change, score });
                }
            }
        }
        best
    }

    /// Puts `link` at or right after `next`'s slot where no arc has room for it: it gets none, but keeps the order of members.
    fn squeeze_in(&mut self, link: usize, mut next: usize) {
        let member = self.links[link].member;
        for _ in 0..self.links.len() {
            let Link { arc, before, .. } = self.links[next];
            let follows = self.links[before].member <= member;
            let precedes = member <= self.links[next].member;
            if precedes && (arc > 0 || follows) {
                return self.link(link, next, arc);
            }
            if follows && arc > 0 {
                return self.link(link, next, 0);
            }
            next = self.links[next].after;
        }
        unreachable!("somewhere among the tokens of a slot, in the order of their members, is the place of any member");
    }

    /// The tokens before which one of `member` may be put: all, or those that its id hashes to.
    fn choices(&self, member: &RingMember, round: usize, count: usize) -> Vec<usize> {
        let tokens = self.links.len();
        if tokens <= count {
            return (0..tokens).collect();
        }
        let hashed = |i: usize| {
            let point = HashPoint::of_vnode(member.node_id, u32::try_from(round * count + i).unwrap_or(u32::MAX));
            usize::try_from(point.value() % tokens as u64).unwrap_or(0)
        };
        (0..count).map(hashed).collect()
    }
}

/// `slots` as a whole number, at least 1 and at most `most`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within its bounds")]
fn nearest(slots: f64, most: u32) -> u32 {
    slots.round().clamp(1.0, f64::from(most)) as u32
}
