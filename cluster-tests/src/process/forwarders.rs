//! A UDP forwarder before each node, which drops what is sent between nodes that are cut off from each other.
//!
//! A node with one thread for requests dials others from the port it listens on, so the forwarder before a node knows a sender by
//! its address. It gives each sender a socket of its own towards the node; what the node answers there goes back to that sender.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use tokio::{net::UdpSocket, task::JoinSet};

/// Senders that one forwarder serves. Each client and each node is one, for as long as it runs.
const SENDERS_MAX: usize = 256;
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// The forwarders of a fleet. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Forwarders {
    fronts: Vec<SocketAddr>,
    cuts: Arc<Cuts>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Cuts(Mutex<BTreeSet<(usize, usize)>>);

impl Cuts {
    fn contains(&self, from: Option<usize>, to: Option<usize>) -> bool {
        let cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        from.zip(to).is_some_and(|pair| cuts.contains(&pair))
    }
}

impl Forwarders {
    /// One before each node that listens there.
    pub(super) async fn start(listens: &[SocketAddr]) -> Result<Self> {
        let (mut fronts, mut tasks) = (Vec::new(), JoinSet::new());
        let cuts = Arc::new(Cuts::default());
        for (index, _) in listens.iter().enumerate() {
            let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            fronts.push(front.local_addr()?);
            let front = Front { index, front: Arc::new(front), listens: listens.to_vec(), cuts: Arc::clone(&cuts) };
            tasks.spawn(front.run());
        }
        Ok(Self { fronts, cuts, _tasks: tasks })
    }

    pub(super) fn fronts(&self) -> &[SocketAddr] {
        &self.fronts
    }

    pub(super) fn cut(&self, pairs: &BTreeSet<(usize, usize)>) {
        self.cuts.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(pairs);
    }
}

/// What stands before one node.
struct Front {
    index: usize,
    front: Arc<UdpSocket>,
    listens: Vec<SocketAddr>,
    cuts: Arc<Cuts>,
}

impl Front {
    async fn run(self) {
        let mut backs: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        let mut answers = JoinSet::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error is the echo of a datagram that met a closed port: whoever sent it will notice by itself.
            let Ok((len, sender)) = self.front.recv_from(&mut buffer).await else { continue };
            let from = self.listens.iter().position(|listen| *listen == sender);
            if self.cuts.contains(from, Some(self.index)) {
                continue;
            }
            if !backs.contains_key(&sender) && backs.len() < SENDERS_MAX {
                let Some(back) = self.back().await else { continue };
                answers.spawn(self.answers(Arc::clone(&back), sender, from));
                backs.insert(sender, back);
            }
            if let Some(back) = backs.get(&sender) {
                // Lost, as datagrams are.
                let _ = back.send(&buffer[..len]).await;
            }
        }
    }

    async fn back(&self) -> Option<Arc<UdpSocket>> {
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?;
        back.connect(self.listens[self.index]).await.ok()?;
        Some(Arc::new(back))
    }

    /// Carries what the node answers to `sender`.
    fn answers(&self, back: Arc<UdpSocket>, sender: SocketAddr, to: Option<usize>) -> impl Future<Output = ()> + use<> {
        let (front, cuts, from) = (Arc::clone(&self.front), Arc::clone(&self.cuts), Some(self.index));
        async move {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let Ok(len) = back.recv(&mut buffer).await else { continue };
                if !cuts.contains(from, to) {
                    let _ = front.send_to(&buffer[..len], sender).await;
                }
            }
        }
    }
}
