//! How late a task is woken that asked to be, among those that carry out requests: what keeps it waiting keeps them as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quoit_core::upkeep::Wakeup;
use tokio::{sync::mpsc, time::sleep_until};

use super::DataPlane;

/// Between two wake-ups while a ring change is under way: some hundred in a second say soon enough what it does to requests.
const BRISK: Duration = Duration::from_millis(10);
/// The same at other times, when nothing is done but to learn what is usual.
const CALM: Duration = Duration::from_millis(100);
/// What waits to be looked at. More are dropped: who is that far behind has other cares.
const WAITING_MAX: usize = 64;

/// Where lateness is told, and how often.
#[derive(Debug)]
pub(super) struct Lateness {
    pub(super) wakeups: mpsc::Receiver<Wakeup>,
    is_brisk: Arc<AtomicBool>,
}

/// Finds out how late it is, until nobody wants to know.
#[derive(Debug)]
pub(super) struct Watch {
    tells: mpsc::Sender<Wakeup>,
    is_brisk: Arc<AtomicBool>,
}

impl Lateness {
    /// Where it will be told, and what is to run for that.
    pub(super) fn new() -> (Self, Watch) {
        let (tells, wakeups) = mpsc::channel(WAITING_MAX);
        let is_brisk = Arc::<AtomicBool>::default();
        (Self { wakeups, is_brisk: Arc::clone(&is_brisk) }, Watch { tells, is_brisk })
    }

    /// Has it told often from now on, or seldom.
    pub(super) fn set_brisk(&self, is_brisk: bool) {
        self.is_brisk.store(is_brisk, Ordering::Relaxed);
    }
}

impl Watch {
    /// Runs until the receiver is dropped.
    pub(super) async fn run(self, plane: Arc<DataPlane>) {
        let mut batches = plane.batches.load(Ordering::Relaxed);
        while !self.tells.is_closed() {
            let pause = if self.is_brisk.load(Ordering::Relaxed) { BRISK } else { CALM };
            let due = plane.clock.now().saturating_add(pause);
            sleep_until(plane.clock.instant(due)).await;
            let late = plane.clock.now().checked_duration_since(due).unwrap_or_default();
            let latest = plane.batches.load(Ordering::Relaxed);
            let _ = self.tells.try_send(Wakeup { late, serves: latest != batches });
            batches = latest;
        }
    }
}
