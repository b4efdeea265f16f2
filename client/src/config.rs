//! What a client needs to know before it can connect.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use quinn::{AsyncUdpSocket, Runtime};
use quoit_proto_types::{
    ReadLevel, WriteLevel,
    view::{Address, AddressError},
};

use crate::{
    busy_poll::{BUSY_POLL, BUSY_POLL_MAX},
    core::Levels,
    dial::Resolver,
    packets::PacketBytes,
    retry::RetryPolicy,
    session::Remember,
    tls::CertificateFiles,
};

/// The settings of a [`Client`](crate::Client). Certificates and seeds are required, the rest has defaults.
///
/// ```
/// use std::time::Duration;
/// use quoit_client::ClientConfig;
///
/// let config = ClientConfig::new("certs/client", ["127.0.0.1:7750", "127.0.0.1:7760"])?
///     .request_timeout(Duration::from_millis(200));
/// # Ok::<(), quoit_client::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub(crate) files: CertificateFiles,
    pub(crate) seeds: Vec<Address>,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) dial_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) levels: Levels,
    pub(crate) remember: Remember,
    pub(crate) seed: u64,
    pub(crate) resolver: Resolver,
    pub(crate) busy_poll: Duration,
    pub(crate) packets: PacketBytes,
    pub(crate) transport: Option<(Arc<dyn AsyncUdpSocket>, Arc<dyn Runtime>)>,
}

impl ClientConfig {
    /// Connects as the identity in `files` (a folder with `ca.crt`, `tls.crt`, `tls.key`, or three paths), through any
    /// of `seeds`. One seed that answers is enough: the other nodes are learned from it.
    ///
    /// # Errors
    /// [`AddressError`] for a seed that is not `HOST:PORT`.
    ///
    /// ```
    /// # use quoit_client::ClientConfig;
    /// assert!(ClientConfig::new("certs/client", ["localhost:7750"]).is_ok());
    /// assert!(ClientConfig::new("certs/client", ["localhost"]).is_err());
    /// ```
    pub fn new<S: AsRef<str>>(
        files: impl Into<CertificateFiles>,
        seeds: impl IntoIterator<Item = S>,
    ) -> Result<Self, AddressError> {
        let seeds = seeds.into_iter().map(|seed| seed.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self {
            files: files.into(),
            seeds,
            request_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(3),
            retry: RetryPolicy::default(),
            levels: Levels::default(),
            remember: Remember::Versions,
            seed: rand::random(),
            resolver: Resolver::default(),
            busy_poll: BUSY_POLL,
            packets: PacketBytes::default(),
            transport: None,
        })
    }

