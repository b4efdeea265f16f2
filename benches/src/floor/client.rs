//! The client: callers append to one buffer; one task sends it, another answers the callers.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream, TokioRuntime};
use quoit_client::{
    CertificateFiles, Role, endpoint,
    packets::PacketBytes,
    socket::{UdpSocket, tuned},
};
use slab::Slab;
use tokio::sync::{Notify, oneshot};

use super::frames::{self, Frames};

/// Chunks taken from QUIC at once; a chunk is at most a packet.
pub(super) const CHUNKS_AT_ONCE: usize = 32;

/// A connection to a [`Server`](super::Server). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pipe: Arc<Pipe>,
    connection: Connection,
}

#[derive(Debug, Default)]
struct Pipe {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    unsent: BytesMut,
    /// Who waits for the answer with this id.
    pending: Slab<oneshot::Sender<Bytes>>,
    lost: bool,
}

impl Client {
    /// Connects to a server, as the client in `files`.
    ///
    /// # Errors
    /// Certificates that cannot be used, or a server that refuses them.
    pub async fn connect(files: &CertificateFiles, address: SocketAddr) -> Result<Self> {
        let credentials = files.load()?;
        let packets = PacketBytes::default();
        let settings = endpoint::endpoint_config(&credentials.reset_key(0), packets);
        let socket = tuned(UdpSocket::towards(address)?, packets, None);
        let endpoint = endpoint::dialling_endpoint(settings, socket, Arc::new(TokioRuntime))?;
        let mut config = quinn::ClientConfig::new(credentials.dialler(Role::Client));
        config.transport_config(Arc::new(endpoint::transport(Role::Client, packets, address)));
        let server_name = Role::Node.dns_name(&credentials.identity().cluster);
        let connection = endpoint.connect_with(config, address, &server_name)?.await?;
        let (send, recv) = connection.open_bi().await?;
        let pipe = Arc::new(Pipe::default());
        tokio::spawn(write(Arc::clone(&pipe), send));
        tokio::spawn(read(Arc::clone(&pipe), recv));
        Ok(Self { pipe, connection })
    }

    /// Sends `key`, and `value` behind it unless it is empty, and waits for the answer.
    ///
    /// # Errors
    /// A lost connection.
    pub async fn ask(&self, key: &[u8], value: &[u8]) -> Result<Bytes> {
        let answer = self.pipe.start(key, value)?;
        answer.await.context("the connection to the floor server was lost")
    }

    /// Ends the connection, for all clones.
    pub fn close(&self) {
        self.connection.close(0u32.into(), b"");
    }
}

impl Pipe {
    fn start(&self, key: &[u8], value: &[u8]) -> Result<oneshot::Receiver<Bytes>> {
        let (sender, answer) = oneshot::channel();
        let mut queue = self.lock();
        if queue.lost {
            bail!("the connection to the floor server is lost");
        }
        let id = u32::try_from(queue.pending.insert(sender))?;
        let was_empty = queue.unsent.is_empty();
        frames::encode(&mut queue.unsent, id, [key, value]);
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(pipe: Arc<Pipe>, mut stream: SendStream) {
    loop {
        pipe.filled.notified().await;
        let unsent = pipe.lock().unsent.split().freeze();
        if !unsent.is_empty() && stream.write_chunk(unsent).await.is_err() {
            return;
        }
    }
}

async fn read(pipe: Arc<Pipe>, mut stream: RecvStream) {
    let mut frames = Frames::default();
    let mut chunks: [Bytes; CHUNKS_AT_ONCE] = Default::default();
    while let Ok(Some(count)) = stream.read_chunks(&mut chunks).await {
        let mut queue = pipe.lock();
        for chunk in &mut chunks[..count] {
            frames.feed(&std::mem::take(chunk), |id, body| {
                if let Some(caller) = queue.pending.try_remove(id as usize) {
                    // The caller may have gone: then nobody wants the answer.
                    let _ = caller.send(Bytes::copy_from_slice(body));
                }
            });
        }
    }
    let mut queue = pipe.lock();
    queue.lost = true;
    // Tells everybody who still waits.
    queue.pending.clear();
}
