//! The UDP socket: quinn's over tokio's, but that it asks the kernel once where quinn's own asks twice; and what is done with any
//! socket, a simulated one included.
//!
//! quinn's socket reads until the kernel says that there is nothing more, which where datagrams come one by one is a second
//! call for each of them. A call that brings fewer than there was room for has said so already. (tokio's TCP streams go by
//! the same rule.) With 50 clients of one request each, every call that is spared counts.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::io::Interest;

use crate::{busy_poll::BusyPoll, packets::PacketBytes};

/// A socket on the runtime that it is made on.
#[derive(Debug)]
pub struct UdpSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
}

impl UdpSocket {
    /// Takes a non-blocking socket over. Call it within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Arc::new(Self { io: tokio::net::UdpSocket::from_std(socket)?, state }))
    }
}

impl AsyncUdpSocket for UdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut received = None;
            let outcome = self.io.try_io(Interest::READABLE, || {
                let count = self.state.recv((&self.io).into(), bufs, meta)?;
                received = Some(count);
                // All there was: what comes after the call is told anew.
                if count < bufs.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
            });
            if let Some(count) = received.or(outcome.ok()) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// `socket` for packets of up to `packets`, after whose datagrams the runtime that calls this stays awake for up to `busy_poll`,
/// where that pays; not at all if that is zero.
pub fn tuned(socket: Arc<dyn AsyncUdpSocket>, packets: PacketBytes, busy_poll: Duration) -> Arc<dyn AsyncUdpSocket> {
    Arc::new(Tuned { socket, packets, busy_poll: BusyPoll::start(busy_poll) })
}

#[derive(Debug)]
struct Tuned {
    socket: Arc<dyn AsyncUdpSocket>,
    packets: PacketBytes,
    busy_poll: Option<BusyPoll>,
}

impl AsyncUdpSocket for Tuned {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)?;
        self.busy_poll.iter().for_each(BusyPoll::sent);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.socket.poll_recv(cx, bufs, meta));
        self.busy_poll.iter().for_each(BusyPoll::came);
        Poll::Ready(received)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.packets.sent_at_once(self.socket.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.packets.received_at_once(self.socket.max_receive_segments())
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until there is room to send, for one connection.
struct WritePoller {
    socket: Arc<UdpSocket>,
    writable: Option<Writable>,
}

impl UdpPoller for WritePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, writable } = &mut *self;
        // As a rule there is room, and nothing to wait for: quinn asks before each packet.
        if writable.is_none() && socket.io.try_io(Interest::WRITABLE, || Ok(())).is_ok() {
            return Poll::Ready(Ok(()));
        }
        let waiting = writable.get_or_insert_with(|| {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let outcome = ready!(waiting.as_mut().poll(cx));
        *writable = None;
        Poll::Ready(outcome)
    }
}

impl fmt::Debug for WritePoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritePoller").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::Ipv4Addr};

    use tokio::time::timeout;

    use super::*;

    /// Longer than anything takes that works at all.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn socket() -> Arc<dyn AsyncUdpSocket> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        UdpSocket::new(socket).unwrap()
    }

    /// The bytes of the datagrams that one call brings, with room for `room` of them.
    async fn received(socket: &dyn AsyncUdpSocket, room: usize) -> Vec<usize> {
        let mut memory = vec![[0; 64]; room];
        let mut bufs: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut meta = vec![RecvMeta::default(); room];
        let count = timeout(PATIENCE, poll_fn(|cx| socket.poll_recv(cx, &mut bufs, &mut meta))).await.unwrap().unwrap();
        meta[..count].iter().map(|meta| meta.len).collect()
    }

    async fn send(from: &Arc<dyn AsyncUdpSocket>, to: &dyn AsyncUdpSocket, bytes: usize) {
        let mut poller = Arc::clone(from).create_io_poller();
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        let contents = vec![7; bytes];
        let destination = to.local_addr().unwrap();
        let transmit = Transmit { destination, ecn: None, contents: &contents, segment_size: None, src_ip: None };
        from.try_send(&transmit).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_missed_whether_a_call_brings_all_there_is_or_not() {
        let (from, to) = (socket(), socket());
        for round in 1..=20 {
            // With room for less, for just as many, and for more than there are.
            for bytes in 1..=3 {
                send(&from, &*to, bytes).await;
            }
            let mut all = Vec::new();
            while all.len() < 3 {
                all.extend(received(&*to, 1 + round % 4).await);
            }
            assert_eq!(all, [1, 2, 3]);
            let mut meta = [RecvMeta::default()];
            let mut memory = [0; 64];
            let nothing = poll_fn(|cx| {
                let polled = to.poll_recv(cx, &mut [IoSliceMut::new(&mut memory)], &mut meta);
                Poll::Ready(polled.is_pending())
            });
            assert!(nothing.await);
            // Told anew.
            let (sent, later) = tokio::join!(send(&from, &*to, 9), received(&*to, 32));
            assert_eq!((sent, later), ((), vec![9]));
        }
    }

    #[tokio::test]
    async fn a_tuned_socket_sends_and_receives_as_the_one_it_is_made_of() {
        let (from, to) = (socket(), socket());
        let tune = |socket, packets| tuned(socket, PacketBytes::nearest(packets), Duration::from_micros(100));
        let (from, to) = (tune(from, 16_000), tune(to, 1_452));
        send(&from, &*to, 9).await;
        assert_eq!(received(&*to, 4).await, [9]);
        assert!(from.max_transmit_segments() <= 4 && from.max_receive_segments() <= 6);
    }
}
