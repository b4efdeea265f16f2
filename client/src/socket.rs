//! The UDP socket: quinn's over tokio's, but that it asks the kernel once where quinn's own asks twice, and knows who is at the
//! other end where that is always the same; and what is done with any socket, a simulated one included.
//!
//! quinn's socket reads until the kernel says that there is nothing more, which where datagrams come one by one is a second
//! call for each of them. A call that brings fewer than there was room for has said so already. (tokio's TCP streams go by
//! the same rule.) With 50 clients of one request each, every call that is spared counts.
//!
//! Nor is the kernel told with every datagram what is always the same: how it is to be marked for congestion notification, and,
//! if a socket serves one connection only and so is connected with its other end, where it goes. That spares up to a sixth of
//! what it takes to send one, which is most of what one request takes that comes alone.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState},
};
use socket2::SockRef;
use tokio::io::Interest;
use tracing::debug;

use crate::{busy_poll::BusyPoll, endpoint, packets::PacketBytes};

/// A socket on the runtime that it is made on.
#[derive(Debug)]
pub struct UdpSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    /// Whether all datagrams go to one address.
    is_connected: bool,
    /// Whether all datagrams come from one address of this machine: the kernel need not be told from which one, then.
    is_at_one_address: bool,
    /// How the kernel marks datagrams of which it is told nothing else, as [`EcnCodepoint`] counts. Relaxed: it orders nothing.
    marking: AtomicU8,
    /// How many datagrams the last call brought. Relaxed: it is a guess at what the next one will bring.
    came: AtomicUsize,
}

/// Room for so many datagrams suffices where fewer came the last time.
const FEW: usize = 4;

/// If the kernel is to be told of the marking with every datagram.
const UNKNOWN_MARKING: u8 = u8::MAX;

impl UdpSocket {
    /// A socket at a port that the kernel chooses, for datagrams to and from `remote` alone. Call it within a runtime.
    ///
    /// # Errors
    /// What the kernel says; for instance that there is no way to `remote`.
    pub fn towards(remote: SocketAddr) -> io::Result<Arc<Self>> {
        Self::new(endpoint::bind_towards(remote)?)
    }

    /// Takes a non-blocking socket over. Call it within a runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&socket).into())?;
        let (is_connected, local) = (socket.peer_addr().is_ok(), socket.local_addr()?);
        // What quinn asks for, until it finds that a path does not bear it.
        let usual = EcnCodepoint::Ect0 as u8;
        let marking = mark(SockRef::from(&socket), local, usual).map_or(UNKNOWN_MARKING, |()| usual);
        Ok(Arc::new(Self {
            io: tokio::net::UdpSocket::from_std(socket)?,
            state,
            is_connected,
            is_at_one_address: !local.ip().to_canonical().is_unspecified(),
            marking: AtomicU8::new(marking),
            came: AtomicUsize::new(0),
        }))
    }

    /// Sends one datagram of which the kernel need be told nothing but where it goes, or not even that; nothing if there is more to
    /// tell.
    fn send_plainly(&self, transmit: &Transmit<'_>) -> Option<io::Result<()>> {
        let is_plain = transmit.segment_size.is_none() && (self.is_at_one_address || transmit.src_ip.is_none());
        if !is_plain || !self.marks(transmit.ecn) {
            return None;
        }
        let sent = if self.is_connected {
            self.io.try_send(transmit.contents)
        } else {
            self.io.try_send_to(transmit.contents, transmit.destination)
        };
        unless_of_an_earlier(sent.map(drop))
    }

    /// Sends as quinn does, by `send`.
    fn send_by(
        &self,
        send: impl FnOnce(&UdpSocketState, UdpSockRef<'_>, &Transmit<'_>) -> io::Result<()>,
        transmit: &Transmit<'_>,
    ) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || send(&self.state, (&self.io).into(), transmit))
    }

    /// Whether the kernel marks datagrams like this. Of a connected socket, it does so from now on: that is asked for again.
    fn marks(&self, ecn: Option<EcnCodepoint>) -> bool {
        let wanted = ecn.map_or(0, |ecn| ecn as u8);
        if self.marking.load(Ordering::Relaxed) == wanted {
            return true;
        }
        let local = self.io.local_addr().ok().filter(|_| self.is_connected);
        let is_marked = local.is_some_and(|local| mark(SockRef::from(&self.io), local, wanted).is_ok());
        if is_marked {
            self.marking.store(wanted, Ordering::Relaxed);
        }
        is_marked
    }

    /// As many of `bufs` as are likely to be needed: each takes the time to describe it to the kernel.
    fn needed<'a, T>(&self, bufs: &'a mut [T]) -> &'a mut [T] {
        let few = self.came.load(Ordering::Relaxed) < FEW;
        let count = if few { FEW.min(bufs.len()) } else { bufs.len() };
        &mut bufs[..count]
    }
}

