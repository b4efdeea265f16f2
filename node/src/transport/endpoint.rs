//! The node's UDP sockets, for its peers and its clients: one, or, where several threads carry out requests, one for each of
//! them, all at one address.
//!
//! Of several, the kernel gives each remote address and port one, and always the same (Linux's `SO_REUSEPORT`, since 3.9). So a
//! connection, which does not migrate, has its packets read by one endpoint. It also means that what a peer answers on a
//! connection that this node dialled could come to any of them: such connections have a socket of their own, at a port that the
//! kernel chooses. (To spread them by connection id would spare that, but a kernel that joins datagrams before it hands them out,
//! as it does to have less work, joins those of one address and port, whichever connections they belong to.)

use std::{
    io,
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{AsyncUdpSocket, Endpoint, Incoming, Runtime, TokioRuntime, VarInt};
use quoit_client::{
    ErrorCode,
    busy_poll::BusyPoll,
    dial::Resolver,
    endpoint::{self, SOCKET_BUFFER_BYTES},
    packets::PacketBytes,
    socket::{UdpSocket, tuned},
};
use tracing::warn;

use super::credentials::NodeCredentials;
use crate::{node::StartError, workers::Workers};

/// What a node runs on: UDP, tokio and the system's resolver, or a simulated network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Sends and receives datagrams; the first thread reads it.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// More sockets, if every thread has one.
    pub beside: Option<Beside>,
    /// Spawns tasks and tells the time.
    pub runtime: Arc<dyn Runtime>,
    /// Finds the addresses of names.
    pub resolver: Resolver,
    /// Carry out requests, and read the sockets.
    pub workers: Workers,
    /// How long they stay awake after a datagram, where that pays.
    pub busy_poll: Duration,
}

/// Sockets beside the first.
#[derive(Clone, Debug)]
pub struct Beside {
    /// At the same address, one for each further thread in turn.
    pub listening: Vec<Arc<dyn AsyncUdpSocket>>,
    /// At another port, for dialling.
    pub dialling: Arc<dyn AsyncUdpSocket>,
}

impl Network {
    /// A UDP socket at `address`, with large buffers, and the system's resolver.
    ///
    /// # Errors
    /// [`StartError::Bind`], for instance for a port that is in use.
    pub fn udp(address: SocketAddr) -> Result<Self, StartError> {
        Self::udp_on(&Workers::default(), address, Duration::ZERO)
    }

    /// The same with a socket for each of `workers`, who stay awake for up to `busy_poll` after its datagrams, where that pays.
    /// There is only one socket where the kernel does not share a port out.
    ///
    /// # Errors
    /// [`StartError::Bind`].
    pub fn udp_on(workers: &Workers, address: SocketAddr, busy_poll: Duration) -> Result<Self, StartError> {
        let failed = |source: io::Error| StartError::Bind { address, source };
        let (first, buffers) = endpoint::bind(address).map_err(failed)?;
        warn_of_small_buffers(buffers.receive_bytes.min(buffers.send_bytes));
        let beside = if workers.count() > 1 { beside(&first, workers) } else { None };
        let socket = on_runtime(workers, 0, first).map_err(failed)?;
        if socket.max_transmit_segments() == 1 {
            warn!(
                event = "no_segmentation_offload",
                "the kernel takes one packet in a call, which costs several times the processor where values are large: Linux has \
                 UDP segmentation offload since 4.18"
            );
        }
        let (runtime, resolver) = (Arc::new(TokioRuntime), Resolver::default());
        Ok(Self { socket, beside, runtime, resolver, workers: workers.clone(), busy_poll })
    }

