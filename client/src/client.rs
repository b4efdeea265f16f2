//! The public face: connect, then get, set, delete, touch.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use quoit_proto_types::{
    ErrorCode, Hlc, KeyspaceId, Label, Ring, Version, View,
    codec::{self, DecodeError},
    frame::FrameType,
    limits,
    message::{
        admin::{AdminReply, AdminRequest},
        client::{Expiry, ReadHeader, ValueHeader, WriteHeader, Written},
    },
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    answers::{Found, Placement, TimeToLive},
    config::ClientConfig,
    core::Core,
    error::{ConnectError, DialError, RequestError},
    options::{GetOptions, SetOptions, WriteOptions},
    request::{Reply, Request, point_of},
    session::{Seen, Session},
};

/// How long [`Client::close`] waits for the nodes to be told.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to a cluster. Cheap to clone; every clone shares the same connections and the same session.
///
/// A **session** is what its owner would be surprised to see undone: what one of its requests has written or read, a later one
/// finds, or something later, whichever nodes carry the two out, as long as an owner within reach has it. Writes of a session
/// are ordered as it made them, even if the nodes' clocks differ. [`new_session`](Self::new_session) starts another one.
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
    pub(crate) session: Arc<Session>,
    _refresher: Arc<AbortOnDropHandle<()>>,
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
        let session = Arc::new(Session::new(config.remember));
        let core = Arc::new(Core::connect(config).await?);
        let refresher = tokio::spawn(Arc::clone(&core).keep_current());
        Ok(Self { core, session, _refresher: Arc::new(AbortOnDropHandle::new(refresher)) })
    }

    /// The same connections with a session of its own, which has seen nothing: for a user whose requests have nothing to do
    /// with those of others, as in a server of many. Clones share the session of what they are cloned from.
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// let of_another_user = client.new_session();
    /// of_another_user.set("draft", "…").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new_session(&self) -> Self {
        Self { session: Arc::new(self.session.another()), ..self.clone() }
    }

    /// Reads a key; `None` if it is absent. Small values are copied and pin next to nothing but themselves.
    ///
    /// An old value is told where there is none better; [`get_with`](Self::get_with) says whether it is.
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
        Ok(self.get_with(key, GetOptions::default()).await?.map(|found| found.value))
    }

    /// Reads a key with `options`, and says which version it has; `None` if it is absent.
    ///
    /// A miss is told as such even if the session has seen a value: it may have been evicted, and no owner keeps track of that.
    ///
    /// # Errors
    /// [`RequestError`]; never for a miss, nor for a value that is [stale](Found::stale).
    ///
    /// ```no_run
    /// # use quoit_client::{Client, GetOptions, ReadLevel, RequestError};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// match client.get_with("balance:42", GetOptions::new().level(ReadLevel::Quorum)).await? {
    ///     Some(found) if found.stale => println!("a later one was seen, and cannot be reached"),
    ///     Some(found) => println!("{:?}, version {}", found.value, found.version),
    ///     None => println!("no such key"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_with(&self, key: impl AsRef<[u8]>, options: GetOptions) -> Result<Option<Found>, RequestError> {
        let key = key.as_ref();
        let (point, seen) = (point_of(key)?, self.session.seen(key));
        let request = Request::Get(self.read(key, seen, options));
        let reply = self.core.execute(point, &request).await?;
        self.found(seen, reply)
    }

    /// Writes a key, which then stays until it is deleted or evicted; says which version that is.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// let version = client.set("user:42", "Ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Version, RequestError> {
        self.set_with(key, value, SetOptions::default()).await
    }

    /// Writes a key with `options`; says which version that is.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # use {quoit_client::{Client, RequestError, SetOptions, WriteLevel}, std::time::Duration};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// let options = SetOptions::new().ttl(Duration::from_secs(300)).level(WriteLevel::Quorum);
    /// let version = client.set_with("session:7", "…", options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: SetOptions,
    ) -> Result<Version, RequestError> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let header = self.write(key, WriteOptions { level: options.level }, options.expiry);
        let reply = self.carry_out(key, &Request::Set { header, value }).await?;
        Ok(self.written(key, reply)?.version)
    }

    /// Removes a key; says whether it was there, and which version the deletion is.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// if client.delete("user:42").await?.existed {
    ///     println!("it was there");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Written, RequestError> {
        self.delete_with(key, WriteOptions::default()).await
    }

    /// Removes a key with `options`; says whether it was there, and which version the deletion is.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # use quoit_client::{Client, RequestError, WriteLevel, WriteOptions};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// let deleted = client.delete_with("user:42", WriteOptions::new().level(WriteLevel::All)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_with(&self, key: impl AsRef<[u8]>, options: WriteOptions) -> Result<Written, RequestError> {
        let key = key.as_ref();
        let request = Request::Delete(self.write(key, options, Expiry::Never));
        let reply = self.carry_out(key, &request).await?;
        self.written(key, reply)
    }

    /// Gives a key a new time to live, `None` for no end, and marks it as just used; says which version of it lives on, `None`
    /// if there is no such key. The value and its version stay as they are.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # async fn example(client: quoit_client::Client) -> Result<(), quoit_client::RequestError> {
    /// let still_there = client.touch("session:7", Some(std::time::Duration::from_secs(300))).await?.is_some();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<Option<Version>, RequestError> {
        self.touch_with(key, ttl, WriteOptions::default()).await
    }

    /// The same with `options`.
    ///
    /// # Errors
    /// [`RequestError`]; see [`has_no_side_effects`](RequestError::has_no_side_effects).
    ///
    /// ```no_run
    /// # use quoit_client::{Client, RequestError, WriteLevel, WriteOptions};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// let for_good = client.touch_with("session:7", None, WriteOptions::new().level(WriteLevel::Quorum)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn touch_with(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Option<Duration>,
        options: WriteOptions,
    ) -> Result<Option<Version>, RequestError> {
        let key = key.as_ref();
        let request = Request::Touch(self.write(key, options, ttl.map_or(Expiry::Never, Expiry::after)));
        let reply = self.carry_out(key, &request).await?;
        if reply.kind == FrameType::Miss {
            return Ok(None);
        }
        Ok(Some(self.written(key, reply)?.version))
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
        self.ttl_with(key, GetOptions::default()).await
    }

    /// The same with `options`.
    ///
    /// # Errors
    /// [`RequestError`].
    ///
    /// ```no_run
    /// # use quoit_client::{Client, GetOptions, ReadLevel, RequestError};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// println!("{:?}", client.ttl_with("session:7", GetOptions::new().level(ReadLevel::All)).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ttl_with(&self, key: impl AsRef<[u8]>, options: GetOptions) -> Result<TimeToLive, RequestError> {
        let key = key.as_ref();
        let point = point_of(key)?;
        let request = Request::TimeToLive(self.read(key, self.session.seen(key), options));
        let reply = self.core.execute(point, &request).await?;
        if reply.kind == FrameType::Miss {
            return Ok(TimeToLive::NoSuchKey);
        }
        let (expiry, _) = decode::<Expiry>(reply, FrameType::Remaining, |body, what| codec::decode_prefix(body, what))?;
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
        let point = point_of(key.as_ref())?;
        let topology = self.core.topology();
        let slots = topology.ring.slots();
        let slot = slots.slot_of(point);
        let name = |ordinal| topology.view.member(ordinal).map(|member| member.name.to_string());
        let owners = |ring: &Ring| ring.owners(slot).iter().copied().filter_map(name).collect::<Vec<_>>();
        let (epoch, fence) = (topology.view.epoch(), topology.view.fence());
        let (owners, target_owners) = (owners(&topology.ring), topology.view.target_ring().as_ref().map(owners));
        Ok(Placement { point, slot, slots: slots.count(), owners, target_owners, epoch, fence })
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

    /// The header of a read. What the session has `seen` of the key counts as well as what the options ask for.
    pub(crate) fn read<'k>(&self, key: &'k [u8], seen: Seen, options: GetOptions) -> ReadHeader<'k> {
        let level = options.level.unwrap_or(self.core.levels.read);
        let at_least = options.at_least.max(seen.version);
        ReadHeader { keyspace: KeyspaceId::DEFAULT, level, at_least, key }
    }

    /// The header of a write, which is later than all that the session has seen.
    pub(crate) fn write<'k>(&self, key: &'k [u8], options: WriteOptions, expiry: Expiry) -> WriteHeader<'k> {
        let level = options.level.unwrap_or(self.core.levels.write);
        WriteHeader { keyspace: KeyspaceId::DEFAULT, level, after: self.session.moment(), expiry, again: None, key }
    }

    /// Carries out a write.
    async fn carry_out(&self, key: &[u8], request: &Request<'_>) -> Result<Reply, RequestError> {
        let point = point_of(key)?;
        let reply = self.core.execute(point, request).await;
        self.heard(request.after(), reply)
    }

    /// The reply to a write that was to be later than `after`, which may be too late.
    pub(crate) fn heard(&self, after: Hlc, reply: Result<Reply, RequestError>) -> Result<Reply, RequestError> {
        if let Err(RequestError::Refused { refusal, .. }) = &reply
            && refusal.code == ErrorCode::ClockSkew
        {
            self.session.forget_moment(after);
        }
        reply
    }

    /// What a reply to a read says of the key of which the session had `seen` so much, and has seen this from here on.
    pub(crate) fn found(&self, seen: Seen, reply: Reply) -> Result<Option<Found>, RequestError> {
        if reply.kind == FrameType::Miss {
            return Ok(None);
        }
        let (ValueHeader { version, stale }, value) =
            decode(reply, FrameType::Value, |body, what| codec::decode_prefix(body, what))?;
        self.session.found(seen, version);
        Ok(Some(Found { value, version, stale }))
    }

    /// What was written under `key`, which the session has seen from here on.
    pub(crate) fn written(&self, key: &[u8], reply: Reply) -> Result<Written, RequestError> {
        let (written, _) = decode::<Written>(reply, FrameType::Done, |body, what| codec::decode_prefix(body, what))?;
        self.session.note(self.session.key(key), written.version);
        Ok(written)
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

/// Reads what stands in front of a value.
type ReadHead<T> = for<'a> fn(&'a [u8], &'static str) -> Result<(T, &'a [u8]), DecodeError>;

/// What stands in a reply of `kind` in front of its value, and the value.
fn decode<T>(reply: Reply, kind: FrameType, read: ReadHead<T>) -> Result<(T, Bytes), RequestError> {
    if reply.kind != kind {
        return Err(unexpected(&reply));
    }
    let (head, value) = read(&reply.body, "reply").map_err(|_| unexpected(&reply))?;
    let front = reply.body.len() - value.len();
    let mut value = reply.body;
    // Not a slice, which would be counted, and take an allocation for that.
    value.advance(front);
    Ok((head, value))
}

fn unexpected(reply: &Reply) -> RequestError {
    let reason = format!("a {:?} frame is no answer to this request", reply.kind);
    RequestError::Protocol { node: "the node".into(), reason }
}
