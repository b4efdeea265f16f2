//! The connections with peers over which requests are sent to them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use quoit_client::{ErrorCode, Label};
use quoit_core::{
    replication::{ReplicaReply, ReplicaRequest},
    routing::Routing,
};
use quoit_proto_types::{
    Instance, Ordinal, RequestId,
    frame::{FrameHeader, FrameType},
    message::transfer::{EntryBlock, TransferRequest},
};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::lane::{self, Lane, NotSent, Queued, ReplyTo, deliver};
use crate::{
    shutdown::Tasks,
    transport::{
        peer_streams::{Gone, PeerStreams, Urgency},
        peers::{ConnectionId, PeerLink},
        session::WRITE_TIMEOUT,
    },
};

/// Lanes to a peer: a lost packet delays half of the sessions, and each lane still has many requests to send at once.
pub(super) const LANES: usize = 2;
/// Large values on their way to one peer. One more is refused: as many as a client may send.
const LARGE_AT_ONCE: usize = 256;

/// The peers that can be asked. Looking one up takes no lock. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Links(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The latest connection with each.
    latest: ArcSwap<BTreeMap<Label, Arc<Link>>>,
    /// All of them, the latest last.
    all: Mutex<BTreeMap<Label, Vec<Arc<Link>>>>,
    /// Owns what opens lanes, writes and reads them.
    tasks: Tasks,
}

/// One connection with a peer, as far as it is asked on it.
#[derive(Debug)]
pub(crate) struct Link {
    id: ConnectionId,
    /// Who is there. Another instance under the same name is another member: what it holds, it holds for itself.
    instance: Instance,
    lanes: [Lane; LANES],
    streams: PeerStreams,
    /// That of the connection.
    runtime: Handle,
    large: Arc<Semaphore>,
    tasks: Tasks,
}

impl Links {
    /// Nobody yet. `tasks` owns what the connections need.
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self(Arc::new(Shared { latest: ArcSwap::default(), all: Mutex::default(), tasks }))
    }

    /// Sends to `peer` over this connection from here on.
    pub(super) fn connected(&self, peer: Label, instance: Instance, link: &PeerLink) -> Arc<Link> {
        let link = Arc::new(Link::new(link, instance, self.0.tasks.clone()));
        self.change(|all| all.entry(peer).or_default().push(Arc::clone(&link)));
        link
    }

    /// Sends over this connection no more; what waits for a reply on it hears that there will be none.
    pub(super) fn disconnected(&self, peer: &Label, connection: ConnectionId) {
        let mut gone = Vec::new();
        self.change(|all| {
            if let Some(links) = all.get_mut(peer) {
                gone.extend(links.extract_if(.., |link| link.id == connection));
                if links.is_empty() {
                    all.remove(peer);
                }
            }
        });
        gone.iter().for_each(|link| link.fail());
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Label, Vec<Arc<Link>>>)) {
        // A panic cannot leave it half-changed: every change is one insertion or removal.
        let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        let latest = all.iter().filter_map(|(peer, links)| Some((peer.clone(), Arc::clone(links.last()?))));
        self.0.latest.store(Arc::new(latest.collect()));
    }

    /// Whether there is a connection with that member.
    pub(crate) fn reach(&self, routing: &Routing, peer: Ordinal) -> bool {
        find(&self.0.latest.load(), routing, peer).is_some()
    }

    /// Sends a request under the fence of `routing`, and has the reply delivered; on a lane that is the same for the same
    /// `hint`, which keeps together what is sent together.
    ///
    /// # Errors
    /// [`NotSent`].
    pub(crate) fn ask(
        &self,
        routing: &Routing,
        hint: u64,
        to: Ordinal,
        request: ReplicaRequest,
        reply_to: ReplyTo,
    ) -> Result<(), NotSent> {
        let latest = self.0.latest.load();
        let link = find(&latest, routing, to).ok_or(NotSent)?;
        link.ask(header_of(routing), hint, request, reply_to)
    }

    /// Sends `request` with `block` behind it, at low priority, and returns the header and the body of its answer. It may take
    /// as long as the connection lives. Cancel-safe.
    ///
    /// # Errors
    /// [`Gone`] if there is no connection, or it breaks.
    pub(crate) async fn transfer(
        &self,
        routing: &Routing,
        to: Ordinal,
        request: &TransferRequest,
        block: EntryBlock,
    ) -> Result<(FrameHeader, Bytes), Gone> {
        let link = find(&self.0.latest.load(), routing, to).cloned().ok_or(Gone)?;
        let mut head = BytesMut::new();
        let header = FrameHeader { kind: FrameType::Transfer, ..header_of(routing) };
        header.encode_with(&mut head, block.as_bytes().len(), |out| request.encode(out));
        link.streams.exchange(Urgency::Background, head.freeze(), block.into_bytes()).await
    }
}

