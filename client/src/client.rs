//! The public face: connect, then get, set, delete, touch.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quoit_proto_types::{
    Epoch, Fence, HashPoint, KeyspaceId, Label, SlotIndex, View, codec,
    frame::FrameType,
    limits,
    message::{
        admin::{AdminReply, AdminRequest},
        client::{Expiry, check_key},
    },
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::ClientConfig,
    core::Core,
    error::{ConnectError, DialError, RequestError},
    request::{Reply, Request},
};

/// How long [`Client::close`] waits for the nodes to be told.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to a cluster. Cheap to clone; every clone shares the same connections.
///
/// Keys have 1 byte to 1 KiB and are any bytes; values have 0 bytes to the cluster's limit (1 MiB unless configured) and
/// are any bytes. All futures are cancel-safe: dropping one abandons the request, and whether a write took effect is then
/// unknown.
///
/// ```no_run
/// use quoit_client::{Client, ClientConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect(ClientConfig::new("certs/client", ["127.0.0.1:7750"])?).await?;
/// client.set("greeting", "hello").await?;
/// assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) core: Arc<Core>,
    _refresher: Arc<AbortOnDropHandle<()>>,
}

/// How a value is stored.
///
/// ```
/// use {quoit_client::SetOptions, std::time::Duration};
/// let for_a_minute = SetOptions::new().ttl(Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    expiry: Expiry,
}

impl SetOptions {
    /// The defaults: the value stays until it is deleted or evicted.
    ///
    /// ```
    /// assert_eq!(quoit_client::SetOptions::new(), quoit_client::SetOptions::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The value expires after `duration`, rounded up to a millisecond.
    ///
    /// ```
    /// use {quoit_client::SetOptions, std::time::Duration};
    /// let briefly = SetOptions::new().ttl(Duration::from_millis(250));
    /// ```
    #[must_use]
    pub fn ttl(mut self, duration: Duration) -> Self {
        self.expiry = Expiry::after(duration);
        self
    }
}

/// How long a key lives.
///
/// ```
/// use {quoit_client::TimeToLive, std::time::Duration};
/// let shown = match TimeToLive::Expires(Duration::from_secs(5)) {
///     TimeToLive::NoSuchKey => "no such key".into(),
///     TimeToLive::Forever => "no expiry".into(),
///     TimeToLive::Expires(left) => format!("{left:?} left"),
/// };
/// assert_eq!(shown, "5s left");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// There is no such key.
    NoSuchKey,
    /// Until it is deleted or evicted.
    Forever,
    /// This much longer.
    Expires(Duration),
}

/// Why a key is where it is.
///
/// ```no_run
/// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
/// let placement = client.explain("greeting")?;
/// println!("hash {} is in slot {}, owned by {:?}", placement.point, placement.slot, placement.owners);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The key's hash.
    pub point: HashPoint,
    /// The slot that holds the hash.
    pub slot: SlotIndex,
    /// How many slots there are.
    pub slots: u32,
    /// The slot's owners by name, the primary first.
    pub owners: Vec<String>,
    /// The view this follows from.
    pub epoch: Epoch,
    /// The last change of placement.
    pub fence: Fence,
}

