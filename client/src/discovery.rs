//! Finding a cluster by addresses alone, and asking one node for its view.

use std::{collections::BTreeSet, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, RequestId, View,
    frame::{FrameHeader, FrameType},
    message::client::Refusal,
    view::Address,
};
use rand::{rngs::SmallRng, seq::SliceRandom};
use tokio::time::{Instant, sleep};

use crate::{
    connection::{Connection, Outgoing, Patience},
    dial::STAGGER,
    error::{ConnectError, DialError},
    pool::Dialler,
    request::Request,
    topology::{self, NoView, Topology},
};

/// How often a cluster that has not formed yet is asked again.
const FORMING_PAUSE: Duration = Duration::from_millis(200);
/// How long to wait before all addresses are dialled again.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// Where a cluster may be found again: at the addresses of the last view's members, and at the seeds, each of which may
/// have changed hands. Seeds and members take turns, for either may all be gone; both are shuffled, so that not every
/// client dials the same node first.
pub(crate) fn addresses(view: &View, seeds: &[Address], rng: &mut SmallRng) -> Vec<Address> {
    let mut seeds: Vec<_> = seeds.iter().collect();
    let mut members: Vec<_> = view.members().iter().map(|member| &member.address).collect();
    seeds.shuffle(rng);
    members.shuffle(rng);
    let (mut seeds, mut members) = (seeds.into_iter(), members.into_iter());
    let mut in_turn = Vec::new();
    loop {
        let (seed, member) = (seeds.next(), members.next());
        if seed.is_none() && member.is_none() {
            break;
        }
        in_turn.extend(seed);
        in_turn.extend(member);
    }
    let mut seen = BTreeSet::new();
    in_turn.into_iter().filter(|address| seen.insert(*address)).cloned().collect()
}

/// How long one round of [`find`] may take, with time for a whole dial of each address.
pub(crate) fn round(addresses: usize, dial_timeout: Duration) -> Duration {
    let count = u32::try_from(addresses).unwrap_or(u32::MAX);
    STAGGER.saturating_mul(count).saturating_add(dial_timeout)
}

/// Dials `addresses` until one has a view: all of them side by side, each a little later than the one before, so that a dead
/// one costs little and a live one is not joined by all the others. Their names are resolved at each dial.
pub(crate) async fn find(
    dialler: &Dialler,
    addresses: &[Address],
    known: Option<&Topology>,
    deadline: Instant,
) -> Result<(View, Connection), ConnectError> {
    loop {
        let dials = addresses.iter().zip(0..).map(async |(address, position): (&Address, u32)| {
            sleep(STAGGER.saturating_mul(position)).await;
            (address.clone(), ask_address(dialler, address, known, deadline).await)
        });
        let mut dials: FuturesUnordered<_> = dials.collect();
        let mut attempts = Vec::new();
        let mut forming = None;
        while let Some((seed, outcome)) = dials.next().await {
            match outcome {
                Ok(found) => return Ok(found),
                Err(Nothing::NotFormed(text)) => forming = Some(ConnectError::NotFormed { seed, text }),
                Err(Nothing::Unreachable(error)) => attempts.push((seed, error)),
            }
        }
        if let Some(forming) = forming {
            return Err(forming);
        }
        let hopeless = attempts.iter().all(|(_, error)| error.is_about_identity());
        // Another round must have time for a whole dial: one that is cut short says less than the last.
        if hopeless || Instant::now() + ROUND_PAUSE + dialler.dial_timeout > deadline {
            return Err(ConnectError::Unreachable { attempts });
        }
        sleep(ROUND_PAUSE).await;
    }
}

/// Why an address did not lead to a cluster.
enum Nothing {
    NotFormed(String),
    Unreachable(DialError),
}

async fn ask_address(
    dialler: &Dialler,
    address: &Address,
    known: Option<&Topology>,
    deadline: Instant,
) -> Result<(View, Connection), Nothing> {
    let wait = dialler.dial_timeout.min(deadline.saturating_duration_since(Instant::now()));
    let connection = dialler.dial(address, None, wait).await.map_err(Nothing::Unreachable)?;
    match await_view(&connection, known, deadline).await {
        Ok(view) => Ok((view, connection)),
        Err(NotFetched::Refused(refusal)) if refusal.code == ErrorCode::NotReady => {
            Err(Nothing::NotFormed(refusal.text))
        }
        Err(error) => {
            let reason = format!("it gave no view: {error}");
            Err(Nothing::Unreachable(DialError::Failed { address: connection.remote_address(), reason }))
        }
    }
}

/// Asks for the view until the node's cluster has formed.
async fn await_view(connection: &Connection, known: Option<&Topology>, deadline: Instant) -> Result<View, NotFetched> {
    loop {
        match fetch(connection, known, deadline).await {
            Err(NotFetched::Refused(refusal))
                if refusal.code == ErrorCode::NotReady && Instant::now() + FORMING_PAUSE < deadline =>
            {
                sleep(FORMING_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Why a node gave no view.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFetched {
    #[error("{}{}", .0.code, if .0.text.is_empty() { String::new() } else { format!(" ({})", .0.text) })]
    Refused(Refusal),
    #[error("it did not answer")]
    NoAnswer,
    #[error("it has none that is later")]
    NotLater,
    #[error("it answered out of protocol")]
    Protocol,
}

/// Asks for the node's view: for what makes it of the `known` one, if the node can tell that, and otherwise for all of it.
pub(crate) async fn fetch(
    connection: &Connection,
    known: Option<&Topology>,
    deadline: Instant,
) -> Result<View, NotFetched> {
    let mut epoch = known.map_or(Epoch::GENESIS, Topology::epoch);
    loop {
        let header = FrameHeader::new(FrameType::ViewGet, RequestId::default(), Fence::default(), epoch);
        let outgoing = Outgoing { request: &Request::ViewGet, header, patience: Patience::until(deadline) };
        let Ok(Ok(reply)) = connection.call(outgoing).await else {
            return Err(NotFetched::NoAnswer);
        };
        if reply.kind == FrameType::Refusal {
            let refusal = Refusal::decode(&reply.body).map_err(|_| NotFetched::Protocol)?;
            return Err(NotFetched::Refused(refusal));
        }
        let read = match known {
            Some(known) => known.read(reply.kind, &reply.body),
            None => topology::read_first(reply.kind, &reply.body),
        };
        match read {
            Ok(view) => return Ok(view),
            Err(NoView::Old) => return Err(NotFetched::NotLater),
            // The node has another view of the same number, as one of another cluster has. Once is enough: who knows no
            // view cannot be answered by a delta.
            Err(NoView::OtherBase) if epoch > Epoch::GENESIS => epoch = Epoch::GENESIS,
            Err(NoView::OtherBase | NoView::Malformed) => return Err(NotFetched::Protocol),
        }
    }
}
#[cfg(test)]
mod tests;
