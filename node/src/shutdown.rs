//! Owns what runs in the background, so that a stop ends and awaits all of it.

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Everything that runs, but for what the sessions own. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    stopping: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Runs `task` until it ends or the node stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            stopping.run_until_cancelled(task).await;
        })
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
