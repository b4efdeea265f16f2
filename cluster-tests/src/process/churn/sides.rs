//! Two sides of a partition that both go on writing: each its own keys, and some keys that both write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use quoit_client::{Client, Version, WriteLevel, WriteOptions};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use super::{
    ledger::{Finding, Wrong},
    load::{Books, Caller, Crew},
    steps::Cluster,
    value::{Stamp, VALUE_BYTES},
    verify::Verifier,
};
use crate::process::{
    Fleet,
    scenarios::{PERIOD, SETTLE},
    wait,
};

/// Callers on each side, each with a ledger.
pub(super) const CALLERS: usize = 4;
/// Keys that both sides write.
const SHARED_KEYS: usize = 100;
/// What tells writers of these from callers with a ledger.
const WRITER: u32 = 1_000_000;
/// How long the sides stay apart once the majority has found the others down.
const APART: Duration = Duration::from_secs(5);
/// How many of a hundred writes to shared keys delete.
const DELETES_PERCENT: u32 = 10;
/// How often one owner is asked for a shared key, so that each has its turn.
const ASKED: usize = 4;

/// What is needed to write on one side only.
#[derive(Debug)]
pub(super) struct Sides {
    clients: [Client; 2],
    /// Where they stand, as links are cut.
    places: [usize; 2],
    /// The first ledger of each side.
    ledgers: [usize; 2],
}

/// What one side has made of one shared key.
#[derive(Clone, Debug, Default)]
struct Bid {
    issued: u64,
    /// The number, the version and whether it is a deletion.
    last: Option<(u64, Version, bool)>,
    /// Numbers of writes whose outcome is not known, and whether they are deletions.
    open: Vec<(u64, bool)>,
}

impl Sides {
    /// Connects the two clients at two places that are nobody's.
    pub(super) async fn connect(fleet: &Fleet, places: [usize; 2], first_ledger: usize) -> Result<Self> {
        let connect = async |place: usize| {
            let config = fleet.client_config_at(place)?;
            Client::connect(config).await.context("cannot connect as a client that can be cut off")
        };
        let clients = [connect(places[0]).await?, connect(places[1]).await?];
        Ok(Self { clients, places, ledgers: [first_ledger, first_ledger + CALLERS] })
    }

    /// Cuts the nodes apart, has both sides write, joins them again and waits until all is at rest.
    pub(super) async fn part(&self, cluster: &mut Cluster<'_>, books: &Arc<Books>) -> Result<()> {
        let sides = split(cluster).await?;
        let crews = [self.crew(0, &sides, books), self.crew(1, &sides, books)];
        for crew in &crews {
            crew.filled(SETTLE).await?;
        }
        let mut pairs = Vec::new();
        for (one, other) in [(0, 1), (1, 0)] {
            let on_side = sides[one].iter().copied().chain([self.places[one]]);
            pairs.extend(on_side.flat_map(|from| sides[other].iter().map(move |to| (from, *to))));
        }
        // Both ways, for the clients' places as well.
        let back: Vec<_> = pairs.iter().map(|(from, to)| (*to, *from)).collect();
        cluster.fleet.cut(pairs.into_iter().chain(back))?;
        cluster.log(format!("cut, {:?} from {:?}", sides[0], sides[1]));
        let contest = Contest::start(self, &sides, books);
        let minority: Vec<_> = sides[1].iter().map(|index| cluster.name(*index)).collect();
        cluster.found_down(&sides[0], &minority).await?;
        let fleet = &mut *cluster.fleet;
        wait::throughout(APART, PERIOD, async || fleet.check_running()).await?;
        let bids = contest.end().await?;
        cluster.fleet.cut([])?;
        cluster.log("joined".into());
        cluster.observer.reconnect(cluster.fleet).await?;
        cluster.settle(|_| Ok(())).await.context("after the sides were joined")?;
        for crew in crews {
            crew.end().await?;
        }
        let verifier = Verifier::connect(cluster.fleet, books).await?;
        let _paused = books.pause().await;
        for (key, (one, other)) in bids[0].iter().zip(&bids[1]).enumerate() {
            verify(&verifier, key, [one, other], books).await?;
        }
        Ok(())
    }