impl AsyncUdpSocket for UdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let once = || unless_of_an_earlier(self.send_by(UdpSocketState::try_send, transmit));
        self.send_plainly(transmit)
            .or_else(|| self.is_connected.then(once).flatten())
            // This tells errors that matter from those that do not.
            .unwrap_or_else(|| self.send_by(UdpSocketState::send, transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let bufs = self.needed(bufs);
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut received = None;
            let outcome = self.io.try_io(Interest::READABLE, || {
                let count = self.state.recv((&self.io).into(), bufs, meta)?;
                received = Some(count);
                self.came.store(count, Ordering::Relaxed);
                // All there was: what comes after the call is told anew.
                if count < bufs.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
            });
            match received.map_or(outcome, Ok) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // What became of a datagram that was sent. quinn would give the socket up, and concludes it from silence.
                Err(error) => {
                    debug!(%error, "the socket tells of an error");
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
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

/// What came of sending, unless it may be that of an earlier datagram, as the kernel tells of a connected socket with the next call:
/// then this one was not sent.
fn unless_of_an_earlier(sent: io::Result<()>) -> Option<io::Result<()>> {
    match sent {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => None,
        sent => Some(sent),
    }
}

/// Has the kernel mark what `socket` sends, unless it is told otherwise (RFC 3168). `local` is where the socket is bound: one of
/// IPv6 may send to both families.
#[cfg(target_os = "linux")]
fn mark(socket: SockRef<'_>, local: SocketAddr, marking: u8) -> io::Result<()> {
    if local.is_ipv6() {
        socket.set_tclass_v6(marking.into())?;
    }
    socket.set_tos_v4(marking.into())
}

/// Elsewhere kernels differ in what they make of it.
#[cfg(not(target_os = "linux"))]
fn mark(_: SockRef<'_>, _: SocketAddr, _: u8) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// `socket` for packets of up to `packets`, whose datagrams `busy_poll` is told of.
pub fn tuned(
    socket: Arc<dyn AsyncUdpSocket>,
    packets: PacketBytes,
    busy_poll: Option<Arc<BusyPoll>>,
) -> Arc<dyn AsyncUdpSocket> {
    Arc::new(Tuned { socket, packets, busy_poll })
}

#[derive(Debug)]
struct Tuned {
    socket: Arc<dyn AsyncUdpSocket>,
    packets: PacketBytes,
    busy_poll: Option<Arc<BusyPoll>>,
}

impl AsyncUdpSocket for Tuned {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)?;
        self.busy_poll.iter().for_each(|it| it.sent());
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.socket.poll_recv(cx, bufs, meta));
        self.busy_poll.iter().for_each(|it| it.came());
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
    use std::{future::poll_fn, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// Longer than anything takes that works at all.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn at(address: &str) -> Arc<dyn AsyncUdpSocket> {
        UdpSocket::new(endpoint::bind(address.parse().unwrap()).unwrap().0).unwrap()
    }

    fn socket() -> Arc<dyn AsyncUdpSocket> {
        at("127.0.0.1:0")
    }

    /// The bytes of the datagrams that one call brings, with room for `room` of them.
    async fn received(socket: &dyn AsyncUdpSocket, room: usize) -> Vec<usize> {
        described(socket, room).await.iter().map(|meta| meta.len).collect()
    }

    async fn described(socket: &dyn AsyncUdpSocket, room: usize) -> Vec<RecvMeta> {
        let mut memory = vec![[0; 64]; room];
        let mut bufs: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut meta = vec![RecvMeta::default(); room];
        let count = timeout(PATIENCE, poll_fn(|cx| socket.poll_recv(cx, &mut bufs, &mut meta))).await.unwrap().unwrap();
        meta.truncate(count);
        meta
    }

    async fn send(from: &Arc<dyn AsyncUdpSocket>, to: &dyn AsyncUdpSocket, bytes: usize) {
        send_marked(from, to.local_addr().unwrap(), bytes, None).await;
    }

    async fn send_marked(from: &Arc<dyn AsyncUdpSocket>, to: SocketAddr, bytes: usize, ecn: Option<EcnCodepoint>) {
        let contents = vec![7; bytes];
        transmit(from, Transmit { destination: to, ecn, contents: &contents, segment_size: None, src_ip: None }).await;
    }

    /// Sends what the kernel cuts into three datagrams to `destination`, where `to` is, and sees all of it come.
    async fn send_cut(from: &Arc<dyn AsyncUdpSocket>, to: &dyn AsyncUdpSocket, destination: SocketAddr) {
        let (contents, segment_size) = ([7; 30], Some(10));
        transmit(from, Transmit { destination, ecn: None, contents: &contents, segment_size, src_ip: None }).await;
        let mut bytes = 0;
        while bytes < contents.len() {
            bytes += received(to, 4).await.iter().sum::<usize>();
        }
        assert_eq!(bytes, contents.len());
    }

    async fn transmit(from: &Arc<dyn AsyncUdpSocket>, transmit: Transmit<'_>) {
        let mut poller = Arc::clone(from).create_io_poller();
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
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
                all.extend(received(&*to, 1 + round % 6).await);
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

    /// A socket of any sort, and one that hears it.
    fn pairs() -> Vec<(Arc<dyn AsyncUdpSocket>, Arc<dyn AsyncUdpSocket>)> {
        let mut pairs = vec![(socket(), socket()), (at("0.0.0.0:0"), socket())];
        // Where there is IPv6 it takes IPv4 as well.
        if endpoint::bind("[::1]:0".parse().unwrap()).is_ok() {
            pairs.extend([(at("[::1]:0"), at("[::1]:0")), (at("[::]:0"), socket()), (at("[::]:0"), at("[::1]:0"))]);
        }
        let listening = pairs.iter().map(|(_, to)| Arc::clone(to)).collect::<Vec<_>>();
        pairs.extend(listening.into_iter().map(|to| {
            let from: Arc<dyn AsyncUdpSocket> = UdpSocket::towards(to.local_addr().unwrap()).unwrap();
            (from, to)
        }));
        pairs
    }

    #[tokio::test]
    async fn datagrams_come_marked_as_they_are_to_be_from_any_socket() {
        use EcnCodepoint::{Ce, Ect0, Ect1};
        for (from, to) in pairs() {
            let destination = match to.local_addr().unwrap() {
                // As quinn writes it for a socket of IPv6.
                SocketAddr::V4(v4) if from.local_addr().unwrap().is_ipv6() => {
                    (v4.ip().to_ipv6_mapped(), v4.port()).into()
                }
                address @ (SocketAddr::V4(_) | SocketAddr::V6(_)) => address,
            };
            for (bytes, ecn) in (1..).zip([None, Some(Ect0), Some(Ect0), None, None, Some(Ect1), Some(Ce), Some(Ect0)])
            {
                send_marked(&from, destination, bytes, ecn).await;
                let [came] = described(&*to, 4).await[..] else { panic!("not one datagram") };
                assert_eq!((came.len, came.ecn), (bytes, ecn), "{from:?}");
            }
            if from.max_transmit_segments() > 1 {
                send_cut(&from, &*to, destination).await;
            }
        }
    }

    /// All of 127.0.0.0/8 is this machine, on Linux.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_of_all_addresses_sends_from_the_one_that_is_told() {
        let (from, to) = (at("0.0.0.0:0"), socket());
        for (told, bytes) in [("127.0.0.1", 1), ("127.0.0.3", 2)] {
            let (contents, src_ip) = (vec![7; bytes], told.parse().ok());
            let (destination, ecn) = (to.local_addr().unwrap(), Some(EcnCodepoint::Ect0));
            transmit(&from, Transmit { destination, ecn, contents: &contents, segment_size: None, src_ip }).await;
            let [came] = described(&*to, 4).await[..] else { panic!("not one datagram") };
            assert_eq!((came.len, Some(came.addr.ip())), (bytes, src_ip));
        }
    }

    #[tokio::test]
    async fn a_connected_socket_survives_that_nobody_is_there() {
        let address = socket().local_addr().unwrap();
        let from: Arc<dyn AsyncUdpSocket> = UdpSocket::towards(address).unwrap();
        // Nobody listens there now, which the kernel tells with the next call, to send or to receive.
        for _ in 0..3 {
            send_marked(&from, address, 9, None).await;
        }
        let to = at(&address.to_string());
        send(&to, &*from, 6).await;
        assert_eq!(received(&*from, 4).await, [6]);
        send_marked(&from, address, 5, None).await;
        assert_eq!(received(&*to, 4).await, [5]);
        if from.max_transmit_segments() > 1 {
            drop(to);
            send_marked(&from, address, 9, None).await;
            let to = at(&address.to_string());
            send_cut(&from, &*to, address).await;
        }
    }

    #[tokio::test]
    async fn a_tuned_socket_sends_and_receives_as_the_one_it_is_made_of() {
        let (from, to) = (socket(), socket());
        let tune =
            |socket, packets| tuned(socket, PacketBytes::nearest(packets), BusyPoll::start(Duration::from_micros(100)));
        let (from, to) = (tune(from, 16_000), tune(to, 1_452));
        send(&from, &*to, 9).await;
        assert_eq!(received(&*to, 4).await, [9]);
        assert!(from.max_transmit_segments() <= 4 && from.max_receive_segments() <= 6);
    }
}
