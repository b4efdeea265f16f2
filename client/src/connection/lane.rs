//! A lane: one long-lived bidirectional stream that carries many small requests at once.
//!
//! Callers append their frames to one buffer; the writer task hands whatever has gathered to QUIC in one piece; the
//! reader task answers every caller whose reply stands in a batch under one lock. So the cost of a wake-up, a packet and
//! a system call is shared by all requests that happen to be under way: this is where the throughput comes from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use quoit_proto_types::{
    RequestId,
    frame::{FrameError, FrameHeader},
    frame_reader::FrameReader,
    limits,
};
use slab::Slab;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::gathering::{Answers, Place};
use crate::request::{Reply, Request};

/// Unsent bytes a lane gathers before it refuses more. They pile up only if the node does not read.
const UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Chunks taken from QUIC at once; a chunk is at most a packet.
const CHUNKS_AT_ONCE: usize = 32;
/// Above this many unsent bytes a lane counts as stuck.
const STUCK_BYTES: usize = 32 * 1024;

/// Why a request got no reply.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Its deadline passed.
    Timeout,
    /// The connection was lost.
    Lost(Arc<str>),
    /// It is late, and may yet come.
    Late(Answer),
}

/// What becomes of a request.
pub(crate) type Outcome = Result<Reply, Unanswered>;

/// What a caller waits for.
pub(crate) type Answer = oneshot::Receiver<Outcome>;

/// How long a caller waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// When it gives up.
    pub(crate) deadline: Instant,
    /// When it wants to be told that there is no answer yet. It is told once.
    pub(crate) late: Option<Instant>,
}

impl Patience {
    /// Waits in silence.
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { deadline, late: None }
    }
}

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'r> {
    pub(crate) request: Request<'r>,
    /// Lacks only its id.
    pub(crate) header: FrameHeader,
    pub(crate) patience: Patience,
}

/// A request that was queued.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) answer: Answer,
    /// No other is under way on its lane.
    pub(crate) first: bool,
}

/// Why a request was not even queued.
#[derive(Clone, Debug)]
pub(crate) enum NotQueued {
    /// Too many are under way.
    Full,
    /// The connection was lost.
    Lost(Arc<str>),
}

#[derive(Debug)]
pub(crate) struct Lane {
    /// Stands in the top byte of every request id of this lane.
    index: u8,
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug)]
struct Queue {
    unsent: BytesMut,
    pending: Slab<Pending>,
    /// Distinguishes the users of one slab entry, so that a late reply finds nobody.
    generation: u32,
    lost: Option<Arc<str>>,
}

#[derive(Debug)]
struct Pending {
    generation: u32,
    patience: Patience,
    caller: Caller,
}

/// Where the outcome of a request is told.
#[derive(Debug)]
enum Caller {
    /// To who waits for nothing else.
    One(oneshot::Sender<Outcome>),
    /// To who waits for many.
    OfMany(Place),
}

impl Caller {
    fn tell(self, outcome: Outcome) {
        match self {
            // The caller may have gone: then nobody wants it.
            Self::One(sender) => drop(sender.send(outcome)),
            Self::OfMany(place) => place.fill(outcome),
        }
    }

    fn has_gone(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::OfMany(place) => place.is_given_up(),
        }
    }
}

impl Lane {
    pub(crate) fn new(index: u8) -> Self {
        let queue = Queue { unsent: BytesMut::new(), pending: Slab::new(), generation: 0, lost: None };
        Self { index, queue: Mutex::new(queue), filled: Notify::new() }
    }

    /// Queues a small request.
    pub(crate) fn start(&self, outgoing: Outgoing<'_>) -> Result<Started, NotQueued> {
        self.start_locked(self.lock(), outgoing)
    }