    fn crew(&self, side: usize, sides: &[Vec<usize>; 2], books: &Arc<Books>) -> Crew {
        let (client, level) = (&self.clients[side], level(&sides[side]));
        let caller = |number| Caller { ledger: self.ledgers[side] + number, client: client.new_session(), level };
        Crew::start(books, (0..CALLERS).map(caller).collect(), None)
    }
}

/// The majority and the minority; the coordinator is in either.
async fn split(cluster: &mut Cluster<'_>) -> Result<[Vec<usize>; 2]> {
    let settled = cluster.settle(|_| Ok(())).await?;
    let coordinator = cluster.fleet.index(&settled.coordinator)?;
    let mut order = cluster.all_but(&[coordinator]);
    let minority = order.len() / 2;
    if cluster.rng.random() {
        order.push(coordinator);
    } else {
        order.insert(0, coordinator);
    }
    let minority = order.split_off(order.len() - minority);
    Ok([order, minority])
}

/// A side of one node has nowhere to put a second copy, so it takes what it can.
fn level(side: &[usize]) -> Option<WriteLevel> {
    (side.len() == 1).then_some(WriteLevel::Any)
}

/// Two writers of the same keys, one on each side.
struct Contest {
    ends: Arc<AtomicBool>,
    writers: JoinSet<(usize, Vec<Bid>)>,
}

impl Contest {
    fn start(sides: &Sides, split: &[Vec<usize>; 2], books: &Arc<Books>) -> Self {
        let (ends, mut writers) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for (side, client) in sides.clients.iter().enumerate() {
            let (client, level) = (client.new_session(), level(&split[side]));
            let (ends, books) = (Arc::clone(&ends), Arc::clone(books));
            writers.spawn(async move { (side, compete(side, &client, level, &ends, &books).await) });
        }
        Self { ends, writers }
    }

    async fn end(mut self) -> Result<[Vec<Bid>; 2]> {
        self.ends.store(true, Ordering::Relaxed);
        let mut bids = [Vec::new(), Vec::new()];
        while let Some(ended) = self.writers.join_next().await {
            let (side, made) = ended?;
            bids[side] = made;
        }
        Ok(bids)
    }
}

async fn compete(
    side: usize,
    client: &Client,
    level: Option<WriteLevel>,
    ends: &AtomicBool,
    books: &Books,
) -> Vec<Bid> {
    let mut bids = vec![Bid::default(); SHARED_KEYS];
    let mut rng = StdRng::seed_from_u64(side as u64);
    for key in (0..SHARED_KEYS).cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let bid = &mut bids[key];
        bid.issued += 1;
        let began = books.now();
        let deletes = rng.random_range(0..100) < DELETES_PERCENT;
        let options = level.map_or(WriteOptions::new(), |level| WriteOptions::new().level(level));
        let outcome = if deletes {
            client.delete_with(name(key), options).await.map(|written| written.version)
        } else {
            let options = quoit_client::SetOptions::new();
            let options = level.map_or(options, |level| options.level(level));
            client.set_with(name(key), stamp(side, key, bid.issued).to_value(&VALUE_BYTES), options).await
        };
        match outcome {
            Ok(version) => {
                bid.last = Some((bid.issued, version, deletes));
                books.tally().wrote(Instant::now());
            }
            Err(error) => {
                if !error.has_no_side_effects() {
                    bid.open.push((bid.issued, deletes));
                }
                books.tally().failed("shared key", began, &error);
            }
        }
    }
    bids
}

/// All owners agree on a shared key, and the later of the two sides' last writes is what they have.
async fn verify(verifier: &Verifier<'_>, key: usize, bids: [&Bid; 2], books: &Books) -> Result<()> {
    let name = name(key);
    let mut seen = Vec::new();
    for _ in 0..ASKED {
        seen.push(verifier.of_one(&name).await?);
    }
    let agreed = verifier.of_all(&name).await?;
    let owners = verifier.owners(&name)?;
    let mut tally = books.tally();
    tally.verified += 1;
    if let Some(other) = seen.iter().find(|seen| **seen != agreed) {
        let version = |found: &Option<quoit_client::Found>| {
            found.as_ref().map_or_else(|| "nothing".into(), |found| found.version.to_string())
        };
        let (one, all) = (version(other), version(&agreed));
        let words = format!("{name}: its owners, {owners}, disagree: one has {one}, all have {all}; {bids:?}");
        tally.found(Finding { wrong: Wrong::Stale, words });
    }
    let found = agreed.as_ref().map(|found| (&found.value[..], found.version));
    if let Err(finding) = judge(key, bids, found) {
        tally.found(finding);
    }
    Ok(())
}

