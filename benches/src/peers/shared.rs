//! One connection for many callers: they append to one buffer; one task sends it, another answers them in order.

use std::{
    collections::VecDeque,
    marker::PhantomData,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{Notify, oneshot},
};

use super::{
    stream::{Stream, Tls},
    wire::{Reply, Wire},
};
use crate::cache::{Cache, Failure};

/// The connection. Cheap to clone; it ends with the last clone.
#[derive(Debug)]
pub struct Shared<W> {
    pipe: Arc<Pipe>,
    wire: PhantomData<W>,
    _ends: Arc<Ends>,
}

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self { pipe: Arc::clone(&self.pipe), wire: PhantomData, _ends: Arc::clone(&self._ends) }
    }
}

#[derive(Debug)]
struct Ends([tokio::task::AbortHandle; 2]);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

type Answer = Result<Option<Bytes>, Failure>;

#[derive(Debug, Default)]
struct Pipe {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    unsent: BytesMut,
    waiting: VecDeque<oneshot::Sender<Answer>>,
    lost: bool,
}

impl<W: Wire> Shared<W> {
    /// Connects.
    ///
    /// # Errors
    /// As [`Stream::connect`].
    pub async fn connect(address: SocketAddr, tls: Option<&Tls>) -> Result<Self> {
        let (read_half, write_half) = tokio::io::split(Stream::connect(address, tls).await?);
        let pipe = Arc::new(Pipe::default());
        let writer = tokio::spawn(write(Arc::clone(&pipe), write_half)).abort_handle();
        let reader = tokio::spawn(read::<W>(Arc::clone(&pipe), read_half)).abort_handle();
        Ok(Self { pipe, wire: PhantomData, _ends: Arc::new(Ends([writer, reader])) })
    }

    /// Whether it has ended.
    pub fn is_lost(&self) -> bool {
        self.pipe.lock().lost
    }

    async fn ask(&self, encode: impl FnOnce(&mut BytesMut)) -> Answer {
        let answer = self.start(encode)?;
        answer.await.unwrap_or_else(|_| Err(Failure::lost("the connection ended")))
    }

    fn start(&self, encode: impl FnOnce(&mut BytesMut)) -> Result<oneshot::Receiver<Answer>, Failure> {
        let (sender, answer) = oneshot::channel();
        let mut queue = self.pipe.lock();
        if queue.lost {
            return Err(Failure::lost("the connection has ended"));
        }
        let was_empty = queue.unsent.is_empty();
        encode(&mut queue.unsent);
        queue.waiting.push_back(sender);
        drop(queue);
        if was_empty {
            self.pipe.filled.notify_one();
        }
        Ok(answer)
    }
}

impl<W: Wire> Cache for Shared<W> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.ask(|out| W::get(out, key)).await
    }

    async fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.ask(|out| W::set(out, key, value)).await.map(drop)
    }
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who waits, or will.
    fn lose(&self) {
        let mut queue = self.lock();
        queue.lost = true;
        queue.waiting.clear();
    }
}

async fn write(pipe: Arc<Pipe>, mut stream: WriteHalf<Stream>) {
    loop {
        pipe.filled.notified().await;
        let unsent = pipe.lock().unsent.split();
        if stream.write_all(&unsent).await.is_err() || stream.flush().await.is_err() {
            pipe.lose();
            return;
        }
    }
}

async fn read<W: Wire>(pipe: Arc<Pipe>, mut stream: ReadHalf<Stream>) {
    let mut text = BytesMut::with_capacity(READ_BYTES);
    while let Ok(1..) = stream.read_buf(&mut text).await {
        let mut taken = 0;
        let mut queue = pipe.lock();
        loop {
            match W::reply(&text[taken..]) {
                Ok(Some((length, reply))) => {
                    taken += length;
                    let Some(caller) = queue.waiting.pop_front() else { break };
                    // The caller may have gone: then nobody wants the answer.
                    let _ = caller.send(answer(reply));
                }
                Ok(None) => break,
                Err(failure) => {
                    if let Some(caller) = queue.waiting.pop_front() {
                        let _ = caller.send(Err(failure));
                    }
                    drop(queue);
                    return pipe.lose();
                }
            }
        }
        drop(queue);
        let _ = text.split_to(taken);
        text.reserve(READ_BYTES);
    }
    pipe.lose();
}

fn answer(reply: Reply<'_>) -> Answer {
    match reply {
        Reply::Done | Reply::Absent => Ok(None),
        Reply::Value(value) => Ok(Some(Bytes::copy_from_slice(value))),
        Reply::Refused(why) => Err(Failure::refused(String::from_utf8_lossy(why))),
    }
}

pub(super) const READ_BYTES: usize = 64 * 1024;
