//! The task that owns what a node does with its data in the background: handoff, hints, repair, collection.
//!
//! It executes what the machine wants done, and answers what other nodes ask. Others talk to it through an [`UpkeepHandle`].

use std::{
    collections::VecDeque,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quoit_core::{
    routing::Routing,
    time::{Timestamp, Wall},
    upkeep::{ExchangeId, Output, Progress, Upkeep},
};
use quoit_proto_types::{
    Fence, Ordinal, SlotSet,
    message::transfer::{EntryBlock, TransferReply, TransferRequest},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Notify, mpsc, oneshot},
    task::{JoinSet, block_in_place},
    time::{sleep_until, timeout},
};

use super::{
    DataPlane,
    giving::Giving,
    lateness::{Lateness, Watch},
    transfer,
};
use crate::{
    clock::{Clock, Reading},
    store::Store,
};

pub(crate) use super::giving::GivingProgress;

/// Views that may wait for the task. Those between would be skipped, which the machine takes like views that were missed.
const VIEWS_WAITING_MAX: usize = 64;
/// Questions of other nodes that may wait, each with up to a page of entries; one more is told to ask again later.
const SERVED_WAITING_MAX: usize = 32;
/// Requests of administrators that may wait.
const CONTROLS_WAITING_MAX: usize = 16;
/// News for the driver that may wait. It reads them as fast as it reads anything.
const NEWS_WAITING_MAX: usize = 64;
/// How long an administrator waits for the task.
const CONTROL_WITHIN: Duration = Duration::from_secs(2);

/// What the driver is to know.
#[derive(Debug)]
pub(crate) enum UpkeepNews {
    /// So many slots are missing here of those that this process is to own.
    Synced { fence: Fence, left: usize },
    /// These slots, which this process does not own under that fence, may be removed.
    Drop { fence: Fence, slots: SlotSet },
}

/// How the background work stands.
#[derive(Clone, Debug)]
pub(crate) struct UpkeepReport {
    pub(crate) progress: Progress,
    /// What others fetch here.
    pub(crate) giving: Option<GivingProgress>,
    /// The view that it goes by.
    pub(crate) routing: Option<Arc<Routing>>,
}

/// Talks to the task. Clones talk to the same one.
#[derive(Clone, Debug)]
pub(crate) struct UpkeepHandle {
    views: Arc<Views>,
    served: mpsc::Sender<Served>,
    controls: mpsc::Sender<(Control, oneshot::Sender<UpkeepReport>)>,
}

/// Views that wait for the task, the latest last.
#[derive(Debug, Default)]
struct Views {
    waiting: Mutex<VecDeque<Arc<Routing>>>,
    came: Notify,
}

/// A question of another node.
#[derive(Debug)]
struct Served {
    from: Option<Ordinal>,
    fence: Fence,
    request: TransferRequest,
    block: EntryBlock,
    answer: oneshot::Sender<(TransferReply, EntryBlock)>,
}

/// What an administrator wants.
#[derive(Clone, Copy, Debug)]
enum Control {
    Report,
    Pace(Option<NonZeroU64>),
    Pause,
    Resume,
}

/// The task.
#[derive(Debug)]
pub(crate) struct UpkeepTask {
    clock: Clock,
    store: Arc<Store>,
    machine: Upkeep,
    news: mpsc::Sender<UpkeepNews>,
    views: Arc<Views>,
    served: mpsc::Receiver<Served>,
    controls: mpsc::Receiver<(Control, oneshot::Sender<UpkeepReport>)>,
    routing: Option<Arc<Routing>>,
    giving: Option<Giving>,
    lateness: Lateness,
    /// Taken when the task runs.
    watch: Option<Watch>,
    /// Questions and writes that are under way. The machine bounds how many it has open, each ends within a limit.
    under_way: JoinSet<(ExchangeId, Outcome)>,
}

/// What became of something that the machine wanted done.
#[derive(Debug)]
enum Outcome {
    Answered(Option<(TransferReply, EntryBlock)>),
    Put { stored: bool },
}

