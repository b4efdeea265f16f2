//! One connection to one node: lanes for small requests, a stream of its own for each large value, and the control stream.

mod control;
mod gathering;
mod lane;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use quoit_proto_types::{
    Epoch, ErrorCode, Identity, RequestId,
    frame::{FrameHeader, HEADER_BYTES},
    limits,
    message::session::{FEATURE_MORE, HelloAck},
    view::Liveness,
};
use tokio::{
    sync::{Mutex, Notify, oneshot::error::RecvError, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    control::Control,
    lane::{Lane, Started, lane_of},
};
pub(crate) use self::{
    control::Subscription,
    gathering::{Answers, TOGETHER_MAX},
    lane::{Answer, NotQueued, Outgoing, OutgoingMany, Patience, Unanswered},
};
use crate::{
    Effect,
    dial::{self, Dialled},
    frames,
    request::Reply,
};

/// Long-lived streams for small requests. One would be fastest on a clean network; a second lets requests pass a lane
/// that waits for a lost packet.
const LANES: u8 = 2;
/// A node that owes an answer and has been silent for so long may be in trouble: other things are not to wait for it.
const SILENT_AFTER: Duration = Duration::from_millis(300);
/// How long a node that owes an answer may be silent before its connection is given up.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(2);
/// The same where the view says that the node is down. One that lives all the same, and cannot be heard by other nodes only,
/// acknowledges what it gets sooner, also on a busy machine; one that does not has mostly been silent for longer by then.
const UNRESPONSIVE_IF_DOWN_AFTER: Duration = Duration::from_millis(500);
/// None of these is concluded in less than so many round trips.
const ROUND_TRIPS_MIN: u32 = 3;
/// How often deadlines are looked at while requests are under way: how late a timeout may be.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// An established connection. Dropping it closes it and fails what is under way.
#[derive(Debug)]
pub(crate) struct Connection {
    quic: quinn::Connection,
    peer: Identity,
    ack: HelloAck,
    shared: Arc<Shared>,
    /// Lane readers and writers, the sweeper, the receiver of large replies, and the reader of what is pushed.
    _tasks: Vec<AbortOnDropHandle<()>>,
    /// Since when the session is open.
    opened: Instant,
    /// Held by who is told of views.
    control: Mutex<Control>,
    /// Cancelled when the node says that it is about to stop.
    farewell: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    lanes: Vec<Lane>,
    /// Wakes the sweeper when a request starts.
    started: Notify,
    /// Whether an answer has been owed, and nothing come, for [`SILENT_AFTER`].
    silent: watch::Sender<bool>,
    /// Whether the view says that the node is down. Relaxed: the sweeper looks again soon.
    is_down: AtomicBool,
}

impl Connection {
    /// Opens the lanes of a session.
    ///
    /// # Errors
    /// The reason why the connection was lost meanwhile.
    pub(crate) async fn open(dialled: Dialled) -> Result<Self, String> {
        let Dialled { connection: quic, peer, ack, control } = dialled;
        let lanes = (0..LANES).map(Lane::new).collect();
        let shared = Arc::new(Shared::new(lanes));
        let mut tasks = Vec::new();
        let mut spawn = |task| tasks.push(AbortOnDropHandle::new(task));
        for index in 0..shared.lanes.len() {
            let (send, recv) = quic.open_bi().await.map_err(|error| error.to_string())?;
            spawn(tokio::spawn(write_lane(Arc::clone(&shared), index, send)));
            spawn(tokio::spawn(read_lane(Arc::clone(&shared), index, recv, quic.clone())));
        }
        spawn(tokio::spawn(sweep(Arc::clone(&shared), quic.clone())));
        spawn(tokio::spawn(receive_large(Arc::clone(&shared), quic.clone())));
        let (send, recv) = control;
        let (control, pushed) = Control::new(send);
        let farewell = CancellationToken::new();
        spawn(tokio::spawn(control::read(recv, pushed, quic.clone(), farewell.clone())));
        let (opened, control) = (Instant::now(), Mutex::new(control));
        Ok(Self { quic, peer, ack, shared, _tasks: tasks, opened, control, farewell })
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Identity {
        &self.peer
    }

    /// Where the other end is.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// What the node said when the session opened.
    pub(crate) fn ack(&self) -> &HelloAck {
        &self.ack
    }

    /// Since when the session is open.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// Asks the node to tell of views later than `known`; `None` if the connection is lost.
    pub(crate) async fn subscribe(&self, known: Epoch) -> Option<Subscription<'_>> {
        Subscription::begin(self.control.lock().await, known).await
    }

    /// Packets received so far. While nothing else is under way, the transport asks for one every few seconds.
    pub(crate) fn received(&self) -> u64 {
        datagrams(&self.quic)
    }

    /// Hears whether the node is down, by the view. While it is, and silent, nobody waits for it any longer. A connection that
    /// is opened later hears of it with the next view.
    pub(crate) fn note_liveness(&self, liveness: Liveness) {
        self.shared.note_liveness(liveness);
    }

    /// Returns while the node owes an answer and nothing has come from it for a while.
    pub(crate) async fn silent(&self) {
        // The sender lives as long as the connection.
        let _ = self.shared.silent.subscribe().wait_for(|is_silent| *is_silent).await;
    }

    /// Gives the connection up, as one whose node is gone or frozen.
    pub(crate) fn give_up(&self) {
        self.quic.close(0u32.into(), b"unresponsive");
        self.shared.fail(&"the node stopped answering".into());
    }

    /// Returns when the connection is lost, with the reason.
    pub(crate) async fn closed(&self) -> quinn::ConnectionError {
        self.quic.closed().await
    }

    /// Returns when the node says that it is about to stop. It answers what it is asked until the connection is dropped, for
    /// as long as it can.
    pub(crate) async fn farewell(&self) {
        self.farewell.cancelled().await;
    }

    /// Returns when nothing is under way on the lanes.
    pub(crate) async fn idle(&self) {
        while self.shared.lanes.iter().any(Lane::is_busy) {
            sleep(SWEEP_INTERVAL).await;
        }
    }

    /// Sends `request` and waits for its reply. Cancel-safe: the reply of a dropped call is discarded. Of a large value it is
    /// not told whether its answer is late.
    pub(crate) async fn call(&self, outgoing: Outgoing<'_>) -> Result<Result<Reply, Unanswered>, NotQueued> {
        if outgoing.request.is_large() {
            return self.call_large(outgoing).await;
        }
        let answer = self.start(outgoing)?;
        Ok(received(answer.await))
    }

    /// Sends a small request, and returns what its answer comes out of. The connection must live until then. What is dropped
    /// is discarded when it comes.
    pub(crate) fn start(&self, outgoing: Outgoing<'_>) -> Result<Answer, NotQueued> {
        let started = self.queue(outgoing)?;
        if started.first {
            self.shared.started.notify_one();
        }
        Ok(started.answer)
    }

    /// Sends small requests together, at most [`TOGETHER_MAX`], of which `write` writes each by its place, until one is refused;
    /// says why that was. Their answers come out of the first thing, as far as they were sent. The connection must live until
    /// then. They pass a lane that waits if they `may_pass`.
    pub(crate) fn start_all(
        &self,
        outgoing: OutgoingMany,
        may_pass: bool,
        write: impl FnMut(usize, FrameHeader, &mut BytesMut),
    ) -> (Answers, Option<NotQueued>) {
        let lanes = &self.shared.lanes;
        let flowing = lanes.iter().find(|lane| may_pass && lane.flows_with(outgoing.requests));
        let (answers, first, why) = flowing.unwrap_or(&lanes[0]).start_all(outgoing, write);
        if first {
            self.shared.started.notify_one();
        }
        (answers, why)
    }

    /// Whether the node understands that requests of one caller are tied together.
    pub(crate) fn ties(&self) -> bool {
        self.ack.session.features & FEATURE_MORE != 0
    }

    /// Queues a small request on the first lane, which keeps requests together, where batching pays. Reads pass a lane that
    /// waits for a lost packet. Writes do not: one that its caller gave up must not arrive after a later one.
    fn queue(&self, outgoing: Outgoing<'_>) -> Result<Started, NotQueued> {
        let lanes = &self.shared.lanes;
        if outgoing.request.effect_if_unanswered() == Effect::None {
            let free = lanes.iter().find_map(|lane| lane.start_unless_stuck(outgoing));
            if let Some(started) = free {
                return started;
            }
        }
        lanes[0].start(outgoing)
    }

    /// Sends a request with a large value on a stream of its own, where it delays nobody.
    async fn call_large(&self, outgoing: Outgoing<'_>) -> Result<Result<Reply, Unanswered>, NotQueued> {
        let Outgoing { request, header, patience: Patience { deadline, .. } } = outgoing;
        let (send, mut recv) = match timeout_at(deadline, self.quic.open_bi()).await {
            Ok(opened) => opened.map_err(|error| NotQueued::Lost(error.to_string().into()))?,
            // The node lets a client have only so many streams open.
            Err(_) => return Err(NotQueued::Full),
        };
        let mut send = ResetOnDrop(send);
        let exchange = async {
            let mut head = BytesMut::new();
            request.encode(header, &mut head);
            let sent = async {
                send.0.write_chunk(head.freeze()).await?;
                send.0.write_all(request.value()).await
            };
            // A node that refuses the value stops the stream and still says why on the way back.
            if sent.await.is_ok() {
                let _ = send.0.finish();
            }
            let (header, body) = frames::read_frame(&mut recv, limits::LANE_BODY_BYTES_MAX)
                .await
                .map_err(|error| Unanswered::Lost(error.to_string().into()))?;
            Ok(Reply::new(&header, body))
        };
        Ok(timeout_at(deadline, exchange).await.unwrap_or(Err(Unanswered::Timeout)))
    }
}

/// What came out of an [`Answer`].
pub(crate) fn received(answer: Result<Result<Reply, Unanswered>, RecvError>) -> Result<Reply, Unanswered> {
    answer.unwrap_or_else(|_| Err(Unanswered::Lost("the lane ended".into())))
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.fail(&"the connection was closed".into());
        self.quic.close(0u32.into(), b"");
    }
}

