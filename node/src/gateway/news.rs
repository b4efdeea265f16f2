//! Tells clients of views as they change, on the control stream of each.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quoit_client::ErrorCode;
use quoit_proto_types::{
    Epoch, RequestId,
    frame::{FrameHeader, FrameType},
};
use tokio::{sync::watch, time::sleep};

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

    /// The next one, from nothing to [`PAUSE_MAX`].
    fn draw(&mut self) -> Duration {
        self.0 = spread(self.0, 1);
        PAUSE_MAX.mul_f64(f64::from(u16::try_from(self.0 >> 48).unwrap_or_default()) / f64::from(u16::MAX))
    }
}

/// The frame that brings `update` to who called its request `request`.
pub(super) fn frame(update: Update, request: RequestId) -> (FrameHeader, Bytes) {
    (FrameHeader::new(update.kind, request, update.fence, update.epoch), update.body)
}

/// Serves the control stream of a client until it breaks, and says why.
pub(super) async fn serve(session: &Session, control: Control, views: &Arc<Views>, pauses: Pauses) -> StreamError {
    let Control { asks, tells } = control;
    let (asked, watched) = watch::channel(None);
    let outcome = tokio::select! {
        outcome = listen(asks, &asked) => outcome,
        outcome = tell(tells, watched, views, pauses) => outcome,
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
    mut pauses: Pauses,
) -> Result<Never, Broken> {
    let mut latest = views.latest();
    let mut told: Asked = None;
    loop {
        // The senders live longer than this future.
        let asked_again = match told {
            None => asked.changed().await.is_ok(),
            Some((epoch, _)) => tokio::select! {
                changed = asked.changed() => changed.is_ok(),
                _ = latest.wait_for(|latest| *latest != epoch && *latest != Epoch::GENESIS) => false,
            },
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
        sleep(pauses.draw()).await;
        if let Some(update) = views.update_from(epoch) {
            let latest = update.epoch;
            let (header, body) = frame(update, request);
            tells.send(header, body).await?;
            told = Some((latest, request));
        }
    }
}

#[cfg(test)]
mod tests;
