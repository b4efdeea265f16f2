//! The server: a hash map behind a lock.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use quinn::{Endpoint, Incoming, TokioRuntime};
use quoit_client::{
    CertificateFiles, Role, endpoint,
    packets::PacketBytes,
    socket::{UdpSocket, tuned},
};

use super::{
    KEY_BYTES,
    client::CHUNKS_AT_ONCE,
    frames::{self, Frames},
};

type Map = Mutex<HashMap<[u8; KEY_BYTES], Box<[u8]>>>;

/// A server. Dropping it ends its connections.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
}

impl Server {
    /// Listens on a free loopback port with the node's certificate in `files`. Call it within a runtime.
    ///
    /// # Errors
    /// Certificates or a socket that cannot be used.
    pub fn start(files: &CertificateFiles) -> Result<Self> {
        let credentials = files.load()?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(credentials.listener(files)?));
        let packets = PacketBytes::default();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.transport_config(Arc::new(endpoint::transport(Role::Client, packets, loopback)));
        let (socket, _) = endpoint::bind(loopback)?;
        let settings = endpoint::endpoint_config(&credentials.reset_key(0), packets);
        let runtime = Arc::new(TokioRuntime);
        let socket = tuned(UdpSocket::new(socket)?, packets, None);
        let endpoint = Endpoint::new_with_abstract_socket(settings, Some(config), socket, runtime)?;
        tokio::spawn(accept(endpoint.clone()));
        Ok(Self { endpoint })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

/// Serves every connection on a task of its own, which ends with the connection.
async fn accept(endpoint: Endpoint) {
    let map = Arc::new(Map::default());
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(serve(incoming, Arc::clone(&map)));
    }
}

/// Answers one connection's one stream. Every error means that the client is gone, which nobody needs to hear of.
async fn serve(incoming: Incoming, map: Arc<Map>) -> Result<()> {
    let (mut send, mut recv) = incoming.await?.accept_bi().await?;
    let mut frames = Frames::default();
    let mut chunks: [Bytes; CHUNKS_AT_ONCE] = Default::default();
    let mut replies = BytesMut::new();
    while let Some(count) = recv.read_chunks(&mut chunks).await? {
        answer_all(&map, &mut frames, &mut chunks[..count], &mut replies);
        if !replies.is_empty() {
            send.write_chunk(replies.split().freeze()).await?;
        }
    }
    Ok(())
}

/// Answers what stands in `chunks`, under one lock.
fn answer_all(map: &Map, frames: &mut Frames, chunks: &mut [Bytes], replies: &mut BytesMut) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    for chunk in chunks {
        frames.feed(&std::mem::take(chunk), |id, body| {
            let found = match body.split_first_chunk() {
                Some((key, [])) => map.get(key).map_or(&[][..], |value| value),
                Some((key, value)) => {
                    map.insert(*key, value.into());
                    &[]
                }
                None => &[],
            };
            frames::encode(replies, id, [found, &[]]);
        });
    }
}
