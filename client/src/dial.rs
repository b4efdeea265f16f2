//! Dialling: the TLS handshake, who answered, and the `Hello` that opens a session.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, Identity, RequestId, Role,
    frame::{FrameHeader, FrameType},
    limits,
    message::session::{Hello, HelloAck},
    view::Address,
};
use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};

use crate::{endpoint, error::DialError, frames, packets::PacketBytes, tls};

/// How long after one address the next is dialled.
pub(crate) const STAGGER: Duration = Duration::from_millis(100);
/// Addresses of one name that are dialled.
const ADDRESSES_MAX: usize = 64;

/// An open session with a node.
#[derive(Debug)]
pub struct Dialled {
    /// The QUIC connection.
    pub connection: Connection,
    /// Who answered, by its certificate.
    pub peer: Identity,
    /// What it said.
    pub ack: HelloAck,
    /// The control stream, towards the node and from it. The session lasts as long as it is open.
    pub control: (SendStream, RecvStream),
}

/// Whom to dial, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// The DNS name that the certificate there must carry.
    pub server_name: String,
    /// The protocol to speak.
    pub role: Role,
    /// The largest packets to look for.
    pub packets: PacketBytes,
}

/// What knows the addresses behind a name: the system's resolver, or one from outside.
#[derive(Clone)]
pub struct Resolver(Arc<Lookup>);

type Lookup = dyn Fn(Address) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

impl Resolver {
    /// Asks `lookup` for the addresses of a name.
    pub fn new<F>(lookup: impl Fn(Address) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |address| Box::pin(lookup(address))))
    }

    /// Every address that `address` leads to at this moment: what was found before is not remembered.
    ///
    /// # Errors
    /// [`DialError::Resolve`] if there is none within `wait`.
    pub async fn resolve(&self, address: &Address, wait: Duration) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(literal) = address.as_str().parse() {
            return Ok(vec![literal]);
        }
        let failed = |reason: String| DialError::Resolve { address: address.clone(), reason };
        let found = timeout(wait, (self.0)(address.clone()))
            .await
            .map_err(|_| failed("the resolver does not answer".into()))?
            .map_err(|error| failed(error.to_string()))?;
        if found.is_empty() { Err(failed("it has no address".into())) } else { Ok(found) }
    }

    /// Resolves `address`, within `wait`, and has `dial` try every address behind it until one answers: side by side, each
    /// a little later than the one before. One after the other, a dead address would cost the whole timeout of a dial, and
    /// whoever waits no longer than for one dial would never come to the second.
    ///
    /// Cancel-safe if `dial` is: the dials that are not needed are dropped.
    ///
    /// # Errors
    /// [`DialError`] of the address that failed last, or [`DialError::Resolve`].
    pub async fn dial_any<T, F>(
        &self,
        address: &Address,
        wait: Duration,
        dial: impl Fn(SocketAddr) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let found = self.resolve(address, wait).await?;
        let in_turn = found.into_iter().take(ADDRESSES_MAX).zip(0_u32..);
        let dials = in_turn.map(|(address, position)| {
            let dialling = dial(address);
            async move {
                sleep(STAGGER.saturating_mul(position)).await;
                dialling.await
            }
        });
        let mut dials: FuturesUnordered<_> = dials.collect();
        let mut failure = DialError::Resolve { address: address.clone(), reason: "it has no address".into() };
        while let Some(outcome) = dials.next().await {
            match outcome {
                Ok(dialled) => return Ok(dialled),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl Default for Resolver {
    /// The system's resolver: its hosts file and DNS, as it is configured.
    fn default() -> Self {
        Self::new(|address: Address| async move { Ok(lookup_host(address.as_str()).await?.collect()) })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").finish_non_exhaustive()
    }
}

/// Dials `target` and opens a session with `hello`, all within `wait`.
///
/// Cancel-safe: a dropped future closes the connection.
///
/// # Errors
/// [`DialError`] says who refused whom and why.
pub async fn dial(
    endpoint: &Endpoint,
    tls: Arc<QuicClientConfig>,
    target: &Target,
    hello: &Hello,
    wait: Duration,
) -> Result<Dialled, DialError> {
    let address = target.address;
    let failed = |reason: String| DialError::Failed { address, reason };
    let mut config = quinn::ClientConfig::new(tls);
    config.transport_config(Arc::new(endpoint::transport(target.role, target.packets, address)));
    let connecting =
        endpoint.connect_with(config, address, &target.server_name).map_err(|error| failed(error.to_string()))?;
    let handshake = async {
        let lost = |error: &ConnectionError| DialError::from_connection(address, error, wait);
        let connection = connecting.await.map_err(|error| lost(&error))?;
        let peer = match tls::peer_identity(&connection) {
            Ok(peer) => peer,
            Err(source) => {
                close(&connection, ErrorCode::BadIdentity, &source.to_string());
                return Err(DialError::Identity { address, source });
            }
        };
        match open_session(&connection, hello).await {
            Ok((ack, control)) => Ok(Dialled { connection, peer, ack, control }),
            // The stream's own error only says that the connection is gone; the connection knows why.
            Err(reason) => Err(match connection.close_reason() {
                Some(error) => lost(&error),
                None => failed(reason),
            }),
        }
    };
    timeout(wait, handshake).await.unwrap_or(Err(DialError::Timeout { address, waited: wait }))
}

async fn open_session(connection: &Connection, hello: &Hello) -> Result<(HelloAck, (SendStream, RecvStream)), String> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let mut out = BytesMut::new();
    session_header(FrameType::Hello).encode_with(&mut out, 0, |out| hello.encode(out));
    send.write_all(&out).await.map_err(|error| error.to_string())?;
    let (header, body) =
        frames::read_frame(&mut recv, limits::HELLO_BYTES_MAX).await.map_err(|error| error.to_string())?;
    if header.kind != FrameType::HelloAck {
        return Err(format!("it answered Hello with {:?}", header.kind));
    }
    let ack = HelloAck::decode(&body).map_err(|error| error.to_string())?;
    Ok((ack, (send, recv)))
}

/// The header of a frame that belongs to the session, not to a request.
pub fn session_header(kind: FrameType) -> FrameHeader {
    FrameHeader::new(kind, RequestId::default(), Fence::default(), Epoch::GENESIS)
}

/// Closes `connection` with a reason that the other side can show to a person.
pub fn close(connection: &Connection, code: ErrorCode, text: &str) {
    /// A close frame must fit a packet with the rest.
    const TEXT_BYTES_MAX: usize = 900;
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    connection.close(u32::from(code.number()).into(), text.as_bytes());
}

#[cfg(test)]
mod tests;
