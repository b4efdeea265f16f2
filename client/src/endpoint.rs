//! QUIC endpoints as Quoit wants them: sockets, transport settings, limits. Shared with the node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    Runtime, TransportConfig, VarInt, congestion::CubicConfig,
};
use quoit_proto_types::Role;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::packets::PacketBytes;

/// UDP buffer asked of the kernel, in bytes, for each direction. The usual default of 208 KiB overflows under load.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Datagrams that can wait in a socket, of the smallest kind, each of which takes the kernel some hundred bytes.
const WAITING_MAX: usize = SOCKET_BUFFER_BYTES / 128;
/// A connection of a client proves itself alive this often, and one between nodes. Who is alive is not concluded from it:
/// nodes send heartbeats of their own.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_BETWEEN_NODES: Duration = Duration::from_secs(1);
/// A silent connection between nodes ends after this long, and a new one is dialled.
const IDLE_BETWEEN_NODES: Duration = Duration::from_secs(5);
/// A silent connection of a client ends after this long.
const IDLE_OF_CLIENTS: Duration = Duration::from_secs(60);
/// First guess of the round trip. quinn's 333 ms would make the first lost packet cost a third of a second on a LAN.
const INITIAL_RTT: Duration = Duration::from_millis(10);
/// Unacknowledged bytes one stream may have under way.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for a whole connection of a client, and of a node.
const CLIENT_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const NODE_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Streams a client, and a node, may have open: lanes, and one for each large value.
const CLIENT_STREAMS_MAX: u32 = 256;
const NODE_STREAMS_MAX: u32 = 1024;
/// Bytes of heartbeats that may wait to be read, and to be sent. The oldest go first: a late heartbeat is worth nothing.
const DATAGRAMS_RECEIVED_BYTES: usize = 64 * 1024;
const DATAGRAMS_SENT_BYTES: usize = 8 * 1024;
/// Bytes of a connection id: enough that no two connections of a process ever share one.
const CONNECTION_ID_BYTES: usize = 8;

/// So many packets the other side may leave unacknowledged. What is asked is answered, and the acknowledgement travels with the
/// answer; by default it travels before it, as a packet of its own, after each two: half of all packets where a batch takes two.
const UNACKNOWLEDGED_PACKETS: u32 = 2;
/// A packet that comes out of order is acknowledged at once, as without the above, so that what is lost is heard of at once.
const OUT_OF_ORDER_PACKETS: u32 = 1;
/// Packets that a new connection has under way before it knows what its path bears (RFC 9002, 7.2). More than may be left
/// unacknowledged: with fewer each would wait for an acknowledgement that is late by intention.
const INITIAL_WINDOW_PACKETS: u64 = 10;

/// How a connection with `remote` in the protocol of `role` behaves, with packets of up to `packets`.
pub fn transport(role: Role, packets: PacketBytes, remote: SocketAddr) -> TransportConfig {
    let (window, streams, idle, keep_alive) = match role {
        Role::Node => (NODE_WINDOW_BYTES, NODE_STREAMS_MAX, IDLE_BETWEEN_NODES, KEEP_ALIVE_BETWEEN_NODES),
        Role::Client | Role::Admin => (CLIENT_WINDOW_BYTES, CLIENT_STREAMS_MAX, IDLE_OF_CLIENTS, KEEP_ALIVE),
    };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(streams.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(window.into())
        .send_window(u64::from(window))
        .keep_alive_interval(Some(keep_alive))
        .max_idle_timeout(Some(idle_timeout(idle)))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(packets.discovery(remote)))
        .ack_frequency_config(Some(acknowledgements()))
        .congestion_controller_factory(Arc::new(congestion(packets.towards(remote))))
        .datagram_receive_buffer_size(match role {
            Role::Node => Some(DATAGRAMS_RECEIVED_BYTES),
            Role::Client | Role::Admin => None,
        })
        .datagram_send_buffer_size(DATAGRAMS_SENT_BYTES);
    config
}

fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(UNACKNOWLEDGED_PACKETS.into()).reordering_threshold(OUT_OF_ORDER_PACKETS.into());
    config
}

fn congestion(packet_bytes: u16) -> CubicConfig {
    let mut config = CubicConfig::default();
    config.initial_window(INITIAL_WINDOW_PACKETS * u64::from(packet_bytes));
    config
}

fn idle_timeout(duration: Duration) -> IdleTimeout {
    let ms = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    IdleTimeout::from(VarInt::from_u32(ms))
}

/// What a UDP socket really got of [`SOCKET_BUFFER_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Bytes that can wait to be received.
    pub receive_bytes: usize,
    /// Bytes that can wait to be sent.
    pub send_bytes: usize,
}

/// Binds a UDP socket with large buffers, as far as the kernel lets.
///
/// # Errors
/// What the kernel says; `AddrInUse` if another process has the port.
pub fn bind(address: SocketAddr) -> io::Result<(std::net::UdpSocket, SocketBuffers)> {
    let socket = unbound(address)?;
    socket.bind(&address.into())?;
    // Linux reports twice the usable size: half is its own bookkeeping.
    let usable = if cfg!(target_os = "linux") { 2 } else { 1 };
    let buffers = SocketBuffers {
        receive_bytes: socket.recv_buffer_size()? / usable,
        send_bytes: socket.send_buffer_size()? / usable,
    };
    Ok((socket.into(), buffers))
}

