//! A lane: one long-lived bidirectional stream that carries many small requests at once.
//!
//! Callers append their frames to one buffer; the writer task hands whatever has gathered to QUIC in one piece; the
//! reader task answers every caller whose reply stands in a batch under one lock. So the cost of a wake-up, a packet and
//! a system call is shared by all requests that happen to be under way: this is where the throughput comes from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use quoit_proto_types::{
    RequestId, codec,
    frame::{FrameError, FrameHeader},
    frame_reader::FrameReader,
    limits,
};
use slab::Slab;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::gathering::{Answers, Gathering, TOGETHER_MAX};
use crate::request::{Reply, Request};

/// Unsent bytes a lane gathers before it refuses more; what is sent together may go beyond it. They pile up only if the node does
/// not read.
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
    pub(crate) request: &'r Request<'r>,
    /// Lacks only its id.
    pub(crate) header: FrameHeader,
    pub(crate) patience: Patience,
}

/// Requests of one caller that are to be sent together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutgoingMany {
    /// How many they are.
    pub(crate) requests: usize,
    /// That of each, which lacks only its id.
    pub(crate) header: FrameHeader,
    pub(crate) patience: Patience,
    /// Whether each says that the next one is of the same caller.
    pub(crate) tied: bool,
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
    /// As much was taken from there last, and is likely to be again.
    usual_bytes: usize,
    pending: Slab<Pending>,
    /// Requests that wait for their answers.
    under_way: usize,
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

/// Where the outcomes of requests are told.
#[derive(Debug)]
enum Caller {
    /// Of one.
    One(oneshot::Sender<Outcome>),
    /// Of many, which take one entry.
    Many(Box<Gathering>),
}

/// What somebody is to be told, once the lane is free.
#[derive(Debug)]
enum Told {
    One(oneshot::Sender<Outcome>, Outcome),
    Many(Box<Gathering>),
}

impl Told {
    fn tell(self) {
        match self {
            // The caller may have gone: then nobody wants it.
            Self::One(sender, outcome) => drop(sender.send(outcome)),
            Self::Many(gathering) => gathering.tell(),
        }
    }
}

impl Caller {
    fn has_gone(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Many(gathering) => gathering.is_given_up(),
        }
    }

    /// Requests that wait for their answers.
    fn under_way(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(gathering) => gathering.missing(),
        }
    }

    /// Ends every request that waits like this.
    fn end(self, outcome: impl Fn() -> Outcome) -> Told {
        match self {
            Self::One(sender) => Told::One(sender, outcome()),
            Self::Many(mut gathering) => {
                gathering.put_rest(outcome);
                Told::Many(gathering)
            }
        }
    }
}

impl Lane {
    pub(crate) fn new(index: u8) -> Self {
        let unsent = BytesMut::new();
        let queue = Queue { unsent, usual_bytes: 0, pending: Slab::new(), under_way: 0, generation: 0, lost: None };
        Self { index, queue: Mutex::new(queue), filled: Notify::new() }
    }

    /// Queues a small request.
    pub(crate) fn start(&self, outgoing: Outgoing<'_>) -> Result<Started, NotQueued> {
        self.start_locked(self.lock(), outgoing)
    }

    /// Queues small requests, no more than go [together](super::gathering::TOGETHER_MAX), as far as there is room; `write` writes
    /// each by its place. Says why the next one is refused, if there is one, and whether no other was under way before.
    pub(crate) fn start_all(
        &self,
        OutgoingMany { requests, header, patience, tied }: OutgoingMany,
        mut write: impl FnMut(usize, FrameHeader, &mut BytesMut),
    ) -> (Answers, bool, Option<NotQueued>) {
        let mut queue = self.lock();
        // Before anything is sent: what leaves may be what the next entry would have been.
        queue.make_room(requests);
        let (was_unsent, was_busy) = (!queue.unsent.is_empty(), queue.under_way > 0);
        let room = match queue.room() {
            Ok(room) => room.min(TOGETHER_MAX),
            Err(why) => return (Answers::none(), false, Some(why)),
        };
        let (sent, why) = if requests > room { (room, Some(NotQueued::Full)) } else { (requests, None) };
        if sent == 0 {
            return (Answers::none(), false, why);
        }
        let (gathering, answers) = Gathering::of(sent);
        let generation = queue.next_generation();
        let caller = Caller::Many(Box::new(gathering));
        let index = queue.pending.insert(Pending { generation, patience, caller });
        queue.begin_frames(sent);
        for (place, byte) in (0..sent).zip(0..) {
            let (request, more) = (self.request_id(generation, byte, index), tied && place + 1 < sent);
            write(place, FrameHeader { request, more, ..header }, &mut queue.unsent);
        }
        drop(queue);
        if !was_unsent {
            self.filled.notify_one();
        }
        (answers, !was_busy, why)
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
        queue.make_room(1);
        queue.room()?;
        let (sender, answer) = oneshot::channel();
        let was_empty = queue.unsent.is_empty();
        let generation = queue.next_generation();
        let pending = Pending { generation, patience: outgoing.patience, caller: Caller::One(sender) };
        let index = queue.pending.insert(pending);
        queue.begin_frames(1);
        let header = FrameHeader { request: self.request_id(generation, 0, index), ..outgoing.header };
        outgoing.request.encode(header, &mut queue.unsent);
        let first = queue.under_way == 1;
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(Started { answer, first })
    }