impl UpkeepHandle {
    /// Makes the task, not yet running, what it is talked to with, and where it tells its news.
    pub(crate) fn new(
        clock: Clock,
        store: Arc<Store>,
        machine: Upkeep,
    ) -> (Self, UpkeepTask, mpsc::Receiver<UpkeepNews>) {
        let (served_sender, served) = mpsc::channel(SERVED_WAITING_MAX);
        let (control_sender, controls) = mpsc::channel(CONTROLS_WAITING_MAX);
        let (news, news_receiver) = mpsc::channel(NEWS_WAITING_MAX);
        let views = Arc::<Views>::default();
        let handle = Self { views: Arc::clone(&views), served: served_sender, controls: control_sender };
        let under_way = JoinSet::new();
        let (lateness, watch) = Lateness::new();
        let task = UpkeepTask {
            clock,
            store,
            machine,
            news,
            views,
            served,
            controls,
            routing: None,
            giving: None,
            lateness,
            watch: Some(watch),
            under_way,
        };
        (handle, task, news_receiver)
    }

    /// Tells of a view that is in force from here on. Never waits.
    pub(crate) fn install(&self, routing: Arc<Routing>) {
        let mut waiting = self.views.lock();
        if waiting.len() == VIEWS_WAITING_MAX {
            waiting.pop_back();
        }
        waiting.push_back(routing);
        drop(waiting);
        self.views.came.notify_one();
    }

    /// Answers what `from`, or one that is no member any more, asked under `fence`; at once, and that it must ask again, if too many wait. Cancel-safe: an answer
    /// that nobody waits for changes nothing.
    pub(crate) async fn answer(
        &self,
        from: Option<Ordinal>,
        fence: Fence,
        request: TransferRequest,
        block: EntryBlock,
    ) -> (TransferReply, EntryBlock) {
        let not_now = || (TransferReply::NotNow, EntryBlock::default());
        let (sender, answer) = oneshot::channel();
        match self.served.try_send(Served { from, fence, request, block, answer: sender }) {
            Ok(()) => answer.await.unwrap_or_else(|_| not_now()),
            Err(_) => not_now(),
        }
    }

    /// How the background work stands; `None` if the task does not answer.
    pub(crate) async fn report(&self) -> Option<UpkeepReport> {
        self.control(Control::Report).await
    }

    /// Fetches so many bytes per second from now on, or as many as there are; says how it stands then.
    pub(crate) async fn set_pace(&self, pace: Option<NonZeroU64>) -> Option<UpkeepReport> {
        self.control(Control::Pace(pace)).await
    }

    /// Fetches nothing from now on; says how it stands then.
    pub(crate) async fn pause(&self) -> Option<UpkeepReport> {
        self.control(Control::Pause).await
    }

    /// Fetches again; says how it stands then.
    pub(crate) async fn resume(&self) -> Option<UpkeepReport> {
        self.control(Control::Resume).await
    }

    async fn control(&self, control: Control) -> Option<UpkeepReport> {
        let (sender, answer) = oneshot::channel();
        let asking = async {
            self.controls.send((control, sender)).await.ok()?;
            answer.await.ok()
        };
        timeout(CONTROL_WITHIN, asking).await.ok().flatten()
    }
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Routing>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one. Cancel-safe.
    async fn next(&self) -> Arc<Routing> {
        loop {
            if let Some(next) = self.lock().pop_front() {
                return next;
            }
            // Somebody who came in between has left a permit.
            self.came.notified().await;
        }
    }
}

impl UpkeepTask {
    /// Runs until everybody who could talk to it is gone. What it asks of others goes over `plane`.
    pub(crate) async fn run(mut self, plane: Arc<DataPlane>) {
        if let Some(watch) = self.watch.take() {
            // Where requests are carried out: it is about what keeps them waiting.
            plane.tasks.spawn_home(watch.run(Arc::clone(&plane)));
        }
        loop {
            let may_answer = self.machine.may_answer(self.clock.now());
            let timer = self.machine.poll_timeout();
            // Not biased but for the view, as each of the others can come without end: a node that both takes and gives must
            // get on with either.
            let view = self.views.lock().pop_front();
            if let Some(view) = view {
                self.install(view);
                self.execute(&plane).await;
                continue;
            }
            tokio::select! {
                view = self.views.next() => self.install(view),
                Some(done) = self.under_way.join_next(), if !self.under_way.is_empty() => {
                    // One that panicked is logged; its deadline passes like that of any that is lost.
                    if let Ok((id, outcome)) = done {
                        self.done(id, outcome);
                    }
                }
                () = sleep_until(self.clock.instant(timer.unwrap_or_default())), if timer.is_some() => {
                    self.at_length(|machine, store, now, wall| machine.handle_timeout(now, wall, store));
                }
                Some(wakeup) = self.lateness.wakeups.recv() => {
                    let Reading { now, wall } = self.clock.read();
                    self.machine.observe(now, wall, &self.store, wakeup);
                }
                served = self.served.recv(), if may_answer => match served {
                    Some(served) => self.serve(served),
                    None => return,
                },
                Some((control, answer)) = self.controls.recv() => self.control(control, answer),
            }
            self.execute(&plane).await;
        }
    }