/// A UDP socket with large buffers at a port that the kernel chooses, from which `remote` can be reached. On Linux it is connected
/// with `remote`, and reaches nobody else. Elsewhere it is not: some kernels refuse to be told where a datagram of a connected
/// socket goes, as quinn tells them.
///
/// # Errors
/// What the kernel says; for instance that there is no way to `remote`.
pub(crate) fn bind_towards(remote: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (socket, _) = bind(SocketAddr::new(any, 0))?;
    if cfg!(target_os = "linux") {
        socket.connect(remote)?;
    }
    Ok(socket)
}

/// Binds `count` more sockets where `first` is bound, which share what comes there: all that one address and port sends comes to
/// one of them, and always to the same. What came before they were all there is thrown away: the rest may come to another one.
///
/// It was bound for itself, and only then is the port shared: so a port that another process has is noticed. Who else may share
/// it is up to the kernel, which on Linux lets processes of the same user.
///
/// # Errors
/// `Unsupported` where kernels do not spread datagrams like this, and what the kernel says.
pub fn bind_beside(first: &std::net::UdpSocket, count: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    let address = first.local_addr()?;
    share_port(SockRef::from(first))?;
    let one = |_| {
        let socket = unbound(address)?;
        share_port(SockRef::from(&socket))?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    let more: Vec<std::net::UdpSocket> = (0..count).map(one).collect::<io::Result<_>>()?;
    [first].into_iter().chain(&more).for_each(empty);
    Ok(more)
}

/// Throws away what has come to a socket. QUIC sends it again.
fn empty(socket: &std::net::UdpSocket) {
    // Bounded, since there are those who would send forever.
    let _ = (0..WAITING_MAX).take_while(|_| socket.recv(&mut [0]).is_ok()).count();
}

#[cfg(target_os = "linux")]
fn share_port(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Elsewhere the option is missing, or one of the sockets gets everything.
#[cfg(not(target_os = "linux"))]
fn share_port(_: SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A non-blocking UDP socket that is to be bound to `address`.
fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // An IPv6 wildcard takes IPv4 too, where the system allows it.
        let _ = socket.set_only_v6(false);
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The settings of an endpoint for packets of up to `packets`. `reset_key` lets a process that restarts with the same key, and
/// the same address and number of sockets, end its peers' dead connections in one round trip.
pub fn endpoint_config(reset_key: &[u8; 32], packets: PacketBytes) -> EndpointConfig {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, reset_key);
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(|| Box::new(RandomIds));
    // Fails only for less than every network carries.
    let _ = config.max_udp_payload_size(packets.largest());
    config
}

/// Connection ids that any process of a node takes for its own. quinn's are signed with a key that dies with the process:
/// the next one would drop what it gets for dead connections without a word, and its peers would wait for a timeout.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; CONNECTION_ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// An endpoint that only dials, over a socket and runtime from outside.
///
/// # Errors
/// What the runtime says of the socket.
pub fn dialling_endpoint(
    config: EndpointConfig,
    socket: Arc<dyn AsyncUdpSocket>,
    runtime: Arc<dyn Runtime>,
) -> io::Result<Endpoint> {
    Endpoint::new_with_abstract_socket(config, None, socket, runtime)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// How many datagrams wait in each of `sockets`, which are read empty.
    fn waiting(sockets: &[UdpSocket]) -> Vec<usize> {
        sockets.iter().map(|socket| std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count()).collect()
    }

    #[test]
    fn sockets_beside_each_other_share_what_comes_and_one_sender_has_one_of_them() {
        let (first, _) = bind(LOOPBACK).unwrap();
        let address = first.local_addr().unwrap();
        UdpSocket::bind(LOOPBACK).unwrap().send_to(b"too soon", address).unwrap();
        let mut sockets = bind_beside(&first, 2).unwrap();
        sockets.push(first);
        let senders: Vec<_> = (0..64).map(|_| UdpSocket::bind(LOOPBACK).unwrap()).collect();
        let send = |sender: &UdpSocket| assert_eq!(sender.send_to(b"datagram", address).unwrap(), 8);
        senders.iter().for_each(send);
        let shares = waiting(&sockets);
        assert!(shares.iter().sum::<usize>() == 64 && shares.iter().all(|share| *share > 0), "{shares:?}");
        senders.iter().for_each(send);
        assert_eq!(waiting(&sockets), shares);
        for sender in senders.iter().take(8) {
            (0..5).for_each(|_| send(sender));
            let mut shares = waiting(&sockets);
            shares.sort_unstable();
            assert_eq!(shares, [0, 0, 5]);
        }
    }

    #[test]
    fn a_port_that_is_shared_is_in_use_all_the_same() {
        let (first, _) = bind(LOOPBACK).unwrap();
        let _beside = bind_beside(&first, 2).unwrap();
        let again = bind(first.local_addr().unwrap()).map(drop);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