    /// How long one request may take, retries included. Default 1 s. Shorter fails faster when a node hangs; longer
    /// rides out a busy node and a slow network.
    ///
    /// ```
    /// # use {quoit_client::ClientConfig, std::time::Duration};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.request_timeout(Duration::from_millis(50));
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long [`connect`](crate::Client::connect) may take, waiting for the cluster to form included. Default 10 s.
    ///
    /// ```
    /// # use {quoit_client::ClientConfig, std::time::Duration};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.connect_timeout(Duration::from_secs(60));
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one attempt to reach one node may take. Default 3 s.
    ///
    /// ```
    /// # use {quoit_client::ClientConfig, std::time::Duration};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.dial_timeout(Duration::from_secs(1));
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// When requests are repeated. Default [`RetryPolicy::default`].
    ///
    /// ```
    /// # use quoit_client::{ClientConfig, RetryPolicy};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.retry(RetryPolicy::NEVER);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How long the runtime looks for an answer before its thread sleeps. Default 100 µs, at most 1 ms; zero for never. Where answers
    /// come so soon, as from the same machine or rack, they come sooner, and mostly at less cost, as to wake a processor takes
    /// longer than a request does. Whether it pays is learned: where it does not, or where others want the processor, it is
    /// left. A [transport](Self::transport) of your own is left alone.
    ///
    /// ```
    /// # use {quoit_client::ClientConfig, std::time::Duration};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.busy_poll(Duration::ZERO);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.busy_poll = limit.min(BUSY_POLL_MAX);
        self
    }

    /// The largest packets that are looked for between machines, in bytes of UDP payload, 1,200 to 16,000. Default 1,452, which
    /// Ethernet carries. Where the network has jumbo frames, their size less 48 (8,952 of 9,000) spares both sides much of the
    /// work; what does not come through is noticed and done without. Within a machine packets are larger in any case. What
    /// a node sends is up to its own `max_mtu`, and no larger than this or 6,500.
    ///
    /// ```
    /// # use quoit_client::ClientConfig;
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.max_mtu(8952);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn max_mtu(mut self, bytes: u16) -> Self {
        self.packets = PacketBytes::nearest(bytes);
        self
    }

    /// How many copies a write waits for, unless its options say otherwise. Default [`WriteLevel::Two`]: what is acknowledged
    /// survives the crash of any one node. Lower is faster by little, as all owners are written to side by side; higher fails
    /// sooner when nodes are down. What each level promises: see the [crate's documentation](crate#levels).
    ///
    /// ```
    /// # use quoit_client::{ClientConfig, WriteLevel};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.write_level(WriteLevel::Quorum);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn write_level(mut self, level: WriteLevel) -> Self {
        self.levels.write = level;
        self
    }

    /// Whose answers a read waits for, unless its options say otherwise. Default [`ReadLevel::One`].
    ///
    /// ```
    /// # use quoit_client::{ClientConfig, ReadLevel};
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.read_level(ReadLevel::Quorum);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn read_level(mut self, level: ReadLevel) -> Self {
        self.levels.read = level;
        self
    }

    /// Whether a session remembers which versions of keys it has written and read, and is never shown earlier ones while any
    /// owner within reach has them. Default `true`, for the 8,000 keys or so that it used last, in less than a megabyte.
    /// Without it a read costs no more than one answer even if that comes from an owner that missed a write.
    ///
    /// ```
    /// # use quoit_client::ClientConfig;
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.read_your_writes(false);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn read_your_writes(mut self, remember: bool) -> Self {
        self.remember = if remember { Remember::Versions } else { Remember::Nothing };
        self
    }

    /// Seeds the jitter of retries and redials. Default random; fixed, it makes a simulation repeatable.
    ///
    /// ```
    /// # use quoit_client::ClientConfig;
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.random_seed(7);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn random_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Finds the addresses of nodes' names by `lookup` instead of the system's resolver: for a directory of one's own, and
    /// for simulated networks. It is asked anew before each attempt to connect, and all addresses it tells are tried.
    /// `HOST:PORT` with an IP address for a host needs no lookup.
    ///
    /// ```
    /// # use quoit_client::ClientConfig;
    /// let fixed = |_name| async { Ok(vec![([127, 0, 0, 1], 7750).into(), ([127, 0, 0, 1], 7760).into()]) };
    /// let config = ClientConfig::new("certs/client", ["cache.example:7750"])?.resolver(fixed);
    /// # Ok::<(), quoit_client::AddressError>(())
    /// ```
    #[must_use]
    pub fn resolver<F>(mut self, lookup: impl Fn(Address) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolver = Resolver::new(lookup);
        self
    }

    /// Uses this socket and runtime instead of a UDP socket and tokio's, for simulated or faulty networks.
    ///
    /// ```
    /// # use {quoit_client::ClientConfig, std::sync::Arc, quinn::Runtime};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = Arc::new(quinn::TokioRuntime);
    /// let socket = runtime.wrap_udp_socket(std::net::UdpSocket::bind("127.0.0.1:0")?)?;
    /// let config = ClientConfig::new("certs/client", ["localhost:7750"])?.transport(socket, runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn transport(mut self, socket: Arc<dyn AsyncUdpSocket>, runtime: Arc<dyn Runtime>) -> Self {
        self.transport = Some((socket, runtime));
        self
    }
}

impl From<&str> for CertificateFiles {
    fn from(folder: &str) -> Self {
        Self::in_folder(folder)
    }
}

impl From<&Path> for CertificateFiles {
    fn from(folder: &Path) -> Self {
        Self::in_folder(folder)
    }
}

impl From<PathBuf> for CertificateFiles {
    fn from(folder: PathBuf) -> Self {
        Self::in_folder(folder)
    }
}
