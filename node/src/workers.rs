//! Threads that carry out requests, each with a runtime of its own.
//!
//! A connection stays on the thread that it was given, with all that is done for it: its packets, its requests, its replies.
//! Nothing of that wakes another thread, as it would where threads take work from each other; to wake one takes longer than to
//! answer a request. (Thread per core, as Seastar has it, but that memory is shared.) Each thread reads a socket of its own, and
//! keeps the connections that come there. Only where they would be spread too unevenly some are given to another, and their
//! packets handed on; and where there is one socket for all, which the first thread reads. Membership, transfers and repair go on
//! elsewhere, on the runtime that started the node.

use std::{
    future::Future,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, available_parallelism},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread keeps another connection that comes to its socket while it has at most so many times as many as the one with the fewest.
/// Few of them are spread by chance, and some threads would have none; that packets are handed on costs less than that.
const UNEVEN_MAX: usize = 2;

/// The threads, or none, for a node that does everything on the runtime that it is started on. Clones share them; they end
/// with the last one, and what runs on them is dropped then.
#[derive(Clone, Debug, Default)]
pub struct Workers(Option<Arc<Pool>>);

#[derive(Debug)]
struct Pool {
    threads: Vec<Worker>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Connections on it. Relaxed: it is a measure.
    connections: AtomicUsize,
}

/// Counts a connection while it lives.
struct Seat {
    pool: Arc<Pool>,
    index: usize,
}

impl Pool {
    /// The thread for another connection.
    fn place(&self, reader: Option<usize>) -> usize {
        let counts = || self.threads.iter().map(|worker| worker.connections.load(Ordering::Relaxed));
        let (emptiest, fewest) = counts().enumerate().min_by_key(|(_, count)| *count).unwrap_or_default();
        let has_room = |index: &usize| counts().nth(*index).is_some_and(|count| count <= fewest * UNEVEN_MAX);
        reader.filter(has_room).unwrap_or(emptiest)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.threads[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        // Those that were started end again if one cannot be.
        let guard = stop.clone().drop_guard();
        let threads = (0..count.get()).map(|index| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let worker = Worker { runtime: runtime.handle().clone(), connections: AtomicUsize::default() };
            run(index, runtime, stop.clone())?;
            Ok(worker)
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self(Some(Arc::new(Pool { threads, _stop: guard }))))
    }

    /// How many there are by default: one for each CPU but one, which is left to the network's part of the kernel, and to
    /// everything that is no request.
    pub fn default_count() -> NonZeroUsize {
        let cpus = available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(cpus - 1).unwrap_or(NonZeroUsize::MIN)
    }

    /// A runtime for everything that is no request: membership on one thread while the other is at work at length.
    ///
    /// # Errors
    /// What the system says.
    pub fn runtime_beside() -> io::Result<Runtime> {
        Builder::new_multi_thread().worker_threads(2).enable_all().build()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |pool| pool.threads.len())
    }

    /// Does something that takes a socket over, or starts a task, in the name of a thread, if there is one of this number.
    pub(crate) fn on<T>(&self, index: usize, act: impl FnOnce() -> T) -> T {
        let _entered = self.runtime(index).map(Handle::enter);
        act()
    }

    /// The runtime of a thread.
    pub(crate) fn runtime(&self, index: usize) -> Option<&Handle> {
        Some(&self.0.as_ref()?.threads.get(index)?.runtime)
    }

    /// Runs what serves a connection on the thread that has the fewest; on the one that reads its packets, if that is said and the
    /// thread has not many more.
    pub(crate) fn spawn_connection(
        &self,
        reader: Option<usize>,
        owner: &mut JoinSet<()>,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        let Some(pool) = &self.0 else {
            owner.spawn(serving);
            return;
        };
        let index = pool.place(reader);
        let worker = &pool.threads[index];
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let seat = Seat { pool: Arc::clone(pool), index };
        let seated = async move {
            let _seat = seat;
            serving.await;
        };
        owner.spawn_on(seated, &worker.runtime);
    }
}

/// Has a thread of its own drive `runtime` until it is to stop.
fn run(index: usize, runtime: Runtime, stop: CancellationToken) -> io::Result<()> {
    let serve = move || {
        runtime.block_on(stop.cancelled());
        // What still blocks a thread of the runtime's own, such as a look-up of a name, is left to itself.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(format!("quoit-{index}")).spawn(serve).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use tokio::{sync::mpsc, time::timeout};

    use super::*;

    /// Longer than anything takes that works at all.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn connections_are_spread_evenly_and_those_that_end_make_room() {
        let workers = Workers::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let mut owner = JoinSet::new();
        let (sender, mut receiver) = mpsc::channel(9);
        let hold = CancellationToken::new();
        let begin = |owner: &mut JoinSet<()>| {
            let (sender, hold) = (sender.clone(), hold.clone());
            workers.spawn_connection(None, owner, async move {
                sender.send(thread::current().name().map(str::to_owned)).await.unwrap();
                hold.cancelled().await;
            });
        };
        (0..9).for_each(|_| begin(&mut owner));
        let mut threads = BTreeMap::<_, usize>::new();
        for _ in 0..9 {
            *threads.entry(timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap()).or_default() += 1;
        }
        let expected = ["quoit-0", "quoit-1", "quoit-2"].map(|name| (Some(name.to_owned()), 3));
        assert_eq!(threads, BTreeMap::from(expected));
        hold.cancel();
        while timeout(PATIENCE, owner.join_next()).await.unwrap().is_some() {}
        let pool = workers.0.as_ref().unwrap();
        assert!(pool.threads.iter().all(|worker| worker.connections.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_thread_keeps_what_comes_to_its_socket_unless_others_have_much_less() {
        let workers = Workers::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let pool = workers.0.as_ref().unwrap();
        let mut placed = [0; 3];
        let mut place = |count| {
            for _ in 0..count {
                let index = pool.place(Some(1));
                pool.threads[index].connections.fetch_add(1, Ordering::Relaxed);
                placed[index] += 1;
            }
            placed
        };
        assert_eq!((place(3), place(21)), ([1, 1, 1], [6, 12, 6]));
        assert_eq!((pool.place(None), pool.place(Some(2)), pool.place(Some(9))), (0, 2, 0));
    }

    #[tokio::test]
    async fn what_runs_on_them_ends_with_them() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let (sender, mut receiver) = mpsc::channel::<()>(1);
        workers.on(0, || {
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(sender);
            })
        });
        drop(workers);
        assert_eq!(timeout(PATIENCE, receiver.recv()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn without_them_everything_runs_where_it_is_started() {
        let (workers, here) = (Workers::default(), thread::current().id());
        assert_eq!((workers.count(), workers.on(0, || thread::current().id())), (0, here));
        let mut owner = JoinSet::new();
        workers.spawn_connection(None, &mut owner, async move { assert_eq!(thread::current().id(), here) });
        owner.join_next().await.unwrap().unwrap();
    }
}