    /// Queues small requests, which go out together, until one is refused. Says why that was, and whether no other was under
    /// way before.
    pub(crate) fn start_all<'r>(
        &self,
        all: impl Iterator<Item = Outgoing<'r>>,
        answers: &Answers,
    ) -> (bool, Option<NotQueued>) {
        let mut queue = self.lock();
        let (was_unsent, was_busy) = (!queue.unsent.is_empty(), !queue.pending.is_empty());
        let mut why = None;
        for outgoing in all {
            if let Err(full) = queue.admit() {
                why = Some(full);
                break;
            }
            self.push(&mut queue, outgoing, Caller::OfMany(answers.place()));
        }
        let (is_unsent, is_busy) = (!queue.unsent.is_empty(), !queue.pending.is_empty());
        drop(queue);
        if is_unsent && !was_unsent {
            self.filled.notify_one();
        }
        (is_busy && !was_busy, why)
    }

    /// The same, unless the lane is full, or frames have piled up as they do while it waits for a lost packet.
    pub(crate) fn start_unless_stuck(&self, outgoing: Outgoing<'_>) -> Option<Result<Started, NotQueued>> {
        let queue = self.lock();
        queue.flows_with(1).then(|| self.start_locked(queue, outgoing))
    }

    /// Whether so many more would neither fill the lane nor wait for a lost packet.
    pub(crate) fn flows_with(&self, requests: usize) -> bool {
        self.lock().flows_with(requests)
    }

    fn start_locked(&self, mut queue: MutexGuard<'_, Queue>, outgoing: Outgoing<'_>) -> Result<Started, NotQueued> {
        queue.admit()?;
        let (sender, answer) = oneshot::channel();
        let was_empty = queue.unsent.is_empty();
        self.push(&mut queue, outgoing, Caller::One(sender));
        let first = queue.pending.len() == 1;
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(Started { answer, first })
    }

    /// Queues one that was admitted.
    fn push(&self, queue: &mut Queue, outgoing: Outgoing<'_>, caller: Caller) {
        let Outgoing { request, mut header, patience } = outgoing;
        queue.generation = queue.generation.wrapping_add(1) & 0x00ff_ffff;
        let generation = queue.generation;
        let index = queue.pending.insert(Pending { generation, patience, caller });
        header.request = self.request_id(generation, index);
        request.encode(header, &mut queue.unsent);
    }

    /// Answers the caller of `request`, if it still waits. For replies that come on a stream of their own.
    pub(crate) fn complete(&self, request: RequestId, outcome: Result<Reply, Unanswered>) {
        let pending = self.lock().take(request);
        if let Some(pending) = pending {
            pending.caller.tell(outcome);
        }
    }

    /// Until when somebody waits for `request`; `None` if nobody does.
    pub(crate) fn awaited_until(&self, request: RequestId) -> Option<Instant> {
        let queue = self.lock();
        let (generation, index) = parts(request);
        let pending = queue.pending.get(index)?;
        (pending.generation == generation && !pending.caller.has_gone()).then_some(pending.patience.deadline)
    }

    /// Gives up every request whose deadline has passed, and tells callers who want to know of answers that are late; says
    /// whether any is left.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let mut queue = self.lock();
        let due: Vec<usize> =
            queue.pending.iter().filter(|(_, p)| p.patience.deadline <= now).map(|(i, _)| i).collect();
        let given_up: Vec<Pending> = due.into_iter().map(|index| queue.pending.remove(index)).collect();
        let late: Vec<_> = queue.pending.iter_mut().filter_map(|(_, pending)| pending.turn_late(now)).collect();
        let busy = !queue.pending.is_empty();
        drop(queue);
        for pending in given_up {
            pending.caller.tell(Err(Unanswered::Timeout));
        }
        for (told, answer) in late {
            told.tell(Err(Unanswered::Late(answer)));
        }
        busy
    }

    /// Whether anything is under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    /// Fails every request under way, and every later one.
    pub(crate) fn fail(&self, reason: &Arc<str>) {
        let mut queue = self.lock();
        queue.lost.get_or_insert_with(|| Arc::clone(reason));
        let pending = std::mem::take(&mut queue.pending);
        drop(queue);
        for (_, pending) in pending {
            pending.caller.tell(Err(Unanswered::Lost(Arc::clone(reason))));
        }
    }

    /// Hands queued frames to QUIC until the stream fails.
    pub(crate) async fn write(&self, mut stream: SendStream) {
        loop {
            self.filled.notified().await;
            let unsent = self.lock().unsent.split().freeze();
            if !unsent.is_empty() && stream.write_chunk(unsent).await.is_err() {
                return;
            }
        }
    }

    /// Answers callers until the stream ends; says why if the node broke the protocol.
    pub(crate) async fn read(&self, mut stream: RecvStream) -> Result<(), FrameError> {
        let mut frames = FrameReader::new(limits::LANE_BODY_BYTES_MAX);
        let mut chunks: [Bytes; CHUNKS_AT_ONCE] = Default::default();
        let mut answered = Vec::new();
        while let Ok(Some(count)) = stream.read_chunks(&mut chunks).await {
            self.collect(&mut frames, &mut chunks[..count], &mut answered)?;
            for (caller, reply) in answered.drain(..) {
                caller.tell(Ok(reply));
            }
        }
        Ok(())
    }

    /// Pairs the replies in `chunks` with their requests, under one lock.
    fn collect(
        &self,
        frames: &mut FrameReader,
        chunks: &mut [Bytes],
        answered: &mut Vec<(Caller, Reply)>,
    ) -> Result<(), FrameError> {
        let mut queue = self.lock();
        for chunk in chunks {
            frames.feed(&std::mem::take(chunk), |header, body| {
                if let Some(pending) = queue.take(header.request) {
                    // Copied, because a slice would pin the packet it came in.
                    answered.push((pending.caller, Reply::new(&header, Bytes::copy_from_slice(body))));
                }
                Ok::<_, FrameError>(())
            })?;
        }
        Ok(())
    }

    fn request_id(&self, generation: u32, index: usize) -> RequestId {
        let index = u64::try_from(index).unwrap_or(u64::MAX) & 0xffff_ffff;
        RequestId::new(u64::from(self.index) << 56 | u64::from(generation) << 32 | index)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing is left half-done by a panic: every change under the lock is one insertion or removal.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// If its answer is late, and that is to be told: whom to tell, and where the answer comes from then on.
    fn turn_late(&mut self, now: Instant) -> Option<(Caller, Answer)> {
        self.patience.late.take_if(|late| *late <= now)?;
        let (sender, answer) = oneshot::channel();
        Some((std::mem::replace(&mut self.caller, Caller::One(sender)), answer))
    }
}

