//! The node's one UDP socket, for its peers and its clients.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{AsyncUdpSocket, Endpoint, Runtime, TokioRuntime};
use quoit_client::{
    dial::Resolver,
    endpoint::{self, SOCKET_BUFFER_BYTES},
    packets::PacketBytes,
    socket::{UdpSocket, tuned},
};
use tracing::warn;

use super::credentials::NodeCredentials;
use crate::{node::StartError, workers::Workers};

/// What listens and dials, for those who hold it but do not use it.
pub(crate) type QuicEndpoint = Endpoint;

/// What a node runs on: UDP, tokio and the system's resolver, or a simulated network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Sends and receives datagrams.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Spawns tasks and tells the time.
    pub runtime: Arc<dyn Runtime>,
    /// Finds the addresses of names.
    pub resolver: Resolver,
    /// Carry out requests, and read the socket.
    pub workers: Workers,
    /// How long they stay awake after a datagram, where that pays.
    pub busy_poll: Duration,
}

impl Network {
    /// A UDP socket at `address`, with large buffers, and the system's resolver.
    ///
    /// # Errors
    /// [`StartError::Bind`], for instance for a port that is in use.
    pub fn udp(address: SocketAddr) -> Result<Self, StartError> {
        let failed = |source: io::Error| StartError::Bind { address, source };
        let (socket, buffers) = endpoint::bind(address).map_err(failed)?;
        let smaller = buffers.receive_bytes.min(buffers.send_bytes);
        if smaller < SOCKET_BUFFER_BYTES {
            warn!(
                event = "udp_buffers_small",
                bytes = smaller,
                wanted = SOCKET_BUFFER_BYTES,
                "UDP buffers are small and will drop packets under load; run: sysctl -w \
                 net.core.rmem_max={SOCKET_BUFFER_BYTES} net.core.wmem_max={SOCKET_BUFFER_BYTES}"
            );
        }
        let socket = UdpSocket::new(socket).map_err(failed)?;
        if socket.max_transmit_segments() == 1 {
            warn!(
                event = "no_segmentation_offload",
                "the kernel takes one packet in a call, which costs several times the processor where values are large: Linux has \
                 UDP segmentation offload since 4.18"
            );
        }
        let runtime = Arc::new(TokioRuntime);
        Ok(Self {
            socket,
            runtime,
            resolver: Resolver::default(),
            workers: Workers::default(),
            busy_poll: Duration::ZERO,
        })
    }

    /// A UDP socket at `address`, as [`udp`](Self::udp) makes, that the first of `workers` reads, and after whose datagrams it stays
    /// awake for up to `busy_poll`, where that pays.
    ///
    /// # Errors
    /// [`StartError::Bind`].
    pub fn udp_on(workers: &Workers, address: SocketAddr, busy_poll: Duration) -> Result<Self, StartError> {
        let network = workers.on_first(|| Self::udp(address))?;
        Ok(Self { workers: workers.clone(), busy_poll, ..network })
    }

    /// An endpoint on this network that listens, and dials, as `credentials` say, with packets of up to `packets`.
    pub(crate) fn open(self, credentials: &NodeCredentials, packets: PacketBytes) -> Result<Endpoint, StartError> {
        let config = endpoint::endpoint_config(&credentials.reset_key(), packets);
        let listener = credentials.listener()?;
        let opened = self.workers.on_first(|| {
            let socket = tuned(self.socket, packets, self.busy_poll);
            Endpoint::new_with_abstract_socket(config, Some(listener), socket, self.runtime)
        });
        opened.map_err(StartError::Endpoint)
    }
}
