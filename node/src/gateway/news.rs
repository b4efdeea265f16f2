//! Tells clients of views as they change, and that the node is about to stop, on the control stream of each.

use std::{future::pending, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quoit_client::ErrorCode;
use quoit_proto_types::{
    Epoch, Fence, RequestId,
    frame::{FrameHeader, FrameType},
    message::client::Refusal,
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    node::spread,
    transport::{
        session::{Control, ControlReader, ControlWriter, Session},
        streams::StreamError,
    },
    views::{Update, Views},
};

/// Longest pause before a client is told, so that all clients of a cluster do not come for more at the same moment. What
/// follows within the pause is told with it.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// Few clients need not be spread so far: so much for each. A view may be what they wait for to write again.
const PAUSE_EACH: Duration = Duration::from_micros(100);

/// Who wants to be told: in which view the client was when it asked, and how it called the request.
type Asked = Option<(Epoch, RequestId)>;

/// How long each view waits before the client of one session is told.
#[derive(Debug)]
pub(super) struct Pauses(u64);

impl Pauses {
    /// Those of the session with this number.
    pub(super) fn of_session(number: u64) -> Self {
        Self(spread(number, 0))
    }

    /// The next one, from nothing to `longest`.
    fn draw(&mut self, longest: Duration) -> Duration {
        self.0 = spread(self.0, 1);
        longest.mul_f64(f64::from(u16::try_from(self.0 >> 48).unwrap_or_default()) / f64::from(u16::MAX))
    }
}

/// The longest pause where a node has so many `clients`. As each has a session with every node, that is about how many there are,
/// whichever node tells them: it is all of them that must not come at once.
fn longest_pause(clients: usize) -> Duration {
    PAUSE_EACH.saturating_mul(u32::try_from(clients).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

/// The frame that brings `update` to who called its request `request`.
pub(super) fn frame(update: Update, request: RequestId) -> (FrameHeader, Bytes) {
    (FrameHeader::new(update.kind, request, update.fence, update.epoch), update.body)
}

/// Serves the control stream of a client until it breaks, and says why. `clients` tells how many there are; `farewell` is when
/// the node is about to stop.
pub(super) async fn serve(
    session: &Session,
    control: Control,
    views: &Arc<Views>,
    (clients, pauses): (impl Fn() -> usize, Pauses),
    farewell: &CancellationToken,
) -> StreamError {
    let Control { asks, tells } = control;
    let (asked, watched) = watch::channel(None);
    let outcome = tokio::select! {
        outcome = listen(asks, &asked) => outcome,
        outcome = tell(tells, watched, views, (clients, pauses), farewell) => outcome,
    };
    match outcome {
        Err(Broken::Stream(error)) => error,
        Err(Broken::Unexpected(kind)) => {
            session.close(ErrorCode::Protocol, &format!("{kind:?} on the control stream"));
            StreamError::Gone
        }
        Ok(never) => match never {},
    }
}

/// Why the control stream ended.
enum Broken {
    Stream(StreamError),
    Unexpected(FrameType),
}

impl From<StreamError> for Broken {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// Nothing: what runs until it fails.
enum Never {}

async fn listen(mut asks: ControlReader, asked: &watch::Sender<Asked>) -> Result<Never, Broken> {
    loop {
        let header = asks.next().await?;
        if header.kind != FrameType::ViewWatch {
            return Err(Broken::Unexpected(header.kind));
        }
        asked.send_replace(Some((header.epoch, header.request)));
    }
}

async fn tell(
    mut tells: ControlWriter,
    mut asked: watch::Receiver<Asked>,
    views: &Views,
    (clients, mut pauses): (impl Fn() -> usize, Pauses),
    farewell: &CancellationToken,
) -> Result<Never, Broken> {
    let mut latest = views.latest();
    let mut told: Asked = None;
    loop {
        // The senders live longer than this future.
        let is_news = |latest: &Epoch| told.is_some_and(|(epoch, _)| ![epoch, Epoch::GENESIS].contains(latest));
        let asked_again = tokio::select! {
            changed = asked.changed() => Some(changed.is_ok()),
            _ = latest.wait_for(is_news) => Some(false),
            () = farewell.cancelled() => None,
        };
        let Some(asked_again) = asked_again else {
            return say_farewell(tells).await;
        };
        if asked_again {
            told = *asked.borrow_and_update();
        }
        let Some((epoch, request)) = told else {
            continue;
        };
        if [epoch, Epoch::GENESIS].contains(&*latest.borrow()) {
            continue;
        }
        sleep(pauses.draw(longest_pause(clients()))).await;
        if let Some(update) = views.update_from(epoch) {
            let latest = update.epoch;
            let (header, body) = frame(update, request);
            tells.send(header, body).await?;
            told = Some((latest, request));
        }
    }
}

/// Has the client hang up, once it has the answers it still waits for, and turn to other nodes meanwhile.
async fn say_farewell(mut tells: ControlWriter) -> Result<Never, Broken> {
    let header = FrameHeader::new(FrameType::Refusal, RequestId::default(), Fence::default(), Epoch::GENESIS);
    let mut body = BytesMut::new();
    Refusal::new(ErrorCode::ShuttingDown, 0).encode(&mut body);
    tells.send(header, body.freeze()).await?;
    // The stream stays open for as long as the session does.
    pending().await
}

#[cfg(test)]
mod tests;
