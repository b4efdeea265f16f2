//! The QUIC endpoints that a client dials from: one for each connection, with a socket of its own.
//!
//! A socket that serves one connection can be connected with its other end in the kernel, which then need not look up the way
//! there for every datagram: see [`socket`](crate::socket). And where a client talks to many nodes on a runtime of several
//! threads, no thread has to read for all.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, TokioRuntime, VarInt};

use crate::{
    busy_poll::BusyPoll,
    endpoint,
    packets::PacketBytes,
    socket::{UdpSocket, tuned},
};

/// Where the endpoints of a client come from, and those in use.
#[derive(Debug)]
pub(crate) struct Endpoints {
    source: Source,
    /// Those whose connections may be open.
    used: Mutex<Vec<Endpoint>>,
}

#[derive(Debug)]
enum Source {
    /// All connections have this one, whose socket is from outside.
    Given(Endpoint),
    /// Every connection has its own.
    Udp { config: EndpointConfig, packets: PacketBytes, busy_poll: Option<Arc<BusyPoll>> },
}

impl Endpoints {
    /// UDP sockets on tokio's runtime, which stays awake for up to `busy_poll` after a datagram, where that pays.
    pub(crate) fn udp(config: EndpointConfig, packets: PacketBytes, busy_poll: Duration) -> Self {
        Self::of(Source::Udp { config, packets, busy_poll: BusyPoll::start(busy_poll) })
    }

    /// One endpoint on a socket and runtime from outside, such as simulated ones.
    ///
    /// # Errors
    /// What the runtime says of the socket.
    pub(crate) fn given(
        config: EndpointConfig,
        packets: PacketBytes,
        socket: Arc<dyn AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
    ) -> io::Result<Self> {
        let socket = tuned(socket, packets, None);
        Ok(Self::of(Source::Given(endpoint::dialling_endpoint(config, socket, runtime)?)))
    }

    fn of(source: Source) -> Self {
        Self { source, used: Mutex::default() }
    }

    /// An endpoint from which `remote` can be dialled, and nobody else.
    ///
    /// # Errors
    /// What the kernel says; for instance that there is no way to `remote`.
    pub(crate) fn towards(&self, remote: SocketAddr) -> io::Result<Endpoint> {
        match &self.source {
            Source::Given(endpoint) => Ok(endpoint.clone()),
            Source::Udp { config, packets, busy_poll } => {
                let socket = tuned(UdpSocket::towards(remote)?, *packets, busy_poll.clone());
                endpoint::dialling_endpoint(config.clone(), socket, Arc::new(TokioRuntime))
            }
        }
    }

    /// `endpoint` has an open connection, which is to be closed at the end.
    pub(crate) fn keep(&self, endpoint: Endpoint) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|earlier| earlier.open_connections() > 0);
        used.push(endpoint);
    }

    /// Closes all connections as `code` and `reason` say, and returns when the other sides have heard of it.
    pub(crate) async fn close(&self, code: VarInt, reason: &[u8]) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        used.iter().for_each(|endpoint| endpoint.close(code, reason));
        join_all(used.iter().map(Endpoint::wait_idle)).await;
    }
}