    fn install(&mut self, routing: Arc<Routing>) {
        let Reading { now, wall } = self.clock.read();
        if self.routing.as_ref().is_none_or(|before| before.fence() != routing.fence()) {
            self.giving = Giving::of(now, &routing);
        }
        self.lateness.set_brisk(routing.target().is_some());
        self.machine.install(now, wall, &routing, &self.store);
        self.routing = Some(routing);
    }

    fn done(&mut self, id: ExchangeId, outcome: Outcome) {
        self.at_length(|machine, store, now, wall| match outcome {
            Outcome::Answered(answer) => machine.handle_reply(now, wall, store, id, answer),
            Outcome::Put { stored } => machine.handle_put_reply(now, wall, store, id, stored),
        });
    }

    /// Has the machine do what may take long: the thread's other tasks, membership among them, go elsewhere meanwhile, where there
    /// are others, and somebody to hear of. To send them away costs a change of threads, a good part of what a page does.
    fn at_length<R>(&mut self, work: impl FnOnce(&mut Upkeep, &Store, Timestamp, Wall) -> R) -> R {
        let Reading { now, wall } = self.clock.read();
        let has_others =
            self.machine.has_company() && matches!(Handle::current().runtime_flavor(), RuntimeFlavor::MultiThread);
        let (machine, store) = (&mut self.machine, &self.store);
        let work = || work(machine, store, now, wall);
        let done = if has_others { block_in_place(work) } else { work() };
        self.machine.worked(self.clock.now().checked_duration_since(now).unwrap_or_default());
        done
    }

    fn serve(&mut self, served: Served) {
        let Served { from, fence, request, block, answer } = served;
        if answer.is_closed() {
            // Who asked has given up, and will ask again.
            return;
        }
        let (reply, entries) =
            self.at_length(|machine, store, now, wall| machine.answer(now, wall, store, from, fence, &request, &block));
        let now = self.clock.now();
        if let (Some(giving), Some(from)) = (&mut self.giving, from) {
            giving.note(now, from, &request, &reply, entries.as_bytes().len());
        }
        // Who asked may have given up meanwhile.
        let _ = answer.send((reply, entries));
    }

    fn control(&mut self, control: Control, answer: oneshot::Sender<UpkeepReport>) {
        let Reading { now, wall } = self.clock.read();
        match control {
            Control::Report => {}
            Control::Pace(pace) => self.machine.set_pace(now, wall, &self.store, pace),
            Control::Pause => self.machine.pause(),
            Control::Resume => self.machine.resume(now, wall, &self.store),
        }
        let giving = self.giving.as_ref().map(|giving| giving.progress(now));
        let report = UpkeepReport { progress: self.machine.progress(now), giving, routing: self.routing.clone() };
        let _ = answer.send(report);
    }

    async fn execute(&mut self, plane: &Arc<DataPlane>) {
        while let Some(output) = self.machine.poll_output() {
            let Some(routing) = &self.routing else { continue };
            let fence = routing.fence();
            match output {
                Output::Ask { id, to, request, block } => {
                    let asking = transfer::ask(Arc::clone(plane), Arc::clone(routing), to, request, block);
                    self.under_way.spawn(async move { (id, Outcome::Answered(asking.await)) });
                }
                Output::Put { id, to, stamp, record } => {
                    let putting = transfer::put(Arc::clone(plane), Arc::clone(routing), to, stamp, record);
                    self.under_way.spawn(async move { (id, Outcome::Put { stored: putting.await }) });
                }
                // A driver that has ended needs to hear no more.
                Output::Synced { fence, left } => drop(self.news.send(UpkeepNews::Synced { fence, left }).await),
                Output::Drop { slots } => drop(self.news.send(UpkeepNews::Drop { fence, slots }).await),
            }
        }
    }
}