    /// Endpoints on this network that listen, and dial, as `credentials` say, with packets of up to `packets`.
    pub(crate) fn open(self, credentials: &NodeCredentials, packets: PacketBytes) -> Result<Endpoints, StartError> {
        let Self { socket, beside, runtime, resolver: _, workers, busy_poll } = self;
        let open = |number, thread, socket, listener| {
            let config = endpoint::endpoint_config(&credentials.reset_key(number), packets);
            let runtime = Arc::clone(&runtime);
            let opened = workers.on(thread, || {
                let socket = tuned(socket, packets, BusyPoll::start(busy_poll));
                Endpoint::new_with_abstract_socket(config, listener, socket, runtime)
            });
            opened.map_err(StartError::Endpoint)
        };
        let Some(Beside { listening: more, dialling }) = beside else {
            let only = open(0, 0, socket, Some(credentials.listener(1)))?;
            return Ok(Endpoints { listening: vec![only.clone()], dialling: only });
        };
        let count = 1 + more.len();
        let sockets = [socket].into_iter().chain(more).enumerate();
        let listening = sockets.map(|(index, socket)| open(index, index, socket, Some(credentials.listener(count))));
        let listening = listening.collect::<Result<_, _>>()?;
        Ok(Endpoints { listening, dialling: open(count, 0, dialling, None)? })
    }
}

/// A socket for every thread but the first, which reads `first`; nothing if there are none to be had.
fn beside(first: &StdUdpSocket, workers: &Workers) -> Option<Beside> {
    let bind = || {
        let mut any_port = first.local_addr()?;
        any_port.set_port(0);
        let dialling = on_runtime(workers, 0, endpoint::bind(any_port)?.0)?;
        let more = endpoint::bind_beside(first, workers.count() - 1)?;
        let listening = (1..).zip(more).map(|(index, socket)| on_runtime(workers, index, socket));
        Ok(Beside { listening: listening.collect::<io::Result<_>>()?, dialling })
    };
    let warn = |error: &io::Error| {
        warn!(event = "one_socket", %error, "no more sockets to be had: one thread reads for all, which limits many clients");
    };
    bind().inspect_err(warn).ok()
}

/// `socket` as one that a thread reads.
fn on_runtime(workers: &Workers, index: usize, socket: StdUdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let socket: Arc<dyn AsyncUdpSocket> = workers.on(index, || UdpSocket::new(socket))?;
    Ok(socket)
}

fn warn_of_small_buffers(bytes: usize) {
    if bytes < SOCKET_BUFFER_BYTES {
        warn!(
            event = "udp_buffers_small",
            bytes,
            wanted = SOCKET_BUFFER_BYTES,
            "UDP buffers are small and will drop packets under load; run: sysctl -w \
             net.core.rmem_max={SOCKET_BUFFER_BYTES} net.core.wmem_max={SOCKET_BUFFER_BYTES}"
        );
    }
}

/// An endpoint on each socket of a node.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    /// Never empty. The thread of the same number reads each.
    listening: Vec<Endpoint>,
    /// One of them, or another one.
    dialling: Endpoint,
}

impl Endpoints {
    /// How many listen.
    pub(crate) fn count(&self) -> usize {
        self.listening.len()
    }

    /// Where they listen.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.listening[0].local_addr()
    }

    /// The one that dials.
    pub(crate) fn dialling(&self) -> &Endpoint {
        &self.dialling
    }

    /// The next dialler who comes to this one of them; `None` once they are closed. Cancel-safe.
    pub(super) async fn accept(&self, index: usize) -> Option<Incoming> {
        self.listening[index].accept().await
    }

    /// From now on they let nobody in.
    pub(crate) fn listen_no_more(&self) {
        self.listening.iter().for_each(|endpoint| endpoint.set_server_config(None));
    }

    /// Closes all connections, since the node stops as `how` says.
    pub(crate) fn close(&self, how: &str) {
        let code = VarInt::from(u32::from(ErrorCode::ShuttingDown.number()));
        self.all().for_each(|endpoint| endpoint.close(code, how.as_bytes()));
    }

    /// Returns when everybody has heard of that.
    pub(crate) async fn wait_idle(&self) {
        for endpoint in self.all() {
            endpoint.wait_idle().await;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.listening.iter().chain([&self.dialling])
    }
}
