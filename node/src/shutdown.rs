//! Owns what runs in the background, so that a stop ends and awaits all of it.

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Everything that runs, but for what the sessions own. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    stopping: CancellationToken,
    tracker: TaskTracker,
    /// Where what has to do with connections runs; nothing for where it is started.
    home: Option<Handle>,
}

impl Tasks {
    /// What has to do with connections runs on `home`, if that is said.
    pub(crate) fn with_home(home: Option<Handle>) -> Self {
        Self { home, ..Self::default() }
    }

    /// Runs `task` until it ends or the node stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.spawn_on(&Handle::current(), task)
    }

    /// The same for one that has to do with connections.
    pub(crate) fn spawn_home(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.spawn_on(self.home.as_ref().unwrap_or(&Handle::current()), task)
    }

    /// The same, on `runtime`.
    pub(crate) fn spawn_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stopping = self.stopping.clone();
        let task = async move { stopping.run_until_cancelled(task).await.unwrap_or_default() };
        self.tracker.spawn_on(task, runtime)
    }

    /// Cancelled when the node stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Tells every task to end.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
    }

    /// Returns when every task has ended, after [`stop`](Self::stop). Cancel-safe.
    pub(crate) async fn ended(&self) {
        self.tracker.wait().await;
    }
}