impl Queue {
    /// Whether there is room for one more.
    fn admit(&mut self) -> Result<(), NotQueued> {
        if let Some(reason) = &self.lost {
            return Err(NotQueued::Lost(Arc::clone(reason)));
        }
        if self.pending.len() >= limits::REQUESTS_IN_FLIGHT_MAX {
            // Requests that nobody waits for any more make room; a late reply to one of them finds nobody.
            self.pending.retain(|_, pending| !pending.caller.has_gone());
        }
        let is_full = self.pending.len() >= limits::REQUESTS_IN_FLIGHT_MAX || self.unsent.len() >= UNSENT_BYTES_MAX;
        if is_full { Err(NotQueued::Full) } else { Ok(()) }
    }

    fn flows_with(&self, requests: usize) -> bool {
        self.unsent.len() <= STUCK_BYTES && self.pending.len() + requests <= limits::REQUESTS_IN_FLIGHT_MAX
    }

    fn take(&mut self, request: RequestId) -> Option<Pending> {
        let (generation, index) = parts(request);
        let known = self.pending.get(index).is_some_and(|p| p.generation == generation);
        known.then(|| self.pending.remove(index))
    }
}

/// The lane that `request` belongs to.
pub(crate) fn lane_of(request: RequestId) -> usize {
    usize::from(request.value().to_be_bytes()[0])
}

