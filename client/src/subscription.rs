//! The one node that tells this client of new views, and when another takes its place.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use quoit_proto_types::frame::FrameType;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::{
    connection::Connection,
    core::Core,
    discovery,
    pool::Node,
    request::Reply,
    topology::NoView,
    views::{Fetched, VIEW_TIMEOUT},
};

/// A connection is looked at this often for signs of life, and given up after so many looks in a row without. The transport
/// asks for a sign every five seconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(4);
const SILENT_LOOKS_MAX: u32 = 3;
/// Views in a row that other nodes had to be asked for, because the chosen one did not push them in time, before another is
/// chosen: it may be cut off from the cluster while its clients still reach it.
const UNPUSHED_MAX: u32 = 2;
/// Longest pause before another node is chosen. Each client draws its own: a node that stops has many.
const CHANGE_PAUSE: Duration = Duration::from_millis(300);
/// The same after a node that served for less than [`STABLE_AFTER`].
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// A node that told of views for this long was a good choice.
const STABLE_AFTER: Duration = Duration::from_secs(5);

impl Core {
    /// Has one connected node after the other tell of new views. Runs until the client is closed.
    pub(crate) async fn follow_views(&self) {
        // Weak: a node that is no member any more must not be held on to.
        let mut last = Weak::new();
        while let Some((node, connection)) = self.any_connected(&last).await {
            let began = Instant::now();
            let reason = self.follow(&node, &connection).await;
            debug!(node = node.label, ?reason, "another node is to tell of new views");
            last = Arc::downgrade(&node);
            drop((node, connection));
            sleep(reason.pause(began.elapsed()).mul_f64(self.draw())).await;
        }
    }

    /// Installs what `node` pushes, until another node should be asked to.
    async fn follow(&self, node: &Arc<Node>, connection: &Connection) -> Change {
        if self.may_be_of_a_new_cluster(connection) {
            let topology = self.topology();
            match discovery::fetch(connection, Some(&topology), Instant::now() + VIEW_TIMEOUT).await {
                Ok(view) => drop(self.take(view, None).await),
                Err(discovery::NotFetched::NotLater) => {}
                Err(_) => return Change::Refused,
            }
        }
        let begun = timeout(VIEW_TIMEOUT, connection.subscribe(self.topology().epoch())).await;
        let Ok(Some(mut subscription)) = begun else {
            return Change::Lost;
        };
        let (mut received, mut silent, mut unpushed) = (connection.received(), 0, 0);
        loop {
            let mut change = None;
            tokio::select! {
                biased;
                pushed = subscription.pushed() => {
                    let Some(pushed) = pushed else {
                        return Change::Lost;
                    };
                    if pushed.kind == FrameType::Refusal {
                        return Change::Refused;
                    }
                    self.install_pushed(&pushed, connection).await;
                    unpushed = 0;
                }
                () = node.stopped() => change = Some(Change::Gone),
                // If it is dead, the view that says so comes from others, and soon.
                () = connection.silent() => change = Some(Change::Silent),
                () = self.unpushed.notified() => unpushed += 1,
                () = sleep(LOOK_INTERVAL) => {
                    let latest = connection.received();
                    silent = if latest == received { silent + 1 } else { 0 };
                    received = latest;
                }
            }
            if silent >= SILENT_LOOKS_MAX {
                connection.give_up();
                return Change::Silent;
            }
            if let Some(change) = change.or((unpushed >= UNPUSHED_MAX).then_some(Change::Behind)) {
                // A node that takes no more frames has nothing to push either.
                let _ = timeout(VIEW_TIMEOUT, subscription.end()).await;
                return change;
            }
        }
    }

    /// A node that had an earlier view when it was connected to, later than this view was installed, is a little behind, or
    /// of a cluster started anew.
    fn may_be_of_a_new_cluster(&self, connection: &Connection) -> bool {
        let topology = self.topology();
        connection.ack().epoch < topology.epoch() && connection.opened() > topology.installed
    }

    async fn install_pushed(&self, pushed: &Reply, connection: &Connection) {
        let view = match self.topology().read(pushed.kind, &pushed.body) {
            Ok(view) => view,
            Err(NoView::Old) => return,
            Err(NoView::OtherBase | NoView::Malformed) => {
                let known = self.topology();
                match discovery::fetch(connection, Some(&known), Instant::now() + VIEW_TIMEOUT).await {
                    Ok(view) => view,
                    // Whoever has it will speak of it.
                    Err(error) => return debug!(%error, "a view was pushed that does not follow the known one"),
                }
            }
        };
        if self.take(view, None).await == Fetched::Newer {
            debug!(epoch = %self.topology().epoch(), "the view was pushed");
        }
    }
}

impl Change {
    /// The longest pause before another node is chosen, after one that was followed for so long. Silence takes its time by
    /// itself, and behind it is, more often than not, a view that is to be heard of soon.
    fn pause(self, followed: Duration) -> Duration {
        match self {
            Self::Silent => CHANGE_PAUSE,
            Self::Lost | Self::Refused | Self::Behind | Self::Gone if followed >= STABLE_AFTER => CHANGE_PAUSE,
            Self::Lost | Self::Refused | Self::Behind | Self::Gone => RETRY_PAUSE,
        }
    }
}

/// Why another node is to tell of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The connection is lost.
    Lost,
    /// The node may be gone or frozen.
    Silent,
    /// It has no view to tell of.
    Refused,
    /// Others have later views.
    Behind,
    /// It is no member any more, or another process is in its place.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_falls_silent_is_soon_replaced_however_new_it_is() {
        let soon = Duration::from_millis(500);
        assert_eq!(Change::Silent.pause(soon), CHANGE_PAUSE);
        for change in [Change::Lost, Change::Refused, Change::Behind, Change::Gone] {
            assert_eq!((change.pause(soon), change.pause(STABLE_AFTER)), (RETRY_PAUSE, CHANGE_PAUSE));
        }
    }
}
