//! The QUIC endpoints that a client dials from: one for each connection, with a socket of its own.
//!
//! A socket that serves one connection can be connected with its other end in the kernel, which then need not look up the way
//! there for every datagram: see [`socket`](crate::socket). And where a client talks to many nodes on a runtime of several
//! threads, no thread has to read for all.

use std::{
    io, mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    used: Mutex<Used>,
}

#[derive(Debug)]
enum Source {
    /// All connections have this one, whose socket is from outside.
    Given(Arc<Endpoint>),
    /// Every connection has its own.
    Udp { config: EndpointConfig, packets: PacketBytes, busy_poll: Option<Arc<BusyPoll>> },
}

#[derive(Debug, Default)]
struct Used {
    /// Those that somebody dials from, or whose connections may be open.
    endpoints: Vec<Arc<Endpoint>>,
    /// Whether nobody is to be dialled any more.
    is_closed: bool,
}

impl Endpoints {
    /// UDP sockets on tokio's runtime, which stays awake for up to `busy_poll` after a datagram, where that pays.
    pub(crate) fn udp(config: EndpointConfig, packets: PacketBytes, busy_poll: Duration) -> Self {
        let source = Source::Udp { config, packets, busy_poll: BusyPoll::start(busy_poll) };
        Self { source, used: Mutex::default() }
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
        let endpoint = endpoint::dialling_endpoint(config, tuned(socket, packets, None), runtime)?;
        Ok(Self { source: Source::Given(Arc::new(endpoint)), used: Mutex::default() })
    }

    /// An endpoint from which `remote` can be dialled, and nobody else. Hold it until that has succeeded or failed.
    ///
    /// # Errors
    /// What the kernel says; for instance that there is no way to `remote`. And that this is closed.
    pub(crate) fn towards(&self, remote: SocketAddr) -> io::Result<Arc<Endpoint>> {
        let mut used = self.used();
        if used.is_closed {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the client is closed"));
        }
        used.endpoints.retain(|endpoint| Arc::strong_count(endpoint) > 1 || endpoint.open_connections() > 0);
        let endpoint = self.source.towards(remote)?;
        if !used.endpoints.iter().any(|known| Arc::ptr_eq(known, &endpoint)) {
            used.endpoints.push(Arc::clone(&endpoint));
        }
        Ok(endpoint)
    }

    /// Closes all connections as `code` and `reason` say, dials under way included, and returns when the other sides have heard
    /// of it. Nobody is dialled from now on.
    pub(crate) async fn close(&self, code: VarInt, reason: &[u8]) {
        let endpoints = {
            let mut used = self.used();
            used.is_closed = true;
            mem::take(&mut used.endpoints)
        };
        endpoints.iter().for_each(|endpoint| endpoint.close(code, reason));
        join_all(endpoints.iter().map(|endpoint| endpoint.wait_idle())).await;
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn towards(&self, remote: SocketAddr) -> io::Result<Arc<Endpoint>> {
        match self {
            Self::Given(endpoint) => Ok(Arc::clone(endpoint)),
            Self::Udp { config, packets, busy_poll } => {
                let socket = tuned(UdpSocket::towards(remote)?, *packets, busy_poll.clone());
                endpoint::dialling_endpoint(config.clone(), socket, Arc::new(TokioRuntime)).map(Arc::new)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use quinn::{ClientConfig, ConnectionError};
    use quoit_proto_types::Role;

    use super::*;

    /// Somewhere that nobody answers from.
    fn nobody() -> (std::net::UdpSocket, SocketAddr) {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn udp() -> Endpoints {
        Endpoints::udp(EndpointConfig::default(), PacketBytes::default(), Duration::ZERO)
    }

    fn given() -> Endpoints {
        let socket = UdpSocket::new(endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap().0).unwrap();
        let runtime = Arc::new(TokioRuntime);
        Endpoints::given(EndpointConfig::default(), PacketBytes::default(), socket, runtime).unwrap()
    }

    fn known(endpoints: &Endpoints) -> usize {
        endpoints.used().endpoints.len()
    }

    fn config(address: SocketAddr) -> ClientConfig {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let mut config = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
        config.transport_config(Arc::new(endpoint::transport(Role::Client, PacketBytes::default(), address)));
        config
    }

    #[tokio::test]
    async fn an_endpoint_is_known_while_somebody_dials_from_it() {
        let (_socket, address) = nobody();
        let endpoints = udp();
        let (first, second) = (endpoints.towards(address).unwrap(), endpoints.towards(address).unwrap());
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
        assert_eq!(known(&endpoints), 2);
        drop((first, second));
        let _third = endpoints.towards(address).unwrap();
        assert_eq!(known(&endpoints), 1);
        let endpoints = given();
        let (first, second) = (endpoints.towards(address).unwrap(), endpoints.towards(address).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(known(&endpoints), 1);
    }

    #[tokio::test]
    async fn closing_ends_dials_under_way_and_nobody_is_dialled_any_more() {
        let (_socket, address) = nobody();
        for endpoints in [udp(), given()] {
            let endpoint = endpoints.towards(address).unwrap();
            let dial = endpoint.connect_with(config(address), address, "localhost").unwrap();
            drop(endpoint);
            let other = endpoints.towards(address).unwrap();
            let closed = tokio::time::timeout(Duration::from_secs(30), endpoints.close(0_u32.into(), b""));
            let (closed, dialled) = tokio::join!(closed, dial);
            assert!(closed.is_ok() && matches!(dialled, Err(ConnectionError::LocallyClosed)));
            assert!(other.connect_with(config(address), address, "localhost").is_err());
            assert_eq!(endpoints.towards(address).unwrap_err().kind(), io::ErrorKind::NotConnected);
            assert_eq!(known(&endpoints), 0);
        }
    }
}