/// The connection with the member `to`.
fn find<'l>(links: &'l BTreeMap<Label, Arc<Link>>, routing: &Routing, to: Ordinal) -> Option<&'l Arc<Link>> {
    let member = routing.view().member(to)?;
    links.get(&member.name).filter(|link| link.instance == member.instance)
}

fn header_of(routing: &Routing) -> FrameHeader {
    FrameHeader::new(FrameType::ReplicaGet, RequestId::new(0), routing.fence(), routing.epoch())
}

impl Link {
    fn new(link: &PeerLink, instance: Instance, tasks: Tasks) -> Self {
        let (streams, runtime) = (link.streams(), link.runtime.clone());
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        Self { id: link.id, instance, lanes: [Lane::new(0), Lane::new(1)], streams, runtime, large, tasks }
    }

    pub(super) fn streams(&self) -> &PeerStreams {
        &self.streams
    }

    fn ask(
        self: &Arc<Self>,
        header: FrameHeader,
        hint: u64,
        request: ReplicaRequest,
        reply_to: ReplyTo,
    ) -> Result<(), NotSent> {
        if lane::is_large(&request) {
            return self.ask_alone(header, request, reply_to);
        }
        let index = usize::from(!hint.is_multiple_of(LANES as u64));
        if self.lanes[index].push(header, &request, reply_to)? == Queued::First {
            self.tasks.spawn_on(&self.runtime, Arc::clone(self).run(index));
        }
        Ok(())
    }

    /// Sends a large value on a stream of its own, where it delays nobody.
    fn ask_alone(
        self: &Arc<Self>,
        header: FrameHeader,
        request: ReplicaRequest,
        reply_to: ReplyTo,
    ) -> Result<(), NotSent> {
        let Ok(permit) = Arc::clone(&self.large).try_acquire_owned() else {
            return Err(NotSent);
        };
        let (head, value) = lane::large_frame(request, header);
        let link = Arc::clone(self);
        let answer = Undelivered { reply_to: Some(reply_to), tasks: self.tasks.clone() };
        self.tasks.spawn(async move {
            let reply = timeout(WRITE_TIMEOUT, link.streams.exchange(Urgency::Request, head, value)).await;
            if let Ok(Ok((header, body))) = reply {
                let keep = |value: &[u8]| body.slice_ref(value);
                answer.deliver(lane::decode(header, &body, keep));
            }
            drop(permit);
        });
        Ok(())
    }

    /// Opens a lane, writes and reads it until it ends. A connection without all its lanes is of no use: it is closed, and a
    /// new one is dialled.
    async fn run(self: Arc<Self>, index: usize) {
        let lane = &self.lanes[index];
        let ended = Failing(&self);
        if let Ok((writer, mut reader)) = self.streams.open_lane().await {
            let mut answers = Vec::new();
            let reading = async {
                while let Some(arrived) = reader.more().await {
                    if let Err(error) = lane.collect(arrived, &mut answers) {
                        self.streams.close(ErrorCode::Protocol, &error.to_string());
                        return;
                    }
                    deliver(answers.drain(..));
                }
            };
            tokio::select! {
                () = reading => {}
                Gone = lane.write(writer) => {}
            }
        }
        drop(ended);
        self.streams.close(ErrorCode::Protocol, "a lane ended");
    }

    /// Takes a reply that came on a stream of its own.
    pub(super) fn answered(&self, header: FrameHeader, body: &Bytes) {
        let lane = self.lanes.get(lane::lane_of(header.request));
        if let Some(reply_to) = lane.and_then(|lane| lane.take(header.request)) {
            deliver([(reply_to, lane::decode(header, body, |value| body.slice_ref(value)))]);
        }
    }

    /// Tells everybody who waits that there will be no reply, and refuses whoever comes.
    pub(super) fn fail(&self) {
        let unanswered: Vec<ReplyTo> = self.lanes.iter().flat_map(Lane::fail).collect();
        if !is_stopping(&self.tasks) {
            deliver(unanswered.into_iter().map(|reply_to| (reply_to, ReplicaReply::Unreachable)));
        }
    }
}

/// Whether nobody needs to hear of anything any more. What is told then would begin new work, in tasks that are being dropped.
fn is_stopping(tasks: &Tasks) -> bool {
    tasks.stopping().is_cancelled()
}

/// Fails the link when the task ends, however it does.
struct Failing<'l>(&'l Link);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}

/// Says that there is no reply, unless one is delivered.
struct Undelivered {
    reply_to: Option<ReplyTo>,
    tasks: Tasks,
}

impl Undelivered {
    fn deliver(mut self, reply: ReplicaReply) {
        deliver(self.reply_to.take().map(|reply_to| (reply_to, reply)));
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        let reply_to = self.reply_to.take();
        if !is_stopping(&self.tasks) {
            deliver(reply_to.map(|reply_to| (reply_to, ReplicaReply::Unreachable)));
        }
    }
}
