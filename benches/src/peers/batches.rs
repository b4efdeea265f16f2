//! Connections of which each sends a batch of requests, waits for all replies, checks them, and goes on: the leanest client
//! there is, without a queue, a task or a wake-up for each request.

use std::{
    marker::PhantomData,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use anyhow::{Result, bail};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use super::{
    shared::READ_BYTES,
    stream::{Stream, Tls},
    wire::{Reply, Wire},
};
use crate::{
    load::{BatchTally, Sample, Until, all, charged},
    workload::{Step, Workload},
};

/// So many connections.
#[derive(Debug)]
pub struct Batches<W> {
    connections: Vec<Stream>,
    wire: PhantomData<W>,
}

impl<W: Wire> Batches<W> {
    /// Opens them.
    ///
    /// # Errors
    /// As [`Stream::connect`].
    pub async fn connect(count: usize, address: SocketAddr, tls: Option<&Tls>) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(Stream::connect(address, tls).await?);
        }
        Ok(Self { connections, wire: PhantomData })
    }

    /// Sends `depth` requests at a time over each connection, and charges the processes `servers`.
    ///
    /// # Errors
    /// A connection that breaks, or a server that refuses.
    pub async fn run(
        &mut self,
        depth: usize,
        until: Until,
        workload: &Arc<Workload>,
        servers: &[u32],
        done: &Arc<AtomicU64>,
    ) -> Result<Sample> {
        self.once(depth, until.tenth(), workload, done).await?;
        charged(servers, self.once(depth, until, workload, done)).await
    }

    async fn once(
        &mut self,
        depth: usize,
        until: Until,
        workload: &Arc<Workload>,
        done: &Arc<AtomicU64>,
    ) -> Result<Sample> {
        let tally = BatchTally::new(until, self.connections.len(), Arc::clone(done))?;
        let mut running = JoinSet::new();
        for (index, stream) in self.connections.drain(..).enumerate() {
            let (workload, tally) = (Arc::clone(workload), tally.clone());
            let (out, text, asked) = (BytesMut::new(), BytesMut::with_capacity(READ_BYTES), Vec::new());
            let (key, value, wire) = (Vec::new(), Vec::new(), PhantomData::<W>);
            let connection = Connection { index, stream, workload, depth, out, text, asked, key, value, wire };
            running.spawn(connection.run(tally));
        }
        self.connections = all(running).await?;
        Ok(tally.sample())
    }
}

struct Connection<W> {
    index: usize,
    stream: Stream,
    workload: Arc<Workload>,
    depth: usize,
    out: BytesMut,
    text: BytesMut,
    asked: Vec<(Step, u32)>,
    key: Vec<u8>,
    value: Vec<u8>,
    wire: PhantomData<W>,
}

impl<W: Wire> Connection<W> {
    async fn run(mut self, mut tally: BatchTally) -> Result<Stream> {
        let (mut turn, mut began) = (0, Instant::now());
        while !tally.is_over(self.index, turn, began) {
            self.ask(turn);
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await?;
            let mut answered = 0;
            while answered < self.asked.len() {
                if self.stream.read_buf(&mut self.text).await? == 0 {
                    bail!("the connection ended");
                }
                answered = self.answers(answered, &mut tally)?;
            }
            turn += self.depth;
            let now = Instant::now();
            tally.took(&self.asked, now - began);
            began = now;
        }
        tally.flush();
        Ok(self.stream)
    }

    fn ask(&mut self, turn: usize) {
        self.out.clear();
        self.asked.clear();
        let ledger = self.workload.ledger();
        for turn in turn..turn + self.depth {
            let step = self.workload.step(self.index, turn);
            match step {
                Step::Get(key) => {
                    self.asked.push((step, ledger.floor(key)));
                    self.workload.key(key, &mut self.key);
                    W::get(&mut self.out, &self.key);
                }
                Step::Set(key) | Step::Pretend(key) => {
                    let version = ledger.begin(key);
                    self.asked.push((step, version));
                    self.workload.key(key, &mut self.key);
                    self.workload.value(key, version, &mut self.value);
                    W::set(&mut self.out, &self.key, &self.value);
                }
            }
        }
    }

    /// Takes what has arrived, of which the first is the answer to request number `answered`; says how far that went.
    fn answers(&mut self, mut answered: usize, tally: &mut BatchTally) -> Result<usize> {
        let mut taken = 0;
        while let Some(&(step, mark)) = self.asked.get(answered) {
            let Some((length, reply)) = W::reply(&self.text[taken..])? else { break };
            taken += length;
            answered += 1;
            match (step, reply) {
                (_, Reply::Refused(why)) => bail!("refused: {}", String::from_utf8_lossy(why)),
                (Step::Get(key), Reply::Value(value)) => tally.found(self.workload.judge(key, mark, Some(value))),
                (Step::Get(key), Reply::Absent | Reply::Done) => tally.found(self.workload.judge(key, mark, None)),
                (Step::Set(key) | Step::Pretend(key), Reply::Value(_) | Reply::Absent | Reply::Done) => {
                    self.workload.ledger().acknowledge(key);
                }
            }
        }
        let _ = self.text.split_to(taken);
        self.text.reserve(READ_BYTES);
        Ok(answered)
    }
}
