//! How many operations of clients are not answered yet, for those who wait until there are none.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// The operations of all sessions that other nodes take part in.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    count: AtomicUsize,
    none: Notify,
}

impl UnderWay {
    /// One more.
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// One is answered.
    pub(super) fn end(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    /// Returns once there are none. Cancel-safe.
    pub(crate) async fn none(&self) {
        loop {
            let mut waiting = pin!(self.none.notified());
            // Before the look, or the last one might end in between.
            waiting.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            waiting.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn whoever_waits_is_told_when_the_last_one_ends() {
        let under_way = UnderWay::default();
        let mut context = Context::from_waker(Waker::noop());
        under_way.begin();
        under_way.begin();
        let mut waiting = pin!(under_way.none());
        for _ in 0..2 {
            assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
            under_way.end();
        }
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(()));
    }
}