impl Shared {
    fn new(lanes: Vec<Lane>) -> Self {
        Self { lanes, started: Notify::new(), silent: watch::Sender::default(), is_down: AtomicBool::new(false) }
    }

    fn note_liveness(&self, liveness: Liveness) {
        self.is_down.store(liveness == Liveness::Down, Ordering::Relaxed);
    }

    fn unresponsive_after(&self) -> Duration {
        if self.is_down.load(Ordering::Relaxed) { UNRESPONSIVE_IF_DOWN_AFTER } else { UNRESPONSIVE_AFTER }
    }

    fn fail(&self, reason: &Arc<str>) {
        for lane in &self.lanes {
            lane.fail(reason);
        }
    }

    fn lane_of(&self, request: RequestId) -> Option<&Lane> {
        self.lanes.get(lane_of(request))
    }
}

/// quinn finishes a dropped stream as if its data were complete. A cancelled value must be reset instead.
#[derive(Debug)]
struct ResetOnDrop(SendStream);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        // Without effect once everything has been acknowledged, as it has when a reply is here.
        let _ = self.0.reset(0u32.into());
    }
}

async fn write_lane(shared: Arc<Shared>, index: usize, stream: SendStream) {
    shared.lanes[index].write(stream).await;
}

async fn read_lane(shared: Arc<Shared>, index: usize, stream: RecvStream, quic: quinn::Connection) {
    if let Err(error) = shared.lanes[index].read(stream).await {
        dial::close(&quic, ErrorCode::Protocol, &error.to_string());
    }
    let reason = quic.close_reason().map_or_else(|| "the lane ended".into(), |e| e.to_string());
    shared.fail(&reason.into());
    // A connection without all its lanes is of no use: dial a new one.
    quic.close(0u32.into(), b"");
}