    /// Answers the caller of `request`, if it still waits. For replies that come on a stream of their own.
    pub(crate) fn complete(&self, request: RequestId, outcome: Result<Reply, Unanswered>) {
        let told = self.lock().answer(request, || outcome);
        if let Some(told) = told {
            told.tell();
        }
    }

    /// Until when somebody waits for `request`; `None` if nobody does.
    pub(crate) fn awaited_until(&self, request: RequestId) -> Option<Instant> {
        let queue = self.lock();
        let (generation, place, index) = parts(request);
        let pending = queue.pending.get(index).filter(|pending| pending.generation == generation)?;
        let is_awaited = match &pending.caller {
            Caller::One(_) => true,
            Caller::Many(gathering) => gathering.lacks(place),
        };
        (is_awaited && !pending.caller.has_gone()).then_some(pending.patience.deadline)
    }

    /// Gives up every request whose deadline has passed, and tells callers who want to know of answers that are late; says
    /// whether any is left.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let mut queue = self.lock();
        let due: Vec<usize> =
            queue.pending.iter().filter(|(_, p)| p.patience.deadline <= now).map(|(i, _)| i).collect();
        let given_up: Vec<Caller> = due.into_iter().map(|index| queue.remove(index)).collect();
        let late: Vec<Told> = queue.pending.iter_mut().filter_map(|(_, pending)| pending.turn_late(now)).collect();
        let busy = queue.under_way > 0;
        drop(queue);
        given_up.into_iter().for_each(|caller| caller.end(|| Err(Unanswered::Timeout)).tell());
        late.into_iter().for_each(Told::tell);
        busy
    }

    /// Whether anything is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.lock().under_way > 0
    }

    /// Fails every request under way, and every later one.
    pub(crate) fn fail(&self, reason: &Arc<str>) {
        let mut queue = self.lock();
        queue.lost.get_or_insert_with(|| Arc::clone(reason));
        let pending = std::mem::take(&mut queue.pending);
        queue.under_way = 0;
        drop(queue);
        for (_, pending) in pending {
            pending.caller.end(|| Err(Unanswered::Lost(Arc::clone(reason)))).tell();
        }
    }

    /// Hands queued frames to QUIC until the stream fails.
    pub(crate) async fn write(&self, mut stream: SendStream) {
        loop {
            self.filled.notified().await;
            let unsent = self.lock().take_unsent();
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
            answered.drain(..).for_each(Told::tell);
        }
        Ok(())
    }

    /// Pairs the replies in `chunks` with their requests, under one lock.
    fn collect(
        &self,
        frames: &mut FrameReader,
        chunks: &mut [Bytes],
        answered: &mut Vec<Told>,
    ) -> Result<(), FrameError> {
        let mut queue = self.lock();
        for chunk in chunks {
            frames.feed(&std::mem::take(chunk), |header, body| {
                // Copied, because a slice would pin the packet it came in.
                let reply = || Ok(Reply::new(&header, Bytes::copy_from_slice(body)));
                answered.extend(queue.answer(header.request, reply));
                Ok::<_, FrameError>(())
            })?;
        }
        Ok(())
    }

    fn request_id(&self, generation: u32, place: u8, index: usize) -> RequestId {
        let index = u64::try_from(index).unwrap_or(u64::MAX) & 0x00ff_ffff;
        let entry = u64::from(place) << 24 | index;
        RequestId::new(u64::from(self.index) << 56 | u64::from(generation) << 32 | entry)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic leaves at worst requests behind that nobody waits for, and a cut frame, for which the node closes the
        // connection.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// If what is missing is late, and that is to be told: says so, and where it comes from then on.
    fn turn_late(&mut self, now: Instant) -> Option<Told> {
        self.patience.late.take_if(|late| *late <= now)?;
        match &mut self.caller {
            Caller::One(sender) => {
                let (later, answer) = oneshot::channel();
                Some(Told::One(std::mem::replace(sender, later), Err(Unanswered::Late(answer))))
            }
            Caller::Many(gathering) => {
                gathering.turn_late();
                None
            }
        }
    }
}