impl Client {
    /// Finds the cluster through the seeds, fetches its view, and starts to connect to every node.
    ///
    /// If a seed answers but its cluster has not formed yet, it is asked again until the connect timeout.
    ///
    /// # Errors
    /// [`ConnectError`]; certificates that nobody accepts are reported at once, everything else at the timeout.
    ///
    /// ```no_run
    /// # use quoit_client::{Client, ClientConfig};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::connect(ClientConfig::new("certs/client", ["127.0.0.1:7750"])?).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let core = Arc::new(Core::connect(config).await?);
        let refresher = tokio::spawn(Arc::clone(&core).keep_current());
        Ok(Self { core, _refresher: Arc::new(AbortOnDropHandle::new(refresher)) })
    }

    /// Reads a key; `None` if it is absent. Small values are copied and pin nothing but themselves.
    ///
    /// # Errors
    /// [`RequestError`]; never for a miss.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// if let Some(value) = client.get("user:42").await? {
    ///     println!("{} bytes", value.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, RequestError> {
        let reply = self.core.execute(Request::Get { key: key.as_ref() }).await?;
        if found(&reply, FrameType::Value)? { Ok(Some(reply.body)) } else { Ok(None) }
    }

    /// Writes a key, which then stays until it is deleted or evicted.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// client.set("user:42", "Ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), RequestError> {
        self.set_with(key, value, SetOptions::default()).await
    }

    /// Writes a key with `options`.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # use {quoit_client::{Client, RequestError, SetOptions}, std::time::Duration};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// client.set_with("session:7", "…", SetOptions::new().ttl(Duration::from_secs(300))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: SetOptions,
    ) -> Result<(), RequestError> {
        let (key, value, expiry) = (key.as_ref(), value.as_ref(), options.expiry);
        let reply = self.core.execute(Request::Set { key, value, expiry }).await?;
        if reply.header.kind == FrameType::Done { Ok(()) } else { Err(unexpected(&reply)) }
    }

    /// Removes a key; says whether it was there.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// let was_there = client.delete("user:42").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, RequestError> {
        found(&self.core.execute(Request::Delete { key: key.as_ref() }).await?, FrameType::Done)
    }

    /// Gives a key a new time to live, `None` for no end, and marks it as just used; says whether it was there.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// let still_there = client.touch("session:7", Some(std::time::Duration::from_secs(300))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<bool, RequestError> {
        let expiry = ttl.map_or(Expiry::Never, Expiry::after);
        found(&self.core.execute(Request::Touch { key: key.as_ref(), expiry }).await?, FrameType::Done)
    }

    /// Says how long a key lives. Does not count as a use of it.
    ///
    /// # Errors
    /// [`RequestError`].
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// println!("{:?}", client.ttl("session:7").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ttl(&self, key: impl AsRef<[u8]>) -> Result<TimeToLive, RequestError> {
        let reply = self.core.execute(Request::TimeToLive { key: key.as_ref() }).await?;
        if !found(&reply, FrameType::Remaining)? {
            return Ok(TimeToLive::NoSuchKey);
        }
        let (expiry, _) =
            codec::decode_prefix::<Expiry>(&reply.body, "time to live").map_err(|_| unexpected(&reply))?;
        Ok(expiry.duration().map_or(TimeToLive::Forever, TimeToLive::Expires))
    }

    /// Says where a key is and why, from the view this client goes by. Asks nobody.
    ///
    /// # Errors
    /// [`RequestError::KeyInvalid`].
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// println!("{:?}", client.explain("user:42")?.owners);
    /// # Ok(())
    /// # }
    /// ```
    pub fn explain(&self, key: impl AsRef<[u8]>) -> Result<Placement, RequestError> {
        let key = key.as_ref();
        check_key(key).map_err(|_| RequestError::KeyInvalid { bytes: key.len() })?;
        let topology = self.core.topology();
        let point = HashPoint::of_key(KeyspaceId::DEFAULT, key);
        let slots = topology.ring.slots();
        let slot = slots.slot_of(point);
        let name = |ordinal| topology.view.member(ordinal).map(|member| member.name.to_string());
        let owners = topology.ring.owners(slot).iter().copied().filter_map(name).collect();
        let (epoch, fence) = (topology.view.epoch(), topology.view.fence());
        Ok(Placement { point, slot, slots: slots.count(), owners, epoch, fence })
    }

    /// Asks the member called `node` something, or commands something, as an administrator. It is sent to that very member,
    /// within the request timeout, and needs a certificate of the role admin.
    ///
    /// A question is repeated like any read. A command is repeated only if it certainly did nothing.
    ///
    /// # Errors
    /// [`RequestError`]: [`NoSuchMember`](RequestError::NoSuchMember) if the view has no member of this name,
    /// [`Refused`](RequestError::Refused) with [`WrongRole`](crate::ErrorCode::WrongRole) for a certificate of another
    /// role. What the coordinator says to a command is no error but the reply.
    ///
    /// ```no_run
    /// use quoit_client::{AdminReply, AdminRequest, Client};
    ///
    /// # async fn example(client: Client) -> Result<(), quoit_client::RequestError> {
    /// for member in client.view().members() {
    ///     if let AdminReply::Status(status) = client.admin(&member.name, AdminRequest::Status).await? {
    ///         println!("{}: {} at epoch {}", status.name, status.standing, status.epoch.value());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn admin(&self, node: &Label, request: AdminRequest) -> Result<AdminReply, RequestError> {
        self.core.administer(node, &request).await
    }

    /// The view this client goes by.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) {
    /// println!("{} members", client.view().members().len());
    /// # }
    /// ```
    pub fn view(&self) -> View {
        self.core.topology().view.clone()
    }

    /// How often a request of this client and its clones has been redirected: refused because the client went by an old
    /// view, or left without an owner by it, and repeated once a later one was asked for. A request is redirected at most
    /// once for each view.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) {
    /// println!("{} redirects", client.redirects());
    /// # }
    /// ```
    pub fn redirects(&self) -> u64 {
        self.core.redirects()
    }

    /// The members that cannot be reached at the moment, and why.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) {
    /// for (node, why) in client.unreachable() {
    ///     println!("{node}: {why}");
    /// }
    /// # }
    /// ```
    pub fn unreachable(&self) -> Vec<(String, DialError)> {
        let topology = self.core.topology();
        let broken = |node: &Arc<crate::pool::Node>| Some((node.label.clone(), node.broken()?));
        topology.nodes().iter().filter_map(broken).collect()
    }

    /// Closes every connection and waits, at most a second, until the nodes have been told. Requests under way fail.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) {
    /// client.close().await;
    /// # }
    /// ```
    pub async fn close(&self) {
        self.core.close(CLOSE_TIMEOUT).await;
    }
}

/// The longest key, in bytes.
///
/// ```
/// use quoit_client::{KEY_BYTES_MAX, RequestError};
/// let error = RequestError::KeyInvalid { bytes: KEY_BYTES_MAX + 1 };
/// assert_eq!(error.to_string(), "a key of 1025 bytes: keys have 1 to 1024 bytes");
/// ```
pub const KEY_BYTES_MAX: usize = limits::KEY_BYTES_MAX;

/// Whether the key was there: a frame of `kind` says so, a `Miss` denies it.
fn found(reply: &Reply, kind: FrameType) -> Result<bool, RequestError> {
    if reply.header.kind == kind {
        Ok(true)
    } else if reply.header.kind == FrameType::Miss {
        Ok(false)
    } else {
        Err(unexpected(reply))
    }
}

fn unexpected(reply: &Reply) -> RequestError {
    let reason = format!("a {:?} frame is no answer to this request", reply.header.kind);
    RequestError::Protocol { node: "the node".into(), reason }
}
