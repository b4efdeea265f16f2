//! Replies that are given later than the requests' turn, gathered until their lane sends them.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bytes::BytesMut;
use tokio::sync::Notify;

/// Bytes of replies that may wait for a lane: as much as all requests that a client may have under way on it bring, of
/// middling values. They pile up only if it does not read.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The replies of one lane that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    replies: Mutex<BytesMut>,
    filled: Notify,
    /// Replies that are to come yet.
    owed: AtomicUsize,
}

/// There is no room for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Deferred {
    /// Appends what `write` writes. The lane sends it [once told to](Self::wake), or with what it sends anyway.
    pub(crate) fn push(&self, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.lock());
    }

    /// The same for a reply with a value of `value_bytes`, which needs room.
    pub(crate) fn push_value(&self, value_bytes: usize, write: impl FnOnce(&mut BytesMut)) -> Result<(), NoRoom> {
        let mut replies = self.lock();
        if replies.len() + value_bytes > WAITING_BYTES_MAX {
            return Err(NoRoom);
        }
        write(&mut replies);
        Ok(())
    }

    /// One more reply is to come, with which the lane does not end.
    pub(crate) fn owe(&self) {
        self.owed.fetch_add(1, Ordering::Relaxed);
    }

    /// A reply that was owed has been given, here or on a stream of its own.
    pub(crate) fn settle(&self) {
        // Released with what was pushed, which whoever sees it settled is to take.
        self.owed.fetch_sub(1, Ordering::Release);
    }

    /// Whether all that was owed has been given.
    pub(super) fn is_settled(&self) -> bool {
        self.owed.load(Ordering::Acquire) == 0
    }

    /// Has the lane send what has gathered.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Returns when there may be something to send. Cancel-safe.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Moves what waits behind `replies`.
    pub(super) fn take(&self, replies: &mut BytesMut) {
        let mut waiting = self.lock();
        if replies.is_empty() {
            std::mem::swap(replies, &mut waiting);
        } else if !waiting.is_empty() {
            replies.extend_from_slice(&waiting);
            waiting.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        // A panic can leave a cut frame behind: the lane that sends it is closed for it, and that is all.
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_follows_what_is_sent_anyway() {
        let deferred = Deferred::default();
        deferred.push(|out| out.extend_from_slice(b"later"));
        let mut replies = BytesMut::from(&b"now "[..]);
        deferred.take(&mut replies);
        assert_eq!(replies, &b"now later"[..]);
        deferred.take(&mut replies);
        assert_eq!(replies, &b"now later"[..]);
    }

    #[test]
    fn values_need_room_and_acknowledgements_do_not() {
        let deferred = Deferred::default();
        let fill = |out: &mut BytesMut| out.resize(WAITING_BYTES_MAX, 0);
        assert_eq!(deferred.push_value(WAITING_BYTES_MAX, fill), Ok(()));
        assert_eq!(deferred.push_value(1, |out| out.extend_from_slice(b"v")), Err(NoRoom));
        deferred.push(|out| out.extend_from_slice(b"done"));
        let mut replies = BytesMut::new();
        deferred.take(&mut replies);
        assert_eq!(replies.len(), WAITING_BYTES_MAX + 4);
        assert_eq!(deferred.push_value(1, |_| {}), Ok(()));
    }
}