impl Queue {
    /// Has requests that nobody waits for any more make room for so many, if there is none. A late reply to one of them finds
    /// nobody.
    fn make_room(&mut self, requests: usize) {
        if self.under_way + requests <= limits::REQUESTS_IN_FLIGHT_MAX {
            return;
        }
        let mut gone = Vec::new();
        for (index, pending) in &mut self.pending {
            if pending.caller.has_gone() {
                gone.push(index);
            } else if let Caller::Many(gathering) = &mut pending.caller {
                self.under_way -= gathering.forget_given_up();
            }
        }
        gone.into_iter().for_each(|index| drop(self.remove(index)));
    }

    /// For how many more there is room; not for none.
    fn room(&self) -> Result<usize, NotQueued> {
        if let Some(reason) = &self.lost {
            return Err(NotQueued::Lost(Arc::clone(reason)));
        }
        let room = limits::REQUESTS_IN_FLIGHT_MAX.saturating_sub(self.under_way);
        let is_full = room == 0 || self.unsent.len() >= UNSENT_BYTES_MAX;
        if is_full { Err(NotQueued::Full) } else { Ok(room) }
    }

    fn flows_with(&self, requests: usize) -> bool {
        self.unsent.len() <= STUCK_BYTES && self.under_way + requests <= limits::REQUESTS_IN_FLIGHT_MAX
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1) & 0x00ff_ffff;
        self.generation
    }

    /// The frames of so many requests, for which there is room, are about to be written.
    fn begin_frames(&mut self, requests: usize) {
        self.under_way += requests;
        if self.unsent.is_empty() {
            codec::reserve(&mut self.unsent, self.usual_bytes);
        }
    }

    fn take_unsent(&mut self) -> Bytes {
        if !self.unsent.is_empty() {
            self.usual_bytes = self.unsent.len();
        }
        self.unsent.split().freeze()
    }

    fn remove(&mut self, index: usize) -> Caller {
        let caller = self.pending.remove(index).caller;
        self.under_way -= caller.under_way();
        caller
    }

    /// Takes the answer to `request` in, if somebody still waits for it; returns what is complete with that.
    fn answer(&mut self, request: RequestId, outcome: impl FnOnce() -> Outcome) -> Option<Told> {
        let (generation, place, index) = parts(request);
        let pending = self.pending.get_mut(index).filter(|pending| pending.generation == generation)?;
        match &mut pending.caller {
            Caller::One(_) => {}
            Caller::Many(gathering) if gathering.lacks(place) => {
                gathering.put(place, outcome());
                self.under_way -= 1;
                return (gathering.missing() == 0).then(|| self.remove(index).end(|| Err(Unanswered::Timeout)));
            }
            Caller::Many(_) => return None,
        }
        let outcome = outcome();
        match self.remove(index) {
            Caller::One(sender) => Some(Told::One(sender, outcome)),
            Caller::Many(gathering) => Some(Told::Many(gathering)),
        }
    }
}

/// The lane that `request` belongs to.
pub(crate) fn lane_of(request: RequestId) -> usize {
    usize::from(request.value().to_be_bytes()[0])
}

/// Generation, place among many and slab index.
fn parts(request: RequestId) -> (u32, u8, usize) {
    let [_, g, h, i, place, a, b, c] = request.value().to_be_bytes();
    (u32::from_be_bytes([0, g, h, i]), place, u32::from_be_bytes([0, a, b, c]) as usize)
}

#[cfg(test)]
mod tests;
