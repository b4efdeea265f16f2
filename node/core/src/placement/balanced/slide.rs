//! Tokens that slide along the circle, slot by slot, as long as that makes shares more even.

use quoit_proto_types::ring::Walk;

use super::chain::{Chain, PRIMARY_WEIGHT, Stand, Trade, real};

/// How often each token is looked at, at most: most changes settle within a few rounds.
const SWEEPS: usize = 20;

/// Below this nothing is gained but an endless exchange.
const GAIN_MIN: f64 = 1e-9;

/// Which slides are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Those that move nothing that would not move without them.
    Free,
    /// Those, and what the allowance pays for.
    Paid,
}

/// Which way a token goes, by one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It takes one from the arc after its own.
    Onward,
    /// It gives one to that.
    Back,
}

impl Chain<'_> {
    /// Slides tokens as far as that moves nothing more.
    pub(super) fn slide_freely(&mut self) {
        self.sweep(Allowed::Free);
    }

    /// Slides tokens as far as the allowance goes.
    pub(super) fn slide(&mut self) {
        self.sweep(Allowed::Paid);
    }

    fn sweep(&mut self, allowed: Allowed) {
        self.count_all();
        let trades = self.trades();
        // The order on the circle stays as it is, and with it what each slide trades.
        let mut order: Vec<usize> =
            std::iter::successors(Some(0), |link| Some(self.links[*link].after)).take(trades.len()).collect();
        for _ in 0..SWEEPS {
            let mut slid = false;
            for link in &order {
                for way in [Way::Onward, Way::Back] {
                    while self.slide_by_one(*link, trades[*link], way, allowed) {
                        slid = true;
                    }
                }
            }
            if !slid {
                break;
            }
            // There and back again, so that what is too much spreads both ways.
            order.reverse();
        }
    }

    /// For each token, what becomes of a slot that it slides over.
    fn trades(&self) -> Vec<Trade> {
        let (mut own, mut next) = (Walk::default(), Walk::default());
        let trade = |(index, link): (usize, &super::chain::Link)| {
            self.walk(&mut own, index, None);
            self.walk(&mut next, link.after, None);
            let has = |walk: &Walk, wanted: usize| walk.found().any(|found| found == wanted);
            Trade {
                to: own.found().find(|owner| !has(&next, *owner)),
                from: next.found().find(|owner| !has(&own, *owner)),
            }
        };
        self.links.iter().enumerate().map(trade).collect()
    }

    /// Slides `link` by one slot, if it may and that is to the good.
    fn slide_by_one(&mut self, link: usize, trade: Trade, way: Way, allowed: Allowed) -> bool {
        let after = self.links[link].after;
        let (giver, taker, slot, trade) = match way {
            Way::Onward => (after, link, self.onward(self.links[link].at, 1), trade),
            Way::Back => (link, after, self.links[link].at, Trade { to: trade.from, from: trade.to }),
        };
        if link == after || self.links[giver].arc <= self.least_arc(giver) {
            return false;
        }
        let (loser, winner) = (self.links[giver].member, self.links[taker].member);
        let gain = self.gain(trade, (loser, winner));
        if gain <= GAIN_MIN {
            return false;
        }
        let price = self.price(slot, trade);
        if price > 0 && (allowed == Allowed::Free || self.moved + price > self.allowance) {
            return false;
        }
        self.moved += price;
        trade.to.into_iter().for_each(|to| self.stands[to].load += 1);
        trade.from.into_iter().for_each(|from| self.stands[from].load -= 1);
        self.stands[winner].primary += 1;
        self.stands[loser].primary -= 1;
        self.links[giver].arc -= 1;
        self.links[taker].arc += 1;
        self.links[link].at = match way {
            Way::Onward => slot,
            Way::Back => self.onward(slot, self.slot_count() - 1),
        };
        true
    }

    /// How short the arc of `link` may be: two tokens may stand at one slot if they are in the order of their members.
    fn least_arc(&self, link: usize) -> u32 {
        let before = self.links[self.links[link].before].member;
        u32::from(before > self.links[link].member)
    }

    /// How much more even shares are, once one slot is traded and has another primary.
    fn gain(&self, trade: Trade, (loser, winner): (usize, usize)) -> f64 {
        // Half a slot, as each counts as it is between before and after.
        let load = |stand: &Stand, half: f64| (real(stand.load) - stand.fair + half) / stand.fair;
        let primary = |stand: &Stand, half: f64| (real(stand.primary) - stand.fair_primary + half) / stand.fair_primary;
        let from = trade.from.map_or(0.0, |from| load(&self.stands[from], -0.5));
        let to = trade.to.map_or(0.0, |to| load(&self.stands[to], 0.5));
        if loser == winner {
            return from - to;
        }
        from - to + PRIMARY_WEIGHT * (primary(&self.stands[loser], -0.5) - primary(&self.stands[winner], 0.5))
    }
}