/// Times requests out: one task for the connection instead of a timer for each request. Gives the connection up when its
/// node owes an answer and not even an acknowledgement has come for [`UNRESPONSIVE_AFTER`]: the process is gone or frozen. That is
/// known sooner where the view says so: who has written may then try again, before its time is up.
async fn sweep(shared: Arc<Shared>, quic: quinn::Connection) {
    loop {
        shared.started.notified().await;
        let mut received = datagrams(&quic);
        // Since when an answer has been owed and nothing has come. A timeout is no sign of life: it leaves this as it is.
        let mut silent_since: Option<Instant> = None;
        loop {
            sleep(SWEEP_INTERVAL).await;
            let now = Instant::now();
            let busy = shared.lanes.iter().fold(false, |busy, lane| lane.sweep(now) | busy);
            let latest = datagrams(&quic);
            if latest != received {
                (received, silent_since) = (latest, None);
            } else if busy && silent_since.is_none() {
                silent_since = Some(now);
            }
            // Whoever is far away takes longer to answer.
            let patience = |least: Duration| least.max(quic.rtt() * ROUND_TRIPS_MIN);
            let silent_for = silent_since.map(|since| now.saturating_duration_since(since));
            let is_silent = silent_for.is_some_and(|silent| silent >= patience(SILENT_AFTER));
            shared.silent.send_if_modified(|was| std::mem::replace(was, is_silent) != is_silent);
            match silent_for {
                Some(silent) if silent >= patience(shared.unresponsive_after()) => {
                    quic.close(0u32.into(), b"unresponsive");
                    return shared.fail(&"the node stopped answering".into());
                }
                None if !busy => break,
                Some(_) | None => {}
            }
        }
    }
}