/// Whether what was found of a shared key is the later of the two sides' last writes, or one whose outcome is not known.
fn judge(key: usize, bids: [&Bid; 2], found: Option<(&[u8], Version)>) -> Result<(), Finding> {
    let last = |side: usize| bids[side].last.map(|(number, version, deletes)| (version, side, number, deletes));
    let winner = last(0).max(last(1));
    let is_winner = match (winner, found) {
        (None | Some((_, _, _, true)), None) => true,
        (Some((version, side, number, false)), Some((value, has))) => {
            has == version && Stamp::of_value(value) == Some(stamp(side, key, number))
        }
        (None | Some((_, _, _, true)), Some(_)) | (Some(_), None) => false,
    };
    let is_open = |side: usize| {
        bids[side].open.iter().any(|(number, deletes)| match found {
            None => *deletes,
            Some((value, _)) => !deletes && Stamp::of_value(value) == Some(stamp(side, key, *number)),
        })
    };
    if is_winner || is_open(0) || is_open(1) {
        return Ok(());
    }
    let wrong = match (winner, found.and_then(|(value, _)| Stamp::of_value(value))) {
        (_, None) if found.is_some() => Wrong::NeverWritten,
        (_, None) => Wrong::Nothing,
        (Some((_, _, _, true)), Some(_)) => Wrong::Resurrected,
        (Some(_), Some(_)) => Wrong::Stale,
        (None, Some(_)) => Wrong::NeverWritten,
    };
    let found =
        found.map_or_else(|| "nothing".into(), |(value, version)| format!("{:?} of {version}", Stamp::of_value(value)));
    Err(Finding { wrong, words: format!("{}, written on both sides: found {found}, due {winner:?}", name(key)) })
}

fn name(key: usize) -> String {
    format!("shared:{key:06}")
}

fn stamp(side: usize, key: usize, number: u64) -> Stamp {
    let side = u32::try_from(side).unwrap_or_default();
    Stamp { caller: WRITER + side, key: u32::try_from(key).unwrap_or_default(), number }
}

#[cfg(test)]
mod tests {
    use quoit_client::{Boot, Hlc, Ordinal};

    use super::*;

    fn version(number: u64) -> Version {
        Version { hlc: Hlc::new(number), ordinal: Ordinal::new(1), boot: Boot::new(1) }
    }

    fn bid(number: u64, hlc: u64, deletes: bool) -> Bid {
        Bid { issued: number, last: Some((number, version(hlc), deletes)), open: Vec::new() }
    }

    #[test]
    fn the_later_of_two_sides_writes_is_what_is_left() {
        let check = |bids: [&Bid; 2], found: Option<(usize, u64, u64)>, expected: Option<Wrong>| {
            let value = found.map(|(side, number, hlc)| (stamp(side, 5, number).to_value(&VALUE_BYTES), version(hlc)));
            let found = value.as_ref().map(|(value, version)| (&value[..], *version));
            assert_eq!(judge(5, bids, found).err().map(|finding| finding.wrong), expected, "{bids:?} {found:?}");
        };
        let (earlier, later) = (bid(3, 10, false), bid(2, 20, false));
        check([&earlier, &later], Some((1, 2, 20)), None);
        check([&earlier, &later], Some((0, 3, 10)), Some(Wrong::Stale));
        check([&earlier, &later], Some((1, 1, 15)), Some(Wrong::Stale));
        check([&earlier, &later], None, Some(Wrong::Nothing));
        let deletion = bid(2, 20, true);
        check([&earlier, &deletion], None, None);
        check([&earlier, &deletion], Some((0, 3, 10)), Some(Wrong::Resurrected));
        let open = Bid { open: vec![(4, false)], ..later };
        check([&earlier, &open], Some((1, 4, 30)), None);
        check([&Bid::default(), &Bid::default()], None, None);
        check([&Bid::default(), &Bid::default()], Some((0, 1, 1)), Some(Wrong::NeverWritten));
    }
}