/// Generation and slab index.
fn parts(request: RequestId) -> (u32, usize) {
    let [_, generation @ .., a, b, c, d] = request.value().to_be_bytes();
    let [g, h, i] = generation;
    (u32::from_be_bytes([0, g, h, i]), u32::from_be_bytes([a, b, c, d]) as usize)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quoit_proto_types::{
        Epoch, Fence,
        frame::{FrameType, HEADER_BYTES},
    };

    use super::*;

    fn header(kind: FrameType) -> FrameHeader {
        FrameHeader::new(kind, RequestId::default(), Fence::default(), Epoch::GENESIS)
    }

    fn outgoing(patience: Patience) -> Outgoing<'static> {
        Outgoing { request: Request::ViewGet, header: header(FrameType::ViewGet), patience }
    }

    /// Answers the one request that is queued.
    fn answer(lane: &Lane, queued: &BytesMut) {
        let sent = FrameHeader::decode(queued[..HEADER_BYTES].try_into().unwrap()).unwrap();
        lane.complete(sent.request, Ok(Reply::new(&header(FrameType::Miss), Bytes::new())));
    }

    #[tokio::test]
    async fn who_is_told_that_an_answer_is_late_gets_it_all_the_same() {
        let (lane, start) = (Lane::new(0), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        let patience = Patience { deadline: after(1000), late: Some(after(250)) };
        let mut started = lane.start(outgoing(patience)).unwrap();
        let queued = lane.lock().unsent.split();
        assert!(lane.sweep(after(249)) && started.answer.try_recv().is_err());
        assert!(lane.sweep(after(250)));
        let Ok(Err(Unanswered::Late(mut late))) = started.answer.await else { panic!("it is late") };
        // It is told once.
        assert!(lane.sweep(after(500)) && late.try_recv().is_err());
        answer(&lane, &queued);
        assert!(late.await.unwrap().is_ok());
        assert!(!lane.sweep(after(501)));
    }

    #[tokio::test]
    async fn many_are_queued_until_there_is_no_room_and_what_was_queued_is_answered() {
        let (lane, now) = (Lane::new(0), Instant::now());
        let patience = Patience::until(now + Duration::from_secs(1));
        let answers = Answers::default();
        let too_many = || std::iter::repeat_n(outgoing(patience), limits::REQUESTS_IN_FLIGHT_MAX + 5);
        assert!(
            lane.flows_with(limits::REQUESTS_IN_FLIGHT_MAX) && !lane.flows_with(limits::REQUESTS_IN_FLIGHT_MAX + 1)
        );
        let (first, why) = lane.start_all(too_many(), &answers);
        assert!(first && matches!(why, Some(NotQueued::Full)) && !lane.flows_with(1));
        // Nobody waits for them any more: they make room.
        drop(answers);
        let answers = Answers::default();
        let (first, why) = lane.start_all(too_many().take(3), &answers);
        assert!(!first && why.is_none());
        lane.fail(&"over".into());
        let outcomes = answers.all().await;
        assert!(matches!(outcomes[..], [Err(Unanswered::Lost(_)), Err(Unanswered::Lost(_)), Err(Unanswered::Lost(_))]));
        let (first, why) = lane.start_all(too_many(), &Answers::default());
        assert!(!first && matches!(why, Some(NotQueued::Lost(_))));
    }

    #[tokio::test]
    async fn a_late_answer_that_never_comes_is_given_up_at_the_deadline() {
        let (lane, start) = (Lane::new(0), Instant::now());
        let patience = Patience { deadline: start + Duration::from_millis(1000), late: Some(start) };
        let started = lane.start(outgoing(patience)).unwrap();
        assert!(lane.sweep(start));
        let Ok(Err(Unanswered::Late(late))) = started.answer.await else { panic!("it is late") };
        assert!(!lane.sweep(patience.deadline));
        assert!(matches!(late.await, Ok(Err(Unanswered::Timeout))));
    }
}