/// Datagrams received so far.
fn datagrams(quic: &quinn::Connection) -> u64 {
    quic.stats().udp_rx.datagrams
}

/// Receives the replies that are too large for a lane.
async fn receive_large(shared: Arc<Shared>, quic: quinn::Connection) {
    let mut readers = JoinSet::new();
    // As many at once as the transport lets the node open.
    while let Ok(stream) = quic.accept_uni().await {
        while readers.try_join_next().is_some() {}
        readers.spawn(read_large(Arc::clone(&shared), stream));
    }
}

async fn read_large(shared: Arc<Shared>, mut stream: RecvStream) {
    let mut header = [0; HEADER_BYTES];
    if stream.read_exact(&mut header).await.is_err() {
        return;
    }
    let Ok(header) = FrameHeader::decode(&header) else {
        return;
    };
    let lane = shared.lane_of(header.request);
    let Some((lane, deadline)) = lane.and_then(|lane| Some((lane, lane.awaited_until(header.request)?))) else {
        // Given up or cancelled: spare the network the rest.
        let _ = stream.stop(0u32.into());
        return;
    };
    let bytes = header.body_bytes as usize;
    match timeout_at(deadline, stream.read_to_end(bytes)).await {
        Ok(Ok(body)) if body.len() == bytes => {
            let body = Bytes::from(body).slice(header.trace.bytes()..);
            lane.complete(header.request, Ok(Reply::new(&header, body)));
        }
        Ok(_) => lane.complete(header.request, Err(Unanswered::Lost("the reply was cut off".into()))),
        // The sweeper tells the caller.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_down_by_the_view_and_silent_is_given_up_sooner() {
        let shared = Shared::new(Vec::new());
        assert_eq!(shared.unresponsive_after(), UNRESPONSIVE_AFTER);
        shared.note_liveness(Liveness::Down);
        assert_eq!(shared.unresponsive_after(), UNRESPONSIVE_IF_DOWN_AFTER);
        shared.note_liveness(Liveness::Up);
        assert_eq!(shared.unresponsive_after(), UNRESPONSIVE_AFTER);
    }
}
